"""poms.ini: what is read, what is refused in which words, and how secrets are kept."""

import io
import json
import logging
import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from poms.webservice import config, logs
from poms.webservice.errors import ConfigurationError
from poms.webservice.interfaces import Setting, SettingsSection

ROOT = Path(__file__).resolve().parent.parent
POOL = SettingsSection("pool", "A batch system.", (
    Setting("host", "str", None, "The host of the schedd."),
    Setting("Retries", "int", "3", "How often to ask again."),
    Setting("wait", "seconds", "2m", "How long to wait."),
    Setting("sites", "list", "", "Where to run."),
    Setting("keep", "bool", "no", "Keep the sandbox."),
))


def read(text, tmp_path, *sections):
    return config.parse(text, directory=tmp_path, file="poms.ini", sections=sections)


def test_empty_file_gives_the_embedded_default(tmp_path):
    """Nothing said means: SQLite, local backends, demo identity, loopback."""
    settings = read("", tmp_path)

    assert settings.database.url == f"sqlite:///{tmp_path}/var/poms.db"
    assert settings.web.listen == "127.0.0.1:8080"
    assert settings.identity.sources == ("demo",)
    assert settings.experiment("sbnd").job_backend == "local"
    assert settings.service.public_url == "http://127.0.0.1:8080"
    assert settings.warnings == ()


def test_experiment_section_overrides_the_defaults_key_by_key(tmp_path):
    """An experiment's own words win, the defaults hold for the rest, the built-in ones below."""
    settings = read("[experiment_defaults]\njob_backend = condor\ntime_zone = UTC\n"
                    "[experiment sbnd]\ntime_zone = America/Chicago\n", tmp_path)

    assert settings.experiment("sbnd").time_zone == "America/Chicago"
    assert settings.experiment("sbnd").job_backend == "condor"
    assert settings.experiment("dune").time_zone == "UTC"
    assert settings.experiment("dune").name == "dune"
    assert set(settings.experiments) == {"sbnd"}


def test_settings_cannot_be_changed(tmp_path):
    """What was read at the start holds for the life of the process."""
    settings = read("", tmp_path)

    with pytest.raises(FrozenInstanceError):
        settings.web.threads = 3


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("0.5", 0.5), ("30s", 30), ("5m", 300), ("2 h", 7200),
                                               ("1d", 86400)])
def test_times_may_carry_a_unit(tmp_path, text, seconds):
    """A time is a number of seconds, minutes, hours or days."""
    assert read(f"[agent]\nlaunch_seconds = {text}\n", tmp_path).agent.launch_seconds == seconds


@pytest.mark.parametrize(("section", "key", "value", "expected"), [
    ("web", "threads", "many", "a whole number"),
    ("web", "threads", "0", "at least 1"),
    ("experiment_defaults", "catalogue_clock_tolerance_seconds", "-1", "a time such as"),
    ("web", "threads", "1_000", "a whole number"),
    ("web", "threads", "٣", "a whole number"),
    ("web", "listen", "8080", "host:port"),
    ("web", "listen", "127.0.0.1:99999", "host:port"),
    ("web", "listen", "[::g]:80", "host:port"),
    ("agent", "poll_seconds", "soon", "a time such as"),
    ("agent", "poll_seconds", "-1", "a time such as"),
    ("agent", "located_after_days", "nan", "a number"),
    ("service", "log_format", "xml", "one of logfmt, json"),
    ("service", "public_url", "javascript:alert(1)", "an http"),
    ("experiment_defaults", "launch_recovery_jobs", "maybe", "true or false"),
    ("experiment sbnd", "time_zone", "Mars/Olympus", "time zone"),
    ("experiment sbnd", "links", "Logbook javascript:alert(1)", "an address that begins with https://"),
    ("experiment sbnd", "links", "https://elog.example.org", "names, each with an address"),
    ("experiment sbnd", "time_zone", "../../etc/passwd", "time zone"),
])
def test_malformed_value_names_file_section_key_value_and_what_is_expected(tmp_path, section, key, value, expected):
    """An administrator can repair the file from the message alone."""
    with pytest.raises(ConfigurationError) as caught:
        read(f"[{section}]\n{key} = {value}\n", tmp_path)

    for part in ("poms.ini", f"[{section}]", key, value, expected):
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["no section\n", "[web\nthreads = 1\n", "[web]\nthreads = 1\nthreads = 2\n",
                                  "[web]\n[web]\n", "[experiment a/b]\n", "[experiment ../x]\n"])
