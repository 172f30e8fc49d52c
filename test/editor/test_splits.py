"""Every split type in the campaign editor: chosen, filled in, corrected, saved, and read again as it was meant."""

from __future__ import annotations

import json

import pytest

from poms.webservice.rules.campaign_text import parse, read
from poms.webservice.rules.splits import parse_split

pytestmark = pytest.mark.browser

# For each type: what is typed into its fields, the text that comes out, and what the type makes of it.
SPLITS = {
    "byexistingruns": ({}, "byexistingruns", {}),
    "byrun": ({"low": "3", "high": " 12 "}, "byrun(low=3,high=12)", {"low": 3, "high": 12}),
    "draining": ({}, "draining", {}),
    "drainingn": ({"nfiles": "100"}, "drainingn(100)", {"nfiles": 100}),
    "limitn": ({"n": "10"}, "limitn(10)", {"n": 10}),
    "list": ({}, "list", {}),
    "mod": ({"modulus": "5"}, "mod(5)", {"modulus": 5}),
    "multiparam": ({}, "multiparam", {}),
    "new": ({"window": "12h", "fts": "0"}, "new(window=12h,fts=0)", {"window": 43200, "fts": 0, "localtime": False}),
    "nfiles": ({"n": "25"}, "nfiles(25)", {"n": 25}),
    "stagedfiles": ({"n": "7"}, "stagedfiles(7)", {"n": 7}),
}
WRONG = {
    "byrun": ({"low": "one"}, "low: unable to parse integer parameter from 'one'"),
    "drainingn": ({}, "'nfiles' is missing"),
    "limitn": ({"n": "-1"}, "n: unable to parse integer parameter"),
    "mod": ({"modulus": "2.5"}, "modulus: unable to parse integer parameter"),
    "new": ({"window": "1y"}, "window: unable to parse integer parameter"),
    "nfiles": ({"n": "many"}, "n: unable to parse integer parameter from 'many'"),
    "stagedfiles": ({"n": "0"}, "n: unable to parse integer parameter"),
}


def dialog(tab):
    return tab.locator("dialog[open]").last


def open_stage(tab, site, number):
    tab.goto(site.url("campaign_edit", number))
    tab.wait_for_selector("[data-editor][data-ready]")
    tab.locator('[data-node][aria-label^="Stage gen,"]').press("Enter")
    return dialog(tab)


def choose(form, name, values):
    """In the chooser of the split: the type, and what is typed into its fields."""
    part = form.locator(".editfield", has=form.page.get_by_label("Split", exact=True)).first
    part.get_by_role("button", name="Choose…").click()
    part.get_by_label("Split type").select_option(name)
    for field, text in values.items():
        part.locator(".chooser__details").get_by_label(field, exact=True).fill(text)
    return part


def accept(tab):
    dialog(tab).locator(".ask__foot .button--primary").last.click()
    tab.wait_for_selector("dialog[open]", state="detached")


def save(tab):
    tab.locator('[data-act="save"]').click()
    tab.locator("[data-notices]").get_by_text("Saved as version").wait_for()


def stage_of(site, owner):
    return read(parse(site.text(owner))).campaign.stage("gen")


def test_every_installed_type_is_tried_here(site):
    """A type that is added gets its lines above."""
    assert set(site.core.backends.split_types) == set(SPLITS)
    assert set(WRONG) == {name for name, split in site.core.backends.split_types.items() if split.parameters}


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_is_chosen_filled_in_and_saved(site, owner, open_tab, name):
    """The text is as the type wants it; opened again, the fields hold what was typed."""
    values, text, meaning = SPLITS[name]
    number = site.save(owner)
    tab = open_tab()
    part = choose(open_stage(tab, site, number), name, values)
    assert site.core.backends.split_types[name].description in part.inner_text()
    assert part.get_by_label("Split", exact=True).input_value() == text
    accept(tab)
    save(tab)

    stored = stage_of(site, owner).cs_split_type
    assert stored == text
    understood = site.core.backends.split_types[name].parse(parse_split(stored).arguments)
    assert {key: understood[key] for key in meaning} == meaning

    part = open_stage(tab, site, number).locator(".editfield", has=tab.get_by_label("Split", exact=True)).first
    part.get_by_role("button", name="Choose…").click()
    assert part.get_by_label("Split type").input_value() == name
    for field, typed in values.items():
        assert part.locator(".chooser__details").get_by_label(field, exact=True).input_value() == typed.strip()


