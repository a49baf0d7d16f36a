"""Every display with every estimator: drawn where it has a meaning, else a TypeError that says what it shows."""

from __future__ import annotations

import inspect
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdep.plotting
from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit

plt = pytest.importorskip("matplotlib.pyplot", reason="needs the extra: pip install 'skdep[plot]'")

EVERY = ["logit", "gee binary", "gee counts", "gee numbers", "linear", "mixed logit", "bayes", "flat bayes"]
RANDOM = ["linear", "mixed logit", "bayes"]
NUMBERS = ["gee counts", "gee numbers", "linear"]
MARGINAL = ["gee binary", "gee counts", "gee numbers"]
# by display: who has what it shows, and further arguments
SHOWN: dict[str, tuple[list[str], dict]] = {
    "BinnedResidualsDisplay": ([name for name in EVERY if name != "linear"], {}),
    "CalibrationDisplay": (EVERY, {}),
    "CaterpillarDisplay": (RANDOM, {}),
    "CoefficientsDisplay": (EVERY, {}),
    "FittedLinesDisplay": (["linear"], {"feature": "age", "kind": "together"}),
    "InfluenceDisplay": (["logit", *MARGINAL], {}),
    "PartialResidualsDisplay": (EVERY, {}),
    "PosteriorDisplay": (["bayes", "flat bayes"], {}),
    "QQDisplay": (NUMBERS, {}),
    "QQDisplay, quantile": (EVERY, {"kind": "quantile", "random_state": 0}),
    "ResidualsDisplay": (NUMBERS, {}),
    "ResidualsDisplay, quantile": (EVERY, {"kind": "quantile", "random_state": 0}),
    "ShrinkageDisplay": (RANDOM, {}),
    "TraceDisplay": (["bayes", "flat bayes"], {}),
    "UpdatingDisplay": (["bayes", "flat bayes"], {}),
    "WeightsDisplay": (EVERY, {"sample_weight": np.linspace(1.0, 2.0, 200)}),
    "WorkingCorrelationDisplay": (MARGINAL, {}),
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    groups = pd.Series(np.repeat(np.arange(20), 10), name="ward")
    X = pd.DataFrame({"age": rng.normal(size=200), "dose": rng.normal(size=200)})
    u = rng.normal(size=20)[groups]
    number = pd.Series(X["age"] + u + rng.normal(size=200), name="score")
    outcomes = {
        "number": number,
        "count": pd.Series(rng.poisson(np.exp(0.3 * X["age"] + 0.3 * u)), name="visits"),
        "binary": (number > 0).astype(int).rename("ill"),
    }
    return X, outcomes, groups


@pytest.fixture(scope="module")
def fits(data):
    X, y, groups = data
    sampler = {"n_draws": 60, "n_chains": 2, "random_state": 0}
    models = {
        "logit": (LogitRegressor(), "binary"),
        "gee binary": (GEEClassifier(working_correlation="exchangeable"), "binary"),
        "gee counts": (GEERegressor("poisson", working_correlation="exchangeable"), "count"),
        "gee numbers": (GEERegressor(), "number"),
        "linear": (MixedLinear(), "number"),
        "mixed logit": (MixedLogit(), "binary"),
        "bayes": (BayesLogit(**sampler), "binary"),
        "flat bayes": (BayesLogit(**sampler), "binary"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few draws
        return {
            name: (est.fit(X, y[of], groups=None if name.startswith("flat") else groups), y[of])
            for name, (est, of) in models.items()
        }


def arguments(display, y, data):
    """Return the class and the arguments of its ``from_estimator``, those that it takes."""
    cls = getattr(skdep.plotting, display.partition(",")[0])
    takes = inspect.signature(cls.from_estimator).parameters
    rows = {"X": data[0], "y": y, "groups": data[2]}
    return cls, {name: value for name, value in rows.items() if name in takes} | SHOWN[display][1]


def test_every_display_is_in_the_table():
    assert {name.partition(",")[0] for name in SHOWN} == set(skdep.plotting.__all__)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("display", SHOWN)
def test_drawn_or_refused(display, name, fits, data):
    est, y = fits[name]
    cls, given = arguments(display, y, data)
    if name in SHOWN[display][0]:
        drawn = cls.from_estimator(est, **given)
        assert drawn.ax_.figure.canvas.figure is drawn.figure_
        return
    # a model that could have random effects, but was fitted without groups, has the right type
    expected = ValueError if name == "flat bayes" and SHOWN[display][0] is RANDOM else TypeError
    with pytest.raises(expected, match=type(est).__name__) as raised:
        cls.from_estimator(est, **given)
    assert display.partition(",")[0] in str(raised.value) or display == "InfluenceDisplay"


@pytest.mark.parametrize("display", SHOWN)
def test_other_estimators_are_refused(display, data):
    X, y, _ = data
    cls, given = arguments(display, y["binary"], data)
    with pytest.raises(TypeError, match="LogisticRegression is no"):
        cls.from_estimator(LogisticRegression().fit(X, y["binary"]), **given)
    if display != "WeightsDisplay":  # it fits by itself
        with pytest.raises(NotFittedError):
            cls.from_estimator(MixedLogit(), **given)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("display", SHOWN)
def test_within_pipelines(display, fits, data):
    name = SHOWN[display][0][0]
    est, y = fits[name]
    groups = {} if name.startswith("flat") else {f"{type(est).__name__.lower()}__groups": data[2]}
    pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), type(est)(**est.get_params()))
    pipe.fit(data[0], y, **groups)
    cls, given = arguments(display, y, data)
    drawn = cls.from_estimator(pipe, **given)
    assert drawn.figure_.axes


@pytest.mark.parametrize(
    "display", ["CalibrationDisplay", "CoefficientsDisplay", "PartialResidualsDisplay", "ShrinkageDisplay"]
)
def test_new_axes_given_axes_and_pickles(display, fits, data):
    est, y = fits["mixed logit"]
    cls, given = arguments(display, y, data)
    figure, axes = plt.subplots(1, 2, layout="constrained")
    drawn = cls.from_estimator(est, ax=axes[1], **given)
    assert drawn.figure_ is figure
    again = pickle.loads(pickle.dumps(drawn)).plot()
    assert again.figure_ is not figure
    again.figure_.canvas.draw()
    assert {name for name in vars(again) if not name.endswith("_")} == set(inspect.signature(cls).parameters)