def test_file_that_is_no_configuration_is_refused(tmp_path, text):
    """A broken or ambiguous file stops the start-up."""
    with pytest.raises(ConfigurationError, match="poms.ini"):
        read(text, tmp_path)


@pytest.mark.parametrize(("text", "hint"), [
    ("[web]\nthread = 3\n", "threads"), ("[experiment sbnd]\ntimezone = UTC\n", "time_zone"),
    ("[experiment_default]\nx = 1\n", "experiment_defaults"), ("[poool]\nhost = a\n", "pool"),
    ("[pool sbnd]\nhots = a\n", "host"),
])
def test_unknown_key_is_warned_about_with_the_nearest_known_one(tmp_path, text, hint):
    """A spelling mistake is not silently ignored, and does not stop the service."""
    (warning,) = read(text, tmp_path, POOL).warnings

    assert f"did you mean {hint}?" in warning


def test_values_are_taken_as_they_are(tmp_path):
    """Percent signs, quotes, colons and text after # or ; belong to the value."""
    settings = read("[service]\nname = 100% \"POMS\": a; b # c $(id) é\n", tmp_path)

    assert settings.service.name == "100% \"POMS\": a; b # c $(id) é"


def test_plugin_section_is_converted_by_its_declaration(tmp_path):
    """A plugin gets typed values, with its defaults for what is not said."""
    settings = read("[pool]\nhost = schedd1\nretries = 7\nsites = A, B\n", tmp_path, POOL)

    assert dict(settings.plugin_section("pool")) == {
        "host": "schedd1", "Retries": 7, "wait": 120.0, "sites": ("A", "B"), "keep": False}


def test_plugin_section_can_differ_for_one_experiment(tmp_path):
    """``[pool sbnd]`` overrides ``[pool]`` for sbnd alone."""
    settings = read("[pool]\nhost = one\nretries = 7\n[pool sbnd]\nhost = two\n", tmp_path, POOL)

    assert settings.plugin_section("pool", "sbnd")["host"] == "two"
    assert settings.plugin_section("pool", "sbnd")["Retries"] == 7
    assert settings.plugin_section("pool", "dune")["host"] == "one"


def test_malformed_value_of_a_plugin_stops_the_start(tmp_path):
    """It must not be noticed at the first launch."""
    with pytest.raises(ConfigurationError, match=r"\[pool sbnd\] Retries = 'x': expected a whole number"):
        read("[pool sbnd]\nretries = x\n", tmp_path, POOL)


def test_required_key_is_missed_only_by_those_who_use_the_section(tmp_path):
    """An installed plugin that nobody chose needs no configuration."""
    settings = read("", tmp_path, POOL)

    with pytest.raises(ConfigurationError, match=r"\[pool\] host is required"):
        settings.plugin_section("pool")


@pytest.mark.parametrize("name", ["web", "pool", "experiment x"])
def test_section_cannot_be_claimed_twice(tmp_path, name):
    """Two readers of one section would misunderstand each other."""
    with pytest.raises(ConfigurationError, match="declared twice"):
        read("", tmp_path, POOL, SettingsSection(name, "", ()))


def test_file_is_looked_for_on_the_command_line_then_in_the_environment(tmp_path, monkeypatch):
    """--config wins over POMS_CONFIG, which wins over the installed file."""
    monkeypatch.setenv("POMS_CONFIG", str(tmp_path / "b.ini"))

    assert config.find_file(tmp_path / "a.ini") == tmp_path / "a.ini"
    assert config.find_file() == tmp_path / "b.ini"