@pytest.mark.parametrize("name", WRONG)
def test_what_a_split_does_not_understand_is_told_at_its_field(site, owner, open_tab, name):
    """Before anything is saved, in the words of the type; the rest of what was typed stays."""
    values, words = WRONG[name]
    number = site.save(owner)
    before = site.text(owner)
    tab = open_tab()
    choose(open_stage(tab, site, number), name, values)
    accept(tab)

    node = tab.locator('[data-node][aria-label^="Stage gen,"]')
    tab.wait_for_selector(".node--wrong")
    tab.locator('[data-act="save"]').click()
    dialog(tab).get_by_text(f"split type {name}: {words}").wait_for()
    tab.keyboard.press("Escape")
    node.press("Enter")
    field = dialog(tab).get_by_label("Split", exact=True)

    assert field.get_attribute("aria-invalid") == "true"
    assert words in dialog(tab).locator(f"#{field.get_attribute('aria-describedby')}").inner_text()
    assert field.input_value().startswith(name)
    assert site.text(owner) == before


def test_datasets_of_a_list_are_written_line_by_line(site, owner, open_tab):
    """And come out in one line, separated by commas."""
    number = site.save(owner)
    tab = open_tab()
    form = open_stage(tab, site, number)
    choose(form, "list", {})
    form.get_by_role("button", name="Edit list…").click()
    form.get_by_label("Datasets, one a line").fill("raw_a\n\n  raw_b\nraw_c\n")
    accept(tab)
    save(tab)

    assert stage_of(site, owner).dataset_or_split_data == "raw_a,raw_b,raw_c"
    form = open_stage(tab, site, number)
    form.get_by_role("button", name="Edit list…").click()
    assert form.get_by_label("Datasets, one a line").input_value() == "raw_a\nraw_b\nraw_c"


def test_lists_of_parameters_are_written_in_columns(site, owner, open_tab):
    """One list for each parameter, moved and removed by keyboard too; the number of combinations is told."""
    number = site.save(owner)
    tab = open_tab()
    form = open_stage(tab, site, number)
    choose(form, "multiparam", {})
    form.get_by_role("button", name="Edit list…").click()
    lists = form.get_by_label("Values, one a line")
    add = form.get_by_role("button", name="List", exact=True)
    for place, values in enumerate(('1GeV\n"3GeV"', "electron\nmuon\npion", "gone")):
        if place >= lists.count():
            add.click()
        lists.nth(place).fill(values)
    form.get_by_role("button", name="Remove").last.click()
    lists.nth(1).press("Alt+ArrowUp")
    assert "6 combinations" in form.inner_text()
    accept(tab)
    save(tab)

    stored = stage_of(site, owner).dataset_or_split_data
    assert json.loads(stored) == [["electron", "muon", "pion"], ["1GeV", '"3GeV"']]
    form = open_stage(tab, site, number)
    form.get_by_role("button", name="Edit list…").click()
    assert form.get_by_label("Values, one a line").nth(1).input_value() == '1GeV\n"3GeV"'


def test_a_split_is_taken_away_by_keyboard(site, owner, open_tab):
    """No split is a choice like any other, and is written as None."""
    number = site.save(owner, site.sample.replace("stage_type = generator", "cs_split_type = nfiles(3)"))
    tab = open_tab()
    form = open_stage(tab, site, number)
    form.get_by_role("button", name="Choose…").first.press("Enter")
    assert tab.evaluate("document.activeElement.ariaLabel || document.activeElement.getAttribute('aria-label')") == (
        "Split type")
    tab.keyboard.press("Home")
    form.get_by_label("Split", exact=True).press("Enter")
    tab.wait_for_selector("dialog[open]", state="detached")
    save(tab)

    assert stage_of(site, owner).cs_split_type in ("", "None", None)
