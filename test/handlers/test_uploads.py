"""The page of one's files: what is there, how much room is left, which stages name them; adding and deleting."""

from __future__ import annotations

import pytest

from poms.webservice.services import uploads
from poms.webservice.testing.world import stage


@pytest.fixture
def browser(site, owner):
    return site.browser(owner)


def text_of(answer):
    return " ".join(answer.html.get_text(" ").split())


def send(browser, name, data=b"x"):
    return browser.post("upload_file", {}, files=[("filename", name, data)])


def names(page):
    return [box["value"] for box in page.html.find_all("input", {"name": "filename", "type": "checkbox"})]


def test_a_file_is_added_shown_and_deleted(browser):
    """With its size and the room that is left; people are told what was done."""
    assert "You keep no files here" in text_of(browser.get("file_uploads"))
    sent = send(browser, "C:\\mine\\setup.fcl", b"a" * 2000)
    assert sent.headers["Location"] == "/poms/file_uploads/samdev/production/olive"

    page = browser.get("file_uploads")
    assert "setup.fcl is kept" in text_of(page)
    assert names(page) == ["setup.fcl"]
    assert page.html.meter["value"] == "2000" and page.html.meter["max"] == str(uploads.QUOTA_BYTES)
    assert "none of yours" in text_of(page)
    browser.post("remove_uploaded_files", {"filename": ["setup.fcl"]})

    page = browser.get("file_uploads")
    assert "1 file deleted" in text_of(page) and names(page) == []


def test_deleting_is_asked_about(browser):
    """The dialog's button sends the boxes that were chosen."""
    send(browser, "a.txt")
    page = browser.get("file_uploads")

    form = page.html.find("form", id="chosen-files")
    assert form["action"].endswith("/remove_uploaded_files/samdev/production")
    assert page.html.find("dialog", id="delete-files").find("button", form="chosen-files")
    assert page.html.find("input", {"value": "a.txt"})["form"] == "chosen-files"


def test_a_file_beyond_the_quota_is_refused_on_the_page(browser, monkeypatch):
    """With the reason, and what is there still there; programs get the condition."""
    monkeypatch.setattr(uploads, "QUOTA_BYTES", 1000)
    send(browser, "a.txt", b"a" * 600)

    refused = send(browser, "b.txt", b"b" * 600)

    assert refused.status_int == 409
    assert "exceeds the quota" in text_of(refused) and names(refused) == ["a.txt"]
    program = browser.site.program(browser.username)
    assert program.post("upload_file", files=[("filename", "b.txt", b"b" * 600)]).status_int == 409


@pytest.mark.parametrize("name", ["a b", ".hidden", "ü.txt", '"><svg onload=1>'])
def test_a_name_that_cannot_be_kept_is_refused_on_the_page(browser, name):
    """And shown as text."""
    refused = send(browser, name)

    assert refused.status_int == 400
    assert "The file was not taken" in text_of(refused)
    assert refused.html.find("svg", onload=True) is None


def test_stages_that_name_a_file_are_shown(site, browser, owner):
    """In the command, its parameters, the set-up or the overrides; not where it is part of another name."""
    for name in ("setup.sh", "list.txt", "par.json", "over.fcl", "unused.dat"):
        send(browser, name)
    made = site.world.campaign_with(
        stage("gen", script="run --list=$UPLOADS/list.txt my_setup.sh", setup="source ${UPLOADS}/setup.sh;"),
        stage("reco", parameters=[["-c", "par.json"]], param_overrides=[["-Oglobal.x=", "/a/over.fcl"]],
              setup="source my_setup.sh setup.sh.bak"), name="mc", owner=owner)
    other = site.world.person("anna")
    site.world.campaign_with(stage("gen", script="unused.dat"), name="annas", owner=other)

    page = browser.get("file_uploads")

    links = {row.th.text.strip(): [link["href"].rsplit("/", 1)[1] for link in row.find_all("td")[1].find_all("a")]
             for row in page.html.select("tbody tr")}
    gen, reco = str(made.stage("gen")), str(made.stage("reco"))
    assert links == {"list.txt": [gen], "over.fcl": [reco], "par.json": [reco], "setup.sh": [gen], "unused.dat": []}


def test_files_of_others_are_not_shown(site, browser):
    """Each person and experiment has its own."""
    send(browser, "mine.txt")

    assert names(site.browser(site.world.person("anna")).get("file_uploads")) == []
    assert browser.get("file_uploads", "anna").status_int == 404


def test_programs_get_the_list_as_ever(site, browser, owner):
    """Under both words."""
    send(browser, "a.txt", b"abc")
    program = site.program(owner)

    for word, fields in (("file_uploads_json", {}), ("file_uploads", {"fmt": "json"})):
        found = program.get(word, **fields).json
        assert [(name, size) for name, size, _ in found["file_stat_list"]] == [("a.txt", 3)]
        assert (found["total"], found["quota"]) == (3, uploads.QUOTA_BYTES)
