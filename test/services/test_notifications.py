"""Notifications: exactly what is owed, to whom it is owed, when it may be sent; and what happens when it cannot be."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, select

from poms.webservice.agent import notify
from poms.webservice.errors import Conflict, Invalid, NotFound
from poms.webservice.model import Digest, DigestDelivery, Event, Membership, Notice, Watch
from poms.webservice.rules.permissions import ANALYSIS
from poms.webservice.rules.statuses import Status
from poms.webservice.services import campaigns, event_stream, events, holds, notifications, submissions, tasks, watches
from poms.webservice.testing.faults import Died
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.notifier import FakeChannel, FakeChannels, NotifierContract, Received
from poms.webservice.testing.world import World, stage

NOTIFY = """
[notify]
channels = fake, other
gather_seconds = 30
"""


@pytest.fixture
def channels():
    return FakeChannels()


@pytest.fixture
def world(database, tmp_path, clock, channels):
    made = make_service(database, tmp_path, clock, text=NOTIFY, plugins=[channels])
    clock.set(datetime(2026, 3, 14, 12, tzinfo=UTC))
    return World(made.core, made.fakes)


@pytest.fixture
def core(world):
    return world.core


@pytest.fixture
def campaign(world):
    return world.campaign_with(stage("gen"), stage("reco", after="gen"), name="mc")


@pytest.fixture
def anna(world, core):
    """Somebody who is told by one channel, every quarter of an hour at most."""
    actor = world.person("anna", ANALYSIS)
    watches.set_address(core, actor, "fake", "to:anna")
    return actor


def one_pass(core, *, owner="agent one"):
    """What an agent does once; what it says."""
    lease = tasks.take(core, "notify", owner, 60)
    said = notify.run(core, lease)
    tasks.finish(core, lease, next_at=core.clock(), message=said)
    return said


def later(core, clock, seconds=31):
    clock.advance(seconds)
    return one_pass(core)


def told(channel):
    return [[item.text for item in message.items] for message in channel.sent]


def put(world, campaign, status, name="gen"):
    """A submission of the stage that comes to a status."""
    number = world.submission(campaign, name)
    with world.core.db.write() as session:
        submissions.change_status(session, submissions.lock(session, number), status, at=world.core.clock(),
                                  actor="poms", by_person=True)
    return number


def deliveries(core):
    with core.db.read() as session:
        return list(session.scalars(select(DigestDelivery).order_by(DigestDelivery.digest_id)))


# ------------------------------------------------------------------------------- what is owed


def test_a_watch_tells_what_it_was_asked_for(world, core, campaign, anna, channels, clock):
    """Of all that happens to a campaign exactly the news that were chosen, each once."""
    watches.watch(core, anna, campaign_id=campaign.campaign_id, about=["finished"])
    done = put(world, campaign, Status.LOCATED)
    put(world, campaign, Status.FAILED)
    one_pass(core)

    later(core, clock)
    later(core, clock, 3600)

    assert told(channels.fake) == [[f"gen submission {done}: Located, was New"]]
    message = channels.fake.sent[0]
    assert (message.username, message.address, message.attempt) == ("anna", "to:anna", 1)
    assert message.items[0].campaign == "mc" and f"submission_id={done}" in message.items[0].url
    assert f"submission {done}: Located" in message.text


def test_what_was_before_the_watch_is_not_owed(world, core, campaign, anna, channels, clock):
    """A new watch does not tell the past."""
    put(world, campaign, Status.FAILED)
    watches.watch(core, anna, campaign_id=campaign.campaign_id)
    number = put(world, campaign, Status.LAUNCH_FAILED)
    one_pass(core)
    later(core, clock)

    assert told(channels.fake) == [[f"gen submission {number}: LaunchFailed, was New"]]


def test_a_watched_stage_tells_of_that_stage(world, core, campaign, anna, channels, clock):
    """Of its neighbours nothing."""
    watches.watch(core, anna, stage_id=campaign.stage("reco"))
    put(world, campaign, Status.FAILED)
    number = put(world, campaign, Status.FAILED, "reco")
    one_pass(core)
    later(core, clock)

    assert told(channels.fake) == [[f"reco submission {number}: Failed, was New"]]


def test_who_watches_twice_is_told_once(world, core, campaign, anna, channels, clock):
    """A campaign and one of its stages: one event, one line."""
    watches.watch(core, anna, campaign_id=campaign.campaign_id)
    watches.watch(core, anna, stage_id=campaign.stage("gen"))
    put(world, campaign, Status.FAILED)
    one_pass(core)
    later(core, clock)

    assert [len(items) for items in told(channels.fake)] == [1]


def test_a_hold_of_everything_concerns_every_watch(world, core, campaign, anna, channels, clock):
    """Launches of the experiment, or of the whole service, that are kept are news of each campaign of it."""
    elsewhere = world.campaign_with(stage("gen"), experiment="nova")
    nora = world.person("nora", experiment="nova")
    watches.set_address(core, nora, "fake", "to:nora")
    watches.watch(core, nora, campaign_id=elsewhere.campaign_id)
    watches.watch(core, anna, campaign_id=campaign.campaign_id)
    holds.hold_experiment(core, campaign.owner, hold=True, reason="disk full")
    with core.db.write() as session:
        events.record(session, "service.launches", core.clock(), "root", value="hold")
    one_pass(core)
    later(core, clock)

    assert {message.username: len(message.items) for message in channels.fake.sent} == {"anna": 2, "nora": 1}


def test_who_left_the_experiment_is_told_nothing(world, core, campaign, anna, channels, clock):
    """Neither of what happens after, nor of what was noticed before and not sent yet."""
    watches.watch(core, anna, campaign_id=campaign.campaign_id)
    put(world, campaign, Status.FAILED)
    one_pass(core)
    world.change(Membership, (anna.experimenter_id, "samdev"), active=False)
    put(world, campaign, Status.FAILED)
    later(core, clock)

    assert channels.fake.sent == []
    assert [row.state for row in deliveries(core)] == ["given_up"]


def test_without_an_address_nothing_is_owed(world, core, campaign, channels, clock):
    """Who gives an address later is told of what happens later."""
    zoe = world.person("zoe")
    watches.watch(core, zoe, campaign_id=campaign.campaign_id)
    put(world, campaign, Status.FAILED)
    one_pass(core)
    watches.set_address(core, zoe, "fake", "to:zoe")
    number = put(world, campaign, Status.FAILED)
    one_pass(core)
    later(core, clock)

    assert told(channels.fake) == [[f"gen submission {number}: Failed, was New"]]


def test_a_deleted_campaign_takes_its_watches_along(world, core, anna):
    """And hinders nobody from deleting it."""
    made = world.campaign_with(stage("gen"), name="unused")
    watches.watch(core, anna, campaign_id=made.campaign_id)
    watches.watch(core, anna, stage_id=made.stage("gen"))

    campaigns.delete_campaign(core, made.owner, made.campaign_id)

    with core.db.read() as session:
        assert session.scalars(select(Watch)).all() == []


def test_many_events_are_noticed_in_pieces(world, core, campaign, anna, channels, clock, monkeypatch):
    """None is lost or doubled between two pieces."""
    monkeypatch.setattr(notifications, "EVENTS_AT_A_TIME", 3)
    watches.watch(core, anna, campaign_id=campaign.campaign_id)
    numbers = [put(world, campaign, Status.FAILED) for _ in range(5)]
    one_pass(core)
    later(core, clock)

    assert told(channels.fake) == [[f"gen submission {number}: Failed, was New" for number in numbers]]


@pytest.mark.postgresql
def test_an_event_that_is_committed_late_is_not_missed(postgresql_database, tmp_path, clock, channels):
    """A smaller number may appear after a greater one: the log is read only as far as it is settled."""
    made = make_service(postgresql_database, tmp_path, clock, text=NOTIFY, plugins=[channels])
    world, core = World(made.core, made.fakes), made.core
    campaign = world.campaign_with(stage("gen"), name="mc")
    anna = world.person("anna")
    watches.set_address(core, anna, "fake", "to:anna")
    watches.watch(core, anna, campaign_id=campaign.campaign_id)
    where = {"experiment": "samdev", "campaign_id": campaign.campaign_id, "stage_id": campaign.stage("gen")}
    with core.db.write() as slow:
        events.record(slow, "stage.held", clock(), "first", **where)
        slow.flush()
        with core.db.write() as session:
            events.record(session, "stage.released", clock(), "second", **where)
        assert event_stream.settled(core.db, patience_seconds=0) is None
    one_pass(core)
    later(core, clock)

    assert told(channels.fake) == [["gen: Stage launches held", "gen: Stage launches allowed"]]


@pytest.mark.postgresql
def test_those_who_come_later_are_not_waited_for(postgresql_database, tmp_path, clock):
    """The log settles although somebody always writes."""
    made = make_service(postgresql_database, tmp_path, clock)
    core = made.core
    with core.db.write() as session:
        events.record(session, "service.launches", clock(), "root")
    began, ended = threading.Event(), threading.Event()

    def write():
        with core.db.write() as session:
            events.record(session, "service.launches", clock(), "root")
            session.flush()
            began.set()
            ended.wait(30)

    found = []
    first = threading.Thread(target=write)
    first.start()
    assert began.wait(30)
    reader = threading.Thread(target=lambda: found.append(event_stream.settled(core.db, patience_seconds=30)))
    reader.start()
    ended.set()
    first.join()
    reader.join(30)

    assert found and found[0] is not None


# ----------------------------------------------------------------------------------- digests


def test_news_are_gathered_into_one_message(world, core, campaign, anna, channels, clock):
    """What comes shortly after the first goes with it; what comes later waits for the interval that was chosen."""
    watches.watch(core, anna, campaign_id=campaign.campaign_id)
    put(world, campaign, Status.FAILED)
    one_pass(core)
    assert channels.fake.sent == []
    clock.advance(20)
    put(world, campaign, Status.FAILED)
    later(core, clock)
    assert [len(items) for items in told(channels.fake)] == [2]

    put(world, campaign, Status.FAILED)
    later(core, clock, 60)
    later(core, clock, 60)
    assert len(channels.fake.sent) == 1
    later(core, clock, 800)

    assert [len(items) for items in told(channels.fake)] == [2, 1]


def test_quiet_hours_are_kept_in_the_persons_time_zone(world, core, campaign, anna, channels, clock):
    """What happens in the night is told in the morning, all of it, in one message."""
    watches.set_times(core, anna, every="1m", quiet="22:00-07:00", time_zone="America/Chicago")
    watches.watch(core, anna, campaign_id=campaign.campaign_id)
    clock.set(datetime(2026, 6, 2, 3, 30, tzinfo=UTC))  # 22:30 in Chicago
    put(world, campaign, Status.FAILED)
    one_pass(core)
    for _ in range(8):
        later(core, clock, 3600)
    assert clock() == datetime(2026, 6, 2, 11, 30, tzinfo=UTC)
    put(world, campaign, Status.FAILED)
    one_pass(core)
    assert channels.fake.sent == []

    clock.set(datetime(2026, 6, 2, 12, 0, tzinfo=UTC))
    one_pass(core)

    assert [len(items) for items in told(channels.fake)] == [2]


def test_each_channel_gets_the_whole_digest(world, core, campaign, anna, channels, clock):
    """Whoever gives two addresses is told twice, of the same."""
    watches.set_address(core, anna, "other", "to:chat")
    watches.watch(core, anna, campaign_id=campaign.campaign_id)
    put(world, campaign, Status.FAILED)
    one_pass(core)
    later(core, clock)

    assert told(channels.fake) == told(channels.other) != []
    assert channels.fake.sent[0].key == channels.other.sent[0].key


# ------------------------------------------------------------------------ when it cannot be sent


@pytest.fixture
def owed(world, core, campaign, anna, clock):
    """A digest that is due."""
    watches.watch(core, anna, campaign_id=campaign.campaign_id)
    put(world, campaign, Status.FAILED)
    one_pass(core)
    clock.advance(31)


def test_a_silent_channel_is_asked_less_and_less_often(core, owed, channels, clock):
    """After a minute, two, four; and when it answers, the message is sent, once."""
    channels.fake.fail("send", times=3)
    tries = []
    for _ in range(60):
        before = channels.fake.calls["send"]
        one_pass(core)
        if channels.fake.calls["send"] > before:
            tries.append(clock())
        clock.advance(30)

    assert [later - first for first, later in zip(tries, tries[1:], strict=False)] == [
        timedelta(seconds=seconds) for seconds in (60, 120, 240)]
    assert len(channels.fake.sent) == 1
    (row,) = deliveries(core)
    assert (row.state, row.attempts, row.message) == ("sent", 4, "")


def test_a_failure_is_on_record(core, owed, channels):
    """While it waits, everybody can see why and when it is tried again."""
    channels.fake.fail("send")
    one_pass(core)

    (row,) = deliveries(core)
    assert (row.state, row.attempts) == ("waiting", 1)
    assert "no answer" in row.message
    assert row.next_at == core.clock() + timedelta(seconds=60)


def test_one_system_that_is_silent_is_asked_once_a_pass(world, core, campaign, anna, channels, clock):
    """The others' messages wait as well; on a channel of many systems each is tried."""
    people = [world.person(f"person{number}") for number in range(5)]
    for person in people:
        watches.set_address(core, person, "fake", "to:one")
        watches.set_address(core, person, "other", "to:many")
        watches.watch(core, person, campaign_id=campaign.campaign_id)
    put(world, campaign, Status.FAILED)
    one_pass(core)
    channels.fake.fail("send")
    channels.other.fail("send")
    later(core, clock)

    assert channels.fake.calls["send"] == 1 and channels.fake.sent == []
    assert channels.other.calls["send"] == 5 and len(channels.other.sent) == 4
    later(core, clock, 61)
    assert sorted(message.username for message in channels.fake.sent) == [person.username for person in people]


