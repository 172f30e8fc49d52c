"""The verbs of a client about the people of an experiment: who there is, who is added, given a role, sent away.

A part of ``calls.Client``. What the server refuses is raised as the condition that it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from poms.webservice.client.connection import Connection


class People:
    """Methods on a ``connection``; people are named by their user names."""

    connection: Connection

    def people(self, *, fitting: str = "", ended: bool = False) -> list[dict[str, Any]]:
        """Everybody in the experiment, by user name; ``ended``: also those who left."""
        fields = {"view": "all" if ended else "members", "export": "json", **({"text": fitting} if fitting else {})}
        return list(self.connection.json("people", fields, method="GET")["rows"])

    def person(self, username: str) -> dict[str, Any]:
        """One person, and in ``history`` every change of the role."""
        return dict(self.connection.json("person", {"username": username, "fmt": "json"}, method="GET"))

    def add_person(self, username: str, held: str, *, first_name: str = "", last_name: str = "",
                   reason: str = "") -> list[dict[str, Any]]:
        """Add somebody in a role; what changed."""
        return list(self.connection.json("people_add", {
            "username": username, "held": held, "first_name": first_name, "last_name": last_name, "reason": reason,
            "fmt": "json"})["changed"])

    def change_people(self, act: str, usernames: Sequence[str], *, held: str = "",
                      reason: str = "") -> list[dict[str, Any]]:
        """What changed; who was so already is not among them.

        ``act``: role, with the role ``held``; end, of memberships; follow, so that the outside list decides again.
        """
        return list(self.connection.json("people_act", {
            "act": act, "username": list(usernames), "held": held, "reason": reason, "fmt": "json"})["changed"])
