"""Parameter and recovery lists on forms: edited in rows by mouse and keyboard, as text too, and without scripts."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from poms.webservice.model import JobType
from poms.webservice.services import blocks
from poms.webservice.services.blocks import JobTypeChange
from poms.webservice.testing.browser import NARROW
from poms.webservice.testing.browser import tab as a_tab

pytestmark = pytest.mark.browser
PAIRS = (("-N", "5"), ("-Osubmit.memory=", "3000MB"), ("--tag=", 'a "b"'))


@pytest.fixture
def olive(site):
    return site.world.person("olive")


def made(site, olive, pairs=PAIRS, recoveries=()):
    return blocks.save_job_type(site.core, olive, "sim", JobTypeChange(
        launch_script="run", output_file_patterns="%.root", parameters=pairs, recoveries=recoveries), add=True)


def stored(site, olive):
    with site.core.db.read() as session:
        found = session.scalars(select(JobType).where(JobType.experiment == olive.experiment)).one()
        return ([tuple(pair) for pair in found.definition_parameters],
                [(each.recovery_type, [tuple(pair) for pair in each.param_overrides]) for each in found.recoveries])


def rows(tab, of="Parameters"):
    return tab.get_by_role("group", name=of)


def saved(tab):
    tab.get_by_role("button", name="Save job type").click()
    tab.wait_for_selector(".toast >> text=Saved sim")


def test_parameters_are_edited_in_rows(site, olive, tab):
    """Added, changed, moved and taken away, and stored in the order that is seen."""
    tab.goto(site.url("job_type", made(site, olive)))
    group = rows(tab)
    assert group.get_by_label("Key").evaluate_all("all => all.map(one => one.value)") == [key for key, _ in PAIRS]

    group.get_by_role("button", name="Remove").nth(1).click()
    group.get_by_role("button", name="Pair").click()
    tab.keyboard.type("-c")
    tab.keyboard.press("Enter")
    tab.keyboard.type('x "y"')
    group.get_by_role("button", name="Move up").last.click()
    saved(tab)

    assert stored(site, olive)[0] == [("-N", "5"), ("-c", 'x "y"'), ("--tag=", 'a "b"')]


def test_rows_are_moved_by_keys_and_it_is_said(site, olive, tab):
    """Alt and an arrow key move the row one is in; the focus stays, and a screen reader hears the place."""
    tab.goto(site.url("job_type", made(site, olive)))
    group = rows(tab)

    group.get_by_label("Value").first.focus()
    tab.keyboard.press("Alt+ArrowDown")

    assert group.get_by_label("Key").evaluate_all("all => all.map(one => one.value)") == [
        "-Osubmit.memory=", "-N", "--tag="]
    assert group.get_by_role("status").inner_text() == "Moved to place 2 of 3"
    assert tab.evaluate("document.activeElement.value") == "5"


def test_a_recovery_list_is_edited_in_rows(site, olive, tab):
    """A kind is chosen among those there are, with parameters of its own."""
    tab.goto(site.url("job_type", made(site, olive, recoveries=(("added_files", ()),))))
    group = rows(tab, "Recoveries")

    group.get_by_role("button", name="Recovery").click()
    group.get_by_label("Kind of recovery").last.select_option("process_status")
    group.get_by_role("button", name="Override").last.click()
    tab.keyboard.type("-Omemory=")
    tab.keyboard.press("Enter")
    tab.keyboard.type("4000MB")
    group.get_by_label("Kind of recovery").last.focus()
    tab.keyboard.press("Alt+ArrowUp")
    saved(tab)

    assert stored(site, olive)[1] == [("process_status", [("-Omemory=", "4000MB")]), ("added_files", [])]


def test_what_was_not_touched_is_sent_as_it_was(site, olive, tab):
    """Opening a form and saving it changes no letter of a list."""
    tab.goto(site.url("job_type", made(site, olive)))
    before = tab.eval_on_selector("[name=parameters]", "area => area.value")

    saved(tab)

    assert tab.eval_on_selector("[name=parameters]", "area => area.value") == before
    assert stored(site, olive)[0] == list(PAIRS)


def test_a_list_can_be_edited_as_text_and_in_rows_again(site, olive, tab):
    """Both show the same; a text that is no list of rows stays a text, and it is said why."""
    tab.goto(site.url("job_type", made(site, olive)))
    rows(tab).get_by_role("button", name="Edit as text").click()
    area = tab.get_by_label("Parameters")
    assert json.loads(area.input_value()) == [list(pair) for pair in PAIRS]

    area.fill('[["-N", {"deep": 1}]]')
    tab.get_by_role("button", name="Edit in rows").click()
    tab.wait_for_selector("text=This text is not a plain list")
    area.fill('[["-N", "7"]]')
    tab.get_by_role("button", name="Edit in rows").click()

    assert rows(tab).get_by_label("Value").input_value() == "7"


def test_a_refused_form_comes_back_with_its_rows(site, olive, tab):
    """What is wrong is said beside the list, and the rows are those that were typed."""
    made(site, olive)
    tab.goto(site.url("job_type_new"))
    tab.get_by_label("Launch script").fill("run")
    tab.get_by_label("Name").fill("sim")
    rows(tab).get_by_role("button", name="Pair").click()
    tab.keyboard.type("-N")
    tab.get_by_role("button", name="Make job type").click()
    tab.wait_for_selector(".field__problem")

    assert rows(tab).get_by_label("Key").input_value() == "-N"


def test_without_scripts_a_list_is_a_text(site, olive, chromium):
    """The same field, with its label and what to write in it."""
    number = made(site, olive)
    context = chromium.new_context(java_script_enabled=False, extra_http_headers=site.headers())
    plain = context.new_page()
    plain.goto(site.url("job_type", number))
    plain.get_by_label("Parameters").fill('[["-N", "8"]]')
    plain.get_by_role("button", name="Save job type").click()
    plain.wait_for_selector(".toast >> text=Saved sim")
    context.close()

    assert stored(site, olive)[0] == [("-N", "8")]


def test_rows_fit_on_a_phone(site, olive, chromium):
    """Nothing of the form is wider than the screen."""
    with a_tab(chromium, size=NARROW) as phone:
        phone.context.set_extra_http_headers(site.headers())
        phone.goto(site.url("job_type", made(site, olive, recoveries=(("process_status", PAIRS),))))
        rows(phone, "Recoveries").wait_for()
        assert phone.evaluate("document.documentElement.scrollWidth") <= NARROW[0]