def test_a_message_is_given_up_after_days(core, owed, channels, clock):
    """It stays on record as given up, and is not tried again."""
    channels.fake.fail("send", times=1000)
    for _ in range(80):
        later(core, clock, 3600)
    tried = channels.fake.calls["send"]
    later(core, clock, 3600)

    (row,) = deliveries(core)
    assert row.state == "given_up"
    assert channels.fake.calls["send"] == tried


def test_an_address_that_is_refused_is_not_tried_again(core, owed, channels, clock):
    """The reason is on record for its owner."""
    channels.fake.fail("send", Invalid("no such mailbox"))
    one_pass(core)
    later(core, clock, 3600)

    (row,) = deliveries(core)
    assert (row.state, row.attempts, row.message) == ("given_up", 1, "no such mailbox")


def test_an_agent_that_dies_while_sending_loses_nothing(core, owed, channels, clock):
    """The attempt was on record before: another agent sends it again, under the same key, and says so."""
    channels.fake.plan("send", core.db.die_at_commit)
    with pytest.raises(Died):
        one_pass(core)
    assert [(row.state, row.attempts) for row in deliveries(core)] == [("sending", 1)]

    clock.advance(notifications.SENDING_SECONDS)
    one_pass(core, owner="agent two")

    assert [message.attempt for message in channels.fake.sent] == [1, 2]
    assert len({message.key for message in channels.fake.sent}) == 1
    assert "attempt 2" in channels.fake.sent[1].text
    assert [(row.state, row.attempts) for row in deliveries(core)] == [("sent", 2)]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("commit", range(1, 6))
