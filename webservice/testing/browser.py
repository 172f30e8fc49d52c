"""A real browser for tests: Chromium, and tabs in which nothing may go wrong unseen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from poms.webservice.testing.fixtures import lacking

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDE, NARROW = (1280, 900), (390, 844)
# A test's server may get any port, also one that browsers keep away from because other protocols use it.
_AVOIDED = (1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697,
            10080)
ARGUMENTS = ("--no-sandbox", "--disable-gpu", f"--explicitly-allowed-ports={','.join(map(str, _AVOIDED))}")


def find_program() -> str | None:
    """The path of a Chromium on this machine."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """A Chromium without a window; skips the test, or fails it if one is required, when there is none."""
    program = find_program()
    if program is None:
        lacking("chromium", "no browser was found; install Chromium")
    with started(program) as browser:
        yield browser


@contextmanager
def started(program: str) -> Iterator[Any]:
    """This Chromium, for programs that are no tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def tab(browser: Any, *, size: tuple[int, int] = WIDE, scheme: str = "light") -> Iterator[Any]:
    """A tab of a session of its own; at its end, anything that the browser complained of fails the test."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme,
                                  accept_downloads=True)
    opened = context.new_page()
    complaints = complaints_of(opened)
    yield opened
    context.close()
    assert not complaints, "\n".join(complaints)


def complaints_of(opened: Any) -> list[str]:
    """What the browser complains of in this tab from now on: errors of scripts, breaches of the content policy."""
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(f"{opened.url}: {error}"))
    opened.on("console", lambda message: complaints.append(f"{opened.url}: {message.text}")
              if message.type in ("error", "warning") and not _is_answer(message.text) else None)
    return complaints


def _is_answer(text: str) -> bool:
    """The browser tells of every page with a status of 400 and more; those are answers, not faults."""
    return text.startswith("Failed to load resource: the server responded with a status of 4")
