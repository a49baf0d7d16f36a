"""Estimates that are infinite: which features, which variances, what is said, and what the penalty makes of it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, special
from sklearn.base import clone

from skdep import LogitRegressor, MixedLogit
from skdep.exceptions import ConvergenceWarning, SeparationWarning, SingularFitWarning
from skdep.inference import coef_table

from .rows import GROUPS, N, X, frame, y

COMPLETE = frame().assign(d=(y == 1) * 2.0 - 1.0)
QUASI = frame().assign(d=(y == 1) * (X[:, 1] > 0.5))
CROSSED = np.column_stack([GROUPS, np.arange(N) % 7])
SETTINGS = [
    MixedLogit(),
    MixedLogit([0]),
    MixedLogit(n_quadrature=1),
    MixedLogit(n_quadrature=7),
    MixedLogit(cov_type="robust"),
    MixedLogit(weight_type="sampling"),
]


def fit(est, X, y=y, groups=GROUPS, **metadata):
    return clone(est).fit(X, y, groups=groups, **metadata)


# ------------------------------------------------------------------------------------------------ features


@pytest.mark.filterwarnings("ignore::skdep.exceptions.SingularFitWarning")
@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("groups", [GROUPS, CROSSED, None], ids=["one factor", "crossed", "no groups"])
@pytest.mark.parametrize("est", SETTINGS, ids=repr)
def test_separated_features_are_named(est, groups):
    if groups is CROSSED and (est.n_quadrature == 7 or est.cov_type == "robust" or est.weight_type == "sampling"):
        pytest.skip("not for crossed factors")
    with pytest.warns(SeparationWarning, match=r"infinite: 'a', 'b', 'c', 'd'\.") as caught:
        complete = fit(est, COMPLETE, groups=groups)
    assert not [
        w for w in caught if issubclass(w.category, ConvergenceWarning) and "did not converge" in str(w.message)
    ]
    assert complete.separated_ == ["a", "b", "c", "d"]
    assert complete.converged_ is False
    assert complete.score(COMPLETE, y) == 1.0
    assert complete.loglik_ > -1e-3
    with pytest.warns(SeparationWarning, match=r"2 of 4 features are infinite: 'b', 'd'\..*penalty='weak'"):
        quasi = fit(est, QUASI, groups=groups)
    assert quasi.separated_ == ["b", "d"]
    assert quasi.coef_[0, 3] > 10.0 and quasi.coef_[0, 1] < -10.0
    assert np.abs(quasi.coef_[0, [0, 2]]).max() < 5.0
    assert "Separation" in str(quasi.summary())


@pytest.mark.filterwarnings("ignore::skdep.exceptions.SeparationWarning")
@pytest.mark.filterwarnings("ignore::skdep.exceptions.SingularFitWarning")
def test_what_is_not_separated_is_estimated_nevertheless():
    """Rows that are separated tell nothing of the other coefficients, which the rows that are left determine."""
    quasi = fit(MixedLogit(n_quadrature=15), QUASI)
    left = X[:, 1] < 0.5
    rest = fit(MixedLogit(n_quadrature=15), frame()[["a", "c"]][left], y[left], GROUPS[left])
    assert_allclose(quasi.coef_[0, [0, 2]], rest.coef_[0], rtol=1e-4)
    assert_allclose(quasi.loglik_, rest.loglik_, rtol=1e-5)
    assert_allclose(quasi.random_covariance_["group"], rest.random_covariance_["group"], rtol=1e-3, atol=1e-6)


def test_overlapping_data_are_not_called_separated():
    rare = np.zeros(N, dtype=int)
    rare[np.flatnonzero(X[:, 1] == 0)[:4]] = rare[np.flatnonzero(X[:, 1] == 1)[:4]] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", SeparationWarning)
        warnings.simplefilter("ignore", SingularFitWarning)
        assert fit(MixedLogit(), X, rare).separated_ == []
        assert fit(MixedLogit([0]), X).separated_ == []


def test_weights_of_zero_separate():
    """The rows that overlap count for nothing."""
    overlapping = y.copy()
    odd = np.r_[np.flatnonzero(QUASI["d"] == 1)[:2], np.flatnonzero((QUASI["d"] == 0) & (X[:, 1] == 1))[:2]]
    overlapping[odd] = 1 - overlapping[odd]
    with warnings.catch_warnings():
        warnings.simplefilter("error", SeparationWarning)
        warnings.simplefilter("ignore", SingularFitWarning)
        fit(MixedLogit(), QUASI, overlapping)
    with pytest.warns(SeparationWarning, match="'b', 'd'"):
        fit(MixedLogit(), QUASI, overlapping, sample_weight=np.where(np.isin(np.arange(N), odd), 0.0, 1.0))


def test_separation_inside_few_rows_of_many_features():
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        est = MixedLogit().fit(rng.normal(size=(30, 50)), np.arange(30) % 2, groups=np.arange(30) % 5)
    assert len(est.separated_) == 50 and not est.converged_


# ------------------------------------------------------------------------------------------------ the penalty


@pytest.mark.parametrize("est", SETTINGS, ids=repr)
@pytest.mark.parametrize("features", [COMPLETE, QUASI], ids=["complete", "quasi"])
def test_the_penalty_makes_estimates_finite_without_a_warning(est, features):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", SingularFitWarning)  # variances are zero here
        found = clone(est).set_params(penalty="weak").fit(features, y, groups=GROUPS)
    assert found.separated_ == [] and found.converged_
    assert np.abs(found.coef_).max() < 25.0
    assert np.isfinite(coef_table(found)["std_error"]).all()


def test_the_penalty_is_a_normal_prior_by_standard_deviations():
    """Without groups, by a general-purpose optimiser."""
    features = QUASI.to_numpy(dtype=float) * [1.0, 20.0, 1e-3, 5.0] + [0.0, 100.0, 0.0, 0.0]
    spread = features.std(axis=0) / 2.5

    def objective(beta):
        eta = beta[0] + (features - features.mean(axis=0)) @ (beta[1:] / spread)
        return np.logaddexp(0.0, eta).sum() - y @ eta + 0.5 * np.sum(beta[1:] ** 2)

    best = optimize.minimize(objective, np.zeros(5), method="BFGS", options={"gtol": 1e-8})
    est = MixedLogit(penalty="weak").fit(features, y)
    assert_allclose(est.coef_[0] * spread, best.x[1:], rtol=1e-5, atol=1e-6)
    eta = est.decision_function(features)
    # the likelihood that is reported is that of the data
    assert_allclose(est.loglik_, y @ special.log_expit(eta) + (1 - y) @ special.log_expit(-eta), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::skdep.exceptions.CollinearityWarning")
def test_the_penalty_with_collinear_features_does_not_depend_on_counting_rows():
    """The prior is one of the features' slopes, whatever columns the search works with."""
    doubled = np.column_stack([X, X[:, 0] - 2 * X[:, 1]])
    times = 1 + np.arange(N) % 3
    again = np.repeat(np.arange(N), times)
    for groups in (GROUPS, None):
        often = fit(MixedLogit(penalty="weak"), doubled[again], y[again], None if groups is None else groups[again])
        once = fit(MixedLogit(penalty="weak"), doubled, groups=groups, sample_weight=times)
        assert_allclose(once.coef_, often.coef_, rtol=1e-6)


