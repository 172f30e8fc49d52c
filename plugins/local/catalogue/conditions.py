"""Conditions on one column: text with wild cards, numbers, times, runs. Values are always bound parameters.

``!=`` and ``not like`` ask for another value: a file without any value fits neither them nor ``=``.
Text compares by code points and letter case, on SQLite as on PostgreSQL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Float, and_, bindparam, false, literal, not_, or_, true

from . import language
from .language import Dimension, Range, Value
from .tables import Name, UtcDateTime

Column = ColumnElement[Any]
NUMBER = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?")
RUN = re.compile(r"(\d{1,18})(?:\.(\d{1,18}))?")
PLAIN_DATES = ("%Y-%m-%d", "%d-%b-%Y", "%d-%b-%y")
TIMES = ("%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%d %H:%M:%S.%f%z",
         "%Y-%m-%dT%H:%M%z", "%Y-%m-%d %H:%M%z")
ORDERINGS: dict[str, Callable[[Any, Any], Any]] = {
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
}


def negates(operator: str) -> bool:
    return operator in ("!=", "not like")


def _refuse(value: Value | Range, message: str) -> language.Unreadable:
    return language.Unreadable(message, value.position)


def any_of(conditions: Sequence[Column]) -> Column:
    return or_(false(), *conditions)


def _bound_text(text: str) -> Column:
    return bindparam(None, text, type_=Name)


# ------------------------------------------------------------------------------------------- text


def has_wildcards(text: str) -> bool:
    return "%" in text or "?" in text


def like(column: Column, pattern: str, dialect: str) -> Column:
    """``%`` is any text, ``?`` one character, all else itself, and letter case counts."""
    if dialect == "sqlite":
        # LIKE would not tell upper from lower case there; GLOB does, and can use an index.
        translated = "".join({"%": "*", "*": "[*]", "[": "[[]"}.get(each, each) for each in pattern)
        return column.op("GLOB", is_comparison=True)(_bound_text(translated))
    translated = "".join({"?": "_", "_": "\\_", "\\": "\\\\"}.get(each, each) for each in pattern)
    return column.like(_bound_text(translated), escape="\\")


def text_condition(column: Column, dimension: Dimension, dialect: str) -> Column:
    if dimension.operator in ORDERINGS:
        return ORDERINGS[dimension.operator](column, _bound_text(_only_value(dimension).text))
    plain: list[str] = []
    found: list[Column] = []
    for value in dimension.values:
        if isinstance(value, Range):
            if value.low.quoted or value.high.quoted:
                found.append(and_(column >= _bound_text(value.low.text), column <= _bound_text(value.high.text)))
            else:
                # 2016-10 is a text like any other; only quoted texts make a range of texts.
                plain.append(f"{value.low.text}-{value.high.text}")
        elif value.text == "%":
            found.append(column.is_not(None))
        elif has_wildcards(value.text):
            found.append(like(column, value.text, dialect))
        else:
            plain.append(value.text)
    if plain:
        found.append(column == _bound_text(plain[0]) if len(plain) == 1 else column.in_(plain))
    return not_(any_of(found)) if negates(dimension.operator) else any_of(found)


def _only_value(dimension: Dimension) -> Value:
    value = dimension.values[0]
    assert isinstance(value, Value)
    return value


# ----------------------------------------------------------------------------------------- numbers


def number(value: Value) -> int | float | None:
    """The number that a value is, or None."""
    if not NUMBER.fullmatch(value.text):
        return None
    if "." not in value.text:
        whole = int(value.text)
        if abs(whole) <= language.LARGEST:
            return whole
    return float(value.text)


def _bound_number(figure: int | float) -> Column:
    if isinstance(figure, int):
        return literal(figure, BigInteger)
    # No stored number is that large: any other out of reach compares the same.
    return literal(math.copysign(1e300, figure) if math.isinf(figure) else figure, Float)


def _required_number(value: Value, name: str) -> int | float:
    figure = number(value)
    if figure is None:
        raise _refuse(value, f"{name} is compared with a number, not with '{value.text}'")
    return figure


def number_condition(column: Column, dimension: Dimension) -> Column:
    name = dimension.name
    if dimension.operator in ORDERINGS:
        return ORDERINGS[dimension.operator](column, _bound_number(_required_number(_only_value(dimension), name)))
    found: list[Column] = []
    whole: list[int] = []
    for value in dimension.values:
        if isinstance(value, Range):
            low, high = _required_number(value.low, name), _required_number(value.high, name)
            found.append(and_(column >= _bound_number(low), column <= _bound_number(high)))
            continue
        if value.text == "%":
            found.append(column.is_not(None))
            continue
        figure = _required_number(value, name)
        if isinstance(figure, int):
            whole.append(figure)
        else:
            found.append(column == _bound_number(figure))
    if whole:
        found.append(column == _bound_number(whole[0]) if len(whole) == 1 else column.in_(whole))
    return not_(any_of(found)) if negates(dimension.operator) else any_of(found)


def parameter_condition(words: Column, figures: Column, dimension: Dimension, dialect: str) -> Column:
    """An experiment's own parameter: numbers compare as numbers where both sides are, else as text."""
    if not any(_is_number(value) for value in dimension.values):
        return text_condition(words, dimension, dialect)
    if dimension.operator in ORDERINGS:
        return number_condition(figures, dimension)
    equal = Dimension(dimension.name, "=", dimension.values, dimension.position)
    either = [text_condition(words, equal, dialect)]
    numbers = tuple(value for value in dimension.values if _is_number(value))
    either.append(and_(figures.is_not(None), number_condition(figures, Dimension(dimension.name, "=", numbers))))
    return not_(or_(*either)) if negates(dimension.operator) else or_(*either)