def test_a_death_at_any_commit_loses_and_doubles_nothing(world, core, campaign, anna, channels, clock, commit, after):
    """Wherever an agent dies, each event is in exactly one digest, and each digest is sent at least once."""
    watches.watch(core, anna, campaign_id=campaign.campaign_id)
    numbers = [put(world, campaign, Status.FAILED) for _ in range(3)]
    core.db.die_at_commit(commit, after=after)
    for number in range(20):
        with suppress(Died):
            one_pass(core, owner=f"agent {number}")
        clock.advance(120)
    core.db.live_on()

    by_key = {message.key: [item.submission_id for item in message.items] for message in channels.fake.sent}
    assert sorted(number for some in by_key.values() for number in some) == numbers


def test_an_agent_that_lost_its_lease_stores_nothing(world, core, campaign, anna, clock):
    """What it noticed is noticed by the one that took over."""
    watches.watch(core, anna, campaign_id=campaign.campaign_id)
    one_pass(core)
    slow = tasks.take(core, "notify", "slow", 60)
    clock.advance(61)
    put(world, campaign, Status.FAILED)
    assert "1 noticed" in one_pass(core, owner="quick")

    assert notifications.gather(core, slow) == 0


# --------------------------------------------------------------------------------- record, tests


def test_old_digests_are_forgotten(core, owed, channels, clock):
    """The record is bounded: with the digest go its notices and deliveries; the events stay."""
    one_pass(core)
    later(core, clock, 31 * 86400)

    with core.db.read() as session:
        assert [session.scalars(select(table)).all() for table in (Digest, DigestDelivery, Notice)] == [[], [], []]
        assert session.scalars(select(Event)).all() != []


