"""SAM dimensions: from text to a tree, and back to the text's normal form. What it means is in ``compiler``.

Keywords are case-blind, blanks mean nothing except between words, single quotes are doubled inside
single quotes. A text that cannot be read raises Invalid with line, column, the line and a caret.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from poms.webservice.errors import Invalid, Problem
from poms.webservice.rules.sam_queries import NUMBER_OR_DATE, RESERVED, quote

MAX_LENGTH = 2_000_000
MAX_DEPTH = 24
# SQLite refuses an expression of more than a thousand steps.
MAX_TERMS = 600
MAX_PATTERNS = 300
MAX_VALUES = 20_000
AVAILABILITIES = ("default", "physical", "anylocation", "virtual")
MODIFIERS = ("limit", "offset", "stride", "availability")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]*")
LARGEST = 2**63 - 1

WORD_CHARACTERS = "A-Za-z0-9_.%?+-"
QUOTED = r"""(?:'(?:[^']|'')*'|"(?:[^"]|"")*")"""
BOUND = NUMBER_OR_DATE
RANGE = rf"(?:{QUOTED}|{BOUND})\s*-\s*(?:{QUOTED}|{BOUND}(?![{WORD_CHARACTERS}]))"
RANGE_PARTS = re.compile(rf"(?P<low>{QUOTED}|{BOUND})\s*-\s*(?P<high>{QUOTED}|{BOUND})")


def _keyword(*words: str) -> str:
    return rf"/(?:{'|'.join(words)})(?![{WORD_CHARACTERS}])/i"


def _prefix(*words: str) -> str:
    return rf"/(?:{'|'.join(words)})\s*:/i"


GRAMMAR = rf"""
start: expression
expression: set_operation [_WITH modifier+]
?set_operation: alternatives
    | set_operation SET_OPERATOR alternatives -> combined
?alternatives: group (_OR group)+ -> any_of
    | group
?group: term (_AND term)+ -> all_of
    | term
?term: _AVAILABLE value ("," value)* -> available
    | negation
?negation: NOT negation -> negated
    | base
?base: "(" expression ")" -> parenthesised
    | WORD argument -> dimension
    | DEFINITION value -> definition
    | RELATION "(" expression ")" -> relative
argument: IN members -> one_of
    | NOT IN members -> none_of
    | COMPARISON single -> compared
    | LIKE single -> like
    | NOT LIKE single -> not_like
    | [EQUALS] members -> equals
?members: member ("," member)* -> members
    | "(" member ("," member)* ")" -> members
?member: value | RANGE -> range
?single: value | "(" value ")"
value: STRING | WORD
modifier: LIMIT value | OFFSET value | STRIDE value | AVAILABILITY value ("," value)* | WORD value

_WITH.4: {_keyword("with")}
_OR.4: {_keyword("or")}
_AND.4: {_keyword("and")}
NOT.4: {_keyword("not")}
IN.4: {_keyword("in")}
LIKE.4: {_keyword("like")}
SET_OPERATOR.4: {_keyword("minus", "union", "intersect")}
LIMIT.4: {_keyword("limit")}
OFFSET.4: {_keyword("offset")}
STRIDE.4: {_keyword("stride")}
AVAILABILITY.4: {_keyword("availability")}
_AVAILABLE.5: {_prefix("availability")}
DEFINITION.5: {_prefix("defname")}
RELATION.5: {_prefix("isparentof", "ischildof", "isancestorof", "isdescendantof")}
COMPARISON: "<=" | ">=" | "<" | ">"
EQUALS: "!=" | "="
RANGE.3: /{RANGE}/
STRING.2: /{QUOTED}/
WORD: /(?!(?:{"|".join(sorted(RESERVED))})(?![{WORD_CHARACTERS}]))[{WORD_CHARACTERS}]+/i
%ignore /\s+/
"""


@dataclass(frozen=True, slots=True)
class Value:
    """One value as written, without its quotes. ``position`` counts characters from 0."""

    text: str
    quoted: bool = False
    position: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    low: Value
    high: Value

    @property
    def position(self) -> int:
        return self.low.position


@dataclass(frozen=True, slots=True)
class Dimension:
    """A property of files: ``operator`` is =, !=, <, <=, >, >=, like or ``not like``."""

    name: str
    operator: str
    values: tuple[Value | Range, ...]
    position: int = 0


@dataclass(frozen=True, slots=True)
class Definition:
    name: str
    position: int = 0


