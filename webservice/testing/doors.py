"""A server as its clients see it, in this process: requests by HTTP, a commit at which it dies, another that it loses.

Not for what pages look like. Invariant: an answer that is not a success acknowledges nothing, and one that fails
although nothing was broken is kept in ``troubles``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webtest import TestApp

from poms.webservice import app
from poms.webservice.services.core import Core
from poms.webservice.testing.faults import Died, MortalDatabase

SETTINGS = """
[identity]
sources = proxy
"""
"""What the service of such a server needs in its poms.ini, with the plugin ``proxy_identity``."""


class Door:
    """One server on a database of its own that can die; people with certificates come to it."""

    def __init__(self, core: Core, database: MortalDatabase) -> None:
        self.database = database
        self.troubles: list[str] = []
        self._secret = core.settings.secret("identity_proxy")
        self._client = TestApp(app.build(core), lint=False,
                               extra_environ={"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "poms.example.org"})

    def post(self, username: str, place: str, word: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the server answers to a form, or None if it did not say that it was done."""
        broken = self.database.deaths + self.database.cuts
        headers = {"X-Shib-Userid": username, "X-Poms-Proxy-Secret": self._secret,
                   "X-Poms-Auth-Method": "certificate", "Accept": "application/json"}
        try:
            answer = self._client.post(f"/poms/{word}/{place}", dict(fields), headers=headers, status="*")
        except Died:
            return None
        unexpected = answer.status_int >= 500 and answer.status_int != 503
        if unexpected and broken == self.database.deaths + self.database.cuts:
            self.troubles.append(f"{word} {dict(fields)} was answered with {answer.status}: {answer.text[:300]}")
        if answer.status_int != 200:
            return None
        return answer.json if answer.content_type == "application/json" else {}
