#!/usr/bin/env python3
"""poms-wrap: runs inside each batch job; set-up, input files from a SAM project, executable, outputs to the catalogue.

Travels alone to the worker node: one file, standard library only, any Python from 3.9; takes fife_wrap's options.
Invariant: an output's name follows from its input (see ``output_name``), the catalogue takes a name once, and an
input is consumed only after its outputs are located. So however often a job is killed and its input handed out
again by a recovery, each input has exactly one located child for each output (``--merge``: one for many inputs).
"""

from __future__ import annotations

import contextlib
import fnmatch
import getpass
import glob
import hashlib
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

FLAGS = frozenset((
    "add_location", "debug", "declare_metadata", "dest_uniq_rename", "dry_run", "dynamic_lifetime", "data_dispatcher",
    "end_project", "find_setups", "getconfig", "ifdh_art", "merge", "multifile", "no_delete_after_copy", "no-checksum",
    "nosetup", "setup-local", "setup_local", "with_gdb",
))
QUOTABLE = ("export", "source", "setup", "spack-load", "spack-env-activate", "prescript", "postscript", "finally",
            "userscript", "metadata_extractor")
OUTPUT_OPTIONS = frozenset((
    "addoutput", "rename", "dest", "dest_uniq_rename", "declare_metadata", "metadata_extractor", "add_metadata",
    "filter_metadata", "add_location", "add_to_dataset", "dataset_exclude",
))
VALUES = frozenset((*QUOTABLE, "exe", "config", "limit", "schema", "appname", "appfamily", "appvers",
                    "self_destruct_timer", "self-destruct-timer", "inputfile", "retry_seconds",
                    *(OUTPUT_OPTIONS - FLAGS)))
# Options of fife_wrap that would change what a job does and are not done here: refused rather than ignored.
REFUSED = frozenset((
    "cvmfs-revision", "data_dispatcher", "dest_uniq_rename", "dynamic_lifetime", "end_project", "hash", "hash_alg",
    "ifdh_art", "inputlist", "inputtar", "mix", "outputlist", "parallel", "quals", "setup-local", "setup_local",
    "start_project_on", "vers", "with_gdb", *(f"data_dispatcher_{name}" for name in (
        "task_id", "project", "dataset_query", "namespace", "parameter", "load_limit", "timeout", "wait_time",
        "wait_limit", "user")),
))
LETTERS = {"-M": "multifile", "-g": "getconfig", "-X": "exe", "-c": "config", "-L": "limit", "-S": "schema",
           "-I": "inputfile", "-G": "with_gdb", "-T": "inputtar", "-q": "quals", "-v": "vers"}
COMMON_SETUPS = ("/cvmfs/fermilab.opensciencegrid.org/products/common/etc/setups.sh",
                 "/grid/fermiapp/products/common/etc/setups.sh", "/fnal/ups/etc/setups.sh")
# Options by which a job takes its input from a project.
LOOPS = frozenset(("multifile", "getconfig", "merge"))
RETRIED = frozenset((408, 429, 500, 502, 503, 504))
LONGEST_PAUSE_SECONDS = 5.0
REQUEST_SECONDS = 120.0
_VARIABLE = re.compile(r"\\*\$(?:\{(\w+)(##\*/)?(?::-((?:\\*\$\w+|\\*\$\{\w+\}|[^{}])*))?\}|([A-Za-z_]\w*))")


class WrapError(Exception):
    """The job cannot go on; the message says why and what to do."""


