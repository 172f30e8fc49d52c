"""The demonstration: a fresh service, a sample campaign, and the whole of it run before your eyes.

Starts the real server and the real agent as processes of their own, restarts either if it dies,
uploads and launches over HTTP like any client, and reads the outcome from the service's database.
What it prints last with ``--json`` is read by other programs: keep the keys.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import requests
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from sqlalchemy import select

from poms.webservice import config, migrations
from poms.webservice.backends import Backends
from poms.webservice.cli import startup
from poms.webservice.errors import PomsError
from poms.webservice.model import Campaign, CampaignStage, Launch, Submission
from poms.webservice.rules import shell
from poms.webservice.rules.campaign_text import parse
from poms.webservice.rules.statuses import FINAL, Status
from poms.webservice.services import people, wrapup
from poms.webservice.services.core import Core

EXPERIMENT, USER = "sbnd", "demo"
GIVE_UP_SECONDS = 600
START_SECONDS = 60

POMS_INI = """\
; Made by bin/demo. Nothing here is meant for production.
[service]
data_dir = .
public_url = http://{listen}

[web]
listen = {listen}

[identity]
sources = demo

[agent]
launch_seconds = 0.3
poll_seconds = 0.7
wrapup_seconds = 0.7
lease_seconds = 5
held_grace_seconds = 1

[experiment sbnd]
job_backend = {batch}
data_backend = local
launch_transport = local

[local_batch]
site = DEMO
"""


# ------------------------------------------------------------------------------------- processes


@dataclass
class Processes:
    """Server and agent; one that dies is started again at once."""

    ini: Path
    log_dir: Path
    running: dict[str, subprocess.Popen] = field(default_factory=dict)
    restarts: Counter = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        for name in ("serve", "agent"):
            self._start(name)
        threading.Thread(target=self._keep, daemon=True).start()

    def kill(self, names: list[str]) -> None:
        """kill -9, as a crash would."""
        with self._lock:
            for name in names:
                self.running[name].kill()

    def stop(self) -> None:
        self._stopping.set()
        with self._lock:
            for process in self.running.values():
                process.send_signal(signal.SIGTERM)
            for process in self.running.values():
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _start(self, name: str) -> None:
        with (self.log_dir / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "poms.webservice", name, "--config", str(self.ini)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def _keep(self) -> None:
        while not self._stopping.wait(0.1):
            with self._lock:
                for name, process in list(self.running.items()):
                    if process.poll() is not None and not self._stopping.is_set():
                        self.restarts[name] += 1
                        if self.restarts[name] > 100:
                            return
                        self._start(name)


class Crashes(threading.Thread):
    """Kills server, agent or both at random moments: ``count`` times, from a seed."""

    def __init__(self, processes: Processes, count: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.processes, self.count, self.random = processes, count, random.Random(seed)
        self.done, self.ended = 0, threading.Event()

    def run(self) -> None:
        for _ in range(self.count):
            if self.ended.wait(self.random.uniform(0.3, 3.0)):
                return
            self.processes.kill(self.random.choice([["serve"], ["agent"], ["serve", "agent"]]))
            self.done += 1


# ------------------------------------------------------------------------------------------ client


class Client:
    """The few calls that the demonstration makes; repeats them while the server is being restarted."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        # A page of another site cannot send this header: it takes the place of a form's token.
        self.session.headers["X-Poms-Client"] = "demo"

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                answer = self.session.request(method, f"{self.url}/poms/{path}", timeout=30, **arguments)
                if answer.status_code != 503:
                    return answer
            except requests.ConnectionError:
                answer = None
            if time.monotonic() > deadline:
                raise PomsError(f"The server did not answer at {self.url}"
                                + (f": {answer.text[:300]}" if answer is not None else ""))
            time.sleep(0.2)

    def upload(self, text: bytes) -> dict[str, Any]:
        answer = self.call("POST", f"ini_to_campaign/{EXPERIMENT}/production",
                           files={"upload": ("campaign.ini", text)}, data={"pcl_call": "1"})
        return _json(answer)

    def launch(self, campaign_id: int, key: str) -> dict[str, Any]:
        answer = self.call("POST", f"launch_campaign/{EXPERIMENT}/production",
                           data={"campaign_id": campaign_id, "fmt": "json"}, headers={"Idempotency-Key": key})
        return _json(answer)


