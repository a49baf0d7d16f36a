"""Estimators fitted with replicate weights: R's survey, domains, coordinates, and what is refused."""

import pickle
import warnings
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.model_selection import cross_validate

from skdep import GEEClassifier, GEERegressor, LogitRegressor
from skdep.exceptions import CollinearityWarning, ConvergenceWarning
from skdep.inference import coef_table, wald_test
from skdep.survey import ReplicateWeights, replicate_weights
from tests.survey import reference

FITS = reference.names("fits", having="replicates")
LOGITS = [
    name
    for name in FITS
    if (entry := reference.entries("fits")[name])["link"] == "logit" and entry["family"] == "binomial"
]
Logit = partial(LogitRegressor, weight_type="sampling")


def of_r(name):
    """Return a fit of R, and its replicate weights with the sampling weights, zero outside the domain."""
    given = reference.fit(name)
    of = given.replicates
    return given, ReplicateWeights(
        of.weights, scale=of.scale, rscales=of.rscales, mse=of.mse, sample_weight=given.design.weights
    )


def assert_like_r(est, given, rtol=1e-7):
    table = coef_table(est)
    assert_allclose(table["estimate"], given.coef, rtol=rtol)
    assert_allclose(table["std_error"], given.standard_errors, rtol=rtol)
    assert_allclose(table["p_value"], given.entry["p_value"], rtol=1e-5, atol=1e-9)
    assert (table["df"] == given.entry["df_residual"]).all()
    assert_allclose(est.covariance_, given.cov, rtol=1e-6, atol=1e-8 * np.abs(given.cov).max())


@pytest.mark.parametrize("name", LOGITS)
def test_logistic_regression_as_in_r(name):
    given, replicates = of_r(name)
    est = Logit(tol=1e-9).fit(given.X, given.y, replicate_weights=replicates, offset=given.offset)
    assert_like_r(est, given)
    assert est._inference.cov_type == "replicate"


@pytest.mark.parametrize("name", FITS)
def test_marginal_models_as_in_r(name):
    given, replicates = of_r(name)
    family, link = given.entry["family"], given.entry["link"]
    est = GEERegressor(family, link=link, tol=1e-11).fit(
        given.X, given.y, replicate_weights=replicates, offset=given.offset
    )
    assert_like_r(est, given)


@pytest.fixture(scope="module")
def schools():
    """Return features, outcome, weights, strata and districts of a stratified sample."""
    design = reference.design("strat")
    return design.frame[["ell", "meals", "mobility"]], design.frame["wide"], design.weights, design.strata, design.frame


def test_estimators_agree_and_weights_may_come_with_the_replicates(schools):
    X, y, weights, strata, frame = schools
    replicates = replicate_weights("jkn", weights, strata=strata)
    logit = Logit(tol=1e-10).fit(X, y, replicate_weights=replicates)
    gee = GEEClassifier(tol=1e-11).fit(X, y, replicate_weights=replicates, groups=frame["dnum"])
    assert_allclose(gee.covariance_, logit.covariance_, rtol=1e-8)
    again = Logit(tol=1e-10).fit(X, y, replicate_weights=replicates, sample_weight=3 * weights)
    assert_allclose(again.covariance_, logit.covariance_, rtol=1e-8)
    assert_allclose(coef_table(again, cov_type="design"), coef_table(Logit(tol=1e-10).fit(X, y, sample_weight=weights)))
    assert "jkn: 200 replicates" in str(logit.summary())
    assert "jkn: 200 replicates" in str(gee.summary())
    assert_allclose(pickle.loads(pickle.dumps(logit)).covariance_, logit.covariance_)
    assert wald_test(logit, np.eye(4)[1:]).df_denominator == 194


def test_a_domain_is_a_set_of_rows_with_weight(schools):
    X, y, weights, strata, frame = schools
    inside = (frame["stype"] == "E").to_numpy() & (np.arange(len(y)) % 5 > 0)
    given = ReplicateWeights(replicate_weights("jkn", weights, strata=strata).weights, method="jkn", rscales=0.9)
    est = Logit().fit(X, y, sample_weight=weights * inside, replicate_weights=given)
    rows = Logit().fit(X[inside], y[inside], sample_weight=weights[inside], replicate_weights=given[inside])
    assert_allclose(est.covariance_, rows.covariance_, rtol=1e-9)
    assert coef_table(est)["df"].iloc[0] == coef_table(rows)["df"].iloc[0] == given[inside].df - 3


