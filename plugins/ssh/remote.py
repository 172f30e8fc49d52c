"""The two fixed commands that run on a launch host, what is sent to them, and the lines by which they answer.

Nothing of a launch is ever put into them: what differs comes over standard input. Each is one line without
single quotes, so that any login shell (sh, bash, zsh, tcsh) hands it to bash unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

from poms.webservice.interfaces import LaunchFiles, PrivateFile

MARK = b"poms-launch:"


def _in_bash(text: str) -> str:
    # tcsh takes an exclamation mark for its history even between single quotes.
    assert not set(text) & set("'\n!")
    return f"exec /bin/bash --noprofile --norc -c '{text}'"


# Standard input: "SIZE KEY SECONDS COUNT SANDBOX MINUTES STALE\n", then SIZE bytes of script, then COUNT times
# "PLACE NAME SIZE\n" and a file of that size, then nothing until the connection ends.
# The script goes to a private file that is gone from the directory before it runs; an incomplete one never
# runs, nor does one whose files are not all there. It leads a process group of its own, with nothing on its
# standard input. A watcher ends the group when the connection is gone or the time is over: then nobody would
# notice what it still starts. Files of place 0 go when the script has ended, or this shell; those of place 1 are
# in the sandbox (SANDBOX 1: there is one) until a launch comes after MINUTES. What a host that lost its power kept
# is removed by a launch that comes after STALE minutes; 0 removes nothing.
LAUNCH = _in_bash(
    "umask 077; exec 3<&0 </dev/null 4>&2; "
    "echo poms-launch:ready >&4; "
    "read -r size key seconds count boxed minutes stale <&3 || exit 97; SECONDS=0; "
    'case ":$size:$seconds:$count:$boxed:$minutes:$stale:" in *[^0-9:]*|*::*) exit 97;; esac; '
    'base="${TMPDIR:-/tmp}"; place=; box=; files=; '
    'clear() { [ -z "$place" ] || rm -rf -- "$place"; place=; }; '
    'refuse() { clear; [ -z "$box" ] || rm -rf -- "$box"; echo "poms-launch:$key:refused:$1" >&4; exit 97; }; '
    # Also when a signal ends this shell. Should it be killed, a later launch finds what it left.
    "trap clear EXIT; trap \"exit 98\" TERM HUP INT; "
    'old() { find "$base" -maxdepth 1 -type d -user "$(id -u)" -name "$1.*" -mmin "+$2" '
    "-exec rm -rf -- {} + 2>/dev/null; }; "
    '[ "$stale" -eq 0 ] || old poms-launch "$stale"; [ "$minutes" -eq 0 ] || old poms-sandbox "$minutes"; '
    'place=$(mktemp -d "$base/poms-launch.XXXXXXXXXX" 2>&4) || '
    'refuse "it cannot make a temporary directory"; '
    '{ head -c "$size" <&3 >"$place/script"; } 2>&4 || refuse "it cannot write the script to a temporary file"; '
    '[ "$(wc -c <"$place/script")" -eq "$size" ] || refuse "the script did not arrive whole"; '
    'exec 9<"$place/script" || refuse "it cannot read its temporary file"; rm -f -- "$place/script"; '
    '[ "$boxed" -eq 0 ] || box=$(mktemp -d "$base/poms-sandbox.XXXXXXXXXX" 2>&4) || refuse "it cannot make a sandbox"; '
    '[ "$count" -eq 0 ] || { files="$place/files"; mkdir "$files" 2>&4; } || refuse "it cannot make a directory"; '
    'turn=0; while [ "$turn" -lt "$count" ]; do turn=$((turn+1)); '
    'read -r where name bytes <&3 || refuse "its files did not arrive whole"; '
    'case "$where:$name:$bytes" in [01]:[A-Za-z0-9_+=@%]*:[0-9]*) ;; *) refuse "a file has a wrong name";; esac; '
    'case "$name" in */*) refuse "a file has a wrong name";; esac; '
    'into="$files/$name"; [ "$where" = 0 ] || into="$box/$name"; '
    '{ head -c "$bytes" <&3 >"$into"; } 2>&4 || refuse "it cannot write the files of the launch"; '
    '[ "$(wc -c <"$into")" -eq "$bytes" ] || refuse "its files did not arrive whole"; done; '
    '[ "$count" -gt 0 ] || clear; '
    'exec 2>/dev/null; set -m; bang=$(printf "\\041"); '
    'env -i HOME="$HOME" USER="$USER" LOGNAME="$LOGNAME" SHELL=/bin/bash LANG=C.UTF-8 '
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "
    '${TZ:+TZ="$TZ"} ${TMPDIR:+TMPDIR="$TMPDIR"} ${KRB5CCNAME:+KRB5CCNAME="$KRB5CCNAME"} '
    '${files:+POMS_LAUNCH_FILES="$files"} ${box:+POMS_LAUNCH_SANDBOX="$box"} '
    "/bin/bash --noprofile --norc /dev/fd/9 </dev/null 3<&- 4>&- 2>&1 & "
    'eval "group=\\$$bang"; exec 9<&-; echo "poms-launch:$key:group:$group" >&4; '
    '{ trap "" PIPE; left=$((seconds-SECONDS)); [ "$left" -gt 0 ] || left=1; read -r -t "$left" word <&3; '
    '[ $? -le 128 ] || echo "poms-launch:$key:limit:" >&4; '
    'kill -TERM -- "-$group"; sleep 2; kill -KILL -- "-$group"; } >/dev/null & '
    'eval "watcher=\\$$bang"; '
    'wait "$group"; status=$?; kill -KILL -- "-$group" "-$watcher"; clear; '
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


def header(size: int, key: str, seconds: int, *, files: int = 0, sandbox: bool = False, keep_minutes: int = 0,
           stale_minutes: int = 0) -> bytes:
    """What goes before a script of ``size`` bytes that may run for ``seconds``, and before so many files."""
    return f"{size} {key} {seconds} {files} {int(sandbox)} {keep_minutes} {stale_minutes}\n".encode()


def file_header(file: PrivateFile, *, kept: bool) -> bytes:
    """What goes before the bytes of a file."""
    return f"{int(kept)} {file.name} {len(file.data)}\n".encode()


def contents(files: LaunchFiles) -> bytes:
    """All files as they follow the script."""
    pieces = [(file, False) for file in files.private] + [(file, True) for file in files.kept or ()]
    return b"".join(file_header(file, kept=kept) + file.data for file, kept in pieces)
