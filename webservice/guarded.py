"""Stand-ins for backends whose every method runs in a bulkhead; made by ``backends`` only.

They know how each method may be bounded: most have the usual limit, launches bring their own,
lists are drawn up within the limit, logs are read piece by piece. A submit that was begun and
not answered is ``unclear``, whatever the plugin did.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from poms.webservice.bulkhead import Bulkhead, NotBegun
from poms.webservice.errors import BackendUnavailable
from poms.webservice.interfaces import (
    CredentialBackend,
    DataBackend,
    JobBackend,
    LaunchFiles,
    LaunchPlan,
    LaunchTransport,
    Notifier,
    SplitType,
    StopSignal,
    SubmitOutcome,
    TransportResult,
)

# Beyond its own limit a launch needs time to end its processes and to report.
LAUNCH_MARGIN_SECONDS = 30.0

_END = object()


class _Guarded:
    """A backend that is built at its first call, inside the bulkhead: factories may hang as well."""

    def __init__(self, build: Callable[[], Any], bulkhead: Bulkhead) -> None:
        self._build = build
        self._bulkhead = bulkhead
        self._building = threading.Lock()
        self._built: Any = None

    def _target(self) -> Any:
        with self._building:
            if self._built is None:
                self._built = self._build()
            return self._built

    def _call(self, method: str, arguments: tuple[Any, ...], keywords: dict[str, Any], *,
              bulkhead: Bulkhead | None = None, timeout_seconds: float | None = None, drawn_up: bool = False) -> Any:
        def run() -> Any:
            answer = getattr(self._target(), method)(*arguments, **keywords)
            return list(answer) if drawn_up else answer

        return (bulkhead or self._bulkhead).call(run, what=method, timeout_seconds=timeout_seconds)

    def _attribute(self, name: str) -> Any:
        """A plain attribute of the backend; the first look may build it, so it is bounded too."""
        return self._bulkhead.call(lambda: getattr(self._target(), name), what=name)

    def _stream(self, method: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Iterator[Any]:
        """The pieces of an iterator, each within the limit; the first is fetched at once, to fail early."""
        pieces = iter(self._call(method, arguments, keywords))

        def fetch() -> Any:
            return self._bulkhead.call(lambda: next(pieces, _END), what=method)

        return _pieces(fetch(), fetch, getattr(pieces, "close", None))


def _pieces(piece: Any, fetch: Callable[[], Any], close: Callable[[], None] | None) -> Iterator[Any]:
    try:
        while piece is not _END:
            yield piece
            piece = fetch()
    except GeneratorExit:
        # The reader went away between two pieces: nothing is running, so the source can be closed here.
        if close:
            close()
        raise


def _usual(method: str, *, drawn_up: bool = False) -> Callable[..., Any]:
    def guarded(self: _Guarded, *arguments: Any, **keywords: Any) -> Any:
        answer = self._call(method, arguments, keywords, drawn_up=drawn_up)
        return iter(answer) if drawn_up else answer

    guarded.__name__ = method
    return guarded


def _usual_attribute(name: str) -> property:
    """A fact about the backend, such as its pool; knowing it may need building it."""

    def read(self: _Guarded) -> Any:
        if self._built is not None:
            return getattr(self._built, name)
        return self._bulkhead.call(lambda: getattr(self._target(), name), what=name)

    return property(read)


def _with_usual_members(protocol: type, *, drawn_up: tuple[str, ...] = (),
                        own: tuple[str, ...] = ()) -> Callable[[type], type]:
    """Add every member of the protocol that the class does not treat itself (``own``: set by its constructor)."""

    def add(cls: type) -> type:
        for name, member in vars(protocol).items():
            if callable(member) and not name.startswith("_") and name not in vars(cls):
                setattr(cls, name, _usual(name, drawn_up=name in drawn_up))
        for name in inspect.get_annotations(protocol):
            if name not in own:
                setattr(cls, name, _usual_attribute(name))
        return cls

    return add


@_with_usual_members(JobBackend)
class GuardedJobs(_Guarded):
    """A ``JobBackend``; submitting has threads of its own, so that polls never wait for launches."""

    def __init__(self, build: Callable[[], Any], bulkhead: Bulkhead, *, launch: Bulkhead) -> None:
        super().__init__(build, bulkhead)
        self._launch = launch

    @property
    def pool(self) -> str:
        return self._attribute("pool")

    def submit(self, plan: LaunchPlan, script: str, transport: LaunchTransport, log: BinaryIO,
               timeout_seconds: float) -> SubmitOutcome:
        """Raises BackendUnavailable only if nothing was begun; after that, doubt is ``unclear``."""
        try:
            return self._call("submit", (plan, script, transport, log, timeout_seconds), {}, bulkhead=self._launch,
                              timeout_seconds=timeout_seconds + LAUNCH_MARGIN_SECONDS)
        except NotBegun:
            raise
        except BackendUnavailable as error:
            return SubmitOutcome("unclear", message=str(error))

    def fetch_log(self, batch_id: str, which: str) -> Iterator[bytes]:
        return self._stream("fetch_log", (batch_id, which), {})


@_with_usual_members(DataBackend, drawn_up=("file_states", "output_files"))
class GuardedData(_Guarded):
    """A ``DataBackend``."""


@_with_usual_members(LaunchTransport)
class GuardedTransport(_Guarded):
    """A ``LaunchTransport``; a launch may never print more than ``most_output_bytes``, whatever a back end allows."""

    def __init__(self, build: Callable[[], Any], bulkhead: Bulkhead, *, most_output_bytes: int) -> None:
        super().__init__(build, bulkhead)
        self._most_output_bytes = most_output_bytes

    @property
    def dies_with_caller(self) -> bool:
        return self._attribute("dies_with_caller")

    def run(self, host: str, account: str, script: str, *, log: BinaryIO, timeout_seconds: float,
            max_output_bytes: int, stop: StopSignal | None = None, files: LaunchFiles | None = None
            ) -> TransportResult:
        """Raises BackendUnavailable only if nothing was started; a run that was given up, or broke, is in doubt."""
        more: dict[str, Any] = {} if stop is None else {"stop": stop}
        if files is not None:
            more["files"] = files

        def attempt() -> TransportResult | BackendUnavailable:
            try:
                return self._target().run(host, account, script, log=log, timeout_seconds=timeout_seconds,
                                          max_output_bytes=min(max_output_bytes, self._most_output_bytes), **more)
            except BackendUnavailable as not_started:
                return not_started

        try:
            answer = self._bulkhead.call(attempt, what="run", timeout_seconds=timeout_seconds + LAUNCH_MARGIN_SECONDS)
        except NotBegun:
            raise
        except BackendUnavailable as doubt:
            return TransportResult(None, "", str(doubt))
        if isinstance(answer, BackendUnavailable):
            raise answer
        return answer


@_with_usual_members(CredentialBackend)
class GuardedCredentials(_Guarded):
    """A ``CredentialBackend``."""


@_with_usual_members(Notifier)
class GuardedNotifier(_Guarded):
    """A ``Notifier``."""


@_with_usual_members(SplitType, own=("name", "description", "parameters", "editor"))
class GuardedSplit(_Guarded):
    """A ``SplitType``; name, description, parameters and editor are read directly, they do nothing."""

    def __init__(self, split_type: SplitType, bulkhead: Bulkhead) -> None:
        super().__init__(lambda: split_type, bulkhead)
        self.name = split_type.name
        self.description = split_type.description
        self.parameters = split_type.parameters
        self.editor = split_type.editor
