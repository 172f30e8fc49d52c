"""Mail against a real SMTP server: what arrives, how it is protected, and what an answer of the server means."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ipaddress
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from poms.plugins.notify.mail import Mail
from poms.webservice import config, migrations
from poms.webservice.app import make_core
from poms.webservice.backends import Backends
from poms.webservice.errors import BackendUnavailable, ConfigurationError, Invalid
from poms.webservice.model import AgentTask, DigestDelivery
from poms.webservice.services import watches
from poms.webservice.testing.notifier import NotifierContract, Received, notification
from poms.webservice.testing.world import World

OPTIONS = {"server": "127.0.0.1:1", "security": "none", "ca_file": "", "sender": "poms@poms.example.org", "user": "",
           "password_file": "", "recipient_domains": (), "timeout": 5.0}
TO = "olive@example.org"


class Inbox:
    """Takes mail as a server does; ``answers`` are given instead of taking it."""

    def __init__(self):
        self.envelopes, self.answers, self.logins = [], {}, []
        self.taken, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if "RCPT" in self.answers:
            return self.answers["RCPT"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if "DATA" in self.answers:
            return self.answers["DATA"]
        self.envelopes.append((envelope, session.ssl is not None))
        self.taken.set()
        if not self.go_on.is_set():
            await asyncio.get_running_loop().run_in_executor(None, self.go_on.wait, 60)
        return "250 taken"

    def messages(self):
        return [email.message_from_bytes(envelope.original_content, policy=email.policy.default)
                for envelope, _ in self.envelopes]


class Server(Controller):
    """A server on a free port of its own."""

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def serve():
    """Start servers; all are stopped at the end."""
    started = []

    def start(inbox, **options):
        started.append(Server(inbox, hostname="127.0.0.1", port=0, **options))
        started[-1].start()
        return started[-1].port

    yield start
    for controller in started:
        if controller.server is not None:
            controller.stop(no_assert=True)


def mail(port, **options):
    return Mail(MappingProxyType({**OPTIONS, "server": f"127.0.0.1:{port}", **options}), list_host="poms.example.org")


@pytest.fixture
def inbox():
    return Inbox()


@pytest.fixture
def sender(inbox, serve):
    return mail(serve(inbox))


class TestContract(NotifierContract):
    """Mail keeps what every channel keeps."""

    address = TO
    wrong_addresses = ("olive", "olive@", "@example.org", "a@b@c", "olive@example.org\nBcc: x@y", "a b@example.org",
                       '"a"@example.org', "<olive@example.org>", "ölive@example.org", "olive@exämple.org",
                       "olive@example..org", ".olive@example.org", "a@-x.org", "a@example.org, b@example.org",
                       "x" * 65 + "@example.org", "a@" + "x" * 64 + ".org")

    @pytest.fixture
    def notifier(self, inbox, serve):
        self.controller = Server(inbox, hostname="127.0.0.1", port=0)
        self.controller.start()
        yield mail(self.controller.port)
        if self.controller.server is not None:
            self.controller.stop(no_assert=True)

    @pytest.fixture
    def received(self, inbox):
        def read():
            found = []
            for (envelope, _), message in zip(inbox.envelopes, inbox.messages(), strict=True):
                key = re.fullmatch(r"<(.+)@poms.example.org>", message["Message-ID"])[1]
                found.append(Received(key, tuple(envelope.rcpt_tos), message.get_content(), message["Subject"],
                                      int(message["X-POMS-Attempt"] or 1)))
            return found

        return read

    def silence(self):
        self.controller.stop(no_assert=True)


def test_a_message_looks_as_mail_programs_want_it(sender, inbox):
    """Plain text with a list, a way to end it, and no answer by machines."""
    sender.send(notification(TO, subject="[POMS] 1 finished: Größe", text="gen: Located\nGröße 東京\n"))

    (message,) = inbox.messages()
    assert message["From"] == "poms@poms.example.org" and message["To"] == TO
    assert message["Subject"] == "[POMS] 1 finished: Größe"
    assert message["List-Id"] == "POMS watches <watches.poms.example.org>"
    assert message["List-Unsubscribe"] == "<http://poms.example.org/poms/watches>"
    assert message["Auto-Submitted"] == "auto-generated" and message["Precedence"] == "bulk"
    assert message["Message-ID"] == "<k1@poms.example.org>"
    assert message["Date"] == "Sat, 14 Mar 2026 02:41:07 +0000"
    assert message.get_content_type() == "text/plain" and not message.is_multipart()
    assert message.get_content().splitlines() == ["gen: Located", "Größe 東京"]


def test_no_text_becomes_a_header(sender, inbox):
    """Neither a subject, nor a key, nor the address of the settings."""
    wrong = notification(TO, subject="x\r\nBcc: victim@example.org", key="k>\r\nX-Evil: 1\r\n<")
    sender.send(wrong)

    (message,) = inbox.messages()
    assert message["Bcc"] is None and message["X-Evil"] is None
    assert inbox.envelopes[0][0].rcpt_tos == [TO]
    assert message["Subject"] == "x Bcc: victim@example.org"


def test_recipients_can_be_limited_to_domains(inbox, serve):
    """A service need not send mail to anywhere."""
    sender = mail(serve(inbox), recipient_domains=("Example.org",))

    assert sender.check_address("olive@EXAMPLE.org") == "olive@EXAMPLE.org"
    with pytest.raises(Invalid, match="to example.org only"):
        sender.send(notification("olive@example.org.evil.net"))
    assert inbox.envelopes == []


@pytest.mark.parametrize(("where", "answer", "condition"), [
    ("RCPT", "550 no such mailbox", Invalid), ("RCPT", "450 try later", BackendUnavailable),
    ("DATA", "451 try later", BackendUnavailable), ("DATA", "554 looks like spam", BackendUnavailable)])
def test_an_answer_of_the_server_is_told(sender, inbox, where, answer, condition):
    """An address that is refused for good is given up; everything else is tried again."""
    inbox.answers[where] = answer

    with pytest.raises(condition, match=answer.partition(" ")[2]):
        sender.send(notification(TO))


# ------------------------------------------------------------------------------------ encryption


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "poms tests")])
    now = datetime.now(UTC)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(key, hashes.SHA256()))
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return directory / "cert.pem", context


def test_mail_travels_encrypted(inbox, serve, certificate):
    """By STARTTLS, or by TLS from the beginning, to a server with a certificate that is trusted."""
    file, context = certificate
    mail(serve(inbox, tls_context=context, require_starttls=True), security="starttls",
         ca_file=str(file)).send(notification(TO))
    assert [encrypted for _, encrypted in inbox.envelopes] == [True]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_nothing_is_sent_without_a_trusted_certificate(inbox, serve, certificate, security):
    """Neither to somebody else's server, nor to one that cannot encrypt."""
    _, context = certificate
    for port in (serve(inbox, tls_context=context), serve(inbox)):
        with pytest.raises(BackendUnavailable):
            mail(port, security=security, ca_file="", timeout=2.0).send(notification(TO))
    assert inbox.envelopes == []


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_text("s3cret of the server\n")
    path.chmod(0o600)
    return path


