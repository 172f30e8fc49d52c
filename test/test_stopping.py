"""Daemons end when they are told to, at whatever moment that is."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from poms.webservice.stopping import StopSignal

# The signal comes after the first step of waiting, after the second, and so on, until waiting has no more steps.
AT_EVERY_STEP = """
import signal, sys
from poms.webservice.stopping import StopSignal

class Trap:
    def __init__(self, place):
        self.left = place

    def __call__(self, frame, event, argument):
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGTERM)
        return self

place = 0
while True:
    place += 1
    with StopSignal() as stop:
        trap = Trap(place)
        sys.settrace(trap)
        ended = stop.wait(WAIT)
        sys.settrace(None)
        if trap.left > 0:
            break
        assert ended or stop.wait(0), place
print(place)
"""


def _at_every_step(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


def test_a_signal_between_any_two_steps_of_waiting_is_seen():
    """None of them is one at which the process would wait for itself for ever."""
    done = _at_every_step(AT_EVERY_STEP.replace("WAIT", "0.001"))

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


@pytest.mark.parametrize("number", StopSignal.SIGNALS)
def test_what_ends_a_daemon_is_left_as_it_was(number):
    """A test, or a program that runs one thing after the other, has its own handlers back."""
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert not stop.wait(0)
        signal.raise_signal(number)
        assert stop.wait() and stop.wait()
    assert signal.getsignal(number) is before


def test_a_thread_can_end_the_daemon_however_often_it_says_so():
    """What a thread cannot go on with ends the process; the pipe behind it is never too full."""
    with StopSignal() as stop:
        thread = threading.Thread(target=lambda: [stop.set() for _ in range(100_000)])
        thread.start()
        assert stop.wait(60)
        thread.join(60)
        assert not thread.is_alive()
