"""Webhooks against a real HTTP server: signed, to allowed hosts only, never inside by accident, never redirected."""

from __future__ import annotations

import json
import socket
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

import pytest

from poms.plugins.notify import webhook
from poms.plugins.notify.webhook import Webhook, signature
from poms.webservice.errors import BackendUnavailable, ConfigurationError, Invalid
from poms.webservice.testing.notifier import NotifierContract, Received, notification

OPTIONS = {"allowed_hosts": ("127.0.0.1:1",), "private_networks": ("127.0.0.0/8",), "allow_http": True, "ca_file": "",
           "timeout": 5.0}
NOW = datetime(2026, 3, 14, 3, tzinfo=UTC)


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted; answers with ``status`` and ``headers``."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.status, self.headers = [], 204, {}
        self.wait = threading.Event()
        self.wait.set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def host(self):
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self):
        return f"http://{self.host}/hook?room=1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), body))
        self.server.wait.wait(60)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_):
        """Tests need no log of their requests."""


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.wait.set()
    server.shutdown()
    server.server_close()


def hook(receiver=None, **options):
    hosts = (receiver.host,) if receiver else ()
    return Webhook(MappingProxyType({**OPTIONS, "allowed_hosts": hosts, **options}), secret="s" * 40, clock=lambda: NOW)


class TestContract(NotifierContract):
    """A webhook keeps what every channel keeps."""

    wrong_addresses = ("example.org", "ftp://127.0.0.1/x", "http://127.0.0.1\n/x", "http://[::1", "http:///x",
                       "http://169.254.169.254/latest/meta-data", "http://user:word@127.0.0.1/x", "javascript:alert(1)",
                       "http://127.0.0.1/#x", "http://127.0.0.1\\@evil.net/", "file:///etc/passwd", "http://a b/")

    @pytest.fixture
    def notifier(self, receiver):
        self.server, self.address = receiver, receiver.url
        return hook(receiver)

    @pytest.fixture
    def received(self, receiver):
        def read():
            documents = [json.loads(body) for _, _, body in receiver.requests]
            return [Received(one["message"], (receiver.url,), one["text"], " ".join(one["subject"].split()),
                             one["attempt"]) for one in documents]

        return read

    def silence(self):
        self.server.shutdown()
        self.server.server_close()


def test_a_message_is_signed(receiver):
    """Who knows the key that the person was shown can tell that it is from here, and from when."""
    sender = hook(receiver)
    sender.send(notification(receiver.url, attempt=3))

    path, headers, body = receiver.requests[0]
    key, moment = sender.shown_secret("olive", receiver.url), str(int(NOW.timestamp()))
    assert path == "/hook?room=1"
    assert headers["X-POMS-Signature"] == f"t={moment},v1={signature(key, moment, body)}"
    assert (headers["X-POMS-Message"], headers["X-POMS-Attempt"]) == ("k1", "3")
    assert headers["Content-Type"] == "application/json"
    assert signature(key, moment, body + b" ") not in headers["X-POMS-Signature"]
    assert json.loads(body)["events"] == [{
        "id": 7, "at": "2026-03-14T02:41:07Z", "news": "finished", "text": "gen: Located\n", "experiment": "samdev",
        "campaign": "mc", "stage": "gen", "submission_id": 12, "url": "http://poms.example.org/poms/submission"}]


def test_a_redirect_is_not_followed(receiver):
    """Not even to an allowed host; the reason says what to do."""
    receiver.status, receiver.headers = 302, {"Location": f"http://{receiver.host}/elsewhere"}

    with pytest.raises(BackendUnavailable, match="redirect"):
        hook(receiver).send(notification(receiver.url))
    assert [path for path, _, _ in receiver.requests] == ["/hook?room=1"]


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_anything_but_success_is_tried_again(receiver, status):
    """The receiver may be mended."""
    receiver.status = status

    with pytest.raises(BackendUnavailable, match=str(status)):
        hook(receiver).send(notification(receiver.url))


