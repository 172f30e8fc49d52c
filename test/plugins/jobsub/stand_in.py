"""Programs that take jobsub_lite's place on a machine without it: the same words in, the same lines and statuses out.

``python stand_in.py DOCUMENT jobsub_hold WORDS``; the document says where the pool is. Control commands end with
status 0 whatever happened, a submit whose condor_submit failed does too, and each wants a token, as the real ones.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

from poms.plugins.htcondor import sandboxes, submission
from poms.plugins.htcondor.access import open_access
from poms.plugins.htcondor.options import read_document, surroundings
from poms.webservice.errors import BackendUnavailable, Invalid, NotFound, PomsError
from poms.webservice.rules import jobsub_options as jobsub

RULER = "=-" * 30


class StandIn:
    """One call of one program."""

    def __init__(self, document: Path) -> None:
        self.place = document.parent
        self.options, self.directory = read_document(document)

    def run(self, name: str, words: list[str]) -> int:
        if not Path(os.environ.get("BEARER_TOKEN_FILE", "/nonexistent")).exists():
            print("Error: PermissionError: no token, and htgettoken could not get one", file=sys.stderr)
            return 1
        if name in ("jobsub_submit", "jobsub_submit_dag"):
            return self.submit(words)
        if name == "jobsub_fetchlog":
            return self.fetchlog(words)
        return self.control(name, words)

    # ------------------------------------------------------------------------------------- submitting

    def submit(self, words: list[str]) -> int:
        try:
            request = jobsub.parse(words)
            jobsub.require_possible(request)
        except jobsub.UsageError as problem:
            print(f"jobsub_submit: error: {problem}", file=sys.stderr)
            return 2
        except Invalid as problem:
            return self.refuse(problem)
        if "no-submit" in request.flags:
            print(f"Submission files are in: {self.place}/js")
            return 0
        # Jobs get what the command line and the two variables name, and nothing else of this environment.
        surroundings = {name: value for name, value in os.environ.items()
                        if not name.startswith(("POMS4_", "POMS_", "SAM_"))}
        access = open_access(self.options)
        try:
            if self.fault("spool"):
                return self.interrupted(request)
            # As condor_submit, which returns when the schedd has the input, and before it has let the jobs go.
            done = submission.submit(access, self.options, self.directory, request, words, surroundings, waits=False)
        except Invalid as problem:
            if "did not take the jobs" not in str(problem):
                return self.refuse(problem)
            return self.condor_failed(str(problem))
        except BackendUnavailable as problem:
            return self.condor_failed(str(problem))
        finally:
            access.close()
        print(f"Submitting job(s)...\n{done.jobs} job(s) submitted to cluster {done.cluster}.\n\n{RULER}\n\n"
              f"Use job id {done.job_id} to retrieve output\n\n{RULER}", flush=True)
        return 0

    def fault(self, name: str) -> bool:
        return (self.place / f"fault_{name}").exists()

    def interrupted(self, request: jobsub.Request) -> int:
        """The schedd has the cluster, and then the network breaks before it has the files."""
        os.environ.update(surroundings(self.options, os.environ))
        # Reads its configuration when it is loaded.
        import htcondor2

        lines = [line for line in os.environ.get("JOBSUB_EXTRA_LINES", "").split(",") if line]
        text = "\n".join([f"executable = {jobsub.executable_path(request)}", "transfer_input_files = /etc/hostname",
                          *lines]) + "\n"
        location = htcondor2.Collector(self.options.collector).locate(htcondor2.DaemonType.Schedd,
                                                                      self.options.schedds[0])
        htcondor2.Schedd(location).submit(htcondor2.Submit(text), count=1, spool=True)
        return self.condor_failed("ERROR: Failed to spool job files.")

    def condor_failed(self, text: str) -> int:
        print("Submitting job(s)")
        print(f"ERROR: {text}\nError: condor_submit exited with failed status code 1", file=sys.stderr)
        return 0

    def refuse(self, problem: PomsError) -> int:
        print(f"Error: {type(problem).__name__}: {problem}", file=sys.stderr)
        return 1

    # ------------------------------------------------------------------------------------ controlling

    def control(self, name: str, words: list[str]) -> int:
        if self.fault("deaf"):
            return 0
        parser = argparse.ArgumentParser()
        for option in ("-G", "--role", "--jobid", "-name", "--constraint"):
            parser.add_argument(option)
        parser.add_argument("--verbose", type=int)
        known, rest = parser.parse_known_args(words)
        if known.jobid:
            rest += known.jobid.split(",")
        if known.constraint:
            rest += ["-constraint", known.constraint]
        schedds = {known.name} if known.name else set()
        passed, ids = [], {}
        for word in rest:
            match = re.match(r"([\d.]*)@([\w.]+)", word)
            if match:
                schedds.add(match[2])
                ids.setdefault(match[2], []).extend(filter(None, [match[1].strip(".")]))
            else:
                passed.append(word[1:] if word.startswith("--") else word)
        for schedd in schedds or set(self.options.schedds):
            done = subprocess.run([f"{self.options.programs}/{name.replace('jobsub_', 'condor_')}", "-name", schedd,
                                   *passed, *ids.get(schedd, [])], capture_output=True, text=True, check=False,
                                  env={**os.environ, "_CONDOR_SEC_TOKEN_DIRECTORY": self.options.token_directory})
            sys.stdout.write(done.stdout)
            sys.stderr.write(done.stderr)
        return 0

    # ------------------------------------------------------------------------------------------- logs

    def fetchlog(self, words: list[str]) -> int:
        parser = argparse.ArgumentParser()
        for option in ("-G", "--role", "--jobid", "--destdir"):
            parser.add_argument(option)
        for option in ("--partial", "--condor"):
            parser.add_argument(option, action="store_true")
        known = parser.parse_args(words)
        destination = Path(known.destdir or ".")
        access = open_access(self.options)
        cluster = known.jobid.partition("@")[0]
        found = 0
        try:
            for which, suffix in (("stdout", "out"), ("stderr", "err"), ("log", "log")):
                if which == "log" and known.partial:
                    continue
                try:
                    pieces = sandboxes.open_log(access, self.directory, known.jobid, which)
                except NotFound:
                    continue
                name = f"job.sh2026_11_22_120000{uuid.uuid4()}cluster.{cluster}.{suffix}"
                (destination / name).write_bytes(b"".join(pieces))
                found += 1
        finally:
            access.close()
        if found:
            return 0
        if known.condor:
            print("Transfer may be incomplete.")
            return 0
        print("Got error from landscape:\nno such job")
        print(f"requests.exceptions.HTTPError: 404 Client Error: Not Found for url: http://logs/job/{known.jobid}.tar.gz",
              file=sys.stderr)
        return 1


def install(place: Path, document: dict) -> Path:
    """Have the programs in ``place``/bin; returns it."""
    from poms.webservice.rules import shell

    path = place / "standin.json"
    path.write_text(json.dumps(document))
    programs = place / "bin"
    programs.mkdir()
    for name in ("jobsub_submit", "jobsub_submit_dag", "jobsub_hold", "jobsub_release", "jobsub_rm", "jobsub_fetchlog"):
        words = " ".join(shell.quote(word) for word in (sys.executable, "-P", __file__, str(path), name))
        (programs / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (programs / name).chmod(0o755)
    return programs


if __name__ == "__main__":
    sys.exit(StandIn(Path(sys.argv[1])).run(sys.argv[2], sys.argv[3:]))
