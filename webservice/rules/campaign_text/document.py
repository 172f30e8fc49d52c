"""The campaign text as a document: sections and entries that write back byte for byte.

Knows lines, not meanings (``reading``); made of a text by ``scanning``.
Documents are immutable; an edit gives a new one in which only the lines of that entry differ.
Invariant: what an edit did not name is read again as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from poms.webservice.errors import Invalid, Problem

SECTION_ORDER = ("campaign", "campaign_defaults", "sam_defaults", "data_dispatcher_defaults", "node_positions",
                 "campaign_stage", "login_setup", "job_type", "dependencies")
"""The kinds of sections, in the order in which they are written."""

_LINE_END = re.compile(r"\r\n|\r|\n")
# The first ] that ends the line, or has only a comment after it, closes a header.
HEADER = re.compile(r"\[(?P<title>.+?)\](?P<tail>\s*(?:[#;].*)?)$")
_MARK = re.compile(r"[=:]")
_KEY = re.compile(r"[^\s=:#;\[][^=:\x00-\x1f\x7f-\x9f\u2028\u2029]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]")
# Characters that turn the direction of writing: a name could be shown as another one.
_DECEIVING = re.compile(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def find_control(text: str, *, name: bool = False) -> str:
    """The first character of ``text`` that must not be in it, as ``U+0007``; "" if there is none."""
    found = _CONTROL.search(text) or (_DECEIVING.search(text) or re.search(r"[\t\r\n]", text) if name else None)
    return f"U+{ord(found.group()):04X}" if found else ""


def printable(text: str) -> str:
    """A text that cannot break or disguise the line of a message it is put in."""
    return _UNPRINTABLE.sub(" ", text)


def split_entry(text: str) -> tuple[str, str, str] | None:
    """Key, separator with its blanks, and value of a stripped line; None without a separator.

    Not one regular expression: on a line of blanks that would take quadratic time.
    """
    mark = _MARK.search(text)
    if not mark:
        return None
    key, value = text[:mark.start()].rstrip(), text[mark.end():].lstrip()
    return key, text[len(key):len(text) - len(value)], value


def normal_title(title: str) -> str:
    """A section's title with one blank between kind and name, and none around."""
    return " ".join(title.split(None, 1)).strip()


@dataclass(frozen=True, slots=True)
class Entry:
    """A key, its value, and the lines it was read from (with continuation lines and their comments)."""

    key: str
    value: str
    lines: tuple[str, ...]

    def parts(self) -> tuple[str, str, str]:
        """Key as written, separator with its blanks, and what stands on the first line of the value."""
        parts = split_entry(self.lines[0].strip())
        assert parts, "an entry's first line has a separator"
        return parts

    def place(self, offset: int) -> tuple[int, int]:
        """Where ``value[offset]`` stands: lines after the entry's first, and column from 1."""
        key, separator, first = self.parts()
        start = indent_of(self.lines[0]) + len(key) + len(separator)
        pieces = [(0, start, first)]
        for number, line in enumerate(self.lines[1:], 1):
            if not is_comment(line):
                pieces.append((number, indent_of(line), line.strip()))
        for number, column, text in pieces:
            if offset <= len(text):
                return number, column + offset + 1
            offset -= len(text) + 1
        return 0, start + 1

    def with_value(self, value: str, newline: str) -> Entry:
        """The same key and layout with another value; comments among the old lines stay."""
        if clean_value(value) == self.value.strip():
            return self
        first = self.lines[0]
        indent = first[:indent_of(first)]
        key, separator, _ = self.parts()
        # "key =" lost the blank after its separator together with its value.
        if separator[:1].isspace() and not separator[-1:].isspace():
            separator += " "
        # No line end at all: the last line of a text, which stays without one.
        end = line_end(first) or (newline if len(self.lines) > 1 else "")
        comments = tuple(line for line in self.lines[1:] if is_comment(line))
        return Entry(self.key, clean_value(value),
                     render_entry(key, value, separator=separator, indent=indent, newline=end) + comments)


