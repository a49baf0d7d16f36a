"""Parametric bootstrap: simulate from the fitted model, fit again, look at the spread."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing, check_random_state

from skdep._html import frame_html, result_html
from skdep._progress import Progress
from skdep._stack import level_of_caller
from skdep._validation import check_weights
from skdep.exceptions import CollinearityWarning, FewClustersWarning
from skdep.formula.raw_rows import offset_of
from skdep.inference._bootstrap_plans import bootstrap_plan
from skdep.inference._features import last_step
from skdep.inference._table import Table
from skdep.inference.profile import is_linear, mixed_model

__all__ = ["BootstrapResult", "bootstrap"]

# A batch of simulated outcomes holds about this many floats, or this many outcomes.
_BATCH_FLOATS = 2_000_000
_BATCH_OUTCOMES = 25


@dataclass(frozen=True)
class BootstrapResult:
    """Result of `bootstrap`.

    Parameters
    ----------
    table : DataFrame
        Columns ``estimate, bias, std_error, conf_low, conf_high, basic_low, basic_high``, a row a statistic.
    replicates : DataFrame
        Statistics of every replicate, a row a replicate; NaN where the fit failed.
    level : float
        Confidence level.
    n_failed : int
        Number of replicates whose fit failed or did not converge: they are left out of the table.
    n_singular : int
        Number of replicates whose fit is on the boundary: they count.
    """

    table: Table
    replicates: pd.DataFrame
    level: float
    n_failed: int
    n_singular: int

    def to_frame(self) -> Any:
        """Return the table as a plain DataFrame."""
        return self.table.to_frame()

    def __str__(self) -> str:
        return f"{self._heading()}\n{self.table!r}"

    __repr__ = __str__

    def _heading(self) -> str:
        head = f"Parametric bootstrap: {len(self.replicates)} replicates, {self.n_failed} failed, "
        return f"{head}{self.n_singular} singular; level {self.level:g}"

    def _repr_html_(self) -> str:
        return result_html(frame_html(self.table), lead=self._heading())


def bootstrap(
    est: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    offset: Any = None,
    sample_weight: Any = None,
    statistic: Callable[[Any], Any] | None = None,
    n_boot: int = 1000,
    kind: str = "parametric",
    level: float = 0.95,
    n_jobs: int | None = None,
    random_state: Any = None,
    progress: bool = False,
) -> BootstrapResult:
    r"""Simulate outcomes from a fitted mixed model, and fit to each again.

    Random effects and, given these, outcomes are drawn anew from their estimated distributions; X, groups, weights and
    offset stay.

    Parameters
    ----------
    est : MixedLinear or MixedLogit
        A fitted mixed model, or a pipeline or search around one.
    X : array-like of shape (n_rows, n_features)
        Features of the fit.
    y : array-like of shape (n_rows,)
        Outcomes of the fit.
    groups : array-like of shape (n_rows,) or (n_rows, n_factors), optional
        Grouping factors of the fit.
    offset : array-like of shape (n_rows,), optional
        Offset of the fit.
    sample_weight : array-like of shape (n_rows,), optional
        Weights of the fit: frequencies, which must be whole numbers, or precisions.
    statistic : callable, optional
        Takes a fitted model, returns a number, an array, a dict or a Series. By default coefficients, standard
        deviations and correlations of random effects, and the residual standard deviation where there is one; that is
        much faster, since only what involves y is formed anew.
    n_boot : int, default=1000
        Number of replicates.
    kind : {"parametric"}, default="parametric"
        How outcomes are made.
    level : float, default=0.95
        Confidence level of the intervals.
    n_jobs : int, optional
        Number of processes, as in joblib.
    random_state : int, RandomState, Generator or None, default=None
        Seed. Replicates depend on it, and not on `n_jobs`.
    progress : bool, default=False
        Whether to report progress on standard error.

    Returns
    -------
    BootstrapResult
        ``.table`` with ``estimate``, ``bias`` (mean of the replicates less the estimate), ``std_error``, percentile
        interval ``conf_low, conf_high`` and basic interval ``basic_low, basic_high``; ``.replicates``, ``.n_failed``,
        ``.n_singular``, ``.to_frame()``.

    Raises
    ------
    ValueError
        If the data are not those of the fit, weights are sampling weights or broken frequencies, or there is nothing to
        draw from: no residual variance, or features that separate the outcomes.

    See Also
    --------
    profile_interval : Intervals from the likelihood, without simulation.

    Notes
    -----
    A row of frequency weight w stands for w rows of the same level: each has a residual of its own. With a `statistic`,
    such rows are written out. Where every level's effect is estimated as zero, a correlation is not defined: such
    replicates are left out of its row of the table. In small samples the percentile interval of a standard deviation
    is too low, since replicates are biased as the estimate is; the profile interval is to be preferred.

    Refits of a MixedLogit have the number of quadrature nodes of the fit, and begin at its estimates. A replicate fails
    whose estimates are infinite: all outcomes are of one class, or features separate them.

    References
    ----------
    Davison and Hinkley (1997), Bootstrap Methods and their Application, chapters 2 and 5.
    Bates, Maechler, Bolker and Walker (2015), Journal of Statistical Software 67(1), section 5.1: lme4's `bootMer`.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> from skdep.inference import bootstrap
    >>> sleep = load_sleepstudy()
    >>> model = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    >>> result = bootstrap(model, sleep.data, sleep.target, groups=sleep.groups, n_boot=50, random_state=0)
    >>> result.replicates.shape, result.n_failed
    ((50, 6), 0)
    >>> list(result.to_frame().columns[:3])
    ['estimate', 'bias', 'std_error']
    """
    _check_arguments(n_boot, kind, level)
    model = mixed_model(est)
    offset = offset_of(est, X, offset)
    X = last_step(est, X)[1]
    _check_model(model)
    weights = check_weights(sample_weight, len(y))
    if weights is not None and model.weight_type == "frequency":
        _check_whole(weights, can_be_precise=is_linear(model))
        if statistic is not None:
            X, y, groups, offset = _written_out(weights, X, y, groups, offset)
            weights = None
    plan = bootstrap_plan(model, X, y, groups, offset, weights)
    seeds = _seeds(random_state, n_boot)
    size = max(1, min(_BATCH_OUTCOMES, _BATCH_FLOATS // max(plan.simulator.n_rows, 1)))
    batches = (plan.simulator.draw(seeds[begin : begin + size]) for begin in range(0, n_boot, size))
    if statistic is None:
        names, estimate, refit = plan.all_parameters()
        work = (delayed(refit)(plan.simulator.products(*batch)) for batch in batches)
    else:
        names, estimate = _named(statistic(model))
        formula = getattr(model, "formula_", None)
        again = partial(_fit_again, plan.twin, formula, statistic, X, groups, weights, offset)
        work = (delayed(again)(plan.outcomes(plan.simulator.to_user(batch[0]))) for batch in batches)
    with Progress("Bootstrap", n_boot, progress) as report:
        values, failed, singular = _collect(work, n_jobs, report)
    if failed.any():
        warnings.warn(
            f"{int(failed.sum())} of {n_boot} replicates could not be fitted, and are left out.",
            ConvergenceWarning,
            stacklevel=level_of_caller(),
        )
    table = _tabulate(estimate, values, names, level)
    return BootstrapResult(
        table, pd.DataFrame(values, columns=names), level, int(failed.sum()), int(singular[~failed].sum())
    )


def _check_arguments(n_boot: int, kind: str, level: float) -> None:
    if kind != "parametric":
        raise ValueError(f"kind must be 'parametric', got {kind!r}.")
    if not isinstance(n_boot, Integral) or n_boot < 2:
        raise ValueError(f"n_boot must be a whole number of at least 2, got {n_boot!r}.")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, got {level!r}; 0.95 for 95 % intervals.")


def _check_model(model: Any) -> None:
    if model.weight_type == "sampling":
        raise ValueError(
            "The parametric bootstrap draws from the model; with weight_type='sampling' the spread comes from the "
            "design, which a model cannot simulate. coef_table has robust standard errors."
        )
    if not is_linear(model):
        from skdep.glmm.refitting import check_refittable

        check_refittable(model, "Simulations")
    elif model.sigma2_ == 0.0:
        raise ValueError("The fit leaves no residual variance: there is nothing to simulate.")


def _check_whole(weights: np.ndarray, *, can_be_precise: bool) -> None:
    broken = np.flatnonzero(weights != np.round(weights))
    if len(broken):
        row = int(broken[0])
        hint = " If Var(e_i) = sigma2 / w_i was meant, use weight_type='precision'." if can_be_precise else ""
        raise ValueError(
            f"Frequency weights count rows, and must be whole numbers to be simulated; row {row} has {weights[row]:g}."
            f"{hint}"
        )


def _written_out(weights: np.ndarray, X: Any, *columns: Any) -> list[Any]:
    """Return all with row i as often as its weight says."""
    rows = np.repeat(np.arange(len(weights)), weights.astype(int))
    return [None if part is None else _safe_indexing(part, rows) for part in (X, *columns)]


def _seeds(random_state: Any, n_boot: int) -> list[np.random.SeedSequence]:
    """Return a seed a replicate."""
    if isinstance(random_state, np.random.Generator):
        entropy = random_state.integers(0, 2**32, size=4)
    else:
        entropy = check_random_state(random_state).randint(0, 2**32, size=4, dtype=np.uint64)
    return np.random.SeedSequence([int(word) for word in entropy]).spawn(n_boot)


def _named(result: Any) -> tuple[list[str], np.ndarray]:
    """Return names and values of what a statistic returned."""
    if isinstance(result, pd.Series):
        result = result.to_dict()
    if isinstance(result, dict):
        return [str(name) for name in result], np.array([float(value) for value in result.values()])
    values = np.asarray(result, dtype=float)
    if values.ndim == 0:
        return ["statistic"], values[None]
    return [f"statistic[{k}]" for k in range(values.size)], values.ravel()


def _fit_again(
    twin: Any,
    formula: Any,
    statistic: Callable[[Any], Any],
    X: Any,
    groups: Any,
    weights: np.ndarray | None,
    offset: Any,
    outcomes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit to every outcome, and take the statistic; returns values, and which failed or were singular."""
    values: list[np.ndarray | None] = []
    singular = np.zeros(outcomes.shape[1], dtype=bool)
    with warnings.catch_warnings():
        # a singular refit is counted, and what holds of X and groups was said when the model was fitted
        for category in (ConvergenceWarning, CollinearityWarning, FewClustersWarning):
            warnings.simplefilter("ignore", category)
        for number, y in enumerate(outcomes.T):
            if (y == y[0]).all():
                values.append(None)
                continue
            try:
                again = clone(twin).fit(X, y, groups=groups, sample_weight=weights, offset=offset)
            except np.linalg.LinAlgError:
                values.append(None)
                continue
            if formula is not None:  # statistics may predict raw data
                again.formula_ = formula
            singular[number] = again.singular_
            values.append(_named(statistic(again))[1] if again.converged_ else None)
    failed = np.array([value is None for value in values])
    width = max((len(value) for value in values if value is not None), default=1)
    return np.array([np.full(width, np.nan) if value is None else value for value in values]), failed, singular