def _is_number(value: Value | Range) -> bool:
    if isinstance(value, Range):
        return _is_number(value.low) and _is_number(value.high)
    return number(value) is not None


# ------------------------------------------------------------------------------------------- times


def moment(text: str) -> tuple[datetime, bool] | None:
    """The time that a text says, and whether it is a whole day; None if it says none. No zone: UTC."""
    text = text.strip()
    for form in PLAIN_DATES:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC), True
        except ValueError:
            continue
    zoned = text if re.search(r"(Z|[+-]\d\d:?\d\d)$", text) and ":" in text else f"{text}+0000"
    for form in TIMES:
        try:
            return datetime.strptime(zoned, form).astimezone(UTC), False
        except (ValueError, OverflowError):
            continue
    return None


def _required_moment(value: Value, name: str) -> tuple[datetime, bool]:
    found = moment(value.text)
    if found is None:
        raise _refuse(value, f"{name} is compared with a time such as 2016-10-01 or '2016-10-01T12:00:00+0000', "
                             f"not with '{value.text}'")
    return found


def _bound_time(value: datetime) -> Column:
    return bindparam(None, value, type_=UtcDateTime)


def _span(column: Column, low: datetime, high: datetime, *, whole_day: bool) -> Column:
    """From low to high; a high that is a plain date means until the end of that day."""
    if whole_day:
        return and_(column >= _bound_time(low), column < _bound_time(high + timedelta(days=1)))
    return and_(column >= _bound_time(low), column <= _bound_time(high))


def time_condition(column: Column, dimension: Dimension) -> Column:
    name = dimension.name
    if dimension.operator in ORDERINGS:
        return ORDERINGS[dimension.operator](column, _bound_time(_required_moment(_only_value(dimension), name)[0]))
    found: list[Column] = []
    for value in dimension.values:
        if isinstance(value, Range):
            low, (high, whole_day) = _required_moment(value.low, name)[0], _required_moment(value.high, name)
            found.append(_span(column, low, high, whole_day=whole_day))
        elif value.text == "%":
            found.append(column.is_not(None))
        else:
            at, whole_day = _required_moment(value, name)
            found.append(_span(column, at, at, whole_day=whole_day))
    return not_(any_of(found)) if negates(dimension.operator) else any_of(found)


# -------------------------------------------------------------------------------------------- runs


def _required_run(value: Value) -> tuple[int, int | None]:
    parts = RUN.fullmatch(value.text)
    if parts is None:
        raise _refuse(value, f"run_number is compared with a run or run.subrun such as 7 or 7.0002, "
                             f"not with '{value.text}'")
    return int(parts[1]), int(parts[2]) if parts[2] else None


def run_condition(run: Column, subrun: Column, dimension: Dimension) -> Column:
    """``7`` is run 7 with all its subruns, ``7.0002`` subrun 2 of it; ordering is by run, then subrun."""
    if dimension.operator in ORDERINGS:
        return _run_ordering(run, subrun, dimension.operator, _required_run(_only_value(dimension)))
    found: list[Column] = []
    for value in dimension.values:
        if isinstance(value, Range):
            low, high = _required_run(value.low), _required_run(value.high)
            found.append(and_(_run_ordering(run, subrun, ">=", low), _run_ordering(run, subrun, "<=", high)))
        elif value.text == "%":
            found.append(true())
        else:
            number_of_run, number_of_subrun = _required_run(value)
            same_run = run == literal(number_of_run, BigInteger)
            found.append(same_run if number_of_subrun is None else
                         and_(same_run, subrun.is_not(None), subrun == literal(number_of_subrun, BigInteger)))
    return not_(any_of(found)) if negates(dimension.operator) else any_of(found)


def _run_ordering(run: Column, subrun: Column, operator: str, bound: tuple[int, int | None]) -> Column:
    number_of_run = literal(bound[0], BigInteger)
    if bound[1] is None:
        return ORDERINGS[operator](run, number_of_run)
    within = ORDERINGS[operator](subrun, literal(bound[1], BigInteger))
    return or_(ORDERINGS[operator[0]](run, number_of_run), and_(run == number_of_run, subrun.is_not(None), within))
