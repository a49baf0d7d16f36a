"""Designs: what is refused and how, what units and strata are, and what no estimate may depend on."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skdep import LogitRegressor
from skdep.exceptions import WeightWarning
from skdep.inference import coef_table
from skdep.survey import survey_design, variance_of_total
from skdep.survey.linearised import stage_variances, unit_totals

RNG = np.random.default_rng(3)
N = 120
stratum = np.repeat(["a", "b", "c"], 40)
psu = np.tile(np.repeat(np.arange(8), 5), 3)  # labels restart in every stratum
ssu = np.tile(np.repeat(np.arange(3), [2, 2, 1]), 24)  # and in every unit
WEIGHT = RNG.uniform(1.0, 4.0, N)
X = RNG.normal(size=(N, 2))
Y = RNG.random(N) < 1.0 / (1.0 + np.exp(-X[:, 0] - 0.5 * RNG.normal(size=24)[np.arange(N) // 5]))


def fit(rows=slice(None), weight=WEIGHT, *, lonely_psu="fail", **design):
    given = {key: value[rows] for key, value in design.items()}
    model = LogitRegressor(weight_type="sampling", lonely_psu=lonely_psu)
    return model.fit(X[rows], Y[rows], sample_weight=weight[rows], **given)


# ------------------------------------------------------------------------------------------------- units and strata


def test_units_are_nested_in_strata():
    design = survey_design(N, groups=psu, strata=stratum)
    assert (design.n_psus, design.n_strata, design.degf) == (24, 3, 21)
    composite = fit(groups=np.char.add(stratum, psu.astype(str)), strata=stratum)
    assert_allclose(fit(groups=psu, strata=stratum).covariance_, composite.covariance_, rtol=1e-13)


def test_rows_outside_the_domain_count_as_units_but_not_as_degrees_of_freedom():
    weights = np.where((stratum == "a") | (psu == 0), 0.0, 1.0)
    design = survey_design(N, groups=psu, strata=stratum, weights=weights)
    assert (design.n_psus, design.n_strata) == (14, 2)
    assert design.stages[0].n_units.tolist() == [8, 8, 8]


def test_sampling_fractions_and_populations_are_the_same_design():
    population = np.select([stratum == "a", stratum == "b"], [16.0, 20.0], 80.0)
    by_number = fit(groups=psu, strata=stratum, fpc=population)
    by_fraction = fit(groups=psu, strata=stratum, fpc=8.0 / population)
    assert_allclose(by_number.covariance_, by_fraction.covariance_, rtol=1e-13)


def test_an_infinite_population_is_drawn_with_replacement():
    unlimited = fit(groups=psu, strata=stratum, fpc=np.full(N, np.inf))
    assert_allclose(unlimited.covariance_, fit(groups=psu, strata=stratum).covariance_, rtol=1e-13)


def test_a_census_has_no_variance():
    assert_allclose(fit(fpc=np.ones(N)).covariance_, 0.0, atol=1e-30)


def test_one_stratum_is_no_stratum():
    assert_allclose(fit(groups=psu, strata=np.zeros(N)).covariance_, fit(groups=psu).covariance_, rtol=1e-12)


def test_one_stratum_is_no_stratum_for_penalised_estimates_either():
    def covariance(**design):
        model = LogitRegressor("l2", C=0.05, weight_type="sampling", tol=1e-12)
        return model.fit(X, Y, sample_weight=WEIGHT, **design).covariance_

    one = np.zeros(N)
    assert_allclose(covariance(groups=psu), covariance(groups=psu, strata=one), rtol=1e-8)
    assert_allclose(covariance(), covariance(strata=one), rtol=1e-8)


def test_a_stage_without_population_adds_nothing():
    stages = np.column_stack([psu, ssu])
    alone = fit(groups=stages, strata=stratum, fpc=np.full(N, 20.0))
    assert_allclose(alone.covariance_, fit(groups=psu, strata=stratum, fpc=np.full(N, 20.0)).covariance_, rtol=1e-13)
    later = fit(groups=stages, strata=stratum, fpc=np.column_stack([np.full(N, np.inf), np.full(N, 9.0)]))
    assert_allclose(later.covariance_, fit(groups=psu, strata=stratum).covariance_, rtol=1e-13)


def test_each_stage_adds_what_its_units_vary():
    populations = np.column_stack([np.full(N, 20.0), np.full(N, 9.0)])
    design = survey_design(N, groups=np.column_stack([psu, ssu]), strata=stratum, fpc=populations)
    z = RNG.normal(size=(N, 2))
    last = design.stages[-1]
    parts = stage_variances(unit_totals(z, last.unit, len(last.stratum_of_unit)), design)
    first = variance_of_total(z, survey_design(N, groups=psu, strata=stratum, fpc=np.full(N, 20.0)))
    assert_allclose(parts[0], first, rtol=1e-13)
    second = np.zeros((2, 2))
    for name in "abc":
        for unit in range(8):
            inside = (stratum == name) & (psu == unit)
            totals = np.array([z[inside & (ssu == k)].sum(axis=0) for k in range(3)])
            second += 8 / 20 * (1 - 3 / 9) * 3 * np.cov(totals, rowvar=False)
    assert_allclose(parts[1], second, rtol=1e-12)


def test_missing_outcomes_are_no_reason_to_lose_units():
    present = np.arange(N) % 7 != 0
    weight = np.where(present, WEIGHT, 0.0)
    assert fit(weight=weight, groups=psu, strata=stratum)._inference.design.n_psus == 24


# ------------------------------------------------------------------------------------------------- invariances


def test_scale_of_weights_and_order_of_rows_change_nothing():
    design = {"groups": psu, "strata": stratum, "fpc": np.full(N, 30.0)}
    table = coef_table(fit(**design))
    order = RNG.permutation(N)
    pd.testing.assert_frame_equal(table, coef_table(fit(weight=1e6 * WEIGHT, **design)), rtol=1e-9)
    pd.testing.assert_frame_equal(table, coef_table(fit(order, **design)), rtol=1e-9)


def test_rows_split_in_two_halves_change_nothing():
    design = {"groups": psu, "strata": stratum}
    twice = np.repeat(np.arange(N), 2)
    halves = fit(twice, weight=WEIGHT, **design)
    assert_allclose(halves.covariance_, fit(**design).covariance_, rtol=1e-9)


def test_metadata_may_be_columns_of_a_frame():
    frame = pd.DataFrame({"stratum": stratum, "unit": psu, "population": 30.0})
    named = fit(groups=psu, strata=stratum, fpc=np.full(N, 30.0))
    model = LogitRegressor(weight_type="sampling")
    model.fit(X, Y, sample_weight=WEIGHT, groups=frame["unit"], strata=frame["stratum"], fpc=frame[["population"]])
    assert_allclose(model.covariance_, named.covariance_, rtol=1e-14)


# ------------------------------------------------------------------------------------------------- lonely units


def lonely_strata():
    """Return strata of which one has a single unit."""
    return np.where((stratum == "c") & (psu == 7), "d", stratum)


def test_a_lonely_unit_is_refused_with_advice():
    with pytest.raises(
        ValueError, match=r"1 strata have a single sampling unit, first stratum 'd'.*lonely_psu='adjust'"
    ):
        fit(groups=psu, strata=lonely_strata())


def test_what_may_be_done_with_a_lonely_unit():
    strata = lonely_strata()
    z = RNG.normal(size=(N, 2))

    def variance(policy):
        return variance_of_total(z, survey_design(N, groups=psu, strata=strata, lonely_psu=policy))

    known = sum(
        8 * np.cov([z[(strata == h) & (psu == c)].sum(axis=0) for c in range(8)], rowvar=False) for h in "ab"
    ) + 7 * np.cov([z[(strata == "c") & (psu == c)].sum(axis=0) for c in range(7)], rowvar=False)
    assert_allclose(variance("remove"), known, rtol=1e-12)
    assert_allclose(variance("average"), known * 4 / 3, rtol=1e-12)
    distance = z[strata == "d"].sum(axis=0) - z.sum(axis=0) / 24
    assert_allclose(variance("adjust"), known + np.outer(distance, distance), rtol=1e-12)


def test_a_lonely_unit_is_noted_in_the_summary():
    model = fit(groups=psu, strata=lonely_strata(), lonely_psu="average")
    assert "24 units in 4 strata, 1 of a single unit (average); 20 degrees of freedom" in str(model.summary())


def test_a_unit_drawn_with_certainty_is_not_lonely():
    strata = lonely_strata()
    population = np.where(strata == "d", 1.0, 40.0)
    assert np.isfinite(fit(groups=psu, strata=strata, fpc=population).covariance_).all()


# ------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("design", "message"),
    [
        ({"strata": np.where(np.arange(N) == 4, None, stratum)}, r"strata: .*missing in 1 rows, first in row 4"),
        ({"strata": stratum[:-1]}, r"strata: .*119 labels for 120 rows"),
        ({"fpc": np.full(N, np.nan)}, r"fpc is missing in 120 rows, first in row 0"),
        ({"fpc": np.full(N, -3.0)}, r"fpc must be positive"),
        ({"fpc": np.full(N, "x")}, r"fpc must be numbers"),
        ({"fpc": np.full(7, 3.0)}, r"fpc must have one row for each of the 120 rows"),
        ({"fpc": np.where(np.arange(N) < 9, 0.5, 30.0)}, r"fpc has values below and above 1"),
        ({"fpc": np.where(np.arange(N) < 9, 50.0, 30.0), "groups": psu}, r"fpc of stage 1 varies within stratum 'all'"),
        ({"fpc": np.full(N, 5.0), "groups": psu}, r"stratum 'all' has 5 units, but 8 are in the sample"),
        ({"fpc": np.full((N, 2), 50.0), "groups": psu}, r"fpc has 2 columns for 1 stage"),
        ({"strata": np.column_stack([stratum, stratum])}, r"strata has 2 columns for 1 stage"),
    ],
)
def test_malformed_designs_are_refused(design, message):
    with pytest.raises(ValueError, match=message):
        fit(**design)


def test_a_policy_that_does_not_exist():
    with pytest.raises(ValueError, match="lonely_psu"):
        fit(groups=psu, strata=stratum, lonely_psu="ignore")
    with pytest.raises(ValueError, match="lonely_psu must be one of"):
        survey_design(N, lonely_psu="ignore")


def test_populations_without_weights_are_remarked_on():
    with pytest.warns(WeightWarning, match="fpc was given without sample_weight"):
        LogitRegressor(weight_type="sampling").fit(X, Y, fpc=np.full(N, 500.0))


def test_too_few_units_leave_no_degrees_of_freedom():
    few = np.isin(psu, [0, 1])
    strata = np.where(stratum == "a", "a", "b")
    with pytest.warns(UserWarning, match="degrees of freedom"):
        table = coef_table(fit(few, groups=np.where(stratum == "a", psu, psu % 2), strata=strata))
    assert table["p_value"].isna().all()
