"""The tables: made, brought up to date whole or not at all, and compared with the model; on both databases."""

from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, inspect, text

from poms.webservice import migrations
from poms.webservice.errors import ConfigurationError
from poms.webservice.interfaces import DatabaseOffer
from poms.webservice.rules.statuses import Status
from poms.webservice.testing import postgresql

REVISION = '''"""{message}."""
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "{number}", {before!r}, None, None


def upgrade() -> None:
    {body}
'''


@pytest.fixture(scope="module")
def server():
    programs = postgresql.find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL here")
    with postgresql.temporary_server(programs) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request, tmp_path):
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/data/poms.db"
        return
    address = request.getfixturevalue("server")
    yield address
    engine = create_engine(address)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def write_revision(directory, number, before, body):
    directory.mkdir(exist_ok=True)
    (directory / f"{number}_x.py").write_text(
        REVISION.format(message="x", number=number, before=before, body=body))


@pytest.fixture
def offer(tmp_path):
    """A plugin with one table and one revision."""
    metadata = MetaData()
    Table("sam_files", metadata, Column("id", Integer, primary_key=True), Column("name", Text, nullable=False))
    write_revision(tmp_path / "revisions", "0001", None,
                   'op.create_table("sam_files", sa.Column("id", sa.Integer, primary_key=True), '
                   'sa.Column("name", sa.Text, nullable=False))')
    return DatabaseOffer("sam", "sam_", metadata, tmp_path / "revisions")


def tables(url):
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def execute(url, statement):
    engine = create_engine(url)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        rows = result.all() if result.returns_rows else []
    engine.dispose()
    return rows


def test_upgrade_makes_the_tables_of_the_model(url):
    """A new database is what the model describes, to the last index."""
    (before,) = migrations.upgrade(url)

    assert before.condition == "absent"
    assert [state.condition for state in migrations.current(url)] == ["current"]
    assert migrations.check(url) == []


def test_second_upgrade_changes_nothing(url):
    """An upgrade may be repeated by any start script."""
    migrations.upgrade(url)

    assert [state.condition for state in migrations.upgrade(url)] == ["current"]


def test_vocabulary_of_statuses_is_kept_in_step(url):
    """Submissions refer to these rows: every upgrade repairs them."""
    migrations.upgrade(url)
    execute(url, "DELETE FROM submission_statuses WHERE status_id = 4000")
    execute(url, "UPDATE submission_statuses SET status = 'Cold' WHERE status_id = 3000")

    migrations.upgrade(url)

    rows = dict(tuple(row) for row in execute(url, "SELECT status_id, status FROM submission_statuses"))
    assert rows == {int(status): status.label for status in Status}


def test_plugin_keeps_tables_and_version_of_its_own(url, offer):
    """A plugin's revisions do not mix with those of POMS."""
    migrations.upgrade(url, [offer])

    assert {"sam_files", "alembic_version_sam", "alembic_version"} <= tables(url)
    assert [(state.name, state.condition) for state in migrations.current(url, [offer])] == [
        ("poms", "current"), ("sam", "current")]
    assert migrations.check(url, [offer]) == []


def test_plugin_that_comes_later_is_noticed(url, offer):
    """A plugin installed after the last upgrade lacks its tables."""
    migrations.upgrade(url)

    with pytest.raises(migrations.SchemaMismatch, match="tables of sam are not there yet: run `poms db upgrade`"):
        migrations.require_current(url, [offer])


def test_failed_upgrade_leaves_nothing_behind(url, offer):
    """All revisions of all chains are one transaction."""
    write_revision(offer.migrations, "0002", "0001", 'op.execute("ALTER TABLE sam_nothing ADD COLUMN x INTEGER")')

    with pytest.raises(ConfigurationError, match="sam_nothing"):
        migrations.upgrade(url, [offer])
    assert tables(url) - {"alembic_version"} == set()


def test_older_database_is_refused_with_the_command_that_helps(url, offer):
    """Nothing runs on tables that lack what it needs."""
    migrations.upgrade(url, [offer])
    write_revision(offer.migrations, "0002", "0001", 'op.add_column("sam_files", sa.Column("size", sa.Integer))')

    with pytest.raises(migrations.SchemaMismatch, match="older than this program .*run `poms db upgrade`"):
        migrations.require_current(url, [offer])


def test_newer_database_is_refused_and_not_touched(url):
    """An old program neither runs on nor changes tables from the future."""
    migrations.upgrade(url)
    execute(url, "UPDATE alembic_version SET version_num = '9999'")

    for attempt in (migrations.require_current, migrations.upgrade):
        with pytest.raises(migrations.SchemaMismatch, match="newer than this program"):
            attempt(url)
    assert execute(url, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_difference_between_tables_and_model_is_named(url):
    """What somebody changed by hand is found."""
    migrations.upgrade(url)
    execute(url, "DROP INDEX ix_submissions_jobsub_job_id")
    execute(url, "CREATE TABLE by_hand (id INTEGER)")

    differences = migrations.check(url)

    assert len(differences) == 2
    assert any("by_hand" in line for line in differences)
    assert any("ix_submissions_jobsub_job_id" in line for line in differences)


def test_question_makes_no_database(tmp_path):
    """Asking for the state of a SQLite file that is not there does not make it."""
    with pytest.raises(migrations.SchemaMismatch, match="run `poms db upgrade`"):
        migrations.current(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["nonsense", "oracle7://x/y", "postgresql+nodriver://x/y"])
def test_address_that_is_none_is_refused(address):
    """The message says which setting."""
    with pytest.raises(ConfigurationError, match=r"\[database\] url"):
        migrations.current(address)


def test_unreachable_server_is_an_error_without_the_password():
    """A database that is down stops the start, in one sentence."""
    with pytest.raises(ConfigurationError, match="cannot be used") as caught:
        migrations.current("postgresql+psycopg2://poms:sesame99@127.0.0.1:1/poms")

    assert "sesame99" not in str(caught.value)


def test_model_needs_no_further_revision():
    """Whoever changes the model writes a revision: poms db revision -m '...'."""
    directory = Path(migrations.chains()[0].versions)
    before = sorted(directory.glob("*.py"))

    made = migrations.revise("the model changed")
    if made is not None:
        made.unlink()

    assert made is None, "the model has changed: run poms db revision -m '...'"
    assert sorted(directory.glob("*.py")) == before


def test_revision_of_a_plugin_is_written_from_its_tables(tmp_path):
    """A plugin author gets a first revision that makes exactly the plugin's tables."""
    metadata = MetaData()
    Table("sam_files", metadata, Column("id", Integer, primary_key=True))
    (tmp_path / "revisions").mkdir()
    offer = DatabaseOffer("sam", "sam_", metadata, tmp_path / "revisions")

    made = migrations.revise("files", [offer], name="sam")

    assert made == tmp_path / "revisions" / "0001_files.py"
    migrations.upgrade(f"sqlite:///{tmp_path}/a.db", [offer])
    assert migrations.check(f"sqlite:///{tmp_path}/a.db", [offer]) == []
