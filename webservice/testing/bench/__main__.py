"""``bin/bench``: make the data, take the measurements, print the table."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from poms.webservice import __version__
from poms.webservice.errors import PomsError
from poms.webservice.testing.bench import (
    browser,
    datasets,
    duties,
    figures,
    ingest,
    memory,
    pages,
    polling,
    queues,
    reports,
)
from poms.webservice.testing.bench.figures import Figure
from poms.webservice.testing.bench.places import Place, Places, database_server
from poms.webservice.testing.bench.shape import FULL, SCALES, hundredth

MEASUREMENTS = ("pages", "browser", "reports", "ingest", "polling", "wrapup", "claims", "splits", "preview",
                "agent_memory")


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 if every budget is kept, 1 if one is missed, 2 if something is missing here."""
    given = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 170)
    found: list[Figure] = []
    try:
        with database_server(given.database) as server, tempfile.TemporaryDirectory(prefix="poms-bench-") as directory:
            for each in run(given, server, Path(directory), lambda text: print(text, file=sys.stderr, flush=True)):
                missed = f"  missed: {', '.join(map(str, each.missed))}" if each.missed else ""
                print(f"  {each.name}: {each.ratio:.2f}{missed}", file=sys.stderr, flush=True)
                found.append(each)
    except PomsError as condition:
        print(f"bench: {condition}", file=sys.stderr)
        return 2
    figures.show(found, console)
    if given.json:
        figures.write(found, given.json, version=__version__, scale=given.scale, cores=os.cpu_count(),
                      python=platform.python_version(), database=given.database.partition(":")[0])
    missed = [each.name for each in found if each.missed]
    console.print(f"{len(found) - len(missed)} of {len(found)} figures keep their budget."
                  + (f" Missed: {', '.join(missed)}" if missed else ""))
    return 1 if missed else 0


def run(given: argparse.Namespace, server: str, directory: Path, say: Callable[[str], None]) -> Iterator[Figure]:
    """All figures asked for, one by one. Pages come first: they are about data that nothing has changed yet."""
    scale = SCALES[given.scale].with_jobs(given.jobs) if given.jobs else SCALES[given.scale]
    wanted = [name for name in MEASUREMENTS if not given.only or name in given.only]
    places = Places(server, directory)
    try:
        say(f"making data: {scale.submissions:,} submissions, {scale.jobs:,} jobs ...")
        full = places.make(scale)
        for name in wanted:
            say(f"{name} ...")
            yield from _measure(name, given, full, places)
    finally:
        places.close()


def _measure(name: str, given: argparse.Namespace, full: Place, places: Places) -> Iterator[Figure]:
    tiny = given.scale == "tiny"
    if name == "pages":
        small = places.make(hundredth(full.scale))
        return pages.measure(full, small, requests=given.requests or (2 if tiny else 15))
    if name == "browser":
        return browser.measure(full, rounds=1 if tiny else 5, stages=(10, 20) if tiny else browser.CAMPAIGNS,
                               moves=20 if tiny else 240)
    if name == "reports":
        return reports.measure(full, requests=24 if tiny else 1200)
    if name == "ingest":
        return ingest.measure(full, count=given.states)
    if name == "polling":
        return polling.measure(places, given.batch, sizes=polling.FEW if tiny else polling.SIZES)
    if name == "agent_memory":
        return memory.measure(full, jobs=1_000 if tiny else 300_000)
    if name == "splits":
        return datasets.measure_splits(full, files=2_000 if tiny else 1_000_000, slices=3 if tiny else 20)
    if name == "preview":
        return datasets.measure_preview(full, files=2_000 if tiny else 100_000, looks=2 if tiny else 10)
    if name == "wrapup":
        return duties.measure_wrapup(full, count=20 if tiny else 10_000)
    return duties.measure_claims(full, count=20 if tiny else 1_000)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bin/bench", description="How fast POMS is, as ratios to references that are "
                                     "measured in the same run. Needs PostgreSQL (or --database).")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, metavar="NAME",
                        help=f"only these measurements: {', '.join(MEASUREMENTS)}")
    parser.add_argument("--scale", choices=tuple(SCALES), default=FULL.name,
                        help="how much data; tiny only shows that everything runs (default: full)")
    parser.add_argument("--database", default="postgresql", metavar="URL",
                        help="postgresql (a server of its own, the default), or the address of a server in which "
                        "databases may be made, or sqlite:// for files in a temporary directory")
    parser.add_argument("--jobs", type=int, metavar="N", help="jobs in the data instead of those of the scale")
    parser.add_argument("--states", type=int, default=200_000, metavar="N",
                        help="job states that one poll brings in the measurement ingest (default: 200,000)")
    parser.add_argument("--batch", choices=queues.BATCH_SYSTEMS, default="auto",
                        help="whose queue is filled for polling: a throw-away HTCondor pool where one can be run "
                        "(auto), or the local batch system's")
    parser.add_argument("--requests", type=int, metavar="N", help="requests of each reader to each page and round")
    return parser


if __name__ == "__main__":
    sys.exit(main())
