"""The command poms: what it says, how it ends, and what it leaves alone when it refuses."""

import contextlib
import http.client
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from poms.webservice.cli import main
from poms.webservice.testing.credentials import make_token

ROOT = Path(__file__).resolve().parent.parent

# Backends that can be chosen and are never built: no command here launches anything.
PLUGIN = '''
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import CheckResult, Offer


def offer(name="plain"):
    return [Offer(name, "for tests", lambda context: None)]


@hookimpl
def poms_job_backends():
    return offer()


@hookimpl
def poms_data_backends():
    return offer()


@hookimpl
def poms_launch_transports():
    return offer()


@hookimpl
def poms_start_checks(context_for):
    return [CheckResult(LEVEL, "weather", "it rains")]
'''

SERVER = '''
import sys
from poms.webservice.config import WebSettings
from poms.webservice.server import Server


def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        print("begun", flush=True)
        sys.stdin.readline()
    body = "\\n".join(f"{key}={environ[key]}" for key in sorted(environ) if key.startswith("HTTP_")).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


server = Server(WebSettings(listen="127.0.0.1:0", threads=2, max_upload_bytes=1000))
listen = server.bind_or_refuse()
server.run(application, on_ready=lambda: print(listen, flush=True))
print("ended", flush=True)
'''


class Site:
    """A poms.ini in a directory of its own, and the command run with it."""

    def __init__(self, directory, capsys):
        self.directory, self.capsys = directory, capsys
        self.file = directory / "poms.ini"
        self.level = "ok"
        self.write("")

    def write(self, more, level="ok"):
        module = f"plain_plugin_{abs(hash((self.directory, level)))}"
        (self.directory / f"{module}.py").write_text(PLUGIN.replace("LEVEL", repr(level)))
        installed = "local_batch, local_catalogue, local_transport, split_types"
        self.file.write_text(f"[service]\ndisabled_plugins = {installed}\nplugins = {module}\ndata_dir = data\n"
                             "[experiment_defaults]\njob_backend = plain\ndata_backend = plain\n"
                             f"launch_transport = plain\n{more}\n")

    def poms(self, *words):
        """(exit status, standard output, standard error)"""
        status = main([*words, "--config", str(self.file)])
        said = self.capsys.readouterr()
        return status, said.out, said.err

    def process(self, *words):
        """The same in a process of its own."""
        return subprocess.run([sys.executable, "-m", "poms.webservice", *words, "--config", str(self.file)],
                              env={**os.environ, "PYTHONPATH": str(self.directory)}, capture_output=True, text=True,
                              timeout=60)


