"""The Apache configuration of docs/operations.md, run by a real Apache in front of the real web server."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from poms.webservice import config, migrations
from poms.webservice.backends import Backends
from poms.webservice.cli import main
from poms.webservice.testing.fixtures import lacking
from poms.webservice.testing.jobs import await_that

ROOT = Path(__file__).parents[2]
PROGRAM = shutil.which("apache2") or shutil.which("apache2", path="/usr/sbin") or shutil.which("httpd")
MODULES = ("mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "headers", "proxy",
           "proxy_http")
PASSWORD = "only for this test"


def modules_directory() -> Path | None:
    places = (Path("/usr/lib/apache2/modules"), Path("/usr/lib64/httpd/modules"), Path("/usr/lib/httpd/modules"))
    return next((place for place in places if (place / "mod_proxy_http.so").exists()), None)


def shown_configuration() -> str:
    found = re.search(r"^```apache\n(.*?)^```$", (ROOT / "docs" / "operations.md").read_text(), re.M | re.S)
    assert found
    return found[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Front:
    """The address of Apache, and that of the web server behind it."""

    url: str
    behind: str

    def ask(self, **options) -> requests.Response:
        return requests.get(f"{self.url}/poms/experiment_list", timeout=30, **options)


@pytest.fixture(scope="module")
def open_directory() -> Iterator[Path]:
    """Apache reads its files as another user, who cannot enter pytest's own directories."""
    with tempfile.TemporaryDirectory(prefix="poms-apache-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="module")
def front(open_directory: Path) -> Iterator[Front]:
    """Both, on ports of their own; logins are by password, everything else is as it is shown."""
    modules = modules_directory()
    if PROGRAM is None or modules is None:
        lacking("apache", "apache2 with mod_proxy_http was not found; install it")
    directory = open_directory
    port, behind = free_port(), free_port()
    ini = write_service(directory, behind)
    secret = config.load(ini).secret("identity_proxy")
    conf = write_apache(directory, modules, port, behind, secret)
    started = []
    try:
        with (directory / "serve.log").open("wb") as log:
            started.append(subprocess.Popen([sys.executable, "-m", "poms.webservice", "serve", "--config", str(ini)],
                                            stdout=log, stderr=log))
            started.append(subprocess.Popen([PROGRAM, "-X", "-f", str(conf)], stdout=log, stderr=log))
        for each in (port, behind):
            await_that(lambda each=each: answers(each), (directory / "serve.log").read_text)
        yield Front(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{behind}")
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(30)


def write_service(directory: Path, port: int) -> Path:
    ini = directory / "poms.ini"
    ini.write_text(f"[service]\ndata_dir = {directory / 'data'}\n[web]\nlisten = 127.0.0.1:{port}\n"
                   "[identity]\nsources = proxy\n")
    settings = config.load(ini)
    settings.service.data_dir.mkdir()
    migrations.upgrade(settings.database.url, Backends(settings).databases())
    for words in (["experiment", "add", "sbnd"], ["user", "add", "alice", "--experiment", "sbnd"],
                  ["user", "add", "mallory"]):
        assert main([*words, "--config", str(ini)]) == 0
    return ini


def write_apache(directory: Path, modules: Path, port: int, behind: int, secret: str) -> Path:
    """The configuration as it is shown, with this test's ports, secret and way of logging in."""
    passwords = directory / "passwords"
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()  # noqa: S324 - Apache's own format
    passwords.write_text(f"alice:{{SHA}}{digest}\n")
    text = shown_configuration()
    login = f'AuthType basic\n        AuthName POMS\n        AuthUserFile "{passwords}"'
    for shown, used in (("Include /etc/apache2/poms-secret.conf", f"Define POMS_SECRET {secret}"),
                        ("*:443", f"127.0.0.1:{port}"), ("127.0.0.1:8080", f"127.0.0.1:{behind}"),
                        ("AuthType shibboleth\n        ShibRequestSetting requireSession 1", login)):
        assert shown in text
        text = text.replace(shown, used)
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 and Path("/etc/debian_version").exists() else ""
    conf = directory / "httpd.conf"
    loaded = "".join(f"LoadModule {name}_module {modules}/mod_{name}.so\n" for name in MODULES)
    conf.write_text(f'ServerRoot "{directory}"\nPidFile "{directory}/httpd.pid"\nErrorLog "{directory}/error.log"\n'
                    f"ServerName localhost\nListen 127.0.0.1:{port}\n{loaded}{user}{text}")
    return conf


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def test_person_whom_apache_knows_is_known(front):
    """The user name of the login is the user of POMS."""
    answer = front.ask(auth=("alice", PASSWORD))

    assert (answer.status_code, answer.json()) == (200, ["sbnd"])


def test_nobody_gets_past_the_login(front):
    """Without a login, or with a wrong one, POMS is not asked."""
    assert front.ask().status_code == 401
    assert front.ask(auth=("alice", "guessed")).status_code == 401


def test_a_forged_user_is_not_believed(front):
    """Headers that a client sends in the front end's name are replaced: the page is for alice, mallory has no role."""
    forged = {"X-Shib-Userid": "mallory", "X-Poms-Auth-Method": "token", "X-Poms-Proxy-Secret": "guessed"}
    answer = front.ask(auth=("alice", PASSWORD), headers=forged)
    page = requests.get(f"{front.url}/poms/home/sbnd/analysis?fmt=json", auth=("alice", PASSWORD), headers=forged,
                        timeout=30)

    assert answer.status_code == 200
    assert page.status_code == 200


def test_a_browser_stays_a_browser(front):
    """The method that a client claims does not free it from the defence against forged forms."""
    answer = requests.post(f"{front.url}/poms/update_session_role", data={"session_role": "analysis"}, timeout=30,
                           auth=("alice", PASSWORD), headers={"X-Poms-Auth-Method": "token"})

    assert answer.status_code == 403
    assert "form" in answer.text


def test_the_server_itself_believes_nobody_without_the_secret(front):
    """Somebody on the same machine who goes past Apache is nobody."""
    answer = requests.get(f"{front.behind}/poms/experiment_list", headers={"X-Shib-Userid": "alice"}, timeout=30)

    assert answer.status_code == 401
