"""What a person at a browser waits for: the first paint, what moves after it, scripts, and the campaign editor.

Real Chromium against ``poms serve``; the reference is a bare page in the same browser. Times of a busy machine say
little: processor time for each frame of a drag is measured beside them, from the browser's own counters.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from poms.webservice.errors import ConfigurationError
from poms.webservice.rules.permissions import Actor
from poms.webservice.services import campaigns
from poms.webservice.testing import browser as browsers
from poms.webservice.testing.bench import making
from poms.webservice.testing.bench.figures import Budget, Figure, figure
from poms.webservice.testing.bench.pages import Look, looks
from poms.webservice.testing.bench.places import Place, bare_server, pages_server

REFERENCE = "bare CherryPy page, first paint"
PAINT = (Budget("absolute", 400), Budget("shift", 0.001), Budget("js_kB", 100))
FRAME_MS = 1000 / 60
CAMPAIGNS = (100, 500)
"""Stages of the two campaigns that the editor is tried with; the second is only to work."""
WIDE = 10
# Runs before any script of the page: notes what moved after it was shown, and when the editor is ready.
WATCH = """
window.moved = [];
new PerformanceObserver((list) => { for (const one of list.getEntries()) window.moved.push(one.value); })
  .observe({ type: "layout-shift", buffered: true });
new MutationObserver(() => {
  if (document.querySelector("[data-editor][data-ready]")) window.readyAt ??= performance.now();
}).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-ready"] });
"""
FOUND = """() => ({
  paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0,
  shift: window.moved.reduce((sum, one) => sum + one, 0) })"""
# Counts the frames that the page draws.
COUNT = """() => {
  window.frames_drawn = 0;
  const draw = () => { window.frames_drawn += 1; requestAnimationFrame(draw); };
  requestAnimationFrame(draw); }"""
# A point on a stage in the middle of those that are in sight.
MIDDLE = """() => {
  const points = [...document.querySelectorAll("[data-node]:not([data-node=home])")].map((one) => {
    const box = one.getBoundingClientRect();
    return [box.x + box.width / 3, box.y + box.height / 3];
  }).filter(([x, y]) => document.elementFromPoint(x, y)?.closest("[data-node]"));
  return points[Math.floor(points.length / 2)]; }"""


@dataclass(frozen=True, slots=True)
class Seen:
    """A page as the browser saw it: milliseconds until something was there, and how much moved after that."""

    paint_ms: float
    shift: float


def measure(full: Place, *, rounds: int = 3, stages: tuple[int, int] = CAMPAIGNS,
            moves: int = 180, only: int | None = None) -> Iterator[Figure]:
    """A figure for each page (or for some), then for the editor with a campaign of many stages and of very many."""
    program = browsers.find_program()
    if program is None:
        raise ConfigurationError("no browser was found: install Chromium, or measure the others with --only")
    numbers = {count: save_campaign(full, count) for count in stages}
    with pages_server(full) as address, bare_server(full.url, full.directory) as bare, \
            browsers.started(program) as browser:
        with window(browser) as tab:
            reference = statistics.median(look_at(tab, f"http://{bare}/page").paint_ms for _ in range(rounds))
        for look in looks()[:only]:
            yield _page(browser, look, f"http://{address}{look.path(full.landmarks)}", reference, rounds)
        for count, number in numbers.items():
            url = f"http://{address}/poms/campaign_edit/{making.BUSY}/{making.ROLE}/{number}"
            yield from _editor(browser, url, count, reference, rounds=rounds, moves=moves)


def _page(browser: Any, look: Look, url: str, reference: float, rounds: int) -> Figure:
    """The median of some looks, each with nothing kept from before but the styles and scripts."""
    with window(browser) as tab:
        script_bytes = bytes_of_scripts(tab, url)
        seen = [look_at(tab, url) for _ in range(rounds)]
    return figure(f"browser {look.name}", statistics.median(one.paint_ms for one in seen), "ms", REFERENCE, reference,
                  *PAINT, shift=max(one.shift for one in seen), js_kB=script_bytes / 1000)


def look_at(tab: Any, url: str) -> Seen:
    """Open a page, wait until its scripts are through, and say what was seen."""
    tab.goto(url, wait_until="load")
    if tab.query_selector("[data-editor]"):
        tab.wait_for_selector("[data-editor][data-ready]")
    # What a script moves, it has moved when two frames have passed after it.
    tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    tab.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length > 0")
    found = tab.evaluate(FOUND)
    return Seen(found["paint"], found["shift"])


def bytes_of_scripts(tab: Any, url: str) -> int:
    """All scripts that a page loads, as they are before they are compressed; nothing is in the cache yet."""
    answers: list[Any] = []

    def note(answer: Any) -> None:
        answers.append(answer)

    tab.on("response", note)
    look_at(tab, url)
    tab.remove_listener("response", note)
    return sum(len(each.body()) for each in answers if each.request.resource_type == "script" and each.status == 200)


# ----------------------------------------------------------------------------------------- the editor


def _editor(browser: Any, url: str, count: int, reference: float, *, rounds: int, moves: int) -> Iterator[Figure]:
    many = count >= CAMPAIGNS[1]
    opened = []
    for _ in range(rounds):
        with window(browser) as tab:
            # The second time: styles and scripts are there, as they are for everybody who has used the service before.
            for _ in range(2):
                tab.goto(url)
                tab.wait_for_selector("[data-editor][data-ready]")
                ready = tab.evaluate("() => window.readyAt")
            opened.append(ready)
    yield figure(f"editor opens {count} stages", statistics.median(opened), "ms", REFERENCE, reference,
                 Budget("absolute", 5000 if many else 1000))
    with window(browser) as tab:
        tab.goto(url)
        tab.wait_for_selector("[data-editor][data-ready]")
        yield _drag(tab, count, moves)
        yield _edit(tab, count, reference)


def _drag(tab: Any, count: int, moves: int) -> Figure:
    """A stage with dependencies is dragged about; the processor time of a frame is the browser's own count."""
    counters = tab.context.new_cdp_session(tab)
    # The time that the thread had the processor, whatever else the machine does meanwhile.
    counters.send("Performance.enable", {"timeDomain": "threadTicks"})
    x, y = tab.evaluate(MIDDLE)
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 20, y + 10)
    tab.evaluate(COUNT)
    before, began = busy_seconds(counters), time.monotonic()
    for number in range(moves):
        tab.mouse.move(x + 20 + number % 120, y + 10 + 2 * number % 90)
    drawn, seconds = tab.evaluate("() => window.frames_drawn"), time.monotonic() - began
    busy_ms = 1000 * (busy_seconds(counters) - before) / max(drawn, 1)
    text = tab.eval_on_selector(".text__area", "area => area.value")
    tab.mouse.up()
    # Where stages stand is part of the text: when it has changed, the drag was one.
    tab.wait_for_function("text => document.querySelector('.text__area').value !== text", arg=text)
    return figure(f"editor drags in {count} stages", busy_ms, "ms of processor time a frame", "a frame of 60 a second",
                  FRAME_MS, *(() if count >= CAMPAIGNS[1] else (Budget("ratio", 1),)),
                  frames_per_second=drawn / seconds)


