"""The generators against the truth they report, by closed forms on large seeded samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from skdep.datasets import make_clustered_classification, make_clustered_regression

GENERATORS = [make_clustered_classification, make_clustered_regression]
every_generator = pytest.mark.parametrize("make", GENERATORS, ids=["classification", "regression"])


def anova_icc(values: np.ndarray, groups: np.ndarray) -> float:
    """Donner (1986): (MSB - MSW) / (MSB + (n0 - 1) MSW), with n0 the effective size of unequal groups."""
    sizes = np.bincount(groups)
    means = np.bincount(groups, weights=values) / sizes
    n, k = len(values), len(sizes)
    between = np.sum(sizes * (means - values.mean()) ** 2) / (k - 1)
    within = np.sum((values - means[groups]) ** 2) / (n - k)
    n0 = (n - np.sum(sizes**2) / n) / (k - 1)
    return (between - within) / (between + (n0 - 1) * within)


def integrate_normal(function, variance: float) -> np.ndarray:
    """Expectation of function(u) for u ~ N(0, variance), by Gauss-Hermite quadrature with 40 nodes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    return function(np.sqrt(variance) * nodes) @ (weights / weights.sum())


def rows_sorted(X, y, groups) -> np.ndarray:
    table = np.column_stack([groups, y, X])
    return table[np.lexsort(table.T)]


@every_generator
def test_defaults(make):
    X, y, groups = make(random_state=0)
    assert X.shape == (500, 5)
    assert y.shape == groups.shape == (500,)
    np.testing.assert_array_equal(np.bincount(groups), np.full(100, 5))
    assert not np.isnan(X).any()


def test_classes_are_integers_zero_and_one():
    _, y, _ = make_clustered_classification(random_state=0)
    assert y.dtype.kind == "i"
    assert np.unique(y).tolist() == [0, 1]


@every_generator
def test_sizes_fill_both_inclusive_bounds(make):
    _, _, groups = make(n_groups=300, group_size=(2, 4), random_state=0)
    assert np.unique(np.bincount(groups, minlength=300)).tolist() == [2, 3, 4]


@every_generator
def test_last_features_are_constant_within_groups(make):
    X, _, groups = make(n_groups=40, group_size=(2, 5), n_features=4, group_features=2, random_state=0)
    first_rows = X[np.unique(groups, return_index=True)[1]]
    differs = np.any(first_rows[groups] != X, axis=0)
    assert differs.tolist() == [True, True, False, False]
    assert len(np.unique(X[:, 3])) == 40


@every_generator
def test_same_seed_same_data(make):
    first, again, other = (make(random_state=seed) for seed in (3, 3, 4))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])


@every_generator
def test_random_state_instance_advances(make):
    rng = np.random.RandomState(0)
    first, second = make(random_state=rng)[0], make(random_state=rng)[0]
    np.testing.assert_array_equal(first, make(random_state=0)[0])
    assert not np.array_equal(first, second)


@every_generator
def test_shuffle_reorders_the_same_rows(make):
    shuffled = make(group_size=(1, 6), random_state=0)
    ordered = make(group_size=(1, 6), shuffle=False, random_state=0)
    assert (np.diff(ordered[2]) >= 0).all()
    assert (np.diff(shuffled[2]) < 0).any()
    np.testing.assert_array_equal(rows_sorted(*shuffled), rows_sorted(*ordered))


