"""The shift board, search, agents, and where a person acts."""

from __future__ import annotations

from poms.webservice.errors import Invalid
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Elsewhere, Page
from poms.webservice.handlers.params import choice, text
from poms.webservice.handlers.routing import Known, Need, Routes
from poms.webservice.services import lookups, people
from poms.webservice.services.pages import home as home_pages
from poms.webservice.services.pages import launches as launch_pages

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


@routes.answer("search", permission=VIEW, words=("quick_search",), arguments={"search_term": text(limit=200)})
def search(call: Call) -> Answer:
    """Straight to the submission that is meant, else the campaigns whose names fit."""
    wanted = call["search_term"]
    found = lookups.find_submission_id(call.core, call.actor.experiment, wanted)
    if call.wants == "json":
        return Data({"submission_id": found})
    if found is not None:
        return Elsewhere(call.url("submission", submission_id=found))
    return Elsewhere(call.url("campaigns", view="all", text=wanted.replace("*", " ").strip()))


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