@pytest.fixture
def site(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    return Site(tmp_path, capsys)


# ------------------------------------------------------------------------------------------------- help


def test_help_names_every_command_and_the_first_steps(capsys):
    """Somebody who has only the command finds the way."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    text = capsys.readouterr().out
    assert ended.value.code == 0
    for word in ("serve", "agent", "db", "check", "settings", "user", "experiment", "campaign", "poms db upgrade"):
        assert word in text


def test_unknown_command_is_a_usage_error(capsys):
    """Exit status 2 is for the command line."""
    with pytest.raises(SystemExit) as ended:
        main(["lanuch"])

    assert ended.value.code == 2
    assert "lanuch" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["poms", "poms-agent", "poms-server"])
def test_programs_explain_themselves(program):
    """The programs of bin/ are the same command."""
    done = subprocess.run([sys.executable, str(ROOT / "bin" / program), "--help"], capture_output=True, text=True)

    assert done.returncode == 0
    assert "usage: poms" in done.stdout


def test_config_may_stand_before_or_after_the_command(site):
    """People put options in either place."""
    assert main(["--config", str(site.file), "check"]) == main(["check", "--config", str(site.file)])
    assert main(["--config", str(site.directory / "none.ini"), "check"]) == 1


def test_condition_is_one_line_and_status_one(site):
    """What POMS reports is a sentence, not a traceback."""
    site.file.write_text("[web]\nthreads = x\n")

    status, out, err = site.poms("user", "list")

    assert (status, out) == (1, "")
    assert err.startswith("poms: ") and err.count("\n") == 1
    assert "expected a whole number" in err


# ------------------------------------------------------------------------------------------------- check


def test_check_of_a_ready_installation_is_all_ok(site):
    """Exit status 0 means: it will start."""
    site.poms("db", "upgrade")

    status, out, _ = site.poms("check")

    assert status == 0
    assert "error" not in out
    for subject in ("settings:", "database:", "tables:", "data directory:", "identity demo:", "weather:"):
        assert subject in out


def test_check_changes_nothing(site):
    """A check may be made by anybody at any time."""
    before = sorted(site.directory.rglob("*"))

    status, out, _ = site.poms("check")

    assert status == 1
    assert "run `poms db upgrade`" in out
    assert [path for path in sorted(site.directory.rglob("*")) if "__pycache__" not in str(path)] == before


@pytest.mark.parametrize(("more", "words"), [
    ("[web]\nlisten = 0.0.0.0:8080", "error    identity demo"),
    ("[web]\nthreads = none", "error    settings"),
    ("[experiment sbnd]\njob_backend = plane", "there is no job_backend 'plane'"),
    ("[identity]\nsources = proxy\n[identity_proxy]\ntrusted_proxies =", "error    identity proxy"),
    ("[database]\nurl = postgresql+psycopg2://x@127.0.0.1:1/y", "error    database"),
])
def test_check_says_what_forbids_a_start(site, more, words):
    """Each reason is a line, and the exit status is 1."""
    site.write(more)

    status, out, _ = site.poms("check")

    assert status == 1
    assert words in out


def test_check_tells_how_long_credentials_are_good(site):
    """For each experiment of poms.ini; bad ones are a warning, as their launches wait for better ones."""
    site.poms("db", "upgrade")
    token = site.directory / "token"
    token.write_bytes(make_token(datetime.now(UTC) + timedelta(days=2), "/sbnd"))
    token.chmod(0o600)
    site.write("[experiment sbnd]\ncredential_backend = file\n"
               f"[credentials]\ntoken = {token}\nvault_token = {token}.vault")

    status, out, _ = site.poms("check")

    assert status == 0
    assert "ok       credentials of sbnd: token of sbnd as production: good until 2" in out
    assert "warning  credentials of sbnd: The vault token of sbnd as production does not exist." in out
    assert "ok       credential backend: installed: file" in out


def test_check_looks_at_credentials_of_experiments_that_only_the_database_knows(site):
    """They use what [experiment_defaults] says; one that is not active any more is left out."""
    site.poms("db", "upgrade")
    for name in ("icarus", "argoneut"):
        site.poms("experiment", "add", name)
    with contextlib.closing(sqlite3.connect(next(site.directory.rglob("poms.db")))) as database, database:
        database.execute("UPDATE experiments SET active = 0 WHERE experiment = 'argoneut'")
    # Goes on with [experiment_defaults], which is the last section there.
    site.write("credential_backend = file\n"
               f"[credentials]\ntoken = {site.directory}/{{experiment}}.token")

    status, out, _ = site.poms("check")

    assert status == 0
    assert "warning  credentials of icarus: " in out
    assert "argoneut" not in out


def test_check_names_sections_of_experiments_that_are_not_there(site):
    """A name that is written in two ways would otherwise go unnoticed until a launch."""
    site.poms("db", "upgrade")
    site.poms("experiment", "add", "sbnd")
    site.write("[experiment sbdn]\n[experiment sbnd]")

    status, out, _ = site.poms("check")

    assert status == 0
    assert "warning  experiment sbdn: " in out and "poms experiment add sbdn" in out
    assert "warning  experiment sbnd" not in out


def test_check_says_what_is_wrong_with_settings_of_credentials(site):
    """What cannot be meant forbids the start."""
    site.write("[experiment sbnd]\ncredential_backend = file\n[credentials]\ntoken = relative")

    status, out, _ = site.poms("check")

    assert status == 1
    assert "error    credentials of sbnd: [credentials] token: 'relative' is no absolute path" in out


def test_check_warns_of_unknown_keys(site):
    """A warning is shown and forbids nothing."""
    site.poms("db", "upgrade")
    site.write("[web]\nthread = 3")

    status, out, _ = site.poms("check")

    assert status == 0
    assert "warning  settings" in out and "did you mean threads?" in out


def test_error_of_a_plugin_forbids_the_start(site):
    """What a plugin finds wrong counts like what POMS finds."""
    site.poms("db", "upgrade")
    site.write("", level="error")

    assert site.poms("check")[0] == 1
    done = site.process("agent")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "poms: weather: it rains")


# ------------------------------------------------------------------------------------- database, people


def test_database_commands_tell_how_the_tables_stand(site):
    """Before, after, and compared with the model."""
    assert site.poms("db", "current")[0] == 3
    assert "upgraded from nothing" in site.poms("db", "upgrade")[1]
    assert "were up to date" in site.poms("db", "upgrade")[1]
    status, out, _ = site.poms("db", "current")
    assert (status, "up to date" in out) == (0, True)
    assert site.poms("db", "check")[:2] == (0, "the tables agree with the model\n")


def test_people_and_roles_are_kept(site):
    """Experiments, people and roles can be made, listed and changed."""
    site.poms("db", "upgrade")
    site.poms("experiment", "add", "sbnd", "--name", "Short-Baseline Near Detector")
    site.poms("experiment", "add", "dune")
    site.poms("user", "add", "alice", "--first-name", "Alice", "--experiment", "sbnd", "--role", "production")
    site.poms("user", "add", "bob", "--root")
    site.poms("user", "role", "bob", "dune", "superuser")
    site.poms("user", "role", "alice", "dune", "analysis")
    site.poms("user", "role", "alice", "dune", "none")

    experiments = site.poms("experiment", "list")[1]
    people = site.poms("user", "list")[1].splitlines()

    assert "Short-Baseline Near Detector" in experiments and "dune" in experiments
    assert [line.split()[0] for line in people] == ["alice", "bob"]
    assert "sbnd: production" in people[0] and "dune" not in people[0]
    assert "dune: superuser; root" in people[1]


@pytest.mark.parametrize("words", [
    ("experiment", "add", "sbnd"), ("experiment", "add", "../x"), ("experiment", "add", "a b"),
    ("experiment", "add", "SBND"), ("user", "add", "alice"), ("user", "add", "a'; DROP TABLE jobs--"),
    ("user", "add", "x\ny"), ("user", "add", "$(id)"), ("user", "add", "eve", "--experiment", "nowhere"),
    ("user", "role", "nobody", "sbnd", "analysis"), ("user", "role", "alice", "nowhere", "analysis"),
])
def test_what_cannot_be_is_refused_and_nothing_kept(site, words):
    """Doubled, hostile and unknown names change nothing."""
    site.poms("db", "upgrade")
    site.poms("experiment", "add", "sbnd")
    site.poms("user", "add", "alice")
    before = site.poms("user", "list")[1], site.poms("experiment", "list")[1]

    status, _, err = site.poms(*words)

    assert status == 1
    assert err.startswith("poms: ") and err.count("\n") == 1
    assert (site.poms("user", "list")[1], site.poms("experiment", "list")[1]) == before


def test_a_role_from_an_outside_list_does_not_overrule_a_decision(site):
    """The command says that it changed nothing, and succeeds."""
    site.poms("db", "upgrade")
    site.poms("experiment", "add", "sbnd")
    site.poms("user", "add", "alice", "--experiment", "sbnd", "--role", "production")

    status, out, _ = site.poms("user", "role", "alice", "sbnd", "analysis", "--source", "ferry")

    assert (status, out) == (0, "alice stays in sbnd what was decided there; ferry says analysis\n")
    assert "sbnd: production" in site.poms("user", "list")[1]


def test_changes_of_people_are_in_the_event_log(site):
    """Who was given what is on record."""
    site.poms("db", "upgrade")
    site.poms("experiment", "add", "sbnd")
    site.poms("user", "add", "alice", "--experiment", "sbnd")

    with sqlite3.connect(site.directory / "data" / "poms.db") as connection:
        kinds = [row[0] for row in connection.execute("SELECT kind FROM events ORDER BY event_id")]

    assert kinds == ["experiment.added", "person.changed", "person.changed"]


# ------------------------------------------------------------------------------- serve and agent refuse


@pytest.mark.parametrize("verb", ["serve", "agent"])
def test_missing_tables_end_with_status_three(site, verb):
    """A start script can tell this from every other failure."""
    done = site.process(verb)

    assert done.returncode == 3
    assert "run `poms db upgrade`" in done.stderr
    assert not (site.directory / "data" / "poms.db").exists()


@pytest.mark.parametrize("verb", ["serve", "agent"])
def test_tables_from_the_future_end_with_status_three(site, verb):
    """An old program does not touch a newer database."""
    site.poms("db", "upgrade")
    with sqlite3.connect(site.directory / "data" / "poms.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    done = site.process(verb)

    assert done.returncode == 3
    assert "newer than this program" in done.stderr


def test_demo_identity_on_an_outer_address_does_not_start(site):
    """The command line is checked like the file."""
    site.poms("db", "upgrade")

    done = site.process("serve", "--listen", "0.0.0.0:0")

    assert done.returncode == 1
    assert "everybody would be the demo user" in done.stderr


def test_port_in_use_is_said_in_one_line(site):
    """The address and the likely reason, no traceback."""
    site.poms("db", "upgrade")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = site.process("serve", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")

    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_data_directory_that_cannot_be_written_is_named(site):
    """Nothing is begun that could not be kept."""
    (site.directory / "data").write_text("a file where the directory should be")

    done = site.process("serve")

    assert done.returncode == 1
    assert f"the data directory {site.directory}/data cannot be written" in done.stderr


def test_second_server_on_one_sqlite_file_is_refused(site):
    """Two servers on SQLite would wait for each other; the first is named by its process."""
    import fcntl

    site.poms("db", "upgrade")
    with (site.directory / "data" / "server.lock").open("w") as lock:
        lock.write("4711\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = site.process("serve", "--listen", "127.0.0.1:0")

    assert done.returncode == 1
    assert "another server (process 4711)" in done.stderr


# ------------------------------------------------------------------------------------ serve and agent run


@pytest.fixture
def start(site):
    """Start a command that stays; it is ended after the test if it did not end by itself."""
    processes = []

    def begin(*words):
        process = subprocess.Popen([sys.executable, "-m", "poms.webservice", *words, "--config", str(site.file)],
                                   env={**os.environ, "PYTHONPATH": str(site.directory)}, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def test_server_says_where_it_is_and_answers_there(site, start):
    """With port 0 the address that was found is the one that is told."""
    site.poms("db", "upgrade")
    process = start("serve", "--listen", "127.0.0.1:0")
    said = process.stdout.readline().strip()

    assert said.startswith("POMS is ready: http://127.0.0.1:") and said.endswith("/poms/")
    host, _, port = said.split("/")[2].partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", "/poms/")
    answer = connection.getresponse()
    assert answer.getheader("Content-Security-Policy")
    assert answer.status == 401, "the demo user is not registered here"


def test_server_ends_cleanly_and_gives_its_place_free(site, start):
    """After SIGTERM the next server starts at once, on the same database."""
    site.poms("db", "upgrade")
    for _ in range(2):
        process = start("serve", "--listen", "127.0.0.1:0")
        assert process.stdout.readline().startswith("POMS is ready")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_second_server_is_told_of_the_first(site, start):
    """The message names the process that is in the way."""
    site.poms("db", "upgrade")
    first = start("serve", "--listen", "127.0.0.1:0")
    assert first.stdout.readline().startswith("POMS is ready")

    done = site.process("serve", "--listen", "127.0.0.1:0")

    assert done.returncode == 1
    assert f"another server (process {first.pid})" in done.stderr


def test_agent_runs_until_it_is_told_to_end(site, start):
    """SIGTERM ends it after its present step, with status 0."""
    site.poms("db", "upgrade")
    process = start("agent")
    while "agent started" not in (line := process.stderr.readline()):
        assert line, "the agent ended by itself"
    process.send_signal(signal.SIGTERM)

    assert process.wait(60) == 0


# ------------------------------------------------------------------------------------ the web server


@pytest.fixture
def web():
    """The embedded server with a small application, in a process of its own; (process, host, port)."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    host, _, port = process.stdout.readline().strip().rpartition(":")
    yield process, host, int(port)
    process.kill()
    process.communicate()


def ask(web, *lines):
    """Send a request as it stands; (status, body)."""
    _, host, port = web
    with socket.create_connection((host, port), timeout=30) as connection:
        connection.sendall(b"\r\n".join((b"GET / HTTP/1.1", b"Host: x", b"Connection: close", *lines, b"", b"")))
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2].decode()


