"""Losses of actions: matrices by class, functions of posterior draws, thresholds, and the option to reject."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = [
    "LossFunction",
    "checked_draws",
    "checked_probabilities",
    "loss_matrix",
    "losses_of_function",
    "probability_threshold",
    "with_reject",
]

LossFunction = Callable[[np.ndarray], Any]


def loss_matrix(
    loss: Any, *, n_classes: int | None = None, classes: Sequence[Any] | None = None
) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Check a loss matrix, and return it with the names of its actions.

    Parameters
    ----------
    loss : array-like of shape (A, K) or DataFrame
        ``loss[action, class]``. The index of a DataFrame names the actions.
    n_classes : int, optional
        Number of classes K that there must be.
    classes : sequence of K labels, optional
        The classes: the columns of a DataFrame are put in this order.

    Returns
    -------
    matrix : ndarray of shape (A, K)
        The losses.
    names : tuple
        Names of the actions.

    Examples
    --------
    >>> import pandas as pd
    >>> from skdep.bayes.losses import loss_matrix
    >>> loss = pd.DataFrame({"sick": [8.0, 0.0], "well": [0.0, 1.0]}, index=["wait", "treat"])
    >>> loss_matrix(loss, classes=["well", "sick"])
    (array([[0., 8.],
           [1., 0.]]), ('wait', 'treat'))
    """
    names: tuple[Any, ...] | None = None
    if hasattr(loss, "columns") and hasattr(loss, "index"):
        if classes is not None:
            missing = [label for label in classes if label not in loss.columns]
            if missing or len(loss.columns) != len(classes):
                raise ValueError(
                    f"the columns of the loss must be the classes {list(classes)}, got {list(loss.columns)}"
                )
            loss = loss.loc[:, list(classes)]
        names = tuple(loss.index)
    matrix = np.asarray(loss, dtype=float)
    wanted = len(classes) if n_classes is None and classes is not None else n_classes
    if matrix.ndim != 2 or 0 in matrix.shape or (wanted is not None and matrix.shape[1] != wanted):
        shape = f"(actions, {'classes' if wanted is None else wanted})"
        raise ValueError(f"the loss must have shape {shape}, one row an action, got {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("the loss has NaN or infinite values; state a large finite loss for what must not happen")
    return matrix, tuple(range(matrix.shape[0])) if names is None else names


def with_reject(loss: Any, reject: float) -> np.ndarray:
    """Return a loss matrix with one more action, whose loss is the same in every class.

    Parameters
    ----------
    loss : array-like of shape (A, K)
        Loss matrix.
    reject : float
        Loss of taking none of its actions: of asking somebody, or of waiting.

    Returns
    -------
    ndarray of shape (A + 1, K)
        The matrix with the loss of rejecting as its last row.

    Examples
    --------
    >>> from skdep.bayes.losses import with_reject
    >>> with_reject([[0.0, 8.0], [1.0, 0.0]], 0.5)
    array([[0. , 8. ],
           [1. , 0. ],
           [0.5, 0.5]])
    """
    matrix, _ = loss_matrix(loss)
    if not np.isfinite(reject):
        raise ValueError(f"the loss of rejecting must be finite, got {reject}")
    return np.vstack([matrix, np.full(matrix.shape[1], float(reject))])


def probability_threshold(loss: Any) -> float:
    """Return the probability of the second class above which the second of two actions is better.

    Parameters
    ----------
    loss : array-like of shape (2, 2)
        ``loss[action, class]``.

    Returns
    -------
    float
        The probability at which both actions have the same expected loss; -inf if the second action is never worse, inf
        if it is never better.

    Raises
    ------
    ValueError
        If the actions cost the same in every class, or the second is the better one at *low* probabilities.

    Examples
    --------
    >>> from skdep.bayes.losses import probability_threshold
    >>> probability_threshold([[0.0, 9.0], [1.0, 0.0]])
    0.1
    """
    matrix, _ = loss_matrix(loss, n_classes=2)
    if matrix.shape[0] != 2:
        raise ValueError(f"a threshold is that of two actions, got {matrix.shape[0]}")
    false_alarm, miss = matrix[1, 0] - matrix[0, 0], matrix[0, 1] - matrix[1, 1]
    if false_alarm == 0.0 and miss == 0.0:
        raise ValueError("both actions cost the same in every class: any will do")
    if false_alarm <= 0.0 and miss >= 0.0:
        return -np.inf
    if false_alarm >= 0.0 and miss <= 0.0:
        return np.inf
    if false_alarm < 0.0:
        raise ValueError("the second action is better at low probabilities: exchange the rows of the loss")
    return float(false_alarm / (false_alarm + miss))


def losses_of_function(loss: LossFunction, draws: np.ndarray) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Return the loss of each action in each draw.

    Parameters
    ----------
    loss : callable
        Gets `draws`, and returns a mapping from the names of actions to arrays that broadcast together, or an array
        with the actions on its last axis.
    draws : ndarray of shape (D, n)
        Posterior draws of the probability of the second class.

    Returns
    -------
    losses : ndarray of shape (D, n, A) or (D, A)
        Losses by row, or of the whole set.
    names : tuple
        Names of the actions.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.bayes.losses import losses_of_function
    >>> losses_of_function(lambda p: {"wait": 100 * p.sum(axis=1), "act": 30.0}, np.array([[0.1, 0.1], [0.2, 0.3]]))
    (array([[20., 30.],
           [50., 30.]]), ('wait', 'act'))
    """
    result = loss(draws)
    if isinstance(result, Mapping):
        if not result:
            raise ValueError("the loss function returned no action")
        names = tuple(result)
        parts = np.broadcast_arrays(*(np.asarray(part, dtype=float) for part in result.values()))
        losses = np.stack(parts, axis=-1)
    else:
        losses = np.asarray(result, dtype=float)
        names = tuple(range(losses.shape[-1])) if losses.ndim else ()
    n_draws, n_rows = draws.shape
    if losses.shape[:-1] not in ((n_draws, n_rows), (n_draws,)) or not names:
        raise ValueError(
            f"the loss function must return losses of shape ({n_draws}, {n_rows}) per action for decisions by row, or "
            f"({n_draws},) for one decision about the set, with actions as keys or on the last axis; got "
            f"{losses.shape[:-1] if isinstance(result, Mapping) else losses.shape}"
        )
    if not np.isfinite(losses).all():
        raise ValueError("the loss function returned NaN or infinite losses")
    return losses, names


def checked_draws(draws: np.ndarray) -> np.ndarray:
    """Check posterior draws of the probability of the second of two classes.

    Parameters
    ----------
    draws : array-like of shape (D, n)
        The draws.

    Returns
    -------
    ndarray of shape (D, n)
        The draws.

    Examples
    --------
    >>> from skdep.bayes.losses import checked_draws
    >>> checked_draws([[0.1, 0.2]])
    array([[0.1, 0.2]])
    """
    draws = checked_probabilities(draws, "draws", extra_axis=True)
    if draws.ndim != 2:
        raise ValueError(f"draws of the probability of the second class must be (D, n), got shape {draws.shape}")
    return draws


def checked_probabilities(values: np.ndarray, name: str, *, extra_axis: bool = False) -> np.ndarray:
    """Check probabilities of the second of two classes, or of all classes.

    Parameters
    ----------
    values : array-like of shape (n,) or (n, K); (D, n) or (D, n, K)
        The probabilities.
    name : str
        What to call them in messages.
    extra_axis : bool, default=False
        Whether they are posterior draws, on a further first axis.

    Returns
    -------
    ndarray
        The probabilities.

    Examples
    --------
    >>> from skdep.bayes.losses import checked_probabilities
    >>> checked_probabilities([[0.5, 0.5]], "probabilities")
    array([[0.5, 0.5]])
    """
    values = np.asarray(values, dtype=float)
    n_axes = values.ndim - extra_axis
    if n_axes not in (1, 2) or (extra_axis and values.shape[0] == 0):
        wanted = "(D, n) or (D, n, K)" if extra_axis else "(n,) or (n, K)"
        raise ValueError(f"{name} must have shape {wanted}, got {values.shape}")
    if not (np.all(values >= 0.0) and np.all(values <= 1.0)):  # false for NaN
        raise ValueError(f"{name} must lie between 0 and 1, without NaN")
    if n_axes == 2 and not np.allclose(values.sum(axis=-1), 1.0, rtol=0.0, atol=1e-6):
        raise ValueError(f"{name} of the classes must sum to one")
    return values