def _collect(work: Iterable[Any], n_jobs: int | None, progress: Progress) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run the work and put the parts together."""
    parts, done, singular = [], 0, 0
    results: Iterator[Any] = Parallel(n_jobs=n_jobs, return_as="generator")(work)
    for part in results:
        parts.append(part)
        done, singular = done + len(part[1]), singular + int(part[2].sum())
        progress.update(done, f" replicates, {singular} singular")
    width = max(part[0].shape[1] for part in parts)
    values = np.vstack(
        [part[0] if part[0].shape[1] == width else np.full((len(part[0]), width), np.nan) for part in parts]
    )
    return values, np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])


def _tabulate(estimate: np.ndarray, values: np.ndarray, names: Sequence[str], level: float) -> Table:
    """Summarise the replicates, NaN left out."""
    tails = [0.5 - 0.5 * level, 0.5 + 0.5 * level]
    with warnings.catch_warnings():
        # a statistic that is NaN throughout stays NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        mean, std_error = np.nanmean(values, axis=0), np.nanstd(values, axis=0, ddof=1)
        low, high = np.nanquantile(values, tails, axis=0)
    return Table(
        {
            "estimate": estimate,
            "bias": mean - estimate,
            "std_error": std_error,
            "conf_low": low,
            "conf_high": high,
            "basic_low": 2.0 * estimate - high,
            "basic_high": 2.0 * estimate - low,
        },
        index=list(names),
    )