@every_generator
def test_given_coefficients_leave_the_random_numbers_alone(make):
    *drawn, info = make(return_info=True, random_state=0)
    given = make(coef=info.coef, random_state=0)
    for a, b in zip(drawn, given, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(make(coef=np.zeros(5), random_state=0)[1], drawn[1])


@every_generator
def test_info_reports_the_arguments(make):
    *rows, info = make(n_groups=7, n_features=2, coef=[1, -2], intercept=3, icc=0.4, return_info=True, random_state=0)
    assert len(rows) == 3
    assert info.coef.tolist() == [1.0, -2.0]
    assert info.intercept == 3.0
    assert info.icc == 0.4
    assert info.group_effects.shape == (7,)
    assert info.group_variance / (info.group_variance + info.residual_variance) == pytest.approx(0.4)


def test_coef_is_copied():
    coef = np.ones(5)
    *_, info = make_clustered_regression(coef=coef, return_info=True)
    coef[:] = 0.0
    assert info.coef.tolist() == [1.0] * 5


def test_drawn_coefficients_have_variance_one_over_p():
    *_, info = make_clustered_regression(n_groups=2, n_features=4000, return_info=True, random_state=0)
    assert np.sum(info.coef**2) == pytest.approx(1.0, rel=0.1)  # standard error sqrt(2 / 4000) = 0.022


def test_regression_without_noise_is_the_linear_predictor():
    X, y, _, info = make_clustered_regression(noise=0.0, intercept=2.0, return_info=True, random_state=0)
    np.testing.assert_allclose(y, 2.0 + X @ info.coef, rtol=1e-12)


@pytest.mark.parametrize("icc", [0.0, 0.2, 0.8])
@pytest.mark.parametrize("group_size", [5, (2, 8)])
def test_regression_has_the_icc_and_variance_asked_for(icc, group_size):
    X, y, groups, info = make_clustered_regression(
        8000, group_size, icc=icc, noise=2.0, intercept=1.0, return_info=True, random_state=0
    )
    residuals = y - info.intercept - X @ info.coef
    # Standard errors are near 0.005 for the ICC and 2 % at most for the variance.
    assert anova_icc(residuals, groups) == pytest.approx(icc, abs=0.02)
    assert residuals.var() == pytest.approx(4.0, rel=0.06)
    assert residuals.mean() == pytest.approx(0.0, abs=0.08)
    assert info.group_variance == pytest.approx(4.0 * icc)
    within = residuals - info.group_effects[groups]
    assert within.var() == pytest.approx(info.residual_variance, rel=0.04)


def test_least_squares_recovers_the_coefficients():
    X, y, _, info = make_clustered_regression(8000, 5, group_features=2, icc=0.3, return_info=True, random_state=0)
    design = np.column_stack([np.ones(len(X)), X])
    estimate = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(estimate, [info.intercept, *info.coef], atol=0.035)  # standard errors 0.005 to 0.0075


def test_features_are_standard_normal_and_uncorrelated():
    X, *_ = make_clustered_regression(8000, 3, n_features=3, group_features=1, random_state=0)
    np.testing.assert_allclose(X.mean(axis=0), 0.0, atol=0.05)
    np.testing.assert_allclose(np.cov(X.T), np.eye(3), atol=0.06)


@pytest.mark.parametrize("icc", [0.0, 0.3, 0.7])
def test_pairs_of_a_group_agree_as_the_latent_icc_implies(icc):
    """P(both 1) = E[expit(u)²] and P(1) = E[expit(u)], integrated by quadrature that the generator knows nothing of."""
    variance = icc / (1 - icc) * np.pi**2 / 3
    n_groups = 40_000
    _, y, _, info = make_clustered_classification(
        n_groups, 2, n_features=1, coef=[0.0], intercept=0.5, icc=icc, shuffle=False, return_info=True, random_state=0
    )
    assert info.group_variance == pytest.approx(variance)
    assert info.residual_variance == pytest.approx(np.pi**2 / 3)
    both = y.reshape(n_groups, 2).all(axis=1).mean()
    # Four binomial standard errors are 0.01.
    assert both == pytest.approx(integrate_normal(lambda u: expit(0.5 + u) ** 2, variance), abs=0.01)
    assert y.mean() == pytest.approx(integrate_normal(lambda u: expit(0.5 + u), variance), abs=0.01)
    assert info.group_effects.var() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize("icc", [0.0, 0.5])
def test_classification_scores_vanish_at_the_truth(icc):
    """X'(y - p) has mean zero for p integrated over the random intercept, and not for other coefficients."""
    X, y, groups, info = make_clustered_classification(
        8000,
        4,
        n_features=3,
        group_features=1,
        coef=[1.0, -0.5, 0.7],
        intercept=-0.4,
        icc=icc,
        return_info=True,
        random_state=1,
    )
    design = np.column_stack([np.ones(len(X)), X])

    def z_scores(coef):
        predictor = design @ [info.intercept, *coef]
        p = integrate_normal(lambda u: expit(predictor[:, None] + u), info.group_variance)
        scores = np.zeros((8000, 4))
        np.add.at(scores, groups, design * (y - p)[:, None])
        return scores.sum(axis=0) / np.sqrt((scores**2).sum(axis=0))

    assert np.abs(z_scores(info.coef)).max() < 4.0
    assert np.abs(z_scores(0.8 * info.coef)).max() > 4.0


def test_residuals_given_the_group_effects_have_mean_zero():
    X, y, groups, info = make_clustered_classification(20_000, 2, icc=0.5, return_info=True, random_state=0)
    p = expit(info.intercept + X @ info.coef + info.group_effects[groups])
    z = np.sum(y - p) / np.sqrt(np.sum(p * (1 - p)))
    slope = np.sum((y - p) * info.group_effects[groups]) / np.sqrt(
        np.sum(p * (1 - p) * info.group_effects[groups] ** 2)
    )
    assert max(abs(z), abs(slope)) < 4.0


@every_generator
def test_no_random_slopes_is_the_default(make):
    *plain, info = make(return_info=True, random_state=0)
    for given in ([], (), None):
        for a, b in zip(plain, make(random_slopes=given, effect_correlation=0.5, random_state=0), strict=True):
            np.testing.assert_array_equal(a, b)
    assert info.random_covariance.tolist() == [[pytest.approx(info.group_variance)]]
    np.testing.assert_array_equal(info.random_effects[:, 0], info.group_effects)


def test_regression_without_noise_is_the_linear_predictor_of_each_group():
    """Without noise the intercepts vanish as well: what is left is a plane through the origin in every group."""
    X, y, groups, info = make_clustered_regression(
        30, (1, 6), noise=0.0, random_slopes=[3, 1], slope_sd=[2.0, 0.5], return_info=True, random_state=0
    )
    coef = np.tile(info.coef, (30, 1))
    coef[:, 3] += info.random_effects[:, 1]
    coef[:, 1] += info.random_effects[:, 2]
    np.testing.assert_allclose(y, np.einsum("ij,ij->i", X, coef[groups]), rtol=1e-10, atol=1e-12)
    assert info.random_effects.shape == (30, 3)
    assert (info.random_effects[:, 0] == 0).all()
    assert info.random_covariance.tolist() == [[0, 0, 0], [0, 4, 0], [0, 0, 0.25]]


@every_generator
def test_random_covariance_is_made_of_deviations_and_correlation(make):
    *_, info = make(
        icc=0.2, random_slopes=[0, 2], slope_sd=[0.3, 0.6], effect_correlation=-0.4, return_info=True, random_state=0
    )
    deviations = np.array([np.sqrt(info.group_variance), 0.3, 0.6])
    np.testing.assert_allclose(np.sqrt(np.diag(info.random_covariance)), deviations)
    correlation = info.random_covariance / np.outer(deviations, deviations)
    np.testing.assert_allclose(correlation, np.full((3, 3), -0.4) + 1.4 * np.eye(3))


@every_generator
@pytest.mark.parametrize("correlation", [-0.45, 0.0, 0.9])
def test_drawn_effects_have_the_random_covariance(make, correlation):
    *_, info = make(
        20_000,
        1,
        icc=0.5,
        random_slopes=[1, 0],
        slope_sd=[1.0, 0.2],
        effect_correlation=correlation,
        return_info=True,
        random_state=0,
    )
    scale = np.sqrt(np.diag(info.random_covariance))
    sample = np.cov(info.random_effects.T) / np.outer(scale, scale)
    # Standard errors are at most 0.01.
    np.testing.assert_allclose(sample, info.random_covariance / np.outer(scale, scale), atol=0.04)
    assert np.abs(info.random_effects.mean(axis=0) / scale).max() < 0.03


def test_products_of_residuals_of_a_group_have_the_implied_covariance():
    """Cov(y_1, y_2 | x) = z_1' D z_2 for two rows of a group, which least squares on the products of z must find."""
    X, y, _, info = make_clustered_regression(
        40_000,
        2,
        n_features=2,
        icc=0.4,
        random_slopes=[1],
        slope_sd=0.7,
        effect_correlation=0.5,
        shuffle=False,
        return_info=True,
        random_state=0,
    )
    residuals = (y - info.intercept - X @ info.coef).reshape(-1, 2)
    slope = X[:, 1].reshape(-1, 2)
    design = np.column_stack([np.ones(len(slope)), slope.sum(axis=1), slope.prod(axis=1)])
    products = residuals.prod(axis=1)
    estimate = np.linalg.lstsq(design, products, rcond=None)[0]
    (variance, covariance), (_, slope_variance) = info.random_covariance
    # Standard errors are near 0.01.
    np.testing.assert_allclose(estimate, [variance, covariance, slope_variance], atol=0.04)
    assert covariance == pytest.approx(0.5 * 0.7 * np.sqrt(0.4))


def test_classes_follow_the_random_slopes():
    X, y, groups, info = make_clustered_classification(
        10_000, 3, icc=0.3, random_slopes=[4], slope_sd=1.0, effect_correlation=0.5, return_info=True, random_state=0
    )
    along_slope = X[:, 4] * info.random_effects[groups, 1]

    def z_score(p):
        return np.sum((y - p) * along_slope) / np.sqrt(np.sum(p * (1 - p) * along_slope**2))

    predictor = info.intercept + X @ info.coef + info.group_effects[groups]
    assert abs(z_score(expit(predictor + along_slope))) < 4.0
    assert abs(z_score(expit(predictor))) > 4.0


@every_generator
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_groups": 0}, "`n_groups` must be an integer of at least 1, got 0"),
        ({"n_groups": 10.0}, "`n_groups` must be an integer"),
        ({"n_groups": True}, "`n_groups` must be an integer"),
        ({"group_size": 0}, "`group_size` must be an integer of at least 1"),
        ({"group_size": 2.5}, "`group_size`"),
        ({"group_size": (3, 2)}, "low <= high"),
        ({"group_size": (0, 2)}, "low <= high"),
        ({"group_size": (1, 2, 3)}, "pair"),
        ({"group_size": "5"}, "`group_size`"),
        ({"n_features": 0}, "`n_features` must be an integer of at least 1"),
        ({"group_features": -1}, "`group_features` must be an integer of at least 0"),
        ({"group_features": 6}, "must not exceed `n_features`, got 6 > 5"),
        ({"coef": [1.0, 2.0]}, r"`coef` must have shape \(5,\).*got shape \(2,\)"),
        ({"coef": [1.0, 2.0, np.nan, 0.0, 0.0]}, "`coef` must be finite"),
        ({"coef": "slope"}, "`coef` must hold numbers"),
        ({"icc": 1.0}, r"`icc` must be below 1.*\[0, 1\)"),
        ({"icc": -0.1}, "`icc` must be a finite number of at least 0"),
        ({"icc": np.nan}, "`icc`"),
        ({"icc": "high"}, "`icc`"),
        ({"intercept": np.inf}, "`intercept` must be a finite number"),
        ({"random_slopes": 1}, "`random_slopes` must list different columns of X, integers from 0 to 4, got 1"),
        ({"random_slopes": [5]}, "`random_slopes`"),
        ({"random_slopes": [-1]}, "`random_slopes`"),
        ({"random_slopes": [0, 0]}, "`random_slopes` must list different columns"),
        ({"random_slopes": [[0], [1]]}, "`random_slopes`"),
        ({"random_slopes": ["x0"]}, "`random_slopes`"),
        ({"random_slopes": [True]}, "`random_slopes`"),
        ({"random_slopes": [0], "slope_sd": -1.0}, "`slope_sd` must be finite and at least 0"),
        ({"random_slopes": [0], "slope_sd": [0.5, 0.5]}, r"`slope_sd` .* shape \(1,\).* got shape \(2,\)"),
        ({"random_slopes": [0], "slope_sd": np.nan}, "`slope_sd` must be finite"),
        ({"random_slopes": [0], "slope_sd": "wide"}, "`slope_sd` must be a number"),
        ({"random_slopes": [0], "effect_correlation": 1.0}, "`effect_correlation` must lie between -1 and 1"),
        ({"random_slopes": [0, 1], "effect_correlation": -0.5}, "between -0.5 and 1, both excluded, got -0.5"),
        ({"random_slopes": [0], "effect_correlation": np.nan}, "`effect_correlation` must be a finite number"),
    ],
)
def test_bad_arguments_raise(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize("noise", [-1.0, np.nan, None])
def test_bad_noise_raises(noise):
    with pytest.raises(ValueError, match="`noise` must be a finite number of at least 0"):
        make_clustered_regression(noise=noise)


@every_generator
def test_numpy_scalars_are_accepted(make):
    X, *_ = make(np.int64(4), np.int32(3), n_features=np.int64(2), icc=np.float32(0.5), random_state=0)
    assert X.shape == (12, 2)


@every_generator
def test_single_row_groups_and_a_single_group(make):
    assert make(n_groups=20, group_size=1, random_state=0)[2].tolist() != list(range(20))
    assert np.unique(make(n_groups=1, group_size=20, random_state=0)[2]).tolist() == [0]
