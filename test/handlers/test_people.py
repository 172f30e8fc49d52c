"""The people of an experiment: who sees them, who changes them, what is told before and what is on record after."""

from __future__ import annotations

import csv
import io

import pytest
from sqlalchemy import select

from poms.webservice.model import Event, Experimenter, Membership
from poms.webservice.rules.permissions import ANALYSIS, PRODUCTION, ROLES, SHIFTER, SUPERUSER, Actor
from poms.webservice.services import accounts

HOSTILE = "\"><svg onload=1></script>‮'%(x)s"


@pytest.fixture
def boss(site) -> Actor:
    """A superuser of samdev."""
    return site.world.person("sam", SUPERUSER)


@pytest.fixture
def olive(site, boss) -> Actor:
    """A production user whom the superuser may change."""
    return site.world.person("olive")


def membership(site, username, experiment="samdev") -> Membership | None:
    with site.core.db.read() as session:
        return session.scalar(select(Membership).join(Experimenter).where(
            Experimenter.username == username, Membership.experiment == experiment))


def held(site, username) -> str:
    row = membership(site, username)
    return row.role if row is not None and row.active else ""


def log(site) -> list[tuple[str, str, str, str]]:
    with site.core.db.read() as session:
        rows = session.scalars(select(Event).where(Event.kind == "person.changed").order_by(Event.event_id))
        return [(row.actor, row.data["username"], row.data["was"], row.data["role"]) for row in rows]


def as_role(site, role):
    return site.program(site.world.person(f"in_{role}", role))


# ------------------------------------------------------------------------------------------ the list


@pytest.mark.parametrize("role", ROLES)
def test_every_member_sees_the_people(site, olive, role):
    """In each role; the page says whether one may change anything."""
    page = as_role(site, role).get("people", fmt="json")

    assert page.status_int == 200
    assert {"sam", "olive"} <= {one["username"] for one in page.json["people"]}
    assert page.json["may"]["appoint"] is (role == SUPERUSER)


def test_people_of_other_experiments_are_not_shown(site, boss):
    """Neither in the list nor by their name."""
    site.world.person("nora", experiment="nova")
    program = site.program(boss)

    assert "nora" not in program.get("people", fmt="json", view="all").text
    assert program.get("person", "nora").status_int == 404
    assert program.post("people_act", {"username": "nora", "act": "end"}).status_int == 404


def test_who_is_not_a_member_sees_nobody(site, boss):
    """The list is of the experiment."""
    assert site.program(site.world.person("nora", experiment="nova")).get(
        "people", place="samdev/analysis").status_int == 403


def test_ended_memberships_have_a_view_of_their_own(site, boss, olive):
    """Nobody is forgotten; the list of members has members only."""
    program = site.program(boss)
    program.post("people_act", {"username": "olive", "act": "end"})

    def shown(view):
        return [one["username"] for one in program.get("people", fmt="json", view=view).json["people"]]

    assert (shown("members"), shown("ended"), shown("all")) == (["sam"], ["olive"], ["olive", "sam"])


def test_the_list_is_filtered_and_sorted(site, boss, olive):
    """By any part of the name, by role; in the order of roles, not of their spelling."""
    site.world.person("ann", ANALYSIS)
    site.world.change(Experimenter, boss.experimenter_id, first_name="Samuel", last_name="Ng")
    program = site.program(boss)

    def shown(**which):
        return [one["username"] for one in program.get("people", fmt="json", **which).json["people"]]

    assert shown(text="UEL n") == ["sam"]
    assert shown(text="%") == []
    assert shown(held=PRODUCTION) == ["olive"]
    assert shown(sort="role") == ["ann", "olive", "sam"]
    assert shown(sort="-role") == ["sam", "olive", "ann"]
    assert shown(sort="-username") == ["sam", "olive", "ann"]