class CatalogueError(WrapError):
    """The catalogue refused, or did not answer in the time allowed (status None)."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def say(text: str) -> None:
    print(f"poms-wrap: {text}", file=sys.stderr, flush=True)


def is_known_option(name: str) -> bool:
    """Does a launch configuration's option ``name`` mean something to this program?"""
    stem = re.sub(r"\d+\Z", "", name)
    return name in FLAGS or name in VALUES or (stem in ("exe_stdout", "exe_stderr") and name not in REFUSED)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace $NAME, ${NAME}, ${NAME:-default} and ${NAME##*/}, after any number of protecting backslashes."""

    def replacement(match: re.Match[str]) -> str:
        name, strip_path, default, plain = match.groups()
        value = variables.get(name or plain, "")
        if strip_path:
            value = value.rsplit("/", 1)[-1]
        return expand(default, variables) if default is not None and not value else value

    return _VARIABLE.sub(replacement, text)


# ------------------------------------------------------------------------------------------------ command line


@dataclass
class Output:
    """What is done with the files that match one ``addoutput``; ``number`` 0 is the unnumbered one."""

    number: int
    values: dict[str, str] = field(default_factory=dict)
    extra_metadata: list[str] = field(default_factory=list)

    def get(self, name: str) -> str:
        return self.values.get(name, "")

    def is_on(self, name: str) -> bool:
        return name in self.values


@dataclass
class Options:
    """The command line, read."""

    values: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    lists: dict[str, list[str]] = field(default_factory=dict)
    outputs: dict[int, Output] = field(default_factory=dict)
    arguments: list[list[str]] = field(default_factory=list)

    @property
    def executables(self) -> list[str]:
        return self.lists.get("exe", [])


def read_command_line(words: Sequence[str]) -> Options:
    """fife_wrap's options, then ``--`` and the arguments of each executable; raises WrapError naming the culprit."""
    words = list(words)
    if words and words[-1] == "\\":  # fife_launch leaves a stray backslash at the very end
        words.pop()
    end = words.index("--") if "--" in words else len(words)
    options = Options()
    head = iter(words[:end])
    for word in head:
        _read_option(word, head, options)
    options.arguments = _arguments_by_executable(words[end + 1:], len(options.executables))
    refused = sorted(REFUSED & (options.flags | set(options.values) | set(options.lists)))
    if refused:
        raise WrapError(f"not supported by poms-wrap: {', '.join('--' + name for name in refused)}; "
                        "remove them from the launch configuration or launch with the FIFE tools")
    return options


def _read_option(word: str, rest: Iterator[str], options: Options) -> None:
    name, equals, value = word[2:].partition("=") if word.startswith("--") else (LETTERS.get(word, ""), "", "")
    decode = re.sub(r"-unquote(?=\d*\Z)|_unquote(?=\d*\Z)", "", name)
    is_quoted, name = decode != name, decode
    stem, digits = re.fullmatch(r"(.*?)(\d*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    is_output = stem in OUTPUT_OPTIONS
    plain = stem if is_output else name
    if not name or not (plain in FLAGS or plain in VALUES or plain in REFUSED or stem in ("exe_stdout", "exe_stderr")):
        raise WrapError(f"'{word}' is not an option of poms-wrap")
    if plain in FLAGS:
        options.flags.add(plain)
        if is_output:
            options.outputs.setdefault(int(digits or 0), Output(int(digits or 0))).values[stem] = "True"
        return
    if not equals:
        try:
            value = next(rest)
        except StopIteration:
            raise WrapError(f"'{word}' needs a value") from None
    value = unquote(value) if is_quoted else value
    if is_output:
        output = options.outputs.setdefault(int(digits or 0), Output(int(digits or 0)))
        if stem == "add_metadata":
            output.extra_metadata.append(value)
        output.values[stem] = value
    elif plain in ("exe", "inputfile") or plain in QUOTABLE:
        options.lists.setdefault(plain, []).append(value)
    else:
        options.values[plain.replace("self-destruct-timer", "self_destruct_timer")] = value


def _arguments_by_executable(words: list[str], executables: int) -> list[list[str]]:
    """Cut at ``--``, but into no more pieces than there are executables: one may use ``--`` itself."""
    groups: list[list[str]] = [[]]
    for word in words:
        if word == "--" and len(groups) < executables:
            groups.append([])
        else:
            groups[-1].append(word)
    return groups + [[] for _ in range(executables - len(groups))]


# --------------------------------------------------------------------------------------------------- catalogue


class Catalogue:
    """The few calls of SAM's HTTP API that a job makes; every one may be repeated without harm.

    A server that restarts is waited for, at most ``retry_seconds`` for each call. The base URL may
    hold a capability and is never printed.
    """

    def __init__(self, base: str, *, retry_seconds: float) -> None:
        self._base = base.rstrip("/")
        self._retry_seconds = retry_seconds

    def definition_count(self, name: str) -> int:
        text = self._text("GET", f"/definitions/name/{quote(name, safe='')}/files/count").strip()
        if not text.isascii() or not text.isdigit():
            raise CatalogueError(f"the count of '{name}' is not a number: {text[:80]!r}")
        return int(text)

    def find_project(self, name: str, station: str) -> str:
        return self._text("GET", "/findProject?" + urlencode({"name": name, "station": station})).strip()

    def establish_process(self, project_url: str, fields: Mapping[str, str]) -> str:
        """The id of this job's process; the catalogue knows the job by ``description`` and gives the same id again."""
        process = self._text("POST", project_url + "/establishProcess", form=fields).strip()
        if not re.fullmatch(r"[\w.-]+", process):
            raise CatalogueError(f"establishProcess gave no process id but {process[:80]!r}")
        return process

    def next_file(self, project_url: str, process: str) -> tuple[str, str] | None:
        """URL and name of the next input, None after the last. A file whose answer was lost is handed out again."""
        while True:
            status, headers, text = self._call("POST", f"{project_url}/process/{process}/getNextFile", form={},
                                               accepted=(200, 202, 204, 410))
            if status in (204, 410):
                return None
            if status == 200:
                return _delivered(headers.get("content-type", ""), text)
            wait = headers.get("retry-after", "")
            time.sleep(min(float(wait), 60.0) if re.fullmatch(r"\d+(\.\d+)?", wait) else 10.0)

    def set_file_status(self, project_url: str, process: str, file_name: str, status: str) -> None:
        self._text("POST", f"{project_url}/process/{process}/updateFileStatus",
                   form={"filename": file_name, "status": status})

    def end_process(self, project: str, project_url: str, process: str, status: str) -> None:
        self._text("PUT", f"/projects/name/{quote(project, safe='')}/processes/{process}/status",
                   form={"status": status})
        self._call("POST", f"{project_url}/process/{process}/endProcess", form={}, accepted=(200, 201, 204, 410))

    def declare(self, metadata: Mapping[str, Any]) -> bool:
        """Declare a file; False if the catalogue has one of that name already."""
        status, _, _ = self._call("POST", "/files", body=metadata, accepted=(200, 201, 204, 409))
        return status != 409

    def metadata(self, file_name: str) -> dict[str, Any]:
        return self._json(f"/files/name/{quote(file_name, safe='')}/metadata?format=json")

    def change_metadata(self, file_name: str, changes: Mapping[str, Any]) -> None:
        self._call("PUT", f"/files/name/{quote(file_name, safe='')}/metadata", body=changes, accepted=(200, 201, 204))

    def located_children(self, file_name: str, pattern: str) -> list[str]:
        """Located files made from ``file_name`` whose names match a pattern with % for any text."""
        dims = f"ischildof:( file_name {_quoted(file_name)} ) and file_name like {_quoted(pattern)}"
        return [line for line in self._text("GET", "/files/list?" + urlencode({"dims": dims})).split("\n") if line]

    def is_located(self, file_name: str) -> bool:
        return bool(self._json(f"/files/name/{quote(file_name, safe='')}/locations"))

    def add_location(self, file_name: str, location: str) -> None:
        self._text("POST", f"/files/name/{quote(file_name, safe='')}/locations", form={"add": location})

    def define(self, name: str, dims: str, *, user: str, group: str) -> None:
        """Make a definition; the other jobs of the submission make the same one, so that it exists is no error."""
        fields = {"defname": name, "dims": dims, "user": user, "group": group, "description": "made by poms-wrap"}
        self._call("POST", "/definitions/create", form=fields, accepted=(200, 201, 204, 409))

    def _text(self, method: str, path: str, form: Mapping[str, str] | None = None) -> str:
        return self._call(method, path, form=form)[2]

    def _json(self, path: str) -> Any:
        _, _, text = self._call("GET", path, accept="application/json")
        try:
            return json.loads(text)
        except ValueError as problem:
            raise CatalogueError(f"{self._shown(path)} answered something that is not JSON") from problem

    def _call(self, method: str, path: str, *, form: Mapping[str, str] | None = None,
              body: Mapping[str, Any] | None = None, accept: str = "text/plain",
              accepted: Sequence[int] = (200, 201, 204)) -> tuple[int, dict[str, str], str]:
        """One request, repeated while the server is away; raises CatalogueError for every status not ``accepted``."""
        headers = {"Accept": accept, "User-Agent": "poms-wrap", "SAM-Role": "*"}
        data = b""
        if body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body).encode()
        elif form is not None:
            headers["Content-Type"], data = "application/x-www-form-urlencoded", urlencode(form).encode()
        first_failure: float | None = None
        pause = 0.1
        while True:
            try:
                status, answer_headers, text = self._once(method, path, data, headers)
                if status in accepted:
                    return status, answer_headers, text
                problem = f"{method} {self._shown(path)}: status {status}: {_reason(text)}"
                if status not in RETRIED:
                    raise CatalogueError(problem, status)
            except (OSError, http.client.HTTPException) as failure:
                status, problem = 0, f"{method} {self._shown(path)}: {type(failure).__name__}: {failure}"
            first_failure = time.monotonic() if first_failure is None else first_failure
            if time.monotonic() + pause - first_failure > self._retry_seconds:
                raise CatalogueError(f"{problem} (tried for {self._retry_seconds:g} s)", status or None)
            say(f"{problem}; trying again in {pause:.1f} s")
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _once(self, method: str, path: str, data: bytes,
              headers: Mapping[str, str]) -> tuple[int, dict[str, str], str]:
        url = urlsplit(path if "://" in path else self._base + path)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise CatalogueError("the catalogue's address must begin with http:// or https://: check SAM_WEB_BASE_URL")
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        with contextlib.closing(kind(url.hostname, url.port, timeout=REQUEST_SECONDS)) as connection:
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
            connection.request(method, target, body=data or None, headers={**headers, "Content-Length": str(len(data))})
            response = connection.getresponse()
            return (response.status, {name.lower(): value for name, value in response.getheaders()},
                    response.read().decode("utf-8", "replace"))

    def _shown(self, path: str) -> str:
        """A path as it may be printed: without whatever stands before SAM's own part of it."""
        for part in ("/api/", "/projects/"):
            if "://" in path and part in path:
                return path[path.index(part):]
        return path if "://" not in path else "(project)"


def _quoted(name: str) -> str:
    """A file name as a query holds it."""
    return f'"{name}"' if "'" in name and '"' not in name else "'" + name.replace("'", "''") + "'"


def _delivered(content_type: str, text: str) -> tuple[str, str]:
    if "json" in content_type:
        answer = json.loads(text)
        if isinstance(answer, list):
            answer = answer[0]
        url = answer if isinstance(answer, str) else answer.get("url") or answer.get("access_url") or ""
        name = "" if isinstance(answer, str) else answer.get("filename") or answer.get("file_name") or ""
    else:
        # Not splitlines: a file name may hold characters that Unicode, but not SAM, takes for the end of a line.
        lines = [line.strip("\r ") for line in text.split("\n")]
        url, name = [*[line for line in lines if line], "", ""][:2]
    if not url:
        raise CatalogueError("getNextFile answered without a file")
    return url, name or unquote(url.rsplit("/", 1)[-1])


def _reason(text: str) -> str:
    with contextlib.suppress(ValueError):
        answer = json.loads(text)
        if isinstance(answer, dict):
            return f"{answer.get('error', '')} {answer.get('message', '')}".strip()
    return " ".join(text.split())[:300]


# ---------------------------------------------------------------------------------------------------- the job


def output_name(local_name: str, *, family: str, identity: Sequence[str]) -> str:
    """A unique name that is the same whenever the same input (or generator job) is done again for one family.

    ``family`` is the first submission of a chain of recoveries. Two tries then meet in the catalogue under one
    name: the one located first stays, the other is dropped. A random name could not be recognised.
    """
    stem, dot, suffix = local_name.rpartition(".")
    if not dot:
        stem, suffix = local_name, ""
    digest = hashlib.sha256("\0".join([*identity, local_name]).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{stem}_{family}_{digest}{dot}{suffix}"


class Job:
    """One run of poms-wrap: what it was asked, where it runs, and what went wrong so far."""

    def __init__(self, options: Options, environment: Mapping[str, str]) -> None:
        self.options = options
        self.environment = dict(environment)
        path = self.environment.get("PATH", os.defpath)
        if shutil.which("python3", path=path) is None:  # executables may be Python programs
            self.environment["PATH"] = f"{path}{os.pathsep}{Path(sys.executable).parent}"
        self.exit_status = 0
        self.child: subprocess.Popen[bytes] | None = None
        self.is_starting = False
        self.stopped_by = 0
        self.published: set[Path] = set()
        self.inputs: set[str] = set()
        self.taken: set[str] = set()
        self.process = ""
        self._catalogue: Catalogue | None = None
        self.variables = self.environment
        self.number = 0

    # -- facts

    @property
    def catalogue(self) -> Catalogue:
        if self._catalogue is None:
            base = self.environment.get("SAM_WEB_BASE_SSL_URL") or self.environment.get("SAM_WEB_BASE_URL", "")
            if not base:
                raise WrapError("SAM_WEB_BASE_URL is not set: there is no catalogue to talk to")
            self._catalogue = Catalogue(base, retry_seconds=float(self.options.values.get("retry_seconds", "300")))
        return self._catalogue

    @property
    def project(self) -> str:
        name = self.environment.get("SAM_PROJECT") or self.environment.get("SAM_PROJECT_NAME", "")
        return "" if name == "None" else name

    @property
    def submission(self) -> str:
        return self.environment.get("POMS_TASK_ID") or self.environment.get("POMS4_SUBMISSION_ID", "")

    @property
    def job_id(self) -> str:
        own = f"{self.environment.get('CLUSTER', '')}.{self.environment.get('PROCESS', '')}"
        return self.environment.get("JOBSUBJOBID") or (own if own != "." else f"{socket.gethostname()}-{os.getpid()}")

    @property
    def family(self) -> str:
        family = self.environment.get("POMS_PARENT_TASK_ID") or self.submission or self.environment.get("CLUSTER", "")
        return re.sub(r"[^A-Za-z0-9-]", "-", family) or uuid.uuid4().hex[:8]

    @property
    def user(self) -> str:
        return self.environment.get("GRID_USER") or self.environment.get("USER") or getpass.getuser()

    @property
    def group(self) -> str:
        return self.environment.get("SAM_GROUP") or self.environment.get("GROUP") or self.experiment

    @property
    def experiment(self) -> str:
        return self.environment.get("SAM_EXPERIMENT") or self.environment.get("EXPERIMENT") or "unknown"

    def application(self) -> dict[str, str]:
        values = self.options.values
        return {"family": values.get("appfamily", "demo"), "name": values.get("appname", "demo"),
                "version": values.get("appvers") or self.environment.get("ART_VERSION") or "1"}

    def debug(self, text: str) -> None:
        if "debug" in self.options.flags:
            say(text)

    def fail(self, status: int) -> None:
        """Remember the first bad exit status."""
        self.exit_status = self.exit_status or status

    # -- the story

    def run(self) -> int:
        """The whole job; the exit status is the executable's first bad one."""
        loop = bool(LOOPS & self.options.flags)
        if not self.options.executables:
            raise WrapError("no --exe: nothing to run")
        if loop and not self.project:
            raise WrapError("--multifile, --getconfig and --merge take their input from a SAM project, but SAM_PROJECT "
                            "is not set: submit with a dataset, or leave the option out")
        self._check_datasets()
        self._check_merge()
        self._set_up()
        try:
            for source in self.options.lists.get("inputfile", []):
                fetch(expand(source, self.variables), Path(source).name)
            self._scripts("prescript", stop=True)
            if loop:
                self._file_loop()
            else:
                self._one_input([])
            self._scripts("postscript")
        finally:
            self._scripts("finally")
        return self.exit_status

    def _file_loop(self) -> None:
        url = self._begin_process()
        if "merge" in self.options.flags:
            self._merge(url)
        else:
            for furi, name in self._deliveries(url):
                self._report(url, name, consumed=self._take(furi, name, url))
        say(f"{self.number} input file(s) handed to this job" if self.number else "no input file was left for this job")
        self._end_process(url)

    def _begin_process(self) -> str:
        """Sign on to the project; its address."""
        url = self.catalogue.find_project(self.project, self.environment.get("SAM_STATION") or self.experiment)
        values, application = self.options.values, self.application()
        self.process = self.catalogue.establish_process(url, {
            "appname": application["name"], "appfamily": application["family"], "appversion": application["version"],
            "node": socket.gethostname(), "username": self.user, "description": self.job_id,
            **({"filelimit": values["limit"]} if values.get("limit") else {}),
            **({"schemas": values["schema"]} if values.get("schema") else {}),
        })
        say(f"process {self.process} of project {self.project}")
        return url

    def _deliveries(self, url: str) -> Iterator[tuple[str, str]]:
        """URL and name of each input that the project hands to this job, checked."""
        while (delivered := self.catalogue.next_file(url, self.process)) is not None:
            self.number += 1
            furi, name = delivered
            if name in self.taken:
                raise WrapError(f"the catalogue hands out '{name}' again although its status was reported")
            self.taken.add(name)
            if not Path(name).name or name.startswith("-") or "\0" in name or Path(name).name == "..":
                raise WrapError(f"the catalogue hands out a file that cannot be called {name!r} here")
            say(f"input {self.number}: {name}")
            yield furi, name

    def _report(self, url: str, name: str, *, consumed: bool) -> None:
        self.catalogue.set_file_status(url, self.process, name, "consumed" if consumed else "skipped")

    def _end_process(self, url: str) -> None:
        """Sign off. The work is recorded by now, so a failure is reported but does not turn it into a bad job."""
        try:
            self.catalogue.end_process(self.project, url, self.process, "bad" if self.exit_status else "completed")
        except CatalogueError as problem:
            say(f"warning: process {self.process} could not be signed off: {problem}")

    def _merge(self, url: str) -> None:
        """Fetch all inputs and process them in one run of the executable; they are consumed together or not at all.

        An input that an earlier try has merged, as the catalogue shows, is not merged again.
        """
        fetched: list[str] = []
        for furi, name in self._deliveries(url):
            if not self._fetched(furi, name, url):
                self._report(url, name, consumed=False)
            elif all(self.catalogue.located_children(name, self._merged_pattern(output))
                     for output in self.options.outputs.values()):
                say(f"{name} is merged already")
                self._report(url, name, consumed=True)
            else:
                fetched.append(name)
        done = not fetched or self._one_input(fetched)
        for name in fetched:
            self._report(url, name, consumed=done)

    def _merged_pattern(self, output: Output) -> str:
        stem, dot, suffix = expand(output.get("addoutput"), self.variables).rpartition(".")
        return f"{stem or suffix}_{self.family}_%{dot + suffix if stem else ''}"

    def _check_merge(self) -> None:
        """Without these a later try could not see what an earlier one has merged."""
        if "merge" not in self.options.flags:
            return
        outputs = self.options.outputs.values()
        if not outputs or any(output.get("rename") != "unique" or not output.get("addoutput")
                              or glob.has_magic(output.get("addoutput")) for output in outputs):
            raise WrapError("--merge needs an output, and for each rename = unique and an addoutput without wild cards")

    def _take(self, furi: str, name: str, url: str) -> bool:
        """Fetch one input and process it; True if its outputs are in place, so that it may be called consumed."""
        if not self._fetched(furi, name, url):
            return False
        try:
            return self._one_input([name])
        finally:
            Path(Path(name).name).unlink(missing_ok=True)

    def _fetched(self, furi: str, name: str, url: str) -> bool:
        self.variables = {**self.environment, "furi": furi, "fname": name, "nthfile": str(self.number),
                          "uuid": str(uuid.uuid4()), "process": self.environment.get("PROCESS", "")}
        local = Path(name).name
        try:
            fetch(furi, local)
        except (OSError, WrapError) as problem:
            say(f"{name} cannot be fetched: {problem}")
            self.fail(1)
            return False
        self.inputs.add(local)
        self.catalogue.set_file_status(url, self.process, name, "transferred")
        return True

    def _one_input(self, parents: Sequence[str]) -> bool:
        """Run the executables once, on no, one or many inputs, and publish what they made."""
        status = self._run_executables([Path(name).name for name in parents])
        if status == 0:
            self._scripts("userscript")
            try:
                self._publish_all(parents)
                return True
            except (OSError, WrapError) as problem:
                say(f"the output cannot be published: {problem}")
                status = 1
        self.fail(status)
        for output in self.options.outputs.values():
            for leftover in self._made_by(output):
                leftover.unlink(missing_ok=True)
        return False

    def _run_executables(self, inputs: Sequence[str]) -> int:
        for number, name in enumerate(self.options.executables):
            command = [expand(name, self.variables)]
            command += [expand(argument, self.variables) for argument in self.options.arguments[number]]
            given = list(inputs) if number == 0 else []
            if given and "getconfig" in self.options.flags:
                command += ["-c", *given]
            elif self.options.values.get("config"):
                command += ["-c", self.options.values["config"], *given]
            else:
                command += given
            status = self._execute(command, number)
            if status != 0:
                say(f"{command[0]} ended with exit status {status}")
                return status
        return 0

    def _execute(self, command: list[str], number: int) -> int:
        if _needs_interpreter(command[0]):
            command = [sys.executable, *command]
        self.debug(f"running {shlex.join(command)}")
        limit = self.options.values.get("self_destruct_timer")
        with contextlib.ExitStack() as files:
            streams = [files.enter_context(open(expand(name, self.variables), "ab")) if name else None  # noqa: PTH123
                       for name in map(self.options.values.get, (f"exe_stdout{number}", f"exe_stderr{number}"))]
            try:
                # A signal between the start and the line that knows the child would leave it running alone.
                self.is_starting = True
                self.child = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL,
                                              stdout=streams[0], stderr=streams[1])
            except OSError as problem:
                say(f"{command[0]} cannot be started: {problem}")
                return 127 if isinstance(problem, FileNotFoundError) else 126
            finally:
                self.is_starting = False
            try:
                if self.stopped_by:
                    raise SystemExit(128 + self.stopped_by)
                status = self.child.wait(float(limit) if limit else None)
            except subprocess.TimeoutExpired:
                say(f"{command[0]} ran longer than {limit} seconds and is stopped")
                return 124
            finally:
                self._stop_child()
        return status if status >= 0 else 128 - status

    def _stop_child(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self.child = None

    def _scripts(self, kind: str, *, stop: bool = False) -> None:
        for script in self.options.lists.get(kind, []):
            self.debug(f"{kind}: {script}")
            status = subprocess.run(["bash", "-c", script], env=self.environment, check=False).returncode
            if status != 0:
                if stop:
                    raise WrapError(f"{kind} '{script}' ended with exit status {status}")
                say(f"{kind} '{script}' ended with exit status {status}")
                self.fail(status if status > 0 else 128 - status)

    def _set_up(self) -> None:
        """Take over the environment that the set-up commands leave behind, in one bash, before anything else."""
        lines = setup_commands(self.options)
        if not lines or "nosetup" in self.options.flags:
            return
        with tempfile.TemporaryDirectory(prefix="poms-wrap-") as directory:
            kept = Path(directory) / "environment"
            guarded = [f'{line} || {{ echo "poms-wrap: set-up failed:" {shlex.quote(line)} >&2; exit 1; }}'
                       for line in lines]
            script = "\n".join([*guarded, f"env -0 > {shlex.quote(str(kept))}"])
            done = subprocess.run(["bash", "-c", script], env=self.environment, stdin=subprocess.DEVNULL, check=False)
            if done.returncode != 0 or not kept.exists():
                raise WrapError(f"the set-up ended with exit status {done.returncode}; no input was touched")
            pairs = (item.partition("=") for item in os.fsdecode(kept.read_bytes()).split("\0") if item)
            self.environment = {name: value for name, _, value in pairs}
            self.variables = self.environment

    # -- outputs

    def _made_by(self, output: Output) -> list[Path]:
        """Files that match the output's pattern and are neither inputs nor published already."""
        pattern = expand(output.get("addoutput"), self.variables)
        found = [Path(name) for name in sorted(glob.glob(pattern))] if pattern else []  # noqa: PTH207
        return [file for file in found
                if file.is_file() and file.name not in self.inputs and file.resolve() not in self.published]

    def _publish_all(self, parents: Sequence[str]) -> None:
        for number in sorted(self.options.outputs):
            output = self.options.outputs[number]
            files = self._made_by(output)
            pattern = expand(output.get("addoutput"), self.variables)
            if pattern and not files:
                if not glob.has_magic(pattern):
                    raise WrapError(f"the executable ended well but left no '{pattern}'")
                say(f"no file matches the output pattern '{pattern}'")
            for file in files:
                self._publish(file, output, parents)

    def _publish(self, file: Path, output: Output, parents: Sequence[str]) -> None:
        """Declare, copy, locate: in this order, so that a located file is always complete and declared."""
        renamed = self._renamed(file, output, parents)
        if "declare_metadata" not in output.values:
            self._copy(renamed, output, {})
            return
        metadata = self._metadata(renamed, output, parents)
        self._define_datasets(output)
        if not self.catalogue.declare(metadata) and self._is_done_already(metadata, by_name=output.get("rename")):
            say(f"{renamed.name} is in the catalogue with a location already: kept, this copy is dropped")
            self._drop(renamed)
            return
        directory = self._copy(renamed, output, metadata)
        if output.is_on("add_location"):
            if not directory:
                raise WrapError("--add_location needs --dest")
            self.catalogue.add_location(metadata["file_name"], location_of(directory))
        say(f"published {metadata['file_name']}")

    def _is_done_already(self, metadata: dict[str, Any], *, by_name: str) -> bool:
        """The name is taken: by an earlier try of this very output (True if located), or by a stranger (refused)."""
        name = metadata["file_name"]
        known = self.catalogue.metadata(name)
        same_content = (set(known.get("checksum") or []) == set(metadata["checksum"])
                        and known.get("file_size") == metadata["file_size"])
        parents = {entry.get("file_name") if isinstance(entry, dict) else entry for entry in known.get("parents") or []}
        wanted = {entry["file_name"] for entry in metadata.get("parents", [])}
        if parents != wanted or not (wanted or by_name == "unique" or same_content):
            raise WrapError(f"the catalogue has another file called '{name}': use rename = unique")
        if self.catalogue.is_located(name):
            return True
        if not same_content:
            self.catalogue.change_metadata(name, {key: value for key, value in metadata.items()
                                                  if key not in ("file_name", "parents", "process_id")})
        return False

    def _renamed(self, file: Path, output: Output, parents: Sequence[str]) -> Path:
        rename = output.get("rename")
        if not rename:
            return file
        if rename == "unique":
            stage = self.environment.get("POMS_CAMPAIGN_ID", "")
            source = ("input", *sorted(parents)) if parents else ("job", self.job_id)
            name = output_name(file.name, family=self.family, identity=(stage, *source, str(output.number)))
        else:
            name = expand(rename, self.variables)
            if not name or "/" in name or name in (".", ".."):
                raise WrapError(f"rename '{rename}' gives '{name}', which is not a file name")
        target = file.with_name(name)
        file.replace(target)
        return target

    def _metadata(self, file: Path, output: Output, parents: Sequence[str]) -> dict[str, Any]:
        extracted = self._extracted(file, output)
        size, checksums = measure(file)
        metadata: dict[str, Any] = {
            "file_type": "unknown", "file_format": file.suffix.lstrip(".") or "unknown", "content_status": "good",
            "user": self.user, "group": self.group, "application": self.application(), **extracted,
            "file_name": file.name, "file_size": size, "checksum": checksums,
        }
        if parents:
            metadata["parents"] = [{"file_name": parent} for parent in parents]
        if self.process.isdigit():
            metadata["process_id"] = int(self.process)
        for text in output.extra_metadata:
            key, equals, value = text.partition("=")
            if not equals or not key.strip():
                raise WrapError(f"--add_metadata '{text}': write key=value")
            metadata[key.strip()] = expand(value.strip(), self.variables)
        tag = self._tag(output)
        if tag and not any(fnmatch.fnmatch(file.name, pattern) for pattern in output.get("dataset_exclude").split(",")):
            metadata["dataset.tag"] = tag
        return metadata

    def _extracted(self, file: Path, output: Output) -> dict[str, Any]:
        """What the extractor says of the file, without nulls and filtered fields."""
        if not output.get("metadata_extractor"):
            return {}
        command = [expand(word, self.variables) for word in shlex.split(output.get("metadata_extractor"))]
        if _needs_interpreter(command[0]):
            command = [sys.executable, *command]
        done = subprocess.run([*command, str(file)], env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise WrapError(f"the metadata extractor '{command[0]}' ended with exit status {done.returncode}")
        try:
            answer = json.loads(done.stdout)
        except ValueError as problem:
            raise WrapError(f"the metadata extractor '{command[0]}' printed no JSON: {problem}") from problem
        if isinstance(answer, dict) and len(answer) == 1 and isinstance(next(iter(answer.values())), dict) \
                and next(iter(answer)) not in ("application",):
            answer = next(iter(answer.values()))  # sam_metadata_dumper wraps the record in the file's name
        if not isinstance(answer, dict):
            raise WrapError(f"the metadata extractor '{command[0]}' printed no JSON object")
        dropped = {name.strip() for name in output.get("filter_metadata").split(",")} | {"parents"}
        return {key: value for key, value in answer.items() if value is not None and key not in dropped}

    def _copy(self, file: Path, output: Output, metadata: Mapping[str, Any]) -> str:
        """Copy to ``dest`` and give the directory; "" if the output has none."""
        if not output.get("dest"):
            self.published.add(file.resolve())
            return ""
        facts = {key: str(value) for key, value in metadata.items() if isinstance(value, (str, int))}
        directory = expand(output.get("dest"), {**self.variables, **facts}).rstrip("/") or "/"
        if "$" in directory:
            raise WrapError(f"dest '{output.get('dest')}': '{directory}' still holds a variable form unknown here")
        store(file, directory)
        self._drop(file)
        return directory

    def _drop(self, file: Path) -> None:
        if "no_delete_after_copy" in self.options.flags:
            self.published.add(file.resolve())
        else:
            file.unlink()

    # -- datasets for the stages that follow

    def _tag(self, output: Output) -> str:
        name = output.get("add_to_dataset")
        if name == "_poms_task":
            return f"poms_depends_{self.submission}_1"
        if name == "_poms_analysis":
            return f"poms_{self.user}_depends_{self.submission}_1"
        return name

    def _check_datasets(self) -> None:
        for output in self.options.outputs.values():
            if output.get("add_to_dataset").startswith("_poms_") and not self.submission:
                raise WrapError(f"--add_to_dataset {output.get('add_to_dataset')} needs POMS_TASK_ID in the job")

    def _define_datasets(self, output: Output) -> None:
        """The tag's definition and, for POMS, one more for each further consumer of this stage."""
        tag = self._tag(output)
        if not tag:
            return
        self.catalogue.define(tag, f"dataset.tag {tag}", user=self.user, group=self.group)
        if output.get("add_to_dataset").startswith("_poms_"):
            consumers = self.environment.get("POMS_NUM_DEPENDENCIES", "1")
            for number in range(2, (int(consumers) if consumers.isdigit() else 1) + 1):
                self.catalogue.define(f"{tag[:-1]}{number}", f"defname: {tag}", user=self.user, group=self.group)


def setup_commands(options: Options) -> list[str]:
    """The set-up as shell commands, in fife_wrap's order of kinds."""
    commands: list[str] = []
    if "find_setups" in options.flags:
        found = next((path for path in COMMON_SETUPS if Path(path).exists()), None)
        if found is None:
            raise WrapError("--find_setups: no common set-up here, is /cvmfs mounted? No input was touched")
        commands.append(f"source {shlex.quote(found)}")
    for kind, verb in (("export", "export"), ("source", "source"), ("setup", "setup"), ("spack-load", "spack load"),
                       ("spack-env-activate", "spack env activate")):
        commands += [f"{verb} {text}" for text in options.lists.get(kind, [])]
    return commands


def _needs_interpreter(program: str) -> bool:
    """A Python program without the mark of an executable file: an installer may have dropped it."""
    return program.endswith(".py") and Path(program).is_file() and not os.access(program, os.X_OK)


# ---------------------------------------------------------------------------------------------------- storage


def fetch(source: str, target: str) -> None:
    """Copy an input into the job's directory; ``source`` is a path, file:// or disk:/path of a mounted storage."""
    if source.startswith("file://"):
        path = "/" + source[len("file://"):].partition("/")[2]
        candidates = [path, unquote(path)]  # servers differ in whether they quote
    elif "://" not in source:
        candidates = [source if source.startswith("/") else source.partition(":")[2] or source]
    else:
        candidates = []
    for path in candidates:
        if Path(path).is_file():
            shutil.copyfile(path, target)
            return
    tool = shutil.which("ifdh")
    if tool is None:
        raise WrapError(f"'{source}' is not a file of this machine, and there is no ifdh to fetch it with")
    if subprocess.run([tool, "cp", source, target], check=False).returncode != 0:
        raise WrapError(f"ifdh could not fetch '{source}'")


def store(file: Path, directory: str) -> None:
    """Put a copy into ``directory``; the name appears there only when the copy is complete and on the disk."""
    if not directory.startswith("/") or (directory.startswith("/pnfs/") and not Path("/pnfs").is_dir()):
        tool = shutil.which("ifdh")
        if tool is None:
            raise WrapError(f"dest '{directory}' is not a path of this machine, and there is no ifdh to copy with")
        if subprocess.run([tool, "cp", str(file), f"{directory}/{file.name}"], check=False).returncode != 0:
            raise WrapError(f"ifdh could not copy {file.name} to '{directory}'")
        return
    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    part = place / f".{file.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        with file.open("rb") as source, part.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
        part.replace(place / file.name)
    finally:
        part.unlink(missing_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def location_of(directory: str) -> str:
    """SAM's ``disk:directory`` form of a directory."""
    if "://" in directory:
        return directory
    return f"{'dcache' if directory.startswith('/pnfs/') else 'local'}:{directory}"


def measure(file: Path) -> tuple[int, list[str]]:
    """Size and checksums, read once."""
    size, adler, md5 = 0, 1, hashlib.md5(usedforsecurity=False)
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            size, adler = size + len(block), zlib.adler32(block, adler)
            md5.update(block)
    return size, [f"adler32:{adler:08x}", f"md5:{md5.hexdigest()}"]


def dry_run(options: Options, environment: Mapping[str, str]) -> None:
    """Print the steps of the job."""
    lines = setup_commands_or_note(options)
    lines += [f"prescript: {text}" for text in options.lists.get("prescript", [])]
    loop = LOOPS & options.flags
    if loop:
        which = "all files together" if "merge" in loop else "each file"
        lines.append(f"for {which} that project $SAM_PROJECT hands to this job "
                     f"(at most {options.values.get('limit', 'all')}): fetch, mark transferred, then")
    for number, name in enumerate(options.executables):
        tail = (["-c"] if "getconfig" in options.flags else []) + ["INPUT"] if loop and number == 0 else []
        lines.append("  run: " + " ".join([shlex.join([name, *options.arguments[number]]), *tail]))
    for output in options.outputs.values():
        steps = [name for name in ("declare_metadata", "add_location") if output.is_on(name)]
        lines.append(f"  output {output.get('addoutput')}: rename {output.get('rename') or 'no'}, copy to "
                     f"{output.get('dest') or 'nowhere'}; {', '.join(steps) or 'not declared'}"
                     + (f"; dataset {output.get('add_to_dataset')}" if output.get("add_to_dataset") else ""))
    lines += [f"{kind}: {text}" for kind in ("postscript", "finally") for text in options.lists.get(kind, [])]
    print("\n".join(lines))


def setup_commands_or_note(options: Options) -> list[str]:
    try:
        return setup_commands(options)
    except WrapError as problem:
        return [f"(here the job would stop: {problem})"]


def main(arguments: Sequence[str] | None = None) -> int:
    job: Job | None = None

    def stop(number: int, _: object) -> None:
        say(f"stopped by signal {number}")
        if job is not None and job.is_starting:
            job.stopped_by = number
            return
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        options = read_command_line(sys.argv[1:] if arguments is None else arguments)
        if "dry_run" in options.flags:
            dry_run(options, os.environ)
            return 0
        job = Job(options, os.environ)
        return job.run()
    except (WrapError, OSError) as problem:
        say(str(problem))
        return (job.exit_status if job else 0) or 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