def busy_seconds(counters: Any) -> float:
    """The time that the page's thread was at work so far."""
    found = {one["name"]: one["value"] for one in counters.send("Performance.getMetrics")["metrics"]}
    return float(found["TaskDuration"])


def _edit(tab: Any, count: int, reference: float) -> Figure:
    """A stage is cloned: until it stands in the picture and in the text that the server makes of it."""
    node = tab.locator("[data-node]:not([data-node=home])").last
    node.focus()
    before = tab.locator("[data-node]").count()
    taken = tab.evaluate("""async () => {
      const began = performance.now();
      const text = document.querySelector(".text__area").value;
      document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "y", bubbles: true }));
      while (document.querySelector(".text__area").value === text) await new Promise((done) => setTimeout(done, 5));
      return performance.now() - began; }""")
    if tab.locator("[data-node]").count() != before + 1:
        raise RuntimeError(f"the editor did not clone a stage of {count}")
    return figure(f"editor clones a stage of {count}", taken, "ms", REFERENCE, reference,
                  Budget("absolute", 5000 if count >= CAMPAIGNS[1] else 1500))


@contextmanager
def window(browser: Any) -> Iterator[Any]:
    """A window of its own, with an empty cache, that notes what moves."""
    context = browser.new_context(viewport={"width": browsers.WIDE[0], "height": browsers.WIDE[1]})
    context.add_init_script(WATCH)
    try:
        yield context.new_page()
    finally:
        context.close()


def save_campaign(place: Place, stages: int) -> int:
    """A campaign with so many stages, some beside each other, each fed by one or two before it; its number."""
    core = place.core()
    try:
        saved = campaigns.save_text(core, Actor(1, making.USER, making.BUSY, making.ROLE, False),
                                    campaign_text(f"wide_{stages}", stages).encode(), source="web")
    finally:
        core.backends.close()
        core.db.close()
    if saved.problems:
        raise RuntimeError(f"the campaign of {stages} stages cannot be saved: {saved.problems[:3]}")
    return int(saved.campaign_id or 0)


def campaign_text(name: str, stages: int) -> str:
    """The text of such a campaign."""
    head = (f"[campaign]\nname = {name}\nexperiment = {making.BUSY}\n\n[campaign_defaults]\nvo_role = Production\n"
            "software_version = v1\ndataset_or_split_data = None\ncompletion_type = located\ncompletion_pct = 95\n"
            "login_setup = grid\njob_type = lar\n")
    parts = [head]
    for number in range(stages):
        parts.append(f'\n[campaign_stage s{number}]\nparam_overrides = [["--stage=", "s{number}"]]\n')
        before = [each for each in (number - WIDE, number - WIDE + 1)
                  if each >= 0 and each // WIDE == number // WIDE - 1]
        if before:
            parts.append(f"\n[dependencies s{number}]\n" + "".join(
                f"campaign_stage_{place} = s{each}\nfile_pattern_{place} = %.root\n"
                for place, each in enumerate(before, 1)))
    return "".join(parts)