@dataclass(frozen=True)
class Section:
    """A header and what follows it: entries, and lines without meaning (blanks, comments) as text.

    ``lead`` are the comment lines directly above the header, which belong to it.
    """

    header: str
    title: str
    items: tuple[Entry | str, ...] = ()
    lead: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return self.title.partition(" ")[0]

    @property
    def name(self) -> str:
        return self.title.partition(" ")[2]

    @cached_property
    def values(self) -> Mapping[str, str]:
        """Each key's value; the first where a key is there twice."""
        values: dict[str, str] = {}
        for entry in self.entries:
            values.setdefault(entry.key, entry.value)
        return values

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(item for item in self.items if isinstance(item, Entry))

    def entry(self, key: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.key == key), None)

    def lines(self) -> Iterator[str]:
        yield from self.lead
        yield self.header
        for item in self.items:
            if isinstance(item, str):
                yield item
            else:
                yield from item.lines

    def with_value(self, key: str, value: str, *, order: Sequence[str] = (), newline: str = "\n",
                   separator: str = "=", indent: str = "") -> Section:
        """Set a key. A new one goes behind the last of the keys that stand before it in ``order``."""
        key = key.lower()
        old = self.entry(key)
        if old is not None:
            new = old.with_value(value, newline)
            return replace(self, items=tuple(new if item is old else item for item in self.items))
        place, beside = self._place_for(key, order)
        if beside is not None:
            separator, indent = self.style(), beside.lines[0][:indent_of(beside.lines[0])]
        entry = Entry(key, clean_value(value),
                      render_entry(key, value, separator=separator, indent=indent, newline=newline))
        return replace(self, items=(*self.items[:place], entry, *self.items[place:]))

    def without(self, key: str) -> Section:
        return replace(self, items=tuple(item for item in self.items if isinstance(item, str) or item.key != key))

    def style(self) -> str:
        """The separator of this section's entries, for one more."""
        filled = next((entry for entry in self.entries if entry.value), self.entries[-1])
        separator = filled.parts()[1]
        before = " " if separator[:1].isspace() else ""
        after = " " if separator[-1:].isspace() else ""
        return before + separator.strip() + after

    def _place_for(self, key: str, order: Sequence[str]) -> tuple[int, Entry | None]:
        """Where among the items a new key goes, and the entry beside it, whose indentation it takes."""
        rank = {name: number for number, name in enumerate(order)}
        mine = rank.get(key, len(rank))
        places = [(place, item) for place, item in enumerate(self.items) if isinstance(item, Entry)]
        before = [(place + 1, item) for place, item in places if rank.get(item.key, len(rank)) <= mine]
        if before:
            return before[-1]
        return places[0] if places else (0, None)


@dataclass(frozen=True)
class Document:
    """A campaign text. ``titles`` are ``kind name``; keys are lower case."""

    sections: tuple[Section, ...] = ()
    preamble: tuple[str, ...] = ()
    newline: str = "\n"
    has_bom: bool = False

    # ------------------------------------------------------------------------------ reading

    @cached_property
    def _index(self) -> Mapping[str, tuple[int, int]]:
        """Title to (number of the section, number of its header's line)."""
        index: dict[str, tuple[int, int]] = {}
        line = len(self.preamble) + 1
        for number, section in enumerate(self.sections):
            index.setdefault(section.title, (number, line + len(section.lead)))
            line += sum(1 for _ in section.lines())
        return index

    @property
    def titles(self) -> tuple[str, ...]:
        return tuple(section.title for section in self.sections)

    def section(self, title: str) -> Section | None:
        found = self._index.get(title)
        return self.sections[found[0]] if found else None

    def of_kind(self, kind: str) -> tuple[Section, ...]:
        """The sections ``[kind ...]``, in the order of the text; of two with one title the first."""
        return tuple(self.sections[number] for title, (number, _) in self._index.items()
                     if title.partition(" ")[0] == kind)

    def value(self, title: str, key: str) -> str | None:
        section = self.section(title)
        return section.values.get(key.lower()) if section else None

    def line_of(self, title: str, key: str = "") -> int | None:
        """The line of a key, or of the section's header if there is no such key; None if neither is there."""
        lines = self._lines.get(title)
        return lines.get(key.lower(), lines[""]) if lines else None

    @cached_property
    def _lines(self) -> Mapping[str, Mapping[str, int]]:
        """Title to the line of each key, and to that of the header under ""."""
        places: dict[str, dict[str, int]] = {}
        for title, (number, line) in self._index.items():
            places[title] = {"": line}
            for item in self.sections[number].items:
                line += 1
                if isinstance(item, Entry):
                    places[title].setdefault(item.key, line)
                    line += len(item.lines) - 1
        return places

    # ------------------------------------------------------------------------------ writing

    @property
    def text(self) -> str:
        lines = [*self.preamble]
        for section in self.sections:
            lines.extend(section.lines())
        # Only the last line of the text as it came may lack its end.
        complete = (line if line[-1:] in "\r\n" else line + self.newline for line in lines[:-1])
        return "".join(complete) + "".join(lines[-1:])

    def to_bytes(self) -> bytes:
        return (b"\xef\xbb\xbf" if self.has_bom else b"") + self.text.encode()

    def __str__(self) -> str:
        return self.text

    # ------------------------------------------------------------------------------ editing

    def with_value(self, title: str, key: str, value: str, *, order: Sequence[str] = ()) -> Document:
        """Set one key, adding key and section where they are missing."""
        document = self if self.section(title) else self.with_section(title, {})
        section = document.section(title)
        assert section, "just added"
        return document.with_replaced(section, document.set_in(section, key, value, order=order))

    def set_in(self, section: Section, key: str, value: str, *, order: Sequence[str] = ()) -> Section:
        """``section`` with a key set in this document's style; not yet part of the document."""
        style = next((other.style() for other in self.sections if other.entries), "=")
        # A key that stands further left than the next header would swallow it as its continuation.
        number = self._index[section.title][0]
        following = self.sections[number + 1:number + 2]
        indent = " " * indent_of(following[0].header) if following else ""
        return section.with_value(key, value, order=order, newline=self.newline, separator=style, indent=indent)

    def without_key(self, title: str, key: str) -> Document:
        section = self.section(title)
        return self.with_replaced(section, section.without(key.lower())) if section else self

    def with_replaced(self, old: Section, new: Section) -> Document:
        return replace(self, sections=tuple(new if section is old else section for section in self.sections))

    def with_section(self, title: str, values: Mapping[str, str], *,
                     separators: Mapping[str, str] | None = None) -> Document:
        """Add a section behind the last one that is written before its kind, a blank line between."""
        title = check_title(title)
        if self.section(title):
            raise Invalid(Problem(title, f"There is a section [{title}] already; change that one.",
                                  code="duplicate-section"))
        rank = _rank(title.partition(" ")[0])
        place = max((n + 1 for n, other in enumerate(self.sections) if _rank(other.kind) <= rank), default=0)
        above = [*self.sections[place - 1].lines()] if place else [*self.preamble]
        lead = (self.newline,) if above and above[-1].strip() else ()
        items: list[Entry | str] = []
        for key, value in values.items():
            lines = render_entry(key, value, separator=(separators or {}).get(key, "="), newline=self.newline)
            items.append(Entry(key.lower(), clean_value(value), lines))
        if place < len(self.sections):
            items.append(self.newline)
        section = Section(f"[{title}]{self.newline}", title, tuple(items), lead)
        return self._fitted((*self.sections[:place], section, *self.sections[place:]))

    def without_section(self, title: str) -> Document:
        """Remove a section with its entries, and the comments directly above it."""
        return self._fitted(tuple(section for section in self.sections if section.title != title))

    def with_title(self, old: str, new: str) -> Document:
        """Rename a section: its header changes, nothing else."""
        new = check_title(new)
        if new != old and self.section(new):
            raise Invalid(Problem(new, f"There is a section [{new}] already; choose another name.",
                                  code="duplicate-section"))
        section = self.section(old)
        if not section or new == old:
            return self
        header = section.header
        match = HEADER.match(header.strip())
        assert match, "a section has a header"
        line = header[:indent_of(header)] + f"[{new}]" + match["tail"] + line_end(header)
        return self.with_replaced(section, replace(section, header=line, title=new))

    def _fitted(self, sections: Sequence[Section]) -> Document:
        """Pull out headers that would stand further right than the key above them: that continues its value."""
        fitted: list[Section] = []
        for section in sections:
            above = fitted[-1].entries[-1:] if fitted else ()
            if above and indent_of(section.header) > indent_of(above[0].lines[0]):
                section = replace(section, header=section.header.lstrip())
            fitted.append(section)
        return replace(self, sections=tuple(fitted))


