"""What must hold of every estimator with random effects, whatever its parameters: units, origins, labels, weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdep.inference import coef_table

from .registry import CASES, Rows, ids
from .results import assert_close, assert_same, results

pytestmark = pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")

GROUPED = [case for case in CASES if case.group_effects]
MIXED = [case for case in GROUPED if not case.posterior]
PRECISION = [case for case in MIXED if case.weights == "precision"]
FREQUENCY = [case for case in MIXED if case.weights == "rows"]
GROUP_WEIGHTED = [case for case in MIXED if "group_weight" in case.metadata]
SHIFTED_SLOPES = [case for case in MIXED if case.shift_equivariant and case.numbered_features]

LINEAR = [case for case in MIXED if case.kind == "regressor"]
LOGIT = [case for case in MIXED if case.kind == "classifier"]

every_grouped = pytest.mark.parametrize("case", GROUPED, ids=ids(GROUPED))
every_mixed = pytest.mark.parametrize("case", MIXED, ids=ids(MIXED))
every_linear = pytest.mark.parametrize("case", LINEAR, ids=ids(LINEAR))
every_logit = pytest.mark.parametrize("case", LOGIT, ids=ids(LOGIT))

OF_EVERY_LEVEL = ("random_effects_", "random_effects_sd_")


def group_part(est, name):
    """Return a fitted dict's only entry."""
    (value,) = getattr(est, name).values()
    return value


def mean_predictor(case, est, X, **given):
    """Return the linear predictor, with the effects of known levels; rows of unknown levels only without effects."""
    return est._predictor(X, given.get("groups"), given["offset"])[0] if case in LOGIT else est.predict(X, **given)


def unit_of_effects(case, factors):
    """Return what to multiply effects by to have them for the features before they were multiplied by factors."""
    return np.array([1.0, *(factors[j] for j in case.estimator.random_slopes or [])])


# ------------------------------------------------------------------------------------------------- attributes


@every_grouped
def test_parameters_by_factor_say_what_a_word_says(case):
    rows = case.data()
    groups = pd.Series(rows.groups, name="school")
    one = case.fit(rows.but(groups=groups))
    by_factor = {"random_intercept": {"school": True}, "covariance": {"school": case.estimator.covariance}}
    other = case.fit(rows.but(groups=groups), estimator=case.unfitted(**by_factor))
    assert_array_equal(other.coef_, one.coef_)
    assert_array_equal(group_part(other, "random_covariance_"), group_part(one, "random_covariance_"))
    for name in by_factor:
        with pytest.raises(ValueError, match=rf"{name} names unknown factors \['pupil'\]; groups has \['school'\]"):
            case.fit(rows.but(groups=groups), estimator=case.unfitted(**{name: {"pupil": by_factor[name]["school"]}}))


@every_grouped
def test_attributes_agree_with_each_other(case):
    rows = case.data()
    est = case.fit(rows.but(groups=pd.Series(rows.groups, name="school")))
    q, levels = 1 + bool(case.numbered_features), np.unique(rows.groups)
    for name in ("random_covariance_", "random_names_", "levels_", *OF_EVERY_LEVEL):
        assert list(getattr(est, name)) == ["school"]
    assert_array_equal(est.levels_["school"], levels)
    assert est.random_names_["school"] == ("Intercept", "x0")[:q]
    covariance = est.random_covariance_["school"]
    assert_array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0
    if q == 2:
        assert (covariance[0, 1] == 0.0) == (case.estimator.covariance == "diagonal")
    for name in OF_EVERY_LEVEL:
        assert getattr(est, name)["school"].shape == (len(levels), q)
    assert np.all(est.random_effects_sd_["school"] > 0)
    assert np.all(est.random_effects_sd_["school"] < np.sqrt(np.diag(covariance)))
    if case.posterior:
        assert isinstance(est.log_evidence_, float)
        drawn = est._effect_draws()["school"]
        assert_allclose(est.random_effects_["school"], drawn.mean(axis=0))
        assert_allclose(est.random_effects_sd_["school"], drawn.std(axis=0))
        return
    assert isinstance(est.loglik_, float) and isinstance(est.singular_, bool)
    assert not est.singular_
    if case in LINEAR:
        assert isinstance(est.sigma2_, float) and est.sigma2_ > 0
    else:
        assert type(est.n_quadrature_) is int
        assert est.n_quadrature_ == case.estimator.n_quadrature or case.estimator.n_quadrature == "auto"


