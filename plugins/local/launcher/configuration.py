"""Reads a launch configuration: files, includes, stages, overrides, interpolation. Not: what becomes of the values.

The format is fife_launch's INI. Names are case-sensitive; ``%(name)s`` is looked up in [global] first and then in the
section itself; ``$`` is left alone. Every refusal is an Invalid that names section and option.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from poms.plugins.local.launcher.arithmetic import calculate
from poms.webservice.errors import Invalid, NotFound, Problem

# Variables of the job wrapper's file loop. The backslashes keep them from the launch host's shell; the wrapper takes
# them off, whatever their number, so they mean the same in every section.
SHORTHANDS = {
    "_nthfile": r"\${nthfile}",
    "_fname": r"\${fname}",
    "_furi": r"\${furi}",
    "_uuid": r"\${uuid}",
    "_process": r"\${JOBSUBJOBSECTION:-\$PROCESS}",
}
DEEPEST = 20
_REFERENCE = re.compile(r"%(?:(%)|\(([^()\s]+)\)s)?")
_ARGUMENT = re.compile(r"arg_(\d+)\Z")


class Configuration:
    """The settled values of one launch; ``get`` interpolates, ``raw`` does not."""

    def __init__(self, parser: configparser.RawConfigParser, path: Path) -> None:
        self._parser = parser
        self.path = path

    def has(self, section: str, option: str = "") -> bool:
        return self._parser.has_option(section, option) if option else self._parser.has_section(section)

    def options(self, section: str) -> list[str]:
        """Names of the section's options in file order; nothing if there is no such section."""
        return self._parser.options(section) if self._parser.has_section(section) else []

    def raw(self, section: str, option: str) -> str:
        return self._parser.get(section, option)

    def get(self, section: str, option: str, default: str = "") -> str:
        """The interpolated value, or ``default`` if the option is absent.

        An option of [global] stands in for the option of the same name in every section: so the
        format works, and launch commands rely on it (-Oglobal.memory=...).
        """
        if not self.has(section, option):
            return default
        home = "global" if self.has("global", option) else section
        return self.interpolate(self.raw(home, option), section=section, option=option)

    def set(self, section: str, option: str, value: str) -> None:
        if not self._parser.has_section(section):
            self._parser.add_section(section)
        self._parser.set(section, option, value)

    def remove(self, section: str, option: str) -> None:
        self._parser.remove_option(section, option)

    def interpolate(self, text: str, *, section: str, option: str, depth: int = 0) -> str:
        """Replace ``%(name)s`` from [global], then from ``section``; ``%%`` is one per cent sign."""
        where = f"{section}/{option}"
        if depth > DEEPEST:
            raise Invalid(f"'{text}' refers to itself through %(...)s", where)

        def replacement(match: re.Match[str]) -> str:
            percent, name = match.groups()
            if percent:
                return "%"
            if name is None:
                raise Invalid(f"a lone % in '{text}': write %%, or %(name)s for another option's value", where)
            for home in ("global", section):
                if self.has(home, name):
                    return self.interpolate(self.raw(home, name), section=section, option=option, depth=depth + 1)
            raise Invalid(f"'{text}' needs '{name}', which is neither in [global] nor in [{section}]: "
                          f"define it there or pass -Oglobal.{name}=VALUE", where)

        return _REFERENCE.sub(replacement, text)

    def dump(self, *, expanded: bool) -> str:
        """The whole configuration as text, for people; a value that cannot be expanded is shown raw with the reason."""
        lines: list[str] = []
        for section in self._parser.sections():
            lines.append(f"[{section}]")
            for option in self._parser.options(section):
                value = self.raw(section, option)
                if expanded and not section.startswith("stage_"):
                    try:
                        value = self.get(section, option)
                    except Invalid as problem:
                        lines.append(f"# not expanded: {problem}")
                lines.append(f"{option} = {value}".replace("\n", "\n\t"))
            lines.append("")
        return "\n".join(lines)


def find_file(name: str, *, beside: Path | None = None) -> Path:
    """A configuration file: as given, beside the including file, in FIFE_LAUNCH_PATH, in the sample library."""
    places = [Path.cwd()]
    if beside is not None:
        places.append(beside)
    places += [Path(place) for place in os.environ.get("FIFE_LAUNCH_PATH", "").split(os.pathsep) if place]
    places.append(Path(str(resources.files("poms.templates"))) / "campaigns")
    for place in places:
        candidate = place / Path(name).expanduser()
        if candidate.is_file():
            return candidate.resolve()
    raise NotFound(f"configuration file '{name}' was not found in {', '.join(map(str, places))}: "
                   "give its path, or set FIFE_LAUNCH_PATH")


