"""The people of an experiment: the list, one of them, and who is given which role by whom."""

from __future__ import annotations

from typing import Any

from poms.webservice.errors import Conflict, Invalid, Problem
from poms.webservice.handlers.answers import Answer, Call, Done, Page
from poms.webservice.handlers.lists import BULK, EXPORT, as_file, would_do
from poms.webservice.handlers.params import choice, count, maybe, text, texts
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.rules.permissions import ROLES
from poms.webservice.services import memberships
from poms.webservice.services.memberships import ACTS, Added, Effect
from poms.webservice.services.pages import people as people_pages
from poms.webservice.services.undos import Change

routes = Routes()
VIEW = Need("view", "experiment")
APPOINT = Need("appoint", "experiment")
REASON = {"reason": text(limit=500)}


@routes.page("people", "people.html", permission=VIEW, arguments={
    "view": choice(*(name for name, _ in people_pages.VIEWS)), "held": maybe(*ROLES), "text": text(limit=200),
    "sort": text("username", limit=40), "offset": count(), **EXPORT})
def people(call: Call) -> Answer:
    """Who is in the experiment, in which role (``held``), since when and by whom."""
    which = {name: call[name] for name in ("view", "held", "text", "sort")}
    if call["export"]:
        return as_file(call, "people", f"people_{call.actor.experiment}", **which)
    return Page(people_pages.people_page(call.core, call.actor, call.url, **which, offset=call["offset"]))


@routes.page("person", "person.html", permission=VIEW, path=("username",),
             arguments={"username": text(required=True, limit=200)})
def person(call: Call) -> Answer:
    """One person of the experiment, and every change of that person's role."""
    return Page(people_pages.person_page(call.core, call.actor, call.url, call["username"]))


@routes.change("people_act", permission=APPOINT, arguments={
    "username": texts(required=True), "act": choice(*ACTS, required=True), "held": maybe(*ROLES), **REASON, **BULK})
def people_act(call: Call) -> Answer:
    """Give people a role (``held``), end their memberships, or let the outside list decide; or tell what that does."""
    chosen, act, role = call["username"], call["act"], call["held"]
    if call["dry_run"]:
        found = memberships.effects(call.core, call.actor, act, chosen, role=role)
        context = people_pages.change_page(call.actor, call.url, act, found, role=role)
        return would_do(call, context, "people_act", username=chosen, act=act, held=role)
    change = Change(call.core, call.actor, _title(act, chosen, role))
    done = [effect for effect in memberships.change(call.core, call.actor, act, chosen, role=role,
                                                    reason=call["reason"], undo=change) if not effect.why_not]
    home = call.url("people")
    if any(effect.username == call.actor.username and effect.was != effect.role for effect in done):
        # The role that the address names may be gone.
        home, back = call.url("home", experiment="", role=""), ""
    else:
        back = call["back"]
    title = _title(act, [effect.username for effect in done], role) if done else "Nothing to change"
    return Done(back or home, title, data={"changed": [_plain(effect) for effect in done]}, undo=change.offer)


@routes.change("people_add", template="people.html", permission=APPOINT, arguments={
    "username": text(limit=200), "held": choice(*ROLES), "first_name": text(limit=200), "last_name": text(limit=200),
    **REASON, **BULK})
def people_add(call: Call) -> Answer:
    """Add somebody to the experiment by user name, in a role (``held``); or tell what that would do."""
    added = Added(call["username"], call["held"], call["first_name"], call["last_name"])
    try:
        if call["dry_run"]:
            effect = memberships.adding(call.core, call.actor, added)
            return would_do(call, people_pages.add_page(effect, call.url, call.actor.experiment), "people_add",
                            username=added.username, held=added.role, first_name=added.first_name,
                            last_name=added.last_name)
        change = Change(call.core, call.actor, f"Added {added.username} as {added.role}")
        effect = memberships.add(call.core, call.actor, added, reason=call["reason"], undo=change)
    except (Invalid, Conflict) as wrong:
        if call.wants != "html" or not call.identity.via_browser:
            raise
        return _typed(call, wrong)
    return Done(call["back"] or call.url("people"), f"{effect.username} is in {call.actor.experiment} now, as "
                f"{effect.role}", data={"changed": [_plain(effect)]}, undo=change.offer)


def _typed(call: Call, wrong: Invalid | Conflict) -> Answer:
    """The page again, with what was typed and what is wrong with it."""
    is_invalid = isinstance(wrong, Invalid)
    page = people_pages.people_page(call.core, call.actor, call.url)
    page["typed"] = {name: call[name] for name in page["typed"]}
    page["problems"] = list(wrong.problems) if isinstance(wrong, Invalid) else [Problem("username", str(wrong))]
    return Page(page, status=400 if is_invalid else 409)


def _title(act: str, usernames: tuple[str, ...] | list[str], role: str) -> str:
    who = usernames[0] if len(usernames) == 1 else f"{len(usernames)} people"
    have = "is" if len(usernames) == 1 else "are"
    return {"role": f"{who} {have} {role} now", "end": f"The membership of {who} has ended",
            "follow": f"The outside list decides about {who} again"}[act]


def _plain(effect: Effect) -> dict[str, Any]:
    return {"username": effect.username, "was": effect.was, "role": effect.role}
