"""Fits tell of their progress: to scikit-learn's callbacks, where it has them, and to those who wait.

A callback set by ``est.set_callbacks(...)`` sees the fit as a task, and each step of its search (of `BayesLogit`, each
per cent of its draws) as a task within it. In a grid search or a pipeline they hang below the task of that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from skdep._progress import Progress, is_shown, listening

__all__ = ["followed"]

# Steps of a fit whose number is not bounded by a parameter: per cent.
_STEPS = 100


def followed(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Have a fit's callbacks called, and lines written of long fits where they are wanted.

    Parameters
    ----------
    fit : callable
        The method, ``fit(self, X, y, ...)``.

    Returns
    -------
    callable
        The same with progress; as quick as before where nobody follows it.
    """

    @functools.wraps(fit)
    def wrapper(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        has_callbacks = "_skl_callbacks" in vars(estimator)
        if not (has_callbacks or is_shown()):
            return fit(estimator, *args, **kwargs)
        with ExitStack() as stack:
            task = _FitTask(estimator, *_data(*args, **kwargs)) if has_callbacks else None
            lines = stack.enter_context(Progress(type(estimator).__name__))
            stack.enter_context(listening(*([_Lines(lines)] if is_shown() else []), *([task] if task else [])))
            result = fit(estimator, *args, **kwargs)
            if task is not None:
                task.finish()
        return result

    return wrapper


def _data(X: Any = None, y: Any = None, *others: Any, sample_weight: Any = None, **metadata: Any) -> tuple[Any, ...]:
    """Return X, y and the metadata that scikit-learn's callbacks are given."""
    return X, y, None if sample_weight is None else {"sample_weight": sample_weight}


class _Lines:
    """Writes how many steps a fit has taken, or how much of it is done where that is known."""

    def __init__(self, progress: Progress):
        self._progress, self._n, self._share = progress, 0, 0.0

    def advance(self) -> None:
        self._n += 1
        self._progress.update(self._n, " steps")

    def reach(self, share: float) -> None:
        # the work may turn out to be more than was thought
        self._share = max(self._share, share)
        self._progress.update(int(100.0 * self._share), "%")


class _FitTask:
    """A fit as a task of scikit-learn's callbacks, and its steps as tasks within it.

    A step's task begins when the step before has ended, the last one without a step to it, as in scikit-learn.

    Parameters
    ----------
    estimator : estimator
        What is fitted.
    X, y : array-like
        The data, as given.
    metadata : dict or None
        What else callbacks are given.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, metadata: dict[str, Any] | None):
        self._given = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._most = max(int(getattr(estimator, "max_iter", _STEPS)), 1)
        self._n = 0
        self._whole = estimator._init_callback_context(max_subtasks=self._most + 1)
        self._whole.call_on_fit_task_begin(**self._given)
        self._step = self._begin_step()

    def _begin_step(self) -> Any:
        step = self._whole.subcontext(task_name="step")
        step.call_on_fit_task_begin(**self._given)
        return step

    def advance(self) -> None:
        # restarts may take more steps than max_iter, of which the last is left open
        if self._n < self._most:
            self._step.call_on_fit_task_end(**self._given)
            self._n += 1
            self._step = self._begin_step()

    def reach(self, share: float) -> None:
        while self._n < int(share * self._most):
            self.advance()

    def finish(self) -> None:
        """End the last step and the fit; callbacks that score are given the fitted estimator."""
        self._step.call_on_fit_task_end(**self._given)
        self._whole.call_on_fit_task_end(**self._given, reconstruction_attributes={})
