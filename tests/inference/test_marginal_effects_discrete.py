"""Which features marginal effects compare by values: what is said overrides what values look like."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skdep import BayesLogit, LogitRegressor
from skdep.inference import marginal_effects

RNG = np.random.default_rng(5)
N = 300
X = pd.DataFrame(
    {"dose": RNG.normal(size=N), "treated": RNG.integers(0, 2, size=N), "visit": RNG.integers(1, 4, size=N)}
)
Y = (0.5 * X["dose"] + X["treated"] - 0.3 * X["visit"] + RNG.logistic(size=N) > 0).astype(int)
FIT = LogitRegressor(tol=1e-12).fit(X, Y)


@pytest.mark.parametrize(("discrete", "dummy"), [([], False), (None, True)])
def test_against_statsmodels(discrete, dummy):
    """A derivative of every feature (`dummy=False`), or differences of those with the values 0 and 1."""
    expected = sm.Logit(Y, sm.add_constant(X)).fit(disp=0, tol=1e-12).get_margeff(dummy=dummy)
    table = marginal_effects(FIT, X, discrete=discrete)
    assert_allclose(table["estimate"], expected.margeff, rtol=1e-7)
    assert_allclose(table["std_error"], expected.margeff_se, rtol=1e-6)
    assert list(table["change"]) == ["slope", "1 - 0" if dummy else "slope", "slope"]


def test_a_list_names_all():
    changes = marginal_effects(FIT, X, discrete=["visit"])["change"]
    assert [*zip(changes.index, changes)] == [
        ("dose", "slope"),
        ("treated", "slope"),
        ("visit", "2 - 1"),
        ("visit", "3 - 1"),
    ]
    assert marginal_effects(FIT, X, discrete=["treated"]).equals(marginal_effects(FIT, X))
    by_number = marginal_effects(FIT, X, discrete=[1])
    assert list(by_number["change"]) == ["slope", "1 - 0", "slope"]


def test_a_dict_adds():
    changes = marginal_effects(FIT, X, discrete={"visit": [1, 3]})["change"]
    assert list(changes) == ["slope", "1 - 0", "3 - 1"]


def test_slopes_of_indicators_in_a_posterior():
    fit = BayesLogit(n_draws=400, random_state=0).fit(X, Y)
    table = marginal_effects(fit, X, discrete=[])
    assert list(table["change"]) == ["slope"] * 3
    p = fit.predict_proba(X)[:, 1]
    assert table.loc["treated", "estimate"] == pytest.approx(np.mean(p * (1 - p)) * fit.coef_[0, 1], rel=0.1)


def test_what_is_no_number_is_compared_always():
    frame = X.assign(region=np.where(X["visit"] > 2, "north", "south"), seen=X["visit"] == 1)
    encode = make_column_transformer((OneHotEncoder(drop="first"), ["region"]), remainder="passthrough")
    pipe = make_pipeline(encode, LogitRegressor()).fit(frame.drop(columns="visit"), Y)
    changes = marginal_effects(pipe, frame.drop(columns="visit"), discrete=[])["change"]
    assert changes.to_dict() == {
        "dose": "slope",
        "treated": "slope",
        "region": "south - north",
        "seen": "True - False",
    }
