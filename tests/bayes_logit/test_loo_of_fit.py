"""Leave-one-out of fitted models, against refits, closed forms and integrals by brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import expit

from skdep import BayesLogit
from skdep.bayes import HalfNormal, LogisticPrior, Normal
from skdep.bayes.loo import compare_elpd, leave_one_out
from skdep.bayes.row_densities import level_densities, row_densities
from skdep.exceptions import ConvergenceWarning

# whether the sampler's gates are passed is not what is tested here
pytestmark = pytest.mark.filterwarnings("ignore:The sampler", "ignore:Chains disagree", "ignore:Only")


@pytest.fixture(scope="module")
def flat():
    """Sixty rows with one feature, an offset, and fractional and whole weights."""
    rng = np.random.default_rng(0)
    X = rng.integers(-2, 3, size=(60, 1)).astype(float)
    offset = np.where(np.arange(60) % 2, 0.3, 0.0)
    y = (rng.random(60) < expit(0.4 * X[:, 0] + offset)).astype(int)
    weight = rng.integers(1, 4, size=60).astype(float)
    model = BayesLogit(Normal(0, 1), random_state=0).fit(X, y, sample_weight=weight, offset=offset)
    return X, y, weight, offset, model


@pytest.fixture(scope="module")
def levels():
    """Forty levels of six to twelve rows, random intercepts."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), rng.integers(6, 13, size=40))
    X = rng.normal(size=(len(groups), 1))
    y = (rng.random(len(groups)) < expit(X[:, 0] + 1.2 * rng.normal(size=40)[groups])).astype(int)
    order = rng.permutation(len(groups))
    X, y, groups = X[order], y[order], groups[order]
    prior = {"coef": Normal(0, 1), "Intercept": Normal(0, 1), "sd": HalfNormal(1)}
    return X, y, groups, BayesLogit(prior, random_state=0, method="pairs").fit(X, y, groups=groups)


def test_coin_in_closed_form():
    y = np.repeat([1, 0], [18, 32])
    model = BayesLogit({"Intercept": LogisticPrior()}, n_draws=4000, random_state=0).fit(np.zeros((50, 1)), y)
    exact = np.where(y == 1, 18 / 51, 32 / 51)
    result = model.loo(np.zeros((50, 1)), y)
    assert_allclose(result.pointwise, np.log(exact), atol=2e-3)
    assert_allclose(result.elpd, np.log(exact).sum(), atol=0.05)
    assert_allclose(result.se, np.sqrt(50) * np.log(exact).std(ddof=1), rtol=0.01)


def test_rows_as_of_the_draws_themselves(flat):
    X, y, weight, offset, model = flat
    eta = model.draws_["intercept"].reshape(-1, 1) + model.draws_["coef"].reshape(-1, 1) @ X.T + offset
    expected = leave_one_out(np.log(np.where(y == 1, expit(eta), expit(-eta))), sample_weight=weight)
    found = model.loo(X, y, sample_weight=weight, offset=offset)
    assert_allclose(found.pointwise, expected.pointwise, atol=1e-3)
    assert_allclose([found.elpd, found.se, found.p_loo], [expected.elpd, expected.se, expected.p_loo], rtol=2e-3)
    short = model.loo()
    assert short.pointwise.size <= 20  # five values, two offsets, two outcomes
    assert_allclose([short.elpd, short.se, short.p_loo], [found.elpd, found.se, found.p_loo], rtol=1e-12)


def test_rows_in_any_order(flat):
    X, y, weight, offset, model = flat
    order = np.random.default_rng(3).permutation(60)
    one = model.loo(X, y, sample_weight=weight, offset=offset)
    other = model.loo(X[order], y[order], sample_weight=weight[order], offset=offset[order])
    assert_allclose(other.pointwise, one.pointwise[order], rtol=1e-14)


