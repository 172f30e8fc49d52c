"""From a request to its answer: who, from where, what, whether allowed, done, shown. In this order.

The only place that knows CherryPy's request and response. A handler is called when everything was
checked; every exception ends here (``failures``). Identity is settled before a body is read.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import Any

import cherrypy
from jinja2 import Environment

from poms.webservice.errors import NotAllowed, NotAuthenticated, NotFound
from poms.webservice.handlers import origin, params, render
from poms.webservice.handlers.answers import (
    Answer,
    Call,
    Data,
    Done,
    Elsewhere,
    Message,
    Page,
    Rows,
    Stored,
    Text,
    Undo,
    Wanted,
)
from poms.webservice.handlers.body import read_form
from poms.webservice.handlers.changes import ChangeFeed, scope_of
from poms.webservice.handlers.facts import facts_of
from poms.webservice.handlers.failures import Failure, MethodNotAllowed, document_of, failure_of, plain_failure
from poms.webservice.handlers.origin import Sessions
from poms.webservice.handlers.routing import MOUNT, Known, Match, Route, Router
from poms.webservice.handlers.static_files import StaticFiles
from poms.webservice.interfaces import Identity, RequestFacts
from poms.webservice.rules.permissions import ROLES, Actor
from poms.webservice.services import holds, people, permissions
from poms.webservice.services.changes import Scope
from poms.webservice.services.core import Core
from poms.webservice.services.people import Person

PLACE = ("experiment", "role")
PLACE_TEXT = params.text(limit=64)
HTML = "text/html; charset=utf-8"
JSON = "application/json"
FALLBACK = "<!doctype html><html lang=en><meta charset=utf-8><title>POMS</title><h1>{status}</h1><p>{text}</p>"


class Frame:
    """Answers requests below the mount; one per application."""

    def __init__(self, core: Core, router: Router, environment: Environment, static: StaticFiles, *,
                 version: str, feed: ChangeFeed) -> None:
        self.core, self.router, self.static = core, router, static
        self.environment = environment
        self.sessions = Sessions(core.settings.secret("web_sessions"))
        self.sources = core.backends.identity_sources()
        self.version, self.feed = version, feed
        self.sightings = people.Sightings(core.db)

    def answer(self, path: str) -> bytes | Iterator[bytes]:
        """Answer CherryPy's present request; never raises."""
        exchange = Exchange(self, path)
        try:
            return exchange.run()
        except Exception as error:
            return exchange.fail(failure_of(error, exchange.request_id))


