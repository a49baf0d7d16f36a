"""Functions that learn something from the rows of the fit, and keep it: means, knots, polynomials, levels."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from skdep._stack import level_of_caller
from skdep.formula._splines import natural_spline
from skdep.formula._values import Columns, Factor, as_number, factor_of, level_text

__all__ = ["STATEFUL", "known_levels", "remembered"]

State = dict[str, Any]

# Share of the range by which values may be beyond the boundary knots without a word.
_NEAR_BOUNDARY = 1e-3


def _transform(name: str) -> Any:
    from formulaic.transforms import TRANSFORMS

    return TRANSFORMS[name]


def _columns(found: Any) -> Columns:
    """Return what formulaic made as columns."""
    found = getattr(found, "__wrapped__", found)
    if isinstance(found, dict):
        names = tuple(str(key) for key in found if not str(key).startswith("__"))
        parts = [np.asarray(part) for key, part in found.items() if not str(key).startswith("__")]
        return Columns(np.column_stack(parts).astype(np.float64), names)
    values = np.asarray(found, dtype=np.float64)
    return Columns(values, tuple(str(k + 1) for k in range(values.shape[1])))


def _scale(state: State, x: Any, center: Any = True, scale: Any = True) -> Any:
    centre, unit = (value if isinstance(value, bool) else float(value) for value in (center, scale))
    if not centre and unit is True:
        # R's root mean square, not formulaic's
        x = as_number(x, "scale()")
        root = state.setdefault("root", float(np.sqrt(np.sum(x**2) / (len(x) - 1))))
        return x / root
    return np.asarray(_transform("scale")(as_number(x, "scale()"), center=centre, scale=unit, _state=state))


def _center(state: State, x: Any) -> Any:
    return _scale(state, x, True, False)


def _poly(state: State, x: Any, degree: Any = 1, raw: Any = False) -> Columns:
    x, degree = as_number(x, "poly()"), int(degree)
    if not state and not raw and len(np.unique(x)) <= degree:
        raise ValueError(f"poly() of degree {degree} needs more than {degree} different values.")
    return _columns(_transform("poly")(x, degree=degree, raw=bool(raw), _state=state))


def _bs(
    state: State,
    x: Any,
    df: Any = None,
    knots: Any = None,
    degree: Any = 3,
    intercept: Any = False,
    bounds: Any = None,
    *,
    extrapolation: str = "extend",
) -> Columns:
    x = as_number(x, "bs()")
    if bounds is not None:
        state.setdefault("lower_bound", float(bounds[0]))
        state.setdefault("upper_bound", float(bounds[1]))
    _warn_beyond("bs()", x, state.get("lower_bound"), state.get("upper_bound"))
    found = _transform("bs")(
        x,
        df=None if df is None else int(df),
        knots=None if knots is None else np.atleast_1d(knots).tolist(),
        degree=int(degree),
        include_intercept=bool(intercept),
        extrapolation=extrapolation,
        _state=state,
    )
    return _columns(found)


def _ns(state: State, x: Any, df: Any = None, knots: Any = None, intercept: Any = False, bounds: Any = None) -> Columns:
    x = as_number(x, "ns()")
    _warn_beyond("ns()", x, *state.get("bounds", (None, None)))
    values = natural_spline(
        x,
        state,
        df=None if df is None else int(df),
        knots=None if knots is None else np.atleast_1d(knots).astype(np.float64),
        intercept=bool(intercept),
        bounds=None if bounds is None else (float(bounds[0]), float(bounds[1])),
    )
    return Columns(values, tuple(str(k + 1) for k in range(values.shape[1])))


def _warn_beyond(what: str, x: np.ndarray, low: float | None, high: float | None) -> None:
    if low is None or high is None:
        return
    near = _NEAR_BOUNDARY * (high - low)  # slopes are differences between values a little apart
    beyond = int(((x < low - near) | (x > high + near)).sum())
    if beyond:
        warnings.warn(
            f"{what}: {beyond} values are beyond the boundary knots {low:g} and {high:g}; the curve is extrapolated.",
            UserWarning,
            stacklevel=level_of_caller(),
        )


def _cubic(name: str) -> Callable[..., Columns]:
    def apply(state: State, x: Any, df: Any = None, knots: Any = None) -> Columns:
        found = _transform(name)(
            as_number(x, f"{name}()"),
            df=None if df is None else int(df),
            knots=None if knots is None else np.atleast_1d(knots).tolist(),
            _state=state,
        )
        return _columns(found)

    return apply


def _factor(state: State, x: Any, levels: Any = None) -> Factor:
    labels = _labels(x)
    declared = x.declared if isinstance(x, Factor) else False
    if levels is None and declared:
        levels = x.levels
    if levels is not None:
        levels = _matched(levels, labels)
        found = factor_of(labels, levels)
        if (found.codes < 0).any():
            row = int(np.flatnonzero(found.codes < 0)[0])
            raise ValueError(
                f"factor(): levels {list(map(level_text, levels))} lack {level_text(labels[row])!r}, which is in row "
                f"{row}."
            )
        return found
    return remembered(factor_of(labels), state)


def _labels(x: Any) -> np.ndarray:
    if isinstance(x, Factor):
        return x.labels
    if isinstance(x, Columns):
        raise ValueError("factor() takes a single column.")
    return np.asarray(x)


def _matched(levels: Any, labels: np.ndarray) -> tuple[Any, ...]:
    """Return levels in the type of the labels: ``levels = c("1", "2")`` of numbers are numbers."""
    levels = list(levels) if isinstance(levels, list | tuple | np.ndarray) else [levels]
    by_text = {level_text(label): label for label in dict.fromkeys(labels.tolist())}
    return tuple(by_text.get(level_text(level), level) for level in levels)


def _relevel(state: State, x: Any, ref: Any) -> Factor:
    found = x if isinstance(x, Factor) else _factor(state, x)
    texts = [level_text(level) for level in found.levels]
    if level_text(ref) not in texts:
        raise ValueError(f"relevel(): {level_text(ref)!r} is no level; there are {texts}.")
    first = texts.index(level_text(ref))
    order = [first, *(k for k in range(len(texts)) if k != first)]
    codes = np.argsort(order)[found.codes]
    return Factor(codes, tuple(found.levels[k] for k in order), found.contrasts, declared=True)


def _as_character(state: State, x: Any) -> Factor:
    return factor_of(np.array([level_text(label) for label in _labels(x).tolist()], dtype=object))


def _cut(state: State, x: Any, breaks: Any, right: Any = True, include_lowest: Any = False) -> Factor:
    if not isinstance(breaks, list | np.ndarray) or len(breaks) < 2:
        raise ValueError(
            "cut() needs its breaks, as in cut(x, c(0, 10, 20)); a number of intervals depends on the rows."
        )
    x, edges = as_number(x, "cut()"), np.sort(np.asarray(breaks, dtype=np.float64))
    codes = np.searchsorted(edges, x, side="left" if right else "right") - 1
    if include_lowest:
        codes[x == edges[0 if right else -1]] = 0 if right else len(edges) - 2
    outside = (codes < 0) | (codes > len(edges) - 2)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"cut(): {int(outside.sum())} values are outside of the breaks, first {x[row]:g} in row {row}."
        )
    texts = [f"{edge:.10g}" for edge in edges]
    marks = "(]" if right else "[)"
    levels = [f"{marks[0]}{low},{high}{marks[1]}" for low, high in itertools.pairwise(texts)]
    if include_lowest:
        levels[0 if right else -1] = f"[{levels[0 if right else -1][1:-1]}]"
    return Factor(codes, tuple(levels), declared=True)


def _interaction(state: State, *parts: Any) -> Factor:
    factors = [part if isinstance(part, Factor) else factor_of(_labels(part)) for part in parts]
    codes, levels = factors[0].codes, [level_text(level) for level in factors[0].levels]
    for factor in factors[1:]:
        # the first factor varies fastest
        codes = codes + len(levels) * factor.codes
        levels = [f"{first}.{level_text(second)}" for second in factor.levels for first in levels]
    return remembered(Factor(codes, tuple(levels)).used(), state)


def remembered(found: Factor, state: State) -> Factor:
    """Return a factor whose first levels are those of the fit; what it has not seen comes after them.

    Parameters
    ----------
    found : Factor
        The rows at hand.
    state : dict
        Levels of the fit: filled where it is empty.
    """
    seen = state.setdefault("seen", found.levels)
    if found.levels == seen:
        return found
    levels = tuple(dict.fromkeys((*seen, *found.used().levels)))
    return Factor(factor_of(found.labels, levels).codes, levels, found.contrasts, found.declared)


def known_levels(found: Factor, state: State, what: str, *, training: bool, keep_unused: bool) -> Factor:
    """Return a factor with the levels of the fit; a level that it does not know raises ValueError.

    Parameters
    ----------
    found : Factor
        The rows at hand.
    state : dict
        What the fit has kept: filled in training, else read.
    what : str
        The variable, for messages.
    training : bool
        Whether these are the rows of the fit.
    keep_unused : bool
        Whether to keep levels that were declared and no row has.
    """
    if training:
        found = found if keep_unused and found.declared else found.used()
        state["levels"] = found.levels
        return found
    levels = state["levels"]
    again = Factor(factor_of(found.labels, levels).codes, levels, found.contrasts)
    unseen = again.codes < 0
    if unseen.any():
        rows = np.flatnonzero(unseen)
        labels = found.labels[rows].tolist()
        names = list(dict.fromkeys(map(level_text, labels)))
        known = _listed(list(map(level_text, levels))) + _types(labels[0], levels)
        raise ValueError(
            f"{what} has levels that the fit has not seen: {_listed(names)}, in {len(rows)} rows, first in row "
            f"{int(rows[0])}; it knows {known}. Leave those rows out, or join rare levels into one before fitting; in "
            "FormulaTransformer a pandas Categorical may declare levels that training rows lack."
        )
    return again


def _types(label: Any, levels: tuple[Any, ...]) -> str:
    """Return what tells labels from levels that look the same: their types; nothing where they look different."""
    if level_text(label) not in map(level_text, levels):
        return ""
    return f" (labels are {type(label).__name__}, those of the fit {type(levels[0]).__name__})"


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")


STATEFUL: dict[str, Callable[..., Any]] = {
    "scale": _scale,
    "center": _center,
    "poly": _poly,
    "bs": _bs,
    "ns": _ns,
    "cr": _cubic("cr"),
    "cs": _cubic("cs"),
    "cc": _cubic("cc"),
    "factor": _factor,
    "as.factor": _factor,
    "ordered": _factor,
    "as.character": _as_character,
    "relevel": _relevel,
    "cut": _cut,
    "interaction": _interaction,
}