def test_a_test_message_is_sent_at_once(core, anna, channels):
    """It has no events, and is not sent more often than once a minute."""
    watches.send_test(core, anna, "fake")
    one_pass(core)

    assert [(message.address, message.items) for message in channels.fake.sent] == [("to:anna", ())]
    with pytest.raises(Conflict, match="less than a minute"):
        watches.send_test(core, anna, "fake")
    with pytest.raises(Conflict, match="no address"):
        watches.send_test(core, anna, "other")


def test_settings_are_checked(world, core, anna):
    """What cannot be meant is refused with the field that is wrong."""
    for change, field in ((lambda: watches.set_times(core, anna, every="2m", quiet="", time_zone="UTC"), "every"),
                          (lambda: watches.set_times(core, anna, every="1h", quiet="22-7", time_zone="UTC"), "quiet"),
                          (lambda: watches.set_times(core, anna, every="1h", quiet="", time_zone="Moon"), "time_zone"),
                          (lambda: watches.set_times(core, anna, every="1h", quiet="", time_zone="../x"), "time_zone"),
                          (lambda: watches.set_address(core, anna, "fake", "anna"), "address"),
                          (lambda: watches.watch(core, anna, campaign_id=1, about=["gossip"]), "about")):
        with pytest.raises(Invalid) as wrong:
            change()
        assert wrong.value.problems[0].field == field
    with pytest.raises(NotFound):
        watches.set_address(core, anna, "pigeon", "to:roof")


