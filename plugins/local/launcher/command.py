"""Builds the arguments of jobsub_submit from a settled configuration. Not: running it (launch.py).

Order and shape are fife_launch's, so that POMS and the batch system see the same command whichever launcher a
job type uses. Every value becomes one argument or words of its own: no shell reads the command.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from poms.plugins.local.launcher import expansion, wrap
from poms.plugins.local.launcher.configuration import Configuration
from poms.webservice.errors import Invalid

# Always handed on if set: fife_launch's own three, then what poms-wrap needs to name outputs and reach the catalogue.
PASSED_ON = ("POMS_CAMPAIGN_ID", "POMS_TASK_ID", "POMS_ENV", "POMS_PARENT_TASK_ID", "POMS_NUM_DEPENDENCIES",
             "SAM_WEB_BASE_URL", "SAM_WEB_BASE_SSL_URL")
URL_QUOTED = frozenset(("export", "source", "setup", "prescript", "postscript", "finally", "spack-load",
                        "spack-env-activate"))
SINGULARITY_DIRECTORY = "/cvmfs/singularity.opensciencegrid.org/fermilab/"
OWN_WRAPPER = Path(wrap.__file__).resolve()
_REPEATED = re.compile(r"_\d{1,2}\Z")
_ARGUMENT = re.compile(r"arg_\d+\Z")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PLAIN_COMMAND = re.compile(r"[A-Za-z0-9_@%+=:,./-]*\Z")


@dataclass(frozen=True, slots=True)
class Wrapper:
    """The program that runs in the job: its path as written after ``file:///``, and whether it is poms-wrap."""

    path: str
    is_ours: bool

    @property
    def local_path(self) -> Path:
        return Path("/" + self.path.removeprefix("file://").lstrip("/"))


