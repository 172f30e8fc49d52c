"""The rights matrix as data, and the one function that decides.

An ``Actor`` is who acts, in which experiment and role; it never changes during a request.
Items are always loaded within the actor's experiment, so this decides only what the role may do to an
item of that experiment. Anything not listed is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ANALYSIS, SHIFTER, PRODUCTION, SUPERUSER = "analysis", "production-shifter", "production", "superuser"
ROLES = (ANALYSIS, SHIFTER, PRODUCTION, SUPERUSER)

Action = Literal["view", "modify", "do", "create", "appoint", "administer"]
"""``do``: launch, hold, release, remove, report. ``appoint``: say who is in the experiment, and in which role.
``administer``: the service itself, root only."""

# Which roles a person may act in, given the role held.
MAY_ACT_AS: dict[str, tuple[str, ...]] = {
    ANALYSIS: (ANALYSIS,),
    SHIFTER: (ANALYSIS, SHIFTER),
    PRODUCTION: (ANALYSIS, SHIFTER, PRODUCTION),
    SUPERUSER: ROLES,
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a known person in one role of one experiment. ``is_machine``: the agent, or a job's report."""

    experimenter_id: int
    username: str
    experiment: str
    role: str
    is_root: bool = False
    is_machine: bool = False

    @property
    def creator_role(self) -> str:
        """The role that things made by this actor belong to."""
        return ANALYSIS if self.role == ANALYSIS else PRODUCTION


# (acting role, action) -> owner roles whose items it covers; "own" limits to items the actor made.
_MATRIX: dict[tuple[str, str], tuple[tuple[str, ...], str]] = {
    (ANALYSIS, "view"): ((ANALYSIS, PRODUCTION), "any"),
    (ANALYSIS, "modify"): ((ANALYSIS,), "own"),
    (ANALYSIS, "do"): ((ANALYSIS,), "own"),
    (ANALYSIS, "create"): ((ANALYSIS,), "own"),
    (SHIFTER, "view"): ((ANALYSIS, PRODUCTION), "any"),
    (SHIFTER, "do"): ((PRODUCTION,), "any"),
    (PRODUCTION, "view"): ((ANALYSIS, PRODUCTION), "any"),
    (PRODUCTION, "modify"): ((PRODUCTION,), "any"),
    (PRODUCTION, "do"): ((ANALYSIS, PRODUCTION), "any"),
    (PRODUCTION, "create"): ((PRODUCTION,), "own"),
    (SUPERUSER, "view"): ((ANALYSIS, PRODUCTION), "any"),
    (SUPERUSER, "modify"): ((ANALYSIS, PRODUCTION), "any"),
    (SUPERUSER, "do"): ((ANALYSIS, PRODUCTION), "any"),
    (SUPERUSER, "create"): ((PRODUCTION,), "own"),
    (SUPERUSER, "appoint"): ((ANALYSIS, PRODUCTION), "any"),
}


def refusal(actor: Actor, action: Action, *, owner_role: str | None = None,
            owner_id: int | None = None) -> str | None:
    """Why ``actor`` may not, in one sentence; None if it may.

    Without an owner role the question is about the kind of action in general (a list, a new item).
    """
    if action == "administer":
        return None if actor.is_root else "Only an administrator of this service may do this."
    if actor.is_root and actor.role == SUPERUSER:
        return None
    entry = _MATRIX.get((actor.role, action))
    if entry is None:
        return f"The role {actor.role} may not do this."
    owner_roles, whose = entry
    if owner_role is None:
        return None
    if owner_role not in owner_roles:
        return f"Must be acting as {owner_role}, not {actor.role}, to do this."
    if whose == "own" and owner_id != actor.experimenter_id:
        return "Only the person who made this may do this."
    return None


def acting_roles(role_held: str, is_root: bool) -> tuple[str, ...]:
    """The roles a person may act in; root may act in all, in every experiment."""
    return ROLES if is_root else MAY_ACT_AS.get(role_held, ())


def launch_host_refusal(vo_role: str, host: str, *, experiment: str, creator_role: str,
                        analysis_hosts: tuple[str, ...] | list[str]) -> str | None:
    """Why a stage may not be launched on a host; host names are compared whole.

    A stage made by an analysis user runs as Analysis, on the hosts set aside for it, and nowhere else.
    """
    role = vo_role.lower()
    if creator_role == ANALYSIS and role != ANALYSIS:
        return f"Not Authorized: a stage made in the analysis role must have vo_role Analysis, not {vo_role}."
    if role == ANALYSIS and host not in analysis_hosts:
        return f"Not Authorized: {host} is not an analysis launch node for {experiment}."
    if role == PRODUCTION and host in analysis_hosts and experiment not in host and experiment != "samdev":
        return f"Not Authorized: {host} is not an {experiment} experiment node."
    return None
