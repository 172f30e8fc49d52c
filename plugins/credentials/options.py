"""The settings of [credentials], checked; and texts of settings with their {names} filled in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poms.webservice.errors import ConfigurationError, Invalid
from poms.webservice.interfaces import CredentialRequest, Setting, SettingsSection

KINDS = ("proxy", "token", "vault_token")
LABELS = {"proxy": "proxy", "token": "token", "vault_token": "vault token"}
_FILLED = "{experiment}, {group} and {role} are filled in. Empty: launches get none."

SECTION = SettingsSection("credentials", "Credentials of launches, for experiments with credential_backend = file. "
                          "[credentials NAME] says it for one experiment.", (
    Setting("proxy", "str", "", f"File with the X.509 proxy of the experiment. {_FILLED}"),
    Setting("token", "str", "", f"File with the bearer token of the experiment. {_FILLED}"),
    Setting("vault_token", "str", "", f"File with the vault token of the experiment. {_FILLED}"),
    Setting("own", "list", "", "What people must have uploaded for their own launches in the analysis role: proxy, "
            "token, vault_token."),
    Setting("least_proxy", "seconds", "10m", "A proxy that is valid for less is too short for a launch."),
    Setting("least_token", "seconds", "10m", "A token that is valid for less is too short for a launch."),
    Setting("vault_token_age", "seconds", "5d", "A vault token that was stored longer ago is too old."),
    Setting("htgettoken", "str", "", "Program that renews tokens, such as /usr/bin/htgettoken. Empty: something else "
            "renews them."),
    Setting("htgettoken_options", "str", "", "Its options for the experiment's tokens, such as -a vault.example.org "
            "-i {group} -r {role}. Launch scripts find them in HTGETTOKENOPTS."),
    Setting("own_htgettoken_options", "str", "", "The same for people's own launches; {user} is filled in as well."),
    Setting("htgettoken_timeout", "seconds", "20s", "How long the program may take."),
))

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")
_PLACE = re.compile(r"\{([a-z]*)\}")


@dataclass(frozen=True)
class Options:
    """What [credentials] says for one experiment. ``paths``: kind to file, of the experiment's own."""

    paths: Mapping[str, str]
    own: tuple[str, ...]
    least_seconds: Mapping[str, float]
    vault_token_age_seconds: float
    htgettoken: str
    htgettoken_options: str
    own_htgettoken_options: str
    htgettoken_timeout_seconds: float

    @staticmethod
    def of(options: Mapping[str, Any]) -> Options:
        """Raises ConfigurationError for what cannot be meant."""
        unknown = [kind for kind in options["own"] if kind not in KINDS]
        if unknown:
            raise ConfigurationError(f"[credentials] own: {', '.join(unknown)} is unknown; write {', '.join(KINDS)}")
        made = Options(
            paths={kind: options[kind] for kind in KINDS if options[kind]}, own=tuple(dict.fromkeys(options["own"])),
            least_seconds={"proxy": options["least_proxy"], "token": options["least_token"]},
            vault_token_age_seconds=options["vault_token_age"], htgettoken=options["htgettoken"],
            htgettoken_options=options["htgettoken_options"], own_htgettoken_options=options["own_htgettoken_options"],
            htgettoken_timeout_seconds=options["htgettoken_timeout"])
        for kind, text in made.paths.items():
            _require_known(text, kind, ("experiment", "group", "role"))
            if not text.startswith("/"):
                raise ConfigurationError(f"[credentials] {kind}: {text!r} is no absolute path")
        for key in ("htgettoken_options", "own_htgettoken_options"):
            _require_known(getattr(made, key), key, ("experiment", "group", "role", "user"))
            _split(getattr(made, key), key)
        return made

    def path(self, kind: str, request: CredentialRequest) -> str:
        """The file of the experiment's credential; "" if there is none of this kind."""
        return filled(self.paths.get(kind, ""), request)

    def renewal_options(self, request: CredentialRequest, *, own: bool) -> list[str]:
        """The words for htgettoken: taken apart first, so that no name becomes two words."""
        key = "own_htgettoken_options" if own else "htgettoken_options"
        return [filled(word, request) for word in _split(getattr(self, key), key)]


def filled(text: str, request: CredentialRequest) -> str:
    """A text of the settings for one request; raises Invalid for a name that could mean something else in it."""
    values = {"experiment": request.experiment, "group": request.group, "role": request.role.lower(),
              "user": request.username}
    for found in set(_PLACE.findall(text)):
        if not _NAME.fullmatch(values[found]) or ".." in values[found]:
            raise Invalid(f"{values[found][:100]!r} cannot be part of the place of a credential; letters, digits and "
                          "_.@+- only.", field=found)
    return _PLACE.sub(lambda place: values[place[1]], text)


def _require_known(text: str, key: str, known: tuple[str, ...]) -> None:
    unknown = sorted(set(_PLACE.findall(text)) - set(known))
    if unknown:
        raise ConfigurationError(f"[credentials] {key}: {{{unknown[0]}}} is unknown; known: {', '.join(known)}")


def _split(text: str, key: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as problem:
        raise ConfigurationError(f"[credentials] {key}: {problem}") from None
