"""Columns of features against R's model.matrix."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from skdep.formula import FormulaTransformer
from skdep.formula._terms import expand
from skdep.formula.fitted import fit_formula

from .data import design_rows, reference

FORMULAS = list(reference()["designs"])


def plain(name: str) -> str:
    """Return R's name of one of our columns: ``a[T.q]:x`` is ``aq:x``."""
    name = re.sub(r"\[(?:T\.)?([^\]]*)\]", lambda match: match[1], name)
    return name.replace("True", "TRUE").replace("False", "FALSE")


def rows_of(formula: str) -> pd.DataFrame:
    frame = design_rows()
    return frame[["y", "a", "c", "x", "w"]] if re.search(r"\.( |$)", formula) else frame


@pytest.mark.parametrize("formula", FORMULAS)
def test_columns_are_those_of_r(formula):
    entry, frame = reference()["designs"][formula], rows_of(formula)
    fitted = fit_formula(expand(formula, [name for name in frame.columns if name != "y"]), frame)
    if formula == "~ a * . - c":
        fitted = fit_formula(expand(formula, list(frame.columns)), frame)
    expected = np.array(entry["values"])
    assert fitted.fit_intercept == (entry["names"][0] == "(Intercept)")
    expected = expected[:, int(fitted.fit_intercept) :]
    features = fitted.features(frame)
    np.testing.assert_allclose(features.to_numpy(), expected, atol=1e-12, rtol=1e-9)
    assert features.index.equals(frame.index)
    if "offset" in entry:
        np.testing.assert_allclose(fitted.offset(frame), entry["offset"], rtol=1e-12)


@pytest.mark.parametrize("formula", [f for f in FORMULAS if "new" in reference()["designs"][f]])
def test_new_rows_are_coded_by_what_was_learnt_of_the_old_ones(formula):
    entry, frame = reference()["designs"][formula], rows_of(formula)
    fitted = fit_formula(expand(formula), frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        features = fitted.features(design_rows("new")).to_numpy()
    expected = np.array(entry["new"])[:, int(fitted.fit_intercept) :]
    np.testing.assert_allclose(features, expected, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize(
    "formula", [f for f in FORMULAS if not re.search(r"C\(|ordered|`|interaction|offset|-x|x / z|I\(|ns\(z\)", f)]
)
def test_names_of_columns_are_rs_with_levels_in_brackets(formula):
    frame = rows_of(formula)
    fitted = fit_formula(expand(formula, [n for n in frame.columns if n != "y" or "a *" in formula]), frame)
    expected = reference()["designs"][formula]["names"][int(fitted.fit_intercept) :]
    squeezed = [re.sub(r"[\s\"]", "", plain(name)) for name in fitted.feature_names]
    assert squeezed == [re.sub(r"[\s\"\\]", "", name) for name in expected]


def test_names_are_formulaics():
    formulaic = pytest.importorskip("formulaic")
    frame = design_rows()
    for formula in (
        "a * b",
        "x + z",
        "a * x",
        "a / b",
        "0 + a + b",
        "x:a",
        "poly(x, 2)",
        "a + a:b",
        "scale(x)",
        "bs(x, df=4)",
    ):
        theirs = [name for name in formulaic.model_matrix(formula, frame).columns if name != "Intercept"]
        ours = FormulaTransformer(formula).fit(frame).get_feature_names_out()
        assert [name.replace(" = ", "=") for name in ours] == theirs


def test_unused_levels_are_kept_in_a_transformer_only():
    frame = pd.DataFrame({"g": pd.Categorical(["b", "a", "b"], categories=["c", "b", "a"]), "x": [1.0, 2.0, 3.0]})
    assert list(FormulaTransformer("g").fit(frame).get_feature_names_out()) == ["g[T.b]", "g[T.a]"]
    assert fit_formula(expand("~ g"), frame).feature_names == ("g[T.a]",)


def test_order_of_columns_does_not_depend_on_the_order_of_rows():
    frame = design_rows()
    shuffled = frame.sample(frac=1.0, random_state=0)
    fitted = fit_formula(expand("~ a * poly(z, 2) + scale(x)"), shuffled)
    again = fit_formula(expand("~ a * poly(z, 2) + scale(x)"), frame)
    pd.testing.assert_frame_equal(fitted.features(frame), again.features(frame), atol=1e-12)


def test_a_row_alone_is_coded_as_among_others():
    frame = design_rows()
    formula = '~ relevel(factor(a), ref = "q") * scale(x) + interaction(a, b) + factor(w) + cut(z, c(0, 5, 10))'
    fitted = fit_formula(expand(formula), frame)
    every = fitted.features(frame)
    for row in (0, 5, 12):
        pd.testing.assert_frame_equal(fitted.features(frame.iloc[[row]]), every.iloc[[row]])
