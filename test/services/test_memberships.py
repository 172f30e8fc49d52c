"""Who is in an experiment, on both databases: two at once, outside lists, and a record that only grows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from poms.webservice.errors import Conflict, Invalid, NotAllowed, NotFound
from poms.webservice.handlers import failures
from poms.webservice.model import Event, Experimenter, Membership
from poms.webservice.rules.permissions import ANALYSIS, PRODUCTION, SHIFTER, SUPERUSER
from poms.webservice.services import accounts, memberships, people, undos
from poms.webservice.services.memberships import Added
from poms.webservice.services.pages import people as pages
from poms.webservice.services.undos import Change
from poms.webservice.testing.faults import reading_only
from poms.webservice.testing.statements import recorded


@pytest.fixture
def boss(world):
    return world.person("sam", SUPERUSER)


def roles(core):
    with core.db.read() as session:
        rows = session.execute(select(Experimenter.username, Membership.role).join(Membership).where(Membership.active))
        return {row.username: row.role for row in rows}


def record(core, experiment="samdev", **which):
    with core.db.read() as session:
        return [(entry.by, entry.username, entry.was, entry.role)
                for entry in memberships.history(session, experiment, **which)]


def test_two_superusers_cannot_remove_each_other(world, core, boss):
    """Both step back at the same moment: one of them may, and is told nothing else than the other would be."""
    other = world.person("sue", SUPERUSER)

    def step_back(actor):
        try:
            memberships.change(core, actor, "role", [actor.username], role=PRODUCTION)
        except Conflict:
            return "refused"
        return "done"

    with ThreadPoolExecutor(2) as threads:
        told = sorted(threads.map(step_back, [boss, other]))

    assert told == ["done", "refused"]
    assert sorted(roles(core).values()) == [PRODUCTION, SUPERUSER]


def test_a_person_is_added_once_by_two_at_once(world, core, boss):
    """The slower one hears that the person is there, or was added by somebody else."""
    other = world.person("sue", SUPERUSER)

    def add(actor):
        try:
            memberships.add(core, actor, Added("newcomer", SHIFTER))
        except Conflict:
            return "refused"
        return "done"

    with ThreadPoolExecutor(2) as threads:
        told = sorted(threads.map(add, [boss, other]))

    assert told == ["done", "refused"]
    assert roles(core)["newcomer"] == SHIFTER
    assert len(record(core, username="newcomer")) == 1


def test_the_last_superuser_is_counted_in_the_own_experiment(world, core, boss):
    """Superusers of others help nobody here."""
    world.person("nora", SUPERUSER, experiment="nova")

    with pytest.raises(Conflict, match="last superuser of samdev"):
        memberships.change(core, boss, "end", ["sam"])


def test_the_refused_one_does_not_keep_the_others_back(world, core, boss):
    """As the question told before: oneself is left alone, the others are changed."""
    world.person("olive")

    happened = memberships.change(core, boss, "end", ["olive", "sam"])

    assert [(effect.username, bool(effect.why_not)) for effect in happened] == [("olive", False), ("sam", True)]
    assert roles(core) == {"sam": SUPERUSER}


def test_an_administrator_may_take_the_last_superuser_away(world, core, boss):
    """Somebody has to be able to."""
    root = world.person("root", SUPERUSER, experiment="nova", root=True)
    acting = type(root)(root.experimenter_id, "root", "samdev", SUPERUSER, is_root=True)

    memberships.change(core, acting, "end", ["sam"])

    assert "sam" not in roles(core)


@pytest.mark.parametrize("role", [ANALYSIS, SHIFTER, PRODUCTION])
def test_the_service_itself_refuses_lesser_roles(world, core, boss, role):
    """Whoever calls it."""
    actor = world.person("ann", role)

    for attempt in (lambda: memberships.change(core, actor, "end", ["sam"]),
                    lambda: memberships.effects(core, actor, "end", ["sam"]),
                    lambda: memberships.add(core, actor, Added("friend", SUPERUSER)),
                    lambda: memberships.adding(core, actor, Added("friend"))):
        with pytest.raises(NotAllowed):
            attempt()


def test_a_question_changes_nothing(world, core, boss):
    """Neither row nor record, and an answer that holds when it is done."""
    world.person("olive")
    told = memberships.effects(core, boss, "role", ["olive"], role=SHIFTER)
    assert roles(core)["olive"] == PRODUCTION and record(core) == []

    assert memberships.change(core, boss, "role", ["olive"], role=SHIFTER) == told


def test_the_record_is_of_the_experiment_and_of_the_person(world, core, boss):
    """The newest first; nothing of other experiments."""
    world.person("olive")
    world.person("otto")
    nora = world.person("nora", SUPERUSER, experiment="nova")
    world.person("olive", ANALYSIS, experiment="nova")
    memberships.change(core, boss, "role", ["olive", "otto"], role=SHIFTER)
    memberships.change(core, nora, "end", ["olive"])
    memberships.change(core, boss, "end", ["olive"])

    assert record(core, username="olive") == [("sam", "olive", SHIFTER, ""), ("sam", "olive", PRODUCTION, SHIFTER)]
    assert record(core, limit=1) == [("sam", "olive", SHIFTER, "")]
    assert record(core, "nova") == [("nora", "olive", ANALYSIS, "")]


def test_what_operators_do_is_in_the_same_record(world, core, boss):
    """By the command line, and by an outside list."""
    world.person("olive")
    accounts.set_role(core, "olive", "samdev", SUPERUSER)
    accounts.set_role(core, "olive", "samdev", ANALYSIS)

    assert record(core) == [("administrator", "olive", SUPERUSER, ANALYSIS),
                            ("administrator", "olive", PRODUCTION, SUPERUSER)]


def test_an_outside_list_that_says_the_same_again_writes_nothing_new(world, core, boss):
    """A list that is read every hour does not fill the record."""
    accounts.add_person(core, "lena")
    outcomes = [accounts.set_role(core, "lena", "samdev", ANALYSIS, source="ferry") for _ in range(3)]

    assert outcomes == ["changed", "unchanged", "unchanged"]
    assert record(core, username="lena") == [("ferry", "lena", "", ANALYSIS)]


def test_who_was_sent_away_is_not_brought_back_by_a_list(world, core, boss):
    """Until somebody lets the list decide again."""
    accounts.add_person(core, "lena")
    accounts.set_role(core, "lena", "samdev", ANALYSIS, source="ferry")
    memberships.change(core, boss, "end", ["lena"])

    assert accounts.set_role(core, "lena", "samdev", PRODUCTION, source="ferry") == "kept"
    assert "lena" not in roles(core)

    memberships.change(core, boss, "follow", ["lena"])

    assert roles(core)["lena"] == PRODUCTION


def test_an_operator_decides_as_a_person_does(world, core, boss):
    """What was typed at the command line is not undone by a list either."""
    accounts.add_person(core, "lena")
    accounts.set_role(core, "lena", "samdev", ANALYSIS, source="ferry")
    accounts.set_role(core, "lena", "samdev", PRODUCTION)

    assert accounts.set_role(core, "lena", "samdev", ANALYSIS, source="ferry") == "kept"


@pytest.mark.parametrize("source", ["Ferry", "f erry", "<b>", "x" * 33, "1st"])
def test_a_list_has_a_name_that_can_be_shown_and_typed(world, core, boss, source):
    """It stands on pages and in the record as who did it."""
    with pytest.raises(Invalid):
        accounts.set_role(core, "sam", "samdev", ANALYSIS, source=source)


def test_somebody_who_never_was_here_cannot_be_changed(world, core, boss):
    """Nor can it be found out by that whether POMS knows the name."""
    world.person("nora", experiment="nova")

    told = []
    for name in ("nora", "nobody"):
        with pytest.raises(NotFound) as refused:
            memberships.change(core, boss, "end", [name])
        told.append(str(refused.value).replace(name, "X"))

    assert told[0] == told[1]


def test_undoing_brings_back_where_a_membership_came_from(world, core, boss):
    """Also that the outside list decides."""
    accounts.add_person(core, "lena")
    accounts.set_role(core, "lena", "samdev", ANALYSIS, source="ferry")
    change = Change(core, boss, "lena is production now")
    memberships.change(core, boss, "role", ["lena"], role=PRODUCTION, undo=change)

    undos.undo(core, boss, change.offer.undo_id)

    assert accounts.set_role(core, "lena", "samdev", SHIFTER, source="ferry") == "changed"
    assert record(core, username="lena")[1] == ("sam", "lena", PRODUCTION, ANALYSIS)


def test_a_person_is_noted_as_seen_once_an_hour(world, core, boss, clock):
    """One write in an hour, however many requests there are."""
    def seen():
        return people.sign_in(core.db, "sam").seen_at

    sightings = people.Sightings(core.db)
    first = clock()
    with recorded(core.db.engine) as statements:
        for _ in range(3):
            sightings.note(people.sign_in(core.db, "sam"), clock())
    assert sum("UPDATE" in text for text in statements) == 1
    clock.advance(minutes=59)
    sightings.note(people.sign_in(core.db, "sam"), clock())
    assert seen() == first

    clock.advance(minutes=1)
    sightings.note(people.sign_in(core.db, "sam"), clock())

    assert seen() == clock()


def test_a_database_that_takes_no_changes_is_told_once(world, core, boss, clock, caplog):
    """Nobody's request fails because of it; some minutes later it is tried again."""
    sightings, sam = people.Sightings(core.db), people.sign_in(core.db, "sam")
    with reading_only(core.db), recorded(core.db.engine) as statements:
        sightings.note(sam, clock())
        tried = len(statements)
        sightings.note(sam, clock())
        assert len(statements) == tried
        clock.advance(minutes=5)
        sightings.note(sam, clock())
        assert len(statements) == 2 * tried
    assert [record.levelname for record in caplog.records if "takes no changes" in record.message] == ["WARNING"]

    clock.advance(minutes=5)
    sightings.note(sam, clock())

    assert people.sign_in(core.db, "sam").seen_at == clock()