@pytest.mark.filterwarnings("ignore:BayesLogit was fitted with an offset")
def test_other_data_are_refused(flat):
    X, y, weight, offset, model = flat
    flipped = y.copy()
    flipped[0] = 1 - flipped[0]
    other = X.copy()
    other[0] += 0.5
    for change in [{"y": flipped}, {"X": other}, {"sample_weight": weight + 1}, {"offset": None}]:
        data = {"X": X, "y": y, "sample_weight": weight, "offset": offset} | change
        with pytest.raises(ValueError, match="not the data of the fit"):
            model.loo(**data)
    with pytest.raises(ValueError, match="y should be 60 labels"):
        model.loo(X, y + 5, sample_weight=weight, offset=offset)


def test_a_level_left_out_as_by_a_refit(levels):
    X, y, groups, model = levels
    result = model.loo()
    assert result.unit == "levels"
    for level in (0, 5, 39):
        out = groups == level
        rest = BayesLogit(model.prior, random_state=1, method="pairs").fit(X[~out], y[~out], groups=groups[~out])
        exact = log_predictive(rest, X[out], y[out])
        assert_allclose(result.pointwise[level], exact, atol=0.06)


def log_predictive(model, X, y, nodes=41):
    """Return the log density of the rows of a new level: the mean over draws, its intercept integrated."""
    eta = model.draws_["intercept"].reshape(-1, 1) + model.draws_["coef"].reshape(-1, 1) @ X.T
    sd = np.sqrt(model.draws_["random_covariance"].reshape(-1, 1))
    z, weight = np.polynomial.hermite_e.hermegauss(nodes)
    p = expit(eta[:, :, None] + sd[:, :, None] * z)
    density = np.prod(np.where(y[:, None] == 1, p, 1 - p), axis=1) @ weight / weight.sum()
    return np.log(density.mean())


def test_a_row_left_out_as_by_a_refit(levels):
    X, y, groups, model = levels
    result = model.loo(X, y, groups=groups, leave_out="row")
    for row in (0, 20):
        rest = np.arange(len(y)) != row
        refit = BayesLogit(model.prior, random_state=1, method="pairs").fit(X[rest], y[rest], groups=groups[rest])
        probability = refit.predict_proba(X[[row]], groups=groups[[row]])[0, y[row]]
        assert_allclose(result.pointwise[row], np.log(probability), atol=0.05)


def test_densities_by_brute_force(levels):
    """With a grid of the effect in place of quadrature, at a few draws."""
    model = levels[-1]
    rows, layout = model._rows, model._prior.layout
    points = model._posterior.points.reshape(-1, 3)[::1600]
    beta, factors = points[:, :2], layout.random[0].cholesky(points)
    z = np.linspace(-9, 9, 2001)
    prior = stats.norm.pdf(z) * (z[1] - z[0])
    by_level = level_densities(rows, beta, factors, 25)
    failure, success = row_densities(rows, beta, factors, 25)
    codes, y = rows.terms[0].codes, rows.outcome
    for d, (b, factor) in enumerate(zip(beta, factors)):
        p = expit((rows.fixed @ b)[:, None] + factor[0, 0] * z)
        one = np.where(y[:, None] == 1, p, 1 - p)
        for level in range(40):
            inside = np.flatnonzero(codes == level)
            whole = prior * one[inside].prod(axis=0)
            assert_allclose(by_level[d, level], np.log(whole.sum()), atol=1e-5)
            for row in inside:
                rest = prior * one[inside[inside != row]].prod(axis=0)
                exact = np.log(np.sum(rest * p[row]) / rest.sum())
                found = success[d, row] if y[row] else failure[d, row]
                assert_allclose(found, exact if y[row] else np.log1p(-np.exp(exact)), atol=1e-4)


