"""Every hook of POMS; nothing else.

Hooks offer things at start-up; the objects they offer (``interfaces``) do the work and
``poms.ini`` chooses among them by name. A plugin is a module, or object, registered as an entry
point in the group ``poms``. An exception in a hook stops the start-up: a misconfigured plugin must
not be noticed at the first launch.
"""

from __future__ import annotations

from collections.abc import Callable

import pluggy

from poms.webservice.interfaces import (
    CheckResult,
    DatabaseOffer,
    Offer,
    PluginContext,
    SettingsSection,
    SplitType,
    WsgiMount,
)

hookspec = pluggy.HookspecMarker("poms")
hookimpl = pluggy.HookimplMarker("poms")


@hookspec
def poms_settings() -> list[SettingsSection]:
    """Declare sections of poms.ini that the plugin reads.

    Keys that nobody declared are warned about; declared ones are converted and documented.
    """


@hookspec
def poms_job_backends() -> list[Offer]:
    """Offer batch systems (factories of ``JobBackend``), chosen by ``job_backend`` of an experiment."""


@hookspec
def poms_data_backends() -> list[Offer]:
    """Offer file catalogues (factories of ``DataBackend``), chosen by ``data_backend`` of an experiment."""


@hookspec
def poms_launch_transports() -> list[Offer]:
    """Offer ways to run launch scripts (factories of ``LaunchTransport``), chosen by ``launch_transport``."""


@hookspec
def poms_credential_backends() -> list[Offer]:
    """Offer sources of credentials (factories of ``CredentialBackend``), chosen by ``credential_backend``.

    The name ``none`` is POMS' own: launches then find what the launch account has.
    """


@hookspec
def poms_identity_sources() -> list[Offer]:
    """Offer ways to know the sender of a request (factories of ``IdentitySource``).

    ``[identity] sources`` lists those in use, in the order in which they are asked. The
    experiment in their context is empty: identity is the service's, not an experiment's.
    """


@hookspec
def poms_notifiers() -> list[Offer]:
    """Offer channels by which people are told (factories of ``Notifier``); ``[notify] channels`` lists those in use.

    Their context has no experiment: a person has one address, whatever the experiment.
    """


@hookspec
def poms_split_types() -> list[SplitType]:
    """Offer split types. Two plugins offering one name stop the start-up."""


@hookspec
def poms_databases() -> list[DatabaseOffer]:
    """Offer tables that the plugin keeps in the service's database, with their migrations."""


@hookspec
def poms_wsgi_mounts(context_for: Callable[[str, str], PluginContext], experiments: list[str]) -> list[WsgiMount]:
    """Offer WSGI applications that the web server mounts beside the pages.

    ``context_for(experiment, section)`` gives the same context that backends are built with.
    """


@hookspec
def poms_start_checks(context_for: Callable[[str, str], PluginContext]) -> list[CheckResult]:
    """Look at the surroundings before the service starts; ``poms check`` prints the results."""