class Exchange:
    """One request and its answer."""

    def __init__(self, frame: Frame, path: str) -> None:
        self.frame, self.core, self.path = frame, frame.core, path
        self.request, self.response = cherrypy.serving.request, cherrypy.serving.response
        self.facts: RequestFacts = facts_of(self.request.wsgi_environ)
        self.request_id = str(self.request.wsgi_environ.get("poms.request_id", ""))
        self.person: Person | None = None
        self.actor: Actor | None = None
        self.route: Route | None = None
        self.scope: Scope = ("", "")
        self.known_until = 0
        self.sent: dict[str, Any] = dict(self.request.params)
        cookie = self.request.cookie.get(origin.SESSION_COOKIE)
        self.cookie = cookie.value if cookie is not None else ""

    # ------------------------------------------------------------------------------- the steps

    def run(self) -> bytes | Iterator[bytes]:
        if self.path.startswith("/static/"):
            return self._static(self.path.removeprefix("/static/"))
        match = self.frame.router.match(self.path)
        identity = self._identify()
        # Who reports is asked together with what the report is about, which stands in the body.
        if match is None or match.route.report_on is None:
            self._admit(identity, people.sign_in(self.core.db, identity.username))
        if match is None:
            raise NotFound(f"There is no page {self.path[:100]}.")
        self.route = match.route
        self._require_method(match.route, identity)
        if match.route.live_seconds:
            # Before anything is read: what changes from now on is told to the page.
            self.known_until = self.frame.feed.changes.position()
        if self.request.method == "POST":
            if identity.via_browser:
                origin.require_own_page(self.facts.headers, self.core.settings.service.public_url)
            self.sent |= read_form(self.request, upload_bytes=self.core.settings.web.max_upload_bytes)
            if identity.via_browser:
                self._require_token(identity)
        call = self._prepare(match, identity)
        if isinstance(call, Elsewhere):
            return self._see_other(call.url)
        return self._send(match.route, call, match.route.handler(call))

    def _identify(self) -> Identity:
        for source in self.frame.sources:
            identity = source.identify(self.facts)
            if identity is not None:
                return identity
        raise NotAuthenticated("Nobody said who sent this request. Sign in at the front end of this service, or use "
                               "a certificate or token.")

    def _admit(self, identity: Identity, person: Person) -> None:
        self.frame.sightings.note(person, self.core.clock())
        self.person = people.within(person, identity.experiments)

    def _require_method(self, route: Route, identity: Identity) -> None:
        method = self.request.method
        if method in route.methods:
            return
        if method in ("GET", "HEAD") and route.program_get:
            if not identity.via_browser:
                return
            raise MethodNotAllowed("Browsers change this by POST only.", route.methods)
        raise MethodNotAllowed(f"{method[:20]} is not for this address; use {', '.join(route.methods)}.",
                               route.methods)

    def _require_token(self, identity: Identity) -> None:
        """The second wall: even our own origin does not send a form that we did not make."""
        if self.facts.headers.get(origin.CLIENT_HEADER):
            return
        sent = self.sent.get(origin.TOKEN_FIELD) or self.facts.headers.get(origin.TOKEN_HEADER, "")
        if not isinstance(sent, str) or not self.frame.sessions.accepts(sent, self.cookie, identity.username):
            raise NotAllowed("This form is not from a page of your session, or the session ended; nothing was "
                             "changed. Open the page again and repeat what you did.")

    def _prepare(self, match: Match, identity: Identity) -> Call | Elsewhere:
        """Arguments, actor and items; or where a page without experiment and role in its address is."""
        route = match.route
        self.sent |= match.path_arguments
        sent = self.sent
        for old, new in route.renames.items():
            if old in sent:
                sent.setdefault(new, sent[old])
        place = {name: self._place(name, getattr(match, name)) for name in PLACE}
        if place["experiment"] in ROLES and not place["role"]:
            # A function of older clients passes its arguments one place too early.
            place = {"experiment": "", "role": place["experiment"]}
        arguments = params.read_all(route.arguments, sent)
        found = None
        if route.report_on is not None:
            person, found = permissions.sign_in(self.core.db, identity.username, route.report_on.kind,
                                                arguments[route.report_on.argument])
            self._admit(identity, person)
        person = self.person
        assert person is not None
        items: dict[str, list[Any]] = {}
        refused: dict[Any, str] = {}
        db = self.core.db
        if isinstance(route.permission, Known) and not (place["experiment"] or person.memberships):
            self.actor = Actor(person.experimenter_id, person.username, "", "", person.is_root)
        else:
            home = None if all(place.values()) else self._home(route, arguments, found)
            self.actor = people.act_as(db, person, **place, item_home=home)
        self.scope = scope_of(route, arguments, self.actor.experiment)
        for need in route.needs_for(arguments):
            key = arguments.get(need.argument) if need.argument else None
            if key is None or key == ():
                permissions.require_general(self.actor, need.action, need.kind)
                continue
            keys = key if isinstance(key, tuple) else (key,)
            if len(keys) > 1 and arguments.get("dry_run"):
                # The answer tells what would be left alone and why; doing it to one of those is refused as ever.
                items[need.argument], why_not = permissions.sort_items(db, self.actor, need.action, need.kind, keys)
                refused |= why_not
                continue
            items[need.argument] = permissions.require_items(db, self.actor, need.action, need.kind, keys, found=found)
        if route.template and self.request.method != "POST" and self.wants == "html" and not (match.experiment
                                                                                             and match.role):
            return Elsewhere(self._page_url(route, sent))
        return Call(core=self.core, identity=identity, person=person, actor=self.actor, arguments=arguments,
                    items=items, url=self._url(), wants=self.wants, request_key=self._request_key(),
                    method=self.request.method, refused=refused)

    def _place(self, name: str, in_path: str) -> str:
        """Experiment or role: of the path, else of the arguments; the text None means nothing."""
        given = in_path or self.sent.get(name, "")
        if isinstance(given, list):
            given = given[0]
        if not given:
            return ""
        return str(params.read_all({name: PLACE_TEXT}, {name: given})[name])

    def _home(self, route: Route, arguments: Mapping[str, Any], item: Any) -> tuple[str, str] | None:
        for need in route.needs:
            key = arguments.get(need.argument) if need.argument else None
            first = (key[0] if key else None) if isinstance(key, tuple) else key
            if first is not None:
                found = permissions.home_of(self.core.db, need.kind, first, found=item)
                if found is not None:
                    return found
        return None

    def _request_key(self) -> str:
        """The same for the same form sent twice: given by the caller, or the form's own token."""
        given = self.sent.get("launch_key") or self.sent.get("request_key") \
            or self.facts.headers.get("idempotency-key") or self.sent.get(origin.TOKEN_FIELD)
        if not isinstance(given, str) or not given:
            return secrets.token_hex(16)
        return hashlib.sha256(given.encode(errors="replace")).hexdigest()[:40]

    # ---------------------------------------------------------------------------------- answers

    @property
    def wants(self) -> Wanted:
        """JSON where it is asked for, pages for browsers, text for whoever says nothing."""
        accept = self.facts.headers.get("accept", "")
        if self.sent.get("fmt") == "json" or self.facts.headers.get(origin.CLIENT_HEADER) \
                or ("application/json" in accept and "text/html" not in accept):
            return "json"
        return "html" if "text/html" in accept or (self.route is not None and bool(self.route.template)) else "text"

    def _send(self, route: Route, call: Call, answer: Answer) -> bytes | Iterator[bytes]:
        if isinstance(answer, Page) and call.wants != "json":
            return self._page(route, answer)
        if isinstance(answer, Page):
            return self._json(answer.context, status=answer.status, tagged=True)
        if isinstance(answer, Data):
            return self._json(answer.value, status=answer.status, old_times=answer.old_times)
        if isinstance(answer, Text):
            if answer.file_name:
                self._name_file(answer.file_name)
            return self._body(answer.text.encode("utf-8", "replace"), f"{answer.content_type}; charset=utf-8")
        if isinstance(answer, Stored):
            self._name_file(answer.file_name)
            return self._body(answer.data, "application/octet-stream")
        if isinstance(answer, Rows):
            return self._file(answer)
        if isinstance(answer, Done):
            return self._done(call, answer)
        return self._see_other(answer.url)

    def _file(self, answer: Rows) -> Iterator[bytes]:
        """A list, sent while it is read. What goes wrong before the first piece is answered like anything else."""
        pieces = render.file_pieces(answer)
        first = b"".join(islice(pieces, 2))
        self._name_file(answer.file_name)
        self.response.headers["Content-Type"] = JSON if answer.form == "json" else "text/csv; charset=utf-8"
        self.response.headers["Cache-Control"] = "no-store"
        self.response.stream = True
        return chain((first,), pieces)

    def _name_file(self, file_name: str) -> None:
        name = "".join(letter if letter.isalnum() and letter.isascii() or letter in "._-" else "_"
                       for letter in file_name)
        self.response.headers["Content-Disposition"] = f'attachment; filename="{name}"'

    def _page(self, route: Route, answer: Page) -> bytes:
        messages = self._messages() + answer.messages
        values = self._frame_values(messages)
        template = answer.template or route.template
        tag = render.tag_of(template, answer.context, values, self.frame.version, self.frame.static.version)
        if self.request.method in ("GET", "HEAD") and answer.status == 200 and not messages:
            self.response.headers["ETag"] = tag
            if render.is_known(tag, self.facts.headers.get("if-none-match", "")):
                return self._not_modified()
        text = self.frame.environment.get_template(template).render(
            {**answer.context, **values, **self._volatile(), "live_seconds": route.live_seconds,
             "events_url": self.frame.feed.address(self.scope, self.known_until) if route.live_seconds else ""})
        self.response.status = answer.status
        return self._body(text.encode(), HTML)

    def _json(self, value: Any, *, status: int = 200, old_times: bool = False, tagged: bool = False) -> bytes:
        body = render.json_text(value, old_times=old_times).encode()
        if tagged and self.request.method in ("GET", "HEAD"):
            tag = render.tag_of(value)
            self.response.headers["ETag"] = tag
            if render.is_known(tag, self.facts.headers.get("if-none-match", "")):
                return self._not_modified()
        self.response.status = status
        return self._body(body, JSON)

    def _done(self, call: Call, answer: Done) -> bytes:
        offer = answer.undo
        undo = Undo(call.url("undo"), offer.undo_id, offer.until) if offer else None
        if call.wants == "json":
            return self._json({"status": "ok" if answer.kind == "done" else "problem", "message": answer.title,
                               "text": answer.text, "url": answer.url, **({"undo": undo} if undo else {}),
                               **answer.data})
        if call.identity.via_browser:
            message = Message(answer.kind, answer.title, answer.text, undo)
            self._set_cookie(origin.MESSAGE_COOKIE, self.frame.sessions.packed(message))
        return self._see_other(answer.url)

    def _see_other(self, url: str) -> bytes:
        # Only addresses made by the router get here; anything else would be an open redirect.
        if not url.startswith(f"{MOUNT}/") or "\\" in url or any(ord(letter) < 33 for letter in url):
            raise ValueError(f"refused to redirect to {url!r}")
        self.response.status = 303
        self.response.headers["Location"] = url
        return b""

    def _body(self, body: bytes, content_type: str) -> bytes:
        headers = self.response.headers
        headers["Content-Type"] = content_type
        headers.setdefault("Cache-Control", "no-store")
        packed = render.compress(body, content_type, self.facts.headers.get("accept-encoding", ""))
        if packed is not None:
            headers["Content-Encoding"] = "gzip"
            body = packed
        headers["Vary"] = "Accept-Encoding, Accept"
        return body

    def _not_modified(self) -> bytes:
        self.response.status = 304
        self.response.headers.pop("Content-Type", None)
        return b""

    def _static(self, name: str) -> bytes:
        if self.request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("Static files can only be read.", ("GET", "HEAD"))
        file = self.frame.static.find(name)
        if file is None:
            raise NotFound("There is no such file.")
        version = self.sent.get("v", "")
        self.response.headers["ETag"] = file.etag
        self.response.headers["Cache-Control"] = self.frame.static.cache_control(
            version if isinstance(version, str) else "")
        if render.is_known(file.etag, self.facts.headers.get("if-none-match", "")):
            return self._not_modified()
        return self._body(file.data, file.content_type)

    def fail(self, failure: Failure) -> bytes:
        """The answer to a request that cannot be answered; works whatever is missing."""
        self.response.status = failure.status
        for name in ("ETag", "Content-Disposition", "Location"):
            self.response.headers.pop(name, None)
        if failure.allowed:
            self.response.headers["Allow"] = ", ".join(failure.allowed)
        if self.wants == "json":
            document = document_of(failure)
            if self.request.method == "POST" and not self.facts.headers.get(origin.CLIENT_HEADER) \
                    and "json" not in self.facts.headers.get("accept", ""):
                # Older clients ask for JSON by their form alone, and show what follows this word.
                document["shown"] = f"Traceback: {failure.text}"
            return self._body(render.json_text(document).encode(), JSON)
        if "text/html" not in self.facts.headers.get("accept", ""):
            # Older clients show what follows this word and ignore any other text of an error.
            quote = f" (quote {failure.quote_id})" if failure.quote_id else ""
            return self._body(f"Traceback: {failure.text}{quote}\n".encode(), "text/plain; charset=utf-8")
        return self._error_page(failure)

    def _error_page(self, failure: Failure) -> bytes:
        try:
            values = self._frame_values(())
            links = [{"label": "Front page", "url": values["home_url"]}]
            text = self.frame.environment.get_template("error.html").render(
                {**values, **self._volatile(), "status": failure.status, "title": failure.title, "text": failure.text,
                 "remedy": failure.remedy, "problems": failure.problems, "quote_id": failure.quote_id, "links": links,
                 "live_seconds": 0, "events_url": ""})
        except Exception as error:
            # The page about the error fails as well, e.g. without a database: say at least what happened.
            failure_of(error, self.request_id)
            escaped = failure.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            text = FALLBACK.format(status=failure.status, text=escaped)
        return self._body(text.encode("utf-8", "replace"), HTML)

    # ------------------------------------------------------------------------ around every page

    def _url(self) -> Any:
        actor = self.actor
        place = {"experiment": actor.experiment, "role": actor.role} if actor else dict.fromkeys(PLACE, "")
        return partial(self._url_for, place)

    def _url_for(self, place: Mapping[str, str], name: str, **arguments: Any) -> str:
        return self.frame.router.url(name, **{**place, **arguments})

    def _page_url(self, route: Route, sent: Mapping[str, Any], **place: str) -> str:
        """The address of this page with the arguments it was asked with."""
        kept = {name: value for name, value in sent.items()
                if name in route.arguments and isinstance(value, str) and value}
        return self._url()(route.name, **{**kept, **place})

    def _frame_values(self, messages: tuple[Message, ...]) -> dict[str, Any]:
        """What the frame around a page shows; see the layout template."""
        person, actor, route = self.person, self.actor, self.route
        url = self._url()
        page = route if route is not None and route.template and not route.changes else None
        page_url = self._page_url(page, self.sent) if page and actor else url("home")
        values: dict[str, Any] = {
            "url": url, "static": self.frame.static.url, "page_url": page_url, "home_url": url("home"),
            "experiment": actor.experiment if actor else "", "role": actor.role if actor else "", "experiments": [],
            "roles": [], "person": None, "launches": None, "nav_counts": {}, "elsewhere": [],
            "messages": list(messages),
            "search_text": self.sent.get("search_term", "") if isinstance(self.sent.get("search_term"), str) else ""}
        if person is None or actor is None or not actor.experiment:
            return values
        with self.core.db.read() as session:
            names = people.experiments_of(session, person)
            gate = holds.gate(session, actor.experiment)
        about_item = page is None or any(need.argument for need in page.needs)
        values |= {
            "person": {"name": person.name, "username": person.username, "initials": _initials(person.name)},
            "experiments": [{"name": name, "url": url("home", experiment=name, role="") if about_item else
                             self._page_url(page, self.sent, experiment=name, role="")} for name in names],
            "roles": [{"name": name, "url": self._page_url(page, self.sent, role=name) if page else
                       url("home", role=name)} for name in person.roles_in(actor.experiment)],
            "launches": {"allowed": gate.allowed, "text": gate.text, "may_change": person.is_root},
            "nav_counts": {"board": None, "held_launches": gate.held_launches or None, "campaigns": None},
            "elsewhere": [{"label": label.strip(), "url": address} for label, _, address in (
                link.rpartition(" ") for link in self.core.settings.experiment(actor.experiment).links)],
        }
        return values

    def _volatile(self) -> dict[str, Any]:
        """What differs with every look."""
        token = ""
        if self.person is not None:
            if not self.frame.sessions.is_ours(self.cookie):
                self.cookie = self.frame.sessions.new()
                self._set_cookie(origin.SESSION_COOKIE, self.cookie)
            token = self.frame.sessions.token(self.cookie, self.person.username)
        return {"now": self.core.clock(), "csrf_token": token, "request_key": secrets.token_hex(16),
                "version": self.frame.version}

    def _messages(self) -> tuple[Message, ...]:
        cookie = self.request.cookie.get(origin.MESSAGE_COOKIE)
        if cookie is None:
            return ()
        self._set_cookie(origin.MESSAGE_COOKIE, "", max_age=0)
        return self.frame.sessions.unpacked(cookie.value)

    def _set_cookie(self, name: str, value: str, max_age: int | None = None) -> None:
        self.response.cookie[name] = value
        morsel = self.response.cookie[name]
        morsel["path"], morsel["httponly"], morsel["samesite"] = MOUNT, True, "Lax"
        if self.core.settings.service.public_url.startswith("https:"):
            morsel["secure"] = True
        if max_age is not None:
            morsel["max-age"] = max_age


def _initials(name: str) -> str:
    words = name.split()
    return "".join(word[0] for word in words[:1] + words[1:][-1:]).upper()


def answer_protocol_error(frame: Frame, status: str, message: str) -> bytes:
    """The answer to what CherryPy refused before any handler was asked."""
    code = int(status.split()[0])
    return Exchange(frame, "/").fail(plain_failure(code, message))
