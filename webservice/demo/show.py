"""The table that is redrawn in the terminal while a campaign runs, and the person at its side who approves."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from poms.webservice.demo import records
from poms.webservice.demo.person import Person
from poms.webservice.demo.records import StageState
from poms.webservice.services.core import Core
from poms.webservice.services.samples import Sample

GIVE_UP_SECONDS = 1200
LOOK_SECONDS = 0.3
TIME_TO_APPROVE_SECONDS = 30


def progress(states: list[StageState]) -> Table:
    """How far each stage is."""
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


class Approver:
    """Approves what waits: at once when nobody watches, otherwise after a while in which somebody else may."""

    def __init__(self, core: Core, person: Person, console: Console, url: str, *, at_once: bool) -> None:
        self._core, self._person, self._console, self._url = core, person, console, url
        self._patience_seconds = 0 if at_once else TIME_TO_APPROVE_SECONDS
        self._seen: dict[int, float] = {}

    def look(self, campaign_id: int) -> None:
        for number in records.waiting_for_approval(self._core, campaign_id):
            if number not in self._seen:
                self._seen[number] = time.monotonic()
                self._console.print(f"Submission {number} waits for approval.")
                if self._patience_seconds:
                    self._console.print(f"Approve or refuse it there: {self._url}submission?submission_id={number}\n"
                                        f"In {self._patience_seconds} seconds it is approved for you.")
            elif time.monotonic() - self._seen[number] >= self._patience_seconds and self._person.approve(number):
                self._console.print(f"Submission {number} is approved.")


def watch(core: Core, campaign_id: int, sample: Sample, before: Mapping[str, Counter], approver: Approver,
          console: Console) -> bool:
    """Redraw the progress until the campaign is done; False if it takes too long."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    # A table that is redrawn is of no use in a file.
    with Live(console=console, refresh_per_second=4, transient=not sys.stderr.isatty()) as live:
        while time.monotonic() < deadline:
            live.update(Group(progress(records.stage_states(core, campaign_id))))
            if records.is_finished(core, campaign_id, sample, before):
                return True
            approver.look(campaign_id)
            time.sleep(LOOK_SECONDS)
    return False
