"""Means, totals and ratios of a population: R's survey, closed forms, the linear model of domains, replicates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import skdep.datasets
from skdep import GEERegressor
from skdep.exceptions import WeightWarning
from skdep.inference import coef_table, linear_combinations
from skdep.survey import ReplicateWeights, replicate_weights, survey_design, survey_mean, survey_ratio, survey_total

FOLDER = Path(__file__).parents[1] / "reference"
EXPECTED = json.loads((FOLDER / "estimands.json").read_text())


def packaged(name):
    return pd.read_csv(Path(skdep.datasets.__file__).parent / "data" / f"{name}.csv")


STRAT, CLUS1, CLUS2, NHANES = (packaged(name) for name in ("apistrat", "apiclus1", "apiclus2", "nhanes"))
DESIGNS = {
    "strat": (STRAT, {"sample_weight": STRAT["pw"], "strata": STRAT["stype"], "fpc": STRAT["fpc"]}),
    "clus1": (CLUS1, {"sample_weight": CLUS1["pw"], "groups": CLUS1["dnum"], "fpc": CLUS1["fpc"]}),
    "replaced": (CLUS1, {"sample_weight": CLUS1["pw"], "groups": CLUS1["dnum"]}),
    # the weights follow from the populations of both stages
    "clus2": (CLUS2, {"groups": CLUS2[["dnum", "snum"]], "fpc": CLUS2[["fpc1", "fpc2"]]}),
}
COLUMNS = ["api00", "api99", "enroll", "stype"]


def agrees(table, expected, **tolerance):
    tolerance = {"rtol": 1e-9, "atol": 1e-9 * np.max(np.abs(expected["estimate"])), **tolerance}
    assert_allclose(table["estimate"], expected["estimate"], **tolerance)
    for column in ("std_error", "conf_low", "conf_high"):
        assert_allclose(table[column], expected[column], **tolerance)
    if "df" in expected:
        assert (table["df"] == expected["df"]).all()


# ------------------------------------------------------------------------------------------------------- against R


@pytest.mark.parametrize("name", list(DESIGNS))
def test_means_and_totals_against_r(name):
    frame, design = DESIGNS[name]
    expected = EXPECTED[f"totals_{name}"]
    known = frame["enroll"].notna()
    names = ["api00", "api99", "enroll", "stype[E]", "stype[H]", "stype[M]"]
    for function, kind in ((survey_mean, "mean"), (survey_total, "total")):
        table = function(frame[COLUMNS], domain=known, **design)
        assert list(table.index) == names
        agrees(table, expected[kind])
        single = function(frame["api00"], domain=known, **design)
        assert_allclose(single.to_numpy(), table.loc[["api00"]].to_numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", list(DESIGNS))
def test_domains_against_r(name):
    frame, design = DESIGNS[name]
    expected = EXPECTED[f"totals_{name}"]
    inside = frame["enroll"].notna() & (frame["sch.wide"] == "Yes") & (frame["ell"] > 5)
    for function, kind in ((survey_mean, "mean"), (survey_total, "total")):
        agrees(function(frame[["api00", "api99"]], domain=inside, **design), expected[f"domain_{kind}"])
        by_type = expected[f"by_{kind}"]
        n_units = EXPECTED[f"totals_{name}"]["mean"]["df"]
        table = function(
            frame[["api00", "api99"]], by=frame["stype"], domain=frame["enroll"].notna(), df=n_units, **design
        )
        order = [(level, column) for column in ("api00", "api99") for level in ("E", "H", "M")]
        agrees(table.loc[order], by_type)
        assert table.index.names == ["stype", "variable"]


@pytest.mark.parametrize("name", list(DESIGNS))
def test_ratios_against_r(name):
    frame, design = DESIGNS[name]
    expected, known = EXPECTED[f"totals_{name}"], frame["enroll"].notna()
    table = survey_ratio(frame[["api.stu", "api00"]], frame["enroll"], domain=known, **design)
    agrees(table, expected["ratio"])
    agrees(survey_ratio(frame["api00"], frame["api99"], domain=known, **design), expected["plain_ratio"])


def test_nhanes_against_r():
    """Strata whose units have numbers that restart, and outcomes that are not known of all."""
    rows = NHANES[NHANES["WTMEC2YR"].notna()]
    design = {"sample_weight": rows["WTMEC2YR"], "strata": rows["SDMVSTRA"], "groups": rows["SDMVPSU"]}
    known = rows["HI_CHOL"].notna()
    agrees(survey_mean(rows["HI_CHOL"], domain=known, **design), EXPECTED["totals_nhanes"]["mean"])
    women = survey_mean(rows["HI_CHOL"], domain=known & (rows["RIAGENDR"] == 2), **design)
    agrees(women, EXPECTED["totals_nhanes"]["women"])


# ---------------------------------------------------------------------------------------------------- closed forms


def test_simple_random_sample():
    y = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    n, N = len(y), 50
    mean = survey_mean(y, fpc=np.full(n, N)).iloc[0]
    se = np.sqrt((1 - n / N) * y.var(ddof=1) / n)
    assert (mean["estimate"], mean["std_error"], mean["df"]) == pytest.approx((y.mean(), se, n - 1), rel=1e-12)
    assert mean["conf_high"] == pytest.approx(y.mean() + stats.t.ppf(0.975, n - 1) * se, rel=1e-12)
    total = survey_total(y, survey_design(n, fpc=np.full(n, N)), level=0.9, df="normal").iloc[0]
    assert (total["estimate"], total["std_error"]) == pytest.approx((N * y.mean(), N * se), rel=1e-12)
    assert total["conf_low"] == pytest.approx(N * y.mean() - stats.norm.ppf(0.95) * N * se, rel=1e-12)


def test_a_domain_of_a_simple_random_sample():
    """The variance of Särndal, Swensson and Wretman (1992), section 5.8: the size of the domain is random."""
    rng = np.random.default_rng(0)
    y, inside, n, N = rng.normal(5, 2, size=40), rng.random(40) < 0.4, 40, 300
    row = survey_mean(y, fpc=np.full(n, N), domain=inside).iloc[0]
    deviations = np.where(inside, y - y[inside].mean(), 0.0)
    variance = (1 - n / N) * n / (n - 1) * (deviations**2).sum() / inside.sum() ** 2
    assert row["std_error"] == pytest.approx(np.sqrt(variance), rel=1e-12)
    total = survey_total(y, fpc=np.full(n, N), domain=inside).iloc[0]
    padded = np.where(inside, y, 0.0)
    assert total["std_error"] == pytest.approx(np.sqrt(N**2 * (1 - n / N) * padded.var(ddof=1) / n), rel=1e-12)
    assert total["estimate"] == pytest.approx(N / n * y[inside].sum())


def test_domain_means_are_coefficients_of_indicators():
    frame, design = DESIGNS["clus1"]
    kinds = pd.get_dummies(frame["stype"]).astype(float)
    fit = GEERegressor(fit_intercept=False).fit(kinds, frame["api00"], **design)
    table = survey_mean(frame["api00"], by=frame["stype"], **design)
    assert_allclose(table[["estimate", "std_error"]], coef_table(fit)[["estimate", "std_error"]], rtol=1e-9)
    assert list(table.index) == ["E", "H", "M"]
    whole = GEERegressor().fit(pd.DataFrame(index=frame.index), frame["api00"], **design)
    assert_allclose(
        survey_mean(frame["api00"], **design)[["estimate", "std_error", "df"]],
        linear_combinations(whole, ["Intercept"])[["estimate", "std_error", "df"]],
        rtol=1e-9,
    )


def test_domains_by_several_labels():
    frame, design = DESIGNS["strat"]
    labels = frame[["stype", "sch.wide"]]
    table = survey_mean(frame["api00"], by=labels, **design)
    assert table.to_frame().index.names == ["stype", "sch.wide"]
    assert list(table.index) == [(kind, met) for kind in "EHM" for met in ("No", "Yes")]
    for (kind, met), row in table.to_frame().iterrows():
        alone = survey_mean(frame["api00"], domain=(frame["stype"] == kind) & (frame["sch.wide"] == met), **design)
        assert_allclose(row, alone.to_frame().iloc[0], rtol=1e-12)
    arrays = survey_mean(frame["api00"], by=labels.to_numpy(), **design)
    assert_allclose(arrays, table, rtol=1e-12)
    some = labels.where(frame["sch.wide"] == "Yes")
    with pytest.warns(UserWarning, match="by is missing in .* in no domain"):
        left = survey_mean(frame["api00"], by=some, **design)
    assert_allclose(left, table.to_frame().xs("Yes", level=1, drop_level=False), rtol=1e-12)


def test_shares_and_counts():
    frame, design = DESIGNS["strat"]
    shares = survey_mean(frame["sch.wide"], **design)
    yes = survey_mean(frame["sch.wide"] == "Yes", **design)
    assert_allclose(shares.loc["sch.wide[Yes]"], yes.iloc[0], rtol=1e-12)
    assert shares["estimate"].sum() == pytest.approx(1.0)
    counts = survey_total(frame["sch.wide"], **design)
    assert counts["estimate"].sum() == pytest.approx(frame["pw"].sum())
    assert_allclose(counts["std_error"], counts["std_error"].iloc[0], rtol=1e-9)
    category = frame["sch.wide"].astype(pd.CategoricalDtype(["Yes", "No", "Never"]))
    assert list(survey_mean(category, **design).index) == ["sch.wide[Yes]", "sch.wide[No]"]


def test_scale_and_order_of_rows():
    frame, design = DESIGNS["clus1"]
    table = survey_mean(frame[["api00", "api99"]], **design)
    shuffled = np.random.default_rng(0).permutation(len(frame))
    again = survey_mean(
        frame[["api00", "api99"]].to_numpy()[shuffled],
        **{name: np.asarray(part)[shuffled] * (7.0 if name == "sample_weight" else 1) for name, part in design.items()},
    )
    assert_allclose(again.to_numpy(), table.to_numpy(), rtol=1e-10)
    assert list(again.index) == ["x0", "x1"]


# ------------------------------------------------------------------------------------------------------ replicates


def test_over_replicates():
    """The jackknife of a mean by hand, and of a total, where it is the linearised variance."""
    frame, design = DESIGNS["replaced"]
    made = replicate_weights("jk1", frame["pw"], groups=frame["dnum"])
    totals = survey_total(frame[["api00", "api99"]], made)
    assert_allclose(totals.to_numpy(), survey_total(frame[["api00", "api99"]], **design).to_numpy(), rtol=1e-9)
    inside = (frame["stype"] == "E").to_numpy()
    row = survey_mean(frame["api00"], made, domain=inside).iloc[0]
    W = made.weights * inside[:, None]
    means = frame["api00"].to_numpy() @ W / W.sum(axis=0)
    assert row["std_error"] ** 2 == pytest.approx(made.scale * ((means - means.mean()) ** 2).sum(), rel=1e-10)
    assert row["df"] == len(np.unique(frame["dnum"][inside])) - 1
    plain = ReplicateWeights(made.weights, scale=made.scale)
    again = survey_mean(frame["api00"], plain, sample_weight=frame["pw"], domain=inside)
    assert_allclose(again.iloc[0], row, rtol=1e-10)
    with pytest.raises(ValueError, match="lack those of the full sample"):
        survey_mean(frame["api00"], plain)


def test_a_ratio_over_replicates():
    """By hand: without one district after the other, scaled for the finite population; near the linearised error."""
    frame, design = DESIGNS["clus1"]
    made = replicate_weights("jk1", frame["pw"], groups=frame["dnum"], fpc=frame["fpc"])
    found = survey_ratio(frame["api.stu"], frame["enroll"], made)["std_error"].iloc[0]
    districts = frame["dnum"].unique()
    without = [frame[frame["dnum"] != district] for district in districts]
    ratios = np.array([part["api.stu"].sum() / part["enroll"].sum() for part in without])
    n = len(districts)
    variance = (1 - n / frame["fpc"][0]) * (n - 1) / n * ((ratios - ratios.mean()) ** 2).sum()
    assert found == pytest.approx(np.sqrt(variance), rel=1e-9)
    linearised = survey_ratio(frame["api.stu"], frame["enroll"], **design)["std_error"].iloc[0]
    assert found == pytest.approx(linearised, rel=0.2)


# -------------------------------------------------------------------------------------------------------- refusals


def test_rows_without_weights():
    frame, _ = DESIGNS["clus1"]
    with pytest.warns(WeightWarning, match="all rows weigh the same"):
        row = survey_mean(frame["api00"], groups=frame["dnum"]).iloc[0]
    assert row["estimate"] == pytest.approx(frame["api00"].mean())
    with (
        pytest.warns(WeightWarning),
        pytest.raises(ValueError, match="how many members of the population a row stands for"),
    ):
        survey_total(frame["api00"], groups=frame["dnum"])


@pytest.mark.filterwarnings("ignore:by is missing")
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"values": STRAT["enroll"].where(STRAT.index != 7)}, "1 rows of 'enroll' are missing, first in row 7"),
        ({"values": np.where(STRAT.index == 3, np.inf, 1.0)}, "infinite values, first in row 3"),
        ({"values": pd.Series(pd.Timestamp("2020-01-01"), index=STRAT.index, name="d")}, "'d' are dates"),
        ({"values": np.ones((200, 1, 1))}, "one column or several"),
        ({"domain": np.zeros(200, dtype=bool)}, "no row of positive weight"),
        ({"domain": np.arange(200)}, "must be a boolean for each"),
        ({"domain": [True]}, "must be a boolean for each"),
        ({"domain": pd.array([True, None] * 100, dtype="boolean")}, "missing in 100 rows, first in row 1"),
        ({"by": ["a"]}, "by has 1 labels for 200 rows"),
        ({"by": [None] * 200}, "no row of positive weight"),
        ({"design": survey_design(200)}, "give one or the other"),
        ({"design": survey_design(10), "strata": None, "fpc": None}, "The design has 10 rows, and values 200"),
        ({"df": "residual"}, "'normal' or a positive number"),
        ({"df": -1.0}, "'normal' or a positive number"),
        ({"level": 95}, "between 0 and 1"),
        ({"sample_weight": np.zeros(200)}, "every weight is zero"),
    ],
)
def test_refusals(change, problem):
    given = {"values": STRAT["api00"], **DESIGNS["strat"][1], **change}
    with pytest.raises(ValueError, match=problem):
        survey_mean(given.pop("values"), given.pop("design", None), **given)


def test_refused_denominators():
    with pytest.raises(ValueError, match="one number a row"):
        survey_ratio(STRAT["api00"], STRAT[["api00", "api99"]], **DESIGNS["strat"][1])
    with pytest.raises(ValueError, match="adds up to zero"):
        survey_ratio(STRAT["api00"], np.zeros(200), **DESIGNS["strat"][1])


@pytest.mark.parametrize("estimate", [survey_mean, survey_total])
def test_a_domain_within_a_stratum_of_one_unit_has_no_standard_error(estimate):
    """Under `lonely_psu="average"`, where R has NaN too; strata outside of the domain, all 0, are no average."""
    rng = np.random.default_rng(0)
    strata, units = np.repeat(["a", "b", "c"], [6, 6, 3]), np.r_[np.repeat(np.arange(6), 2), 6, 6, 6]
    y, weights = rng.normal(size=15), rng.uniform(1.0, 3.0, 15)
    design = survey_design(15, groups=units, strata=strata, weights=weights, lonely_psu="average")
    errors = estimate(y, design, sample_weight=weights, by=strata)["std_error"]
    assert errors.isna().tolist() == [False, False, True]
    assert (errors[["a", "b"]] > 0).all()
