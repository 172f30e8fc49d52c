"""``poms.ini``, read once into frozen dataclasses; every key is declared where its field is.

The only module that looks at the process environment (``POMS_CONFIG``). It knows no plugin:
plugins declare their sections, and ``Settings.with_sections`` makes the final reading. An unknown
key is a warning, a malformed value stops the start-up. Secrets are made here and never shown.
"""

from __future__ import annotations

import configparser
import difflib
import ipaddress
import os
import re
import secrets as random_secrets
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from poms.webservice import logs
from poms.webservice.errors import ConfigurationError, Invalid
from poms.webservice.interfaces import Setting, SettingsSection
from poms.webservice.rules.recovery_policies import parse_policy

CONFIG_VARIABLE = "POMS_CONFIG"
DATABASE_FILE = "poms.db"

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_EXPERIMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_SECRET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


# --------------------------------------------------------------------------------- texts to values


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)", text)
    if not match:
        raise ValueError(text)
    return float(match[1]) * _UNITS[match[2]]


def _bool(text: str) -> bool:
    if text.lower() not in _YES + _NO:
        raise ValueError(text)
    return text.lower() in _YES


def _number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        # Python also takes "1_000", "nan" and other people's digits; a configuration should not.
        if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text, re.ASCII):
            raise ValueError(text)
        return kind(text)

    return convert


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in re.split(r"[,\n]", text) if part.strip())


_KINDS: dict[str, tuple[Callable[[str], Any], str]] = {
    "str": (str, "a text"),
    "int": (_number(int), "a whole number"),
    "float": (_number(float), "a number"),
    "bool": (_bool, "true or false"),
    "list": (_list, "values separated by commas"),
    "seconds": (_seconds, "a time such as 30, 30s, 5m, 2h or 1d"),
    "path": (Path, "a path"),
}


def _whole(values: tuple[str, ...]) -> None:
    for value in values:
        int(value)


_whole_numbers = (_whole, "whole numbers separated by commas")


def _named_addresses(values: tuple[str, ...]) -> None:
    for value in values:
        name, _, address = value.rpartition(" ")
        if not name.strip() or not re.fullmatch(r"https?://[^/\s].*", address):
            raise ValueError(value)


def _time_zone(text: str) -> None:
    ZoneInfo(text)


def _listen_address(text: str) -> None:
    split_listen(text)


def _one_of(*choices: str) -> tuple[Callable[[str], None], str]:
    def check(value: str) -> None:
        if value not in choices:
            raise ValueError(value)

    return check, "one of " + ", ".join(choices)


def _at_least(least: float) -> tuple[Callable[[Any], None], str]:
    def check(value: Any) -> None:
        if value < least:
            raise ValueError(value)

    return check, f"at least {least:g}"


def _recovery_rules(text: str) -> None:
    try:
        parse_policy(text)
    except Invalid as invalid:
        raise ConfigurationError("; ".join(map(str, invalid.problems))) from None


def _web_address(text: str) -> None:
    if text and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", text):
        raise ValueError(text)


def _key(kind: str, default: str, help: str, *, check: tuple[Callable[[Any], None], str] | None = None,
         shown: bool = True) -> Any:
    """A field that is also a key of poms.ini; ``check`` is a test and what it expects, in words."""
    convert = _KINDS[kind][0]
    return field(default=convert(default), repr=shown,
                 metadata={"kind": kind, "default": default, "help": help, "check": check})


