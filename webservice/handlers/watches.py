"""What a person watches, and how that person is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from poms.webservice.errors import Invalid
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Page
from poms.webservice.handlers.params import choice, number, text, texts
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.services import watches as watching
from poms.webservice.services.pages import watches as watch_pages
from poms.webservice.services.undos import Change

routes = Routes()
VIEW = Need("view", "experiment")
CHANNEL = text(required=True, limit=40)


@routes.page("watches", "watches.html", permission=VIEW, live_seconds=5)
def watches(call: Call) -> Answer:
    """What you watch, how you are told, and what you were told."""
    return Page(_page(call))


@routes.change("watch", permission=(Need("view", "campaign", "campaign_id", optional=True),
                                    Need("view", "stage", "campaign_stage_id", optional=True)),
               arguments={"campaign_id": number(), "campaign_stage_id": number(), "act": choice("watch", "unwatch"),
                          "about": texts()})
def watch(call: Call) -> Answer:
    """Be told of what happens to a campaign or a stage (``about``: of what; empty: the usual), or no more."""
    item = {"campaign_id": call["campaign_id"], "stage_id": call["campaign_stage_id"]}
    if sum(value is not None for value in item.values()) != 1:
        raise Invalid("name one campaign, or one stage", field="campaign_id")
    stage = call["campaign_stage_id"] is not None
    name = call.item("campaign_stage_id" if stage else "campaign_id").name
    back = call.url("stage", campaign_stage_id=item["stage_id"]) if stage \
        else call.url("campaign", campaign_id=item["campaign_id"])
    if call["act"] == "unwatch":
        change = Change(call.core, call.actor, f"You watch {name} no more")
        changed = watching.unwatch(call.core, call.actor, **item, undo=change)
        return Done(back, change.title if changed else f"You did not watch {name}", data={"changed": changed},
                    undo=change.offer)
    made = watching.watch(call.core, call.actor, **item, about=call["about"])
    with call.core.db.read() as session:
        told = watching.told(call.core, session, call.actor.experimenter_id, call.actor.experiment)
    return Done(back, f"You watch {name}", "" if told.addresses else "Say under My watches where you want to be told.",
                data={"watch_id": made.watch_id, "about": list(made.news)})


@routes.change("watch_change", permission=VIEW, arguments={
    "watch_id": number(required=True), "act": choice("save", "end"), "about": texts()})
def watch_change(call: Call) -> Answer:
    """Change of what one of your watches tells, or end it."""
    ends = call["act"] == "end"
    change = Change(call.core, call.actor, "The watch is ended" if ends else "The watch is changed")
    watching.change(call.core, call.actor, call["watch_id"], about=None if ends else call["about"], undo=change)
    return Done(call.url("watches"), change.title, undo=change.offer)


@routes.change("watch_times", template="watches.html", permission=VIEW, arguments={
    "every": choice(*watching.EVERY, default="15m"), "quiet": text(limit=40), "time_zone": text(limit=60)})
def watch_times(call: Call) -> Answer:
    """How often you are told at most, and in which hours (``22:00-07:00``) not."""
    times = {name: call[name] for name in ("every", "quiet", "time_zone")}
    return _tried(call, lambda: watching.set_times(call.core, call.actor, **times),
                  "How often you are told is saved", settings=times)


@routes.change("watch_address", template="watches.html", permission=VIEW, arguments={
    "channel": CHANNEL, "address": text(limit=watching.LONGEST_ADDRESS)})
def watch_address(call: Call) -> Answer:
    """Where you are told by one channel; an empty address ends that."""
    channel, address = call["channel"], call["address"]
    title = f"You are told by {channel}" if address else f"You are told by {channel} no more"
    return _tried(call, lambda: watching.set_address(call.core, call.actor, channel, address), title,
                  address=(channel, address))


@routes.change("watch_test", permission=VIEW, arguments={"channel": CHANNEL})
def watch_test(call: Call) -> Answer:
    """Have a message sent to your address on one channel."""
    watching.send_test(call.core, call.actor, call["channel"])
    return Done(call.url("watches"), "A test message is on its way", "How it went is shown below in a few seconds.")


@routes.answer("watch_list", permission=VIEW)
def watch_list(call: Call) -> Answer:
    """What you watch and how you are told, for programs."""
    page = _page(call)
    return Data({name: page[name] for name in ("watches", "settings", "waiting", "sent", "news")}
                | {"channels": [{key: one[key] for key in ("name", "description", "address", "secret", "problem")}
                                for one in page["channels"]]})


def _page(call: Call) -> dict[str, Any]:
    return {**watch_pages.watches_page(call.core, call.actor, call.url), "problems": []}


def _tried(call: Call, change: Callable[[], object], title: str, *, settings: dict[str, str] | None = None,
           address: tuple[str, str] = ("", "")) -> Answer:
    """The page again with what was typed and what is wrong with it; else back to the page."""
    try:
        change()
    except Invalid as wrong:
        if call.wants != "html":
            raise
        page = {**_page(call), "problems": list(wrong.problems)}
        page["settings"] = settings or page["settings"]
        page["channels"] = [{**one, "address": address[1]} if one["name"] == address[0] else one
                            for one in page["channels"]]
        return Page(page, status=400)
    return Done(call.url("watches"), title)
