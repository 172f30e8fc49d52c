"""From bytes to the document: which lines are headers, entries, continuations, comments, or wrong.

Syntax of Python's configparser without interpolation; every fault of the lines is told, not only the first.
Not for what the values mean (``reading``).
Invariant: ``scan(data).document.to_bytes() == data`` whatever the (UTF-8) data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from poms.webservice.errors import Invalid, Problem
from poms.webservice.rules.campaign_text.document import (
    HEADER,
    Document,
    Entry,
    Section,
    find_control,
    indent_of,
    line_end,
    normal_title,
    printable,
    split_entry,
)
from poms.webservice.rules.campaign_text.findings import Collector

DEFAULT_LIMIT = 1_000_000
"""Most bytes of a campaign text; a campaign of a thousand stages needs about half of it."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Scan:
    """What a text looks like: the document, also of a faulty text, and all that is wrong with its lines."""

    document: Document
    problems: tuple[Problem, ...] = ()


def parse(data: bytes | str, limit: int = DEFAULT_LIMIT) -> Document:
    """The document of a text; raises Invalid with every problem of its lines."""
    scanned = scan(data, limit)
    if scanned.problems:
        raise Invalid(scanned.problems)
    return scanned.document


def scan(data: bytes | str, limit: int = DEFAULT_LIMIT) -> Scan:
    """Read a text as far as possible; the document of a text with bad UTF-8 has replacements in it."""
    if len(data) > limit or (isinstance(data, str) and len(data.encode("utf-8", "replace")) > limit):
        size = f"The text is larger than the limit of {limit:,} bytes; split the campaign in two."
        return Scan(Document(), (Problem("", size, code="too-large"),))
    found = Collector()
    text = _decode(data, found)
    scanner = _Scanner(found)
    has_bom = text.startswith("\ufeff")
    lines = _LINE.findall(text[1:] if has_bom else text)
    for number, line in enumerate(lines, 1):
        scanner.take(number, line)
    ends = [line_end(line) for line in lines[:1000]]
    newline = max(("\n", "\r\n", "\r"), key=ends.count)
    document = Document(scanner.finish(), tuple(scanner.preamble), newline, has_bom)
    return Scan(document, found.findings().problems)


def _decode(data: bytes | str, found: Collector) -> str:
    """The text, with replacements for what is not UTF-8; each line that has some is reported once."""
    if isinstance(data, bytes):
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            found.error("", "bad-encoding", "The text is UTF-16; save it as UTF-8.", 1)
            return ""
        text = data.decode("utf-8", "surrogateescape")
    else:
        text = data
    if text.isascii():
        return text
    if not _SURROGATE.search(text):
        return text
    for number, line in enumerate(_LINE.findall(text), 1):
        if _SURROGATE.search(line):
            found.error("", "bad-encoding", "This line is not UTF-8; save the text as UTF-8.", number)
    return _SURROGATE.sub("\ufffd", text)


@dataclass
class _Open:
    """A section while it is read."""

    header: str
    title: str
    lead: tuple[str, ...]
    line: int
    items: list[Entry | str] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)


