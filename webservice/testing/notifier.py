"""Notifiers in tests: the contract that every channel keeps, as a kit, and a channel in memory.

Subclass ``NotifierContract`` and give it a channel, addresses, and a way to see what came at the other end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from poms.webservice.errors import BackendUnavailable, Invalid
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import NewsItem, Notification, Notifier, Offer, PluginContext
from poms.webservice.testing.faults import Faulty

HOSTILE = ("two\nBcc: victim@example.org", "a\r\n\r\nbody", "\r\n.\r\nMAIL FROM:<x@example.org>", "$(touch canary)",
           "Größe 東京 \U0001f600", '"><svg onload=1>', "\x00\x1b[31m", "\ud800", "x" * 5000, "=?utf-8?q?x?=")


@dataclass(frozen=True)
class Received:
    """What came at the other end: which message, for whom, in which attempt, and all of its text."""

    key: str
    recipients: tuple[str, ...]
    text: str
    subject: str = ""
    attempt: int = 1


def notification(address: str, *, key: str = "k1", subject: str = "1 finished: mc", text: str = "gen: Located\n",
                 attempt: int = 1) -> Notification:
    """A message about one event."""
    at = datetime(2026, 3, 14, 2, 41, 7, tzinfo=UTC)
    item = NewsItem(7, at, "finished", text, "samdev", "mc", "gen", 12, "http://poms.example.org/poms/submission")
    return Notification(key, attempt, "olive", address, subject, text, at, (item,),
                        "http://poms.example.org/poms/watches")


class NotifierContract:
    """Tests that every Notifier passes.

    Override the fixtures ``notifier`` and ``received`` (a function that gives what came so far), and the function
    ``silence``, after which the other end does not answer any more.
    """

    address = ""
    wrong_addresses: Sequence[str] = ()

    @pytest.fixture
    def notifier(self) -> Notifier:
        raise NotImplementedError("override the fixture notifier")

    @pytest.fixture
    def received(self) -> Callable[[], list[Received]]:
        raise NotImplementedError("override the fixture received")

    def silence(self) -> None:
        raise NotImplementedError("override silence")

    def test_it_is_a_notifier(self, notifier):
        """It has every member of the interface, and says what an address is."""
        assert isinstance(notifier, Notifier)
        assert notifier.address_hint
        assert isinstance(notifier.one_system, bool)

    def test_a_message_arrives_once(self, notifier, received):
        """One call is one message, to the address given and nobody else."""
        notifier.send(notification(self.address))

        assert [(one.key, one.recipients) for one in received()] == [("k1", (self.address,))]
        assert "gen: Located" in received()[0].text

    def test_a_repetition_can_be_told(self, notifier, received):
        """A message that is sent again has the same key and says which attempt it is."""
        for attempt in (1, 2):
            notifier.send(notification(self.address, attempt=attempt))

        assert [(one.key, one.attempt) for one in received()] == [("k1", 1), ("k1", 2)]

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_texts_of_others_stay_texts(self, notifier, received, text):
        """Whatever a campaign is called, it is one message with one recipient."""
        notifier.send(notification(self.address, subject=text, text=f"begin {text} end\n", key="k2"))

        (one,) = received()
        assert one.recipients == (self.address,)
        assert "begin" in one.text and "end" in one.text
        assert "\n" not in one.subject and "\r" not in one.subject

    def test_a_good_address_is_kept(self, notifier):
        """Checking an address that is in its normal form gives it back."""
        assert notifier.check_address(self.address) == self.address
        assert notifier.check_address(f"  {self.address} ") == self.address

    def test_wrong_addresses_are_refused(self, notifier, received):
        """When they are given, and again when something is to be sent there."""
        for address in (*self.wrong_addresses, "", "\n", "x" * 3000):
            with pytest.raises(Invalid):
                notifier.check_address(address)
            with pytest.raises(Invalid):
                notifier.send(notification(address))

        assert received() == []

    def test_silence_is_told(self, notifier):
        """A system that does not answer is BackendUnavailable: it is tried again."""
        self.silence()

        with pytest.raises(BackendUnavailable):
            notifier.send(notification(self.address))

    def test_a_secret_belongs_to_person_and_address(self, notifier):
        """If there is one, it is the same each time, and another one for anybody else."""
        secret = notifier.shown_secret("olive", self.address)

        assert secret == notifier.shown_secret("olive", self.address)
        if secret:
            assert secret != notifier.shown_secret("anna", self.address)


@dataclass
class FakeChannel(Faulty):
    """A channel in memory: addresses begin with ``to:``."""

    one_system: bool = True
    address_hint: str = "to: and a name"
    sent: list[Notification] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def check_address(self, address: str) -> str:
        if not address.strip().startswith("to:") or not address.strip().isprintable() or len(address) > 200:
            raise Invalid(f"{address[:20]!r} does not begin with to:", field="address")
        return address.strip()

    def send(self, notification: Notification) -> None:
        self._meet("send")
        self.sent.append(replace(notification, address=self.check_address(notification.address)))

    def shown_secret(self, username: str, address: str) -> str:
        return f"secret of {username}"


class FakeChannels:
    """Plugin that offers the channels ``fake`` and ``other``."""

    def __init__(self) -> None:
        self.fake, self.other = FakeChannel(), FakeChannel(one_system=False)

    @hookimpl
    def poms_notifiers(self) -> list[Offer]:
        return [Offer("fake", "messages in memory", self._fake), Offer("other", "others in memory", self._other)]

    def _fake(self, context: PluginContext) -> FakeChannel:
        return self.fake

    def _other(self, context: PluginContext) -> FakeChannel:
        return self.other
