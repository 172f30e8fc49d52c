"""The two fixed commands that run on a launch host, and the lines by which they answer.

Nothing of a launch is ever put into them: what differs comes over standard input. Each is one line without
single quotes, so that any login shell (sh, bash, zsh, tcsh) hands it to bash unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

MARK = b"poms-launch:"
REFUSED_STATUS = 97


def _in_bash(text: str) -> str:
    # tcsh takes an exclamation mark for its history even between single quotes.
    assert not set(text) & set("'\n!")
    return f"exec /bin/bash --noprofile --norc -c '{text}'"


# Standard input: "SIZE KEY SECONDS\n", then SIZE bytes of script, then nothing until the connection ends.
# The script goes to a private file that is gone from the directory before it runs; an incomplete one never
# runs. It leads a process group of its own, with nothing on its standard input. A watcher ends the group when
# the connection is gone or the time is over: then nobody would notice what it still starts.
LAUNCH = _in_bash(
    "umask 077; exec 3<&0 </dev/null 4>&2; "
    "echo poms-launch:ready >&4; "
    "read -r size key seconds <&3 || exit 97; SECONDS=0; "
    'case "$size:$seconds" in *[^0-9:]*|:*|*:) exit 97;; esac; '
    'refuse() { rm -rf -- "${place:-/nonexistent}"; echo "poms-launch:$key:refused:$1" >&4; exit 97; }; '
    'place=$(mktemp -d "${TMPDIR:-/tmp}/poms-launch.XXXXXXXXXX" 2>&4) || '
    'refuse "it cannot make a temporary directory"; '
    '{ head -c "$size" <&3 >"$place/script"; } 2>&4 || refuse "it cannot write the script to a temporary file"; '
    '[ "$(wc -c <"$place/script")" -eq "$size" ] || refuse "the script did not arrive whole"; '
    'exec 9<"$place/script" || refuse "it cannot read its temporary file"; rm -rf -- "$place"; '
    'exec 2>/dev/null; set -m; bang=$(printf "\\041"); '
    'env -i HOME="$HOME" USER="$USER" LOGNAME="$LOGNAME" SHELL=/bin/bash LANG=C.UTF-8 '
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "
    '${TZ:+TZ="$TZ"} ${TMPDIR:+TMPDIR="$TMPDIR"} ${KRB5CCNAME:+KRB5CCNAME="$KRB5CCNAME"} '
    "/bin/bash --noprofile --norc /dev/fd/9 </dev/null 3<&- 4>&- 2>&1 & "
    'eval "group=\\$$bang"; exec 9<&-; echo "poms-launch:$key:group:$group" >&4; '
    '{ trap "" PIPE; left=$((seconds-SECONDS)); [ "$left" -gt 0 ] || left=1; read -r -t "$left" word <&3; '
    '[ $? -le 128 ] || echo "poms-launch:$key:limit:" >&4; '
    'kill -TERM -- "-$group"; sleep 2; kill -KILL -- "-$group"; } >/dev/null & '
    'eval "watcher=\\$$bang"; '
    'wait "$group"; status=$?; kill -KILL -- "-$group" "-$watcher"; '
    'echo "poms-launch:$key:status:$status" >&4; exit 0'
)

# Standard input: "GROUP\n". Asks the process group to end, then ends it.
END = _in_bash(
    "read -r group || exit 97; "
    'case "$group" in ""|0|1|*[^0-9]*) exit 97;; esac; '
    'kill -TERM -- "-$group" 2>/dev/null || exit 0; '
    'for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do '
    'kill -0 -- "-$group" 2>/dev/null || exit 0; sleep 0.1; done; '
    'kill -KILL -- "-$group" 2>/dev/null; exit 0'
)


@dataclass(frozen=True, slots=True)
class Notice:
    """A line of ``LAUNCH``: ``ready``, ``group``, ``limit``, ``status`` or ``refused``, and what it says."""

    kind: str
    value: str = ""


def read_notice(line: bytes, key: str) -> Notice | None:
    """The notice in a line of standard error, or None if it is something else's."""
    line = line.rstrip(b"\r")
    if not line.startswith(MARK):
        return None
    words = line[len(MARK):].decode(errors="replace").split(":", 2)
    if words == ["ready"]:
        return Notice("ready")
    if len(words) == 3 and words[0] == key:
        return Notice(words[1], words[2])
    return None


def header(size: int, key: str, seconds: int) -> bytes:
    """What goes before a script of ``size`` bytes that may run for ``seconds``."""
    return f"{size} {key} {seconds}\n".encode()
