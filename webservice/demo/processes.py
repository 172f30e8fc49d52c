"""Server and agent of the demonstration as processes, and crashes for those who want to see them survived."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

MOST_RESTARTS = 100
STOP_SECONDS = 20


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
                    process.wait(STOP_SECONDS)
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
                        if self.restarts[name] > MOST_RESTARTS:
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
