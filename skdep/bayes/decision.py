"""The result of a decision: actions by row, what they are expected to cost, and what knowing more would be worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Decision", "join_decisions"]


@dataclass(frozen=True)
class Decision:
    """Result of `bayes_decision`.

    Parameters
    ----------
    actions : ndarray of int of shape (n,)
        Index of the action with least expected loss, by row; the first one of ties. One row if the decision is about
        the whole set.
    expected_loss : ndarray of shape (n, A)
        Posterior expected loss of every action.
    action_names : tuple
        Names of the actions: labels of the rows of the loss matrix, keys of the mapping, or 0 to A - 1.
    evpi : ndarray of shape (n,) or None
        Expected value of perfect information about the parameters; None without draws.
    evpi_outcome : ndarray of shape (n,) or None
        Expected value of knowing the outcome before deciding; None for a loss function.
    """

    actions: np.ndarray
    expected_loss: np.ndarray
    action_names: tuple[Any, ...]
    evpi: np.ndarray | None = None
    evpi_outcome: np.ndarray | None = None

    @property
    def action_labels(self) -> np.ndarray:
        """Name of the action taken, by row."""
        # Not asarray, which would turn numbers into text where one action is "reject".
        kinds = {type(name) for name in self.action_names}
        return np.array(self.action_names, dtype=None if len(kinds) == 1 else object)[self.actions]

    @property
    def least_loss(self) -> np.ndarray:
        """Expected loss of the action taken, by row."""
        return np.take_along_axis(self.expected_loss, self.actions[:, None], axis=1)[:, 0]

    @property
    def margin(self) -> np.ndarray:
        """How much more the second-best action would cost, by row; inf if there is one action only."""
        if self.expected_loss.shape[1] == 1:
            return np.full(self.actions.size, np.inf)
        others = self.expected_loss.copy()
        others[np.arange(self.actions.size), self.actions] = np.inf
        return np.maximum(others.min(axis=1) - self.least_loss, 0.0)

    def to_frame(self, index: Any = None) -> Any:
        """Return a DataFrame of one row a decision.

        Parameters
        ----------
        index : array-like of length n, optional
            Index of the frame.

        Returns
        -------
        DataFrame
            Columns ``action``, ``expected_loss``, ``margin``, ``loss[name]`` of every action, and ``evpi`` and
            ``evpi_outcome`` where they are known.
        """
        import pandas as pd

        columns: dict[str, Any] = {
            "action": self.action_labels,
            "expected_loss": self.least_loss,
            "margin": self.margin,
        }
        columns |= {f"loss[{name}]": self.expected_loss[:, a] for a, name in enumerate(self.action_names)}
        columns |= {
            name: value
            for name, value in (("evpi", self.evpi), ("evpi_outcome", self.evpi_outcome))
            if value is not None
        }
        return pd.DataFrame(columns, index=index)

    def __str__(self) -> str:
        taken = np.bincount(self.actions, minlength=len(self.action_names))
        counts = ", ".join(f"{name}: {count}" for name, count in zip(self.action_names, taken))
        lines = [f"Decisions by action: {counts}", f"Expected loss: {self.least_loss.sum():.4g}"]
        if self.evpi is not None:
            lines.append(f"Expected value of perfect information about the parameters: {self.evpi.sum():.4g}")
        if self.evpi_outcome is not None:
            lines.append(f"Expected value of knowing the outcomes: {self.evpi_outcome.sum():.4g}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from skdep._html import frame_html, result_html

        return result_html(frame_html(self.to_frame(), max_rows=20), lead=str(self))


def join_decisions(decisions: Sequence[Decision]) -> Decision:
    """Join decisions about consecutive blocks of rows.

    Parameters
    ----------
    decisions : sequence of Decision
        Decisions under the same loss, in the order of the rows.

    Returns
    -------
    Decision
        The decisions about all rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.decisions import bayes_decision, join_decisions
    >>> loss = [[0.0, 1.0], [1.0, 0.0]]
    >>> blocks = [bayes_decision(loss, probabilities=p) for p in (np.array([0.2, 0.7]), np.array([0.9]))]
    >>> join_decisions(blocks).actions
    array([0, 1, 1])
    """
    if not decisions:
        raise ValueError("there is no decision to join")
    names = decisions[0].action_names
    if any(decision.action_names != names for decision in decisions):
        raise ValueError("decisions under different losses cannot be joined: their actions differ")

    def joined(values: list[np.ndarray | None]) -> np.ndarray | None:
        known = [value for value in values if value is not None]
        return np.concatenate(known) if len(known) == len(values) else None

    return Decision(
        np.concatenate([decision.actions for decision in decisions]),
        np.concatenate([decision.expected_loss for decision in decisions]),
        names,
        joined([decision.evpi for decision in decisions]),
        joined([decision.evpi_outcome for decision in decisions]),
    )