def _json(answer: requests.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        raise PomsError(f"The server answered {answer.status_code}: {answer.text[:500]}") from None
    if answer.status_code >= 400:
        raise PomsError(f"The server answered {answer.status_code}: {body.get('message', body)}")
    return body


# -------------------------------------------------------------------------------------------- state


@dataclass
class StageState:
    """What the summary says of a stage."""

    name: str
    status: str = "waiting"
    submissions: int = 0
    recoveries: int = 0
    jobs: Counter = field(default_factory=Counter)
    jobs_expected: int = 0
    running: int = 0
    files_in: int = 0
    files_out: int = 0


def stage_states(core: Core, campaign_id: int) -> list[StageState]:
    """The stages of a campaign as the database has them now."""
    with core.db.read() as session:
        stages = session.scalars(select(CampaignStage).where(CampaignStage.campaign_id == campaign_id)
                                 .order_by(CampaignStage.position, CampaignStage.campaign_stage_id)).all()
        found = session.scalars(select(Submission).where(Submission.campaign_id == campaign_id)
                                .order_by(Submission.submission_id)).all()
    states = {stage.campaign_stage_id: StageState(stage.name) for stage in stages}
    for item in found:
        state = states[item.campaign_stage_id]
        state.status = Status(item.status_id).label
        state.submissions += item.recovery_tasks_parent is None
        state.recoveries += item.recovery_tasks_parent is not None
        state.jobs += Counter(succeeded=item.jobs_completed, failed=item.jobs_failed, held=item.jobs_held,
                              removed=item.jobs_removed)
        state.running += item.jobs_running
        state.jobs_expected += item.jobs_expected
        state.files_in += item.files_consumed or 0
        state.files_out += item.files_generated or 0
    return list(states.values())


def is_finished(core: Core, campaign_id: int) -> bool:
    """Every stage was launched, every submission is final and nothing is owed."""
    with core.db.read() as session:
        stages = set(session.scalars(select(CampaignStage.campaign_stage_id)
                                     .where(CampaignStage.campaign_id == campaign_id)))
        rows = session.execute(select(Submission.campaign_stage_id, Submission.status_id)
                               .where(Submission.campaign_id == campaign_id)).all()
        owed = session.scalar(select(Launch.launch_id).where(
            Launch.campaign_id == campaign_id, Launch.state.in_(("owed", "queued", "held"))).limit(1))
    ended = all(Status(status) in FINAL or status == Status.LAUNCH_FAILED for _, status in rows)
    broken = any(status != Status.LOCATED for _, status in rows)
    return bool(rows) and ended and owed is None and (broken or {stage for stage, _ in rows} == stages)


def audit(core: Core, campaign_id: int, sample: Path) -> dict[str, Any]:
    """Count duplicated and lost files from the catalogue's own records and run the sample's checks."""
    duplicates = lost = 0
    names: Counter = Counter()
    data = core.backends.data(EXPERIMENT)
    with core.db.read() as session:
        originals = session.scalars(select(Submission).where(
            Submission.campaign_id == campaign_id, Submission.recovery_tasks_parent.is_(None))).all()
    for original in originals:
        candidate = wrapup.describe(core, original.submission_id, EXPERIMENT)
        view = candidate.view(original, candidate.job_type_patterns)
        outputs = [item for item in data.output_files(view) if item.located]
        names.update(item.file_name for item in outputs)
        if original.project:
            inputs = [item.file_name for item in data.file_states(view)]
            children = Counter(parent for item in outputs for parent in item.parents)
            lost += sum(1 for name in inputs if not children[name])
            duplicates += sum(count - 1 for name, count in children.items() if count > 1)
            duplicates += sum(1 for item in outputs if len(item.parents) != 1)
    duplicates += sum(count - 1 for count in names.values() if count > 1)
    return {"duplicates": duplicates, "lost": lost, "checks": _sample_checks(core, sample, set(names))}


def _sample_checks(core: Core, sample: Path, names: set[str]) -> dict[str, str]:
    """The sample's own check of its physics, on the files of this run: "passed", or what is wrong."""
    described = json.loads((sample / "sample.json").read_text()).get("check")
    if not described:
        return {}
    spec = importlib.util.spec_from_file_location("sample_check", sample / described["file"])
    module = importlib.util.module_from_spec(spec)
    # Dataclasses of the loaded file look themselves up here.
    sys.modules["sample_check"] = module
    spec.loader.exec_module(module)
    files = [path for path in output_dir(core).rglob("*") if path.name in names]
    report = getattr(module, described["function"])(files)
    return {"physics": "passed" if report.passed else "; ".join(report.failures)}


def output_dir(core: Core) -> Path:
    """Where the sample's jobs leave their files."""
    return core.settings.service.data_dir / "output"


# ---------------------------------------------------------------------------------------- the show


def progress(states: list[StageState]) -> Table:
    """The table that is redrawn while the campaign runs."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    numbers = ("Running", "Held", "Recoveries", "Files out")
    for heading in ("Stage", "Status", "Jobs", "", *numbers):
        table.add_column(heading, justify="right" if heading in numbers else "left")
    for state in states:
        ended = state.jobs["succeeded"] + state.jobs["failed"] + state.jobs["removed"]
        table.add_row(state.name, state.status, f"{ended} of {state.jobs_expected or '–'}",
                      ProgressBar(total=max(state.jobs_expected, 1), completed=ended, width=24),
                      str(state.running), str(state.jobs["held"]), str(state.recoveries), str(state.files_out))
    return table


def watch(core: Core, campaign_id: int, console: Console) -> bool:
    """Redraw the progress until the campaign is done; False if it takes too long."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    with Live(console=console, refresh_per_second=4) as live:
        while time.monotonic() < deadline:
            live.update(Group(progress(stage_states(core, campaign_id))))
            if is_finished(core, campaign_id):
                return True
            time.sleep(0.3)
    return False


def prepare(data_dir: Path, listen: str, batch: str) -> Core:
    """Configuration, database, experiment and person; nothing that is there already is changed."""
    data_dir.mkdir(parents=True, exist_ok=True)
    ini = data_dir / "poms.ini"
    ini.write_text(POMS_INI.format(listen=listen, batch=batch))
    backends = Backends(config.load(ini))
    migrations.upgrade(backends.settings.database.url, backends.databases())
    core = startup.open_core(backends)
    if EXPERIMENT not in people.list_experiments(core):
        people.add_experiment(core, EXPERIMENT, "Short-Baseline Near Detector")
    people.ensure_person(core, USER, "Demo", "User", root=True)
    people.set_membership(core, USER, EXPERIMENT, "superuser")
    return core


def sample_text(core: Core, sample: Path) -> bytes:
    """The sample's campaign text, with the place for its output set in its login setup."""
    described = json.loads((sample / "sample.json").read_text())
    output_dir(core).mkdir(exist_ok=True)
    text = parse((sample / described["campaign"]).read_bytes())
    setup = f"export {described['output_variable']}={shell.quote(str(output_dir(core)))}"
    return text.with_value(f"login_setup {described['login_setup']}", "setup", setup).to_bytes()


def free_port(wanted: int) -> int:
    """The port wanted, or any free one for 0; raises PomsError when it is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            raise PomsError(f"Port {wanted} is in use; choose another with --port, or --port 0 for any.") from None
        return probe.getsockname()[1]


def sample_dir(name: str) -> Path:
    """The folder of a sample campaign; raises PomsError naming those that there are."""
    library = Path(str(resources.files("poms.templates"))) / "campaigns"
    known = sorted(entry.name for entry in library.iterdir() if (entry / "sample.json").exists())
    if name not in known:
        raise PomsError(f"There is no sample “{name}”; there are: {', '.join(known)}.")
    return library / name


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/demo", description=__doc__.splitlines()[0])
    parser.add_argument("--exit", action="store_true", help="stop everything at the end; status 0 only if all is well")
    parser.add_argument("--json", action="store_true", help="print a machine-readable summary as the last line")
    parser.add_argument("--port", type=int, default=8080, help="port on loopback, 0 for any free one (default 8080)")
    parser.add_argument("--data-dir", type=Path, default=Path("var/demo"), help="where everything is kept")
    parser.add_argument("--sample", default="sbnd_mc", help="sample campaign to run (default sbnd_mc)")
    parser.add_argument("--batch", choices=["local", "htcondor"], default="local", help="batch system")
    parser.add_argument("--keep", action="store_true", help="go on with what is in the data directory")
    parser.add_argument("--crashes", type=int, default=0, metavar="N", help="kill server or agent N times on the way")
    parser.add_argument("--seed", type=int, default=0, help="of the crashes")
    return parser.parse_args(argv)


def run(argv: list[str] | None = None) -> int:
    """The whole demonstration; returns the exit status."""
    options = arguments(argv)
    console = Console(stderr=True)
    started = time.monotonic()
    try:
        sample = sample_dir(options.sample)
        port = free_port(options.port)
        data_dir = options.data_dir.absolute()
        if data_dir.exists() and not options.keep:
            _clear(data_dir)
        core = prepare(data_dir, f"127.0.0.1:{port}", options.batch)
    except PomsError as condition:
        console.print(f"[red]{condition}[/red]")
        return 2
    url = f"http://127.0.0.1:{port}/poms/"
    # Asked to end in whatever way, the server and the agent end with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    processes = Processes(data_dir / "poms.ini", data_dir)
    processes.start()
    crashes = Crashes(processes, options.crashes, options.seed)
    try:
        return _show(core, options, sample, url, crashes, console, started)
    except PomsError as condition:
        console.print(f"[red]{condition}[/red]\nThe logs are in {data_dir}.")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        crashes.ended.set()
        processes.stop()
        core.db.close()


def _show(core: Core, options: argparse.Namespace, sample: Path, url: str, crashes: Crashes, console: Console,
          started: float) -> int:
    client = Client(url.removesuffix("/poms/"))
    console.print(f"POMS serves [link={url}]{url}[/link]")
    uploaded = client.upload(sample_text(core, sample))
    campaign_id = uploaded.get("campaign_id")
    if not campaign_id:
        raise PomsError(f"The sample was not accepted: {uploaded.get('message')}")
    crashes.start()
    client.launch(campaign_id, f"demo-{campaign_id}-{os.getpid()}")
    finished = watch(core, campaign_id, console)
    crashes.ended.set()
    crashes.join()
    summary = summarise(core, campaign_id, sample, url, time.monotonic() - started) | {"crashes": crashes.done}
    good = finished and is_good(summary)
    console.print("[green]Every stage finished.[/green]" if good else "[red]Not every stage finished as it should; "
                  f"see {core.settings.service.data_dir}.[/red]")
    if options.json:
        print(json.dumps(summary), flush=True)
    if options.exit:
        return 0 if good else 1
    console.print(f"The service stays up at {url} until you press Ctrl-C.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("Stopping.")
    return 0 if good else 1


def summarise(core: Core, campaign_id: int, sample: Path, url: str, seconds: float) -> dict[str, Any]:
    """What ``--json`` prints."""
    with core.db.read() as session:
        name = session.get_one(Campaign, campaign_id).name
    states = stage_states(core, campaign_id)
    stages = [{"name": state.name, "status": state.status, "submissions": state.submissions,
               "recoveries": state.recoveries,
               "jobs": {key: state.jobs[key] for key in ("succeeded", "failed", "held", "removed")},
               "files_in": state.files_in, "files_out": state.files_out} for state in states]
    located = bool(stages) and all(stage["status"] == Status.LOCATED.label for stage in stages)
    return {"campaign": name, "finished": located, "seconds": round(seconds, 1), "url": url, "stages": stages,
            **audit(core, campaign_id, sample)}


def is_good(summary: dict[str, Any]) -> bool:
    """Every stage Located, nothing doubled, nothing lost, every check of the sample passed."""
    return (summary["finished"] and summary["duplicates"] == 0 and summary["lost"] == 0
            and all(value == "passed" for value in summary["checks"].values()))


def _clear(data_dir: Path) -> None:
    """Remove what an earlier demonstration left; refuses a directory that is not one's own."""
    if not (data_dir / "poms.ini").exists() and any(data_dir.iterdir()):
        raise PomsError(f"{data_dir} is not empty and was not made by bin/demo; choose another --data-dir.")
    shutil.rmtree(data_dir)


if __name__ == "__main__":
    sys.exit(run())
