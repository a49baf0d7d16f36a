"""How the levels of a factor become columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.formula._syntax import Call, Name, Node, Number, Text
from skdep.formula._values import level_text

__all__ = ["Coding", "coding_of", "contrasts_of"]

# The names of R, and those of formulaic and patsy.
_KINDS = {
    "contr.treatment": "treatment",
    "treatment": "treatment",
    "Treatment": "treatment",
    "contr.sum": "sum",
    "sum": "sum",
    "Sum": "sum",
    "contr.SAS": "SAS",
    "SAS": "SAS",
    "contr.helmert": "helmert",
    "helmert": "helmert",
    "Helmert": "helmert",
    "contr.poly": "poly",
    "poly": "poly",
    "Poly": "poly",
    "contr.diff": "diff",
    "Diff": "diff",
}


@dataclass(frozen=True)
class Coding:
    """Columns of a factor.

    Parameters
    ----------
    full : ndarray of shape (n_levels, n_levels)
        Columns that span all levels: indicators.
    full_names : tuple of str
        What tells them apart.
    reduced : ndarray of shape (n_levels, n_levels - 1)
        Columns that span them together with a constant.
    reduced_names : tuple of str
        What tells them apart.
    """

    full: np.ndarray
    full_names: tuple[str, ...]
    reduced: np.ndarray
    reduced_names: tuple[str, ...]


def contrasts_of(node: Node, evaluate: Any) -> tuple[str, Any]:
    """Return kind and base of contrasts as they are written within ``C()``.

    Parameters
    ----------
    node : Node
        The second argument of ``C()``.
    evaluate : callable
        Gives the value of a node.
    """
    if isinstance(node, Text):
        node = Name(node.value)
    if isinstance(node, Name) and node.name in _KINDS:
        return _KINDS[node.name], None
    if isinstance(node, Call) and node.function in _KINDS:
        kind, base = _KINDS[node.function], None
        for key, argument in node.arguments:
            value = evaluate(argument)
            if key in ("base", "ref", "reference") or (key is None and kind == "treatment" and isinstance(value, str)):
                # R counts levels, from 1
                by_number = key == "base" and isinstance(argument, Number)
                base = int(value) - 1 if by_number else value
                base = ("number", base) if by_number else ("level", base)
            elif key is not None or not isinstance(argument, Number):
                raise ValueError(f"{node}: the argument {argument} is not understood; give the base level.")
        return kind, base
    known = ", ".join(sorted(name for name in _KINDS if name.startswith("contr.")))
    raise ValueError(f"C(): contrasts {node} are not known; there are {known}.")


def coding_of(levels: Sequence[Any], contrasts: tuple[str, Any] | None, what: str) -> Coding:
    """Return the columns of a factor.

    Parameters
    ----------
    levels : sequence
        The levels.
    contrasts : tuple of kind and base, or None
        How they are coded; by treatment against the first unless said otherwise.
    what : str
        The variable, for messages.
    """
    texts = [level_text(level) for level in levels]
    kind, base = ("treatment", None) if contrasts is None else contrasts
    reduced, names = _reduced(kind, _base_number(base, texts, what), texts)
    return Coding(np.eye(len(texts)), tuple(f"[{text}]" for text in texts), reduced, names)


def _base_number(base: Any, texts: list[str], what: str) -> int:
    if base is None:
        return 0
    by, value = base
    if by == "number" and 0 <= value < len(texts):
        return int(value)
    if by == "level" and level_text(value) in texts:
        return texts.index(level_text(value))
    shown = value + 1 if by == "number" else level_text(value)
    raise ValueError(f"{what}: there is no base level {shown!r}; the levels are {texts}.")


def _reduced(kind: str, base: int, texts: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return coding matrix (n_levels, n_levels - 1) and names of its columns."""
    n = len(texts)
    if kind in ("treatment", "SAS"):
        base = n - 1 if kind == "SAS" else base
        kept = [k for k in range(n) if k != base]
        return np.eye(n)[:, kept], tuple(f"[T.{texts[k]}]" for k in kept)
    from formulaic.transforms.contrasts import ContrastsRegistry

    options = {"helmert": {"reverse": True, "scale": False}}.get(kind, {})
    found = getattr(ContrastsRegistry, kind)(**options)
    matrix = np.asarray(found.get_coding_matrix(list(texts), reduced_rank=True), dtype=np.float64)
    names = found.get_coding_column_names(list(texts), reduced_rank=True)
    form = found.get_factor_format(list(texts), reduced_rank=True)
    return matrix, tuple(form.format(name="", field=name) for name in names)