def test_collinear_and_distant_features(schools):
    X, y, weights, strata, _ = schools
    replicates = replicate_weights("jkn", weights, strata=strata)
    plain = coef_table(Logit().fit(X, y, replicate_weights=replicates))
    with pytest.warns(CollinearityWarning):
        doubled = coef_table(Logit().fit(X.assign(again=2 * X["ell"]), y, replicate_weights=replicates))
    assert_allclose(doubled["std_error"][["meals", "mobility"]], plain["std_error"][["meals", "mobility"]], rtol=1e-7)
    assert np.isnan(doubled["std_error"]["ell"])
    far = coef_table(Logit().fit(X + 1e6, y, replicate_weights=replicates))
    assert_allclose(far["std_error"].iloc[1:], plain["std_error"].iloc[1:], rtol=1e-5)


def test_penalised_replicates_are_fits_of_the_estimator(schools):
    X, y, weights, strata, _ = schools
    X, keep = (X - 1000) / 10, np.arange(len(y)) % 4 > 0
    X, y, weights, strata = X[keep], y[keep], weights[keep], strata[keep]
    replicates = replicate_weights("bootstrap", weights, strata=strata, n_replicates=12, random_state=0)
    est = Logit("l2", C=0.3).fit(X, y, replicate_weights=replicates)
    betas = []
    for column in replicates.weights.T:
        fit = Logit("l2", C=0.3 * len(y) / np.sum(column > 0)).fit(X, y, sample_weight=column)
        betas.append(np.concatenate([fit.intercept_, fit.coef_[0]]))
    assert_allclose(est.covariance_, np.cov(np.transpose(betas)), rtol=1e-6)


def test_failed_replicates_warn_once():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 1))
    y = (rng.random(60) < 0.5).astype(int)
    weights = np.ones((60, 8)) * rng.uniform(0.5, 1.5, (60, 8))
    weights[(x[:, 0] > 0) != (y == 1), 3] = 0.0
    replicates = ReplicateWeights(weights, method="bootstrap", sample_weight=np.ones(60))
    with pytest.warns(ConvergenceWarning, match="1 of 8 replicates") as caught:
        est = Logit().fit(x, y, replicate_weights=replicates)
    assert len(caught) == 1 and np.isfinite(est.covariance_).all()
    assert "1 of 8 replicates" in str(est.summary())


@pytest.mark.parametrize(
    ("est", "options", "says"),
    [
        (LogitRegressor(), {}, "set weight_type='sampling'"),
        (Logit("firth"), {}, "not available with penalty='firth'"),
        (GEEClassifier(weight_type="frequency"), {}, "set weight_type='sampling'"),
        (GEEClassifier(working_correlation="exchangeable"), {}, "use 'independence'"),
        (GEEClassifier(), {"strata": [0, 1] * 10}, "leave out strata="),
        (GEEClassifier(cov_type="kc"), {}, "use 'robust' or 'replicate'"),
        (Logit(), {"sample_weight": np.arange(1, 21)}, "other sampling weights"),
    ],
)
def test_what_cannot_be_replicated_is_refused(est, options, says):
    X, y = np.arange(20.0)[:, None], [0, 1] * 10
    with pytest.raises(ValueError, match=says):
        est.fit(X, y, replicate_weights=replicate_weights("jk1", np.ones(20)), **options)


@pytest.mark.parametrize("est", [Logit(cov_type="replicate"), GEEClassifier(cov_type="replicate")])
def test_the_type_needs_replicates(est):
    with pytest.raises(ValueError, match="replicate_weights="):
        est.fit(np.arange(20.0)[:, None], [0, 1] * 10)
    with pytest.raises(ValueError, match="must be a ReplicateWeights"):
        est.fit(np.arange(20.0)[:, None], [0, 1] * 10, replicate_weights=np.ones((20, 5)))


@pytest.mark.parametrize("est", [Logit(), GEEClassifier()])
def test_cross_validation_takes_rows_of_replicates(est, schools):
    X, y, weights, strata, _ = schools
    replicates = replicate_weights("jkn", weights, strata=strata)
    with config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter("error")
        found = cross_validate(est, X, y, params={"replicate_weights": replicates}, cv=3)
    assert np.isfinite(found["test_score"]).all()
