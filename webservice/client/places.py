"""Where the server is and who asks: from options, the environment, and the files that older clients have.

Not for requests (``connection``). Invariant: a token is read where it is needed and never printed.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

from poms.webservice.errors import ConfigurationError

SERVER, EXPERIMENT, ROLE = "POMS_SERVER", "POMS_EXPERIMENT", "POMS_ROLE"
TOKEN, TOKEN_FILE, CERTIFICATE = "BEARER_TOKEN", "BEARER_TOKEN_FILE", "X509_USER_PROXY"
_TEST_SERVERS = {"int": "base_int_ssl", "dev": "base_dev_ssl"}
_NO = ("", "0", "no", "n", "false", "f", "none", "off")


def find_server(given: str = "", *, test: str = "", environment: Mapping[str, str] | None = None) -> str:
    """The server's address: given, of the environment, or of an older client's client.cfg; "" if none says."""
    environment = os.environ if environment is None else environment
    if given or environment.get(SERVER):
        return given or environment[SERVER]
    wanted = test.strip().lower()
    key = "base_prod" if wanted in _NO else _TEST_SERVERS.get(wanted, "base_dev_ssl")
    found = ""
    for file in _older_files(environment):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            # Not there, or not of this kind: the next one may say.
            continue
        found = parser.get("url", key, fallback="").strip() or found
    return found


def _older_files(environment: Mapping[str, str]) -> list[Path]:
    directory = environment.get("POMS_CLIENT_DIR", "")
    return [Path(directory, part, "client.cfg") for part in ("bin", "etc")] if directory else []


def read_token(file: str = "", *, environment: Mapping[str, str] | None = None) -> str:
    """The token of a file, or of the environment; "" if there is none. A file that was named must be there."""
    environment = os.environ if environment is None else environment
    if not file and environment.get(TOKEN):
        return environment[TOKEN].strip()
    named = file or environment.get(TOKEN_FILE, "")
    if not named:
        return ""
    try:
        token = Path(named).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as problem:
        if not file:
            # Launch hosts name a file that comes and goes; a certificate may do.
            return ""
        raise ConfigurationError(f"the token {named} cannot be read: {problem}") from None
    if any(letter.isspace() or not letter.isprintable() for letter in token):
        raise ConfigurationError(f"{named} holds more than one token, or none.")
    return token


def find_certificate(given: str, server: str, *, environment: Mapping[str, str] | None = None) -> str:
    """The client certificate to show: given, or of the environment where the server speaks https."""
    environment = os.environ if environment is None else environment
    if given or not server.startswith("https:"):
        return given
    named = environment.get(CERTIFICATE, "")
    return named if named and Path(named).is_file() else ""
