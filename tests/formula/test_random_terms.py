"""Random effects of a formula against the names and labels of lme4."""

from __future__ import annotations

import re

import numpy as np
import pytest

from skdep import MixedLinear
from skdep.formula._terms import expand
from skdep.formula.fitted import fit_formula

from .data import design_rows, reference

FORMULAS = list(reference()["random"])


def effect(name: str) -> str:
    name = re.sub(r"\[(?:T\.)?([^\]]*)\]", lambda match: match[1], name)
    return "(Intercept)" if name == "Intercept" else name


@pytest.mark.parametrize("formula", FORMULAS)
def test_factors_and_effects_are_those_of_lme4(formula):
    entry = reference()["random"][formula]
    fitted = fit_formula(expand(formula), design_rows())
    ours = {(name, tuple(map(effect, block))) for name, blocks in fitted.random.blocks.items() for block in blocks}
    assert ours == {(block["factor"], tuple(block["effects"])) for block in entry["blocks"]}


@pytest.mark.parametrize("formula", FORMULAS)
def test_labels_of_levels_are_those_of_lme4(formula):
    entry, frame = reference()["random"][formula], design_rows()
    groups = fit_formula(expand(formula), frame).groups(frame)
    groups = groups.to_frame() if groups.ndim == 1 else groups
    for name, labels in entry["labels"].items():
        assert groups[name].astype(str).tolist() == labels


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("y ~ x + (1 | a)", {"random_slopes": None, "random_intercept": True, "covariance": "full"}),
        ("y ~ x + (x | a)", {"random_slopes": {"a": ["x"]}, "random_intercept": True, "covariance": "full"}),
        ("y ~ x + (x || a)", {"random_slopes": {"a": ["x"]}, "random_intercept": True, "covariance": "diagonal"}),
        ("y ~ x + (0 + x | a)", {"random_slopes": {"a": ["x"]}, "random_intercept": False, "covariance": "full"}),
        (
            "y ~ x + (1 | a) + (0 + x | b)",
            {
                "random_slopes": {"a": [], "b": ["x"]},
                "random_intercept": {"a": True, "b": False},
                "covariance": "full",
            },
        ),
        (
            "y ~ x + z + (1 + x | a) + (0 + z | a)",
            {
                "random_slopes": {"a": ["x", "z"]},
                "random_intercept": True,
                "covariance": {"a": [["Intercept", "x"], ["z"]]},
            },
        ),
        (
            "y ~ x + (x | a) + (x || b)",
            {
                "random_slopes": {"a": ["x"], "b": ["x"]},
                "random_intercept": True,
                "covariance": {"a": "full", "b": "diagonal"},
            },
        ),
        (
            "y ~ x + (z | a)",
            {"random_slopes": {"a": ["z"]}, "random_intercept": True, "covariance": "full", "random_only": ["z"]},
        ),
        (
            "y ~ b + (b || a)",
            {
                "random_slopes": {"a": ["b[u]", "b[v]"]},
                "random_intercept": True,
                "covariance": {"a": [["Intercept"], ["b[u]", "b[v]"]]},
                "random_only": ["b[u]", "b[v]"],
            },
        ),
    ],
)
def test_parameters_of_the_estimators(formula, expected):
    assert fit_formula(expand(formula), design_rows()).random.parameters() == expected


def test_columns_of_random_effects_come_last_and_are_those_of_the_term():
    frame = design_rows()
    fitted = fit_formula(expand("y ~ x + (0 + a:x | b) + (log(z) | c)"), frame)
    assert fitted.feature_names == ("x", "x:a[p]", "x:a[q]", "x:a[r]", "log(z)")
    features = fitted.features(frame)
    np.testing.assert_array_equal(features["x:a[q]"], frame["x"] * (frame["a"] == "q"))
    np.testing.assert_array_equal(features["log(z)"], np.log(frame["z"]))


@pytest.mark.parametrize(
    "formula", ["y ~ x + (1 | a) + (x | a)", "y ~ x + (x | a) + (0 + x | a)", "y ~ (1 | a/b) + (1 | a)"]
)
def test_an_effect_given_twice_is_refused(formula):
    with pytest.raises(ValueError, match="twice, the second time in"):
        fit_formula(expand(formula), design_rows())


@pytest.mark.filterwarnings("ignore:Singular fit")
def test_factors_of_rows_unseen_get_the_population():
    frame = design_rows()
    model = MixedLinear.from_formula("y ~ x + (1 | a/b)", frame, missing="raise")
    new = frame.head(2).assign(a=["p", "new"])
    groups = model.formula_.groups(new)
    assert groups["b:a"].tolist() == ["v:p", "v:new"]
    found = model.predict(new, groups=groups)
    assert found[1] == model.predict(new)[1]
