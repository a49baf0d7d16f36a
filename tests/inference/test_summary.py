"""Summaries: what the text and the notebook say."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from skdep import LogitRegressor
from skdep.exceptions import ConvergenceWarning, FewClustersWarning, SeparationWarning
from skdep.inference import coef_table

RNG = np.random.default_rng(4)
FRAME = pd.DataFrame(RNG.normal(size=(90, 2)), columns=["dose", "age"])
Y = np.where(FRAME["dose"] + RNG.logistic(size=90) > 0, "ill", "healthy")
SCHOOL = pd.Series(np.repeat(np.arange(12), [4] * 6 + [11] * 6), name="school")


@pytest.fixture(scope="module")
def fit():
    return LogitRegressor().fit(FRAME, Y, groups=SCHOOL)


def facts(summary):
    """Return the head of the text as a dict, two or more blanks between label and value."""
    lines = str(summary).split("\n\n")[0].splitlines()[2:]
    return dict(line.split("  ", 1) for line in lines)


def test_text(fit):
    text = str(fit.summary())
    head = {label: value.strip() for label, value in facts(fit.summary()).items()}
    assert text.splitlines()[:2] == ["LogitRegressor", "=============="]
    assert head["Observations"] == "90"
    assert head["Classes"] == "success is ill, failure healthy"
    assert head["Clusters (school)"] == "12, of 4 to 11 rows"
    assert head["Log-likelihood"] == f"{fit.loglik_:.4f}"
    assert head["Covariance"] == "cluster"
    assert head["Converged"] == f"yes, after {fit.n_iter_} iterations"
    assert "Weights" not in head
    assert "Penalty" not in head
    assert "Note" not in text
    for word in ("estimate", "std_error", "conf_high", "Intercept", "dose", "age"):
        assert word in text
    assert f"{fit.coef_[0, 0]:.5g}" in text
    assert repr(fit.summary()) == text
    assert max(map(len, text.splitlines())) <= 120


def test_table_is_the_coefficient_table(fit):
    summary = fit.summary(level=0.9)
    pd.testing.assert_frame_equal(summary.to_frame(), coef_table(fit, level=0.9).to_frame())
    assert str(fit.summary(level=0.9)) != str(fit.summary())
    with pytest.raises(FrozenInstanceError):
        summary.title = "x"


def test_weights_and_penalties():
    weights = np.arange(90) % 3
    head = facts(LogitRegressor(penalty="firth").fit(FRAME, Y, sample_weight=weights).summary())
    assert head["Observations"].strip() == str(weights.sum())
    assert head["Weights"].strip() == "frequency"
    assert head["Penalty"].strip() == "Firth"
    ridge = LogitRegressor(penalty="l2", C=0.25, weight_type="sampling").fit(FRAME, Y, sample_weight=weights)
    head = facts(ridge.summary())
    assert head["Observations"].strip() == "60"
    assert head["Weights"].strip() == "sampling"
    assert head["Penalty"].strip() == "l2, C = 0.25"
    assert head["Covariance"].strip() == "design"


def test_two_ways_of_clustering():
    groups = pd.DataFrame({"school": SCHOOL, "year": np.arange(90) % 9})
    head = facts(LogitRegressor().fit(FRAME, Y, groups=groups).summary())
    assert head["Clusters (school)"].strip() == "12, of 4 to 11 rows"
    assert head["Clusters (year)"].strip() == "9, of 10 rows"


def test_warnings_are_kept_as_notes():
    with pytest.warns(ConvergenceWarning):
        stopped = LogitRegressor(max_iter=1).fit(FRAME, Y)
    assert "Converged       NO, after 1 iterations" in str(stopped.summary())
    assert "Note: LogitRegressor did not converge" in str(stopped.summary())
    with pytest.warns(SeparationWarning):
        separated = LogitRegressor().fit(FRAME[["dose"]], FRAME["dose"] > 0)
    assert "Note: Separation" in str(separated.summary())
    assert "Converged" in facts(separated.summary())
    assert facts(separated.summary())["Converged"].strip().startswith("NO")
    with pytest.warns(FewClustersWarning):
        few = LogitRegressor().fit(FRAME, Y, groups=np.arange(90) % 3)
    assert "Note: There are 3 clusters for 3 parameters" in str(few.summary())
    with pytest.warns(ConvergenceWarning):
        aliased = LogitRegressor().fit(FRAME.assign(again=FRAME["dose"]), Y)
    assert "Note: Collinear features" in str(aliased.summary())
    assert "nan" in str(aliased.summary()).lower()


def test_small_p_values():
    x = np.repeat([0.0, 1.0], 200)
    y = np.r_[np.arange(200) % 10 == 0, np.arange(200) % 10 > 0]
    assert "<0.0001" in str(LogitRegressor().fit(x[:, None], y).summary())


def test_html_shows_all_and_escapes_names():
    frame = FRAME.set_axis(["<b>dose</b>", "age & sex"], axis=1)
    groups = pd.Series(SCHOOL, name="<i>school</i>")
    with pytest.warns(ConvergenceWarning):
        fit = LogitRegressor(max_iter=1).fit(frame, Y, groups=groups)
    page = fit.summary()._repr_html_()
    for raw in ("<b>dose</b>", "<i>school</i>"):
        assert raw not in page
    for shown in ("&lt;b&gt;dose", "age &amp; sex", "&lt;i&gt;school", "did not converge", "estimate"):
        assert shown in page


def test_summary_of_an_unfitted_estimator():
    with pytest.raises(NotFittedError):
        LogitRegressor().summary()
