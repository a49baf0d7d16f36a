"""The sandwich of weights for dropout against its definition, differences of the equations, and a bootstrap."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skdep import GEEClassifier, GEERegressor, LogitRegressor
from skdep.exceptions import CollinearityWarning
from skdep.gee.dropout import DropoutGEE

from .dense_dropout import Dropout, covariance, simulate

FEATURES, PREDICTORS = ["visit", "treated", "x"], ["y", "treated", "x"]


def twin(rows, *, visit_effects=True, mass=None, last=3, intercept=True):
    """Return what the dropout model sees, made by hand."""
    following = rows["visit"].to_numpy() + 1
    columns = [np.ones(len(rows)), *rows[PREDICTORS].to_numpy().T] if intercept else [*rows[PREDICTORS].to_numpy().T]
    if visit_effects:
        columns += [(following == number).astype(float) for number in (2, 3)]
    at_risk = following <= np.broadcast_to(last, len(rows))
    mass = np.ones(len(rows)) if mass is None else mass
    return Dropout(rows["id"].to_numpy(), rows["visit"].to_numpy(), np.column_stack(columns), at_risk, mass)


def gamma_of(est):
    model = est.dropout_model_
    return np.append(model.intercept_, model.coef_) if model.fit_intercept else np.ravel(model.coef_)


def beta_of(est):
    return np.append(est.intercept_, est.coef_) if est.fit_intercept else np.ravel(est.coef_)


def fit(gee, rows, outcome="y", features=FEATURES, **options):
    given = {name: options.pop(name) for name in ("offset", "sample_weight", "last_visit") if name in options}
    return DropoutGEE(gee, **options).fit(
        rows[features], rows[outcome], groups=rows["id"], time=rows["visit"], dropout_features=rows[PREDICTORS], **given
    )


def with_intercept(rows, features=FEATURES):
    return np.column_stack([np.ones(len(rows)), rows[features]])


@pytest.mark.parametrize("kind", ["observation", "cluster"])
@pytest.mark.parametrize("max_weight", [None, 1.7])
@pytest.mark.parametrize("structure", ["independence", "exchangeable", "ar1"])
@pytest.mark.filterwarnings("ignore::skdep.exceptions.WeightWarning")
def test_structures_and_truncation(kind, max_weight, structure):
    rows = simulate()
    est = fit(GEEClassifier(working_correlation=structure), rows, weights=kind, max_weight=max_weight)
    expected = covariance(
        twin(rows),
        gamma_of(est),
        kind,
        with_intercept(rows),
        rows["y"].to_numpy(),
        beta_of(est),
        model=("binomial", "logit", structure),
        alpha=est.association_,
        max_weight=max_weight or np.inf,
    )
    assert_allclose(est.covariance_, expected, rtol=1e-6)
    assert (est.dropout_.n_truncated > 0) == (max_weight is not None)


def test_offset_link_and_no_intercept():
    rows = simulate(seed=1)
    offset = np.random.default_rng(0).normal(scale=0.3, size=len(rows))
    gee = GEEClassifier(link="probit", fit_intercept=False)
    est = fit(gee, rows, offset=offset, dropout_model=LogitRegressor(fit_intercept=False), visit_effects=False)
    expected = covariance(
        twin(rows, visit_effects=False, intercept=False),
        gamma_of(est),
        "observation",
        rows[FEATURES].to_numpy(),
        rows["y"].to_numpy(),
        beta_of(est),
        model=("binomial", "probit", "independence"),
        offset=offset,
    )
    assert_allclose(est.covariance_, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["observation", "cluster"])
def test_sampling_weights_follow_up_of_different_length_and_other_families(kind):
    rows = simulate(seed=2)
    mass = np.random.default_rng(0).uniform(0.5, 2.0, 120)[rows["id"]]
    last = np.where(rows["id"] % 3 == 0, np.maximum(2, rows.groupby("id")["visit"].transform("max")), 3)
    counts = 1.0 + rows["y"] + rows["visit"] * rows["treated"]
    gee = GEERegressor(family="poisson")
    est = fit(gee, rows.assign(counts=counts), "counts", weights=kind, sample_weight=7.0 * mass, last_visit=last)
    at = twin(rows, mass=mass / 1.3, last=last)
    expected = covariance(
        at,
        gamma_of(est),
        kind,
        with_intercept(rows),
        counts.to_numpy(),
        beta_of(est),
        model=("poisson", "log", "independence"),
    )
    assert_allclose(est.covariance_, expected, rtol=1e-6)
    assert_allclose(at.influence(gamma_of(est)).sum(axis=0), 0, atol=1e-7)  # the dropout model is weighted too


@pytest.mark.parametrize(("penalty", "ridge"), [("l2", 2.0), ("firth", 0.0)])
def test_penalised_dropout_model(penalty, ridge):
    rows = simulate(60, seed=3)
    est = fit(GEEClassifier(), rows, dropout_model=LogitRegressor(penalty, C=0.5))
    plain = fit(GEEClassifier(), rows)
    assert np.abs(gamma_of(est) - gamma_of(plain)).max() > 0.02
    expected = covariance(
        twin(rows),
        gamma_of(est),
        "observation",
        with_intercept(rows),
        rows["y"].to_numpy(),
        beta_of(est),
        model=("binomial", "logit", "independence"),
        ridge=ridge,
    )
    assert_allclose(est.covariance_, expected, rtol=1e-6)


def test_collinear_columns_in_both_models_change_nothing():
    rows = simulate(seed=4)
    plain = fit(GEEClassifier(), rows)
    with pytest.warns(CollinearityWarning):
        est = DropoutGEE(GEEClassifier()).fit(
            rows[FEATURES].assign(double=2 * rows["x"]),
            rows["y"],
            groups=rows["id"],
            time=rows["visit"],
            dropout_features=rows[PREDICTORS].assign(sum=rows["y"] + rows["x"]),
        )
    assert_allclose(est.predict_proba(rows[FEATURES].assign(double=2 * rows["x"])), plain.predict_proba(rows[FEATURES]))
    kept = [0, 1, 2]
    assert_allclose(est.covariance_[np.ix_(kept, kept)], plain.covariance_[np.ix_(kept, kept)], rtol=1e-6)
    assert_allclose(est._criteria["cic"], plain._criteria["cic"], rtol=1e-6)


def test_reordering_relabelling_and_units_change_nothing():
    rows = simulate(seed=5)
    plain = fit(GEEClassifier(), rows)
    order = np.random.default_rng(1).permutation(len(rows))
    other = rows.iloc[order].assign(id=[f"patient {label}" for label in -rows["id"].iloc[order]])
    est = fit(GEEClassifier(), other)
    assert_allclose(est.coef_, plain.coef_, rtol=1e-9)
    assert_allclose(est.covariance_, plain.covariance_, rtol=1e-8)
    predictors = rows[PREDICTORS] * [1.0, 5.0, 1e4] + [3.0, 0.0, 1e4]
    est = DropoutGEE(GEEClassifier()).fit(
        rows[FEATURES], rows["y"], groups=rows["id"], time=10 * rows["visit"], dropout_features=predictors
    )
    assert_allclose(est.coef_, plain.coef_, rtol=1e-8)
    assert_allclose(est.covariance_, plain.covariance_, rtol=1e-7)


def test_estimated_weights_of_clusters_make_estimates_more_precise_under_the_model():
    """G H^-1 s is minus the regression on scores, up to noise: the covariance shrinks in every direction."""
    est = fit(GEEClassifier(), simulate(2000, seed=6), weights="cluster")
    shrunk = est._inference.covariances["known_weights"] - est.covariance_
    scale = np.sqrt(np.diag(est.covariance_))
    assert np.linalg.eigvalsh(shrunk / np.outer(scale, scale))[0] > -0.01
    assert np.diag(shrunk / np.outer(scale, scale)).max() > 0.02


@pytest.mark.parametrize("kind", ["observation", "cluster"])
def test_bootstrap_of_both_models_agrees(kind):
    """A cluster drawn n times is one of weight n in both models, which are fitted anew by plain least squares steps."""
    rows = simulate(500, seed=7, frailty=2.0)
    features = ["visit", "treated"]
    est = fit(GEEClassifier(), rows, features=features, weights=kind)
    at, y, design = twin(rows), rows["y"].to_numpy(), with_intercept(rows, features)
    returned = rows["visit"].to_numpy() < rows.groupby("id")["visit"].transform("max").to_numpy()
    rng, drawn = np.random.default_rng(0), []
    for _ in range(500):
        counts = rng.multinomial(500, np.full(500, 1 / 500)).astype(float)[rows["id"]]
        gamma = logistic(at.design[at.at_risk], returned[at.at_risk], counts[at.at_risk])
        drawn.append(logistic(design, y, counts * weights_of(at, rows, gamma, kind)))
    assert_allclose(weights_of(at, rows, gamma_of(est), kind), at.weights(gamma_of(est), kind), rtol=1e-10)
    # the relative error of a standard deviation from 500 draws is 3 %
    bootstrap, types = np.std(drawn, axis=0), est._inference.covariances
    assert_allclose(np.sqrt(np.diag(types["robust"])), bootstrap, rtol=0.07)
    # frailty says much of the outcomes: standard errors that take the weights as known are too large
    assert np.sqrt(types["known_weights"][1, 1]) > 1.08 * bootstrap[1]


def logistic(X, y, weights):
    beta = np.zeros(X.shape[1])
    for _ in range(12):
        mu = 1 / (1 + np.exp(-X @ beta))
        beta += np.linalg.solve((X * (weights * mu * (1 - mu))[:, None]).T @ X, X.T @ (weights * (y - mu)))
    return beta


def weights_of(at, rows, gamma, kind):
    """Return weights without a loop over clusters, for speed; the test compares them with the loop."""
    stay = np.where(at.at_risk, 1 / (1 + np.exp(-at.design @ gamma)), 1.0)
    table = pd.DataFrame({"id": rows["id"], "visit": rows["visit"], "stay": stay}).sort_values(["id", "visit"])
    so_far = table.groupby("id")["stay"].cumprod() / table["stay"]
    if kind == "cluster":
        last = table.groupby("id").tail(1)
        left = pd.Series(np.where(at.at_risk[last.index], 1 - last["stay"], 1.0), index=last["id"])
        so_far = (so_far[last.index].set_axis(last["id"]) * left).reindex(table["id"]).set_axis(table.index)
    return 1 / so_far.sort_index().to_numpy()
