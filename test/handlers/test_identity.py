"""Who sent a request: through real sockets and WSGI, nobody becomes somebody by a trick with headers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from webtest import TestApp

from poms.webservice.config import WebSettings
from poms.webservice.handlers.facts import facts_of
from poms.webservice.server import Server

OK = "HTTP/1.1 200"


@pytest.fixture
def wire(site, owner) -> Iterator:
    """The real web server on a free port; returns the first line of the answer to a raw request."""
    server = Server(WebSettings(listen="127.0.0.1:0", threads=2))
    server.bind_or_refuse()
    server.wsgi_app = site.wsgi
    thread = threading.Thread(target=server.serve)
    thread.start()

    def send(*headers: str | bytes) -> str:
        lines = [line if isinstance(line, bytes) else line.replace("SECRET", site.secret).encode() for line in headers]
        request = b"\r\n".join([b"GET /poms/campaign_list_json/samdev/production HTTP/1.1", b"Host: poms.example.org",
                                b"Connection: close", *lines, b"", b""])
        with socket.create_connection(server.bind_addr[:2], timeout=20) as connection:
            connection.sendall(request)
            return connection.makefile("rb").readline().decode("latin-1")

    yield send
    server.stop()
    thread.join()


GOOD = ("X-Shib-Userid: olive", "X-Poms-Proxy-Secret: SECRET")


def test_the_front_end_can_say_who_it_is(wire):
    """The counterpart of all refusals below."""
    assert wire(*GOOD).startswith(OK)


@pytest.mark.parametrize("headers", [
    (),
    ("X-Shib-Userid: olive",),
    ("X-Shib-Userid: olive", "X-Poms-Proxy-Secret: "),
    ("X-Shib-Userid: olive", "X-Poms-Proxy-Secret: guess"),
    ("X-Shib-Userid: olive", "X-Poms-Proxy-Secret: SECRETx"),
    ("X-Poms-Proxy-Secret: SECRET",),
    ("X-Shib-Userid: ", "X-Poms-Proxy-Secret: SECRET"),
    ("X-Shib-Userid: (null)", "X-Poms-Proxy-Secret: SECRET"),
    ("X-Shib-Userid: nobody", "X-Poms-Proxy-Secret: SECRET"),
    ("X-Shib-Userid: olive, root", "X-Poms-Proxy-Secret: SECRET"),
    ("X-Shib-Userid: olive;root", "X-Poms-Proxy-Secret: SECRET"),
    ("X-Shib-Userid: ' OR 1=1 --", "X-Poms-Proxy-Secret: SECRET"),
    ("X-Shib-Userid: " + "o" * 5000, "X-Poms-Proxy-Secret: SECRET"),
    (*GOOD, "X-Shib-Userid: root"),
    ("X-Shib-Userid: root", *GOOD),
    (*GOOD, "x-shib-userid: root"),
    (*GOOD, "X_Shib_Userid: root"),
    ("X_Shib_Userid: olive", "X-Poms-Proxy-Secret: SECRET"),
    (*GOOD, "X-Shib_Userid: root"),
    (*GOOD, "X-Poms-Proxy-Secret: other"),
    (*GOOD, "X_Poms_Proxy_Secret: other"),
    (*GOOD, " X-Shib-Userid: root"),
    ("X-Shib-Userid: ol", " ive", "X-Poms-Proxy-Secret: SECRET"),
    ("X-Shib-Userid : olive", "X-Poms-Proxy-Secret: SECRET"),
    (b"X-Shib-Userid: ol\x00ive", "X-Poms-Proxy-Secret: SECRET"),
    (b"X-Shib-Userid: olive\rX: y", "X-Poms-Proxy-Secret: SECRET"),
    (b"X-Shib-Userid: oliv\xc3\xa9", "X-Poms-Proxy-Secret: SECRET"),
    (b"X-Shib-Userid: \xef\xbb\xbfolive", "X-Poms-Proxy-Secret: SECRET"),
    (*GOOD, "Connection: X-Shib-Userid"),
    (*GOOD, "Proxy-Connection: x-shib-userid"),
    (*GOOD, "Trailer: X-Shib-Userid"),
    (*GOOD, "X-Poms-Auth-Method: root"),
    (*GOOD, "X-Poms-Auth-Method: browser", "X-Poms-Auth-Method: certificate"),
    ("X-Remote-User: olive",), ("Remote-User: olive",), ("REMOTE_USER: olive",),
    ("X-Forwarded-User: olive", "X-Poms-Proxy-Secret: SECRET"),
    ("Authorization: Basic b2xpdmU6b2xpdmU=",),
    ("Cookie: poms_session=olive",),
    ("X-Forwarded-For: 127.0.0.1", "X-Shib-Userid: olive"),
], ids=lambda headers: " | ".join(str(line)[:40] for line in headers) or "nothing")
def test_a_smuggled_identity_is_refused(wire, headers):
    """Each answer is 400 or 401, none is a page."""
    assert wire(*headers).split(" ")[1] in ("400", "401")


@pytest.mark.parametrize("peer", ["10.0.0.7", "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "", "127.0.0.1.evil"])
def test_only_the_front_end_is_believed(site, owner, peer):
    """Whoever reaches the port directly cannot say who it is, even with the secret."""
    answer = TestApp(site.wsgi, extra_environ={"REMOTE_ADDR": peer}).get(
        "/poms/home/samdev/production", headers=site.identity("olive"), status="*")

    assert answer.status_int == 401


def test_copies_joined_by_a_front_end_are_told_to_sources():
    """Apache joins two copies of a header with a comma; such a header is not to be believed."""
    facts = facts_of({"HTTP_X_SHIB_USERID": "olive, root", "HTTP_USER_AGENT": "a, b", "REMOTE_ADDR": "127.0.0.1"})

    assert facts.duplicates == {"x-shib-userid"}


def test_two_spellings_in_one_environment_are_told_to_sources():
    """Servers differ in how they write header names; two that fold to one are suspicious."""
    facts = facts_of({"HTTP_X_SHIB_USERID": "olive", "HTTP_X-SHIB-USERID": "root"})

    assert facts.duplicates == {"x-shib-userid"}


def test_an_unknown_user_is_told_whom_to_ask(site):
    """Being known to the laboratory is not being known to POMS."""
    answer = site.program("stranger").get("home")

    assert answer.status_int == 401
    assert "does not know the user stranger. Ask a superuser of your experiment" in answer.text


def test_nobody_sees_which_addresses_exist(site):
    """Identity comes before anything else, also before 404."""
    assert site.nobody().get("/poms/nowhere", status="*").status_int == 401


def test_an_unauthenticated_upload_is_refused_before_it_is_read(site):
    """Nobody makes the service read megabytes without saying who it is."""
    answer = site.nobody().post("/poms/upload", b"x" * 50, status="*", headers={
        "Content-Type": "multipart/form-data"})

    assert answer.status_int == 401
