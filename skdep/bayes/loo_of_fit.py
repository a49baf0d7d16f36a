"""Leave-one-out cross-validation of a fitted `BayesLogit`, from the rows that it keeps."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skdep._docs import read_more
from skdep._progress import tracked
from skdep._stack import level_of_caller
from skdep._validation import check_weights
from skdep.bayes.loo import LeaveOneOut, _notes, _sum_and_error, leave_one_out
from skdep.bayes.row_densities import level_densities, row_densities
from skdep.exceptions import ConvergenceWarning
from skdep.glmm.nodes import hermite_rule
from skdep.glmm.rows import GlmmRows, RowTerm

__all__ = ["loo_of_fit"]

# Draws times rows times nodes beyond which draws are thinned, and the fewest that stay.
_MOST_DENSITIES, _FEWEST_DRAWS = 40_000_000, 1000
# Draws times rows held at once: temporary arrays of 32 MB.
_BLOCK = 4_000_000
# Nodes per dimension where the sampler did not choose them.
_N_NODES = {1: 25, 2: 11, 3: 7}


@dataclass(frozen=True)
class _Draws:
    """Draws of working parameters: coefficients (S, k), factors of the covariance (S, q, q) or None, nodes."""

    beta: np.ndarray
    factors: np.ndarray | None
    n_nodes: int


def loo_of_fit(
    est: Any,
    X: Any = None,
    y: Any = None,
    *,
    groups: Any = None,
    sample_weight: Any = None,
    offset: Any = None,
    leave_out: str = "auto",
) -> LeaveOneOut:
    """Estimate how well a fitted estimator predicts what it has not seen.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator.
    X, y, groups, sample_weight, offset : array-like, optional
        The rows of the fit. They are not needed for the sum, but say in which order the results by row are to be, so
        that `compare_elpd` can pair the rows of fits with different features.
    leave_out : {"auto", "row", "level"}, default="auto"
        What is predicted from the rest: one row (for a multilevel model: a row of a known level), or all rows of a
        level (a new level). By default levels where there are any.

    Returns
    -------
    LeaveOneOut
        By row: ``pointwise``, ``khat`` and ``weights`` in the order of X where it is given, else those of distinct rows
        and outcomes, with counts. By level: in the order of ``levels_``.

    Raises
    ------
    ValueError
        If the fit keeps no rows, the data are not those of the fit, or levels cannot be left out.

    Warns
    -----
    ConvergenceWarning
        If some k-hat is above its threshold.
    """
    if leave_out not in ("auto", "row", "level"):
        raise ValueError(f"leave_out should be 'auto', 'row' or 'level', got {leave_out!r}.")
    rows = getattr(est, "_rows", None)
    if rows is None:
        raise ValueError(
            "This fit keeps no rows to leave out: update with updating='exact', or fit all data at once."
            f"{read_more('bayes_evidence')}"
        )
    if leave_out == "auto":
        leave_out = "level" if rows.terms else "row"
    _check_terms(rows, leave_out)
    units = _Rows(rows) if leave_out == "row" else None
    draws = _draws(est, rows)
    blocks = tracked(_blocks(rows, draws), "Leave-one-out, blocks of rows")
    pieces = [_leave_out(block, draws, leave_out, _relative_efficiency(est)) for block in blocks]
    result = _joined(pieces)
    if units is not None and X is not None:
        place, weights = units.find(est, X, y, groups, sample_weight, offset)
        result = replace(result, pointwise=result.pointwise[place], khat=result.khat[place], weights=weights)
    notes = _notes(result.khat, result.n_draws)
    if leave_out == "level":
        notes = tuple(note.replace("rows", "levels").replace(", row ", ", level ") for note in notes)
    for note in notes:
        warnings.warn(note + read_more("bayes_evidence"), ConvergenceWarning, stacklevel=level_of_caller())
    unit = "distinct rows" if leave_out == "row" and X is None else f"{leave_out}s"
    return replace(result, notes=notes, unit=unit)


def _check_terms(rows: GlmmRows, leave_out: str) -> None:
    if not rows.terms and leave_out == "level":
        raise ValueError("leave_out='level' is for models with a grouping factor; this one was fitted without groups.")
    if len(rows.terms) > 1 or any(term.q not in _N_NODES for term in rows.terms):
        raise ValueError(
            "loo integrates the effects of one grouping factor, up to three a level. With several factors cross-"
            "validate over whole levels: cross_val_score(est, X, y, cv=GroupKFold(), scoring='neg_log_loss')."
            f"{read_more('bayes_evidence')}"
        )


def _draws(est: Any, rows: GlmmRows) -> _Draws:
    """Return the draws in working parameters, thinned where there is much to compute."""
    layout = est._prior.layout
    points = est._posterior.points.reshape(-1, est._posterior.points.shape[-1])
    parts = [est.draws_["intercept"].reshape(-1, 1)] if est.fit_intercept else []
    user = np.column_stack([*parts, est.draws_["coef"].reshape(len(points), -1)])
    n_nodes, size = 1, rows.n_rows
    if rows.terms:
        q = rows.terms[0].q
        n_nodes = int(getattr(est._posterior.target, "n_nodes", _N_NODES[q]))
        size *= hermite_rule(n_nodes, q).n_nodes
    kept = min(max(_MOST_DENSITIES // size, _FEWEST_DRAWS), len(points))
    chosen = np.linspace(0, len(points) - 1, kept).astype(int)
    factors = layout.random[0].cholesky(points[chosen]) if rows.terms else None
    return _Draws(user[chosen] @ layout.to_working.T, factors, n_nodes)


def _relative_efficiency(est: Any) -> float:
    """Return the effective sample size divided by the number of draws."""
    return float(np.clip(est.diagnostics_["min_ess_bulk"] / est.draws_["intercept"].size, 0.01, 1.0))


def _leave_out(rows: GlmmRows, draws: _Draws, leave_out: str, relative_efficiency: float) -> LeaveOneOut:
    """Leave out what is in some rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said once, of all rows together
        if leave_out == "level":
            assert draws.factors is not None
            by_level = level_densities(rows, draws.beta, draws.factors, draws.n_nodes)
            return leave_one_out(by_level, relative_efficiency=relative_efficiency)
        failure, success = row_densities(rows, draws.beta, draws.factors, draws.n_nodes)
        units = _Rows(rows)
        densities = np.concatenate([failure[:, units.failures], success[:, units.successes]], axis=1)
        return leave_one_out(densities, sample_weight=units.counts, relative_efficiency=relative_efficiency)