def test_headers_arrive_as_they_were_sent(web):
    """Lists in several lines are joined, names know no case."""
    status, body = ask(web, b"x-shib-userid: alice", b"Accept: a", b"accept: b", b"X-Forwarded-For: 1", b"X-Empty:")

    assert status == 200
    assert "HTTP_X_SHIB_USERID=alice" in body
    assert "HTTP_ACCEPT=a, b" in body


@pytest.mark.parametrize("lines", [
    (b"X-Shib-Userid: alice", b"X-Shib-Userid: root"), (b"X-Shib-Userid: alice", b"x-shib-userid: alice"),
    (b"X-Shib-Userid: alice", b"X_Shib_Userid: root"), (b"X_Shib_Userid: root", b"X-Shib-Userid: alice"),
    (b"X-Shib-Userid: alice", b" root"), (b"X-Shib-Userid: alice", b"\troot"), (b"X-Shib-Userid : alice",),
    (b" X-Shib-Userid: alice",), (b"X-Shib-Userid\0: alice",), (b"X-Shib-Userid: al\0ice",),
    (b"X-Shib-Userid: al\rice",), (b"X-Shib-Userid: al\x1bice",), (b"X-Shib-Userid",), (b": alice",),
    (b"X-Shib\xc3\xa9: alice",), (b"X-Shib-Userid: alice\n",), (b"Host: y",), (b"Cookie: a=1", b"Cookie: b=2"),
    (b"Content-Length: 1", b"Content-Length: 2"), (b"Authorization: Bearer a", b"Authorization: Bearer b"),
], ids=repr)
def test_ambiguous_headers_are_refused(web, lines):
    """No application ever has to guess which of two readings was meant."""
    assert ask(web, *lines)[0] == 400


