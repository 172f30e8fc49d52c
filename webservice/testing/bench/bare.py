"""The reference: what CherryPy needs for a page that is there already, and for a row of its own.

No part of POMS but the web server it runs on (``server``), so that the same thing answers connections.
``/page`` returns a fixed text, ``/row`` commits one row.
"""

from __future__ import annotations

import logging
import sys
import threading

import cherrypy
import psycopg2
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from poms.webservice.config import WebSettings
from poms.webservice.server import Server

PAGE = b"<!doctype html><title>page</title>" + b"<p>a line of text of a page</p>" * 1000
TABLE = "CREATE TABLE IF NOT EXISTS bench_rows (id INTEGER, status TEXT, at TEXT)"
INSERT = "INSERT INTO bench_rows (id, status, at) VALUES ({0}, {0}, {0})"


class Bare:
    """Two handlers."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._local = threading.local()
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text(TABLE))
        engine.dispose()

    @cherrypy.expose
    def page(self) -> bytes:
        return PAGE

    @cherrypy.expose
    def row(self, submission_id: str, status: str, **_more: str) -> str:
        connection = self._connection()
        mark = "%s" if self._url.get_backend_name() == "postgresql" else "?"
        cursor = connection.cursor()
        cursor.execute(INSERT.format(mark), (int(submission_id), status, "now"))
        connection.commit()
        return "Ok."

    def _connection(self):
        """One for each thread, kept open."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        return connection

    def _connect(self):
        if self._url.get_backend_name() == "postgresql":
            return psycopg2.connect(host=self._url.host, port=self._url.port, user=self._url.username,
                                    password=self._url.password, dbname=self._url.database)
        import sqlite3

        connection = sqlite3.connect(str(self._url.database), timeout=30)
        connection.execute("PRAGMA synchronous=FULL")
        return connection


def main() -> None:
    url, threads = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    application = cherrypy.Application(Bare(url), "", {"/": {"tools.trailing_slash.on": False}})
    application.log.screen = False
    application.log.access_log.disabled = True
    server = Server(WebSettings(listen="127.0.0.1:0", threads=int(threads)))
    address = server.bind_or_refuse()
    server.run(application, on_ready=lambda: print(f"The reference is ready: {address}", flush=True))


if __name__ == "__main__":
    main()
