"""What ssh complains about, in words that say what to do; nothing else."""

from __future__ import annotations

from poms.plugins.ssh.connection import Connection

_TIMES = ("timed out", "connection refused", "no route to host", "network is unreachable", "could not resolve",
          "name or service not known", "connection reset", "connection closed", "broken pipe",
          "temporary failure in name resolution", "not responding")


def explain(connection: Connection, host: str, account: str, complaints: bytes) -> str:
    """Why ``account@host`` could not be reached, in a sentence or two."""
    text = complaints.decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip(" @\t")]
    said = lines[-1] if lines else "ssh said nothing"
    lower = text.lower()
    keys = connection.known_hosts or "the service account's known_hosts file"
    if "host identification has changed" in lower or "host key for" in lower and "has changed" in lower:
        return (f"The host key of {host} is not the one in {keys}: the host was set up anew, or another one answers in "
                f"its place. Nothing was sent. Ask the host's administrator for the new key; then replace its line.")
    if "host key verification failed" in lower or "host key is known" in lower:
        return (f"The host key of {host} is not in {keys}. Add it (ssh-keyscan {host}) after comparing its fingerprint "
                "with what the host's administrator says.")
    if "permission denied" in lower or "too many authentication failures" in lower:
        which = f"the key {connection.identity_file}" if connection.identity_file else "the service account's keys"
        return f"{host} does not let {account} in with {which}: {said}. Check authorized_keys, or the Kerberos ticket."
    if "bad configuration option" in lower or "keyword" in lower or "bad owner or permissions" in lower:
        return f"ssh does not accept its settings: {said}. Correct [ssh] options."
    if any(word in lower for word in _TIMES):
        return f"{host} cannot be reached: {said}. It is tried again; check that the host is up and lets ssh in."
    return f"ssh could not log in to {account}@{host}: {said}."