@dataclass(frozen=True, slots=True)
class Relative:
    """``kind`` is isparentof, ischildof, isancestorof or isdescendantof."""

    kind: str
    query: Node


@dataclass(frozen=True, slots=True)
class AllOf:
    """Files that fit every item; with no items every file."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negated:
    item: Node


@dataclass(frozen=True, slots=True)
class Combined:
    """``operator`` is minus, union or intersect."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Modified:
    """``with ...``: filter, order, offset, stride, limit, in this order."""

    item: Node
    limit: int | None = None
    offset: int = 0
    stride: int = 1
    availability: tuple[str, ...] = ()

    @property
    def is_cut(self) -> bool:
        return self.limit is not None or self.offset > 0 or self.stride > 1


@dataclass(frozen=True, slots=True)
class Available:
    """``availability: x`` standing alone; only while the tree is made."""

    words: tuple[str, ...]


Node = Dimension | Definition | Relative | AllOf | AnyOf | Negated | Combined | Modified


class Unreadable(Exception):
    """Something is wrong at a position; becomes Invalid once the whole text is known."""

    def __init__(self, message: str, position: int) -> None:
        self.message = message
        self.position = position
        super().__init__(message)


def located(text: str, position: int, message: str, code: str = "dimensions") -> Invalid:
    """The condition for a mistake in a query: line, column, the line and a caret below it."""
    position = min(position, len(text))
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line_text = text[start:] if end < 0 else text[start:end]
    line, column = text.count("\n", 0, position) + 1, position - start + 1
    # A query may be very long: show what is around the mistake.
    first = max(0, column - 61)
    shown = line_text[first:first + 120]
    caret = "".join("\t" if each == "\t" else " " for each in shown[:column - 1 - first]) + "^"
    return Invalid(Problem("", f"{message} (line {line}, column {column})\n{shown}\n{caret}", code=code))


class _Builder(Transformer[Token, Any]):
    """Makes the tree while the text is parsed, so that depth of nesting costs no stack."""

    def start(self, children: list[Any]) -> Node:
        return _whole(children[0])

    def expression(self, children: list[Any]) -> Any:
        item, *modifiers = children
        modifiers = [modifier for modifier in modifiers if modifier is not None]
        if not modifiers:
            return item
        return _modified(_whole(item), modifiers)

    def modifier(self, children: list[Any]) -> tuple[Token, list[Value]]:
        return children[0], children[1:]

    def combined(self, children: list[Any]) -> Combined:
        left, operator, right = children
        return Combined(operator.lower(), _whole(left), _whole(right))

    def any_of(self, children: list[Any]) -> AnyOf:
        return AnyOf(_flat(AnyOf, [_whole(child) for child in children]))

    def all_of(self, children: list[Any]) -> Node:
        words = tuple(word for child in children if isinstance(child, Available) for word in child.words)
        items = _flat(AllOf, [child for child in children if not isinstance(child, Available)])
        item = items[0] if len(items) == 1 else AllOf(items)
        return Modified(item, availability=words) if words else item

    def available(self, children: list[Value]) -> Available:
        return Available(_availability(children))

    def negated(self, children: list[Any]) -> Negated:
        return Negated(_whole(children[1]))

    def parenthesised(self, children: list[Any]) -> Any:
        return children[0]

    def dimension(self, children: list[Any]) -> Dimension:
        word, (operator, values) = children
        name = word.lower()
        if not NAME.fullmatch(word):
            raise Unreadable(f"'{word}' is no name of a dimension", word.start_pos)
        return Dimension(name, operator, tuple(values), word.start_pos)

    def definition(self, children: list[Any]) -> Definition:
        return Definition(children[1].text, children[1].position)

    def relative(self, children: list[Any]) -> Relative:
        return Relative(children[0].rstrip(": \t\r\n").lower(), _whole(children[1]))

    def one_of(self, children: list[Any]) -> tuple[str, Any]:
        return "=", children[1]

    def none_of(self, children: list[Any]) -> tuple[str, Any]:
        return "!=", children[2]

    def compared(self, children: list[Any]) -> tuple[str, Any]:
        return str(children[0]), [children[1]]

    def like(self, children: list[Any]) -> tuple[str, Any]:
        return "like", [children[1]]

    def not_like(self, children: list[Any]) -> tuple[str, Any]:
        return "not like", [children[2]]

    def equals(self, children: list[Any]) -> tuple[str, Any]:
        return str(children[0] or "="), children[1]

    def members(self, children: list[Any]) -> list[Any]:
        return children

    @v_args(inline=True)
    def value(self, token: Token) -> Value:
        position = token.start_pos or 0
        if token.type == "STRING":
            return _unquoted(token, position)
        return Value(str(token), False, position)

    @v_args(inline=True)
    def range(self, token: Token) -> Range:
        parts = RANGE_PARTS.fullmatch(token)
        assert parts is not None
        start = token.start_pos or 0
        low, high = (
            _unquoted(parts[side], start + parts.start(side)) if parts[side][0] in "'\"" else
            Value(parts[side], False, start + parts.start(side)) for side in ("low", "high"))
        return Range(low, high)


