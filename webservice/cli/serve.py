"""``poms serve``: the web server by itself; and the application that Apache loads."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable

from poms.webservice.cli import startup
from poms.webservice.config import Settings

log = logging.getLogger(__name__)


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    parser = verbs.add_parser("serve", help="run the web server", parents=[common],
                              description="Run the web server until SIGTERM or Ctrl-C; what is under way is finished.")
    parser.add_argument("--listen", metavar="HOST:PORT", help="address to listen on (default: [web] listen)")
    # Given to each of several processes by the one that keeps them.
    parser.add_argument("--keeper", type=int, default=None, help=argparse.SUPPRESS)
    parser.set_defaults(run=serve)


def serve(arguments: argparse.Namespace) -> int:
    """Everything that can forbid the start is looked at before the first request is taken."""
    backends = startup.start(arguments)
    settings = backends.settings
    from poms.webservice import processes

    if arguments.keeper is not None:
        processes.end_with(arguments.keeper)
    elif (count := processes.count(settings)) > 1:
        return _serve_by_several(arguments, settings, count)
    return _serve(settings, shared=arguments.keeper is not None)


def _serve_by_several(arguments: argparse.Namespace, settings: Settings, count: int) -> int:
    from poms.webservice import processes

    with processes.hold_address(settings.web.listen) as listen:
        def announce(line: str) -> None:
            log.info("web servers ready", extra={"listen": listen, "processes": count})
            print(line, end="", flush=True)

        keeper = processes.Keeper(processes.serve_command(arguments.config, listen), count)
        status = keeper.run(on_ready=announce)
    log.info("web servers stopped", extra={"listen": listen})
    return status


def _serve(settings: Settings, *, shared: bool) -> int:
    from poms.webservice.processes import READY
    from poms.webservice.server import Server

    with startup.only_server(settings):
        server = Server(settings.web, shared=shared)
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
            print(f"{READY}{address}", flush=True)

        server.run(application, on_ready=announce)
    log.info("web server stopped", extra={"listen": listen})
    return 0


def application_for(config: str | None = None) -> Callable[..., Iterable[bytes]]:
    """The WSGI application for a server that is not ours, after the same checks as ``poms serve``."""
    backends = startup.start(argparse.Namespace(config=config))
    from poms.webservice import app

    return app.build(backends.settings)
