"""The shift board, search, agents, and where a person acts."""

from __future__ import annotations

from poms.webservice.errors import Invalid
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Elsewhere, Page
from poms.webservice.handlers.params import choice, text
from poms.webservice.handlers.routing import Known, Need, Routes
from poms.webservice.rules.statuses import MEANINGS, Status
from poms.webservice.services import people
from poms.webservice.services.pages import home as home_pages
from poms.webservice.services.pages import launches as launch_pages
from poms.webservice.services.pages import search as search_pages

routes = Routes()
VIEW = Need("view", "experiment")


@routes.page("home", "home.html", permission=VIEW, words=("index",), live_seconds=10,
             arguments={"scope": choice("all", "mine")})
def home(call: Call) -> Answer:
    """What needs a person, and what runs without one."""
    return Page(home_pages.home(call.core, call.actor, call.url, scope=call["scope"]))


@routes.page("agents", "agents.html", permission=VIEW, live_seconds=10)
def agents(call: Call) -> Answer:
    """How the service is."""
    return Page(launch_pages.agents_page(call.core, call.actor))


@routes.page("help", "help.html", permission=VIEW)
def help_page(call: Call) -> Answer:
    """What the pages are for, what the shapes mean, which keys there are."""
    return Page({"states": [{"state": status.label, "text": MEANINGS[status]} for status in Status]})


@routes.page("search", "search.html", permission=VIEW, words=("quick_search",),
             arguments={"search_term": text(limit=200)})
def search(call: Call) -> Answer:
    """Straight to what is meant if that is beyond doubt, else everything that fits."""
    found = search_pages.search_page(call.core, call.actor, call.url, call["search_term"])
    if call.wants == "json":
        return Data(found)
    return Elsewhere(found["straight"]) if found["straight"] else Page(found)


@routes.change("update_session_experiment", permission=Known("everybody may change to an experiment of their own"),
               arguments={"session_experiment": text(required=True, limit=64)})
def update_session_experiment(call: Call) -> Answer:
    """Act in another experiment from now on; the role is lowered if it must be."""
    return _changed(call, people.save_session(call.core, call.person, experiment=call["session_experiment"]))


@routes.change("update_session_role", permission=Known("everybody may change to a role of their own"),
               arguments={"session_role": text(required=True, limit=64)})
def update_session_role(call: Call) -> Answer:
    """Act in another role from now on."""
    if not call.actor.experiment:
        raise Invalid("Choose an experiment first.", field="session_experiment")
    return _changed(call, people.save_session(call.core, call.person, experiment=call.actor.experiment,
                                              role=call["session_role"]))


def _changed(call: Call, actor: people.Actor) -> Answer:
    return Done(call.url("home", experiment=actor.experiment, role=actor.role),
                f"You act as {actor.role} in {actor.experiment}",
                data={"experiment": actor.experiment, "role": actor.role})
