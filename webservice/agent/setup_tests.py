"""Take tests of login setups and run them, a few at a time, beside launches and without their threads."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from sqlalchemy.exc import SQLAlchemyError

from poms.webservice.services import login_setup_tests
from poms.webservice.services.core import Core
from poms.webservice.services.launches import CallOff
from poms.webservice.services.login_setup_tests import TestClaim

log = logging.getLogger(__name__)

WORKERS = 2
PAUSE_SECONDS = 1.0
"""Somebody who asked for a test sits before its page."""


class SetupTester:
    """Until told to stop; tests that run then are ended and left to another agent."""

    def __init__(self, core: Core, owner: str, stopping: threading.Event) -> None:
        self.core, self.owner, self.stopping = core, owner, stopping
        self._stop = CallOff()
        self._free = threading.Semaphore(WORKERS)

    def run(self) -> None:
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="login setup test") as pool:
            while not self.stopping.is_set():
                if not self._begin_one(pool):
                    self.stopping.wait(PAUSE_SECONDS)
            self._stop.set()

    def _begin_one(self, pool: ThreadPoolExecutor) -> bool:
        if not self._free.acquire(blocking=False):
            return False
        try:
            claimed = login_setup_tests.claim(self.core, self.owner, 1)
        except SQLAlchemyError:
            log.exception("the database did not answer")
            claimed = []
        if not claimed:
            self._free.release()
            return False
        pool.submit(self._work, claimed[0]).add_done_callback(self._ended)
        return True

    def _work(self, claimed: TestClaim) -> None:
        state = login_setup_tests.work_on(self.core, claimed, stop=self._stop)
        log.info("login setup tested", extra={"test_id": claimed.test_id, "state": state})

    def _ended(self, future: Future[None]) -> None:
        self._free.release()
        error = future.exception()
        if error is not None:
            log.error("a test of a login setup failed", exc_info=error)