def test_the_list_is_paged(site, boss):
    """With a way on and back, and all of it in a file."""
    for number in range(60):
        site.world.person(f"p{number:02}")
    browser = site.browser(boss)
    first = browser.get("people").html
    second = browser.client.get(first.select_one("a[rel=next]")["href"], headers=browser.headers()).html

    assert len(first.select("tbody tr")) == 50
    assert len(second.select("tbody tr")) == 11
    rows = list(csv.DictReader(io.StringIO(browser.get("people", export="csv").text)))
    assert len(rows) == 61
    assert rows[-1]["username"] == "sam" and rows[-1]["role"] == SUPERUSER


def test_it_is_told_who_was_here_last(site, boss, olive, clock):
    """To the hour, without a write for each request."""
    site.program(olive).get("campaigns")
    first = clock()
    clock.advance(minutes=50)
    site.program(olive).get("campaigns")

    rows = {one["username"]: one["seen_at"] for one in site.program(boss).get("people", fmt="json").json["people"]}

    assert rows["olive"].startswith(f"{first:%Y-%m-%dT%H:%M}")


def test_who_may_not_change_anything_is_offered_nothing(site, boss, olive):
    """No form, no box to tick."""
    page = site.browser(olive).get("people").html

    assert not page.select("form[action*=people_]") or not page.select("button[form=chosen-people]")
    assert not page.select("#add, td.pick")
    assert not site.browser(olive).get("person", "sam").html.select("form[action*=people_act]")


def test_the_old_address_leads_browsers_to_the_page(site, boss):
    """Programs get what they always got."""
    assert site.browser(boss).get("experiment_membership").headers["Location"] == "/poms/people/samdev/superuser"
    assert len(site.program(boss).get("experiment_shifters").json["data"]["members"]) == 1


# ----------------------------------------------------------------------------------- who may change


@pytest.mark.parametrize("role", [ANALYSIS, SHIFTER, PRODUCTION])
@pytest.mark.parametrize(("word", "fields"), [
    ("people_act", {"username": "olive", "act": "role", "held": SUPERUSER}),
    ("people_act", {"username": "olive", "act": "end"}),
    ("people_act", {"username": "olive", "act": "end", "dry_run": "1"}),
    ("people_act", {"username": "olive", "act": "follow"}),
    ("people_add", {"username": "newcomer", "held": SUPERUSER})])
def test_lesser_roles_change_nobody(site, olive, role, word, fields):
    """Neither others nor themselves, not even to ask what would happen."""
    answer = as_role(site, role).post(word, fields)

    assert answer.status_int == 403
    assert held(site, "olive") == PRODUCTION
    assert membership(site, "newcomer") is None
    assert log(site) == []


def test_a_superuser_acting_in_a_lesser_role_changes_nobody(site, boss, olive):
    """The role one acts in counts, as everywhere."""
    program = site.program(Actor(boss.experimenter_id, "sam", "samdev", PRODUCTION))

    assert program.post("people_act", {"username": "olive", "act": "end"}).status_int == 403


def test_a_superuser_of_another_experiment_changes_nobody_here(site, olive):
    """Not even by naming this experiment."""
    nora = site.world.person("nora", SUPERUSER, experiment="nova")

    answer = site.program(Actor(nora.experimenter_id, "nora", "samdev", SUPERUSER)).post(
        "people_act", {"username": "olive", "act": "end"})

    assert answer.status_int == 403
    assert held(site, "olive") == PRODUCTION


def test_an_administrator_of_the_service_changes_people_anywhere(site, olive):
    """Acting as superuser of the experiment, without being in it."""
    root = site.world.person("root", ANALYSIS, experiment="nova", root=True)

    answer = site.program(Actor(root.experimenter_id, "root", "samdev", SUPERUSER)).post(
        "people_act", {"username": "olive", "act": "role", "held": SHIFTER})

    assert answer.status_int in (200, 303)
    assert held(site, "olive") == SHIFTER


def test_people_are_changed_by_forms_of_ours_only(site, boss, olive):
    """A page elsewhere cannot have a superuser's browser do it."""
    browser = site.browser(boss)

    assert browser.get("people_act", username="olive", act="end").status_int == 405
    assert browser.post("people_act", {"username": "olive", "act": "end", "csrf_token": "x"}).status_int == 403
    assert held(site, "olive") == PRODUCTION