@every_grouped
def test_summary_shows_groups_and_variances(case):
    rows = case.data()
    est = case.fit(rows.but(groups=pd.Series(rows.groups, name="school")))
    text = str(est.summary())
    sizes = np.unique(rows.groups, return_counts=True)[1]
    shown = {"Levels of school": f"{len(sizes)}, of {sizes.min()} to {sizes.max()} rows"}
    shown |= _of_posteriors(est) if case.posterior else _of_likelihoods(case, est)
    lines = dict(line.split("  ", 1) for line in text.splitlines() if "  " in line.strip())
    for label, value in shown.items():
        assert lines[label].strip() == value


def _of_posteriors(est):
    """Return lines of the summary of a posterior."""
    error = est.diagnostics_["log_evidence_error"]
    assert list(est.summary().to_frame().index)[-1] == "sd[school, Intercept]"
    return {
        "Classes": "success is 1, failure 0",
        "Log evidence": f"{est.log_evidence_:.3f} (Monte Carlo error {error:.2g})",
    }


def _of_likelihoods(case, est):
    """Return lines of the summary of a fit that maximises a likelihood."""
    sampling = case.weights == "sampling"
    kind = "Log pseudo-likelihood" if sampling else "REML log-likelihood" if case.restricted else "Log-likelihood"
    shown = {kind: f"{est.loglik_:.4f}"}
    if case in LINEAR:
        shown["Method"] = "pseudo-likelihood" if sampling else case.estimator.method.upper()
        shown["Residual SD"] = f"{np.sqrt(est.sigma2_):.5g}"
    else:
        nodes = f"adaptive Gauss-Hermite quadrature, {est.n_quadrature_} nodes per dimension"
        shown["Integral"] = "Laplace's approximation" if est.n_quadrature_ == 1 else nodes
        shown["Classes"] = "success is 1, failure 0"
    for effect, variance in zip(est.random_names_["school"], np.diag(est.random_covariance_["school"]), strict=True):
        shown[f"SD of {effect} by school"] = f"{np.sqrt(variance):.5g}"
    return shown


@every_mixed
def test_conditional_predictions_add_the_effects_of_known_levels(case):
    rows = case.data()
    est = case.fit(rows)
    position = {label: row for row, label in enumerate(est.levels_["group"])}
    groups = np.where(np.arange(rows.n_rows) % 5 == 0, -1, rows.groups)
    expected = mean_predictor(case, est, rows.X, offset=rows.offset)
    for row, label in enumerate(groups):
        if label != -1:
            effect = est.random_effects_["group"][position[label]]
            z = [1.0, *(rows.X[row, j] for j in case.estimator.random_slopes or [])]
            expected[row] += effect @ z
    found = mean_predictor(case, est, rows.X, groups=groups, offset=rows.offset)
    assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@every_linear
def test_errors_of_predictions(case):
    """Known levels are predicted better than unknown ones, whose effects add z' Sigma z to the population's error."""
    rows = case.data()
    est = case.fit(rows)
    mean, population = est.predict(rows.X, offset=rows.offset, return_std=True)
    assert_array_equal(mean, est.predict(rows.X, offset=rows.offset))
    design = np.column_stack([np.ones(rows.n_rows), rows.X])
    model = case.fit(rows, estimator=case.unfitted(cov_type="model"))
    if case.weights != "sampling":
        assert_allclose(population**2, np.sum(design @ model.covariance_ * design, axis=1), rtol=1e-9)
    Z = np.column_stack([np.ones(rows.n_rows), rows.X[:, case.estimator.random_slopes or []]])
    unseen = est.predict(rows.X, groups=rows.groups + 10**6, offset=rows.offset, return_std=True)[1]
    assert_allclose(unseen**2, population**2 + np.sum(Z @ est.random_covariance_["group"] * Z, axis=1), rtol=1e-9)
    known = est.predict(rows.X, groups=rows.groups, offset=rows.offset, return_std=True)[1]
    assert np.all(known < unseen)


