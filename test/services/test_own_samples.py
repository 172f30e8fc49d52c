"""Samples of an experiment, on both databases: two at once, what is stored, what was taken back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from poms.webservice.errors import Conflict, Invalid, NotAllowed, NotFound
from poms.webservice.model import CampaignSample
from poms.webservice.rules.permissions import ANALYSIS
from poms.webservice.services import own_samples, undos
from poms.webservice.services.own_samples import Wanted
from poms.webservice.services.undos import Change

TEXT = b"""[campaign]
experiment = samdev
name = typed
campaign_stage_list = gen
[campaign_stage gen]
vo_role = Production
software_version = v1
dataset_or_split_data = None
completion_type = complete
completion_pct = 95
login_setup = here
job_type = work
[login_setup here]
host = localhost
account = samdevpro
setup = true
[job_type work]
launch_script = fife_launch
"""


@pytest.fixture
def owner(world):
    return world.person("olive")


def names(core):
    with core.db.read() as session:
        return sorted(session.scalars(select(CampaignSample.name)))


def test_a_name_is_given_once_to_two_at_once(core, owner):
    """The slower one is told that it is taken."""
    def save(_):
        try:
            own_samples.save(core, owner, Wanted("ours", "", TEXT))
        except Conflict:
            return "taken"
        return "kept"

    with ThreadPoolExecutor(2) as threads:
        told = sorted(threads.map(save, range(2)))

    assert told == ["kept", "taken"]
    assert names(core) == ["ours"]


def test_one_of_two_who_change_a_sample_at_once_is_told(core, owner):
    """Nobody's text is lost without a word."""
    number = own_samples.save(core, owner, Wanted("ours", "", TEXT))

    def change(name):
        try:
            own_samples.save(core, owner, Wanted(name, "", TEXT, 1), sample_id=number)
        except Conflict:
            return "told"
        return name

    with ThreadPoolExecutor(2) as threads:
        told = list(threads.map(change, ["first", "second"]))

    assert told.count("told") == 1
    assert names(core) == [name for name in told if name != "told"]


def test_what_is_taken_back_is_whole(core, owner):
    """Text, picture and description, of a change and of a deletion."""
    number = own_samples.save(core, owner, Wanted("ours", "so", TEXT))
    before = own_samples.list_own(core, owner)
    change, deletion = Change(core, owner, "changed"), Change(core, owner, "deleted")
    own_samples.save(core, owner, Wanted("other", "", TEXT.replace(b"gen", b"sim")), sample_id=number, undo=change)
    undos.undo(core, owner, change.offer.undo_id)
    own_samples.delete(core, owner, number, undo=deletion)
    undos.undo(core, owner, deletion.offer.undo_id)

    assert own_samples.list_own(core, owner) == before
    assert own_samples.find(core, "samdev", f"own:{number}").text == TEXT.decode()


def test_a_bad_text_is_told_with_its_lines(core, owner):
    """And nothing is kept."""
    with pytest.raises(Invalid) as refused:
        own_samples.save(core, owner, Wanted("", "", TEXT.replace(b"= 95", b"= many")))

    assert {(problem.field, problem.line) for problem in refused.value.problems} >= {("name", None)}
    assert 10 in {problem.line for problem in refused.value.problems}
    assert names(core) == []


def test_the_service_itself_refuses_who_may_not(world, core, owner):
    """Whoever calls it; an item of another experiment is not there."""
    number = own_samples.save(core, owner, Wanted("ours", "", TEXT))
    nora = world.person("nora", experiment="nova")

    with pytest.raises(NotAllowed):
        own_samples.delete(core, world.person("ann", ANALYSIS), number)
    with pytest.raises(NotFound):
        own_samples.delete(core, nora, number)
    with pytest.raises(NotFound):
        own_samples.find(core, "nova", f"own:{number}")
    assert own_samples.list_own(core, nora) == []