def read(path: Path) -> Configuration:
    """Read the file and what it includes; [submit] and [executable] always exist afterwards."""
    parser = configparser.RawConfigParser(delimiters=("=", ":"), comment_prefixes=("#", ";"))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    _read_into(parser, path)
    if not parser.has_section("global"):
        raise Invalid(f"{path}: the section [global] is missing", "global")
    for section in ("submit", "executable"):
        if not parser.has_section(section):
            parser.add_section(section)
    configuration = Configuration(parser, path)
    configuration.set("global", "_config_dir", str(path.parent).replace("%", "%%"))
    # For payloads that need the libraries that are installed with POMS, where jobs run on its own machine.
    if not configuration.has("global", "_python"):
        configuration.set("global", "_python", sys.executable.replace("%", "%%"))
    return configuration


def _read_into(parser: configparser.RawConfigParser, path: Path) -> None:
    try:
        with path.open(encoding="utf-8-sig") as file:
            parser.read_file(file, source=str(path))
    except configparser.Error as problem:
        raise Invalid(Problem("", str(problem).replace("\n", " "), getattr(problem, "lineno", None))) from problem
    except UnicodeDecodeError as problem:
        raise Invalid(f"{path} is not UTF-8 text: {problem}") from problem


def include(configuration: Configuration, overrides: Sequence[tuple[str, str, str]]) -> None:
    """Read [global] includes, each file once; a later file wins. -Oglobal.* count already in their names."""
    parser = configuration._parser
    seen = {configuration.path}
    while True:
        preview = Configuration(_copied(parser), configuration.path)
        for section, option, value in overrides:
            if section == "global":
                preview.set(section, option, value)
        names = preview.get("global", "includes").split()
        fresh = [path for path in (find_file(name, beside=configuration.path.parent) for name in names)
                 if path not in seen]
        if not fresh:
            return
        for path in dict.fromkeys(fresh):
            seen.add(path)
            _read_into(parser, path)


def _copied(parser: configparser.RawConfigParser) -> configparser.RawConfigParser:
    copy = configparser.RawConfigParser()
    copy.optionxform = str  # type: ignore[assignment,method-assign]
    copy.read_dict(parser)
    return copy


def apply_stage(configuration: Configuration, stage: str, *, below: tuple[str, ...] = ()) -> None:
    """Set what [stage_X] says, its parents' settings first."""
    section = f"stage_{stage}"
    if not configuration.has(section):
        known = sorted(name.removeprefix("stage_") for name in configuration._parser.sections()
                       if name.startswith("stage_"))
        origin = f" (named as parent by [stage_{below[-1]}])" if below else ""
        raise Invalid(f"there is no section [{section}]{origin}; known stages: {', '.join(known) or 'none'}", section)
    if stage in below:
        raise Invalid(f"[{section}] is its own parent: {' -> '.join((*below, stage))}", f"{section}/parent")
    parents = configuration.raw(section, "parent") if configuration.has(section, "parent") else ""
    for parent in re.split(r"[,\s]+", parents.strip()):
        if parent:
            apply_stage(configuration, parent, below=(*below, stage))
    for key in configuration.options(section):
        if key == "parent":
            continue
        target, dot, option = key.partition(".")
        if not dot or not option:
            raise Invalid(f"'{key}' must be written section.option = value", f"{section}/{key}")
        if not configuration.has(target):
            raise Invalid(f"'{key}' sets an option of [{target}], which does not exist: add the section",
                          f"{section}/{key}")
        configuration.set(target, option, configuration.raw(section, key))


def parse_override(text: str) -> tuple[str, str, str]:
    """``section.option=value``; the section ends at the first dot, the option at the first equals sign."""
    key, equals, value = text.partition("=")
    section, dot, option = key.partition(".")
    if not (equals and dot and section.strip() and option.strip()):
        raise Invalid(f"-O{text}: cannot be read, write -Osection.option=value", "-O")
    return section.strip(), option.strip(), value


def settle(configuration: Configuration, *, stages: Iterable[str] = (), overrides: Sequence[tuple[str, str, str]] = (),
           pushed: Sequence[str] = (), deleted: Sequence[str] = ()) -> None:
    """Bring everything to effect in the format's order: includes, stages, [global_eval], overrides, arguments."""
    include(configuration, overrides)
    for stage in stages:
        apply_stage(configuration, stage)
    for option in configuration.options("global_eval"):
        configuration.set("global", option, calculate(configuration.get("global_eval", option),
                                                      field=f"global_eval/{option}"))
    for section, option, value in overrides:
        configuration.set(section, option, value)
    _edit_arguments(configuration, pushed, deleted)
    for name, value in SHORTHANDS.items():
        if not configuration.has("global", name):
            configuration.set("global", name, value)


def _edit_arguments(configuration: Configuration, pushed: Sequence[str], deleted: Sequence[str]) -> None:
    """Delete and push arguments of [executable] and number them from 1 again."""
    names = [option for option in configuration.options("executable") if _ARGUMENT.match(option)]
    values = [configuration.raw("executable", name) for name in names]
    for value in deleted:
        if value not in values:
            raise Invalid(f"--arg_del {value}: [executable] has no such argument, it has {values}", "executable")
        values.remove(value)
    values = [*pushed, *values]
    for name in names:
        configuration.remove("executable", name)
    for number, value in enumerate(values, 1):
        configuration.set("executable", f"arg_{number}", value)