@pytest.mark.parametrize("case", [case for case in FREQUENCY + PRECISION if case in LINEAR], ids=lambda case: case.name)
def test_effects_of_features_with_a_coefficient_add_up_to_zero(case):
    """Coefficients leave Z'We of sum zero over levels, which is Sigma^-1 b."""
    rows = case.data()
    est = case.fit(rows, sample_weight=case.sample_weight(rows))
    effects = est.random_effects_["group"]
    assert np.abs(effects).max() > 0.5
    assert_allclose(effects.sum(axis=0), 0.0, atol=1e-9 * len(effects))


@pytest.mark.parametrize(
    "case", [case for case in MIXED if getattr(case.estimator, "penalty", None) is None], ids=lambda case: case.name
)
def test_a_column_of_ones_is_the_intercept(case):
    rows = case.data()
    with_ones = rows.but(X=np.column_stack([rows.X, np.ones(rows.n_rows)]))
    own = case.fit(rows, estimator=case.unfitted(**case.exact))
    column = case.fit(with_ones, estimator=case.unfitted(fit_intercept=False, **case.exact))
    assert column.intercept_ == 0.0
    assert_allclose(np.ravel(column.coef_), [*np.ravel(own.coef_), *np.ravel(own.intercept_)], rtol=1e-8)
    order = [3, 0, 1, 2]
    assert_allclose(column.covariance_[np.ix_(order, order)], own.covariance_, rtol=1e-8, atol=1e-12)
    assert_allclose(column.loglik_, own.loglik_, rtol=1e-10)
    if case in LINEAR:
        assert_allclose(column.sigma2_, own.sigma2_, rtol=1e-8)
    for name in ("random_covariance_", *OF_EVERY_LEVEL):
        assert_allclose(group_part(column, name), group_part(own, name), rtol=1e-6, atol=1e-9)


# ------------------------------------------------------------------------------------------------- units, origins


@every_grouped
@pytest.mark.parametrize("factors", [(10.0, 0.1, -2.0), (-1e-6, 1e6, 1e3)], ids=str)
def test_effects_of_rescaled_features(case, factors):
    rows = case.data()
    if case.posterior:
        factors = np.abs(factors)  # a mirrored posterior has other draws
    before, after = (
        case.fit(part, estimator=case.unfitted(**case.exact)) for part in (rows, rows.but(X=rows.X * factors))
    )
    unit = unit_of_effects(case, factors)
    old, new = (group_part(est, "random_covariance_") for est in (before, after))
    assert_close(case, new * np.outer(unit, unit), old, rtol=1e-7, atol=1e-9)
    old, new = (group_part(est, "random_effects_") for est in (before, after))
    assert_close(case, new * unit, old, rtol=1e-7, atol=1e-9)
    old, new = (group_part(est, "random_effects_sd_") for est in (before, after))
    assert_close(case, new * np.abs(unit), old, rtol=1e-7)


@every_mixed
def test_the_search_begins_at_the_same_point_in_all_units(case):
    rows = case.data()
    before, after = case.fit(rows), case.fit(rows.but(X=rows.X * (1e-6, 1e6, 1e3)))
    for old, new in zip(before.optimization_.start, after.optimization_.start, strict=True):
        assert_allclose(new, old, rtol=1e-9)


@pytest.mark.parametrize("case", SHIFTED_SLOPES, ids=ids(SHIFTED_SLOPES))
@pytest.mark.parametrize("shift", [1.5, -40.0, 1e4])
def test_effects_of_shifted_slopes(case, shift):
    """b0 + b1 x is (b0 - shift b1) + b1 (x + shift): another intercept, of another variance, in the same model."""
    rows = case.data()
    before, after = case.fit(rows), case.fit(rows.but(X=rows.X + np.array([shift, 0.0, 0.0])))
    back = np.array([[1.0, shift], [0.0, 1.0]])
    old, new = (group_part(est, "random_covariance_") for est in (before, after))
    assert_allclose(back @ new @ back.T, old, rtol=1e-6, atol=1e-13 * shift**2)
    old, new = (group_part(est, "random_effects_") for est in (before, after))
    assert_allclose(new @ back.T, old, rtol=1e-7, atol=1e-11 * abs(shift) + 1e-9)
    if case in LINEAR:
        assert_allclose(after.sigma2_, before.sigma2_, rtol=1e-8)
    assert_allclose(after.loglik_, before.loglik_, rtol=1e-10)