# ------------------------------------------------------------------------------------------ changing


def test_a_role_is_given_after_it_was_told_what_that_means(site, boss, olive):
    """The question names the person, the role before and the role after; nothing happens before the answer."""
    browser = site.browser(boss)
    asked = browser.post("people_act", {"username": "olive", "act": "role", "held": SUPERUSER, "dry_run": "1"})

    assert "Make olive superuser" in asked.html.h1.text
    assert "production → superuser" in asked.text
    assert held(site, "olive") == PRODUCTION

    form = asked.html.select_one("form.decision")
    fields = {box["name"]: box.get("value", "") for box in form.select("input")} | {"reason": "new convener"}
    browser.post("people_act", fields)

    assert held(site, "olive") == SUPERUSER
    assert log(site) == [("sam", "olive", PRODUCTION, SUPERUSER)]
    assert "new convener" in browser.get("person", "olive").text


def test_a_new_role_holds_from_the_next_request(site, boss, olive):
    """And so does one that was taken away."""
    person = site.program(Actor(olive.experimenter_id, "olive", "samdev", ANALYSIS))
    site.program(boss).post("people_act", {"username": "olive", "act": "role", "held": ANALYSIS})
    assert person.get("campaigns", place="samdev/production").status_int == 403

    site.program(boss).post("people_act", {"username": "olive", "act": "end"})

    assert person.get("campaigns").status_int == 403


def test_several_people_are_changed_at_once(site, boss, olive):
    """Those who have the role already are left alone, and it is said why."""
    site.world.person("ann", ANALYSIS)
    chosen = {"username": ["ann", "olive"], "act": "role", "held": PRODUCTION}
    browser = site.browser(boss)

    told = browser.post("people_act", {**chosen, "dry_run": "1", "fmt": "json"}).json
    done = browser.post("people_act", {**chosen, "fmt": "json"}).json

    assert (told["touched_total"], told["left_total"]) == (1, 1)
    assert told["left"][0]["effect"] == "is production already"
    assert done["changed"] == [{"username": "ann", "was": ANALYSIS, "role": PRODUCTION}]


def test_one_unknown_name_changes_nobody(site, boss, olive):
    """All or nothing where a name is wrong."""
    answer = site.browser(boss).post("people_act", {"username": ["olive", "nobody"], "act": "end"})

    assert answer.status_int == 404
    assert held(site, "olive") == PRODUCTION


def test_a_role_that_is_none_is_refused(site, boss, olive):
    """Also none at all."""
    for role in ("root", "Superuser", ""):
        answer = site.program(boss).post("people_act", {"username": "olive", "act": "role", "held": role})
        assert answer.status_int == 400, role
    assert held(site, "olive") == PRODUCTION


def test_an_ended_membership_keeps_its_history(site, boss, olive):
    """The row stays, and the page tells who was what."""
    site.program(boss).post("people_act", {"username": "olive", "act": "end"})

    row = membership(site, "olive")
    page = site.browser(boss).get("person", "olive")

    assert (row.active, row.role, row.changed_by) == (False, PRODUCTION, "sam")
    assert "not in samdev any more, was production" in page.text
    assert "production → <b>no member</b>, by sam" in page.text


def test_what_was_done_to_people_can_be_undone(site, boss, olive):
    """By who did it; the undoing is on record too."""
    site.world.person("ann", ANALYSIS)
    browser = site.browser(boss)
    offer = browser.post("people_act", {"username": ["ann", "olive"], "act": "end", "fmt": "json"}).json["undo"]
    assert (held(site, "ann"), held(site, "olive")) == ("", "")

    browser.post("undo", {"undo_id": offer["undo_id"]})

    assert (held(site, "ann"), held(site, "olive")) == (ANALYSIS, PRODUCTION)
    assert sorted(log(site))[-2:] == [("sam", "olive", "", PRODUCTION), ("sam", "olive", PRODUCTION, "")]


