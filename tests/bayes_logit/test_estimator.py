"""`BayesLogit` as an estimator: shapes, randomness, invariances, scikit-learn's tools, bad input."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep.bayes.logit import BayesLogit
from skdep.bayes.priors import Cauchy, Laplace, Normal
from skdep.bayes.scale_priors import HalfNormal
from skdep.exceptions import ConvergenceWarning

pytestmark = pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")

# Draws of the same posterior, from the same random numbers, up to how sums are rounded.
CLOSE = {"rtol": 1e-6, "atol": 1e-8}


def rows(n=120, n_groups=10, seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=n), rng.integers(0, 3, n)])
    groups = rng.integers(n_groups, size=n)
    eta = -0.3 + X @ [0.8, -0.5] + rng.normal(scale=0.8, size=n_groups)[groups]
    return X, (rng.uniform(size=n) < expit(eta)).astype(int), groups


def make(prior=None, **params):
    return BayesLogit(prior, **{"n_draws": 200, "random_state": 0, "method": "pairs"} | params)


def assert_same(one, other, **tolerance):
    for name, draws in one.draws_.items():
        np.testing.assert_allclose(other.draws_[name], draws, **(tolerance or CLOSE))
    np.testing.assert_allclose(other.log_evidence_, one.log_evidence_, rtol=1e-7)


def test_shapes():
    X, y, groups = rows()
    model = make(n_draws=60, n_chains=3).fit(X, y)
    assert model.draws_["intercept"].shape == (3, 60)
    assert model.draws_["coef"].shape == (3, 60, 2)
    assert model.coef_.shape == (1, 2)
    assert model.intercept_.shape == (1,)
    assert model.covariance_.shape == (3, 3)
    np.testing.assert_allclose(model.coef_[0], model.draws_["coef"].mean(axis=(0, 1)))
    multilevel = make(n_draws=60, n_chains=3, random_slopes=[0]).fit(X, y, groups=groups)
    assert multilevel.draws_["random_covariance"].shape == (3, 60, 2, 2)
    (covariance,) = multilevel.random_covariance_.values()
    np.testing.assert_allclose(covariance, multilevel.draws_["random_covariance"].mean(axis=(0, 1)))
    diagonal = make(n_draws=60, random_slopes=[0], covariance="diagonal").fit(X, y, groups=groups)
    assert np.all(diagonal.draws_["random_covariance"][..., 0, 1] == 0)


def test_without_intercept():
    X, y, _ = rows()
    model = make(fit_intercept=False).fit(X, y)
    assert np.all(model.draws_["intercept"] == 0)
    assert model.intercept_ == [0.0]
    assert model.covariance_.shape == (2, 2)


@pytest.mark.parametrize("grouped", [False, True])
def test_same_seed_same_draws(grouped):
    X, y, groups = rows()
    given = {"groups": groups} if grouped else {}
    one, other = make().fit(X, y, **given), make().fit(X, y, **given)
    for name in one.draws_:
        np.testing.assert_array_equal(one.draws_[name], other.draws_[name])
    np.testing.assert_array_equal(one.predict_proba(X, **given), other.predict_proba(X, **given))
    np.testing.assert_array_equal(one.predict_proba(X, **given), one.predict_proba(X, **given))
    assert not np.array_equal(one.draws_["coef"], make(random_state=1).fit(X, y, **given).draws_["coef"])
    state = np.random.RandomState(0)
    first = make(random_state=state).fit(X, y, **given).draws_["coef"]
    assert not np.array_equal(first, make(random_state=state).fit(X, y, **given).draws_["coef"])


@pytest.mark.parametrize("grouped", [False, True])
def test_order_of_rows(grouped):
    X, y, groups = rows()
    order = np.random.default_rng(1).permutation(len(y))
    given = ({"groups": groups}, {"groups": groups[order]}) if grouped else ({}, {})
    assert_same(make().fit(X, y, **given[0]), make().fit(X[order], y[order], **given[1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grouped", [False, True])
def test_weights_are_repetitions(grouped):
    X, y, groups = rows()
    weight = np.random.default_rng(2).integers(0, 4, len(y))
    again = np.repeat(np.arange(len(y)), weight)
    given = ({"groups": groups}, {"groups": groups[again]}) if grouped else ({}, {})
    weighted = make().fit(X, y, sample_weight=weight, **given[0])
    assert_same(weighted, make().fit(X[again], y[again], **given[1]), rtol=1e-4, atol=1e-5)


def test_counts_of_equal_rows():
    """Rows of few kinds are the same as one row of each kind and outcome, with counts."""
    X, y, groups = rows(n=400)
    X[:, 0] = np.round(X[:, 0])
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "g": groups, "y": y})
    counts = frame.value_counts().reset_index()
    aggregated = make().fit(
        counts[["a", "b"]].to_numpy(), counts["y"], groups=counts["g"], sample_weight=counts["count"]
    )
    assert_same(make().fit(X, y, groups=groups), aggregated, rtol=1e-4, atol=1e-5)


def test_powers_of_the_likelihood():
    """Weights of one half twice are one row; zero weights are no row."""
    X, y, _ = rows()
    once = make().fit(X, y)
    halves = make().fit(np.vstack([X, X]), np.r_[y, y], sample_weight=np.full(2 * len(y), 0.5))
    assert_same(once, halves)
    with_nothing = make().fit(
        np.vstack([X, 1e3 + X]), np.r_[y, 1 - y], sample_weight=np.r_[np.ones(len(y)), np.zeros(len(y))]
    )
    assert_same(once, with_nothing)


def test_offset_moves_the_intercept():
    X, y, _ = rows()
    prior = {"Intercept": Normal(0.0, 2.0)}
    moved = {"Intercept": Normal(-1.5, 2.0)}
    plain, shifted = make(prior).fit(X, y), make(moved).fit(X, y, offset=np.full(len(y), 1.5))
    np.testing.assert_allclose(plain.draws_["intercept"], shifted.draws_["intercept"] + 1.5, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(plain.draws_["coef"], shifted.draws_["coef"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(plain.log_evidence_, shifted.log_evidence_, rtol=1e-9)
    np.testing.assert_allclose(plain.predict_proba(X), shifted.predict_proba(X, offset=np.full(len(y), 1.5)), rtol=1e-5)


@pytest.mark.parametrize("prior", [Normal(0.2, 0.7), Laplace(0.0, 0.5), Cauchy(0.1, 0.5)], ids=repr)
def test_units_of_a_feature(prior):
    X, y, groups = rows()
    sd = {"sd": HalfNormal(0.8)}
    units = X * [1000.0, 1.0]
    one = make({0: prior, **sd}).fit(X, y, groups=groups)
    other = make({0: prior.scaled(1e-3), **sd}).fit(units, y, groups=groups)
    np.testing.assert_allclose(other.draws_["coef"] * [1000.0, 1.0], one.draws_["coef"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(other.log_evidence_, one.log_evidence_, rtol=1e-7)
    # defaults follow the units by themselves
    np.testing.assert_allclose(
        make().fit(units, y).draws_["coef"] * [1000.0, 1.0], make().fit(X, y).draws_["coef"], rtol=1e-6, atol=1e-8
    )


def test_shift_of_a_feature_moves_the_intercept_only():
    X, y, _ = rows()
    one, other = make().fit(X, y), make().fit(X + np.array([5.0, -3.0]), y)
    np.testing.assert_allclose(other.draws_["coef"], one.draws_["coef"], rtol=1e-6, atol=1e-8)
    moved = other.draws_["intercept"] + other.draws_["coef"] @ [5.0, -3.0]
    np.testing.assert_allclose(moved, one.draws_["intercept"], rtol=1e-6, atol=1e-7)


def test_exchanged_labels_change_signs():
    """The priors are symmetric: the same posterior, mirrored."""
    X, y, _ = rows()
    one, other = make(n_draws=4000).fit(X, y), make(n_draws=4000).fit(X, 1 - y)
    np.testing.assert_allclose(one.coef_, -other.coef_, atol=0.03)
    assert abs(one.log_evidence_ - other.log_evidence_) < 0.01


def test_names_and_labels():
    X, y, groups = rows()
    frame = pd.DataFrame(X, columns=["age", "dose"])
    labels = np.where(y == 1, "yes", "no")
    model = make({"age": Normal(0, 0.1)}).fit(frame, labels, groups=pd.Series(groups, name="clinic"))
    assert list(model.classes_) == ["no", "yes"]
    assert list(model.random_covariance_) == ["clinic"]
    assert set(model.predict(frame)) <= {"no", "yes"}
    by_number = make({0: Normal(0, 0.1)}).fit(X, y, groups=groups)
    np.testing.assert_allclose(model.draws_["coef"], by_number.draws_["coef"], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="weight"):
        make({"weight": Normal(0, 1)}).fit(frame, labels)


def test_predictions_agree_with_each_other():
    X, y, groups = rows()
    model = make().fit(X, y, groups=groups)
    probability, sd = model.predict_proba(X, groups=groups, return_std=True)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0)
    np.testing.assert_array_equal(model.predict(X, groups=groups), (probability[:, 1] > 0.5).astype(int))
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X, groups=groups)), probability)
    assert model.score(X, y, groups=groups) == np.mean(model.predict(X, groups=groups) == y)
    interval = model.predict_interval(X, groups=groups, level=0.8)
    assert np.all((interval[:, 0] < probability[:, 1]) & (probability[:, 1] < interval[:, 1]))
    assert np.all(sd > 0)
    # the threshold of the loss of a false alarm against that of a miss
    loss = [[0.0, 5.0], [1.0, 0.0]]
    np.testing.assert_array_equal(model.decide(X, loss, groups=groups), (probability[:, 1] > 1 / 6).astype(int))
    # a level that is not known is not the mean level
    new = model.predict_proba(X, groups=np.full(len(y), -1))
    np.testing.assert_allclose(new, model.predict_proba(X))
    mean_level = expit(model.draws_["intercept"].ravel() + model.draws_["coef"].reshape(-1, 2) @ X[0]).mean()
    assert abs(new[0, 1] - 0.5) < abs(mean_level - 0.5)


@pytest.mark.parametrize("grouped", [False, True])
def test_clone_and_pickle(grouped):
    X, y, groups = rows()
    given = {"groups": groups} if grouped else {}
    model = make({"coef": Normal(0, 1)}).fit(X, y, **given)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X, **given), model.predict_proba(X, **given))
    np.testing.assert_array_equal(clone(model).fit(X, y, **given).coef_, model.coef_)


def test_pipeline_search_and_scores():
    X, y, _ = rows()
    pipeline = make_pipeline(StandardScaler(), make(n_draws=50)).fit(X, y)
    assert pipeline.predict_proba(X).shape == (len(y), 2)
    priors = [Normal(0, 0.01), Normal(0, 1.0)]
    search = GridSearchCV(make(n_draws=50), {"prior": priors}, scoring="neg_log_loss", cv=4).fit(X, y)
    assert search.best_params_["prior"] == priors[1]
    assert cross_val_score(make(n_draws=50), X, y, cv=4, scoring="roc_auc").mean() > 0.6


def test_too_few_draws_are_said_to_be_too_few():
    X, y, _ = rows()
    with pytest.warns(ConvergenceWarning, match="Raise n_draws"):
        model = make(n_draws=20, n_chains=2).fit(X, y)
    assert not model.converged_
    assert make(n_draws=2000).fit(X, y).converged_


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"n_draws": 0}, "n_draws"),
        ({"n_chains": 0}, "n_chains"),
        ({"method": "gibbs"}, "method"),
        ({"prior": "normal"}, "prior should be"),
        ({"prior": {"sd": HalfNormal(1)}}, "no random effects"),
        ({"prior": HalfNormal(1)}, "standard deviations"),
    ],
)
def test_bad_parameters(params, match):
    X, y, _ = rows(40)
    with pytest.raises(ValueError, match=match):
        make().set_params(**params).fit(X, y)


def test_bad_rows():
    X, y, groups = rows(40)
    with pytest.raises(ValueError, match="class"):
        make().fit(X, np.zeros(40))
    with pytest.raises(ValueError, match="class"):
        make().fit(X, np.arange(40) % 3)
    with pytest.raises(ValueError, match="weight"):
        make().fit(X, y, sample_weight=-np.ones(40))
    with pytest.raises(ValueError):
        make().fit(np.full_like(X, np.nan), y)
    model = make().fit(X, y, groups=groups)
    with pytest.raises(ValueError):
        model.predict_proba(X, groups=np.column_stack([groups, groups]))
    with pytest.raises(ValueError, match="level"):
        model.predict_interval(X, level=1.0)
