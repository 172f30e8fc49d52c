"""What pages cost a browser: nothing moves after it was shown, and scripts stay small. Times are the benchmark's."""

from __future__ import annotations

import pytest

from poms.webservice.testing import browser as browsers
from poms.webservice.testing.bench import browser as measuring
from poms.webservice.testing.bench import pages
from poms.webservice.testing.bench.shape import TINY
from poms.webservice.testing.pictures import scenes

pytestmark = pytest.mark.browser
# One look at each template: other looks at it load the same and move the same.
LOOKS = {look.route.template: look for look in reversed(pages.looks())}.values()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with scenes.huge(tmp_path_factory.mktemp("weight"), TINY) as made:
        yield made


@pytest.fixture(scope="module")
def tab(scene):
    with browsers.chromium() as started, measuring.window(started) as opened:
        yield opened


@pytest.mark.parametrize("look", [pytest.param(look, id=look.name) for look in LOOKS])
def test_a_page_stands_still_and_its_scripts_are_small(scene, tab, look):
    """Scripts that come later find their room kept; what a page loads of them is within the budget."""
    address = scene.address + look.path(scene.landmarks)
    script_bytes = measuring.bytes_of_scripts(tab, address)
    shift = tab.evaluate(measuring.FOUND)["shift"]
    if shift > 0:
        # What the page tells may just have changed, such as an age; what moves by itself moves at every look.
        measuring.look_at(tab, address)
        shift = min(shift, tab.evaluate(measuring.FOUND)["shift"])

    limits = {budget.of: budget.limit for budget in measuring.PAINT}
    assert shift <= limits["shift"]
    assert script_bytes / 1000 <= limits["js_kB"]


def test_a_page_that_moves_is_noticed(scene, tab):
    """Something that comes above what is there already counts."""
    measuring.look_at(tab, f"{scene.address}/poms/tags/sbnd/production")
    before = tab.evaluate(measuring.FOUND)["shift"]
    tab.evaluate("""() => new Promise((done) => {
      document.querySelector("main").insertAdjacentHTML("afterbegin", "<svg width=10 height=300></svg>");
      requestAnimationFrame(() => requestAnimationFrame(done)); })""")
    tab.wait_for_function("() => window.moved.length > 0")

    assert tab.evaluate(measuring.FOUND)["shift"] > before + 0.001