def test_an_undo_does_not_overrule_somebody_else(site, boss, olive):
    """What changed since stays as it is."""
    other = site.world.person("sue", SUPERUSER)
    offer = site.browser(boss).post("people_act", {"username": "olive", "act": "end", "fmt": "json"}).json["undo"]
    site.program(other).post("people_act", {"username": "olive", "act": "role", "held": ANALYSIS})

    answer = site.browser(boss).post("undo", {"undo_id": offer["undo_id"], "fmt": "json"})

    assert answer.status_int == 409
    assert "olive" in answer.text
    assert held(site, "olive") == ANALYSIS


# ---------------------------------------------------------------------------------- the last superuser


@pytest.mark.parametrize("fields", [{"act": "end"}, {"act": "role", "held": PRODUCTION}])
def test_nobody_gives_up_the_last_superuser_role(site, boss, olive, fields):
    """It is refused with what to do instead; the question says so before."""
    browser = site.browser(boss)
    told = browser.post("people_act", {"username": "sam", **fields, "dry_run": "1", "fmt": "json"}).json
    answer = browser.post("people_act", {"username": "sam", **fields, "fmt": "json"})

    assert told["touched_total"] == 0
    assert "You are the last superuser of samdev" in told["left"][0]["effect"]
    assert answer.status_int == 409
    assert "Make somebody else superuser first" in answer.text
    assert held(site, "sam") == SUPERUSER


def test_an_inactive_superuser_is_no_other_superuser(site, boss):
    """Only those count who can act."""
    site.world.person("sue", SUPERUSER)
    site.program(boss).post("people_act", {"username": "sue", "act": "end"})

    assert site.program(boss).post("people_act", {"username": "sam", "act": "end"}).status_int == 409


def test_a_superuser_among_others_may_step_back(site, boss):
    """It leads to a page that is open to the lesser role, and offers no undo that could not be done."""
    site.world.person("sue", SUPERUSER)
    browser = site.browser(boss)
    token = browser.token()

    answer = browser.post("people_act", {"username": "sam", "act": "role", "held": PRODUCTION, "csrf_token": token,
                                         "back": browser.address("people")})

    assert answer.headers["Location"] == "/poms/home"
    assert held(site, "sam") == PRODUCTION
    assert "undo" not in browser.get("people", place="samdev/production").text.split("toasts")[-1]


# ------------------------------------------------------------------------------------------- adding


def test_somebody_new_is_added_by_user_name(site, boss):
    """After a warning that POMS has never met this name."""
    browser = site.browser(boss)
    fields = {"username": "newcomer", "held": SHIFTER, "first_name": "Nell", "last_name": "Comer"}

    asked = browser.post("people_add", {**fields, "dry_run": "1"})
    assert "does not know this user name yet" in asked.text
    assert membership(site, "newcomer") is None
    browser.post("people_add", fields)

    assert held(site, "newcomer") == SHIFTER
    assert log(site) == [("sam", "newcomer", "", SHIFTER)]
    assert site.browser(Actor(0, "newcomer", "samdev", SHIFTER)).get("home").status_int == 200


def test_somebody_known_is_added_without_being_renamed(site, boss):
    """A superuser of one experiment does not change what others see of a person."""
    nora = site.world.person("nora", experiment="nova")

    site.program(boss).post("people_add", {"username": "nora", "held": ANALYSIS, "first_name": "No", "last_name": "Me"})

    assert held(site, "nora") == ANALYSIS
    with site.core.db.read() as session:
        assert session.get_one(Experimenter, nora.experimenter_id).first_name == ""


def test_who_left_comes_back_with_the_history(site, boss, olive):
    """In the role given now."""
    program = site.program(boss)
    program.post("people_act", {"username": "olive", "act": "end"})

    program.post("people_add", {"username": "olive", "held": ANALYSIS})

    assert held(site, "olive") == ANALYSIS
    assert log(site) == [("sam", "olive", PRODUCTION, ""), ("sam", "olive", "", ANALYSIS)]