def test_installed_file_is_taken_before_the_checkout(tmp_path, monkeypatch):
    """An installation has its own poms.ini; a checkout falls back to the one it carries."""
    monkeypatch.delenv("POMS_CONFIG", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert config.find_file() == ROOT / "poms.ini"

    (tmp_path / "etc" / "poms").mkdir(parents=True)
    (tmp_path / "etc" / "poms" / "poms.ini").write_text("")

    assert config.find_file() == tmp_path / "etc" / "poms" / "poms.ini"


def test_named_file_that_is_not_there_is_an_error(tmp_path):
    """A wrong --config must not lead to the defaults."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.ini"):
        config.load(tmp_path / "nowhere.ini")


def test_relative_data_directory_starts_at_the_file(tmp_path):
    """The working directory of a daemon does not decide which database it uses."""
    (tmp_path / "poms.ini").write_text("[service]\ndata_dir = data/here\n")

    assert config.load(tmp_path / "poms.ini").service.data_dir == tmp_path / "data" / "here"


def test_overriding_checks_the_value_and_moves_the_public_address(tmp_path):
    """What the command line says is checked like what the file says."""
    settings = read("", tmp_path)

    assert settings.overriding("web", listen="127.0.0.1:9").service.public_url == "http://127.0.0.1:9"
    with pytest.raises(ConfigurationError, match="host:port"):
        settings.overriding("web", listen="nine")


def test_database_password_is_not_shown(tmp_path):
    """Neither the settings' text nor an error carries the password."""
    settings = read("[database]\nurl = postgresql+psycopg2://poms:sesame99@db/poms\n", tmp_path)

    assert "sesame99" not in repr(settings)
    assert "sesame99" not in settings.database.shown_url
    assert "sesame99" in settings.database.url


def test_secret_is_made_once_and_only_for_its_owner(tmp_path):
    """The same text for ever, in a file of mode 600 in a directory of mode 700."""
    settings = read("", tmp_path)
    secret = settings.secret("csrf")
    path = tmp_path / "var" / "secrets" / "csrf"

    assert len(secret) >= 40
    assert read("", tmp_path).secret("csrf") == secret
    assert settings.secret("other") != secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_secret_is_the_same_for_processes_that_start_together(tmp_path):
    """Of several processes that make it at once, one wins and all use its text."""
    program = ("import sys; from pathlib import Path; from poms.webservice import config; sys.stdin.readline(); "
               "print(config.parse('', directory=Path(sys.argv[1])).secret('shared'))")
    processes = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True) for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda process: process.communicate("go\n")[0], processes))

    assert len(set(answers)) == 1
    assert answers[0].strip()
    assert sorted(path.name for path in (tmp_path / "var" / "secrets").iterdir()) == ["shared"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", ".hidden", "a\nb", "a" * 65])
def test_secret_names_form_no_paths(tmp_path, name):
    """A secret is always a file of the secrets directory."""
    with pytest.raises(ConfigurationError, match="name of a secret"):
        read("", tmp_path).secret(name)


def test_secret_that_others_may_read_is_refused(tmp_path):
    """A secret that leaked is none."""
    settings = read("", tmp_path)
    settings.secret("csrf")
    (tmp_path / "var" / "secrets" / "csrf").chmod(0o644)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        settings.secret("csrf")


def test_empty_secret_is_refused(tmp_path):
    """An empty file must not become an empty password."""
    settings = read("", tmp_path)
    settings.secret("csrf")
    (tmp_path / "var" / "secrets" / "csrf").write_text("\n")

    with pytest.raises(ConfigurationError, match="is empty"):
        settings.secret("csrf")


# ------------------------------------------------------------------------------------------- logging


def logged(form, message, *arguments, **extra):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.LineFormatter(form))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.info(message, *arguments, extra=extra)
    return stream.getvalue()


@pytest.mark.parametrize("form", logs.FORMATS)
@pytest.mark.parametrize("hostile", ["a\nat=now level=error", "a\r\nb", "\x1b[2J", "\x85next", "\u2028line",
                                     "\ud800", 'quote" level="error', "back\\slash", "\u202egnp"])
