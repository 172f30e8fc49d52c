"""The command ``poms``: one verb for each thing that people do; every verb is a module here.

Exit status: 0 done, 1 a condition that POMS reports (one line on standard error), 2 a bad
command line, 3 tables that are not those of this program, or a server that does not answer.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence

from poms.webservice import __version__
from poms.webservice.errors import PomsError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

DESCRIPTION = """\
POMS runs campaigns of batch jobs: it launches their stages, follows the jobs,
recovers what failed and starts the next stage when its input is there."""

EPILOG = """\
First steps on one machine:

  poms check                         what is wrong with the configuration
  poms db upgrade                    make the tables, or bring them up to date
  poms experiment add sbnd           an experiment
  poms user add alice --experiment sbnd --role production
  poms serve                         the web server, until it is stopped
  poms agent                         the agent that launches and follows, beside it

Each command has its own help: poms serve --help"""


def make_parser() -> argparse.ArgumentParser:
    """The whole command line. Modules are imported here but load nothing heavy until their verb runs."""
    from poms.webservice.cli import (
        accounts,
        check,
        client,
        completion,
        daemon,
        database,
        making,
        people,
        reports,
        running,
        serve,
        settings,
        watch,
    )

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS,
                        help="the poms.ini to use (default: $POMS_CONFIG, or the installed one)")
    parser = argparse.ArgumentParser(prog="poms", description=DESCRIPTION, epilog=EPILOG, parents=[common],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"poms {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (serve, daemon, database, check, settings, accounts, client, making, running, people, reports,
                   watch):
        module.add_verbs(verbs, common)
    completion.add_verbs(verbs, common, make_parser)
    version = verbs.add_parser("version", help="print the version", parents=[common])
    version.set_defaults(run=_version)
    return parser


def _version(_arguments: argparse.Namespace) -> int:
    print(f"poms {__version__}")
    return 0


def main(argv: Sequence[str] | None = None, *, first: str = "") -> int:
    """Run one command; every condition that POMS reports becomes one line and an exit status.

    ``first`` is the verb of programs that have one of their own, like poms-agent.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = make_parser().parse_args([first, *given] if first else given)
    if not hasattr(arguments, "config"):
        arguments.config = None
    try:
        status = arguments.run(arguments)
        if sys.stdout is not None:
            # Here it can still be said that there is no room.
            sys.stdout.flush()
        return status
    except PomsError as error:
        from poms.webservice.logs import one_line, scrub

        print(f"poms: {one_line(scrub(str(error)))}", file=sys.stderr)
        return getattr(error, "exit_status", 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python must not complain when it flushes at the end.
        sys.stdout = None  # type: ignore[assignment]
        return 0
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        sys.stdout = None  # type: ignore[assignment]
        print(f"poms: {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
        return 1
