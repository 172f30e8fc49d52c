"""Memberships: what becomes of one when a person decides, and when an outside list of members speaks.

Pure. Who may decide is for ``permissions``. A role "" means that somebody is no member.
Invariant: what a person decided here stays until a person decides again, whatever an outside list says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from poms.webservice.rules.permissions import ANALYSIS, PRODUCTION, SHIFTER, SUPERUSER

ROLE_WORDS = {
    ANALYSIS: "sees everything, and makes and launches campaigns of his or her own",
    SHIFTER: "sees everything, and launches, holds and releases what production made",
    PRODUCTION: "makes, changes and launches the campaigns of production",
    SUPERUSER: "changes every campaign, and says who is in the experiment and in which role",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How somebody stands in an experiment. ``source``: the outside list that names this person, "" if none does.

    ``source_role`` is what that list said last; ``kept``: a person decided otherwise here, so the list changes nothing.
    """

    role: str = ""
    source: str = ""
    source_role: str = ""
    kept: bool = False


def decided(now: Standing, role: str) -> Standing:
    """A person gives this role, or takes the membership away."""
    return replace(now, role=role, kept=bool(now.source) and role != now.source_role)


def listed(now: Standing | None, source: str, role: str, *, by_hand: bool) -> Standing:
    """An outside list says what somebody is. ``by_hand``: a person decided about this membership before."""
    if now is None:
        return Standing(role, source, role)
    # A list that speaks of somebody for the first time does not overrule the person who was quicker.
    kept = now.kept or (not now.source and by_hand and role != now.role)
    return Standing(now.role if kept else role, source, role, kept)


def followed(now: Standing) -> Standing:
    """A person wants what the outside list says."""
    return replace(now, role=now.source_role, kept=False) if now.source else now


def change_words(was: str, role: str) -> str:
    """A change of role in words: ``analysis → production``."""
    return f"{was or 'no member'} → {role or 'no member'}"
