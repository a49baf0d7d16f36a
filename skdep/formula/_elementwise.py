"""Functions of single values, by the names that R gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit, logit

from skdep.formula._values import Factor, as_number, factor_of

__all__ = ["ELEMENTWISE", "arithmetic", "compare", "is_member"]

# Of one argument.
_UNARY: dict[str, Callable[[Any], Any]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "ceiling": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "exp": np.exp,
    "expm1": np.expm1,
    "floor": np.floor,
    "log10": np.log10,
    "log1p": np.log1p,
    "log2": np.log2,
    "plogis": expit,
    "qlogis": logit,
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
    "trunc": np.trunc,
    "as.integer": np.trunc,
}


def _unary(name: str) -> Callable[..., Any]:
    def apply(x: Any) -> Any:
        with np.errstate(all="ignore"):
            return _UNARY[name](as_number(x, f"{name}()"))

    return apply


def _identity(x: Any) -> Any:
    return x


def _log(x: Any, base: Any = None) -> Any:
    with np.errstate(all="ignore"):
        found = np.log(as_number(x, "log()"))
        return found if base is None else found / np.log(as_number(base, "log()"))


def _round(x: Any, digits: Any = 0) -> Any:
    return np.round(as_number(x, "round()"), int(digits))


def _as_numeric(x: Any) -> Any:
    if isinstance(x, Factor):
        raise ValueError(
            "as.numeric() of categories: say which numbers are meant, as in ifelse(x == 'high', 1, 0), or make a "
            "column of numbers."
        )
    return as_number(x, "as.numeric()")


def _as_logical(x: Any) -> Any:
    return as_number(x, "as.logical()") != 0.0


def _ifelse(test: Any, yes: Any, no: Any) -> Any:
    test = np.asarray(test, dtype=bool)
    sides = [side.labels if isinstance(side, Factor) else side for side in (yes, no)]
    texts = [isinstance(side, str) or np.asarray(side).dtype == object for side in sides]
    if any(texts):
        if not all(texts):
            raise ValueError("ifelse() mixes categories and numbers.")
        return factor_of(np.where(test, np.asarray(sides[0], dtype=object), np.asarray(sides[1], dtype=object)))
    return np.where(test, *(as_number(side, "ifelse()") for side in sides))


def _extreme(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def apply(first: Any, *others: Any) -> Any:
        found = as_number(first, f"{name}()")
        for other in others:
            found = function(found, as_number(other, f"{name}()"))
        return found

    return apply


def _combine(*values: Any) -> list[Any]:
    return list(values)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{name: _unary(name) for name in _UNARY},
    "I": _identity,
    "identity": _identity,
    "log": _log,
    "round": _round,
    "as.numeric": _as_numeric,
    "as.double": _as_numeric,
    "as.logical": _as_logical,
    "ifelse": _ifelse,
    "pmin": _extreme(np.minimum, "pmin"),
    "pmax": _extreme(np.maximum, "pmax"),
    "c": _combine,
}

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "^": np.power,
    "%%": np.mod,
    "%/%": np.floor_divide,
}
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def arithmetic(operator: str, left: Any, right: Any) -> Any:
    """Return the result of an arithmetic operator."""
    with np.errstate(all="ignore"):
        return _ARITHMETIC[operator](*(as_number(side, f"'{operator}'") for side in (left, right)))


def compare(operator: str, left: Any, right: Any) -> np.ndarray:
    """Return the result of a comparison; categories can be equal or not."""
    if any(isinstance(side, Factor | str) for side in (left, right)):
        if operator not in ("==", "!="):
            raise ValueError(f"{operator!r} compares numbers; categories can be compared by == and != only.")
        sides = [side.labels if isinstance(side, Factor) else side for side in (left, right)]
        same = np.asarray(sides[0] == sides[1])
        return same if operator == "==" else ~same
    return np.asarray(_COMPARISONS[operator](as_number(left, operator), as_number(right, operator)))


def is_member(left: Any, right: Any) -> np.ndarray:
    """Say which values are among those on the right."""
    values = right if isinstance(right, list) else np.atleast_1d(right).tolist()
    found = left.labels if isinstance(left, Factor) else np.asarray(left)
    return np.isin(found, np.array(values, dtype=found.dtype))