def test_a_receiver_that_hangs_is_given_up(receiver):
    """After the time limit, and nothing of the service hangs with it."""
    receiver.wait.clear()

    with pytest.raises(BackendUnavailable):
        hook(receiver, timeout=0.3).send(notification(receiver.url))


def test_proxies_of_the_environment_are_not_used(receiver, monkeypatch):
    """A proxy would connect to wherever it likes."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")

    hook(receiver).send(notification(receiver.url))

    assert len(receiver.requests) == 1


# ------------------------------------------------------------------------- who may be called


@pytest.mark.parametrize(("allowed", "good", "bad"), [
    ("chat.example.org", ["https://chat.example.org/x", "https://CHAT.example.org:443/"],
     ["https://chat.example.org:8443/", "https://xchat.example.org/", "https://chat.example.org.evil.net/",
      "https://evil.net/chat.example.org", "https://chat.example.org@evil.net/", "http://chat.example.org/"]),
    ("*.example.org", ["https://chat.example.org/", "https://a.b.example.org/"],
     ["https://example.org/", "https://badexample.org/", "https://example.org.evil.net/"]),
    ("chat.example.org:8443", ["https://chat.example.org:8443/x"], ["https://chat.example.org/x"]),
    ("[2001:db8::1]:8443", ["https://[2001:db8::1]:8443/"], ["https://[2001:db8::1]/"]),
])
def test_only_allowed_hosts_are_called(allowed, good, bad):
    """A name is compared whole, with its port; encrypted unless the operator allows otherwise."""
    sender = hook(allowed_hosts=(allowed,), allow_http=False)

    for address in good:
        assert sender.check_address(address) == address
    for address in bad:
        with pytest.raises(Invalid):
            sender.check_address(address)


@pytest.mark.parametrize("place", [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
    "::1", "fe80::1", "fd00::1", "::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::1", "::"])
def test_addresses_inside_are_refused(place):
    """Whatever name leads there: only networks that the operator named are called."""
    sender = hook(allowed_hosts=("*.example.org",), private_networks=("10.9.0.0/16",))

    with pytest.raises(Invalid, match="inside"):
        sender.resolve(place, 443)


def test_addresses_inside_that_are_named_are_called():
    """And so are public ones."""
    sender = hook(private_networks=("10.1.0.0/16", "fd00::/8"))

    for place in ("10.1.2.3", "fd00::1", "::ffff:10.1.2.3", "93.184.215.14", "2606:2800:21f::1"):
        assert sender.resolve(place, 443)


def test_a_name_is_looked_up_once(receiver, monkeypatch):
    """What is checked is what is connected to: a name that changes its mind gets no second chance."""
    asked = []
    port = receiver.server_address[1]

    def changing(host, *arguments, **more):
        asked.append(host)
        place = "93.184.215.14" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port))]

    connected = []

    class Socket(socket.socket):
        def connect(self, place):
            connected.append(place)
            raise ConnectionRefusedError("a public address, in a test")

    monkeypatch.setattr(webhook.socket, "getaddrinfo", changing)
    monkeypatch.setattr(webhook.socket, "socket", Socket)
    sender = hook(allowed_hosts=(f"chat.example.org:{port}",), private_networks=())

    with pytest.raises(BackendUnavailable):
        sender.send(notification(f"http://chat.example.org:{port}/"))

    assert asked == ["chat.example.org"]
    assert connected == [("93.184.215.14", port)]
    assert receiver.requests == []


@pytest.mark.parametrize("options", [{"allowed_hosts": ("http://x",)}, {"allowed_hosts": ("*",)},
                                     {"allowed_hosts": ("a/b",)}, {"private_networks": ("10.0.0.1/8",)}])
def test_settings_that_mean_nothing_forbid_the_start(options):
    """A host is a host, a network a network."""
    with pytest.raises(ConfigurationError):
        hook(**options)
