"""Credentials of launches from files: X.509 proxies, bearer tokens, vault tokens, the experiment's or the launcher's.

Not for logging people in. Invariant: what a file holds leaves this package as a file for the launch host only; states,
messages and command lines tell places, ages and groups.
"""

from __future__ import annotations

from poms.plugins.credentials.backend import FileCredentials
from poms.plugins.credentials.options import SECTION
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import Offer, SettingsSection


@hookimpl
def poms_settings() -> list[SettingsSection]:
    return [SECTION]


@hookimpl
def poms_credential_backends() -> list[Offer]:
    return [Offer("file", "proxies and tokens in files of the service, or uploaded by people", FileCredentials,
                  section=SECTION.name)]