def test_underscored_header_never_becomes_a_dashed_one(web):
    """WSGI could not tell them apart."""
    status, body = ask(web, b"X_Shib_Userid: root")

    assert status == 200
    assert "ROOT" not in body.upper()


def test_header_that_is_too_long_is_refused(web):
    """A request cannot fill the memory."""
    assert ask(web, b"X-Long: " + b"a" * 100_000)[0] == 413


def test_body_that_is_too_long_is_refused(web):
    """[web] max_upload_bytes holds before the application sees anything."""
    _, host, port = web
    connection = http.client.HTTPConnection(host, port, timeout=30)
    connection.request("POST", "/", body=b"x" * 2000)

    assert connection.getresponse().status == 413


def test_signal_ends_the_server_after_what_is_under_way(web):
    """A request that was begun is answered, then the process ends by itself with status 0."""
    process, host, port = web
    connection = http.client.HTTPConnection(host, port, timeout=30)
    answers = []

    def request():
        connection.request("GET", "/slow")
        answers.append(connection.getresponse().status)

    thread = threading.Thread(target=request)
    thread.start()
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGTERM)
    process.stdin.write("go\n")
    process.stdin.flush()
    thread.join(30)

    assert answers == [200]
    assert process.stdout.readline() == "ended\n"
    assert process.wait(30) == 0


