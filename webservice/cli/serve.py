"""``poms serve``: the web server by itself; and the application that Apache loads."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable

from poms.webservice.cli import startup

log = logging.getLogger(__name__)


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    parser = verbs.add_parser("serve", help="run the web server", parents=[common],
                              description="Run the web server until SIGTERM or Ctrl-C; what is under way is finished.")
    parser.add_argument("--listen", metavar="HOST:PORT", help="address to listen on (default: [web] listen)")
    parser.set_defaults(run=serve)


def serve(arguments: argparse.Namespace) -> int:
    """Everything that can forbid the start is looked at before the first request is taken."""
    backends = startup.start(arguments)
    settings = backends.settings
    from poms.webservice.server import Server

    with startup.only_server(settings):
        server = Server(settings.web)
        listen = server.bind_or_refuse()
        try:
            from poms.webservice import app

            settings = settings.overriding("web", listen=listen)
            application = app.build(settings)
        except BaseException:
            server.stop()
            raise
        address = f"{settings.service.public_url}/poms/"

        def announce() -> None:
            log.info("web server ready", extra={"listen": listen, "url": address})
            print(f"POMS is ready: {address}", flush=True)

        server.run(application, on_ready=announce)
    log.info("web server stopped", extra={"listen": listen})
    return 0


def application_for(config: str | None = None) -> Callable[..., Iterable[bytes]]:
    """The WSGI application for a server that is not ours, after the same checks as ``poms serve``."""
    backends = startup.start(argparse.Namespace(config=config))
    from poms.webservice import app

    return app.build(backends.settings)