@pytest.mark.parametrize("case", [case for case in MIXED if not case.shift_equivariant], ids=lambda case: case.name)
def test_uncorrelated_slopes_depend_on_the_origin(case):
    rows = case.data()
    before, after = case.fit(rows), case.fit(rows.but(X=rows.X + np.array([1.5, 0.0, 0.0])))
    change = after.loglik_ - before.loglik_
    assert change < -1.0 if case in LINEAR else abs(change) > 0.5


@every_linear
@pytest.mark.parametrize("factor", [1e-8, -3.0, 1e8])
def test_loglik_of_a_rescaled_outcome(case, factor):
    rows = case.data().but(offset=None)
    before, after = case.fit(rows), case.fit(rows.but(y=factor * rows.y))
    n_densities = rows.n_rows - 4 * case.restricted
    if case.weights == "sampling":
        # the pseudo-likelihood counts the rows of a cluster as often as the cluster's weight says
        first = np.unique(rows.groups, return_index=True)[1]
        n_densities = np.sum(rows.group_weight / rows.group_weight[first].mean()) - 4 * case.restricted
    assert_allclose(after.loglik_ - before.loglik_, -n_densities * np.log(abs(factor)), rtol=1e-8)


@every_linear
@pytest.mark.parametrize("direction", [(0.0, 1.0, 0.0, 0.0), (3.0, -2.0, 50.0, 1.0), (1e6, 0.0, 0.0, 0.0)], ids=str)
def test_what_is_added_to_the_outcome_along_the_features_moves_coefficients_only(case, direction):
    rows = case.data()
    intercept, *slopes = direction
    moved = rows.but(y=rows.y + intercept + rows.X @ slopes)
    before, after = results(case, case.fit(rows)), results(case, case.fit(moved))
    size = max(1.0, *np.abs(direction))
    assert_allclose(after["intercept_"] - intercept, before["intercept_"], atol=1e-11 * size)
    assert_allclose(after["coef_"] - slopes, before["coef_"], atol=1e-11 * size)
    for name in ("sigma2_", "loglik_", "covariance_", "random_covariance_ 0"):
        assert_allclose(after[name], before[name], rtol=1e-7, atol=1e-10, err_msg=name)


# ------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("case", PRECISION, ids=ids(PRECISION))
@pytest.mark.parametrize("factor", [7.0, 1e-6, 1e4])
def test_unit_of_precisions_goes_into_the_residual_variance(case, factor):
    rows = case.data()
    weight = case.sample_weight(rows)
    before, after = (
        case.fit(rows, sample_weight=unit * weight, estimator=case.unfitted(**case.exact)) for unit in (1.0, factor)
    )
    actual, expected = results(case, after, rows), results(case, before, rows)
    assert_allclose(actual["sigma2_"], factor * expected["sigma2_"], rtol=1e-8)
    # the search has another way to go
    assert_same(case, actual, expected, rtol=1e-7, but=("sigma2_", "n_iter_"))


@pytest.mark.parametrize("case", PRECISION, ids=ids(PRECISION))
def test_a_mean_of_rows_has_the_precision_of_their_number(case):
    """Means of m rows of the same features have residual variance sigma2 / m."""
    rows = case.data()
    copies = 1 + np.arange(rows.n_rows) % 3
    noise = np.random.default_rng(2).normal(size=rows.n_rows)
    split = rows.take(np.repeat(np.arange(rows.n_rows), copies))
    # of copies the last ones differ, with the mean of all unchanged
    within = np.concatenate([np.arange(m) - (m - 1) / 2 for m in copies]) * np.repeat(noise, copies)
    each = case.fit(split.but(y=split.y + within), estimator=case.unfitted(method="ml", **case.exact))
    means = case.fit(rows, sample_weight=copies, estimator=case.unfitted(method="ml", **case.exact))
    # sigma2 differs, since only the rows know the variance within; at the same ratios beta is the same
    ratio = group_part(each, "random_covariance_") / each.sigma2_
    fixed = _beta_at(rows, ratio, copies)
    assert_allclose(np.array([each.intercept_, *each.coef_]), fixed, rtol=1e-6)
    ratio = group_part(means, "random_covariance_") / means.sigma2_
    assert_allclose(np.array([means.intercept_, *means.coef_]), _beta_at(rows, ratio, copies), rtol=1e-6)