class _Scanner:
    """Takes lines one by one. A line is a comment, blank, a continuation, a header, or an entry."""

    def __init__(self, found: Collector) -> None:
        self.preamble: list[str] = []
        self._found = found
        self._sections: list[Section] = []
        self._titles: dict[str, int] = {}
        self._section: _Open | None = None
        self._key = ""
        self._lines: list[str] = []
        self._values: list[str] = []
        # Blank and comment lines that are the entry's only if a continuation follows.
        self._pending: list[str] = []
        self._level = 0
        self._skipping = False

    def take(self, number: int, line: str) -> None:
        text = line.strip()
        if not text or text[0] in "#;":
            if "\x00" in text:
                self._refuse_control(number, text)
            (self._pending if self._key else self._loose()).append(line)
            return
        indent = indent_of(line)
        if indent > self._level and self._key:
            self._continue(number, line, text)
        elif indent > self._level and self._skipping:
            self._loose().append(line)
        else:
            self._level = indent
            self._close_entry()
            self._begin(number, line, text)

    def finish(self) -> tuple[Section, ...]:
        self._close_section()
        return tuple(self._sections)

    def _loose(self) -> list:
        return self._section.items if self._section else self.preamble

    def _refuse_control(self, number: int, text: str) -> None:
        bad = find_control(text)
        if bad:
            title = self._section.title if self._section else ""
            where = f"{title}/{self._key}" if self._key else title
            self._found.error(where, "control-character",
                              f"The line contains the control character {bad}; remove it.", number)

    def _continue(self, number: int, line: str, text: str) -> None:
        self._refuse_control(number, text)
        self._values.extend("" for pending in self._pending if not pending.strip())
        self._lines.extend(self._pending)
        self._pending.clear()
        self._lines.append(line)
        self._values.append(text)

    def _begin(self, number: int, line: str, text: str) -> None:
        self._skipping = False
        header = HEADER.match(text)
        if header and header["title"].strip():
            self._open_section(number, line, normal_title(header["title"]))
            return
        parts = None if text.startswith("[") else split_entry(text)
        if self._section is None:
            self._garbage(line)
            self._found.error("", "outside-section", "This line stands before the first section; "
                              "put a header such as [campaign] above it.", number)
        elif parts and parts[0]:
            self._open_entry(number, line, parts)
        else:
            self._garbage(line)
            self._found.error(self._section.title, "garbage-line", _what_is_wrong_with(text), number)

    def _garbage(self, line: str) -> None:
        self._loose().append(line)
        self._skipping = True

    def _open_section(self, number: int, line: str, title: str) -> None:
        lead = self._take_lead()
        self._close_section()
        bad = find_control(title, name=True)
        if bad:
            self._found.error(printable(title), "control-character",
                              f"The section's name contains the character {bad}; remove it.", number)
        if title in self._titles:
            self._found.error(title, "duplicate-section",
                              f"The section [{title}] is in line {self._titles[title]} already; join the two.", number)
        self._titles.setdefault(title, number)
        self._section = _Open(line, title, lead, number)

    def _take_lead(self) -> tuple[str, ...]:
        """Take the comments directly above a header from the section before, if a blank line parts them."""
        if self._section is None:
            return ()
        items = self._section.items
        start = len(items)
        while start and isinstance(items[start - 1], str) and items[start - 1].strip()[:1] in ("#", ";") \
                and items[start - 1].strip():
            start -= 1
        if start == len(items) or not start or not isinstance(items[start - 1], str) or items[start - 1].strip():
            return ()
        lead = tuple(items[start:])
        del items[start:]
        return lead

    def _open_entry(self, number: int, line: str, parts: tuple[str, str, str]) -> None:
        assert self._section is not None
        key = parts[0].lower()
        section = self._section
        if key in section.keys:
            self._found.error(f"{section.title}/{key}", "duplicate-key",
                              f"The key {key} is in line {section.keys[key]} already; keep one of the two.", number)
        section.keys.setdefault(key, number)
        self._key, self._lines, self._values = key, [line], [parts[2]]
        self._refuse_control(number, line.strip())

    def _close_entry(self) -> None:
        if self._key:
            assert self._section is not None
            entry = Entry(self._key, "\n".join(self._values).rstrip(), tuple(self._lines))
            self._section.items.append(entry)
            self._section.items.extend(self._pending)
            self._pending.clear()
            self._key = ""

    def _close_section(self) -> None:
        self._close_entry()
        if self._section is not None:
            done = self._section
            self._sections.append(Section(done.header, done.title, tuple(done.items), done.lead))
            self._section = None


def _what_is_wrong_with(text: str) -> str:
    shown = text if len(text) <= 60 else text[:57] + "..."
    if text.startswith("["):
        return f"'{shown}' begins like a section; write it as [kind name] on a line of its own."
    if text[0] in "=:":
        return f"'{shown}' has no key before its '{text[0]}'; write key=value."
    return f"'{shown}' is neither key=value nor a section; put # before a comment, and blanks before a continued value."
