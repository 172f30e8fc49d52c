"""Works out the values of a launch configuration's [global_eval] section.

Only literals, the four rules of arithmetic with // and %, and str, int, float, round, min, max, len of such values;
everything else is refused. Nothing is ever handed to Python's own evaluation.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from poms.webservice.errors import Invalid

LONGEST_EXPRESSION = 500
LONGEST_RESULT = 10_000

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "str": str, "int": int, "float": float, "round": round, "min": min, "max": max, "len": len,
}


def calculate(expression: str, *, field: str) -> str:
    """The value of ``expression`` as text; raises Invalid naming ``field`` for anything but plain arithmetic."""
    if len(expression) > LONGEST_EXPRESSION:
        raise Invalid(f"the expression is longer than {LONGEST_EXPRESSION} characters", field)
    try:
        result = str(_value(ast.parse(expression.strip(), mode="eval").body, field))
    except (SyntaxError, ValueError, RecursionError) as problem:
        raise Invalid(f"'{expression}' is not an expression: {problem}", field) from problem
    except (ArithmeticError, TypeError) as problem:
        raise Invalid(f"'{expression}' cannot be worked out: {problem}", field) from problem
    if len(result) > LONGEST_RESULT:
        raise Invalid(f"the result of '{expression}' is longer than {LONGEST_RESULT} characters", field)
    return result


def _value(node: ast.expr, field: str) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float)):
        return node.value
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _UNARY[type(node.op)](_value(node.operand, field))
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = _value(node.left, field), _value(node.right, field)
        _refuse_inflation(node.op, left, right, field)
        return _BINARY[type(node.op)](left, right)
    if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
            and not node.keywords):
        return _FUNCTIONS[node.func.id](*(_value(argument, field) for argument in node.args))
    raise Invalid(
        f"'{ast.unparse(node)}' is refused: [global_eval] takes literals, + - * / // % and the functions "
        f"{', '.join(_FUNCTIONS)}; work out anything else before the launch and pass it with -Oglobal.NAME=VALUE",
        field,
    )


def _refuse_inflation(kind: ast.operator, left: Any, right: Any, field: str) -> None:
    """Text may be joined, but neither multiplied nor formatted: both can grow without bound."""
    if isinstance(kind, (ast.Mult, ast.Mod)) and (isinstance(left, str) or isinstance(right, str)):
        raise Invalid("text can only be joined with +", field)