def check_title(title: str) -> str:
    """The title in its normal form; raises Invalid if it cannot stand between brackets on one line."""
    bad = find_control(title, name=True)
    if bad or not title.strip() or "]" in title:
        reason = f"the character {bad}" if bad else "a ]" if "]" in title else "nothing"
        raise Invalid(Problem(title, f"A section's title may not contain {reason}.", code="bad-name"))
    return normal_title(title)


def clean_value(value: str) -> str:
    """A value as it will be read again: lines stripped, none empty at its beginning and end."""
    return "\n".join(line.strip() for line in _LINE_END.split(value)).strip()


def render_entry(key: str, value: str, *, separator: str = "=", indent: str = "",
                 newline: str = "\n") -> tuple[str, ...]:
    """The lines of an entry; raises Invalid for what the syntax cannot express."""
    bad = find_control(value)
    if bad:
        raise Invalid(Problem(key, f"The value contains the character {bad}; remove it.", code="control-character"))
    if not _KEY.fullmatch(key.strip()):
        raise Invalid(Problem(key, "A key begins with a letter and contains neither = nor :.", code="bad-key"))
    first, *rest = clean_value(value).split("\n")
    lost = next((line for line in rest if line[:1] in ("#", ";") and line), None)
    if lost is not None:
        raise Invalid(Problem(key, f"The line {lost!r} of the value would become a comment; join it to the line above.",
                              code="comment-in-value"))
    more = (indent + "    " + line + newline if line else newline for line in rest)
    return ((indent + key.strip() + separator + first).rstrip() + newline, *more)


def _rank(kind: str) -> int:
    return SECTION_ORDER.index(kind) if kind in SECTION_ORDER else len(SECTION_ORDER)


def indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())


def line_end(line: str) -> str:
    return line[len(line.rstrip("\r\n")):]


def is_comment(line: str) -> bool:
    return line.lstrip()[:1] in ("#", ";") and bool(line.strip())
