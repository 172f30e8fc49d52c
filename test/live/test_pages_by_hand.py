"""My watches and My files as people use them: mouse, keyboard and questions in a real browser."""

from __future__ import annotations

import pytest

from poms.webservice.services import uploads
from poms.webservice.testing.world import stage

pytestmark = pytest.mark.browser


@pytest.fixture
def olive(site):
    return site.world.person("olive")


def test_files_are_added_and_deleted_after_a_question(site, olive, tab, tmp_path):
    """Only those that were chosen, and only when the question is answered with yes."""
    tab.goto(site.url("file_uploads"))
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(b"text of " + name.encode())
        tab.set_input_files("#filename", tmp_path / name)
        tab.click("text=Upload file")
        tab.wait_for_selector(f".toast >> text={name} is kept")
    tab.check("input[value='a.txt']")
    assert tab.inner_text("[data-chosen]") == "1"

    tab.click(".bulk >> text=Delete files…")
    tab.click("dialog:modal >> text=Keep them")
    assert [file.name for file in uploads.list_files(site.core, olive)] == ["a.txt", "b.txt"]
    tab.click(".bulk >> text=Delete files…")
    tab.click("dialog:modal >> text=Delete files >> nth=-1")
    tab.wait_for_selector(".toast >> text=1 file deleted")

    assert [file.name for file in uploads.list_files(site.core, olive)] == ["b.txt"]


def test_a_campaign_is_watched_and_its_news_are_chosen(site, olive, tab):
    """From the button on its page to the boxes on one's own page, by keyboard."""
    campaign = site.world.campaign_with(stage("gen"), name="mc", owner=olive)
    tab.goto(site.url("campaign", campaign.campaign_id))
    tab.click("button:text-is('Watch')")
    tab.wait_for_selector("button:text-is('Watching')")

    tab.goto(site.url("watches"))
    tab.focus("text=Change…")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("dialog:modal")
    tab.uncheck("dialog:modal >> text=Launches are kept")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("td >> text=/^finished, attention, approval$/")

    tab.click("button:text-is('End')")
    tab.wait_for_selector("text=You watch nothing")