# ------------------------------------------------------------------------------------------ campaigns


@pytest.fixture
def server():
    """An HTTP server that answers as told and keeps what it was asked."""
    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((self.command, self.path, dict(self.headers), body))
            status, kind, text = answers.pop(0)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text.encode())))
            if status == 303:
                self.send_header("Location", "http://x/poms/list_launch_file/sbnd?fname=a_17")
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *arguments):
            """Silent."""

    asked, answers = [], []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", asked, answers
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_upload_sends_the_text_byte_for_byte(site, server):
    """Comments, order and line ends of a campaign text are its author's."""
    address, asked, answers = server
    answers.append((200, "application/json",
                    '{"status": "201 Created", "message": ["take care"], "campaign_stage_ids": [[5, "gen"]]}'))
    text = "[campaign]\r\nname = é %(x)s\r\n# a comment\r\n"
    path = site.directory / "my.ini"
    path.write_bytes(text.encode())

    status, out, _ = site.poms("campaign", "upload", str(path), "-e", "sbnd", "--server", address, "--replace")

    assert (status, out) == (0, "take care\nstage gen: 5\n")
    assert asked[0][1] == "/poms/ini_to_campaign/sbnd/production"
    assert text.encode() in asked[0][3]
    assert b'name="replace"\r\n\r\nTrue' in asked[0][3]


