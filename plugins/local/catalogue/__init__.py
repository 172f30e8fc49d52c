"""The embedded file catalogue: offered as data backend ``local``, and to jobs as SAM's HTTP API at ``/sam``.

Only the hooks. ``backend`` is what services call, ``web`` what jobs and the samweb client call; both use
``files``, ``datasets`` and ``projects`` on the tables of ``tables``, and ``compiler`` for queries.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import DatabaseOffer, Offer, PluginContext, Setting, SettingsSection, WsgiMount

from . import tables
from .backend import PREFIX, SECTION, LocalCatalogue
from .web import CatalogueApplication


@hookimpl
def poms_settings() -> list[SettingsSection]:
    return [SettingsSection(SECTION, "The embedded file catalogue (data_backend = local).", (
        Setting("query_limit_seconds", "seconds", "60s", "A query that takes longer is refused."),
        Setting("max_body_bytes", "int", "16777216", "Largest request that jobs may send to the catalogue."),
    ))]


@hookimpl
def poms_data_backends() -> list[Offer]:
    return [Offer("local", "File catalogue in POMS' own database, with SAM's queries and SAM's HTTP API for jobs.",
                  LocalCatalogue, SECTION)]


@hookimpl
def poms_databases() -> list[DatabaseOffer]:
    return [DatabaseOffer("local_catalogue", tables.PREFIX, tables.metadata,
                          Path(__file__).resolve().parent / "migrations" / "versions")]


@hookimpl
def poms_wsgi_mounts(context_for: Callable[[str, str], PluginContext], experiments: list[str]) -> list[WsgiMount]:
    contexts = {experiment: context_for(experiment, SECTION) for experiment in experiments}
    return [WsgiMount(PREFIX, CatalogueApplication(contexts), "SAM's HTTP API of the local file catalogue, for jobs")]
