"""`FormulaTransformer` as a scikit-learn transformer."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from skdep import GEEClassifier, LogitRegressor
from skdep.formula import FormulaTransformer

from .data import design_rows, table


def test_conventions_of_scikit_learn():
    frame = design_rows()
    transformer = FormulaTransformer("y ~ a * scale(x)")
    with pytest.raises(NotFittedError):
        transformer.transform(frame)
    out = transformer.fit_transform(frame)
    assert list(out.columns) == list(transformer.get_feature_names_out())
    assert transformer.n_features_in_ == frame.shape[1]
    assert list(transformer.feature_names_in_) == list(frame.columns)
    assert clone(transformer).get_params() == transformer.get_params()
    again = pickle.loads(pickle.dumps(transformer))
    pd.testing.assert_frame_equal(again.transform(frame), out)
    assert "data" not in vars(transformer)
    assert len(pickle.dumps(FormulaTransformer("a * scale(x)").fit(pd.concat([frame] * 200)))) < 10_000


def test_outcome_is_left_alone():
    frame = design_rows()
    with_outcome = FormulaTransformer("log(y) ~ a + x").fit_transform(frame)
    pd.testing.assert_frame_equal(with_outcome, FormulaTransformer("~ a + x").fit_transform(frame))
    FormulaTransformer("y ~ a + x").fit(frame).transform(frame.drop(columns="y"))


def test_set_output_and_index():
    frame = design_rows().set_index(pd.Index(range(100, 116)))
    transformer = FormulaTransformer("a + x").set_output(transform="pandas")
    out = transformer.fit_transform(frame)
    assert isinstance(out, pd.DataFrame) and out.index.equals(frame.index)
    assert (out.dtypes == np.float64).all()


def test_intercept_is_a_column_only_if_asked_for():
    frame = design_rows()
    assert "Intercept" not in FormulaTransformer("x").fit_transform(frame)
    with_ones = FormulaTransformer("x", include_intercept=True).fit(frame)
    assert list(with_ones.get_feature_names_out()) == ["Intercept", "x"]
    assert (with_ones.transform(frame)["Intercept"] == 1.0).all()
    none = FormulaTransformer("0 + a", include_intercept=True).fit(frame)
    assert list(none.get_feature_names_out()) == ["a[p]", "a[q]", "a[r]"] and not none.fit_intercept_


def test_statistics_of_training_rows_are_kept():
    frame = design_rows()
    transformer = FormulaTransformer("scale(x) + center(z) + poly(z, 2)").fit(frame)
    other = frame.assign(x=frame["x"] + 5.0, z=frame["z"] * 2.0)
    out = transformer.transform(other)
    np.testing.assert_allclose(out["scale(x)"], (other["x"] - frame["x"].mean()) / frame["x"].std())
    np.testing.assert_allclose(out["center(z)"], other["z"] - frame["z"].mean())
    basis = np.column_stack([np.ones(len(frame)), frame["z"], frame["z"] ** 2])
    quadratic = transformer.transform(frame)[["poly(z, 2)[1]", "poly(z, 2)[2]"]]
    solved = np.linalg.lstsq(basis, quadratic, rcond=None)[0]
    expected = np.column_stack([np.ones(len(other)), other["z"], other["z"] ** 2]) @ solved
    np.testing.assert_allclose(out[["poly(z, 2)[1]", "poly(z, 2)[2]"]], expected, atol=1e-10)


def test_pipeline_gives_the_same_as_features_made_by_hand():
    frame = table("respiratory")
    pipe = make_pipeline(FormulaTransformer("treat * sex + I(age > 30)"), LogitRegressor())
    pipe.fit(frame, frame["outcome"])
    by_hand = pd.DataFrame({"p": frame["treat"] == "P", "m": frame["sex"] == "M", "old": frame["age"] > 30}).astype(
        float
    )
    by_hand.insert(3, "both", by_hand["p"] * by_hand["m"])
    expected = LogitRegressor().fit(by_hand.to_numpy(), frame["outcome"])
    np.testing.assert_allclose(pipe[-1].coef_, expected.coef_, rtol=1e-8)
    np.testing.assert_allclose(pipe.predict_proba(frame), expected.predict_proba(by_hand.to_numpy()), rtol=1e-8)


def test_searching_over_formulas_with_grouped_folds():
    frame = table("respiratory")
    pipe = make_pipeline(FormulaTransformer("treat"), GEEClassifier())
    scores = cross_val_score(pipe, frame, frame["outcome"], groups=frame["person"], cv=GroupKFold(3))
    assert len(scores) == 3 and np.isfinite(scores).all()
    search = GridSearchCV(
        pipe,
        {"formulatransformer__formula": ["treat", "treat + bs(age, df = 4)", "treat * baseline"]},
        cv=GroupKFold(3),
        scoring="neg_log_loss",
    )
    with pytest.warns(UserWarning, match="beyond the boundary knots"):
        search.fit(frame, frame["outcome"], groups=frame["person"])
    assert search.best_params_["formulatransformer__formula"] == "treat * baseline"


def test_a_level_that_training_rows_lack():
    train = pd.DataFrame({"g": ["b", "a", "b"], "x": [1.0, 2.0, 3.0]})
    new = pd.DataFrame({"g": ["a", "c", "d", "c"], "x": 0.0})
    transformer = FormulaTransformer("g").fit(train)
    with pytest.raises(
        ValueError, match=r"Column 'g' has levels .* 'c', 'd', in 3 rows, first in row 1; it knows 'a', 'b'"
    ):
        transformer.transform(new)
    declared = train.assign(g=pd.Categorical(train["g"], categories=["a", "b", "c", "d"]))
    out = FormulaTransformer("g").fit(declared).transform(new)
    np.testing.assert_array_equal(out, [[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]])


def test_missing_values_are_named():
    frame = design_rows()
    frame.loc[[3, 5], "x"] = np.nan
    frame.loc[5, "a"] = None
    transformer = FormulaTransformer("a + x")
    with pytest.raises(ValueError, match=r"missing in 2 of 16 rows, first in row 3, in columns 'a' \(1\), 'x' \(2\)"):
        transformer.fit(frame)
    transformer.fit(frame.dropna())
    with pytest.raises(ValueError, match="missing in 2 of 16 rows"):
        transformer.transform(frame)
    FormulaTransformer("b + z").fit(frame)


@pytest.mark.parametrize(
    ("formula", "problem"),
    [
        ("y ~ x + (1 | a)", "random effects, which are no features"),
        ("y ~ x + offset(z)", "cannot reach the estimator"),
        ("y ~ xx", "no column 'xx'. Is 'x' meant"),
        ("y ~ logg(x)", r"logg\(\) is not known. Is log\(\) meant"),
        ("y ~ log(z, 2, 3)", "too many positional arguments"),
        ("y ~ log(x)", r"log\(x\) is no finite number in"),
        ("y ~ a + log(a)", "needs numbers, and gets categories"),
        ("y ~ poly(w, 5)", "needs more than 5 different values"),
        ("y ~ cut(z, 3)", "needs its breaks"),
        ('y ~ relevel(a, ref = "zz")', "'zz' is no level"),
        ("y ~ C(a, contr.wrong)", "not known; there are contr"),
        ("y ~ factor(a, levels = c('p', 'q'))", "lack 'r'"),
        ("y ~ as.numeric(a)", "say which numbers are meant"),
        ("y ~ a < 'q'", "can be compared by == and != only"),
        ("y ~ ifelse(x > 0, 'up', 1)", "mixes categories and numbers"),
    ],
)
def test_errors(formula, problem):
    with pytest.raises(ValueError, match=problem):
        FormulaTransformer(formula).fit(design_rows())


def test_other_errors():
    with pytest.raises(TypeError, match="must be a DataFrame"):
        FormulaTransformer("x").fit(np.ones((3, 2)))
    dates = design_rows().assign(day=pd.date_range("2020-01-01", periods=16))
    with pytest.raises(ValueError, match="dates or durations"):
        FormulaTransformer("day").fit(dates)
    with pytest.raises(ValueError, match="has a single level"):
        FormulaTransformer("a").fit(design_rows().assign(a="p"))
    with pytest.raises(ValueError, match="several columns the same name"):
        FormulaTransformer("a:x + `a[p]:x`").fit(design_rows().assign(**{"a[p]:x": 1.0}))


def test_types_of_columns():
    frame = pd.DataFrame(
        {
            "text": ["u", "v", "u", "w"],
            "category": pd.Categorical(["u", "v", "u", "w"], categories=["w", "v", "u"]),
            "ordered": pd.Categorical(["u", "v", "u", "w"], categories=["w", "v", "u"], ordered=True),
            "flag": [True, False, True, True],
            "whole": pd.array([1, 2, 3, 4], dtype="Int64"),
            "objects": pd.Series([1.5, 2.5, 3.5, 4.5], dtype=object),
        }
    )
    out = FormulaTransformer("text + category + ordered + flag + whole + objects").fit_transform(frame)
    expected = "text[T.v] text[T.w] category[T.v] category[T.u] ordered[T.v] ordered[T.u] flag[T.True] whole objects"
    assert list(out.columns) == expected.split()
    np.testing.assert_array_equal(out["category[T.u]"], [1, 0, 1, 0])
    np.testing.assert_array_equal(out["flag[T.True]"], [1, 0, 1, 1])
    np.testing.assert_array_equal(out["whole"], [1, 2, 3, 4])


def test_functions_of_the_user_and_of_numpy():
    frame = design_rows()
    out = FormulaTransformer("double(x) + np.log1p(z)", functions={"double": lambda x: 2 * x}).fit_transform(frame)
    np.testing.assert_allclose(out["double(x)"], 2 * frame["x"])
    np.testing.assert_allclose(out["np.log1p(z)"], np.log1p(frame["z"]))


def test_cubic_splines_of_formulaic():
    frame = design_rows()
    transformer = FormulaTransformer("cr(z, df = 4)").fit(frame)
    out = transformer.transform(frame)
    assert list(out.columns) == [f"cr(z, df = 4)[{k}]" for k in range(1, 5)]
    pd.testing.assert_frame_equal(transformer.transform(frame.head(3)), out.head(3))


def test_natural_splines_are_smooth_and_straight_outside():
    frame = design_rows()
    transformer = FormulaTransformer("ns(z, df = 4)").fit(frame)
    grid = pd.DataFrame({"z": np.linspace(-5.0, 20.0, 2001)})
    with pytest.warns(UserWarning, match="beyond the boundary knots"):
        curves = transformer.transform(grid).to_numpy()
    bend = np.abs(np.diff(curves, n=2, axis=0)).max(axis=1)
    z = grid["z"].to_numpy()[1:-1]
    outside = (z < frame["z"].min() - 0.1) | (z > frame["z"].max() + 0.1)
    assert bend[outside].max() < 1e-12 < bend[~outside].max()
    target = 3.0 - 2.0 * frame["z"]
    assert (
        LinearRegression().fit(transformer.transform(frame), target).score(transformer.transform(frame), target)
        > 1 - 1e-10
    )


def test_without_formulaic_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "formulaic", None)
    with pytest.raises(ImportError, match=r"pip install 'skdep\[formula\]'"):
        FormulaTransformer("x").fit(design_rows())
    with pytest.raises(ImportError, match=r"skdep\[formula\]"):
        LogitRegressor.from_formula("k ~ x", design_rows())