def _beta_at(rows, ratio, precision):
    """Return the generalised least squares estimates with Sigma / sigma2 given, by dense algebra."""
    n = rows.n_rows
    Z = np.column_stack([np.ones(n), rows.X[:, 0]])
    V = np.where(rows.groups[:, None] == rows.groups, Z @ ratio @ Z.T, 0.0) + np.diag(1.0 / precision)
    X = np.column_stack([np.ones(n), rows.X])
    solved = np.linalg.solve(V, np.column_stack([X, rows.y - rows.offset]))
    return np.linalg.solve(X.T @ solved[:, :4], X.T @ solved[:, 4])


@pytest.mark.parametrize("case", GROUP_WEIGHTED, ids=ids(GROUP_WEIGHTED))
@pytest.mark.parametrize("factor", [1000.0, 1.0 / 7.0, 1e-12, 1e12])
def test_scale_of_group_weights_means_nothing(case, factor):
    rows = case.data()
    expected = results(case, case.fit(rows), rows)
    assert_same(
        case, results(case, case.fit(rows.but(group_weight=factor * rows.group_weight)), rows), expected, rtol=1e-10
    )


@pytest.mark.parametrize("case", GROUP_WEIGHTED, ids=ids(GROUP_WEIGHTED))
def test_equal_group_weights_are_none(case):
    rows = case.data()
    assert_same(
        case,
        results(case, case.fit(rows, group_weight=np.full(rows.n_rows, 3.5)), rows),
        results(case, case.fit(rows, group_weight=None), rows),
        but=("table model",),  # small-sample inference knows no weights of groups
    )


@pytest.mark.parametrize("case", GROUP_WEIGHTED, ids=ids(GROUP_WEIGHTED))
def test_group_weight_zero_is_a_dropped_group(case):
    rows = case.data()
    kept = rows.groups % 4 != 0
    actual = case.fit(rows, group_weight=np.where(kept, rows.group_weight, 0.0))
    expected = case.fit(rows.take(kept))
    assert_array_equal(actual.levels_["group"], expected.levels_["group"])
    assert_same(case, results(case, actual, rows), results(case, expected, rows))


@pytest.mark.parametrize("case", GROUP_WEIGHTED, ids=ids(GROUP_WEIGHTED))
def test_integer_group_weights_repeat_groups(case):
    """Up to the scale, which is that of a mean weight of one."""
    rows = case.data()
    levels, codes = np.unique(rows.groups, return_inverse=True)
    times = np.random.default_rng(3).integers(1, 4, len(levels))[codes]
    repeated = Rows.stack(
        [rows.take(times > copy).but(groups=rows.groups[times > copy] + 10**4 * copy) for copy in range(3)]
    )
    params = case.exact | ({"method": "ml"} if case in LINEAR else {})
    weighted = case.fit(rows, group_weight=times, estimator=case.unfitted(**params))
    often = case.fit(repeated, group_weight=None, estimator=case.unfitted(**params))
    assert_allclose(weighted.coef_, often.coef_, rtol=1e-7)
    if case in LINEAR:
        assert_allclose(weighted.sigma2_, often.sigma2_, rtol=1e-7)
    assert_allclose(group_part(weighted, "random_covariance_"), group_part(often, "random_covariance_"), rtol=1e-6)
    mean = times[np.unique(rows.groups, return_index=True)[1]].mean()
    assert_allclose(weighted.loglik_ * mean, often.loglik_, rtol=1e-9)