def test_density_of_one_repetition_of_a_counted_row():
    """A row of weight three leaves two repetitions behind."""
    rng = np.random.default_rng(4)
    groups, X = np.repeat(np.arange(40), 5), rng.normal(size=(200, 1))
    y = (rng.random(200) < expit(1.2 * rng.normal(size=40)[groups])).astype(int)
    weight = np.full(200, 3.0)
    counted = BayesLogit(n_draws=200, random_state=0, method="pairs").fit(X, y, groups=groups, sample_weight=weight)
    written = BayesLogit(n_draws=200, random_state=0, method="pairs").fit(
        np.repeat(X, 3, axis=0), np.repeat(y, 3), groups=np.repeat(groups, 3)
    )
    one, other = (model.loo(leave_out="row") for model in (counted, written))
    assert_allclose([one.elpd, one.se], [other.elpd, other.se], rtol=1e-6)


def test_better_model_wins_in_paired_rows(levels):
    X, y, groups, model = levels
    rng = np.random.default_rng(5)
    noise = BayesLogit(model.prior, random_state=0, method="pairs").fit(rng.normal(size=X.shape), y, groups=groups)
    by_level = compare_elpd(model.loo(), noise.loo())
    assert by_level.difference > 2.0


def test_blocks_make_no_difference(levels, monkeypatch):
    model = levels[-1]
    whole = {kind: model.loo(leave_out=kind) for kind in ("row", "level")}
    monkeypatch.setattr("skdep.bayes.loo_of_fit._BLOCK", 100_000)  # 25 rows
    for kind, one in whole.items():
        parts = model.loo(leave_out=kind)
        assert_allclose([parts.elpd, parts.se, parts.p_loo], [one.elpd, one.se, one.p_loo], rtol=1e-6)
        if kind == "level":
            assert_allclose(parts.pointwise, one.pointwise, rtol=1e-6)


def test_random_slopes():
    rng = np.random.default_rng(6)
    groups, X = np.repeat(np.arange(60), 20), rng.normal(size=(1200, 1))
    effects = rng.normal(size=(60, 2))
    y = (rng.random(1200) < expit(effects[groups, 0] + effects[groups, 1] * X[:, 0])).astype(int)
    model = BayesLogit(random_slopes=[0], n_draws=100, random_state=0, method="pairs").fit(X, y, groups=groups)
    rows, points = model._rows, model._posterior.points.reshape(-1, model._prior.n_points)[:20]
    factors = model._prior.layout.random[0].cholesky(points)
    target = model._posterior.target
    by_level = level_densities(rows, points[:, :2], factors, target.n_nodes)
    assert_allclose(by_level.sum(axis=1), target.log_likelihood(points), atol=1e-3)


def test_influential_row_is_named():
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=40), 12.0][:, None]
    y = np.r_[(X[:-1, 0] + rng.logistic(size=40) > 0).astype(int), 0]
    model = BayesLogit(Normal(0, 1), random_state=0).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"k-hat is above .* row 40\)"):
        result = model.loo(X, y)
    assert 40 in result.unreliable


def test_errors(levels, flat):
    X, y, _, model = levels
    with pytest.raises(ValueError, match="leave_out should be"):
        model.loo(leave_out="group")
    with pytest.raises(ValueError, match="fitted without groups"):
        flat[-1].loo(leave_out="level")
    with pytest.raises(ValueError, match="fitted with groups: loo needs them too"):
        model.loo(X, y, leave_out="row")
    stream = BayesLogit(updating="gaussian", random_state=0).partial_fit(X, y)
    with pytest.raises(ValueError, match="keeps no rows"):
        stream.loo()


def test_labels_of_any_type(levels):
    X, y, groups, model = levels
    labels, names = np.where(y == 1, "yes", "no"), pd.Series([f"g{g:02d}" for g in groups], name="herd")
    other = BayesLogit(model.prior, random_state=0, method="pairs").fit(X, labels, groups=names)
    one = model.loo(X, y, groups=groups, leave_out="row")
    assert_allclose(other.loo(X, labels, groups=names, leave_out="row").pointwise, one.pointwise, rtol=1e-6)
