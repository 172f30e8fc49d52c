"""What a person would do by hand: upload the campaign, set schedules, launch, approve; all of it over HTTP.

Not for looking (``records``). Invariant: each call may be repeated while the server is being restarted, and does
what it asks for once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from poms.webservice.client import Client
from poms.webservice.errors import BackendUnavailable, Conflict, PomsError

Answer = TypeVar("Answer")
PATIENCE_SECONDS = 60
PAUSE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A campaign that was saved: its number, and those of its stages by name."""

    campaign_id: int
    stages: Mapping[str, int]


class Person:
    """One who acts in one experiment and role of the service at ``url``."""

    def __init__(self, url: str, experiment: str, role: str) -> None:
        self._client = Client(url, experiment=experiment, role=role, program="demo")

    def upload(self, text: bytes) -> Uploaded:
        """Save a campaign. Raises PomsError if the text is not accepted."""
        answer = _patiently(lambda: self._client.upload(text, replace=True))
        if not answer.get("campaign_id"):
            raise PomsError(f"The sample was not accepted: {answer.get('message')}")
        return Uploaded(int(answer["campaign_id"]), {name: number for number, name in answer["campaign_stage_ids"]})

    def schedule(self, stage_id: int, cron: str) -> None:
        _patiently(lambda: self._client.connection.json(
            "schedule_set", {"campaign_stage_id": stage_id, "cron": cron, "by": "cron", "fmt": "json"}))

    def launch(self, stage_id: int) -> None:
        """Launch a stage, once in the life of this process."""
        key = f"demo-{stage_id}-{os.getpid()}"
        _patiently(lambda: self._client.launch_stage(stage_id, key=key))

    def approve(self, submission_id: int) -> bool:
        """Approve what waits; False if somebody else has decided meanwhile."""
        try:
            _patiently(lambda: self._client.mark(submission_id, "approve"))
        except Conflict:
            return False
        return True


def _patiently(call: Callable[[], Answer]) -> Answer:
    """Repeat a call that the server does not answer, for a minute."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except BackendUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)