@every_grouped
def test_a_level_without_weight_is_unknown(case):
    rows = case.data()
    label = rows.groups[0]
    weight = np.where(rows.groups == label, 0.0, case.sample_weight(rows))
    est = case.fit(rows, sample_weight=weight)
    assert label not in est.levels_["group"]
    assert len(est.levels_["group"]) == len(np.unique(rows.groups)) - 1
    given = {"offset": rows.offset[rows.groups == label]}
    X = rows.X[rows.groups == label]
    assert_array_equal(est.predict(X, groups=np.full(len(X), label), **given), est.predict(X, **given))


# ------------------------------------------------------------------------------------------------- without groups


@every_linear
def test_without_groups_it_is_least_squares(case):
    rows = case.data()
    weight = case.sample_weight(rows)
    est = case.fit(rows, groups=None, sample_weight=weight)
    X = np.column_stack([np.ones(rows.n_rows), rows.X])
    y = rows.y - rows.offset
    if case.weights == "sampling":
        weight = weight / weight.mean()
    inverse = np.linalg.inv(X.T * weight @ X)
    beta = inverse @ (X.T @ (weight * y))
    assert_allclose([est.intercept_, *est.coef_], beta, rtol=1e-10)
    n_obs = rows.n_rows if case.weights == "precision" else weight.sum()
    sigma2 = np.sum(weight * (y - X @ beta) ** 2) / (n_obs - 4 * case.restricted)
    assert_allclose(est.sigma2_, sigma2, rtol=1e-10)
    if est._inference.cov_type == "model":
        assert_allclose(est.covariance_, sigma2 * inverse, rtol=1e-9)
    for name in ("random_covariance_", "random_effects_", "random_effects_sd_", "random_names_", "levels_"):
        assert getattr(est, name) == {}
    assert est.singular_ is False and est.converged_ is True
    given = {"offset": rows.offset}
    assert_array_equal(est.predict(rows.X, groups=rows.groups, **given), est.predict(rows.X, **given))


@every_logit
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_without_groups_it_is_logistic_regression(case, weighted):
    rows = case.data()
    weight = case.sample_weight(rows) if weighted else None
    est = case.fit(rows, groups=None, sample_weight=weight, estimator=case.unfitted(**case.exact))
    X = np.column_stack([np.ones(rows.n_rows), rows.X])
    mean = est.predict_proba(rows.X, offset=rows.offset)[:, 1]
    weight = np.ones(rows.n_rows) if weight is None else weight
    if case.weights == "sampling":
        weight = weight / weight.mean()
    beta = np.r_[est.intercept_, est.coef_[0]]
    assert_allclose(mean, 1.0 / (1.0 + np.exp(-X @ beta - rows.offset)), rtol=1e-12)
    ridge = np.zeros(4)
    if case.estimator.penalty == "weak":
        deviation = np.sqrt(np.average((rows.X - np.average(rows.X, axis=0, weights=weight)) ** 2, 0, weight))
        ridge[1:] = (deviation / 2.5) ** 2
    scores = X * (rows.y - mean)[:, None]
    assert_allclose(weight @ scores, ridge * beta, atol=1e-9)
    inverse = np.linalg.inv((X.T * (weight * mean * (1 - mean))) @ X + np.diag(ridge))
    # a row is a cluster of its own: weights that are numbers of rows repeat it, sampling weights are its own
    middle = (scores.T * (weight if case.weights == "rows" else weight**2)) @ scores
    expected = {"model": inverse, "robust": inverse @ middle @ inverse}
    for cov_type, matrix in expected.items():
        table = coef_table(est, cov_type=cov_type)
        assert_allclose(table["std_error"], np.sqrt(np.diag(matrix)), rtol=1e-8)
    assert_allclose(est.loglik_, weight @ np.log(np.where(rows.y == 1, mean, 1 - mean)), rtol=1e-12)
    for name in ("random_covariance_", "random_effects_", "random_effects_sd_", "random_names_", "levels_"):
        assert getattr(est, name) == {}
    assert est.singular_ is False and est.converged_ is True and est.separated_ == []
    given = {"offset": rows.offset}
    assert_array_equal(est.predict_proba(rows.X, groups=rows.groups, **given), est.predict_proba(rows.X, **given))
