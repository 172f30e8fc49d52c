"""``bin/pictures``: pictures of every page, contact sheets, and those of the user's guide."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from poms.webservice.testing import browser as browsers
from poms.webservice.testing.pictures import sheets, taking
from poms.webservice.testing.pictures.scenes import SCENES, Scene
from poms.webservice.testing.pictures.taking import CannotBePictured

GUIDE = Path(__file__).parents[3] / "docs" / "pictures"
# What the user's guide shows: file, page, size and theme, all of the usual scene.
CHOSEN = (("board", "home", "1280", "light"), ("campaigns", "campaigns", "1280", "light"),
          ("campaign", "campaign", "1280", "light"), ("editor", "editor form", "1280", "light"),
          ("submission", "submission", "1280", "light"), ("stage", "stage", "1280", "dark"),
          ("time-bars", "time_bars-campaign_id-campaign", "1280", "light"), ("board-narrow", "home", "390", "dark"))


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 if every picture could be taken, 1 if not, 2 if there is no browser."""
    given = _parser().parse_args(arguments)
    program = browsers.find_program()
    if program is None:
        print("pictures: no browser was found; install Chromium", file=sys.stderr)
        return 2
    failed: list[str] = []
    with browsers.started(program) as browser, \
            tempfile.TemporaryDirectory(prefix="poms-pictures-", ignore_cleanup_errors=True) as data:
        names = ["normal"] if given.guide else given.scene or list(SCENES)
        for name in names:
            print(f"making the scene {name} ...", file=sys.stderr)
            with SCENES[name](Path(data) / name) as scene:
                failed += _guide(browser, scene) if given.guide else _scene(browser, scene, given)
    if not given.guide:
        print(sheets.write_index(given.directory, sorted(given.directory.glob("*/*.png"))))
    for problem in failed:
        print(f"pictures: {problem}", file=sys.stderr)
    return 1 if failed else 0


def _scene(browser: Any, scene: Scene, given: argparse.Namespace) -> list[str]:
    """All pictures of a scene, with their contact sheets; what could not be taken."""
    failed = []
    wanted = [each for each in taking.subjects(scene)
              if not given.page or any(word in each.name for word in given.page)]
    for size, theme, camera in taking.cameras(browser, scene, given.size or list(taking.SIZES),
                                              given.theme or taking.THEMES):
        folder = given.directory / f"{scene.name}-{size}-{theme}"
        folder.mkdir(parents=True, exist_ok=True)
        made = []
        for number, subject in enumerate(wanted, 1):
            file = folder / f"{number:02d}-{taking.file_name(subject.name)}.png"
            try:
                camera.take(subject, file)
                made.append(file)
            except CannotBePictured as problem:
                failed.append(f"{folder.name}: {problem}")
        sheets.write_sheets(browser, given.directory, made, size=size)
        print(f"{folder.name}: {len(made)} of {len(wanted)} pictures", file=sys.stderr)
    return failed


def _guide(browser: Any, scene: Scene) -> list[str]:
    """The pictures of the guide, as WebP; what could not be taken."""
    failed = []
    GUIDE.mkdir(exist_ok=True)
    found = {subject.name: subject for subject in taking.subjects(scene)}
    for file, name, size, theme in CHOSEN:
        for _, _, camera in taking.cameras(browser, scene, [size], [theme]):
            try:
                picture = camera.take(found[name], whole=False)
            except CannotBePictured as problem:
                failed.append(str(problem))
                continue
            (GUIDE / f"{file}.webp").write_bytes(taking.as_webp(browser, picture))
    return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bin/pictures", description="Pictures of every page in a real browser, at "
                                     "two sizes, by day and by night, of an empty, a usual and a very full service.")
    parser.add_argument("directory", type=Path, nargs="?", default=Path("var/pictures"),
                        help="where they are put (default var/pictures)")
    parser.add_argument("--scene", action="append", choices=tuple(SCENES), help="only this one; can be repeated")
    parser.add_argument("--size", action="append", choices=tuple(taking.SIZES), help="only this width of the window")
    parser.add_argument("--theme", action="append", choices=taking.THEMES, help="only this theme")
    parser.add_argument("--page", action="append", metavar="WORD", help="only pages whose name has this word")
    parser.add_argument("--guide", action="store_true", help="only those of the user's guide, into docs/pictures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