def _blocks(rows: GlmmRows, draws: _Draws) -> Iterator[GlmmRows]:
    """Yield runs of rows that hold whole levels."""
    step = max(_BLOCK // len(draws.beta), 1)
    if not rows.terms:
        for begin in range(0, rows.n_rows, step):
            yield _part(rows, slice(begin, min(begin + step, rows.n_rows)))
        return
    (term,) = rows.terms
    starts = np.append(np.searchsorted(term.codes, np.arange(term.n_levels)), rows.n_rows)
    first = 0
    while first < term.n_levels:
        last = max(int(np.searchsorted(starts, starts[first] + step, side="right")) - 1, first + 1)
        yield _part(rows, slice(starts[first], starts[last]), first, last)
        first = last


def _part(rows: GlmmRows, span: slice, first: int = 0, last: int = 0) -> GlmmRows:
    """Return some rows: of the levels from `first` to `last`, where there is a factor."""
    terms = tuple(
        RowTerm(term.codes[span] - first, last - first, np.ascontiguousarray(term.columns[:, span]), term.to_user)
        for term in rows.terms
    )
    offset = None if rows.offset is None else rows.offset[span]
    return GlmmRows(rows.fixed[span], rows.outcome[span], rows.weight[span], offset, terms, rows.family)


def _joined(pieces: list[LeaveOneOut]) -> LeaveOneOut:
    """Join the results of blocks of rows."""
    pointwise, khat = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("pointwise", "khat"))
    counts = [piece.weights for piece in pieces if piece.weights is not None]
    weights = np.concatenate(counts) if counts else None
    total, error = _sum_and_error(pointwise, weights)
    return LeaveOneOut(total, error, sum(piece.p_loo for piece in pieces), pointwise, khat, pieces[0].n_draws, weights)


def _successes(y: Any, classes: np.ndarray, n_rows: int) -> np.ndarray:
    """Return 0 and 1 for labels."""
    y = np.asarray(y).ravel()
    if len(y) != n_rows or not np.isin(y, classes).all():
        raise ValueError(f"y should be {n_rows} labels, {classes[0]!r} or {classes[1]!r}, as in fit.")
    return (y == classes[1]).astype(np.float64)


class _Rows:
    """Outcomes of distinct rows that occur: failures of rows first, then successes, with counts.

    Parameters
    ----------
    rows : GlmmRows
        The rows.
    """

    def __init__(self, rows: GlmmRows):
        self.rows = rows
        missed = rows.weight - rows.outcome
        # sums of weights leave rounding behind where all outcomes are alike
        least = 1e-12 * rows.weight
        self.failures, self.successes = np.flatnonzero(missed > least), np.flatnonzero(rows.outcome > least)
        self.counts = np.concatenate([missed[self.failures], rows.outcome[self.successes]])

    def find(
        self, est: Any, X: Any, y: Any, groups: Any, sample_weight: Any, offset: Any
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return where each row of the data is among the outcomes of distinct rows, and weights where there are any."""
        X, offset, codes = est._rows_to_predict(X, groups, offset)
        weights = check_weights(sample_weight, len(X))
        success = _successes(y, est.classes_, len(X))
        layout = est._prior.layout
        columns = [(X - layout.centres) / layout.scales, success]
        columns += [] if codes is None else [codes[term.name] for term in layout.random]
        columns += [np.zeros(len(X)) if offset is None else offset]
        given, known = np.column_stack(columns), self._table(layout)
        if given.shape[1] != known.shape[1]:
            raise ValueError("The model was fitted with groups: loo needs them too, to find the rows of the fit.")
        numbers = np.unique(np.vstack([known, given]), axis=0, return_inverse=True)[1].ravel()
        n_numbers = int(numbers.max()) + 1
        places = np.full(n_numbers, -1)
        places[numbers[: len(known)]] = np.arange(len(known))
        present = np.ones(len(X)) if weights is None else weights
        expected = np.bincount(numbers[: len(known)], self.counts, n_numbers)
        found = np.bincount(numbers[len(known) :], present, n_numbers)
        if not np.allclose(found, expected, rtol=1e-8, atol=0.0):
            raise ValueError("X, y and what comes with them are not the data of the fit: rows differ, or their counts.")
        place = places[numbers[len(known) :]]
        if (place < 0).any():  # rows of weight 0, which the fit has never seen: whichever row, they count nothing
            place = np.maximum(place, 0)
        return place, weights

    def _table(self, layout: Any) -> np.ndarray:
        rows, chosen = self.rows, np.concatenate([self.failures, self.successes])
        success = np.repeat([0.0, 1.0], [len(self.failures), len(self.successes)])
        columns = [rows.fixed[chosen, layout.coef], success, *(term.codes[chosen] for term in rows.terms)]
        columns += [np.zeros(len(chosen)) if rows.offset is None else rows.offset[chosen]]
        return np.column_stack(columns)
