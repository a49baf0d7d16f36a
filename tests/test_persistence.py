"""Pickles know the version that wrote them: another version warns and works, the same one is silent."""

from __future__ import annotations

import io
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdep
from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit
from skdep.bayes import HalfNormal, Normal
from skdep.inference import coef_table

ESTIMATORS = [
    LogitRegressor(),
    GEERegressor("binomial", working_correlation="exchangeable"),
    GEEClassifier(),
    MixedLinear([0]),
    MixedLogit([0], n_quadrature=3),
    BayesLogit({0: Normal(0, 1), "sd": HalfNormal(1)}, n_draws=50, random_state=0, method="pairs"),
]

pytestmark = pytest.mark.filterwarnings("ignore:Chains disagree|Only .* effective draws")

estimators = pytest.mark.parametrize("est", ESTIMATORS, ids=lambda est: type(est).__name__)


def fitted(est):
    """Return a fit, the features, and the groups."""
    rng = np.random.default_rng(0)
    X, groups = rng.normal(size=(120, 2)), np.arange(120) // 4
    y = (X[:, 0] + rng.logistic(size=120) > 0).astype(int)
    return clone(est).fit(X, y, groups=groups), X


def warned(load):
    """Return what `load` returns, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return load(), [str(warning.message) for warning in caught]


def assert_same_fit(again, est, X):
    assert_array_equal(again.predict(X), est.predict(X))
    tables = [fit.posterior_table() if hasattr(fit, "draws_") else coef_table(fit) for fit in (again, est)]
    assert tables[0].equals(tables[1])
    assert str(again.summary()) == str(est.summary())
    assert vars(again).keys() == vars(est).keys()


@estimators
def test_same_version_is_silent(est):
    est, X = fitted(est)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again, messages = warned(lambda protocol=protocol: pickle.loads(pickle.dumps(est, protocol=protocol)))
        assert messages == []
        assert_same_fit(again, est, X)
        assert not hasattr(again, "_skdep_version")


@estimators
@pytest.mark.parametrize("version", ["0.0.1", "99.0"])
def test_another_version_warns_and_works(est, version, monkeypatch):
    est, X = fitted(est)
    current = skdep.__version__
    with monkeypatch.context() as past:
        past.setattr(skdep, "__version__", version)
        saved = pickle.dumps(est)
    again, messages = warned(lambda: pickle.loads(saved))
    assert len(messages) == 1
    assert re.search(
        rf"{type(est).__name__} was saved by skdep {version} and is loaded by skdep {current}", messages[0]
    )
    assert_same_fit(again, est, X)
    # saved again, it is this version's
    _, messages = warned(lambda: pickle.loads(pickle.dumps(again)))
    assert messages == []


@estimators
def test_state_without_a_stamp_warns_and_works(est):
    est, X = fitted(est)
    state = dict(vars(est))
    again = type(est).__new__(type(est))
    _, messages = warned(lambda: again.__setstate__(state))
    assert len(messages) == 1
    assert "saved by skdep unknown" in messages[0]
    assert_same_fit(again, est, X)
    assert state == vars(est), "the state that was given is left as it was"


def test_warning_names_the_line_that_loads(monkeypatch):
    est, _ = fitted(LogitRegressor())
    with monkeypatch.context() as past:
        past.setattr(skdep, "__version__", "0.0.1")
        saved = pickle.dumps(est)
    with pytest.warns(UserWarning, match="saved by skdep 0.0.1") as caught:
        pickle.loads(saved)
    assert Path(caught[0].filename) == Path(__file__)


def test_estimators_inside_a_pipeline_warn(monkeypatch):
    est, X = fitted(LogitRegressor())
    pipe = make_pipeline(StandardScaler(), LogitRegressor()).fit(X, est.predict(X) ^ (X[:, 1] > 0.5))
    with monkeypatch.context() as past:
        past.setattr(skdep, "__version__", "0.0.1")
        buffer = io.BytesIO()
        joblib.dump(pipe, buffer)
    again, messages = warned(lambda: joblib.load(io.BytesIO(buffer.getvalue())))
    assert [message for message in messages if "skdep 0.0.1" in message] == messages
    assert len(messages) == 1
    assert_array_equal(again.predict(X), pipe.predict(X))


@estimators
def test_unfitted_estimators_are_stamped_too(est, monkeypatch):
    with monkeypatch.context() as past:
        past.setattr(skdep, "__version__", "0.0.1")
        saved = pickle.dumps(est)
    again, messages = warned(lambda: pickle.loads(saved))
    assert len(messages) == 1
    assert again.get_params() == est.get_params()


def test_a_new_process_loads_without_importing_skdep_first(tmp_path):
    est, X = fitted(GEERegressor("binomial", working_correlation="exchangeable"))
    joblib.dump((est, X), tmp_path / "fit.joblib")
    code = (
        "import sys, warnings; warnings.simplefilter('error')\n"
        "import joblib; est, X = joblib.load(sys.argv[1])\n"
        "print(repr(float(est.predict(X).sum())), est.association_)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "fit.joblib")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [repr(float(est.predict(X).sum())), str(est.association_)]
