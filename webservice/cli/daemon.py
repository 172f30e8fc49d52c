"""``poms agent``: the daemon that launches, polls and wraps up."""

from __future__ import annotations

import argparse

from poms.webservice.cli import startup


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    parser = verbs.add_parser("agent", help="run an agent: launch, follow, recover", parents=[common],
                              description="Run an agent until SIGTERM or Ctrl-C. Any number may run, on any hosts.")
    parser.set_defaults(run=run_agent)


def run_agent(arguments: argparse.Namespace) -> int:
    core = startup.open_core(startup.start(arguments))
    from poms.webservice import agent

    try:
        agent.run(core)
    finally:
        core.db.close()
    return 0
