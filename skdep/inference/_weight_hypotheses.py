"""The tests by name: each says what columns made of the weights it adds to the model, and when it cannot be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from skdep.exceptions import ConvergenceWarning
from skdep.families import Binomial, Gaussian
from skdep.inference import _weight_classical as classical
from skdep.inference._weight_comparison import Comparison, with_added
from skdep.inference._weight_permutation import PermutationData, permutation_test
from skdep.inference._weight_rows import fit_model
from skdep.inference._weight_systems import outcome, score_system, working_family
from skdep.inference._weight_tests import (
    WeightTest,
    hotelling,
    independent_columns,
    not_done,
    relative_weights,
    standardised,
)
from skdep.links import Identity, Logit
from skdep.mixed.base import MixedEstimator
from skdep.survey.linearised import variance_of_total

__all__ = ["CLASSICAL", "DECIDING", "DESIGN_BASED", "NAMES", "run_tests"]

DECIDING = "hausman-pfeffermann"
DESIGN_BASED = (
    "hausman-pfeffermann",
    "hausman-pfeffermann (slopes)",
    "dumouchel-duncan",
    "pfeffermann-sverchkov",
    "wu-fuller",
    "weight-association",
    "permutation",
)
CLASSICAL = (
    "dumouchel-duncan (classical)",
    "hausman-pfeffermann (classical)",
    "pfeffermann-sverchkov (classical)",
    "weight-association (classical)",
    "wu-fuller (classical)",
    "likelihood-ratio",
)
NAMES = (*DESIGN_BASED, *CLASSICAL, "dumouchel-duncan (wald)")

_HYPOTHESES = {
    "hausman-pfeffermann": "weights do not change the coefficients",
    "hausman-pfeffermann (slopes)": "weights do not change the coefficients other than the intercept",
    "dumouchel-duncan": "weight and weight x features add nothing to the model",
    "pfeffermann-sverchkov": "relative weights, given features, are unrelated to the scores",
    "wu-fuller": "relative weights, given features and squares, add nothing to the model",
    "weight-association": "residuals add nothing to a regression of weights on features and squares",
    "permutation": "weights dealt out at random do as well",
    "likelihood-ratio": "weight and weight x features add nothing to a model of independent rows",
}
_SAME = "both fits are the same whatever y is"
_CONSTANT = "the weights are constant: there is nothing to test"


def run_tests(
    comparison: Comparison, names: Sequence[str], *, n_permutations: int, random_state: Any
) -> list[WeightTest]:
    """Do the tests asked for.

    Parameters
    ----------
    comparison : Comparison
        Both fits.
    names : sequence of str
        Names of tests.
    n_permutations : int
        Random permutations of that test.
    random_state : int, RandomState or None
        Their seed.
    """
    results = []
    for name in names:
        hypothesis = _HYPOTHESES.get(name) or _HYPOTHESES[name.partition(" (")[0]]
        reason = _obstacle(comparison, name)
        if reason:
            results.append(not_done(name, hypothesis, reason))
        elif name == "permutation":
            results.append(_permutation(comparison, hypothesis, n_permutations, random_state))
        else:
            results.append(_TESTS[name](comparison, name, hypothesis))
    return results


def _obstacle(comparison: Comparison, name: str) -> str:
    """Return why a test cannot be done; nothing if it can."""
    if comparison.rows.is_constant:
        return _CONSTANT
    if not (comparison.unweighted.converged_ and comparison.weighted.converged_):
        which = "unweighted" if not comparison.unweighted.converged_ else "weighted"
        return f"the {which} fit did not converge"
    if name in CLASSICAL:
        return _classical_obstacle(comparison, name)
    if comparison.rows.null_design.degf < 1:
        return "the design leaves no degrees of freedom: there is one sampling unit a stratum"
    return ""


def _classical_obstacle(comparison: Comparison, name: str) -> str:
    """Return why a test of independent rows cannot be done; nothing if it can."""
    rows, fit = comparison.rows, comparison.unweighted
    first = rows.null_design.stages[0]
    if "groups" in rows.metadata or (len(first.n_units) and len(first.stratum_of_unit) < rows.null_design.n_rows):
        return "its distribution is that of independent rows; use the design-based tests"
    family, link = working_family(fit)
    if name == "likelihood-ratio":
        is_logit = isinstance(family, Binomial) and isinstance(link, Logit) and hasattr(fit, "classes_")
        if not is_logit or hasattr(fit, "draws_") or getattr(fit, "penalty", None) is not None:
            return "it needs a logistic regression by maximum likelihood"
        return ""
    is_linear = isinstance(family, Gaussian) and isinstance(link, Identity)
    if not (is_linear or (isinstance(fit, MixedEstimator) and not hasattr(fit, "classes_"))):
        return "its distribution is that of a linear model; use the design-based tests"
    return ""


def _multipliers(comparison: Comparison) -> np.ndarray:
    """Return what weights are multiplied by to be added to the model: a constant and its columns."""
    rows = comparison.rows
    if comparison.unweighted.fit_intercept:
        return rows.columns
    return np.column_stack([np.ones(rows.n_rows), rows.columns])


def _added(comparison: Comparison, weights: np.ndarray) -> np.ndarray:
    """Return the columns w and w x, those left out that follow from others."""
    columns = standardised(weights)[:, None] * _multipliers(comparison)
    return columns[:, independent_columns(columns, comparison.rows.columns)]


def _with_squares(comparison: Comparison) -> np.ndarray:
    """Return a constant, the columns of the model and squares of features, those left out that follow from others."""
    return classical.with_squares(_multipliers(comparison), comparison.rows.features)


def _score_test(comparison: Comparison, name: str, hypothesis: str, added: np.ndarray) -> WeightTest:
    """Test columns by their scores at the unweighted fit."""
    rows = comparison.rows
    system = comparison.at_unweighted
    z = system.effective_scores(added, rows.columns)
    sizes = np.linalg.norm(added * system.residual[:, None], axis=0)
    return hotelling(name, hypothesis, z, rows.spread(z), rows.null_design, sizes)


def _hausman_pfeffermann(comparison: Comparison, name: str, hypothesis: str) -> WeightTest:
    return _of_change(comparison, name, hypothesis, 0)


def _slopes(comparison: Comparison, name: str, hypothesis: str) -> WeightTest:
    first = int(comparison.unweighted.fit_intercept)
    if comparison.change.shape[1] == first:
        return not_done(name, hypothesis, "the model has no features")
    return _of_change(comparison, name, hypothesis, first)


def _of_change(comparison: Comparison, name: str, hypothesis: str, first: int) -> WeightTest:
    """Test that coefficients from number `first` on do not change."""
    z = comparison.change[:, first:]
    sizes = np.linalg.norm(comparison.crossed.free_influence()[:, first:], axis=0)
    if np.all(np.linalg.norm(z, axis=0) <= 1e-9 * sizes):
        return not_done(name, hypothesis, _SAME + _hint(comparison))
    return hotelling(name, hypothesis, z, comparison.rows.spread(z), comparison.rows.null_design, sizes)


def _hint(comparison: Comparison) -> str:
    """Say why weights of a mixed model may have had no effect."""
    if not hasattr(comparison.unweighted, "weight_scaling") or comparison.rows.group_weight is not None:
        return ""
    return ": weights that are constant within clusters are scaled away, and belong in group_weight"


def _dumouchel_duncan(comparison: Comparison, name: str, hypothesis: str) -> WeightTest:
    return _score_test(comparison, name, hypothesis, _added(comparison, comparison.rows.total_weight))


def _of_relative_weights(comparison: Comparison, name: str, hypothesis: str, columns: np.ndarray) -> WeightTest:
    """Test columns made of weights over what features expect of them."""
    relative = relative_weights(comparison.rows.total_weight, columns)
    if relative is None:
        return not_done(name, hypothesis, "the regression of the weights on features does not converge")
    if np.ptp(relative) <= 1e-7:
        return not_done(name, hypothesis, "the weights are a function of the features: there is nothing left to test")
    return _score_test(comparison, name, hypothesis, _added(comparison, relative))


def _pfeffermann_sverchkov(comparison: Comparison, name: str, hypothesis: str) -> WeightTest:
    return _of_relative_weights(comparison, name, hypothesis, _multipliers(comparison))


def _wu_fuller(comparison: Comparison, name: str, hypothesis: str) -> WeightTest:
    return _of_relative_weights(comparison, name, hypothesis, _with_squares(comparison))


def _marginal_residuals(comparison: Comparison) -> tuple[np.ndarray, bool]:
    """Return Pearson residuals from population means, and whether their squares say more than they do."""
    fit, rows = comparison.unweighted, comparison.rows
    family, _ = working_family(fit)
    if hasattr(fit, "classes_"):
        mean = fit.predict_proba(rows.X, offset=rows.offset)[:, 1]
    else:
        mean = fit.predict(rows.X, offset=rows.offset)
        family = family if hasattr(fit, "_family") else Gaussian()
    y = outcome(fit, rows.y)
    is_binary = bool(np.isin(y, (0.0, 1.0)).all())
    return (y - mean) / np.sqrt(family.variance(family.clip(mean))), not is_binary


def _weight_association(comparison: Comparison, name: str, hypothesis: str) -> WeightTest:
    rows, base = comparison.rows, _with_squares(comparison)
    residual, with_square = _marginal_residuals(comparison)
    added = residual[:, None] * _multipliers(comparison)
    if with_square:
        added = np.column_stack([added, residual**2])
    added = added[:, independent_columns(added, base)]
    weights = standardised(rows.total_weight)
    unexplained = weights - base @ np.linalg.lstsq(base, weights, rcond=None)[0]
    if np.abs(unexplained).max() <= 1e-7:
        return not_done(name, hypothesis, "the weights are a function of the features: there is nothing left to test")
    z = (added - base @ np.linalg.lstsq(base, added, rcond=None)[0]) * unexplained[:, None]
    sizes = np.linalg.norm(added * weights[:, None], axis=0)
    return hotelling(name, hypothesis, z, rows.spread(z), rows.null_design, sizes)


def _permutation(comparison: Comparison, hypothesis: str, n_permutations: int, random_state: Any) -> WeightTest:
    rows, system = comparison.rows, comparison.at_unweighted
    added = standardised(rows.total_weight)[:, None] * rows.columns
    if len(independent_columns(added, rows.columns)) < added.shape[1]:
        reason = "the weights follow, in part, from the features: they cannot be dealt out without these"
        return not_done("permutation", hypothesis, reason)
    stage = rows.null_design.stages[0]
    units = np.unique(stage.unit[rows.kept], return_inverse=True)[1].reshape(-1)
    strata = stage.stratum_of_unit[stage.unit[rows.kept]]
    if _constant_within(rows.total_weight, strata):
        # weights that are those of strata can only be dealt out among all units
        strata = np.zeros_like(strata)
    data = PermutationData(
        weights=rows.total_weight,
        columns=rows.columns,
        moved=system.moved,
        scores=rows.columns * system.residual[:, None],
        units=units,
        strata=strata,
    )
    statistic, p_value = permutation_test(data, n_permutations, random_state)
    if not np.isfinite(statistic):
        return not_done("permutation", hypothesis, "the variance between sampling units is singular")
    return WeightTest("permutation", hypothesis, statistic, float(rows.columns.shape[1]), np.nan, p_value)


def _constant_within(values: np.ndarray, codes: np.ndarray) -> bool:
    """Say whether values are the same within each group of rows."""
    first = np.unique(codes, return_index=True)
    of_code = np.zeros(int(codes.max()) + 1)
    of_code[first[0]] = values[first[1]]
    return bool(np.allclose(values, of_code[codes], rtol=1e-9, atol=0.0))


def _wald(comparison: Comparison, name: str, hypothesis: str) -> WeightTest:
    """Fit the larger model, and test its further coefficients by their design-based covariance."""
    rows, template = comparison.rows, comparison.model.template
    added = _added(comparison, rows.total_weight)
    if not added.shape[1]:
        return not_done(name, hypothesis, "the weights are a function of the features: there is nothing left to test")
    larger = with_added(rows, added, fit_intercept=bool(template.fit_intercept))
    fit = fit_model(template, larger, None, quiet=True)
    k, freedom = added.shape[1], rows.null_design.degf
    if not fit.converged_:
        return not_done(name, hypothesis, "the model with weights among its features did not converge")
    if freedom - k + 1 < 1:
        return not_done(
            name, hypothesis, f"{k} hypotheses at once need more than the design's {freedom} degrees of freedom"
        )
    influence = score_system(fit, larger, None).influence() @ larger.basis.back[-k:].T
    variance = variance_of_total(larger.spread(influence), rows.null_design)
    estimate = np.ravel(fit.coef_)[-k:]
    scale = np.sqrt(np.diag(variance))
    correlation = variance / np.outer(scale, scale)
    statistic = float(estimate / scale @ np.linalg.lstsq(correlation, estimate / scale, rcond=None)[0])
    statistic *= (freedom - k + 1) / (freedom * k)
    p_value = float(stats.f.sf(statistic, k, freedom - k + 1))
    return WeightTest(name, hypothesis, statistic, float(k), float(freedom - k + 1), p_value)


def _linear_data(comparison: Comparison) -> classical.LinearData:
    rows = comparison.rows
    y = outcome(comparison.unweighted, rows.y)
    y = y if rows.offset is None else y - rows.offset
    return classical.LinearData(rows.columns, _multipliers(comparison), rows.features, y, rows.total_weight)


def _of_linear_data(test: Callable[..., WeightTest]) -> Callable[[Comparison, str, str], WeightTest]:
    return lambda comparison, name, hypothesis: test(_linear_data(comparison), name, hypothesis)


def _likelihood_ratio(comparison: Comparison, name: str, hypothesis: str) -> WeightTest:
    """Compare the likelihoods of logistic regressions with and without weights among the features."""
    import warnings

    from skdep.logit import LogitRegressor

    rows = comparison.rows
    added = _added(comparison, rows.total_weight)
    label = outcome(comparison.unweighted, rows.y).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = [
            LogitRegressor(fit_intercept=False).fit(columns, label, offset=rows.offset)
            for columns in (rows.columns, np.column_stack([rows.columns, added]))
        ]
    if not fits[1].converged_:
        return not_done(name, hypothesis, "the model with weights among its features did not converge")
    statistic, k = 2.0 * (fits[1].loglik_ - fits[0].loglik_), added.shape[1]
    return WeightTest(name, hypothesis, statistic, float(k), np.inf, float(stats.chi2.sf(statistic, k)))


_TESTS: dict[str, Callable[[Comparison, str, str], WeightTest]] = {
    "hausman-pfeffermann": _hausman_pfeffermann,
    "hausman-pfeffermann (slopes)": _slopes,
    "dumouchel-duncan": _dumouchel_duncan,
    "pfeffermann-sverchkov": _pfeffermann_sverchkov,
    "wu-fuller": _wu_fuller,
    "weight-association": _weight_association,
    "dumouchel-duncan (wald)": _wald,
    "dumouchel-duncan (classical)": _of_linear_data(classical.dumouchel_duncan),
    "hausman-pfeffermann (classical)": _of_linear_data(classical.hausman_pfeffermann),
    "pfeffermann-sverchkov (classical)": _of_linear_data(classical.pfeffermann_sverchkov),
    "weight-association (classical)": _of_linear_data(classical.weight_association),
    "wu-fuller (classical)": _of_linear_data(classical.wu_fuller),
    "likelihood-ratio": _likelihood_ratio,
}
