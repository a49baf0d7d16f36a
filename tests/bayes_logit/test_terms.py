"""Random effects of BayesLogit by factor: which intercepts vary, and which effects are correlated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdep import BayesLogit, MixedLogit
from skdep.bayes.nuts import has_nutpie

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(4)
N = 900
GROUPS = pd.DataFrame({"g": RNG.integers(0, 30, N), "h": RNG.integers(0, 25, N)})
X = pd.DataFrame({"x": RNG.normal(size=N), "z": RNG.normal(size=N)})
OF_G = RNG.normal(size=(30, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
OF_H = RNG.normal(size=25)
ETA = 0.3 * X["x"] + OF_G[GROUPS["g"], 0] + OF_G[GROUPS["g"], 1] * X["x"] + OF_H[GROUPS["h"]] * X["z"]
Y = (RNG.uniform(size=N) < 1.0 / (1.0 + np.exp(-ETA))).astype(int)


def fitted(groups=GROUPS, **options) -> BayesLogit:
    return BayesLogit(**{"n_draws": 150, "n_chains": 2, "random_state": 0, **options}).fit(X, Y, groups=groups)


def test_dicts_that_say_what_a_word_says():
    one = fitted(GROUPS["g"], random_slopes=["x"])
    for options in (
        {"covariance": {"g": "full"}, "random_intercept": {"g": True}},
        {"covariance": {}, "random_intercept": {}},
        {"covariance": {"g": [["x", "Intercept"]]}},
    ):
        other = fitted(GROUPS["g"], random_slopes=["x"], **options)
        assert_array_equal(other.draws_["random_covariance"], one.draws_["random_covariance"])
    diagonal = fitted(GROUPS["g"], random_slopes=["x"], covariance="diagonal")
    other = fitted(GROUPS["g"], random_slopes=["x"], covariance={"g": [["x"], ["Intercept"]]})
    assert_array_equal(other.draws_["random_covariance"], diagonal.draws_["random_covariance"])


@pytest.mark.skipif(not has_nutpie(), reason="nutpie cannot be imported")
def test_each_factor_its_own():
    """Posterior means are those of the likelihood within the posterior's spread, structure by structure."""
    options = {
        "random_slopes": {"g": ["x"], "h": ["x", "z"]},
        "random_intercept": {"h": False},
        "covariance": {"h": "diagonal"},
    }
    est, other = fitted(**options), MixedLogit(**options).fit(X, Y, groups=GROUPS)
    assert est.random_names_ == other.random_names_ == {"g": ("Intercept", "x"), "h": ("x", "z")}
    of_g, of_h = (est.draws_[f"random_covariance[{name}]"] for name in ("g", "h"))
    assert_array_equal(of_h[..., 0, 1], 0.0)
    assert (of_g[..., 0, 1] != 0.0).all()
    sd = est.draws_["coef"].reshape(-1, 2).std(axis=0)
    assert np.all(np.abs(est.coef_ - other.coef_)[0] < sd)
    for draws, name in ((of_g, "g"), (of_h, "h")):
        variances = np.diagonal(draws, axis1=-2, axis2=-1).reshape(-1, 2)
        expected = np.diag(other.random_covariance_[name])
        assert np.all(np.abs(np.median(variances, axis=0) - expected) < variances.std(axis=0))
    assert_allclose(est.predict_proba(X, groups=GROUPS), other.predict_proba(X, groups=GROUPS), atol=0.12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"covariance": {"g": [["Intercept", "x"], ["z"]]}},
            r"covariance of g: BayesLogit has all effects of a factor correlated \('full'\), or none \('diagonal'\)",
        ),
        ({"covariance": {"g": "half"}}, "covariance of g is 'full', 'diagonal' or a list"),
        ({"covariance": {"nobody": "full"}}, "covariance names unknown factors"),
        ({"random_intercept": {"nobody": False}}, "random_intercept names unknown factors"),
    ],
)
def test_what_it_cannot_is_said(options, message):
    with pytest.raises(ValueError, match=message):
        fitted(GROUPS["g"], random_slopes=["x", "z"], **options)
