"""Plugins, and which backend serves which experiment; the only caller of plugin code.

A backend is chosen by name in poms.ini, built at its first use and kept per experiment. Every call
of it runs on a few threads of its own per experiment and kind, with a time limit, so a failing or
hanging plugin costs its own experiment only: callers get BackendUnavailable, never an empty answer.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar, cast

import pluggy

from poms.webservice import hookspecs
from poms.webservice.bulkhead import Bulkhead
from poms.webservice.clock import utc_now
from poms.webservice.config import Settings
from poms.webservice.errors import ConfigurationError, PomsError
from poms.webservice.guarded import (
    GuardedCredentials,
    GuardedData,
    GuardedJobs,
    GuardedNotifier,
    GuardedSplit,
    GuardedTransport,
)
from poms.webservice.interfaces import (
    CheckResult,
    CredentialBackend,
    CredentialRequest,
    CredentialState,
    DataBackend,
    DatabaseOffer,
    IdentitySource,
    JobBackend,
    LaunchTransport,
    Notifier,
    Offer,
    PluginContext,
    SettingsSection,
    SplitType,
    WsgiMount,
)
from poms.webservice.rules.naming import group_of
from poms.webservice.rules.permissions import PRODUCTION

log = logging.getLogger(__name__)
Result = TypeVar("Result")

GROUP = "poms"
# The launch of a submission may take long and must not keep polls waiting: it has threads of its own.
LAUNCH = "launch"
# One step of a split makes several calls of the catalogue, each with a limit of its own.
SPLIT_CALLS = 4
# POMS' own choice of credential_backend: launches find what the launch account has.
NO_CREDENTIALS = "none"

_OFFERS = {
    "job_backend": "poms_job_backends",
    "data_backend": "poms_data_backends",
    "launch_transport": "poms_launch_transports",
    "credential_backend": "poms_credential_backends",
    "identity source": "poms_identity_sources",
    "notifier": "poms_notifiers",
}


def load_plugins(plugins: Sequence[object] | None = None, *, modules: Iterable[str] = (),
                 disabled: Iterable[str] = ()) -> pluggy.PluginManager:
    """The plugins given, or all that are installed and ``modules``; one that cannot be loaded stops the start-up."""
    manager = pluggy.PluginManager("poms")
    manager.add_hookspecs(hookspecs)
    if plugins is not None:
        for plugin in plugins:
            manager.register(plugin)
    else:
        blocked = set(disabled)
        entries = sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name)
        for entry in entries:
            if entry.name not in blocked and not manager.has_plugin(entry.name):
                _register(manager, entry.name, entry.value, entry.load)
        for module in modules:
            _register(manager, module, "[service] plugins", functools.partial(importlib.import_module, module))
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise ConfigurationError(f"a plugin implements a hook that POMS does not have: {error}") from error
    return manager


def _register(manager: pluggy.PluginManager, name: str, source: str, load: Callable[[], object]) -> None:
    try:
        manager.register(load(), name=name)
    except Exception as error:
        raise ConfigurationError(f"the plugin {name} ({source}) cannot be loaded: {type(error).__name__}: {error}; "
                                 "repair it, or list it in [service] disabled_plugins") from error


def _ask(manager: pluggy.PluginManager, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
    """Call a hook plugin by plugin, so that a failure names the plugin; (plugin, item) of all lists returned."""
    found = []
    implementations = {each.plugin_name: each for each in getattr(manager.hook, hook).get_hookimpls()}
    for name in sorted(implementations):
        each = implementations[name]
        try:
            items = list(each.function(*(arguments[argument] for argument in each.argnames)) or [])
        except PomsError:
            raise
        except Exception as error:
            raise ConfigurationError(f"the plugin {name} failed in {hook}: {type(error).__name__}: {error}; repair "
                                     "it, or list it in [service] disabled_plugins") from error
        found += [(name, item) for item in items]
    return found


def sections_of(manager: pluggy.PluginManager) -> list[SettingsSection]:
    """The sections of poms.ini that plugins declare."""
    return [section for _, section in _ask(manager, "poms_settings")]


class Backends:
    """The backends of every experiment. ``settings`` is the final reading, with the plugins' sections."""

    def __init__(self, settings: Settings, plugins: Sequence[object] | pluggy.PluginManager | None = None, *,
                 clock: Callable[[], datetime] = utc_now, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._manager = plugins if isinstance(plugins, pluggy.PluginManager) else load_plugins(
            plugins, modules=settings.service.plugins, disabled=settings.service.disabled_plugins)
        self._clock = clock
        self._monotonic = monotonic
        self.settings = settings.with_sections(sections_of(self._manager))
        self._offers = {kind: self._collect_offers(kind, hook) for kind, hook in _OFFERS.items()}
        self.split_types: Mapping[str, SplitType] = MappingProxyType(self._collect_split_types())
        self._check_choices()
        self._bulkheads: dict[tuple[str, str], Bulkhead] = {}
        self._guarded: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()
        self._identity_sources: tuple[IdentitySource, ...] | None = None

    # ------------------------------------------------------------------ what plugins offer

    def _ask(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        return _ask(self._manager, hook, **arguments)

    def _collect_offers(self, kind: str, hook: str) -> dict[str, Offer]:
        return _by_name(kind, self._ask(hook))

    def _collect_split_types(self) -> dict[str, SplitType]:
        return _by_name("split type", self._ask("poms_split_types"))

    def offered(self, kind: str) -> list[Offer]:
        """What can be chosen for ``job_backend``, ``data_backend``, ``launch_transport``, ``notifier`` and the like."""
        return sorted(self._offers[kind].values(), key=lambda offer: offer.name)

    def databases(self) -> list[DatabaseOffer]:
        """The tables of plugins; each stays below its own prefix."""
        offers = _by_name("database", self._ask("poms_databases"))
        for offer in offers.values():
            astray = sorted(name for name in offer.metadata.tables if not name.startswith(offer.prefix))
            if astray or not offer.prefix:
                raise ConfigurationError(f"the tables of the plugin database {offer.name} must begin with "
                                         f"{offer.prefix!r}: {', '.join(astray)}")
        return [offers[name] for name in sorted(offers)]

    def wsgi_mounts(self, experiments: Iterable[str]) -> list[WsgiMount]:
        """Applications that plugins serve beside the pages, each below a prefix of its own."""
        found: dict[str, WsgiMount] = {}
        for plugin, mount in self._ask("poms_wsgi_mounts", context_for=self.context_for, experiments=list(experiments)):
            if not mount.prefix.startswith("/") or mount.prefix.strip("/") in ("", "poms", "static"):
                raise ConfigurationError(f"the plugin {plugin} cannot be mounted at {mount.prefix!r}: use /word")
            if mount.prefix in found:
                raise ConfigurationError(f"two plugins want to be mounted at {mount.prefix}")
            found[mount.prefix] = mount
        return list(found.values())

    def start_checks(self, experiments: Iterable[str] = ()) -> list[CheckResult]:
        """What plugins and identity sources say of the surroundings; an ``error`` forbids the start.

        Credentials are those of the experiments in poms.ini, and of ``experiments``, which it need not name.
        """
        results = [result for _, result in self._ask("poms_start_checks", context_for=self.context_for)]
        for source in self.identity_sources():
            results += source.start_checks(self.settings.web.listen)
        results += [self._check_notifier(name) for name in self.settings.notify.channels]
        for name in dict.fromkeys([*self.settings.experiments, *experiments]):
            chosen = self.settings.experiment(name).credential_backend
            if chosen != NO_CREDENTIALS:
                results += self._check_credentials(name, chosen)
        return results

    def _check_credentials(self, experiment: str, name: str) -> list[CheckResult]:
        """Those of the experiment. A service may start without: its launches wait until there are good ones."""
        subject = f"credentials of {experiment}"
        request = CredentialRequest(experiment, group_of(experiment), PRODUCTION, "", lambda file: None)
        try:
            backend = self._build("credential_backend", experiment, name, CredentialBackend)
        except PomsError as error:
            return [CheckResult("error", subject, str(error))]
        try:
            found = backend.look(request)
        except PomsError as error:
            return [CheckResult("warning", subject, str(error))]
        return [CheckResult("warning" if state.problem else "ok", subject, state.problem or _described(state))
                for state in found]

    def _check_notifier(self, name: str) -> CheckResult:
        """A channel that cannot be made must not be noticed at the first message."""
        try:
            self._build("notifier", "", name, Notifier)
        except PomsError as error:
            return CheckResult("error", f"notifier {name}", str(error))
        return CheckResult("ok", f"notifier {name}", self._offers["notifier"][name].description)

    # ------------------------------------------------------------------- what was chosen

    def _check_choices(self) -> None:
        choices = [("experiment_defaults", self.settings.experiment_defaults)]
        choices += [(f"experiment {name}", each) for name, each in self.settings.experiments.items()]
        for section, experiment in choices:
            for key in ("job_backend", "data_backend", "launch_transport"):
                self._chosen(key, getattr(experiment, key), section)
            if experiment.credential_backend != NO_CREDENTIALS:
                self._chosen("credential_backend", experiment.credential_backend, section)
        for name in self.settings.identity.sources:
            self._chosen("identity source", name, "identity")
        for name in self.settings.notify.channels:
            self._chosen("notifier", name, "notify")
        if not self.settings.identity.sources:
            raise ConfigurationError(f"{self.settings.file}: [identity] sources is empty: nobody could ever log in")

    def _chosen(self, kind: str, name: str, section: str) -> Offer:
        offer = self._offers[kind].get(name)
        if offer is None:
            installed = ", ".join(sorted(self._offers[kind])) or "none"
            raise ConfigurationError(
                f"{self.settings.file}: [{section}]: there is no {kind} {name!r}; installed: {installed}")
        return offer

    def context_for(self, experiment: str, section: str) -> PluginContext:
        """What a plugin is given to build something for an experiment ("" = for the service)."""
        settings = self.settings
        return PluginContext(
            experiment=experiment,
            options=settings.plugin_section(section, experiment) if section else MappingProxyType({}),
            data_dir=settings.service.data_dir, database_url=settings.database.url,
            public_url=settings.service.public_url, clock=self._clock, secret=settings.secret,
        )

    def identity_sources(self) -> tuple[IdentitySource, ...]:
        """The sources in use, in the order in which they are asked; they use no network and run unguarded."""
        if self._identity_sources is None:
            self._identity_sources = tuple(
                self._build("identity source", "", name, IdentitySource) for name in self.settings.identity.sources)
        return self._identity_sources

    def jobs(self, experiment: str) -> JobBackend:
        return cast(JobBackend, self._guard(experiment, "job_backend", GuardedJobs, JobBackend))

    def data(self, experiment: str) -> DataBackend:
        return cast(DataBackend, self._guard(experiment, "data_backend", GuardedData, DataBackend))

    def transport(self, experiment: str) -> LaunchTransport:
        return cast(LaunchTransport, self._guard(experiment, "launch_transport", GuardedTransport, LaunchTransport))

    def credentials(self, experiment: str) -> CredentialBackend | None:
        """Where launches of an experiment get credentials from; None: from nowhere."""
        if self.settings.experiment(experiment).credential_backend == NO_CREDENTIALS:
            return None
        return cast(CredentialBackend, self._guard(experiment, "credential_backend", GuardedCredentials,
                                                   CredentialBackend))

    def notifier(self, name: str) -> Notifier:
        """A channel by which people are told; it belongs to the service, not to an experiment."""
        with self._lock:
            found = self._guarded.get((name, "notifier"))
        if found is None:
            self._chosen("notifier", name, "notify")
            made = GuardedNotifier(lambda: self._build("notifier", "", name, Notifier),
                                   self.bulkhead("", f"notifier {name}"))
            with self._lock:
                found = self._guarded.setdefault((name, "notifier"), made)
        return cast(Notifier, found)

    def split(self, experiment: str, name: str) -> SplitType:
        """A split type, bounded like every other plugin; raises ConfigurationError for an unknown name."""
        split_type = self.split_types.get(name)
        if split_type is None:
            raise ConfigurationError(f"there is no split type {name!r}; installed: "
                                     f"{', '.join(sorted(self.split_types)) or 'none'}")
        return cast(SplitType, GuardedSplit(split_type, self.bulkhead(experiment, "split")))

    # ------------------------------------------------------------------------- isolation

    def bulkhead(self, experiment: str, kind: str) -> Bulkhead:
        """The threads on which calls of one kind run for one experiment, and nothing else does."""
        with self._lock:
            if (experiment, kind) not in self._bulkheads:
                chosen = self.settings.experiment(experiment)
                workers, limit = chosen.backend_workers, chosen.backend_timeout_seconds
                if kind in (LAUNCH, "launch_transport"):
                    workers = max(workers, self.settings.agent.launch_workers)
                if kind == "split":
                    limit *= SPLIT_CALLS
                self._bulkheads[experiment, kind] = Bulkhead(
                    f"{kind.replace('_', ' ')} of {experiment or 'the service'}", workers=workers,
                    timeout_seconds=limit, monotonic=self._monotonic)
            return self._bulkheads[experiment, kind]

    def close(self) -> None:
        """End the threads that wait for calls; for programs that make several of these, such as tests."""
        with self._lock:
            bulkheads = list(self._bulkheads.values())
        for bulkhead in bulkheads:
            bulkhead.close()

    def call(self, experiment: str, kind: str, function: Callable[[], Result],
             timeout_seconds: float | None = None) -> Result:
        """Run ``function`` on the threads of (experiment, kind); see ``Bulkhead.call``."""
        return self.bulkhead(experiment, kind).call(function, timeout_seconds=timeout_seconds, what=kind)

    def _guard(self, experiment: str, kind: str, guard: Callable[..., Any], protocol: type) -> Any:
        with self._lock:
            found = self._guarded.get((experiment, kind))
        if found is not None:
            return found
        name = getattr(self.settings.experiment(experiment), kind)
        bulkhead = self.bulkhead(experiment, kind)
        extra: dict[str, Any] = {}
        if kind == "job_backend":
            extra["launch"] = self.bulkhead(experiment, LAUNCH)
        elif kind == "launch_transport":
            extra["most_output_bytes"] = self.settings.agent.max_output_bytes
        made = guard(lambda: self._build(kind, experiment, name, protocol), bulkhead, **extra)
        with self._lock:
            return self._guarded.setdefault((experiment, kind), made)

    def _build(self, kind: str, experiment: str, name: str, protocol: type) -> Any:
        offer = self._offers[kind][name]
        made = offer.factory(self.context_for(experiment, offer.section))
        if not isinstance(made, protocol):
            members = [*vars(protocol), *inspect.get_annotations(protocol)]
            lacking = [each for each in members if not each.startswith("_") and not hasattr(made, each)]
            raise ConfigurationError(f"the {kind} {name} lacks {', '.join(lacking)}: it is no {protocol.__name__}")
        log.info("backend built", extra={"experiment": experiment, "kind": kind, "backend": name})
        return made


def _described(state: CredentialState) -> str:
    until = f"good until {state.expires_at:%Y-%m-%d %H:%M} UTC" if state.expires_at else ""
    return f"{state.kind} of {state.whose}: {', '.join(part for part in (until, state.note) if part) or 'there'}"


def _by_name(kind: str, offers: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for plugin, offer in offers:
        if offer.name in found:
            raise ConfigurationError(f"the {kind} {offer.name!r} is offered twice, by the plugins "
                                     f"{owners[offer.name]} and {plugin}; list one in [service] disabled_plugins")
        found[offer.name], owners[offer.name] = offer, plugin
    return found