def test_refused_upload_is_a_failure(site, server):
    """The server says so in a body with status 200; a script must still see it."""
    address, _, answers = server
    answers.append((200, "application/json", '{"status": "400 Bad Request", "message": "No Campaign section"}'))
    (site.directory / "my.ini").write_text("x")

    status, out, err = site.poms("campaign", "upload", str(site.directory / "my.ini"), "-e", "sbnd", "--server",
                                 address)

    assert status == 1
    assert "No Campaign section" in out and "400 Bad Request" in err


def test_download_writes_the_text_byte_for_byte(site, server):
    """Down and up again changes nothing."""
    address, asked, answers = server
    answers.append((200, "text/ini", "[campaign]\r\nname = é\n"))
    target = site.directory / "down.ini"

    status, _, _ = site.poms("campaign", "download", "a&b name", "-e", "sbnd", "--server", f"{address}/poms/",
                             "-o", str(target))

    assert status == 0
    assert target.read_bytes() == "[campaign]\r\nname = é\n".encode()
    assert asked[0][:2] == ("GET", "/poms/campaign_deps_ini/sbnd/production?name=a%26b+name")


def test_download_of_nothing_is_a_failure(site, server):
    """A server that answers with a sentence has no text."""
    address, _, answers = server
    answers.append((200, "text/ini", "Error: Campaign 'x' was not found for 'sbnd' experiment"))
    target = site.directory / "down.ini"

    status, _, err = site.poms("campaign", "download", "x", "-e", "sbnd", "--server", address, "-o", str(target))

    assert (status, target.exists()) == (1, False)
    assert "was not found" in err


def test_launch_names_the_campaign_by_its_number(site, server):
    """Two calls: the number, then the launch with a request key of its own."""
    address, asked, answers = server
    answers += [(200, "application/json", "4"), (303, "text/html", "")]

    status, out, _ = site.poms("campaign", "launch", "mc", "-e", "sbnd", "--server", address, "--test")

    assert status == 0 and "a_17" in out
    assert [path for _, path, _, _ in asked] == ["/poms/get_campaign_id/sbnd/production",
                                                "/poms/launch_campaign/sbnd/production"]
    assert b"campaign_id=4" in asked[1][3] and b"test_launch=1" in asked[1][3]


def test_status_lists_submissions(site, server):
    """One line each, for people and for grep."""
    address, _, answers = server
    answers.append((200, "application/json", '{"data": {"submissions": [{"submission_id": 17, "status": "Running", '
                                             '"campaign_stage_name": "gen", "jobsub_job_id": "8@s"}]}}'))

    status, out, _ = site.poms("campaign", "status", "mc", "-e", "sbnd", "--server", address)

    assert (status, out.split()) == (0, ["17", "Running", "gen", "8@s"])


@pytest.mark.parametrize("status_code", [400, 401, 403, 404, 409, 423, 500])
def test_refusal_is_shown_in_the_servers_words(site, server, status_code):
    """Without the page around them, in one line."""
    address, _, answers = server
    answers.append((status_code, "text/html", "<html><head><title>x</title></head><body><nav>menu</nav>"
                                              "<p>Not in\n<b>your</b> experiment</p></body></html>"))

    status, _, err = site.poms("campaign", "download", "mc", "-e", "sbnd", "--server", address)

    assert status == 1
    assert err == f"poms: campaign_deps_ini: {status_code}: Not in your experiment\n"


def test_token_is_sent_and_not_shown(site, server):
    """The token file's text is the credential."""
    address, asked, answers = server
    answers.append((401, "text/plain", "no"))
    (site.directory / "token").write_text("sesame-999\n")

    _, out, err = site.poms("campaign", "download", "mc", "-e", "sbnd", "--server", address, "--token-file",
                            str(site.directory / "token"))

    assert asked[0][2]["Authorization"] == "Bearer sesame-999"
    assert "sesame" not in out + err


def test_server_that_is_not_there_is_said(site):
    """The address and what to look at."""
    status, _, err = site.poms("campaign", "download", "mc", "-e", "sbnd", "--server", "http://127.0.0.1:1")

    assert status == 3
    assert "does not answer" in err and err.count("\n") == 1