def launch_environment(configuration: Configuration, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of jobsub_submit: what was there, GROUP, and [env_pass] in its order."""
    result = dict(environment)
    if configuration.has("poms_get_task_id") and result.get("JOBSUB_CLIENT_DIR"):
        result["PATH"] = result["JOBSUB_CLIENT_DIR"] + os.pathsep + result.get("PATH", "")
    if configuration.has("global", "group"):
        result["GROUP"] = configuration.get("global", "group")
    for name in configuration.options("env_pass"):
        field = f"env_pass/{name}"
        if not _VARIABLE_NAME.match(name):
            raise Invalid(f"'{name}' cannot be the name of a variable", field)
        result[name] = expansion.quoted(configuration.get("env_pass", name), result, field=field)
    return result


def find_wrapper(configuration: Configuration, environment: Mapping[str, str]) -> Wrapper:
    """[global] wrapper; where that, or the default, needs an unset FIFE_UTILS_DIR, poms-wrap."""
    text = configuration.get("global", "wrapper")
    if not environment.get("FIFE_UTILS_DIR") and (not text or "FIFE_UTILS_DIR" in text):
        return Wrapper(str(OWN_WRAPPER), True)
    text = text or "${FIFE_UTILS_DIR}/libexec/fife_wrap"
    found = expansion.words(text, environment, field="global/wrapper")
    if len(found) != 1:
        raise Invalid(f"'{text}' must be the path of one program", "global/wrapper")
    path = found[0].removeprefix("file://")
    return Wrapper(path, Path(path).resolve() == OWN_WRAPPER)


def submit_arguments(configuration: Configuration, environment: Mapping[str, str], wrapper: Wrapper,
                     executable_path: str | None = None) -> list[str]:
    """All arguments of jobsub_submit; ``environment`` is that of ``launch_environment``."""
    return [
        *_passed_on(configuration, environment),
        *_submit(configuration, environment),
        "file:///" + (executable_path or wrapper.path),
        *wrapper_arguments(configuration, environment, wrapper),
    ]


def wrapper_arguments(configuration: Configuration, environment: Mapping[str, str], wrapper: Wrapper) -> list[str]:
    """What the wrapper is called with in the job."""
    result = _options(configuration, "job_setup", wrapper)
    result += _consumer(configuration)
    for section in output_sections(configuration):
        result += _options(configuration, section, wrapper, number=section.removeprefix("job_output").lstrip("_"))
    return result + _executables(configuration, environment)


def output_sections(configuration: Configuration) -> list[str]:
    """[job_output], [job_output_1], ... up to the first that is missing."""
    names = ["job_output"] if configuration.has("job_output") else []
    number = 1
    while configuration.has(f"job_output_{number}"):
        names.append(f"job_output_{number}")
        number += 1
    return names


def _passed_on(configuration: Configuration, environment: Mapping[str, str]) -> list[str]:
    names = configuration.options("env_pass")
    names += [name for name in PASSED_ON if environment.get(name) and name not in names]
    return [part for name in names for part in ("-e", name)]


def _submit(configuration: Configuration, environment: Mapping[str, str]) -> list[str]:
    result: list[str] = []
    dataset: list[str] = []
    for option in configuration.options("submit"):
        field, value = f"submit/{option}", configuration.get("submit", option)
        name = _REPEATED.sub("", option)
        if name == "n_files_per_job":
            continue
        if name == "dataset":
            dataset = expansion.words(f"--dataset_definition={value}", environment, field=field)
        elif len(name) == 1:
            result += ["-" + name, *expansion.words(value, environment, field=field)]
        elif value == "True":
            result.append("--" + name)
        else:
            result += expansion.words(f"--{name}={value}", environment, field=field)
    return result + dataset


def _options(configuration: Configuration, section: str, wrapper: Wrapper, number: str = "") -> list[str]:
    """Options of [job_setup] or of an output, passed as they are: only the job expands their variables."""
    result: list[str] = []
    for option in configuration.options(section):
        value = configuration.get(section, option)
        name = _REPEATED.sub("", option)
        if name == "launch_dest_check":
            continue
        if name in wrap.FLAGS:
            result += [f"--{name}{number}"] if value == "True" else []
        elif name in URL_QUOTED:
            result += [f"--{name}-unquote{number}", quote(value)]
        elif name == "metadata_extractor" and not _PLAIN_COMMAND.match(value):
            result += [f"--metadata_extractor_unquote{number}", quote(value)]
        elif wrapper.is_ours and not wrap.is_known_option(name):
            raise Invalid(f"poms-wrap has no option '{name}': remove it, or launch with the FIFE tools",
                          f"{section}/{option}")
        else:
            result += [f"--{name}{number}", value]
    return result


def _consumer(configuration: Configuration) -> list[str]:
    result: list[str] = []
    for option in configuration.options("sam_consumer"):
        value = configuration.get("sam_consumer", option)
        if not wrap.is_known_option(option):
            raise Invalid(f"the job wrapper has no option '{option}'", f"sam_consumer/{option}")
        if option in wrap.FLAGS:
            result += [f"--{option}"] if value == "True" else []
        else:
            result += [f"--{option}", value]
    return result


def _executable_sections(configuration: Configuration) -> list[str]:
    numbered = (f"executable_{number}" for number in range(1, 100))
    return [section for section in ("executable", *numbered) if configuration.has(section, "name")]


def _executables(configuration: Configuration, environment: Mapping[str, str]) -> list[str]:
    names: list[str] = []
    arguments: list[str] = []
    for number, section in enumerate(_executable_sections(configuration)):
        program = _words(configuration, environment, section, "name")
        image = configuration.get(section, "apptainer")
        arguments.append("--")
        if image:
            image = image if image.startswith("/") else SINGULARITY_DIRECTORY + image
            arguments += ["exec", "--bind", "/cvmfs", image, *program]
            program = ["apptainer"]
        names += ["--exe", *program]
        for stream in ("exe_stdout", "exe_stderr"):
            if configuration.has(section, stream):
                names += [f"--{stream}{number}", configuration.get(section, stream)]
        for option in configuration.options(section):
            if _ARGUMENT.match(option):
                arguments += _words(configuration, environment, section, option)
    return names + arguments


def _words(configuration: Configuration, environment: Mapping[str, str], section: str, option: str) -> list[str]:
    return expansion.words(configuration.get(section, option), environment, field=f"{section}/{option}")