def test_record_is_one_line_whatever_it_says(form, hostile):
    """Nothing that comes from outside can forge a second record or steer a terminal."""
    line = logged(form, "launch of %s", hostile, stage=hostile)

    assert len(line.splitlines()) == 1
    assert not set(line[:-1]) & set("\r\n\x1b\x85\u2028\u202e")
    line.encode("utf-8")


def test_json_line_carries_the_fields():
    """A program gets message and fields back as they were."""
    record = json.loads(logged("json", "status %s", "a\nb", submission_id=17))

    assert record["message"] == "status a\nb"
    assert record["submission_id"] == 17
    assert record["level"] == "info"


@pytest.mark.parametrize("text", [
    "Authorization: Bearer c2VzYW1lOTk5OTk", "postgresql://poms:c2VzYW1lOTk5OTk@db/poms",
    "token=c2VzYW1lOTk5OTk&x=1", '{"password": "c2VzYW1lOTk5OTk"}', "eyJhbGciOi.c2VzYW1lOTk5OTk.x",
    "-----BEGIN RSA PRIVATE KEY-----\nc2VzYW1lOTk5OTk\n-----END RSA PRIVATE KEY-----",
])
@pytest.mark.parametrize("form", logs.FORMATS)
def test_credentials_are_not_logged(form, text):
    """Whatever looks like a credential is taken out of messages and fields."""
    assert "c2VzYW1lOTk5OTk" not in logged(form, "got %s", text, detail=text)


def test_fields_with_telling_names_are_hidden():
    """A field called token is never shown, whatever it holds."""
    assert "plain-words" not in logged("logfmt", "x", token="plain-words", proxy_secret="plain-words")


def test_secrets_of_the_service_are_not_logged(tmp_path):
    """A secret that POMS made is known to the log, and left out."""
    secret = read("", tmp_path).secret("csrf")

    assert secret not in logged("logfmt", "the cookie is %s", secret)


def test_traceback_is_part_of_the_line():
    """A traceback stays with its record."""
    stream = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(stream))
    logger.handlers[0].setFormatter(logs.LineFormatter())
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logger.exception("failed")

    assert len(stream.getvalue().splitlines()) == 1
    assert "ValueError" in stream.getvalue()


# ------------------------------------------------------------------------------------- documentation


def test_page_describes_every_declared_key():
    """docs/configuration.md is what the declarations of POMS and its plugins say today."""
    made = subprocess.run([sys.executable, "-m", "poms.webservice", "settings", "--markdown"], text=True,
                          capture_output=True, check=True, env={**os.environ, "PYTHONUTF8": "1"})

    assert (ROOT / "docs" / "configuration.md").read_text() == made.stdout, \
        "run: poms settings --markdown > docs/configuration.md"


def test_sample_file_shows_every_key_and_changes_nothing(tmp_path):
    """The poms.ini that is delivered is the sample, and equals an empty one."""
    text = (ROOT / "poms.ini").read_text()

    assert text == config.sample(())
    assert re.sub(r"(?m)^#.*\n|^\s*\n|^\[.*\]\n", "", text) == ""
    for section in config.core_sections():
        for setting in section.settings:
            assert f"\n#{setting.name} =" in text


def test_sample_defaults_are_accepted_when_uncommented(tmp_path):
    """Every default can be written out and read back."""
    text = re.sub(r"(?m)^#(\[|\w+ =)", r"\1", config.sample(()))

    settings = read(text, tmp_path)

    assert settings.service == read("", tmp_path).service
    assert settings.agent == read("", tmp_path).agent


@pytest.mark.parametrize("bare", ["postgresql", "postgres"])
def test_a_bare_postgresql_address_means_the_driver_that_is_installed(bare, tmp_path):
    """People write addresses without a driver; which one that means must not change with a library's version."""
    settings = config.parse(f"[database]\nurl = {bare}://poms@dbhost/poms\n", directory=tmp_path)

    assert settings.database.url == "postgresql+psycopg2://poms@dbhost/poms"
