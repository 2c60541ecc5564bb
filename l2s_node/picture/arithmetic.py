"""Arithmetic: the sizes of buffers as ISF files write them (``max($WIDTH * 0.25, 1.0)``). Nothing else is evaluated."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping

MAX_LENGTH = 500

_OPERATORS: Mapping[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: math.fmod,
    ast.Pow: math.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_FUNCTIONS: Mapping[str, tuple[Callable[..., float], int]] = {
    **{name: (getattr(math, name), 1) for name in ("floor", "ceil", "sqrt", "exp", "log", "log2", "sin", "cos", "tan")},
    **{name: (function, 1) for name, function in (("abs", abs), ("round", round), ("trunc", math.trunc))},
    **{name: (function, 2) for name, function in (("min", min), ("max", max), ("pow", math.pow), ("mod", math.fmod))},
}
"""By name, with how many arguments each takes."""


class Expression:
    """``+ - * / % **``, parentheses, numbers, ``$names`` and the functions that GLSL and ISF hosts share.

    Attributes:
        text: as it was written.
        names: the names behind the dollar signs.
    """

    def __init__(self, text: str) -> None:
        """Read `text`.

        Raises:
            ValueError: it is no such expression; the message says so.
        """
        self.text = text
        self.names = frozenset(re.findall(r"\$(\w+)", text))
        try:
            if len(text) > MAX_LENGTH:
                raise ValueError
            self._root = ast.parse(re.sub(r"\$(?=[A-Za-z_])", "_d_", text).strip(), mode="eval").body
            _check(self._root)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
            raise ValueError(f"{text[:80]!r} is no arithmetic with $WIDTH, $HEIGHT and $inputs") from err

    def __call__(self, values: Mapping[str, float]) -> float:
        """Its value, `values` being those of the names.

        Raises:
            ValueError: a name is unknown, or the result is no finite number.
        """
        try:
            value = float(_value(self._root, values))
        except (ArithmeticError, KeyError, TypeError) as err:
            raise ValueError(f"{self.text!r} has no value: {err}") from err
        if not math.isfinite(value):
            raise ValueError(f"{self.text!r} is not finite")
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def _check(node: ast.expr) -> None:
    """Nothing but what `_value` knows; raises ValueError."""
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        _check(node.left)
        _check(node.right)
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        _check(node.operand)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id not in _FUNCTIONS or len(node.args) != _FUNCTIONS[node.func.id][1]:
            raise ValueError
        for argument in node.args:
            _check(argument)
    elif isinstance(node, ast.Name):
        if not node.id.startswith("_d_"):
            raise ValueError
    elif not (isinstance(node, ast.Constant) and type(node.value) in (int, float)):
        raise ValueError


def _value(node: ast.expr, values: Mapping[str, float]) -> float:
    """Floats only, so that no power grows without end."""
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, values), _value(node.right, values))
    if isinstance(node, ast.UnaryOp):
        return _OPERATORS[type(node.op)](_value(node.operand, values))
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        return float(_FUNCTIONS[node.func.id][0](*(_value(argument, values) for argument in node.args)))
    if isinstance(node, ast.Name):
        return float(values[node.id.removeprefix("_d_")])
    assert isinstance(node, ast.Constant)
    return float(node.value)  # type: ignore[arg-type]
