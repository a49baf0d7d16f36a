"""Hand-over to ArviZ: names, coordinates, and what is computed from them there."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import skdep
from skdep import BayesLogit
from skdep.bayes import Normal
from skdep.bayes.convergence import convergence


@pytest.fixture(scope="module")
def fitted():
    """Fit random intercepts and slopes to rows with named features and labels."""
    rng = np.random.default_rng(0)
    n_rows, effects = 1200, rng.normal(size=(8, 2)) * [1.5, 0.8]
    number = rng.integers(0, 8, n_rows)
    X = pd.DataFrame({"dose": rng.integers(0, 4, n_rows), "male": rng.integers(0, 2, n_rows)}).astype(float)
    ward = pd.Series(np.array(list("abcdefgh"))[number], name="ward")
    log_odds = effects[number, 0] + effects[number, 1] * (X["dose"] - 1.5)
    y = np.where(rng.logistic(size=n_rows) < log_odds, "well", "ill")
    model = BayesLogit({"male": Normal(1, 0.2)}, random_slopes=["dose"], n_draws=250, random_state=0, method="pairs")
    return X, y, ward, model.fit(X, y, groups=ward)


@pytest.fixture(scope="module")
def tree(fitted):
    pytest.importorskip("arviz_base", reason="needs the extra: pip install 'skdep[bayes]'")
    return fitted[-1].to_datatree(random_effects=True, data=True, n_prior_draws=4000)


def test_posterior_has_names(fitted, tree):
    model, posterior = fitted[-1], tree["posterior"]
    assert_array_equal(posterior["intercept"], model.draws_["intercept"])
    assert_array_equal(posterior["coef"].sel(feature="male"), model.draws_["coef"][..., 1])
    covariance = posterior["random_covariance_ward"].sel(ward_effect="Intercept", ward_effect_bis="dose")
    assert_array_equal(covariance, model.draws_["random_covariance"][..., 0, 1])
    assert_allclose(
        posterior["sd_ward"].sel(ward_effect="dose") ** 2, model.draws_["random_covariance"][..., 1, 1], rtol=1e-12
    )
    effects = posterior["random_effects_ward"]
    assert effects.dims == ("chain", "draw", "ward_level", "ward_effect")
    assert_array_equal(effects["ward_level"], list("abcdefgh"))
    assert_array_equal(effects.to_numpy().reshape(1000, 8, 2), model._effect_draws()["ward"])


def test_sample_stats_are_log_densities(fitted, tree):
    posterior = fitted[-1]._posterior
    expected = posterior.target.log_density(posterior.points[2, :5])
    assert_allclose(tree["sample_stats"]["lp"][2, :5], expected, rtol=1e-6)


def test_prior_is_the_prior(tree):
    male = tree["prior"]["coef"].sel(feature="male")
    assert male.shape == (1, 4000)
    assert_allclose([male.mean(), male.std()], [1.0, 0.2], atol=0.02)
    assert set(tree["prior"].data_vars) == {"intercept", "coef", "random_covariance_ward", "sd_ward"}


def test_data_are_distinct_rows_with_counts(fitted, tree):
    X, y, ward, _ = fitted
    observed, constant = tree["observed_data"], tree["constant_data"]
    table = constant["X"].to_pandas().round(9)
    table["ward"], table["k"], table["n"] = constant["ward"], observed["successes"], observed["trials"]
    found = table.groupby(["dose", "male", "ward"])[["k", "n"]].sum()
    expected = pd.DataFrame({**X, "ward": ward, "k": y == "well", "n": 1}).groupby(["dose", "male", "ward"]).sum()
    assert_array_equal(found.to_numpy(), expected.to_numpy().astype(float))
    assert len(table) == 64  # of 1200


def test_attributes(fitted, tree):
    model = fitted[-1]
    assert tree.attrs["creation_library_version"] == skdep.__version__
    assert tree.attrs["log_evidence"] == model.log_evidence_
    assert tree.attrs["classes"] == ["ill", "well"]
    assert tree.attrs["diagnostics_khat"] == model.diagnostics_["khat"]


def test_arviz_agrees_on_diagnostics(fitted, tree):
    arviz_stats = pytest.importorskip("arviz_stats")
    checks = convergence(fitted[-1].draws_["coef"])
    assert_allclose(arviz_stats.rhat(tree["posterior"])["coef"], checks.rhat, rtol=1e-6)
    assert_allclose(arviz_stats.ess(tree["posterior"])["coef"], checks.ess_bulk, rtol=0.02)


def test_plain_model_and_what_is_left_out(fitted):
    pytest.importorskip("arviz_base", reason="needs the extra: pip install 'skdep[bayes]'")
    X, y, *_ = fitted
    tree = BayesLogit(fit_intercept=False, n_draws=100, random_state=0).fit(X, y).to_datatree(n_prior_draws=0)
    assert set(tree.children) == {"posterior", "sample_stats"}
    assert set(tree["posterior"].data_vars) == {"coef"}


def test_rows_that_are_not_kept(fitted):
    pytest.importorskip("arviz_base", reason="needs the extra: pip install 'skdep[bayes]'")
    X, y, *_ = fitted
    stream = BayesLogit(updating="gaussian", n_draws=100, random_state=0).partial_fit(X, y)
    assert "posterior" in stream.to_datatree().children
    with pytest.raises(ValueError, match="keeps no rows"):
        stream.to_datatree(data=True)


def test_without_arviz_the_error_names_the_extra(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    with pytest.raises(ImportError, match=r"to_datatree needs arviz-base.*pip install 'skdep\[bayes\]'"):
        fitted[-1].to_datatree()
