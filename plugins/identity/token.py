"""Identity source ``token``: JSON Web Tokens of issuers that are listed, as ``Authorization: Bearer ...``.

Verified here and not by the front end: signature with the issuer's published keys, algorithm, times, audience,
profile, scope. Invariant: nothing that a token says of itself chooses a key's place or an algorithm, and a token
gives at most what its person may do anyway.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt

from poms.plugins.identity.demo import host_of, is_loopback
from poms.plugins.identity.front_end import USERNAME, printable
from poms.plugins.identity.keys import KeySet, require_place
from poms.webservice.errors import ConfigurationError, NotAuthenticated
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import (
    CheckResult,
    Identity,
    Offer,
    PluginContext,
    RequestFacts,
    Setting,
    SettingsSection,
)

SECTION = "identity_token"
ALGORITHMS = ("RS256", "ES256")
LONGEST_TOKEN = 16_000
COMPACT = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){2}")
LEEWAY = timedelta(seconds=60)
LONGEST_LIFE = timedelta(days=7)
PROFILES: Mapping[str, tuple[str, frozenset[str]]] = {
    "wlcg": ("wlcg.ver", frozenset({"1.0", "1.1", "1.2"})),
    "scitokens": ("ver", frozenset({"scitoken:2.0", "scitokens:2.0"})),
}
ANY_PROFILE = "any"
ANY_AUDIENCE = frozenset({"https://wlcg.cern.ch/jwt/v1/any", "ANY"})
# An identity token tells a client who logged in; it is no permission to act.
OF_ID_TOKENS = ("nonce", "at_hash", "c_hash")


@dataclass(frozen=True)
class Issuer:
    """Who makes tokens, where its keys are, and the only experiments in which its tokens count (empty: all)."""

    name: str
    keys: KeySet
    experiments: frozenset[str]


@dataclass(frozen=True)
class Rules:
    """What else a token must say, and how its person is found."""

    audiences: frozenset[str]
    profiles: tuple[str, ...]
    scopes: frozenset[str]
    claim: str
    suffix: str
    users: Mapping[tuple[str, str], str] | None


class TokenIdentity:
    """Believes tokens of the listed issuers."""

    def __init__(self, issuers: Mapping[str, Issuer], rules: Rules, clock: Callable[[], datetime]) -> None:
        self._issuers, self._rules, self._clock = issuers, rules, clock

    def identify(self, request: RequestFacts) -> Identity | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        if "authorization" in request.duplicates:
            raise NotAuthenticated("the header authorization came more than once")
        issuer, claims = self._verified(token.strip(" "))
        self._require_times(claims)
        self._require_audience(claims)
        self._require_kind(claims)
        return Identity(self._user(issuer, claims), "token", via_browser=False,
                        experiments=issuer.experiments or None)

    # ------------------------------------------------------------------------------- signature

    def _verified(self, token: str) -> tuple[Issuer, dict[str, Any]]:
        """The claims of a token that one of the issuers signed."""
        if len(token) > LONGEST_TOKEN or not COMPACT.fullmatch(token):
            raise NotAuthenticated("the token is no signed JSON Web Token")
        header_text, claims_text, _ = token.split(".")
        header, claims = _object(header_text), _object(claims_text)
        algorithm, kid, said = header.get("alg"), header.get("kid"), claims.get("iss")
        if algorithm not in ALGORITHMS:
            raise NotAuthenticated(f"the token is not signed as it must be: {' or '.join(ALGORITHMS)}")
        if "crit" in header or str(header.get("typ", "JWT")).lower() not in ("jwt", "at+jwt", "application/at+jwt"):
            raise NotAuthenticated("the token is of another kind than an access token")
        issuer = self._issuers.get(said) if isinstance(said, str) else None
        if issuer is None:
            raise NotAuthenticated(f"the token's issuer {printable(str(said))} is not accepted by this service")
        key = issuer.keys.find(kid) if isinstance(kid, str) else None
        if key is None or key.algorithm != algorithm:
            raise NotAuthenticated(f"the token's issuer has no key {printable(str(kid))} for {algorithm}")
        try:
            jwt.PyJWS(algorithms=[key.algorithm]).decode(token, key.public, algorithms=[key.algorithm])
        except jwt.PyJWTError:
            raise NotAuthenticated("the token's signature is not that of its issuer") from None
        return issuer, claims

    # ---------------------------------------------------------------------------------- claims

    def _require_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock()
        made, begins, ends = _time(claims, "iat"), _time(claims, "nbf"), _time(claims, "exp")
        if ends is None:
            raise NotAuthenticated("the token does not say when it expires")
        if ends + LEEWAY <= now:
            raise NotAuthenticated(f"the token expired at {ends:%Y-%m-%d %H:%M:%S} UTC; get a new one")
        for moment in (made, begins):
            if moment is not None and moment - LEEWAY > now:
                raise NotAuthenticated(f"the token counts only from {moment:%Y-%m-%d %H:%M:%S} UTC on")
        if ends - (made or begins or now) > LONGEST_LIFE:
            raise NotAuthenticated(f"the token is valid for longer than {LONGEST_LIFE.days} days; get a shorter one")

    def _require_audience(self, claims: Mapping[str, Any]) -> None:
        meant = claims.get("aud")
        audiences = {meant} if isinstance(meant, str) else set(_texts(meant))
        if not audiences & self._rules.audiences:
            raise NotAuthenticated("the token is not meant for this service; get one with the audience "
                                   f"{', '.join(sorted(self._rules.audiences))}")

    def _require_kind(self, claims: Mapping[str, Any]) -> None:
        if any(name in claims for name in OF_ID_TOKENS):
            raise NotAuthenticated("this is an identity token, not an access token")
        if ANY_PROFILE not in self._rules.profiles and not any(
                claims.get(PROFILES[name][0]) in PROFILES[name][1] for name in self._rules.profiles
                if isinstance(claims.get(PROFILES[name][0]), str)):
            raise NotAuthenticated(f"the token is of no profile that is known here ({', '.join(self._rules.profiles)})")
        scope = claims.get("scope")
        if self._rules.scopes and not set(scope.split(" ") if isinstance(scope, str) else ()) & self._rules.scopes:
            raise NotAuthenticated(f"the token needs one of the scopes {', '.join(sorted(self._rules.scopes))}")

    def _user(self, issuer: Issuer, claims: Mapping[str, Any]) -> str:
        """The person: by the table if there is one, else by the claim that names users."""
        subject = claims.get(self._rules.claim)
        if not isinstance(subject, str) or not subject:
            raise NotAuthenticated(f"the token has no {self._rules.claim} that says whose it is")
        if self._rules.users is not None:
            known = self._rules.users.get((issuer.name, subject))
            if known is None:
                raise NotAuthenticated(f"the token of {printable(subject)} is registered for nobody; ask the operators "
                                       "of this service")
            return known
        if not subject.endswith(self._rules.suffix):
            raise NotAuthenticated(f"{printable(subject)} is not somebody of {self._rules.suffix}")
        user = subject.removesuffix(self._rules.suffix)
        if not USERNAME.fullmatch(user):
            raise NotAuthenticated(f"{printable(subject)} is no user name")
        return user

    def start_checks(self, listen: str) -> list[CheckResult]:
        subject = "identity token"
        results = []
        if not is_loopback(host_of(listen)):
            results.append(CheckResult("warning", subject, f"[web] listen = {listen} can be reached from outside "
                                       "without encryption, where tokens could be read on the way: put a front end "
                                       "with TLS before it"))
        names = ", ".join(self._issuers)
        return [*results, CheckResult("ok", subject, f"tokens of {names} are believed")]


# ---------------------------------------------------------------------------------------- reading


def _object(part: str) -> dict[str, Any]:
    """One part of a token: a JSON object in which nothing is said twice."""
    try:
        data = base64.b64decode(part.encode() + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, binascii.Error, RecursionError):
        raise NotAuthenticated("the token cannot be read") from None
    if not isinstance(found, dict):
        raise NotAuthenticated("the token cannot be read")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name came twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _time(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 32_503_680_000:
        raise NotAuthenticated(f"the token's {name} is no time")
    return datetime.fromtimestamp(value, UTC)


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


# ----------------------------------------------------------------------------------------- options


def build(context: PluginContext) -> TokenIdentity:
    options = context.options
    issuers = {issuer.name: issuer for issuer in (_issuer(text, context.clock) for text in options["issuers"])}
    if not issuers:
        raise ConfigurationError(f"[{SECTION}] issuers is empty: name each issuer and the place of its keys, such as "
                                 "https://cilogon.org/fermilab https://cilogon.org/oauth2/certs")
    if len(issuers) < len(options["issuers"]):
        raise ConfigurationError(f"[{SECTION}] issuers names one issuer twice")
    audiences = frozenset(options["audiences"]) or frozenset(filter(None, [context.public_url.rstrip("/")]))
    if options["accept_any_audience"]:
        audiences |= ANY_AUDIENCE
    if not audiences:
        raise ConfigurationError(f"[{SECTION}] audiences is empty: name this service as tokens do")
    unknown = sorted(set(options["profiles"]) - {*PROFILES, ANY_PROFILE})
    if unknown or not options["profiles"]:
        raise ConfigurationError(f"[{SECTION}] profiles: expected some of {', '.join((*PROFILES, ANY_PROFILE))}")
    users = read_users(Path(options["users_file"])) if options["users_file"] else None
    return TokenIdentity(issuers, Rules(
        audiences, tuple(options["profiles"]), frozenset(options["scopes"]), options["claim"], options["suffix"],
        users), context.clock)


def _issuer(text: str, clock: Callable[[], datetime]) -> Issuer:
    words = text.split()
    if len(words) < 2:
        raise ConfigurationError(f"[{SECTION}] issuers: {text!r}: expected an issuer and the place of its keys, then "
                                 "the experiments in which its tokens count if not in all")
    return Issuer(words[0], KeySet(require_place(words[1]), clock), frozenset(words[2:]))


def read_users(path: Path) -> dict[tuple[str, str], str]:
    """Whose each subject is: on each line an issuer, a subject and a user. Raises ConfigurationError with the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"[{SECTION}] users_file = {path}: cannot be read: {problem}") from None
    users: dict[tuple[str, str], str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split()
        if len(words) != 3 or not USERNAME.fullmatch(words[2]):
            raise ConfigurationError(f"{path}, line {number}: expected an issuer, a subject and a user name")
        if users.setdefault((words[0], words[1]), words[2]) != words[2]:
            raise ConfigurationError(f"{path}, line {number}: this subject is somebody else's already")
    return users


@hookimpl
def poms_settings() -> list[SettingsSection]:
    return [SettingsSection(SECTION, "The identity source token: JSON Web Tokens, verified here.", (
        Setting("issuers", "list", "", "Each issuer, the place of its keys (https://... or the absolute path of a "
                "file), and the experiments in which its tokens count if not in all; separated by blanks."),
        Setting("audiences", "list", "", "What tokens call this service. Empty: its public_url."),
        Setting("accept_any_audience", "bool", "no", "Also accept tokens that are meant for any service."),
        Setting("profiles", "list", "wlcg, scitokens", "Profiles of tokens: wlcg, scitokens, or any."),
        Setting("scopes", "list", "", "Scopes of which a token needs one. Empty: none is needed."),
        Setting("claim", "str", "sub", "The claim that says whose a token is."),
        Setting("suffix", "str", "", "What follows the user name in that claim, such as @fnal.gov."),
        Setting("users_file", "str", "", "Absolute path of a file that says whose each subject is, on each line an "
                "issuer, a subject and a user. With it, only who is listed is known. Read at the start."),
    ))]


@hookimpl
def poms_identity_sources() -> list[Offer]:
    return [Offer("token", "JSON Web Tokens of listed issuers, verified here", build, SECTION)]
