"""The verdict: what is advised for which evidence, and that it quotes the figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from skdep.inference._weight_verdict import Evidence, decide, verdict
from skdep.survey import DesignSummary

NAME = "hausman-pfeffermann"
DESIGN = DesignSummary(120, 1, 119, 1, False, False, (), "fail")


def evidence(p_value=0.4, change=(0.1, -0.3, 0.2), ratio=1.25, single=(0.5, 0.2, 0.7), **options):
    table = pd.DataFrame(
        {
            "unweighted": [1.0, 2.0, 3.0],
            "weighted": 1.0 + np.arange(3) + 0.1 * np.array(change),
            "change": change,
            "se_ratio": ratio,
            "p_value": single,
        },
        index=["Intercept", "dose", "age"],
    )
    tests = pd.DataFrame(
        {
            "statistic": [1.234, 0.5],
            "df": [3.0, 3.0],
            "df_denominator": [117.0, np.nan],
            "p_value": [p_value, 0.6],
            "reason": ["", ""],
        },
        index=[NAME, "permutation"],
    )
    defaults = {"jointly": True, "alpha": 0.05, "kish_deff": 1.5, "effective_size": 400.0, "n_rows": 600}
    defaults |= {"design": DESIGN, "constant": False, "deciding": NAME, "p_value": p_value}
    return Evidence(table=table, tests=tests, **{**defaults, **options})


def test_weights_that_do_nothing_but_cost_precision():
    words = verdict(evidence())
    assert not evidence().needed
    for part in (
        "No evidence that the weights are needed",
        "F = 1.23 on 3 and 117, p = 0.40",
        "The largest change is that of dose, by -0.30 standard errors",
        "(2 to 1.97)",
        "25% larger",
        "Kish's design effect is 1.50: 600 rows are worth about 400",
        "Report the unweighted fit: it is more precise.",
    ):
        assert part in words
    assert "near 0.05" not in words


def test_weights_that_change_coefficients():
    found = evidence(0.001, (0.2, 1.8, -0.1), single=(0.3, 0.0005, 0.4))
    assert found.needed
    words = verdict(found)
    for part in (
        "The weights are informative",
        "p = 0.001",
        "dose, by +1.80",
        "Report the weighted fit",
        "look for design variables",
        "clearest for dose (Holm-adjusted)",
    ):
        assert part in words
    assert "p < 0.0001" in verdict(evidence(1e-9))


def test_change_of_all_coefficients_together():
    words = verdict(evidence(0.01))
    assert "Taken one by one the coefficients do not change beyond chance, but together they do" in words
    tests = evidence().tests
    slopes = pd.DataFrame({**tests.loc[[NAME]].to_dict("list"), "p_value": [0.63]}, index=[f"{NAME} (slopes)"])
    with_slopes = replace(evidence(0.01), tests=pd.concat([evidence(0.01).tests, slopes]))
    assert "The slopes by themselves do not change beyond chance (p = 0.63)" in verdict(with_slopes)


def test_holm_goes_on_after_the_first():
    """0.012 times 3 and 0.02 times 2 are below 0.05; 0.06 is not."""
    words = verdict(evidence(0.001, single=(0.06, 0.012, 0.02)))
    assert "clearest for dose, age (Holm" in words


@pytest.mark.parametrize(("p_value", "near"), [(0.02, False), (0.03, True), (0.08, True), (0.12, False)])
def test_borderline(p_value, near):
    assert ("The p-value is near 0.05" in verdict(evidence(p_value))) == near


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"design": replace(DESIGN, degf=7)}, "with 7 degrees of freedom of the design the test has little power"),
        ({"kish_deff": 3.2}, "Kish's effect 3.2"),
        ({"change": (0.1, -1.4, 0.2)}, "more than one standard error, if not beyond chance"),
    ],
)
def test_little_power_is_said(options, words):
    found = verdict(evidence(**options))
    assert "That is no proof that they do not matter: " in found
    assert "Report both fits; if one only, the weighted one" in found
    assert words in found


def test_smaller_standard_errors_are_no_reason_against_the_simpler_fit():
    words = verdict(evidence(ratio=0.9))
    assert "10% smaller" in words
    assert "it is as good, and simpler" in words


def test_tests_that_disagree_are_named():
    found = evidence()
    found.tests.loc["permutation", "p_value"] = 0.01
    assert "these reject at 5% each: permutation" in verdict(found)
    assert "these reject" not in verdict(evidence())


def test_too_few_units_are_decided_by_single_coefficients():
    found = evidence(np.nan, single=(0.5, 0.01, np.nan))
    found.tests.loc[NAME, "reason"] = "3 hypotheses at once need more than the design's 2 degrees of freedom"
    assert decide(found.table, found.tests, NAME) == (0.02, False)
    words = verdict(replace(found, p_value=0.02, jointly=False))
    assert "smallest p of 2 single coefficients, Bonferroni-adjusted: p = 0.02" in words
    found.tests.loc[NAME, "reason"] = "the weighted fit did not converge"
    p_value, jointly = decide(found.table, found.tests, NAME)
    assert np.isnan(p_value)
    assert jointly
    undecided = verdict(replace(found, p_value=p_value))
    assert undecided.startswith("It cannot be told whether the weights are needed: the weighted fit did not converge.")
    assert not replace(found, p_value=p_value).needed


def test_constant_weights():
    assert "nothing to test" in verdict(evidence(np.nan, constant=True))
