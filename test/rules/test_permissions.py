"""The rights matrix: every role, action, owner role and owner; anything not granted is refused."""

from __future__ import annotations

from itertools import product

import pytest

from poms.webservice.rules.permissions import (
    ANALYSIS,
    PRODUCTION,
    ROLES,
    SHIFTER,
    SUPERUSER,
    Actor,
    acting_roles,
    launch_host_refusal,
    refusal,
)

ME, OTHER = 1, 2
ACTIONS = ("view", "modify", "do", "create", "appoint", "administer")

# What is granted: (role, action) -> {(owner role, own or other's)}. Everything else is refused.
ANYBODYS = {(role, who) for role in (ANALYSIS, PRODUCTION) for who in (ME, OTHER)}
GRANTED = {
    (ANALYSIS, "view"): ANYBODYS,
    (ANALYSIS, "modify"): {(ANALYSIS, ME)},
    (ANALYSIS, "do"): {(ANALYSIS, ME)},
    (ANALYSIS, "create"): {(ANALYSIS, ME)},
    (SHIFTER, "view"): ANYBODYS,
    (SHIFTER, "do"): {(PRODUCTION, ME), (PRODUCTION, OTHER)},
    (PRODUCTION, "view"): ANYBODYS,
    (PRODUCTION, "modify"): {(PRODUCTION, ME), (PRODUCTION, OTHER)},
    (PRODUCTION, "do"): ANYBODYS,
    (PRODUCTION, "create"): {(PRODUCTION, ME)},
    (SUPERUSER, "view"): ANYBODYS,
    (SUPERUSER, "modify"): ANYBODYS,
    (SUPERUSER, "do"): ANYBODYS,
    (SUPERUSER, "create"): {(PRODUCTION, ME)},
    (SUPERUSER, "appoint"): ANYBODYS,
}


def _actor(role, root=False):
    return Actor(ME, "ann", "samdev", role, is_root=root)


@pytest.mark.parametrize(("role", "action", "owner_role", "owner"),
                         list(product(ROLES, ACTIONS, (ANALYSIS, PRODUCTION), (ME, OTHER))))
def test_the_whole_matrix(role, action, owner_role, owner):
    """Exactly what the matrix grants is granted."""
    granted = (owner_role, owner) in GRANTED.get((role, action), set())

    answer = refusal(_actor(role), action, owner_role=owner_role, owner_id=owner)

    assert (answer is None) == granted
    assert answer is None or len(answer) > 10


@pytest.mark.parametrize(("role", "action"), list(product(ROLES, ACTIONS)))
def test_rights_in_general(role, action):
    """Without an item the question is whether the role may do this at all."""
    assert (refusal(_actor(role), action) is None) == bool(GRANTED.get((role, action)))


@pytest.mark.parametrize(("role", "action", "owner_role", "owner"),
                         list(product(ROLES, ACTIONS, (ANALYSIS, PRODUCTION), (ME, OTHER))))
def test_administrators(role, action, owner_role, owner):
    """An administrator may do everything as superuser; in a lesser role only administration is added."""
    granted = (role == SUPERUSER or action == "administer"
               or (owner_role, owner) in GRANTED.get((role, action), set()))

    assert (refusal(_actor(role, root=True), action, owner_role=owner_role, owner_id=owner) is None) == granted


@pytest.mark.parametrize(("role", "action"), [("", "view"), ("Superuser", "view"), ("root", "do"), (None, "view"),
                                              (ANALYSIS, ""), (SUPERUSER, "delete everything"), (PRODUCTION, "View")])
def test_what_is_not_listed_is_refused(role, action):
    """Unknown roles and actions give no right."""
    assert refusal(_actor(role), action, owner_role=PRODUCTION, owner_id=ME) is not None


def test_an_item_without_owner_is_nobodys_own():
    """Where only one's own items are granted, an item of unknown owner is refused."""
    assert refusal(_actor(ANALYSIS), "modify", owner_role=ANALYSIS, owner_id=None) is not None


@pytest.mark.parametrize(("held", "roles"), [
    (ANALYSIS, {ANALYSIS}), (SHIFTER, {ANALYSIS, SHIFTER}), (PRODUCTION, {ANALYSIS, SHIFTER, PRODUCTION}),
    (SUPERUSER, set(ROLES)), ("", set()), ("Production", set()),
])
def test_roles_that_a_person_may_act_in(held, roles):
    """A role includes the lesser ones; an unknown one gives none."""
    assert set(acting_roles(held, is_root=False)) == roles
    assert set(acting_roles(held, is_root=True)) == set(ROLES)


@pytest.mark.parametrize(("role", "made_as"), [(ANALYSIS, ANALYSIS), (SHIFTER, PRODUCTION), (PRODUCTION, PRODUCTION),
                                               (SUPERUSER, PRODUCTION)])
def test_what_is_made_belongs_to_a_role(role, made_as):
    """Only what an analysis user makes belongs to the analysis role."""
    assert _actor(role).creator_role == made_as


@pytest.mark.parametrize(("vo_role", "host", "creator_role", "allowed"), [
    ("Analysis", "analysis01.example.org", ANALYSIS, True),
    ("analysis", "analysis01.example.org", ANALYSIS, True),
    ("Analysis", "analysis01.example.org.evil.com", ANALYSIS, False),
    ("Analysis", "analysis01", ANALYSIS, False),
    ("Analysis", "novagpvm01.example.org", ANALYSIS, False),
    ("Production", "analysis01.example.org", ANALYSIS, False),
    ("Production", "novagpvm01.example.org", ANALYSIS, False),
    ("Production", "novagpvm01.example.org", PRODUCTION, True),
    ("Production", "analysis01.example.org", PRODUCTION, False),
    ("Analysis", "novagpvm01.example.org", PRODUCTION, False),
])
def test_where_a_stage_may_be_launched(vo_role, host, creator_role, allowed):
    """Analysis runs on the hosts set aside for it and nowhere else; host names are compared whole."""
    answer = launch_host_refusal(vo_role, host, experiment="nova", creator_role=creator_role,
                                 analysis_hosts=("analysis01.example.org",))

    assert (answer is None) == allowed
