"""Contact sheets: many small pictures on one, each with its name, to be looked at quickly; and a page with all of them.

Made by the browser that took the pictures.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

STYLE = """
body { margin: 12px; background: #777; font: 13px sans-serif; display: grid; gap: 12px; align-items: start }
figure { margin: 0; background: #fff; outline: 1px solid #000 } figcaption { padding: 3px 6px; font-weight: 700 }
figure div { overflow: hidden } img { display: block; width: 100% }
"""
# How many stand side by side, how wide each is, how much of its height is shown, how many fit one sheet.
SHAPES = {"1280": (3, 620, 760, 6), "390": (6, 300, 900, 12)}


def write_sheets(browser: Any, directory: Path, pictures: Sequence[Path], *, size: str) -> list[Path]:
    """Sheets of the pictures of one folder, numbered, beside that folder."""
    columns, width, height, most = SHAPES[size]
    context = browser.new_context(viewport={"width": columns * (width + 12) + 12, "height": 400})
    written = []
    try:
        tab = context.new_page()
        for number, some in enumerate(_in_groups(pictures, most), 1):
            page = directory / "sheet.html"
            page.write_text(_page(some, directory, f"body {{ grid-template-columns: repeat({columns}, {width}px) }}"
                                  f" figure div {{ max-height: {height}px }}"))
            tab.goto(page.as_uri())
            written.append(directory / f"sheet-{some[0].parent.name}-{number:02d}.png")
            tab.screenshot(path=written[-1], full_page=True)
            page.unlink()
    finally:
        context.close()
    return written


def write_index(directory: Path, pictures: Sequence[Path]) -> Path:
    """A page with every picture in full, for a browser."""
    page = directory / "index.html"
    page.write_text(_page(pictures, directory, "body { grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)) }"))
    return page


def _page(pictures: Sequence[Path], directory: Path, style: str) -> str:
    figures = "".join(
        f'<figure><figcaption>{html.escape(name)}</figcaption><div><a href="{quote(name)}">'
        f'<img loading="{"eager" if len(pictures) < 20 else "lazy"}" src="{quote(name)}" alt=""></a></div></figure>\n'
        for name in (picture.relative_to(directory).as_posix() for picture in pictures))
    return (f"<!doctype html><html lang=en><meta charset=utf-8><title>Pictures of POMS</title>\n"
            f"<style>{STYLE}{style}</style>\n{figures}</html>\n")


def _in_groups(pictures: Sequence[Path], most: int) -> Iterator[list[Path]]:
    rest = iter(pictures)
    while some := list(islice(rest, most)):
        yield some
