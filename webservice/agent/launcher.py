"""Take committed launches and have them submitted, several at a time, a fair share for each experiment."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

from sqlalchemy.exc import SQLAlchemyError

from poms.webservice.services import launches
from poms.webservice.services.core import Core
from poms.webservice.services.launches import CallOff, Claim

log = logging.getLogger(__name__)

SETTLED_TOGETHER = 25
"""So many owed launches are worked out and stored together: more would make the others of a campaign wait."""

CALL_OFF_SECONDS = 2
"""How soon an agent notices that a launch it works on was called off."""


class Launcher:
    """Claims launches for as many workers as are free, and keeps the leases of those at work."""

    def __init__(self, core: Core, owner: str, stopping: threading.Event) -> None:
        self.core, self.owner, self.stopping = core, owner, stopping
        self.workers = core.settings.agent.launch_workers
        self._at_work: dict[int, Claim] = {}
        self._settling: dict[int, Claim] = {}
        self._call_offs: dict[int, CallOff] = {}
        self._lock = threading.Lock()
        self._finished = threading.Event()

    def run(self) -> None:
        """Until told to stop; launches that were begun are finished first."""
        keeper = threading.Thread(target=self._keep_leases, name="launch leases", daemon=True)
        watcher = threading.Thread(target=self._watch_call_offs, name="launch call-offs", daemon=True)
        keeper.start()
        watcher.start()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="launch") as pool:
            while not self.stopping.is_set():
                try:
                    claimed = self._claim()
                except SQLAlchemyError:
                    log.exception("the database did not answer")
                    claimed = []
                for claim in claimed:
                    pool.submit(self._work, claim).add_done_callback(_report)
                if not claimed:
                    self.stopping.wait(self.core.settings.agent.launch_seconds)
        self._finished.set()
        keeper.join()
        watcher.join()

    def _claim(self) -> list[Claim]:
        """Fill the free workers; one experiment whose launches hang may keep all of them but one."""
        most = max(1, self.workers - 1)
        claimed: list[Claim] = []
        while True:
            with self._lock:
                free = self.workers - len(self._at_work)
                share = Counter(claim.experiment for claim in self._at_work.values())
            if free <= 0:
                return claimed
            busy = [name for name, count in share.items() if count >= most]
            largest = max((count for count in share.values() if count < most), default=0)
            more = launches.claim(self.core, self.owner, min(free, most - largest), busy=busy)
            if not more:
                return claimed
            with self._lock:
                self._at_work |= {claim.launch_id: claim for claim in more}
            claimed += more

    def _work(self, claim: Claim) -> None:
        stop = CallOff()
        with self._lock:
            self._call_offs[claim.launch_id] = stop
        try:
            for each in self._settle(claim) if claim.state == "owed" else [claim]:
                state = launches.work_on(self.core, each, stop=stop if each.launch_id == claim.launch_id else None)
                log.info("launch worked on", extra={"launch_id": each.launch_id, "submission_id": each.submission_id,
                                                    "experiment": each.experiment, "state": state})
        finally:
            with self._lock:
                self._at_work.pop(claim.launch_id, None)
                self._call_offs.pop(claim.launch_id, None)

    def _settle(self, claim: Claim) -> list[Claim]:
        """Work out an owed launch together with others of its experiment; what is left for this worker."""
        others = launches.claim(self.core, self.owner, SETTLED_TOGETHER - 1, owed_in=claim.experiment)
        if not others:
            return [claim]
        with self._lock:
            self._settling |= {each.launch_id: each for each in others}
        try:
            going_on = launches.settle(self.core, [claim, *others], keep=claim)
        finally:
            with self._lock:
                for each in others:
                    del self._settling[each.launch_id]
        return going_on

    def _watch_call_offs(self) -> None:
        """End the scripts of launches that a person called off."""
        while not self._finished.wait(CALL_OFF_SECONDS):
            with self._lock:
                held = [self._at_work[number] for number, stop in self._call_offs.items() if not stop.is_set()]
            if not held:
                continue
            try:
                over = launches.called_off(self.core, held)
            except SQLAlchemyError:
                log.exception("the database did not say which launches were called off")
                continue
            with self._lock:
                stops = [self._call_offs[number] for number in over if number in self._call_offs]
            for stop in stops:
                stop.set()

    def _keep_leases(self) -> None:
        """Prolong at a third of the lease, so that two attempts at prolonging may fail."""
        pause = self.core.settings.agent.lease_seconds / 3
        while True:
            stopped = self.stopping.wait(pause)
            with self._lock:
                held = [*self._at_work.values(), *self._settling.values()]
            if stopped and not held:
                return
            if stopped:
                threading.Event().wait(min(pause, 0.5))
            try:
                launches.renew(self.core, held)
            except SQLAlchemyError:
                log.exception("launch leases could not be prolonged")


def _report(future: Future[None]) -> None:
    """A worker that died of something unexpected leaves its launch to the next lease; say so."""
    error = future.exception()
    if error is not None:
        log.error("a launch worker failed", exc_info=error)
