"""Bad input to `LogitRegressor`: the message says what is wrong, where, and what to do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from skdep import LogitRegressor
from skdep.inference import coef_table

RNG = np.random.default_rng(0)
N = 40
X = RNG.normal(size=(N, 2))
Y = np.arange(N) % 2
G = np.arange(N) // 4
FRAME = pd.DataFrame(X, columns=["a", "b"])
ONES = np.ones(N)


def with_value(array, value, row=7):
    changed = np.array(array, dtype=float)
    changed[row] = value
    return changed


def fails(match, *, X=X, y=Y, params=None, **metadata):
    with pytest.raises(ValueError, match=match) as caught:
        LogitRegressor(**(params or {})).fit(X, y, **metadata)
    return str(caught.value)


# --------------------------------------------------------------------------------------------------- features


@pytest.mark.parametrize(("value", "word"), [(np.nan, "contains NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_features_must_be_finite(value, word):
    fails(f"Input X .*{word}|Input X {word}", X=with_value(X, value))


def test_missing_in_nullable_column():
    fails("contains NaN", X=FRAME.assign(c=pd.array([1, None] * (N // 2), dtype="Int64")))


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(["u", "v"] * (N // 2), id="str"),
        pytest.param(np.array(["u", "v"] * (N // 2), dtype=object), id="object"),
        pytest.param(pd.Categorical(["u", "v"] * (N // 2)), id="categorical"),
        pytest.param(pd.date_range("2024-01-01", periods=N), id="dates"),
        pytest.param(pd.to_timedelta(np.arange(N), unit="D"), id="durations"),
        pytest.param(pd.period_range("2024-01", periods=N, freq="M"), id="periods"),
    ],
)
def test_columns_that_are_not_numbers_are_named(column):
    message = fails("Columns of X that are not numbers: colour", X=FRAME.assign(colour=column))
    assert "OneHotEncoder" in message or "number" in message


def test_dates_alone_are_not_silently_nanoseconds():
    """A frame of dates only must not pass where dates beside numbers fail."""
    fails("when", X=pd.DataFrame({"when": pd.date_range("2024-01-01", periods=N)}))


def test_list_of_strings():
    fails("OneHotEncoder", X=[["u", 1.0]] * N)


def test_shape_of_features():
    fails("Expected 2D array, got 1D", X=X[:, 0])
    fails("0 sample", X=X[:0], y=Y[:0])
    fails("0 feature", X=X[:, :0])
    fails("inconsistent numbers of samples", X=X[1:])
    with pytest.raises((TypeError, ValueError), match=r"[Ss]parse"):
        LogitRegressor().fit(sparse.csr_matrix(X), Y)
    fails("Complex data not supported", X=X + 1j)


def test_features_of_predict():
    fit = LogitRegressor().fit(FRAME, Y)
    with pytest.raises(ValueError, match="X has 3 features, but LogitRegressor is expecting 2"):
        LogitRegressor().fit(X, Y).predict(np.ones((2, 3)))
    with pytest.raises(ValueError, match="feature names"):
        fit.predict(FRAME.rename(columns={"a": "c"}))
    with pytest.raises(ValueError, match="NaN"):
        fit.predict(FRAME.assign(a=np.nan))
    with pytest.raises(ValueError, match="offset has 3 values for 40 rows"):
        fit.predict(FRAME, offset=np.ones(3))


# ---------------------------------------------------------------------------------------------------- outcome


@pytest.mark.parametrize("y", [np.ones(N), np.zeros(N, dtype=int), ["yes"] * N, np.array([True] * N)])
def test_one_class(y):
    message = fails("only one class", y=y)
    assert "both classes" in message
    assert "np." not in message, "the class is shown as the user wrote it"


def test_one_class_left_by_the_weights():
    fails("only one class.*positive weight", sample_weight=(Y == 1) * 1.0)


def test_three_classes():
    fails("Only binary classification is supported", y=np.arange(N) % 3)
    fails("Only binary classification is supported", y=np.array(list("abc"))[np.arange(N) % 3])


def test_continuous_outcome():
    fails("continuous", y=X[:, 0])
    fails("continuous", y=np.where(Y == 1, 0.25, 0.75))


def test_missing_outcome():
    fails("y contains NaN", y=with_value(Y, np.nan))
    fails("y contains infinity", y=with_value(Y, np.inf))
    fails("requires y to be passed", y=None)
    labels = np.array(["no", "yes"], dtype=object)[Y]
    labels[3] = None
    fails("[Mm]issing|NaN|None", y=labels)
    fails("[Mm]issing|NaN|NA", y=pd.Series(["no", "yes"] * (N // 2)).mask(np.arange(N) == 3))


def test_shape_of_outcome():
    fails("y should be a 1d array", y=np.column_stack([Y, Y]))


# ---------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("params", [{}, {"weight_type": "sampling"}], ids=["frequency", "sampling"])
def test_weights(params):
    fails("sample_weight: every weight is zero", sample_weight=np.zeros(N), params=params)
    fails("Negative values.*1 negative weights, first in row 7 .-2", sample_weight=with_value(ONES, -2), params=params)
    fails("sample_weight has 1 missing or infinite values, first in row 7", sample_weight=with_value(ONES, np.nan))
    fails("sample_weight has 1 missing or infinite values, first in row 7", sample_weight=with_value(ONES, np.inf))
    fails("sample_weight has 39 values for 40 rows", sample_weight=ONES[1:], params=params)
    fails("must be 1D", sample_weight=np.ones((N, 2)), params=params)
    fails("sample_weight must be numbers", sample_weight=["heavy"] * N, params=params)


# ----------------------------------------------------------------------------------------------------- offset


def test_offset():
    fails("offset has 1 missing or infinite values, first in row 7", offset=with_value(ONES, np.nan))
    fails("offset has 39 values for 40 rows", offset=ONES[1:])
    fails("offset must be numbers", offset=["much"] * N)
    fails("offset must be one-dimensional", offset=np.ones((N, 2)))


# ----------------------------------------------------------------------------------------------------- groups


def test_groups():
    fails("'group' has 39 labels for 40 rows", groups=G[1:])
    fails("'school' has 39 labels", groups=pd.Series(G[1:], name="school"))
    fails("'group' is missing in 1 rows, first in row 7", groups=with_value(G, np.nan))
    fails("'group1' is missing in 1 rows, first in row 7", groups=np.column_stack([G, with_value(G, np.nan)]))
    fails("no columns", groups=np.zeros((N, 0)))
    fails("one- or two-dimensional", groups=np.zeros((N, 2, 2)))
    fails("labels for 40 rows", groups="school")


def test_covariance_that_does_not_fit():
    fails("cov_type='cluster' needs the clusters: pass groups=", params={"cov_type": "cluster"})
    fails("set weight_type='sampling'", params={"cov_type": "design"})
    fails("set weight_type='sampling'", strata=G)
    fails("set weight_type='sampling'", fpc=np.full(N, 100))
    LogitRegressor(weight_type="sampling", cov_type="cluster").fit(X, Y, groups=np.column_stack([G, np.arange(N) % 9]))


def test_metadata_are_keywords():
    with pytest.raises(TypeError, match="positional"):
        LogitRegressor().fit(X, Y, G)
    with pytest.raises(TypeError, match="positional"):
        LogitRegressor(None, 1.0)


# ------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("penalty", "l1"),
        ("C", 0),
        ("C", -1.0),
        ("fit_intercept", "yes"),
        ("weight_type", "precision"),
        ("cov_type", "hc3"),
        ("max_iter", 0),
        ("tol", 0.0),
        ("tol", "small"),
    ],
)
def test_parameters(name, value):
    fails(f"The '{name}' parameter of LogitRegressor must be", params={name: value})


@pytest.mark.parametrize("C", [np.nan, np.inf])
def test_strength_must_be_a_number(C):
    """A strength of NaN must not fit; an infinite C is no penalty."""
    if np.isnan(C):
        fails("C", params={"penalty": "l2", "C": C})
    else:
        limit = LogitRegressor(penalty="l2", C=1e12).fit(X, Y).coef_
        try:
            fit = LogitRegressor(penalty="l2", C=C).fit(X, Y)
        except ValueError as error:
            assert "C" in str(error)
        else:
            np.testing.assert_allclose(fit.coef_, limit, rtol=1e-6)


def test_a_failed_fit_does_not_break_an_earlier_one():
    """Refused metadata leave an estimator that was fitted before usable, or plainly unfitted."""
    fit = LogitRegressor().fit(FRAME, Y)
    before = coef_table(fit)["estimate"].to_numpy()
    with pytest.raises(ValueError, match="offset"):
        fit.fit(FRAME, Y, offset=ONES[1:])
    np.testing.assert_array_equal(coef_table(fit)["estimate"], before)
