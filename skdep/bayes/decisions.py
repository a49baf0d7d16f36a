"""Decisions under a loss: expected losses, Bayes actions, and what further information would be worth.

A loss is a matrix ``loss[action, class]``, or a function of the posterior draws of the probability of the second class.
Such a function gets an array ``(draws, n)`` and returns the loss of each action: a mapping from names of actions to
arrays, or one array with the actions on its last axis. Losses ``(draws, n)`` per action mean a decision a row; losses
``(draws,)`` per action mean one decision for the whole set of rows.

References
----------
Berger (1985), Statistical Decision Theory and Bayesian Analysis, Springer. Raiffa and Schlaifer (1961), Applied
Statistical Decision Theory, Harvard University Press (expected value of perfect information). Chow (1970), On optimum
recognition error and reject tradeoff, IEEE Transactions on Information Theory 16, 41-46.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skdep.bayes.decision import Decision, join_decisions
from skdep.bayes.losses import (
    LossFunction,
    checked_draws,
    checked_probabilities,
    loss_matrix,
    losses_of_function,
    with_reject,
)

__all__ = [
    "Decision",
    "bayes_decision",
    "expected_losses",
    "join_decisions",
    "outcome_information",
    "parameter_information",
    "predictive_counts",
]

# Expected losses closer than this, relative to the largest, are ties: rounding must not decide.
_TIE = 1e-12
# Draws times rows handled at once: temporary arrays of 16 MB.
_BLOCK = 2_000_000


def bayes_decision(
    loss: Any,
    *,
    probabilities: np.ndarray | None = None,
    draws: np.ndarray | None = None,
    classes: Sequence[Any] | None = None,
    reject: float | None = None,
) -> Decision:
    """Choose the action of least posterior expected loss, row by row or for a whole set.

    Parameters
    ----------
    loss : array-like of shape (A, K), DataFrame, or callable
        Loss of each action (row) in each class (column); the labels of a DataFrame name the actions, and its columns
        are put in the order of `classes`. Or a function of `draws`, see `expected_losses`.
    probabilities : ndarray of shape (n,) or (n, K), optional
        Posterior predictive probabilities: of the second of two classes, or of all classes. Enough for a matrix. By
        default the means of `draws`.
    draws : ndarray of shape (D, n) or (D, n, K), optional
        Posterior draws of the probabilities. Needed for a function, and for the value of perfect information.
    classes : sequence of K labels, optional
        The classes.
    reject : float, optional
        Loss of taking no action, whatever the class: one more action, named ``"reject"``, with the last index.

    Returns
    -------
    Decision
        ``.actions``, ``.expected_loss``, ``.evpi``, ``.evpi_outcome``; ``.to_frame()``.

    Raises
    ------
    ValueError
        If shapes do not fit, a loss is NaN or infinite, or probabilities are not probabilities.

    Examples
    --------
    To miss a case costs ten times a false alarm, and a second opinion costs half of one:

    >>> import numpy as np
    >>> from skdep.bayes.decisions import bayes_decision
    >>> loss = [[0.0, 10.0], [1.0, 0.0]]  # loss[action, class]
    >>> decision = bayes_decision(loss, probabilities=np.array([0.01, 0.08, 0.4]), reject=0.5)
    >>> decision.action_labels
    array([0, 'reject', 'reject'], dtype=object)
    >>> decision.expected_loss.round(2)
    array([[0.1 , 0.99, 0.5 ],
           [0.8 , 0.92, 0.5 ],
           [4.  , 0.6 , 0.5 ]])
    """
    if draws is None and probabilities is None:
        raise ValueError("a decision needs probabilities or draws")
    if callable(loss):
        return _decide_by_function(loss, draws, reject)
    matrix, names = loss_matrix(loss, classes=classes)
    if reject is not None:
        matrix, names = with_reject(matrix, reject), (*names, "reject")
    if probabilities is None:
        assert draws is not None
        probabilities = checked_probabilities(draws, "draws", extra_axis=True).mean(axis=0)
    expected = expected_losses(probabilities, matrix)
    about_parameters = None
    if draws is not None:
        about_parameters = parameter_information(draws, matrix)
        if about_parameters.size != expected.shape[0]:
            raise ValueError(f"draws are of {about_parameters.size} rows, probabilities of {expected.shape[0]}")
    about_outcome = outcome_information(probabilities, matrix)
    return Decision(_least(expected), expected, names, about_parameters, about_outcome)


def expected_losses(probabilities: np.ndarray, loss: Any) -> np.ndarray:
    """Return the posterior expected loss of every action.

    Parameters
    ----------
    probabilities : ndarray of shape (n,) or (n, K); (D, n) for a function
        Posterior predictive probabilities of the second of two classes, or of all classes. For a loss function:
        posterior draws of the probability of the second class.
    loss : array-like of shape (A, K), or callable
        Loss matrix, or a function of the draws. It returns a mapping from the names of actions to arrays that broadcast
        together, or an array with the actions on its last axis: ``(D, n, A)`` for decisions by row, ``(D, A)`` for
        one decision about the set.

    Returns
    -------
    ndarray of shape (n, A)
        Expected losses; one row for a decision about the set.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.decisions import expected_losses
    >>> expected_losses(np.array([0.25]), [[0.0, 8.0], [1.0, 0.0]])
    array([[2.  , 0.75]])
    >>> draws = np.array([[0.1], [0.3]])  # two draws for one row
    >>> expected_losses(draws, lambda p: {"wait": 100 * p**2, "act": 4.0}).round(4)
    array([[5., 4.]])
    """
    if callable(loss):
        losses, _ = losses_of_function(loss, checked_draws(probabilities))
        return _rows(losses.mean(axis=0))
    probabilities = checked_probabilities(probabilities, "probabilities")
    matrix, _ = loss_matrix(loss, n_classes=2 if probabilities.ndim == 1 else probabilities.shape[1])
    if probabilities.ndim == 1:
        return (1.0 - probabilities)[:, None] * matrix[:, 0] + probabilities[:, None] * matrix[:, 1]
    return probabilities @ matrix.T


def parameter_information(draws: np.ndarray, loss: Any) -> np.ndarray:
    r"""Return the expected value of perfect information about the parameters.

    Parameters
    ----------
    draws : ndarray of shape (D, n) or (D, n, K)
        Posterior draws of the probability of the second of two classes, or of all classes.
    loss : array-like of shape (A, K), or callable
        Loss matrix, or a function of the draws, see `expected_losses`.

    Returns
    -------
    ndarray of shape (n,)
        :math:`\min_a E L_a - E_\theta \min_a E(L_a \mid \theta)`, never negative: an upper bound of what any further
        data can save in this decision. One value for a decision about the set.

    Examples
    --------
    Whether to act depends on which of two draws is true; to know it would save 0.5:

    >>> import numpy as np
    >>> from skdep.bayes.decisions import parameter_information
    >>> parameter_information(np.array([[0.1], [0.5]]), [[0.0, 10.0], [2.0, 2.0]]).round(4)
    array([0.5])
    """
    if callable(loss):
        losses, _ = losses_of_function(loss, checked_draws(draws))
        return _gain(losses)
    draws = checked_probabilities(draws, "draws", extra_axis=True)
    matrix, _ = loss_matrix(loss, n_classes=2 if draws.ndim == 2 else draws.shape[2])
    block = max(1, _BLOCK // draws.shape[0])
    starts = range(0, draws.shape[1], block)
    gains = [_gain_by_matrix(draws[:, start : start + block], matrix) for start in starts]
    return np.concatenate(gains) if gains else np.empty(0)


def outcome_information(probabilities: np.ndarray, loss: Any) -> np.ndarray:
    r"""Return the expected value of knowing the outcome before deciding.

    Parameters
    ----------
    probabilities : ndarray of shape (n,) or (n, K)
        Posterior predictive probabilities of the second of two classes, or of all classes.
    loss : array-like of shape (A, K)
        Loss matrix.

    Returns
    -------
    ndarray of shape (n,)
        :math:`\min_a E L_a - \sum_y p_y \min_a L_{ay}`: the most that a perfect test of this row is worth.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.decisions import outcome_information
    >>> outcome_information(np.array([0.3]), [[0.0, 10.0], [2.0, 2.0]]).round(4)
    array([1.4])
    """
    matrix, _ = loss_matrix(loss)
    informed = expected_losses(probabilities, matrix.min(axis=0)[None, :])[:, 0]
    return np.maximum(expected_losses(probabilities, matrix).min(axis=1) - informed, 0.0)


def predictive_counts(draws: np.ndarray, *, random_state: Any = None) -> np.ndarray:
    """Draw the number of rows of the second class in a set from its posterior predictive distribution.

    Parameters
    ----------
    draws : ndarray of shape (D, n)
        Posterior draws of the probability of the second class.
    random_state : int, Generator, RandomState or None
        Source of the draws.

    Returns
    -------
    ndarray of int of shape (D,)
        One count a draw. Rows share the parameters of the draw, so that counts vary more than independent rows would.

    Examples
    --------
    How many beds to keep ready, if an empty one costs 1 and a missing one 5:

    >>> import numpy as np
    >>> from skdep.bayes.decisions import expected_losses, predictive_counts
    >>> p = np.random.default_rng(0).beta(30, 70, size=(2000, 1)) * np.ones(40)
    >>> counts = predictive_counts(p, random_state=1)
    >>> beds = np.arange(8, 20)
    >>> shortfall = counts[:, None] - beds
    >>> losses = expected_losses(p, lambda _: np.where(shortfall > 0, 5 * shortfall, -shortfall))
    >>> int(beds[losses[0].argmin()])
    15
    """
    draws = checked_draws(draws)
    if isinstance(random_state, np.random.Generator | np.random.RandomState):
        uniform: Callable[..., np.ndarray] = (
            random_state.random_sample if isinstance(random_state, np.random.RandomState) else random_state.random
        )
    else:
        uniform = np.random.default_rng(random_state).random
    counts = np.zeros(draws.shape[0], dtype=int)
    block = max(1, _BLOCK // draws.shape[0])
    for start in range(0, draws.shape[1], block):
        part = draws[:, start : start + block]
        counts += (uniform(part.shape) < part).sum(axis=1)
    return counts


def _decide_by_function(loss: LossFunction, draws: np.ndarray | None, reject: float | None) -> Decision:
    if draws is None:
        raise ValueError("a loss function is applied to posterior draws: give draws")
    losses, names = losses_of_function(loss, checked_draws(draws))
    if reject is not None:
        if not np.isfinite(reject):
            raise ValueError(f"the loss of rejecting must be finite, got {reject}")
        losses = np.concatenate([losses, np.full((*losses.shape[:-1], 1), float(reject))], axis=-1)
        names = (*names, "reject")
    expected = _rows(losses.mean(axis=0))
    return Decision(_least(expected), expected, names, _gain(losses))


def _least(expected: np.ndarray) -> np.ndarray:
    """Return the first action whose loss is the least up to rounding."""
    least = expected.min(axis=1, keepdims=True)
    return (expected <= least + _TIE * np.abs(expected).max(axis=1, keepdims=True)).argmax(axis=1)


def _gain_by_matrix(draws: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return `_gain` of a loss matrix, action by action: losses of all actions at once would not fit into a cache."""
    least = np.full(draws.shape[:2], np.inf)
    expected = np.full(draws.shape[1], np.inf)
    for action in matrix:
        losses = action[0] + draws * (action[1] - action[0]) if draws.ndim == 2 else draws @ action
        np.minimum(expected, losses.mean(axis=0), out=expected)
        np.minimum(least, losses, out=least)
    return np.maximum(expected - least.mean(axis=0), 0.0)


def _gain(losses: np.ndarray) -> np.ndarray:
    """Return how much less is lost on average if the best action is known in each draw; draws on the first axis."""
    gain = losses.mean(axis=0).min(axis=-1) - losses.min(axis=-1).mean(axis=0)
    return np.atleast_1d(np.maximum(gain, 0.0))


def _rows(expected: np.ndarray) -> np.ndarray:
    return expected if expected.ndim == 2 else expected[None, :]