def _unquoted(text: str, position: int) -> Value:
    mark = text[0]
    return Value(text[1:-1].replace(mark * 2, mark), True, position)


def _whole(item: Any) -> Any:
    """``availability: x`` by itself means all files of that availability."""
    return Modified(AllOf(()), availability=item.words) if isinstance(item, Available) else item


def _flat(kind: type[AllOf] | type[AnyOf], items: list[Any]) -> tuple[Any, ...]:
    found: list[Any] = []
    for item in items:
        found += item.items if isinstance(item, kind) and item.items else [item]
    return tuple(found)


def _availability(values: list[Value]) -> tuple[str, ...]:
    for value in values:
        if value.text.lower() not in AVAILABILITIES:
            raise Unreadable(f"'{value.text}' is no availability; there are: {', '.join(AVAILABILITIES)}",
                             value.position)
    return tuple(dict.fromkeys(value.text.lower() for value in values))


def _modified(item: Node, modifiers: list[tuple[Token, list[Value]]]) -> Modified:
    settings: dict[str, Any] = {}
    for token, values in modifiers:
        name = token.lower()
        if name not in MODIFIERS:
            near = difflib.get_close_matches(name, MODIFIERS, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(MODIFIERS)}"
            raise Unreadable(f"'{token}' is no modifier{hint}", token.start_pos or 0)
        if name in settings:
            raise Unreadable(f"{name} is given twice", token.start_pos or 0)
        settings[name] = _availability(values) if name == "availability" else _whole_number(name, values[0])
    return Modified(item, **settings)


def _whole_number(name: str, value: Value) -> int:
    least = 1 if name == "stride" else 0
    if not re.fullmatch(r"[0-9]+", value.text) or int(value.text[:30]) < least:
        raise Unreadable(f"{name} needs a whole number, {least} or more, not '{value.text}'", value.position)
    return min(int(value.text[:30]), LARGEST)


_parser = Lark(GRAMMAR, parser="lalr", lexer="contextual", transformer=_Builder(), maybe_placeholders=True)


@lru_cache(maxsize=512)
def parse(text: str) -> Node:
    """The tree of a query. Raises Invalid with the position of the first mistake."""
    if len(text) > MAX_LENGTH:
        raise Invalid(f"query limit: the query has {len(text)} characters; at most {MAX_LENGTH} are read")
    if not text.strip():
        raise located(text, 0, "the query is empty")
    if "\0" in text:
        raise located(text, text.index("\0"), "a character that no name can hold")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise located(text, error.start, "a character that no name can hold") from None
    try:
        tree: Any = _parser.parse(text)
    except Unreadable as problem:
        raise located(text, problem.position, problem.message) from None
    except VisitError as error:
        if isinstance(error.orig_exc, Unreadable):
            raise located(text, error.orig_exc.position, error.orig_exc.message) from None
        raise
    except UnexpectedInput as error:
        raise located(text, *_explained(text, error)) from None
    _check_size(text, tree)
    return tree


def _explained(text: str, error: UnexpectedInput) -> tuple[int, str]:
    """Where the parser stopped, and what a person would call it."""
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return len(text.rstrip()), "syntax error: the query ends too early"
    position = error.pos_in_stream if error.pos_in_stream is not None else len(text)
    if isinstance(error, UnexpectedCharacters | UnexpectedToken) and position < len(text):
        character = text[position]
        if character in "'\"":
            return position, "syntax error: something is wrong with this quoted text, perhaps its end is missing"
        if character in ":/=":
            return position, f"syntax error at '{character}': a value that holds one must stand in quotes"
        word = re.match(rf"[{WORD_CHARACTERS}]+", text[position:])
        if word and word[0].lower() in RESERVED:
            return position, (f"syntax error: '{word[0]}' stands where a name or a value is expected; quote it if it "
                              f"is meant as a value")
        return position, f"syntax error at '{word[0] if word else character}'"
    return position, "syntax error"


