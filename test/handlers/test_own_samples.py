"""Samples that an experiment keeps for itself: kept, shown, made into campaigns, changed, deleted; seen by no other."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from poms.webservice.model import Campaign, CampaignSample, Event
from poms.webservice.rules.permissions import ANALYSIS, PRODUCTION, SHIFTER, SUPERUSER
from poms.webservice.services import own_samples
from poms.webservice.services.own_samples import Wanted

HOSTILE = "\"><svg onload=1></script>‮'%(x)s"
TEXT = """# as we do it
[campaign]
experiment = samdev
name = typed
campaign_stage_list = gen, reco
[campaign_defaults]
vo_role = Production
software_version = v1
dataset_or_split_data = None
completion_type = complete
completion_pct = 95
login_setup = here
job_type = work
[campaign_stage gen]
[campaign_stage reco]
[dependencies reco]
campaign_stage_1 = gen
file_pattern_1 = %
[login_setup here]
host = localhost
account = samdevpro
setup = true
[job_type work]
launch_script = fife_launch
"""


def keep(person, name="ours", text=TEXT, **more):
    return person.post("sample_save", {"name": name, "description": "how we do it", "sample_text": text, "fmt": "json",
                                       **more})


def stored(site) -> dict[str, str]:
    with site.core.db.read() as session:
        return {row.name: row.text for row in session.scalars(select(CampaignSample))}


def listed(person):
    return {one["title"]: one for one in person.get("samples", fmt="json").json["samples"] if one["own"]}


def test_a_text_is_kept_and_shown_beside_those_that_come_with_poms(site, owner):
    """To the byte, with a picture of its stages."""
    answer = keep(site.browser(owner))

    assert answer.status_int == 200
    assert stored(site) == {"ours": TEXT}
    page = site.browser(owner).get("samples")
    assert [head.text for head in page.html.select(".card h2")][0] == "ours"
    assert len(page.html.select(".card")) > 1
    assert listed(site.program(owner))["ours"]["graph"] == {"stages": ["gen", "reco"], "edges": [["gen", "reco"]]}
    assert site.program(owner).get("sample_text", sample=listed(site.program(owner))["ours"]["name"]).text == TEXT


def test_a_file_is_kept_as_it_is(site, owner):
    """In place of what is typed, line ends and all."""
    data = TEXT.replace("\n", "\r\n").encode()

    site.program(owner).client.post(
        site.program(owner).address("sample_save"), {"name": "file"}, upload_files=[("sample_file", "x.ini", data)],
        headers=site.program(owner).headers())

    assert stored(site) == {"file": data.decode()}


def test_a_sample_becomes_a_campaign_under_another_name(site, owner):
    """Like those that come with POMS."""
    number = keep(site.program(owner)).json["sample_id"]

    answer = site.program(owner).post("sample_clone", {"sample": f"own:{number}", "new_name": "mine", "fmt": "json"})

    with site.core.db.read() as session:
        assert session.get_one(Campaign, answer.json["campaign_id"]).name == "mine"


def test_the_editor_begins_with_a_sample(site, owner):
    """As a new campaign that is not stored yet."""
    number = keep(site.program(owner)).json["sample_id"]

    opened = site.program(owner).get("editor_data", sample=f"own:{number}")

    assert opened.status_int == 200 and "as we do it" in opened.text


def test_other_experiments_see_nothing_of_it(site, owner):
    """Neither in the list, nor by number, nor to copy, change or delete."""
    number = keep(site.program(owner)).json["sample_id"]
    nora = site.program(site.world.person("nora", SUPERUSER, experiment="nova"))

    assert listed(nora) == {}
    assert nora.get("sample_text", sample=f"own:{number}").status_int == 404
    assert nora.get("editor_data", sample=f"own:{number}").status_int == 404
    for word, fields in (("sample_clone", {"sample": f"own:{number}", "new_name": "x"}),
                         ("sample_save", {"sample_id": number, "name": "x", "sample_text": TEXT}),
                         ("sample_delete", {"sample_id": number})):
        assert nora.post(word, fields).status_int == 404, word
    assert stored(site) == {"ours": TEXT}


@pytest.mark.parametrize("name", ["own:", "own:x", "own:0", "own:99999999999999999999", "own:-1", "own:1 OR 1=1"])
def test_what_is_no_sample_is_not_found(site, owner, name):
    """Whatever stands for its number."""
    assert site.program(owner).get("sample_text", sample=name).status_int == 404


@pytest.mark.parametrize(("role", "may"), [(ANALYSIS, False), (SHIFTER, False), (PRODUCTION, True), (SUPERUSER, True)])
def test_samples_of_production_are_changed_as_campaigns_are(site, owner, role, may):
    """By production and superusers; all others see and copy them."""
    number = keep(site.program(owner)).json["sample_id"]
    person = site.program(site.world.person("other", role))

    assert "ours" in listed(person)
    assert bool(listed(person)["ours"]["edit_url"]) is may
    assert person.get("sample_form", number).status_int == (200 if may else 403)
    assert keep(person, "renamed", sample_id=number).status_int == (200 if may else 403)
    assert person.post("sample_delete", {"sample_id": number, "fmt": "json"}).status_int == (200 if may else 403)


def test_an_analysis_user_keeps_samples_of_his_or_her_own(site):
    """Another analysis user sees them and leaves them."""
    text = TEXT.replace("vo_role = Production", "vo_role = Analysis")
    ann, ben = (site.program(site.world.person(name, ANALYSIS)) for name in ("ann", "ben"))
    kept = keep(ann, text=text)
    assert kept.status_int == 200, kept.text
    number = kept.json["sample_id"]

    assert keep(ben, "stolen", text=text, sample_id=number).status_int == 403
    assert ben.post("sample_delete", {"sample_id": number}).status_int == 403
    assert ann.post("sample_delete", {"sample_id": number, "fmt": "json"}).status_int == 200


def test_shifters_keep_no_samples(site):
    """As they make no campaigns."""
    assert keep(site.program(site.world.person("shirley", SHIFTER))).status_int == 403


def test_a_text_with_mistakes_comes_back_with_their_lines(site, owner):
    """What was typed is not lost, and nothing is kept."""
    wrong = TEXT.replace("completion_pct = 95", "completion_pct = many").replace("file_pattern_1 = %", "<b> = 1")

    answer = site.browser(owner).post("sample_save", {"name": "ours", "description": HOSTILE, "sample_text": wrong})

    assert answer.status_int == 400
    assert "Line 11" in answer.html.select_one(".problems").text
    assert answer.html.select_one("li#line-11.bad")
    assert answer.html.select_one("#sample-text").text.strip() == wrong.strip()
    assert "<svg onload" not in answer.text
    assert stored(site) == {}


@pytest.mark.parametrize(("fields", "status"), [
    ({"name": ""}, 400), ({"name": "x" * 101}, 400), ({"sample_text": ""}, 400), ({"sample_text": "\0\xff"}, 400),
    ({"sample_text": TEXT + "#" * 5_000}, 400), ({"description": "x" * 1001}, 400)])
def test_what_is_empty_or_too_much_is_refused(site, owner, monkeypatch, fields, status):
    """With nothing kept."""
    monkeypatch.setattr(own_samples, "LONGEST_TEXT", 5_000)
    assert keep(site.program(owner), **{"name": "ours", "text": TEXT} | {
        {"sample_text": "text"}.get(name, name): value for name, value in fields.items()}).status_int == status
    assert stored(site) == {}


def test_a_name_is_taken_once_in_an_experiment(site, owner):
    """Another experiment may have the same."""
    keep(site.program(owner))

    again = site.browser(owner).post("sample_save", {"name": "ours", "sample_text": TEXT})

    assert again.status_int == 409
    assert "There is a sample “ours” in samdev already" in again.text


def test_two_who_change_one_sample_do_not_overwrite_each_other(site, owner):
    """The second hears of the first and keeps what was typed."""
    browser = site.browser(owner)
    number = keep(browser).json["sample_id"]
    base = browser.get("sample_form", number).html.select_one("input[name=base_version]")["value"]
    keep(site.program(owner), "first", sample_id=number, base_version=base)

    second = browser.post("sample_save", {"name": "second", "sample_text": TEXT, "sample_id": number,
                                          "base_version": base})

    assert second.status_int == 409
    assert second.html.select_one("#sample-name")["value"] == "second"
    assert set(stored(site)) == {"first"}


def test_what_was_done_to_a_sample_can_be_undone(site, owner):
    """A deletion and a change, by who did it; and a version is not given out twice."""
    browser = site.browser(owner)
    number = keep(browser).json["sample_id"]
    base = browser.get("sample_form", number).html.select_one("input[name=base_version]")["value"]
    changed = keep(browser, "other", TEXT.replace("v1", "v2"), sample_id=number).json["undo"]
    browser.post("undo", {"undo_id": changed["undo_id"]})
    assert stored(site) == {"ours": TEXT}
    assert keep(browser, "late", sample_id=number, base_version=base).status_int == 409

    deleted = browser.post("sample_delete", {"sample_id": number, "fmt": "json"}).json["undo"]
    assert stored(site) == {}
    browser.post("undo", {"undo_id": deleted["undo_id"]})

    assert stored(site) == {"ours": TEXT}


def test_hostile_names_of_samples_are_shown_as_text(site, owner):
    """In the list, in the form, and in the question before it is deleted."""
    browser = site.browser(owner)
    number = keep(browser, HOSTILE, description=HOSTILE).json["sample_id"]

    for page in (browser.get("samples"), browser.get("sample_form", number)):
        assert page.status_int == 200
        assert "<svg onload" not in page.text
    assert HOSTILE in browser.get("samples").html.text


def test_an_experiment_keeps_so_many_and_no_more(site, owner, monkeypatch):
    """The list is shown on one page."""
    monkeypatch.setattr(own_samples, "MOST", 2)
    keep(site.program(owner), "one")
    keep(site.program(owner), "two")

    assert keep(site.program(owner), "three").status_int == 409


def test_who_kept_and_deleted_samples_is_on_record(site, owner):
    """Like all else."""
    number = own_samples.save(site.core, owner, Wanted("ours", "", TEXT.encode()))
    own_samples.delete(site.core, owner, number)

    with site.core.db.read() as session:
        rows = session.scalars(select(Event).where(Event.kind.startswith("sample.")).order_by(Event.event_id))
        assert [(row.kind, row.actor, row.data) for row in rows] == [
            ("sample.saved", "olive", {"name": "ours"}), ("sample.deleted", "olive", {"name": "ours"})]