def test_a_change_to_a_database_that_takes_none_is_no_fault_of_poms(world, core, boss):
    """It is told as what it is, to be tried again; not as an error inside."""
    with reading_only(core.db), pytest.raises(DBAPIError) as refused:
        people.save_session(core, people.sign_in(core.db, "sam"), role=ANALYSIS)

    told = failures.failure_of(refused.value, "request-1")
    assert (told.status, told.quote_id) == (503, "request-1")
    assert "takes no changes at the moment; nothing was changed" in told.text


def test_the_pages_of_people_need_few_statements_however_many_there_are(world, core, boss):
    """The list and one person, with sixty members and their changes as with three."""
    def url(word, **arguments):
        return f"/{word}?{arguments}"

    def needed():
        with recorded(core.db.engine) as statements:
            page = pages.people_page(core, boss, url)
            pages.person_page(core, boss, url, "sam")
        return len(page["people"]), len(statements)

    world.person("olive")
    few = needed()
    for number in range(60):
        memberships.add(core, boss, Added(f"p{number}"))
    many = needed()

    assert (few[0], many[0]) == (2, pages.PAGE)
    assert few[1] == many[1] <= 8


def test_the_record_of_people_is_found_by_its_own_index(core):
    """Among millions of other events, in both databases."""
    assert any(index.name == "ix_events_people" for index in Event.__table__.indexes)
    statement = "SELECT * FROM events WHERE experiment = 'samdev' AND kind = 'person.changed' ORDER BY event_id DESC"
    with core.db.engine.connect() as connection:
        if core.db.is_postgresql:
            connection.exec_driver_sql("SET enable_seqscan = off")
            connection.exec_driver_sql("SET enable_sort = off")
        plan = connection.exec_driver_sql(
            f"EXPLAIN {'' if core.db.is_postgresql else 'QUERY PLAN '}{statement}").all()

    assert "ix_events_people" in str(plan)