def test_a_watch_is_its_owners(world, core, campaign, anna):
    """Nobody else changes or ends it, and what is not in the experiment cannot be watched."""
    row = watches.watch(core, anna, campaign_id=campaign.campaign_id)
    other = world.person("other")
    with pytest.raises(NotFound):
        watches.change(core, other, row.watch_id, about=None)
    with pytest.raises(NotFound):
        watches.watch(core, world.person("nora", experiment="nova"), campaign_id=campaign.campaign_id)
    assert not watches.unwatch(core, other, campaign_id=campaign.campaign_id)

    watches.change(core, anna, row.watch_id, about=["next", "finished"])
    again = watches.watch(core, anna, campaign_id=campaign.campaign_id, about=["approval"])

    assert (again.watch_id, again.news) == (row.watch_id, ["approval"])
    assert watches.unwatch(core, anna, campaign_id=campaign.campaign_id)


class TestFakeChannel(NotifierContract):
    """The channel in memory keeps the contract, so that what is tested with it holds for others."""

    address = "to:olive"
    wrong_addresses = ("olive", "to:\nx")

    @pytest.fixture
    def notifier(self):
        self.channel = FakeChannel()
        return self.channel

    @pytest.fixture
    def received(self):
        return lambda: [Received(one.key, (one.address,), one.text, " ".join(one.subject.split()), one.attempt)
                        for one in self.channel.sent]

    def silence(self):
        self.channel.fail("send")


def test_deleting_everything_of_a_person_is_possible(core, owed, anna):
    """Nothing else refers to notices, digests and deliveries."""
    one_pass(core)
    with core.db.write() as session:
        session.execute(delete(Digest))
        assert session.scalars(select(Notice)).all() == []