def split_listen(listen: str) -> tuple[str, int]:
    """``host:port`` or ``[IPv6]:port`` taken apart; raises ValueError."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})", listen)
    if not match or int(match[3]) > 65535:
        raise ValueError(listen)
    if match[1]:
        ipaddress.IPv6Address(match[1])
    return match[1] or match[2], int(match[3])


# ------------------------------------------------------------------------------------ core sections


@dataclass(frozen=True)
class ServiceSettings:
    """The service as a whole."""

    name: str = _key("str", "POMS", "Name of this installation, shown at the top of every page.")
    data_dir: Path = _key("path", "./var", "Directory for the database, logs and files of the service. "
                          "A relative path starts at the directory of this file.")
    public_url: str = _key("str", "", "Address under which people and jobs reach the service, such as "
                           "https://poms.example.org. Empty: http:// and the listen address.",
                           check=(_web_address, "an http:// or https:// address"))
    log_format: str = _key("str", "logfmt", "How log lines look: logfmt (key=value) or json.",
                           check=_one_of(*logs.FORMATS))
    log_level: str = _key("str", "INFO", "Least important level that is logged.",
                          check=_one_of("DEBUG", "INFO", "WARNING", "ERROR"))
    plugins: tuple[str, ...] = _key("list", "", "Modules that are loaded as plugins besides those that are installed "
                                    "as entry points.")
    disabled_plugins: tuple[str, ...] = _key("list", "", "Entry points of installed plugins that are not loaded.")


@dataclass(frozen=True)
class DatabaseSettings:
    """Where the records are kept."""

    url: str = _key("str", "", "Address of the database, such as postgresql+psycopg2://poms@dbhost/poms. "
                    f"Empty: SQLite in the file {DATABASE_FILE} of the data directory.", shown=False)
    pool_size: int = _key("int", "10", "Connections that one process keeps open (PostgreSQL).", check=_at_least(1))

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    @property
    def shown_url(self) -> str:
        """The address without its password."""
        return logs.scrub(self.url)


@dataclass(frozen=True)
class WebSettings:
    """The web server."""

    listen: str = _key("str", "127.0.0.1:8080", "Address and port to listen on: host:port or [IPv6]:port.",
                       check=(_listen_address, "host:port or [IPv6]:port"))
    threads: int = _key("int", "16", "Requests that each process answers at the same time.", check=_at_least(1))
    processes: int = _key("int", "0", "Processes of poms serve that share the address. 0: on PostgreSQL one for each "
                          "processor, at most four; on SQLite always one.", check=_at_least(0))
    max_upload_bytes: int = _key("int", "20000000", "Largest request body that is accepted.", check=_at_least(1))


@dataclass(frozen=True)
class IdentitySettings:
    """How senders of requests are known."""

    sources: tuple[str, ...] = _key("list", "demo", "Identity sources, in the order in which they are asked. "
                                    "demo is for one person on one machine and refuses any but loopback addresses.")


@dataclass(frozen=True)
class AgentSettings:
    """The agents: how often they look, and how long they wait."""

    launch_seconds: float = _key("seconds", "1", "Time between looks for launches that are due.", check=_at_least(0.1))
    poll_seconds: float = _key("seconds", "20", "Time between two looks at each batch system.", check=_at_least(0.1))
    wrapup_seconds: float = _key("seconds", "20", "Time between two passes over submissions whose jobs have ended.",
                                 check=_at_least(0.1))
    schedule_seconds: float = _key("seconds", "20", "Time between two looks for scheduled launches.",
                                   check=_at_least(0.1))
    prune_seconds: float = _key("seconds", "1h", "Time between two passes that clean up.", check=_at_least(1))
    launch_log_days: float = _key("float", "180", "Launch logs are removed so many days after they were last written; "
                                  "0 keeps them for ever.", check=_at_least(0))
    job_archive_days: float = _key("float", "180", "The rows of single jobs of a submission that has been final for so "
                                   "many days are folded into sums; 0 keeps them for ever.", check=_at_least(0))
    stale_campaign_days: float = _key("float", "7", "A campaign that launched nothing for so many days, has no "
                                      "schedule and nothing under way becomes inactive; its next launch makes it "
                                      "active again. 0: never.", check=_at_least(0))
    sandbox_days: float = _key("float", "1", "The files that a person keeps with the service go to each analysis "
                               "launch of that person, in a directory of its own on the launch host; this is removed "
                               "after so many days.", check=_at_least(0))
    lease_seconds: float = _key("seconds", "60", "How long an agent may keep a launch without renewing its claim; "
                                "after that another agent takes over.", check=_at_least(3))
    launch_workers: int = _key("int", "4", "Launches that one agent runs at the same time.", check=_at_least(1))
    launch_timeout_seconds: float = _key("seconds", "30m", "A launch script that runs longer is ended.",
                                         check=_at_least(1))
    max_output_bytes: int = _key("int", "20000000", "A launch script that prints more is ended.",
                                 check=_at_least(1024))
    held_grace_seconds: float = _key("seconds", "1h", "How long jobs may stay held for a reason of "
                                     "remove_held_codes before they are removed and left to recovery.",
                                     check=_at_least(0))
    remove_held_codes: tuple[str, ...] = _key("list", "34, 47", "Hold reason codes (HTCondor's numbers) of jobs that "
                                              "used more than they asked for: 34 memory, 47 running time. Jobs held "
                                              "for other reasons wait for a person.", check=_whole_numbers)
    new_to_launchfailed_seconds: float = _key("seconds", "7200", "A new submission that nobody heard of for so long "
                                              "becomes LaunchFailed, after the batch system was asked.",
                                              check=_at_least(1))
    late_files_seconds: float = _key("seconds", "10m", "Files of a Located submission that came late wait so long for "
                                     "others, where a stage begins on parts of its input.", check=_at_least(0))
    late_files_days: float = _key("float", "7", "Files that come later than this after a submission was Located are "
                                  "not handed on.", check=_at_least(0))
    located_after_days: float = _key("float", "2", "A completed submission becomes located after so many days even "
                                     "if output is missing.", check=_at_least(0))


@dataclass(frozen=True)
class NotifySettings:
    """How people are told of what they watch."""

    channels: tuple[str, ...] = _key("list", "", "Channels by which people may be told, such as mail, webhook; each "
                                     "has a section of its own. Empty: people can watch, and nothing is sent.")
    interval_seconds: float = _key("seconds", "10", "Time between two looks for news.", check=_at_least(0.1))
    gather_seconds: float = _key("seconds", "30", "News wait so long for others, to leave in one message.",
                                 check=_at_least(0))
    shortest_digest_seconds: float = _key("seconds", "1m", "Nobody is told more often than this, whatever the person "
                                          "chose.", check=_at_least(1))
    give_up_seconds: float = _key("seconds", "3d", "A message that could not be sent for so long is given up.",
                                  check=_at_least(1))
    history_days: float = _key("float", "30", "What was sent is kept on record for so many days.", check=_at_least(1))


@dataclass(frozen=True)
class ExperimentSettings:
    """What holds for an experiment; [experiment NAME] overrides [experiment_defaults] key by key."""

    name: str = ""
    job_backend: str = _key("str", "local", "Name of the batch system backend.")
    data_backend: str = _key("str", "local", "Name of the file catalogue backend.")
    launch_transport: str = _key("str", "local", "Name of the way in which launch scripts are run.")
    credential_backend: str = _key("str", "none", "Where the proxies and tokens of launches come from, such as file. "
                                   "none: launch scripts find what the launch account has.")
    backend_timeout_seconds: float = _key("seconds", "30", "A call of a backend that takes longer is given up. "
                                          "Launches have their own limit.", check=_at_least(0.1))
    backend_workers: int = _key("int", "4", "Calls of one backend that may be under way at the same time.",
                                check=_at_least(1))
    catalogue_clock_tolerance_seconds: float = _key(
        "seconds", "5m", "Files that the file catalogue dates before a submission are not its output; so much before "
        "it they may be, for clocks that do not agree. 0: not at all.", check=_at_least(0))
    analysis_launch_hosts: tuple[str, ...] = _key("list", "", "Hosts on which analysis users may launch.")
    time_zone: str = _key("str", "UTC", "Time zone in which schedules are meant, such as America/Chicago.",
                          check=(_time_zone, "the name of a time zone such as Europe/Zurich"))
    recovery_policy: str = _key("str", "", "Recovery rules of stages whose campaign text has none, one a line, as "
                                "docs/recovering.md describes them.", check=(_recovery_rules, "recovery rules"))
    recovery_policies: str = _key("str", "active", "Whether recovery rules are followed (active), only recorded, for "
                                  "people to look at (passive), or not looked at (off).",
                                  check=_one_of("active", "passive", "off"))
    pause_failure_percent: float = _key("float", "80", "A campaign pauses itself when so many per cent of its last "
                                        "jobs failed or were removed: its launches wait until a person lets them go. "
                                        "0: never.", check=_at_least(0))
    pause_after_jobs: int = _key("int", "100", "How many of its last jobs a campaign is judged by.",
                                 check=_at_least(1))
    links: tuple[str, ...] = _key("list", "", "Pages elsewhere that stand in the menu, each a name and an address, "
                                  "such as Logbook https://elog.example.org/beam.",
                                  check=(_named_addresses, "names, each with an address that begins with https://"))
    launch_recovery_jobs: bool = _key("bool", "true", "Whether recoveries and next stages are launched without a "
                                      "person's doing; if not they are held launches.")


_CORE: dict[str, type] = {
    "service": ServiceSettings,
    "database": DatabaseSettings,
    "web": WebSettings,
    "identity": IdentitySettings,
    "agent": AgentSettings,
    "notify": NotifySettings,
    "experiment_defaults": ExperimentSettings,
}
_Section = TypeVar("_Section")


def core_sections() -> tuple[SettingsSection, ...]:
    """The sections of POMS itself, in the form in which plugins declare theirs."""
    return tuple(
        SettingsSection(name, (cls.__doc__ or "").strip(), tuple(
            Setting(each.name, each.metadata["kind"], each.metadata["default"], each.metadata["help"])
            for each in fields(cls) if each.metadata
        ))
        for name, cls in _CORE.items()
    )


# ------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True)
class _Document:
    """The texts of poms.ini by section and key, and where they came from."""

    file: str
    directory: Path
    sections: Mapping[str, Mapping[str, str]]

    def convert(self, section: str, key: str, kind: str, text: str,
                check: tuple[Callable[[Any], None], str] | None = None) -> Any:
        converter, expected = _KINDS[kind]
        try:
            value = converter(text)
        except ValueError:
            raise self.malformed(section, key, text, expected) from None
        if check:
            test, meaning = check
            try:
                test(value)
            except (ValueError, OSError, LookupError):
                raise self.malformed(section, key, text, meaning) from None
        return value

    def malformed(self, section: str, key: str, text: str, expected: str) -> ConfigurationError:
        shown = logs.scrub(f"{key}={text}").partition("=")[2]
        return ConfigurationError(f"{self.file}: [{section}] {key} = {shown!r}: expected {expected}")

    def read(self, section: str, cls: type[_Section], base: _Section | None = None) -> _Section:
        """The dataclass of a core section, what is not said taken from ``base``."""
        texts = self.sections.get(section, {})
        changes = {
            each.name: self.convert(section, each.name, each.metadata["kind"], texts[each.name],
                                    each.metadata["check"])
            for each in fields(cls) if each.metadata and each.name in texts  # type: ignore[arg-type]
        }
        return replace(base or cls(), **changes)  # type: ignore[type-var]


def _read_document(text: str, file: str, directory: Path) -> _Document:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), default_section="\0none")
    try:
        parser.read_string(text, source=file)
    except configparser.Error as error:
        raise ConfigurationError(f"{file}: {logs.scrub(str(error))}") from None
    return _Document(file, directory, {
        " ".join(name.split()): {key: (value or "").strip() for key, value in parser.items(name)}
        for name in parser.sections()
    })


def find_file(given: str | Path | None = None) -> Path | None:
    """The poms.ini to read: the one given, else $POMS_CONFIG, else the installed one, else the checkout's."""
    named = given or os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    candidates = (Path(sys.prefix) / "etc" / "poms" / "poms.ini", Path(__file__).resolve().parent.parent / "poms.ini")
    return next((path for path in candidates if path.is_file()), None)