def parts(node: Node) -> tuple[Node, ...]:
    """The nodes directly below a node."""
    if isinstance(node, AllOf | AnyOf):
        return node.items
    if isinstance(node, Negated | Modified):
        return (node.item,)
    if isinstance(node, Combined):
        return node.left, node.right
    if isinstance(node, Relative):
        return (node.query,)
    return ()


def walk(node: Node) -> list[tuple[Node, int]]:
    """Every node with its depth; without recursion, for trees that were not checked yet."""
    found, waiting = [], [(node, 1)]
    while waiting:
        each, depth = waiting.pop()
        found.append((each, depth))
        waiting += [(part, depth + 1) for part in parts(each)]
    return found


def _check_size(text: str, tree: Node) -> None:
    nodes = walk(tree)
    if len(nodes) > MAX_TERMS:
        raise Invalid(f"query limit: the query has {len(nodes)} terms, at most {MAX_TERMS}: write lists as a,b,c")
    values = [value for node, _ in nodes if isinstance(node, Dimension) for value in node.values]
    if len(values) > MAX_VALUES:
        raise Invalid(f"query limit: the query lists {len(values)} values, at most {MAX_VALUES}: use a snapshot")
    patterns = sum(isinstance(value, Range) or "%" in value.text or "?" in value.text for value in values)
    if patterns > MAX_PATTERNS:
        raise Invalid(f"query limit: the query has {patterns} patterns and ranges, at most {MAX_PATTERNS}")
    if max(depth for _, depth in nodes) > MAX_DEPTH:
        raise Invalid(f"query limit: the query is nested more than {MAX_DEPTH} deep")
    kinds = [node.kind for node, _ in nodes if isinstance(node, Relative)]
    far = [kind for kind in kinds if kind in ("isancestorof", "isdescendantof")]
    if far and len(kinds) > 1:
        raise located(text, max(0, text.lower().find(far[0])),
                      "Query forbidden: isancestorof or isdescendantof can stand only once, and not together with "
                      "isparentof or ischildof")


# ----------------------------------------------------------------------------------- back to text

# How tightly each node binds; what is looser than its place goes into parentheses.
_WITH, _SET, _ANY, _ALL, _NOT, _BASE = range(6)


def normalise(text: str) -> str:
    """The same query in its normal form: one spelling, only the parentheses and quotes that are needed."""
    return render(parse(text))


def render(node: Node, place: int = _WITH) -> str:
    strength, text = _rendered(node)
    return f"({text})" if strength < place else text


def _rendered(node: Node) -> tuple[int, str]:
    if isinstance(node, Dimension):
        return _BASE, _dimension_text(node)
    if isinstance(node, Definition):
        return _BASE, f"defname:{quote(node.name)}"
    if isinstance(node, Relative):
        return _BASE, f"{node.kind}:({render(node.query)})"
    if isinstance(node, Negated):
        return _NOT, f"not {render(node.item, _NOT)}"
    if isinstance(node, AllOf):
        return _ALL, " and ".join(render(item, _NOT) for item in node.items)
    if isinstance(node, AnyOf):
        return _ANY, " or ".join(render(item, _ALL) for item in node.items)
    if isinstance(node, Combined):
        return _SET, f"{render(node.left, _SET)} {node.operator} {render(node.right, _ANY)}"
    return _WITH, _modified_text(node)


def _dimension_text(node: Dimension) -> str:
    values = ",".join(
        f"{_bound_text(value.low)}-{_bound_text(value.high)}" if isinstance(value, Range) else quote(value.text)
        for value in node.values)
    return f"{node.name} {values}" if node.operator == "=" else f"{node.name} {node.operator} {values}"


def _bound_text(value: Value) -> str:
    """A bound keeps its quotes: without them it might be read as part of a word."""
    mark = '"' if "'" in value.text and '"' not in value.text else "'"
    return f"{mark}{value.text.replace(mark, mark * 2)}{mark}" if value.quoted else value.text


def _modified_text(node: Modified) -> str:
    words = [
        f"availability {','.join(node.availability)}" if node.availability else "",
        f"offset {node.offset}" if node.offset else "",
        f"stride {node.stride}" if node.stride > 1 else "",
        f"limit {node.limit}" if node.limit is not None else "",
    ]
    modifiers = " ".join(word for word in words if word) or "offset 0"
    if node.item == AllOf(()) and node.availability:
        rest = " ".join(word for word in words[1:] if word)
        return f"availability:{','.join(node.availability)}" + (f" with {rest}" if rest else "")
    return f"{render(node.item, _SET)} with {modifiers}"
