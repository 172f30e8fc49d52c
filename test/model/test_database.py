"""The database: units of work, bulk writes and the column types, the same on both kinds of database."""

from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Text, bindparam, create_engine, insert, literal_column, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from poms.webservice.db import Database, Prepared, before_commit, insert_new, upsert
from poms.webservice.model import CampaignTag, Experiment, Experimenter, ServiceSetting
from poms.webservice.model.base import UtcDateTime
from poms.webservice.testing.faults import Died

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _settings(database) -> dict[str, str]:
    with database.read() as session:
        return {row.name: row.value for row in session.scalars(select(ServiceSetting))}


def _row(name: str, value: str, at: datetime = NOW) -> dict:
    return {"name": name, "value": value, "changed_by": None, "changed_at": at, "reason": None}


def test_a_unit_of_work_that_raises_writes_nothing(database):
    """An exception inside a unit of work takes back everything that it wrote."""
    with pytest.raises(ZeroDivisionError), database.write() as session:
        session.add(ServiceSetting(**_row("launches", "hold")))
        session.flush()
        raise ZeroDivisionError

    assert _settings(database) == {}


def test_dying_before_a_commit_leaves_nothing(database):
    """A process that ends just before its commit leaves nothing behind."""
    database.die_at_commit(1)

    with pytest.raises(Died), database.write() as session:
        session.add(ServiceSetting(**_row("launches", "hold")))

    assert _settings(database) == {}


def test_dying_after_a_commit_leaves_everything(database):
    """What was committed is there, even if nobody was told any more."""
    database.die_at_commit(1, after=True)

    with pytest.raises(Died), database.write() as session:
        session.add(ServiceSetting(**_row("launches", "hold")))

    assert _settings(database) == {"launches": "hold"}


def test_reading_never_writes(database):
    """A session for reading commits nothing, whatever is done in it."""
    with database.read() as session:
        session.add(ServiceSetting(**_row("launches", "hold")))
        session.flush()

    assert _settings(database) == {}


def test_last_work_is_done_once_in_the_same_transaction(database):
    """Work asked for at the end of a unit of work is done once, whoever asks again under its name."""
    with database.write() as session:
        before_commit(session, "one", lambda inside: inside.add(ServiceSetting(**_row("a", "first"))))
        before_commit(session, "one", lambda inside: inside.add(ServiceSetting(**_row("a", "second"))))

    assert _settings(database) == {"a": "second"}


def test_upsert_inserts_changes_and_counts(database):
    """New rows are inserted, known ones changed, and identical ones left alone and not counted."""
    with database.write() as session:
        assert upsert(session, ServiceSetting, [_row("a", "1"), _row("b", "1")], ["name"]) == 2
    with database.write() as session:
        changed = upsert(session, ServiceSetting, [_row("a", "1"), _row("b", "2"), _row("c", "3")], ["name"],
                         only_if_changed=True)

    assert changed == 2
    assert _settings(database) == {"a": "1", "b": "2", "c": "3"}


def test_upsert_leaves_protected_rows_alone(database):
    """A row for which the exception holds keeps what it has."""
    with database.write() as session:
        upsert(session, ServiceSetting, [_row("a", "final"), _row("b", "open")], ["name"])
    with database.write() as session:
        upsert(session, ServiceSetting, [_row("a", "x"), _row("b", "x")], ["name"], only_if_changed=True,
               unless=ServiceSetting.value == "final")

    assert _settings(database) == {"a": "final", "b": "x"}


def test_insert_new_leaves_known_rows_alone(database):
    """Only rows whose key is new are inserted."""
    with database.write() as session:
        insert_new(session, ServiceSetting, [_row("a", "old")])
        insert_new(session, ServiceSetting, [_row("a", "new"), _row("b", "new")])

    assert _settings(database) == {"a": "old", "b": "new"}


def test_times_come_back_aware_in_utc(database):
    """A time given in any zone is read back as the same moment in UTC."""
    given = datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    with database.write() as session:
        session.add(ServiceSetting(**_row("a", "1", given)))

    with database.read() as session:
        read = session.get_one(ServiceSetting, "a").changed_at

    assert read == NOW
    assert read.tzinfo is UTC


def test_a_time_without_zone_is_refused(database):
    """Nobody knows what a time without a zone means: it cannot be stored."""
    with pytest.raises(StatementError, match="without zone"), database.write() as session:
        session.add(ServiceSetting(**_row("a", "1", datetime(2026, 3, 1, 12))))  # noqa: DTZ001