# ------------------------------------------------------------------------------------------------ variances

PURE = (np.random.default_rng(5).normal(size=GROUPS.max() + 1)[GROUPS] > 0).astype(int)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "est",
    [
        MixedLogit(),
        MixedLogit(n_quadrature=1),
        MixedLogit(n_quadrature=9),
        MixedLogit([0]),
        MixedLogit([0], n_quadrature=1),
    ],
    ids=repr,
)
def test_levels_of_one_class_only_have_no_finite_variance(est):
    with pytest.warns(SeparationWarning, match=r"random effects of 'group'.*one\s+class only.*penalty='weak'"):
        found = fit(est, X, PURE)
    assert np.sqrt(found.random_covariance_["group"][0, 0]) > 20.0
    assert found.separated_ == []


def test_an_unbounded_variance_of_a_crossed_factor():
    item = np.arange(N) % 12
    with pytest.warns(SeparationWarning, match="random effects of 'group1'"):
        fit(MixedLogit(), X, (item > 5).astype(int), np.column_stack([GROUPS, item]))


def test_unbounded_variances_are_said_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(MixedLogit(), X, PURE)
    assert [w.category for w in caught] == [SeparationWarning]


def test_the_penalty_bounds_variances():
    for est in (MixedLogit(penalty="weak", n_quadrature=50), MixedLogit(penalty="weak", n_quadrature=1)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = fit(est, X, PURE)
        assert found.converged_
        assert 2.0 < np.sqrt(found.random_covariance_["group"][0, 0]) < 15.0


def test_some_levels_of_one_class_are_no_problem():
    labels = y.copy()
    labels[GROUPS < 8] = 1
    labels[(GROUPS >= 8) & (GROUPS < 16)] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = fit(MixedLogit(), X, labels)
    assert est.converged_ and est.separated_ == []
    effects = est.random_effects_["group"][:, 0]
    assert effects[:8].min() > 0 > effects[8:16].max()
    assert np.abs(effects).max() < 10.0


def test_separation_is_that_of_plain_logistic_regression():
    """A direction separates outcomes whatever the effects: no groups, no difference."""
    for features in (COMPLETE, QUASI):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            plain = LogitRegressor().fit(features, y)
            for groups in (GROUPS, None):
                assert fit(MixedLogit(), features, groups=groups).separated_ == list(plain.separated_)
