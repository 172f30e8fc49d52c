"""Answers to bytes: pages by jinja2, JSON, compression, and the tag that saves sending what is known.

The tag of a page is made from its values, not from its text: what changes with every look (the
time it was made, form tokens) does not count, so a page that shows nothing new is not even rendered.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from poms.webservice.handlers import filters
from poms.webservice.handlers.answers import Rows
from poms.webservice.rules.lists import csv_line

SMALLEST_TO_COMPRESS = 1024
_COMPRESSED = ("text/", "application/json", "image/svg+xml")
# Different at every look, or for one reader only, without anything new being shown.
VOLATILE = frozenset({"now", "csrf_token", "request_key", "launch_key", "url", "static"})


@cache
def make_environment(templates: Path) -> Environment:
    """The templates with everything that they may use; the same for all applications of a process."""
    environment = Environment(loader=FileSystemLoader(templates), autoescape=True, auto_reload=False,
                              undefined=filters.Demanding)
    filters.register(environment)
    return environment


def json_text(value: Any, *, old_times: bool = False) -> str:
    """JSON of plain values, dataclasses and times (``2026-01-31T12:00:00Z``; old ones without the Z)."""
    form = "%Y-%m-%dT%H:%M:%S" + ("" if old_times else "Z")

    def convert(item: Any) -> Any:
        if isinstance(item, datetime):
            return item.astimezone(UTC).strftime(form)
        if is_dataclass(item) and not isinstance(item, type):
            return asdict(item)
        if isinstance(item, Mapping):
            return dict(item)
        if isinstance(item, set | frozenset):
            return sorted(item)
        if isinstance(item, tuple) or hasattr(item, "__iter__"):
            return list(item)
        raise TypeError(f"{type(item).__name__} has no JSON form")

    return json.dumps(value, default=convert, ensure_ascii=False, allow_nan=False)


CUT = "There are more rows than one file holds. Filter the list to have the others."


def file_pieces(answer: Rows) -> Iterator[bytes]:
    """A list as the bytes of a CSV or JSON file, piece by piece as its rows are read."""
    if answer.form == "csv":
        yield csv_line(answer.columns).encode()
        for row in answer.rows:
            yield csv_line([row[name] for name in answer.columns]).encode("utf-8", "replace")
        # A file that ends too early must say so itself: whoever reads it does not see the page.
        if answer.is_cut():
            yield csv_line([CUT]).encode()
        return
    before = b'{"rows": [\n'
    for row in answer.rows:
        yield before + json_text({name: row[name] for name in answer.columns}).encode("utf-8", "replace")
        before = b",\n"
    empty = b"" if before == b",\n" else before
    yield empty + b'\n], "complete": ' + (b"false" if answer.is_cut() else b"true") + b"}\n"


def tag_of(*values: Any) -> str:
    """A weak entity tag of values; weak because compression changes the bytes."""
    steady = [{key: item for key, item in value.items() if key not in VOLATILE} if isinstance(value, Mapping) else value
              for value in values]
    return f'W/"{hashlib.sha256(json_text(steady).encode()).hexdigest()[:24]}"'


def is_known(tag: str, if_none_match: str) -> bool:
    """Whether the caller has what this tag stands for."""
    return tag in (one.strip() for one in if_none_match.split(",")) if tag else False


def compress(body: bytes, content_type: str, accept_encoding: str) -> bytes | None:
    """The body compressed, or None if the caller does not want that or it is not worth it."""
    if len(body) < SMALLEST_TO_COMPRESS or not content_type.startswith(_COMPRESSED):
        return None
    offers = (part.replace(" ", "").lower().split(";") for part in accept_encoding.split(","))
    accepted = {offer[0] for offer in offers if "q=0" not in offer[1:]}
    if "gzip" not in accepted:
        return None
    # The time in the header is left out: the same page is the same bytes.
    return gzip.compress(body, 5, mtime=0)