def test_references_are_enforced(database):
    """A row cannot refer to something that does not exist, on SQLite either."""
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(CampaignTag(tag_id=4711, campaign_id=4711))


@pytest.mark.parametrize("name", ["O'Hara\n\"; DROP TABLE jobs --", "ünï漢字🛰", "$(reboot) `id` %s {0}", ""])
def test_hostile_text_is_stored_as_it_is(database, name):
    """Any text is data: it comes back byte for byte."""
    with database.write() as session:
        session.add(Experimenter(username="someone", first_name=name))

    with database.read() as session:
        assert session.scalar(select(Experimenter.first_name)) == name


def test_two_experiments_cannot_have_one_name(database):
    """The tables refuse a second experiment of the same full name."""
    with database.write() as session:
        session.add(Experiment(experiment="one", name="The one"))

    with pytest.raises(IntegrityError), database.write() as session:
        session.add(Experiment(experiment="two", name="The one"))


# ------------------------------------------------------------------------------- prepared statements

SETTING = Prepared("a_setting", select(ServiceSetting.name, ServiceSetting.value, ServiceSetting.changed_at)
                   .where(ServiceSetting.name == bindparam("name", type_=Text)))
ADD_SETTING = Prepared("add_setting", insert(ServiceSetting).values(
    name=bindparam("setting", type_=Text), value=literal_column("'go'"), changed_at=bindparam("at", type_=UtcDateTime))
    .returning(ServiceSetting.name))


@pytest.mark.parametrize("name", ["launches", "it's; DROP TABLE launches --", "%s %(name)s $1", "größe\n\u202e"])
def test_a_prepared_statement_answers_like_any_other(database, name):
    """The first time and later, with texts as hostile as they come; times are aware."""
    with database.write() as session:
        insert_new(session, ServiceSetting, [_row(name, "hold"), _row("other", "go")])

    answers = [database.ask(SETTING, name=name) for _ in range(7)]
    nothing = database.ask(SETTING, name="nobody")

    assert [[(row.name, row.value, row.changed_at) for row in rows] for rows in answers] == [[(name, "hold", NOW)]] * 7
    assert nothing == []


def test_whoever_forgets_its_connection_does_no_harm(postgresql_database):
    """A connection lent for prepared statements and never given back comes to others as they expect it."""
    forgotten = Database(postgresql_database.engine)
    assert forgotten.ask(SETTING, name="nobody") == []
    del forgotten
    gc.collect()

    with pytest.raises(ZeroDivisionError), postgresql_database.write() as session:
        session.add(ServiceSetting(**_row("launches", "hold")))
        session.flush()
        raise ZeroDivisionError

    assert _settings(postgresql_database) == {}


def test_a_prepared_statement_that_fails_leaves_a_connection_that_works(postgresql_database):
    """A failure is the one that all statements have, and costs nobody a connection in a wrong state."""
    values = {"setting": "other", "at": NOW}
    assert [row.name for row in postgresql_database.run(ADD_SETTING, values)] == ["other"]

    for _ in range(3):
        with pytest.raises(DBAPIError, match="duplicate key"):
            postgresql_database.run(ADD_SETTING, values)
    with pytest.raises(ZeroDivisionError), postgresql_database.write() as session:
        insert_new(session, ServiceSetting, [_row("launches", "hold")])
        raise ZeroDivisionError

    assert _settings(postgresql_database) == {"other": "go"}


def _end_all_others(url: str) -> None:
    """What a restart of the server, or its operator, does to connections."""
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                                "WHERE pid <> pg_backend_pid() AND datname = current_database()"))
    engine.dispose()


def test_connections_that_the_server_ended_are_replaced(postgresql_database, postgresql_url):
    """Nobody is given a connection that is dead already, neither to read, nor to write, nor prepared."""
    with postgresql_database.write() as session:
        insert_new(session, ServiceSetting, [_row("launches", "hold")])
    for use in (lambda: _settings(postgresql_database),
                lambda: {row.name: row.value for row in postgresql_database.run(SETTING, {"name": "launches"})}):
        assert use() == {"launches": "hold"}
        _end_all_others(postgresql_url)
        assert use() == {"launches": "hold"}


def test_a_connection_that_breaks_while_it_is_used_is_given_up(postgresql_database, postgresql_url):
    """The statement under way fails, as nobody knows what became of it; the next one works."""
    with pytest.raises(DBAPIError) as failure, postgresql_database.write() as session:
        session.execute(text("SELECT 1"))
        _end_all_others(postgresql_url)
        session.execute(text("SELECT 1"))

    assert failure.value.connection_invalidated
    assert _settings(postgresql_database) == {}
