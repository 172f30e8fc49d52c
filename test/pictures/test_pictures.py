"""Pictures of every page can be taken: each answers, fits its window, and its scripts complain of nothing."""

from __future__ import annotations

import re
import sqlite3
from contextlib import ExitStack, closing

import pytest

from poms.webservice.rules.statuses import Status
from poms.webservice.testing import browser as browsers
from poms.webservice.testing.bench import pages
from poms.webservice.testing.bench.shape import TINY
from poms.webservice.testing.pictures import scenes, sheets, taking
from poms.webservice.testing.pictures.__main__ import CHOSEN, GUIDE
from poms.webservice.testing.pictures.taking import CannotBePictured, Subject

pytestmark = pytest.mark.browser
LOOKS = [pytest.param(look, id=look.name) for look in pages.looks()]
LARGEST_BYTES = 150_000


@pytest.fixture(scope="module")
def chromium():
    with browsers.chromium() as started:
        yield started


@pytest.fixture(scope="module")
def cameras(chromium, tmp_path_factory):
    """Windows on scenes: the full one on a telephone and on a desk, the empty one on a desk by night."""
    with ExitStack() as stack:
        made = {}
        for make, looked_at in ((scenes.empty, {"empty": ("1280", "dark")}),
                                (scenes.huge, {"huge": ("390", "light"), "huge on a desk": ("1280", "light")})):
            directory = tmp_path_factory.mktemp(make.__name__)
            scene = stack.enter_context(make(directory, TINY) if make is scenes.huge else make(directory))
            for name, (size, theme) in looked_at.items():
                windows = taking.cameras(chromium, scene, [size], [theme])
                made[name] = next(windows)[2]
                stack.callback(windows.close)
        yield made


def subject(camera, name):
    return next(each for each in taking.subjects(camera.scene) if each.name == taking.file_name(name))


@pytest.mark.parametrize("window", ["huge", "huge on a desk"])
@pytest.mark.parametrize("look", LOOKS)
def test_a_page_with_long_names_can_be_pictured(cameras, look, window):
    """On a telephone and on a desk, with names that nobody would want: no list is wider than its card."""
    picture = cameras[window].take(subject(cameras[window], look.name))

    assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize("look", [each for each in LOOKS if not taking.is_about_something(each.values[0])])
def test_a_page_without_anything_can_be_pictured(cameras, look):
    """On the first day of an experiment, by night."""
    picture = cameras["empty"].take(subject(cameras["empty"], look.name))

    assert picture.startswith(b"\x89PNG")


def test_pages_that_follow_from_doing_something_can_be_pictured(cameras):
    """A question about chosen rows, an upload with mistakes, a form of the editor, a page that is not there."""
    scene = cameras["huge"].scene
    further = [each for each, _ in taking.further(scene, scene.landmarks)]

    assert all(cameras["huge"].take(each).startswith(b"\x89PNG") for each in further)
    assert {"upload with mistakes", "bulk question", "editor form"} <= {each.name for each in further}


def test_paper_has_dark_ink_by_night_too(cameras):
    """What is printed is light with dark letters, without means to change things, whatever theme is on the screen."""
    camera = cameras["empty"]

    camera.take(subject(camera, "dashboard"))
    by_night = camera.tab.evaluate("() => getComputedStyle(document.querySelector('main h1')).color")
    camera.take(next(each for each in taking.subjects(camera.scene) if each.name == "dashboard on paper"))
    on_paper = camera.tab.evaluate("() => getComputedStyle(document.querySelector('main h1')).color")

    assert on_paper != by_night
    assert max(map(int, re.findall("[0-9]+", on_paper))) < 100
    assert not camera.tab.locator("header.top").is_visible()


def test_a_page_that_does_not_come_is_told(cameras):
    """A page that answers otherwise than it should, or is too wide, is no picture."""
    camera = cameras["empty"]

    with pytest.raises(CannotBePictured, match="404"):
        camera.take(Subject("none", "/poms/no_such_page/sbnd/production"))
    with pytest.raises(CannotBePictured, match="[0-9]+ pixels wide in a window of 1280"):
        camera.take(Subject("wide", "/poms/tags/sbnd/production", lambda tab: tab.evaluate(
            "() => document.querySelector('main').insertAdjacentHTML('beforeend', '<svg width=5000 height=1>')")))
    with pytest.raises(CannotBePictured, match="a table of [0-9]+ pixels in a card of [0-9]+"):
        camera.take(Subject("cut off", "/poms/people/sbnd/production", lambda tab: tab.evaluate(
            "() => document.querySelector('td').insertAdjacentHTML('beforeend', '<svg width=5000 height=1>')")))


def test_every_template_is_pictured():
    """A page of a template that no route names is reached by what is done on another."""
    templates = {file.name for file in (GUIDE.parents[1] / "templates").glob("*.html")} - {"layout.html"}
    nowhere = scenes.Scene("none", "", taking.NOWHERE, "sbnd", "production")
    further = {template for _, template in taking.further(nowhere, taking.NOWHERE)}

    assert templates <= {look.route.template for look in pages.looks()} | further


def test_contact_sheets_show_every_picture(chromium, cameras, tmp_path):
    """As many sheets as it takes, and a page with all pictures."""
    folder = tmp_path / "empty-1280-dark"
    folder.mkdir()
    files = [folder / f"{number}.png" for number in range(8)]
    for file in files:
        file.write_bytes(cameras["empty"].take(subject(cameras["empty"], "tags"), whole=False))

    made = sheets.write_sheets(chromium, tmp_path, files, size="1280")

    assert [file.name for file in made] == ["sheet-empty-1280-dark-01.png", "sheet-empty-1280-dark-02.png"]
    assert len(re.findall("<figure>", sheets.write_index(tmp_path, files).read_text())) == 8


def test_the_story_has_every_state_that_needs_a_person(tmp_path):
    """What the usual pictures show: jobs that run, are held and failed, launches that failed or wait, an approval."""
    with scenes.normal(tmp_path) as scene:
        landmarks = scene.landmarks

    with closing(sqlite3.connect(tmp_path / "poms.db")) as database:
        states = {Status(number) for (number,) in database.execute("SELECT DISTINCT status_id FROM submissions")}
    assert {Status.RUNNING, Status.HELD, Status.LAUNCH_FAILED, Status.AWAITING_APPROVAL, Status.LOCATED} <= states
    assert landmarks.submission_id in landmarks.live_submission_ids


def test_the_pictures_of_the_guide_are_small_and_shown():
    """Each is in the folder and in the user's guide, and none is heavy."""
    guide = (GUIDE.parent / "users.md").read_text()
    files = {file.name: file.stat().st_size for file in GUIDE.glob("*.webp")}

    assert set(files) == {f"{name}.webp" for name, *_ in CHOSEN}
    assert [name for name in files if f"(pictures/{name})" not in guide] == []
    assert [name for name, size in files.items() if size > LARGEST_BYTES] == []