def test_a_member_is_not_added_twice(site, boss, olive):
    """The page comes back with what was typed and says where to change the role."""
    answer = site.browser(boss).post("people_add", {"username": "olive", "held": SUPERUSER, "dry_run": "1"})

    assert answer.status_int == 409
    assert "olive is in samdev already, as production" in answer.text
    assert answer.html.select_one("#add-username")["value"] == "olive"
    assert answer.html.select_one("#add input[value=superuser]").has_attr("checked")


@pytest.mark.parametrize("username", ["", HOSTILE, "a b", "a/b", "../a", "-a", "a" * 65, "olive\n", "ölive"])
def test_names_that_cannot_be_user_names_are_refused(site, boss, username):
    """The page comes back with what was typed, as text."""
    answer = site.browser(boss).post("people_add", {"username": username, "held": ANALYSIS})

    assert answer.status_int in (400, 303)
    assert "<svg onload" not in answer.text
    with site.core.db.read() as session:
        # What is typed before and behind a name is not part of it.
        assert set(session.scalars(select(Experimenter.username))) - {"sam"} <= {"olive"}


def test_an_addition_can_be_undone(site, boss):
    """The membership goes; that it was there is on record."""
    browser = site.browser(boss)
    offer = browser.post("people_add", {"username": "newcomer", "held": ANALYSIS, "fmt": "json"}).json["undo"]

    browser.post("undo", {"undo_id": offer["undo_id"]})

    assert membership(site, "newcomer") is None
    assert log(site) == [("sam", "newcomer", "", ANALYSIS), ("sam", "newcomer", ANALYSIS, "")]


def test_hostile_names_are_shown_as_text(site, boss, olive):
    """Names that came from elsewhere, in the list, on the page, in the question and in the file."""
    site.world.change(Experimenter, olive.experimenter_id, first_name=HOSTILE, last_name="=1+1")
    browser = site.browser(boss)

    pages = [browser.get("people"), browser.get("person", "olive"),
             browser.post("people_act", {"username": "olive", "act": "end", "dry_run": "1", "reason": HOSTILE})]

    for page in pages:
        assert page.status_int == 200
        assert "<svg onload" not in page.text and HOSTILE in page.html.text
    site.world.change(Experimenter, olive.experimenter_id, first_name="=1+1", last_name="")
    assert "'=1+1" in browser.get("people", export="csv").text


# ------------------------------------------------------------------------------------ outside lists


def test_where_a_membership_comes_from_is_shown(site, boss, olive):
    """The list is named."""
    accounts.set_role(site.core, "olive", "samdev", PRODUCTION, source="ferry")

    page = site.browser(boss).get("people").html

    row = next(row for row in page.select("tbody tr") if row["data-key"] == "olive")
    assert row.select_one("[data-head='Comes from']").get_text(strip=True) == "ferry"


def test_an_outside_list_does_not_overrule_what_was_decided_here(site, boss, olive):
    """It is shown that it says something else, and the list can be let decide again."""
    accounts.set_role(site.core, "olive", "samdev", ANALYSIS, source="ferry")
    browser = site.browser(boss)
    browser.post("people_act", {"username": "olive", "act": "role", "held": SHIFTER})

    assert accounts.set_role(site.core, "olive", "samdev", ANALYSIS, source="ferry") == "kept"

    assert held(site, "olive") == SHIFTER
    assert "ferry says: analysis" in browser.get("person", "olive").text
    browser.post("people_act", {"username": "olive", "act": "follow"})
    assert held(site, "olive") == ANALYSIS
    assert accounts.set_role(site.core, "olive", "samdev", None, source="ferry") == "changed"
    assert held(site, "olive") == ""


def test_signing_in_changes_no_membership(site, boss, olive):
    """Who a front end says one is gives no role and takes none."""
    site.program(boss).post("people_act", {"username": "olive", "act": "end"})

    site.browser(olive).get("home")

    assert held(site, "olive") == ""