def load(given: str | Path | None = None, sections: Iterable[SettingsSection] = ()) -> Settings:
    """Read the poms.ini of ``find_file``; without any, the defaults below the working directory."""
    path = find_file(given)
    if path is None:
        return parse("", file="(defaults)", directory=Path.cwd(), sections=sections)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: the configuration cannot be read: {error}") from None
    return parse(text, file=str(path), directory=path.resolve().parent, sections=sections)


def parse(text: str, *, directory: Path, file: str = "poms.ini",
          sections: Iterable[SettingsSection] = ()) -> Settings:
    """Settings from the text of a poms.ini; relative paths start at ``directory``."""
    document = _read_document(text, file, directory)
    service = document.read("service", ServiceSettings)
    data_dir = Path(os.path.abspath(directory / service.data_dir.expanduser()))  # noqa: PTH100 - keeps links as given
    database = document.read("database", DatabaseSettings)
    if not database.url:
        database = replace(database, url=f"sqlite:///{data_dir / DATABASE_FILE}")
    for bare in ("postgresql://", "postgres://"):
        if database.url.startswith(bare):
            # Which driver a bare address means depends on the version of SQLAlchemy; ours is psycopg2.
            database = replace(database, url=f"postgresql+psycopg2://{database.url.removeprefix(bare)}")
    web = document.read("web", WebSettings)
    defaults = document.read("experiment_defaults", ExperimentSettings)
    return Settings(
        file=file,
        service=replace(service, data_dir=data_dir,
                        public_url=(service.public_url or f"http://{web.listen}").rstrip("/")),
        database=database,
        web=web,
        identity=document.read("identity", IdentitySettings),
        agent=document.read("agent", AgentSettings),
        notify=document.read("notify", NotifySettings),
        experiment_defaults=defaults,
        experiments=MappingProxyType(_read_experiments(document, defaults)),
        _document=document,
    ).with_sections(sections)


