"""Outcomes: what stands before the tilde."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.formula._evaluation import Evaluator
from skdep.formula._syntax import Call, Group, Name, Node
from skdep.formula._values import Columns, Factor, as_number, column_value, level_text

__all__ = ["Outcome", "check_order_of_levels", "is_counts", "outcome_of", "take"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """Outcomes of rows.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        Numbers or labels; successes where there are `trials`.
    trials : ndarray of shape (n_rows,) or None
        Number of trials, where the formula has ``cbind(successes, failures)``.
    levels : tuple or None
        Levels that occur, in their order, where the outcome is a factor or a pandas Categorical.
    is_factor : bool
        Whether the formula makes categories of it: ``factor(y)``.
    """

    values: np.ndarray
    trials: np.ndarray | None = None
    levels: tuple[Any, ...] | None = None
    is_factor: bool = False

    @property
    def shares(self) -> np.ndarray:
        """Outcomes (n_rows,), counts as shares of the trials."""
        if self.trials is None:
            return self.values
        with np.errstate(invalid="ignore"):
            return self.values / self.trials

    def with_arguments(self, arguments: dict[str, Any], *, as_shares: bool) -> dict[str, Any]:
        """Return arguments of fit with the outcome: counts as two rows of a frequency each, or as shares.

        Parameters
        ----------
        arguments : dict
            What else fit is called with, a value a row.
        as_shares : bool
            Whether counts become shares, weighted by the trials.
        """
        if self.trials is None:
            return {**arguments, "y": self.values}
        given = np.asarray(arguments.get("sample_weight", 1.0), dtype=np.float64)
        if as_shares:
            rows = np.flatnonzero(self.trials > 0)
            y, weights = self.shares[rows], (self.trials * given)[rows]
        else:
            counts = np.column_stack([self.trials - self.values, self.values])
            every = np.flatnonzero(counts.ravel() > 0)
            rows, y = every // 2, every % 2
            weights = (counts * np.broadcast_to(given, len(counts))[:, None]).ravel()[every]
        taken = {name: take(value, rows) for name, value in arguments.items()}
        return {**taken, "y": y, "sample_weight": weights}


def take(values: Any, rows: np.ndarray) -> Any:
    """Return rows of a table, Series or array; a single value is for every row."""
    if hasattr(values, "iloc"):
        return values.iloc[rows]
    if np.ndim(values) == 0 and not hasattr(values, "__getitem__"):
        return values
    return values[rows] if hasattr(values, "shape") or hasattr(values, "__array__") else np.asarray(values)[rows]


def is_counts(node: Node | None) -> bool:
    """Say whether an outcome is ``cbind(successes, failures)``."""
    return isinstance(node, Call) and node.function == "cbind"


def outcome_of(node: Node, frame: Any, evaluator: Evaluator) -> Outcome:
    """Return the outcomes of rows.

    Parameters
    ----------
    node : Node
        What stands before the tilde.
    frame : DataFrame
        The rows.
    evaluator : Evaluator
        Gives the values of expressions.
    """
    while isinstance(node, Group):
        node = node.inner
    if isinstance(node, Call) and node.function == "cbind":
        return _counts(node, evaluator)
    if isinstance(node, Name) and node.name in frame.columns:
        return Outcome(_column(frame[node.name], node.name), levels=_declared_levels(frame[node.name]))
    value = evaluator.value(node)
    if isinstance(value, Columns):
        raise ValueError(f"The outcome {node} has {value.values.shape[1]} columns, and must have one.")
    is_factor = isinstance(value, Factor)
    values = _plain_labels(value) if is_factor else np.asarray(value)
    if values.shape != (len(frame),):
        raise ValueError(f"The outcome {node} has shape {values.shape}, and not a value for each of {len(frame)} rows.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"The outcome {node} is no finite number in row {row}.")
    return Outcome(values, levels=value.used().levels if is_factor else None, is_factor=is_factor)


def _plain_labels(value: Factor) -> np.ndarray:
    """Return labels (n_rows,) in the type of the data: numbers and booleans as such, which classifiers ask for."""
    labels = value.labels
    if not all(isinstance(level, bool | int | float) for level in value.levels):
        return labels
    found = np.array(labels.tolist())
    whole = found.dtype.kind == "f" and bool((found == np.round(found)).all())
    return found.astype(np.int64) if whole else found


def _declared_levels(column: Any) -> tuple[Any, ...] | None:
    """Return the levels of a pandas Categorical that occur, in their order."""
    import pandas as pd

    if not isinstance(column.dtype, pd.CategoricalDtype):
        return None
    return tuple(level for level in column.cat.categories if (column == level).any())


def _column(column: Any, name: str) -> np.ndarray:
    """Return a column of outcomes; numbers of pandas' own types as plain ones."""
    import pandas as pd

    if isinstance(column.dtype, np.dtype) or not pd.api.types.is_numeric_dtype(column.dtype):
        return np.asarray(column)
    return np.asarray(column_value(column, name))


def _counts(node: Call, evaluator: Evaluator) -> Outcome:
    if len(node.arguments) != 2:
        raise ValueError(f"The outcome {node} needs two columns: cbind(successes, failures).")
    successes, failures = (
        np.asarray(as_number(evaluator.value(argument), "cbind()"), dtype=np.float64) for _, argument in node.arguments
    )
    for name, counts in (("successes", successes), ("failures", failures)):
        bad = ~np.isfinite(counts) | (counts < 0)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"The outcome {node}: {name} must be counts, and are {counts[row]:g} in row {row}; the second is the "
                "number of failures, not of trials."
            )
    return Outcome(successes, successes + failures)


def check_order_of_levels(node: Node, levels: tuple[Any, ...] | None) -> None:
    """Raise ValueError if an outcome's two levels are in an order that is not the sorted one.

    The success of R is the second level; that of a classifier is the second label in sorted order.

    Parameters
    ----------
    node : Node
        What stands before the tilde.
    levels : tuple or None
        Its levels in their order, None where it has none.
    """
    if levels is None or len(levels) != 2 or list(levels) == sorted(levels, key=lambda one: (str(type(one)), one)):
        return
    first, second = map(level_text, levels)
    raise ValueError(
        f"The levels of the outcome {node} are {first!r} and {second!r} in this order, so that R takes {second!r} for "
        f"success; classes of a classifier are sorted, and {first!r} would be. Say which is meant, as in "
        f"y == {levels[1]!r} ~ ..., or make the column one of plain labels."
    )