def test_the_password_comes_from_its_file(inbox, serve, certificate, password_file):
    """It is read when it is needed; a wrong one is told without being shown."""
    file, context = certificate
    known = {"password": b"s3cret of the server"}

    def login(server, session, envelope, mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"poms", known["password"]))

    port = serve(inbox, tls_context=context, require_starttls=True, auth_required=True, authenticator=login)
    sender = mail(port, security="starttls", ca_file=str(file), user="poms", password_file=str(password_file))
    sender.send(notification(TO))
    assert len(inbox.envelopes) == 1

    known["password"] = b"a new one"
    with pytest.raises(BackendUnavailable) as refused:
        sender.send(notification(TO))
    assert "s3cret" not in str(refused.value)
    password_file.write_text("a new one")
    sender.send(notification(TO))
    assert len(inbox.envelopes) == 2


@pytest.mark.parametrize("options", [
    {"security": "none", "server": "mail.example.org", "user": "poms"}, {"security": "ssl"}, {"server": "a b"},
    {"server": "h:99999"}, {"user": "poms", "password_file": ""}, {"password_file": "/x", "user": ""},
    {"user": "poms", "password_file": "/nowhere/password", "security": "tls"}])
def test_unsafe_or_impossible_settings_forbid_the_start(options, password_file):
    """A password in plain text above all."""
    given = {**OPTIONS, **({"password_file": str(password_file)} if options.get("user") else {}), **options}

    with pytest.raises(ConfigurationError):
        Mail(MappingProxyType(given), list_host="x.org")


def test_a_password_that_others_may_read_is_not_used(password_file):
    """As everywhere with secrets in files."""
    password_file.chmod(0o644)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        mail(1, security="tls", user="poms", password_file=str(password_file))


# ------------------------------------------------------------------------------------------ whole

PROGRAM = """
import sys
from poms.webservice import app, config
from poms.webservice.services import tasks
from poms.webservice.agent import notify
core = app.make_core(config.load(sys.argv[1]))
lease = tasks.take(core, "notify", sys.argv[2], 3)
print(notify.run(core, lease), flush=True)
tasks.finish(core, lease, next_at=core.clock())
"""


def test_an_agent_killed_while_mail_is_taken_loses_none(tmp_path, inbox, serve):
    """kill -9 after the server has the message: the next agent sends it again, and both look the same but for that."""
    ini = tmp_path / "poms.ini"
    ini.write_text(f"[service]\ndata_dir = {tmp_path}/var\n[notify]\nchannels = mail\n[mail]\nsecurity = none\n"
                   f"server = 127.0.0.1:{serve(inbox)}\nsender = poms@example.org\n")
    backends = Backends(config.load(ini))
    migrations.upgrade(backends.settings.database.url, backends.databases())
    core = make_core(config.load(ini))
    anna = World(core).person("anna")
    watches.set_address(core, anna, "mail", TO)
    watches.send_test(core, anna, "mail")
    inbox.go_on.clear()

    def agent(name):
        return subprocess.Popen([sys.executable, "-c", PROGRAM, str(ini), name], stdout=subprocess.PIPE, text=True)

    first = agent("first")
    assert inbox.taken.wait(60)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    inbox.go_on.set()

    def row():
        with core.db.read() as session:
            return session.query(DigestDelivery).one()

    assert (row().state, row().attempts) == ("sending", 1)
    World(core).change(DigestDelivery, (1, "mail"), next_at=core.clock())
    World(core).change(AgentTask, "notify", lease_until=None)
    second = agent("second")
    said, _ = second.communicate(timeout=60)

    assert "1 messages sent" in said
    assert (row().state, row().attempts) == ("sent", 2)
    one, two = inbox.messages()
    assert one["Message-ID"] == two["Message-ID"]
    assert (one["X-POMS-Attempt"], two["X-POMS-Attempt"]) == (None, "2")
    core.backends.close()
    core.db.close()
