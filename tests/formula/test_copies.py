"""Copies of a fit by formula, which cross-validation and searches fit, do not take raw data for features."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from skdep import GEERegressor, LogitRegressor, MixedLinear
from skdep.formula import FormulaTransformer

from .data import table

FRAME = table("seizure").select_dtypes("number")
MODEL = GEERegressor.from_formula(
    "y ~ x * trt + offset(log(weeks))", FRAME, family="poisson", groups="id", working_correlation="exchangeable"
)


def test_copies_have_the_parameters_and_no_fit():
    copy = clone(MODEL)
    assert repr(copy) == repr(MODEL)
    assert not hasattr(copy, "formula_") and not hasattr(copy, "coef_")
    given = MODEL.formula_.fit_arguments(FRAME)
    np.testing.assert_array_equal(copy.fit(**given).coef_, MODEL.coef_)
    np.testing.assert_array_equal(clone(copy).fit(**{**given, "X": given["X"].to_numpy()}).coef_, MODEL.coef_)


@pytest.mark.parametrize("copied", [clone, lambda est: clone(clone(est)), lambda est: clone(est).set_params(dof="n")])
def test_raw_data_are_refused(copied):
    with pytest.raises(ValueError, match=r"a copy of the fit by the formula 'y ~ x \* trt .*FormulaTransformer"):
        copied(MODEL).fit(FRAME, FRAME["y"], groups=FRAME["id"])
    with pytest.raises(ValueError, match="is a copy"):  # only the columns of features, but not the features
        copied(MODEL).fit(FRAME[["x", "trt"]], FRAME["y"], groups=FRAME["id"])


def test_outcomes_do_not_leak_into_cross_validation():
    with pytest.raises(ValueError, match="is a copy"):
        cross_val_score(MODEL, FRAME, FRAME["y"], cv=GroupKFold(3), groups=FRAME["id"], error_score="raise")
    search = GridSearchCV(MODEL, {"dof": ["n", "n-p"]}, cv=GroupKFold(3), error_score="raise")
    with pytest.raises(ValueError, match="is a copy"):
        search.fit(FRAME, FRAME["y"], groups=FRAME["id"])
    pipe = make_pipeline(FormulaTransformer("~ x * trt"), clone(MODEL))
    assert np.isfinite(cross_val_score(pipe, FRAME, FRAME["y"], cv=GroupKFold(3), groups=FRAME["id"])).all()


def test_features_of_other_names_are_fitted():
    """A copy may be fitted to something else: only what the formula would have read is refused."""
    model = MixedLinear.from_formula("y ~ x + (1 | id)", FRAME)
    other = clone(model).fit(FRAME[["x", "trt"]], FRAME["y"], groups=FRAME["id"])
    assert list(other.feature_names_in_) == ["x", "trt"]
    assert clone(model).fit(FRAME[["weeks"]], FRAME["y"], groups=FRAME["id"]).n_features_in_ == 1
    with pytest.raises(ValueError, match="is a copy"):
        clone(model).fit(FRAME[["x", "id"]], FRAME["y"], groups=FRAME["id"])


def test_fits_without_formula_have_none_to_remember():
    model = LogitRegressor().fit(FRAME[["x"]], FRAME["y"] > 5)
    assert vars(clone(model)) == vars(LogitRegressor())
