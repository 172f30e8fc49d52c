"""The embedded web server: cheroot, with headers read strictly and a clean end on a signal.

Not the application (``app``). A request with doubled, folded or malformed headers is refused
here, so no two readers of one request can disagree about who sent it.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from cheroot import server as cheroot_server
from cheroot import wsgi

from poms.webservice.config import WebSettings, split_listen
from poms.webservice.errors import ConfigurationError
from poms.webservice.stopping import StopSignal

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 65536
SHUTDOWN_SECONDS = 10

# Other headers that may come in several lines; the values are joined with commas.
_JOINED = frozenset([*cheroot_server.comma_separated_headers,  # type: ignore[attr-defined]
                    b"X-Forwarded-For", b"Forwarded"])
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class StrictHeaders:
    """Reads headers; raises ValueError (answered with 400) where WSGI could not tell one from another."""

    def __call__(self, rfile: Any, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        headers: dict[bytes, bytes] = {} if hdict is None else hdict
        spellings: dict[bytes, bytes] = {}
        while True:
            line = rfile.readline()
            if line == b"\r\n":
                return headers
            name, value = self._split(line)
            folded = name.replace(b"_", b"-").title()
            if spellings.setdefault(folded, name.lower()) != name.lower():
                raise ValueError("A header came in two spellings.")
            if b"_" in name:
                # WSGI could not tell it from its spelling with dashes.
                continue
            if folded in headers:
                if folded not in _JOINED:
                    raise ValueError("A header came twice.")
                value = headers[folded] + b", " + value
            headers[folded] = value

    @staticmethod
    def _split(line: bytes) -> tuple[bytes, bytes]:
        if not line.endswith(b"\r\n"):
            raise ValueError("Header lines end in CR LF.")
        name, colon, value = line.partition(b":")
        if not colon or not name or not set(name) <= _TOKEN:
            raise ValueError("Illegal header name.")
        value = value.strip(b" \t\r\n")
        if any(byte < 32 and byte != 9 or byte == 127 for byte in value):
            raise ValueError("Illegal character in a header.")
        return name, value


class _Request(cheroot_server.HTTPRequest):
    header_reader = StrictHeaders()


class _Connection(cheroot_server.HTTPConnection):
    RequestHandlerClass = _Request


class Server(wsgi.Server):
    """cheroot as POMS runs it; its own messages go to the log."""

    ConnectionClass = _Connection

    def __init__(self, settings: WebSettings, *, shared: bool = False) -> None:
        """``shared``: others of ours listen on the same address."""
        super().__init__(split_listen(settings.listen), _not_ready, numthreads=settings.threads, server_name="poms",
                         request_queue_size=128, timeout=30, shutdown_timeout=SHUTDOWN_SECONDS, reuse_port=shared)
        self.max_request_body_size = settings.max_upload_bytes
        self.max_request_header_size = MAX_HEADER_BYTES

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        log.log(level, "%s", msg, exc_info=traceback)

    def bind_or_refuse(self) -> str:
        """Take the address; raises ConfigurationError if another has it. Returns it with the real port."""
        try:
            self.prepare()
        except OSError as error:
            host, port = self.bind_addr[:2]
            raise ConfigurationError(f"cannot listen on {host} port {port}, perhaps another program does: {error}"
                                     ) from error
        host, port = self.bind_addr[:2]
        return shown_address(host, port)

    def run(self, application: Callable[..., Iterable[bytes]], *, on_ready: Callable[[], None]) -> None:
        """Answer requests until SIGTERM or SIGINT; those under way are finished first."""
        self.wsgi_app = application
        with StopSignal() as stop:
            self._run(stop, on_ready)

    def _run(self, stop: StopSignal, on_ready: Callable[[], None]) -> None:
        failure: list[BaseException] = []

        def serve() -> None:
            try:
                self.serve()
            except BaseException as error:  # noqa: B036 - told to the main thread, which ends the process
                failure.append(error)
            finally:
                stop.set()

        # What was made for the start is here to stay: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        thread = threading.Thread(target=serve, name="poms web server")
        thread.start()
        on_ready()
        stop.wait()
        self.stop()
        thread.join()
        if failure:
            raise failure[0]


def shown_address(host: str, port: int) -> str:
    """``host:port``, or ``[IPv6]:port``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _not_ready(_environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
    """Between taking the address and having the application."""
    start_response("503 Service Unavailable", [("Content-Type", "text/plain"), ("Retry-After", "1")])
    return [b"POMS is starting.\n"]