def _read_experiments(document: _Document, defaults: ExperimentSettings) -> dict[str, ExperimentSettings]:
    found = {}
    for section in document.sections:
        kind, _, name = section.partition(" ")
        if kind == "experiment" and name:
            if not _EXPERIMENT_NAME.fullmatch(name):
                raise ConfigurationError(f"{document.file}: [{section}]: {name!r} cannot be the name of an experiment: "
                                         "use letters, digits, - and _")
            found[name] = document.read(section, ExperimentSettings, replace(defaults, name=name))
    return found


# ----------------------------------------------------------------------------------------- settings


@dataclass(frozen=True)
class Settings:
    """All that poms.ini says. ``warnings`` are keys and sections that nobody declared."""

    file: str
    service: ServiceSettings
    database: DatabaseSettings
    web: WebSettings
    identity: IdentitySettings
    agent: AgentSettings
    notify: NotifySettings
    experiment_defaults: ExperimentSettings
    experiments: Mapping[str, ExperimentSettings]
    _document: _Document = field(repr=False)
    plugin_sections: Mapping[str, SettingsSection] = field(default_factory=dict, repr=False)

    def experiment(self, name: str) -> ExperimentSettings:
        """What holds for an experiment, whether poms.ini has a section for it or not."""
        return self.experiments.get(name) or replace(self.experiment_defaults, name=name)

    def with_sections(self, sections: Iterable[SettingsSection]) -> Settings:
        """The final reading, with the sections that plugins declare; every value in them is checked."""
        declared: dict[str, SettingsSection] = {}
        for section in sections:
            if section.name in declared or section.name in _CORE or section.name.partition(" ")[0] == "experiment":
                raise ConfigurationError(f"the section [{section.name}] is declared twice: two plugins claim it")
            unknown = [setting.name for setting in section.settings if setting.type not in _KINDS]
            if unknown:
                raise ConfigurationError(f"the section [{section.name}] declares keys of an unknown type: "
                                         f"{', '.join(unknown)}; types are {', '.join(_KINDS)}")
            declared[section.name] = section
        settings = replace(self, plugin_sections=MappingProxyType(declared))
        for title in settings._document.sections:
            name, _, experiment = title.partition(" ")
            if name in declared:
                settings._plugin_values(declared[name], experiment)
        return settings

    def plugin_section(self, name: str, experiment: str = "") -> Mapping[str, Any]:
        """The values of a plugin's section; ``[NAME EXPERIMENT]`` overrides it for one experiment."""
        section = self.plugin_sections.get(name)
        if section is None:
            raise ConfigurationError(f"no plugin declares the section [{name}]")
        values = self._plugin_values(section, experiment)
        for setting in section.settings:
            if setting.name not in values:
                raise ConfigurationError(f"{self.file}: [{name}] {setting.name} is required: {setting.help}")
        return MappingProxyType(values)

    def _plugin_values(self, section: SettingsSection, experiment: str) -> dict[str, Any]:
        """Converted values of what is said, or has a default; the experiment's own words come first."""
        values = {}
        titles = ([f"{section.name} {experiment}"] if experiment else []) + [section.name]
        for setting in section.settings:
            for title in titles:
                text = self._document.sections.get(title, {}).get(setting.name.lower())
                if text is not None:
                    values[setting.name] = self._document.convert(title, setting.name, setting.type, text)
                    break
            else:
                if setting.default is not None:
                    values[setting.name] = _KINDS[setting.type][0](setting.default)
        return values

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sections and keys that nobody declared, each with the nearest declared name."""
        known = {section.name: {setting.name.lower() for setting in section.settings}
                 for section in (*core_sections(), *self.plugin_sections.values())}
        found = []
        for title, texts in self._document.sections.items():
            name, _, experiment = title.partition(" ")
            if experiment:
                keys = known["experiment_defaults"] if name == "experiment" else \
                    known[name] if name in self.plugin_sections else None
            else:
                keys = known.get(name)
            if keys is None:
                found.append(f"{self.file}: nobody reads the section [{title}]{_nearest(title, known)}")
                continue
            found += [f"{self.file}: [{title}] {key}: nobody reads this key{_nearest(key, keys)}"
                      for key in texts if key not in keys]
        return tuple(found)

    def overriding(self, section: str, **texts: str) -> Settings:
        """The same settings with some core keys replaced, e.g. by the command line; values are checked."""
        cls = _CORE[section]
        checks = {each.name: each.metadata for each in fields(cls) if each.metadata}
        values = {key: self._document.convert(section, key, checks[key]["kind"], text, checks[key]["check"])
                  for key, text in texts.items()}
        changed = replace(self, **{section: replace(getattr(self, section), **values)})
        if "listen" in values and self.service.public_url == f"http://{self.web.listen}":
            changed = replace(changed, service=replace(self.service, public_url=f"http://{values['listen']}"))
        return changed

    def secret(self, name: str) -> str:
        """A random text, made at the first call by any process and the same for all of them afterwards."""
        if not _SECRET_NAME.fullmatch(name):
            raise ConfigurationError(f"{name!r} cannot be the name of a secret: use a-z, 0-9, - and _")
        value = _secret_file(self.service.data_dir / "secrets", name)
        logs.hide(value)
        return value


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _secret_file(directory: Path, name: str) -> str:
    """Read the secret; where there is none, whoever links a complete file first has made it."""
    path = directory / name
    try:
        if not path.exists():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _link_new_secret(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        value = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: the secret cannot be read or made: {error}") from None
    if mode & 0o077:
        raise ConfigurationError(f"{path}: others may read this secret (mode {mode:o}): chmod 600 {path}")
    if not value:
        raise ConfigurationError(f"{path}: the secret is empty: remove the file, a new one will be made")
    return value


def _link_new_secret(path: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(random_secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            # Another process was first: its secret holds.
            return
    finally:
        Path(temporary).unlink()


# ------------------------------------------------------------------------------------ documentation


def describe(sections: Iterable[SettingsSection]) -> str:
    """docs/configuration.md, made from the declarations of POMS and of plugins."""
    lines = [
        "# Configuration", "",
        "This page is made from the declarations in the code by `poms settings --markdown`; do not edit it.", "",
        "POMS reads one file, `poms.ini`. The first of these that is there: `--config FILE` on the command line, the "
        "file named by", "the environment variable `POMS_CONFIG`, `etc/poms/poms.ini` below the Python environment, "
        "`poms.ini` in the checkout.", "",
        "Unknown keys are warned about; a malformed value stops the start-up. Times are numbers of seconds or carry a "
        "unit: 30s, 5m,", "2h, 1d. Lists are separated by commas. `[experiment NAME]` takes the keys of "
        "`[experiment_defaults]` for one experiment,", "and `[SECTION NAME]` the keys of a plugin's section.", "",
        "`poms check` says whether a configuration holds.",
    ]
    for section in (*core_sections(), *sections):
        lines += ["", f"## [{section.name}]", "", section.help, "", "| key | type | default | meaning |",
                  "|---|---|---|---|"]
        for setting in section.settings:
            default = "required" if setting.default is None else f"`{setting.default}`" if setting.default else "empty"
            lines.append(f"| `{setting.name}` | {setting.type} | {_cell(default)} | {_cell(setting.help)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def sample(sections: Iterable[SettingsSection]) -> str:
    """A poms.ini in which every key is explained and commented out at its default."""
    lines = ["# POMS reads this file once, at its start. Every key is shown with its default; see",
             "# docs/configuration.md for all of them and `poms check` for what is wrong."]
    for section in (*core_sections(), *sections):
        lines += ["", "", *_comment(section.help), f"[{section.name}]"]
        for setting in section.settings:
            lines += ["", *_comment(setting.help), f"#{setting.name} = {setting.default or ''}".rstrip()]
    lines += ["", "", "# Any experiment may differ from the defaults:", "#[experiment NAME]", "#time_zone = UTC"]
    return "\n".join(lines) + "\n"


def _comment(text: str, width: int = 100) -> list[str]:
    lines, line = [], "#"
    for word in text.split():
        if len(line) + 1 + len(word) > width:
            lines.append(line)
            line = "#"
        line += f" {word}"
    return [*lines, line]
