"""Values of the variables of a formula in a table."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from skdep.formula._contrasts import contrasts_of
from skdep.formula._elementwise import ELEMENTWISE, arithmetic, compare, is_member
from skdep.formula._stateful import STATEFUL, known_levels, remembered
from skdep.formula._syntax import Binary, Call, Group, Name, Node, Number, Text, Unary
from skdep.formula._values import Columns, Factor, as_number, column_of, column_value, factor_of, level_text

__all__ = ["CONSTANTS", "Evaluator", "unknown_column"]

CONSTANTS: dict[str, Any] = {
    "TRUE": True,
    "FALSE": False,
    "True": True,
    "False": False,
    "T": True,
    "F": False,
    "pi": np.pi,
    "NULL": None,
    "None": None,
}

# Arguments of functions whose names are no Python names.
_ARGUMENTS = {"Boundary.knots": "bounds", "include.lowest": "include_lowest", "include_intercept": "intercept"}


class Evaluator:
    """Gives values of variables.

    Parameters
    ----------
    frame : DataFrame
        The rows; in the columns that are used nothing is missing.
    state : dict
        What functions keep of the rows of the fit, by their text: filled in training.
    training : bool
        Whether these are the rows of the fit.
    functions : mapping from str to callable
        Functions of the user.
    keep_unused : bool
        Whether declared levels that no row has are kept.
    """

    def __init__(
        self,
        frame: Any,
        state: dict[str, dict[str, Any]],
        *,
        training: bool,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        keep_unused: bool = False,
    ):
        self._frame, self._state, self._training = frame, state, training
        self._functions, self._keep_unused = dict(functions or {}), keep_unused
        self._known: dict[Node, Any] = {}

    def variable(self, node: Node) -> np.ndarray | Factor | Columns:
        """Return the value of a variable: numbers (n_rows,), a factor or columns.

        Parameters
        ----------
        node : Node
            The variable.
        """
        found = self._known.get(node)
        if found is not None:
            return found
        found = self._as_in_the_fit(self.value(node), node)
        if isinstance(found, np.ndarray) and found.dtype == bool:
            found = Factor(found.astype(np.intp), (False, True), declared=True)
            found = self._with_levels(found, node, keep=True)
        elif isinstance(found, Factor):
            found = self._with_levels(found, node, keep=self._keep_unused)
        elif not isinstance(found, Columns):
            found = self._numbers(found, node)
        self._known[node] = found
        return found

    def _as_in_the_fit(self, found: Any, node: Node) -> Any:
        """Return new rows of a variable as what it was in the fit: numbers, or categories.

        A category may come back as its numbers, and numbers 0 and 1 as booleans, from files and from tables written by
        hand. The design would take the numbers for a column of it.
        """
        if self._training or isinstance(found, Columns):
            return found
        was_factor = f"levels of {node}" in self._state
        is_flag = isinstance(found, np.ndarray) and found.dtype == bool
        if was_factor and not is_flag and not isinstance(found, Factor):
            return factor_of(self._numbers(found, node))
        if was_factor or not (is_flag or isinstance(found, Factor)):
            return found
        if is_flag:
            return found.astype(np.float64)
        raise ValueError(
            f"{_spoken(node)} was numbers in the fit, and now has categories, the first "
            f"{level_text(found.levels[0])!r}: make numbers of it."
        )

    def _with_levels(self, found: Factor, node: Node, *, keep: bool) -> Factor:
        state = self._state.setdefault(f"levels of {node}", {})
        return known_levels(found, state, _spoken(node), training=self._training, keep_unused=keep)

    def _numbers(self, found: Any, node: Node) -> np.ndarray | Columns:
        n_rows = len(self._frame)
        try:
            values = np.asarray(found, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{node} gives no numbers: {error}") from error
        if values.ndim == 2 and len(values) == n_rows:
            return Columns(values, tuple(str(k + 1) for k in range(values.shape[1])))
        if values.shape != (n_rows,):
            raise ValueError(f"{node} has shape {values.shape}, and not one value for each of {n_rows} rows.")
        return values

    def value(self, node: Node) -> Any:
        """Return the value of any expression: also a single number, text or list."""
        if isinstance(node, Number | Text):
            return node.value
        if isinstance(node, Name):
            return self._column(node.name)
        if isinstance(node, Group):
            return self.value(node.inner)
        if isinstance(node, Unary):
            return self._unary(node)
        if isinstance(node, Binary):
            return self._binary(node)
        return self._call(node)

    def _column(self, name: str) -> Any:
        if name in self._frame.columns:
            found = column_value(column_of(self._frame, name), name)
            if isinstance(found, Factor):
                return remembered(found, self._state.setdefault(f"column {name}", {}))
            return found
        if name in CONSTANTS:
            return CONSTANTS[name]
        raise unknown_column(name, self._frame)

    def _unary(self, node: Unary) -> Any:
        value = self.value(node.operand)
        if node.operator == "!":
            return ~np.asarray(value, dtype=bool)
        if node.operator == "~":
            raise ValueError(f"{node}: a formula within a formula means nothing here.")
        number = as_number(value, f"'{node.operator}'")
        return -number if node.operator == "-" else number

    def _binary(self, node: Binary) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        if node.operator == "%in%":
            return is_member(left, right)
        if node.operator in ("&", "&&", "|", "||"):
            sides = [np.asarray(side, dtype=bool) for side in (left, right)]
            return sides[0] & sides[1] if "&" in node.operator else sides[0] | sides[1]
        if node.operator in ("==", "!=", "<", "<=", ">", ">="):
            return compare(node.operator, left, right)
        if node.operator == ":":
            ends = [as_number(side, "':'") for side in (left, right)]
            if any(np.ndim(end) for end in ends):
                raise ValueError(f"{node}: within a function, ':' makes a range of two numbers.")
            return np.arange(ends[0], ends[1] + 1.0).tolist()
        if node.operator in ("+", "-", "*", "/", "^", "%%", "%/%"):
            return arithmetic(node.operator, left, right)
        raise ValueError(f"{node}: the operator {node.operator!r} is not known.")

    def _call(self, node: Call) -> Any:
        name = node.function
        if name == "C":
            return self._with_contrasts(node)
        if name in self._functions:
            return self._apply(node, lambda *args, **named: self._functions[name](*map(_raw, args), **named))
        if name in ELEMENTWISE:
            return self._apply(node, ELEMENTWISE[name])
        if name in STATEFUL:
            state = self._state.setdefault(str(node), {})
            return self._apply(node, lambda *args, **named: STATEFUL[name](state, *args, **named), STATEFUL[name])
        if name.startswith(("np.", "numpy.")):
            found = getattr(np, name.partition(".")[2], None)
            if isinstance(found, np.ufunc):
                return self._apply(node, lambda *args: found(*(as_number(one, name) for one in args)))
        known = [*ELEMENTWISE, *STATEFUL, "C", "offset", *self._functions]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Is {near[0]}() meant?" if near else ""
        raise ValueError(
            f"{node}: the function {name}() is not known.{hint} Compute the column before, or pass the function: "
            f"functions={{{name!r}: ...}}."
        )

    def _apply(self, node: Call, function: Callable[..., Any], signature: Callable[..., Any] | None = None) -> Any:
        positional = [self.value(argument) for key, argument in node.arguments if key is None]
        named = {_ARGUMENTS.get(key, key): self.value(argument) for key, argument in node.arguments if key is not None}
        target = function if signature is None else signature
        if node.function not in self._functions and not node.function.startswith(("np.", "numpy.")):
            try:
                inspect.signature(target).bind(*([None] if signature is not None else []), *positional, **named)
            except TypeError as error:
                raise ValueError(f"{node}: {error}.") from error
        return function(*positional, **named)

    def _with_contrasts(self, node: Call) -> Factor:
        (_, first), *rest = node.arguments
        found = self.value(first)
        if not isinstance(found, Factor):
            found = STATEFUL["factor"]({}, found)
        contrasts = None
        for key, argument in rest:
            if key == "levels":
                found = STATEFUL["factor"]({}, found, self.value(argument))
            elif key == "base" and contrasts is not None:
                contrasts = (contrasts[0], ("number", int(self.value(argument)) - 1))
            elif key in (None, "contr", "contrasts"):
                contrasts = contrasts_of(argument, self.value)
            else:
                raise ValueError(f"{node}: the argument {key!r} is not known; there are contr, base and levels.")
        return found if contrasts is None else replace(found, contrasts=contrasts)


def _spoken(node: Node) -> str:
    """Return what a variable is called in messages."""
    return f"Column {node.name!r}" if isinstance(node, Name) else str(node)


def _raw(value: Any) -> Any:
    """Return what a function of the user gets: labels for a factor."""
    if isinstance(value, Factor):
        return value.labels
    return value.values if isinstance(value, Columns) else value


def unknown_column(name: str, frame: Any) -> ValueError:
    """Return the error for a column that the data lack, with names that are like it."""
    columns = [str(column) for column in frame.columns]
    near = difflib.get_close_matches(name, columns, n=3, cutoff=0.6)
    near = near or [column for column in columns if column.lower() == name.lower()]
    hint = f" Is {' or '.join(map(repr, near))} meant?" if near else ""
    shown = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
    return ValueError(f"The data have no column {name!r}.{hint} Columns: {shown}.")
