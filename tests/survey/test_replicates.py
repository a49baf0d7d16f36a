"""Replicate weights: variances of linear statistics have closed forms; factors have known first and second moments."""

import json
import pickle
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils import _safe_indexing

from skdep.exceptions import ConvergenceWarning
from skdep.survey import survey_design, variance_of_total
from skdep.survey.replicate_methods import replicate_weights
from skdep.survey.replicates import METHODS, ReplicateWeights
from tests.survey import reference

R = json.loads((Path(__file__).parents[1] / "reference" / "replicates.json").read_text())
BOOTSTRAPS = ("bootstrap", "canty_davison", "multistage_bootstrap")


def sample(n_strata=5, units=(4,), seed=0):
    """Return strata, units (numbers restart in every stratum), values (n, 2), weights, populations of units."""
    rng = np.random.default_rng(seed)
    n_units = np.resize(units, n_strata)
    stratum_of_unit = np.repeat(np.arange(n_strata), n_units)
    size = rng.integers(1, 6, len(stratum_of_unit))
    unit = np.concatenate([np.arange(n) for n in n_units])
    stratum = np.repeat(stratum_of_unit, size)
    values = rng.normal(size=(size.sum(), 2)) + stratum[:, None] + np.repeat(rng.normal(size=len(unit)), size)[:, None]
    populations = (n_units * rng.integers(2, 6, n_strata))[stratum]
    return stratum, np.repeat(unit, size), values, rng.uniform(1, 4, size.sum()), populations


def variance_of_totals(replicates, values, weights):
    return replicates.variance(replicates.weights.T @ values, weights @ values)


def variance_of_means(replicates, values, weights):
    means = replicates.weights.T @ values / replicates.weights.sum(axis=0)[:, None]
    return replicates.variance(means, weights @ values / weights.sum())


# ------------------------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("fpc", [None, 50, 0.25])
def test_jackknife_variance_of_a_mean_is_that_of_the_textbook(fpc):
    y = np.random.default_rng(0).normal(size=(20, 1))
    found = variance_of_means(replicate_weights("jk1", np.full(20, 7.0), fpc=fpc), y, np.full(20, 7.0))
    finite = {None: 1.0, 50: 1 - 20 / 50, 0.25: 0.75}[fpc]
    assert_allclose(found[0, 0], finite * y.var(ddof=1) / 20, rtol=1e-12)


@pytest.mark.parametrize("finite", [False, True])
@pytest.mark.parametrize("mse", [False, True])
def test_stratified_jackknife_of_a_total_is_the_linearised_variance(finite, mse):
    stratum, unit, values, weights, populations = sample(units=(2, 3, 4, 7, 5))
    design = {"groups": unit, "strata": stratum, "fpc": populations if finite else None}
    found = variance_of_totals(replicate_weights("jkn", weights, mse=mse, **design), values, weights)
    linearised = variance_of_total(weights[:, None] * values, survey_design(len(unit), **design))
    assert_allclose(found, linearised, rtol=1e-11)


def test_stratified_jackknife_of_a_mean_is_the_linearised_variance_where_strata_have_equal_weight_throughout():
    stratum = np.repeat(np.arange(3), [4, 6, 5])
    weights = np.repeat([10.0, 3.0, 5.0], [4, 6, 5])
    y = np.random.default_rng(1).normal(size=(15, 1)) + stratum[:, None]
    found = variance_of_means(replicate_weights("jkn", weights, strata=stratum), y, weights)
    share = np.bincount(stratum, weights) / weights.sum()
    within = np.array([y[stratum == h].var(ddof=1) for h in range(3)])
    assert_allclose(found[0, 0], np.sum(share**2 * within / np.bincount(stratum)), rtol=1e-12)


@pytest.mark.parametrize("method", ["brr", "fay", "jk2"])
@pytest.mark.parametrize("n_strata", [1, 2, 3, 7, 12, 27])
def test_half_samples_of_a_total_are_the_linearised_variance(method, n_strata):
    stratum, unit, values, weights, _ = sample(n_strata, units=(2,))
    replicates = replicate_weights(method, weights, groups=unit, strata=stratum, random_state=0)
    linearised = variance_of_total(weights[:, None] * values, survey_design(len(unit), groups=unit, strata=stratum))
    assert_allclose(variance_of_totals(replicates, values, weights), linearised, rtol=1e-11)
    assert replicates.df == n_strata - (method == "jk2")  # of as many replicates as pairs


def test_larger_strata_are_split_into_pairs_in_the_order_of_labels():
    stratum, unit, values, weights, _ = sample(4, units=(2, 6, 4, 8))
    pairs = np.char.add(stratum.astype(str), np.char.add("/", (unit // 2).astype(str)))
    split = replicate_weights("brr", weights, groups=unit, strata=stratum)
    assert_allclose(split.weights, replicate_weights("brr", weights, groups=unit, strata=pairs).weights)
    linearised = variance_of_total(weights[:, None] * values, survey_design(len(unit), groups=unit, strata=pairs))
    assert_allclose(variance_of_totals(split, values, weights), linearised, rtol=1e-11)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.7])
def test_fay_shifts_weight_by_one_minus_rho(rho):
    stratum, unit, _, weights, _ = sample(6, units=(2,))
    replicates = replicate_weights("fay", weights, groups=unit, strata=stratum, rho=rho)
    assert_allclose(np.unique(replicates.factors), [rho, 2 - rho])
    assert_allclose(replicates.factors.mean(axis=1), 1.0)
    assert_allclose(replicates.scale, 1 / (8 * (1 - rho) ** 2))


@pytest.mark.parametrize("finite", [False, True])
@pytest.mark.parametrize("strata_sizes", [(30,), (5, 9, 2, 12)])
def test_successive_differences_are_half_the_squares_around_each_stratum(finite, strata_sizes):
    rng = np.random.default_rng(2)
    stratum = np.repeat(np.arange(len(strata_sizes)), strata_sizes)
    y, weights = rng.normal(size=(len(stratum), 2)), rng.uniform(1, 3, len(stratum))
    fractions = np.linspace(0.1, 0.5, len(strata_sizes)) if finite else np.zeros(len(strata_sizes))
    key = rng.permutation(len(stratum))
    replicates = replicate_weights(
        "sdr", weights, strata=stratum, fpc=fractions[stratum] if finite else None, sort_key=key
    )
    expected = np.zeros((2, 2))
    for h, fraction in enumerate(fractions):
        rows = np.flatnonzero(stratum == h)
        z = (weights[:, None] * y)[rows[np.argsort(key[rows])]]
        steps = z - np.roll(z, 1, axis=0)
        expected += 0.5 * (1 - fraction) * steps.T @ steps
    assert_allclose(variance_of_totals(replicates, y, weights), expected, rtol=1e-11)
    assert replicates.mse and replicates.scale == 4 / replicates.n_replicates


def test_successive_differences_take_units_in_the_order_of_rows_by_default():
    unit = np.array(["z", "z", "a", "m", "a", "b", "m"])
    weights = np.ones(7)
    by_row = replicate_weights("sdr", weights, groups=unit)
    by_key = replicate_weights("sdr", weights, groups=unit, sort_key=[0, 9, 1, 2, 8, 3, 9])
    assert_allclose(by_row.weights, by_key.weights)
    assert not np.allclose(by_row.weights, replicate_weights("sdr", weights, groups=unit, sort_key=unit).weights)


def test_successive_differences_go_round_the_rows_of_signs():
    n_units = 2 * 79 + 30  # more than there are rows
    replicates = replicate_weights("sdr", np.ones(n_units))
    assert replicates.n_replicates == 80
    assert len(np.unique(replicates.factors, axis=0)) == n_units  # no two neighbours share both rows
    assert_allclose(np.unique(replicates.factors.round(12)), [1 - 0.5**0.5, 1, 1 + 0.5**0.5])
    steps = np.random.default_rng(3).normal(size=(n_units, 1))
    trend = steps + np.linspace(0, 20, n_units)[:, None]
    found = variance_of_totals(replicates, trend, np.ones(n_units))[0, 0]
    # rows of signs that several neighbours share add products of differences: noise, not bias
    assert 0.5 < found / (0.5 * np.sum((trend - np.roll(trend, 1)) ** 2)) < 2
    assert found < 0.1 * n_units * trend.var()  # of a random order


# ------------------------------------------------------------------------------------------------------ bootstraps


def second_moment(factors):
    """Return the mean of outer products of deviations from 1, and the standard errors of its entries."""
    deviations = factors - 1.0
    products = deviations[:, None] * deviations[None]
    return products.mean(axis=-1), products.std(axis=-1) / np.sqrt(products.shape[-1])


@pytest.mark.parametrize("method", BOOTSTRAPS)
@pytest.mark.parametrize("finite", [False, True])
def test_factors_of_bootstraps_have_the_moments_of_the_design(method, finite):
    n_units = np.array([4, 4, 4]) if method == "canty_davison" else np.array([2, 3, 6])
    stratum = np.repeat(np.arange(3), n_units)
    population = np.array([20, 4, 12]) if method == "canty_davison" else np.array([5, 3, 9])
    replicates = replicate_weights(
        method,
        np.ones(len(stratum)),
        strata=stratum,
        fpc=population[stratum] if finite else None,
        n_replicates=40_000,
        random_state=0,
    )
    fraction = (n_units / population if finite else np.zeros(3))[stratum]
    n = n_units[stratum]
    same = stratum[:, None] == stratum
    expected = same * ((1 - fraction) * n / (n - 1))[:, None] * (np.eye(len(stratum)) - 1 / n)
    moment, error = second_moment(replicates.factors)
    scale = replicates.scale * (replicates.n_replicates - 1)
    if method == "canty_davison":
        assert_allclose(scale, 4 / 3)
        # a population of N repeats: N / (N - 1) more than the sample's own variance says
        scale = scale * np.where(finite, ((population - 1) / population)[stratum], 1.0)[:, None]
    else:
        assert_allclose(scale, 1.0)
    assert np.all(np.abs(moment * scale - expected) <= 5 * error * scale + 1e-12)
    assert_allclose(
        np.add.reduceat(replicates.factors, np.cumsum(n_units) - n_units), n_units[:, None] * np.ones(40_000)
    )
    assert (replicates.factors >= 0).all()


def test_rescaled_bootstrap_draws_one_unit_less_than_there_are():
    stratum, unit, _, weights, _ = sample(3, units=(2, 5, 3))
    replicates = replicate_weights("bootstrap", weights, groups=unit, strata=stratum, n_replicates=50, random_state=1)
    n = np.repeat([2, 5, 3], [2, 5, 3])[:, None]
    draws = replicates.factors * (n - 1) / n
    assert_allclose(draws, draws.round(), atol=1e-12)
    assert_allclose(np.add.reduceat(draws, [0, 2, 7])[:, 0], [1, 4, 2])


def test_bootstrap_population_repeats_the_sample():
    n = 6
    replicates = replicate_weights("canty_davison", np.ones(n), fpc=15, n_replicates=2000, random_state=2)
    assert set(np.unique(replicates.factors)) == {0.0, 1.0, 2.0, 3.0}  # 15 = 2 * 6 + 3: two or three copies of each
    everyone = replicate_weights("canty_davison", np.ones(n), fpc=n, n_replicates=9, random_state=2)
    assert_array_equal(everyone.factors, 1.0)


@pytest.mark.parametrize("method", BOOTSTRAPS)
def test_units_without_variance_keep_their_weight(method):
    stratum, population = np.array([0, 0, 0, 1, 2, 2]), np.array([9, 9, 9, 1, 2, 2])
    replicates = replicate_weights(method, np.ones(6), strata=stratum, fpc=population, n_replicates=20, random_state=0)
    assert_allclose(replicates.factors[3:], 1.0)
    assert np.ptp(replicates.factors[:3]) > 0


def test_multistage_bootstrap_has_the_variance_of_every_stage():
    rng = np.random.default_rng(4)
    district = np.repeat(np.arange(6), 5)
    school = np.tile(np.arange(5), 6)
    region = (district > 2).astype(int)
    fpc = np.column_stack([np.where(region, 4.0, 7.0), 8.0 + district])
    values, weights = rng.normal(size=(30, 2)) + 0.3 * district[:, None], rng.uniform(1, 3, 30)
    design = {"groups": np.column_stack([district, school]), "strata": region, "fpc": fpc}
    expected = variance_of_total(weights[:, None] * values, survey_design(30, **design))
    first = variance_of_total(
        weights[:, None] * values, survey_design(30, groups=district, strata=region, fpc=fpc[:, 0])
    )
    replicates = replicate_weights("multistage_bootstrap", weights, n_replicates=40_000, random_state=0, **design)
    deviations = replicates.weights.T @ values - weights @ values
    found, error = second_moment(1.0 + deviations.T)
    assert np.all(np.abs(found - expected) < 5 * error)
    assert np.all(np.abs(first - expected)[[0, 1], [0, 1]] > 10 * error[[0, 1], [0, 1]])  # the second stage matters
    assert (replicates.factors >= 0).all()


def test_randomness_is_reproducible_and_of_every_kind():
    make = partial(replicate_weights, "bootstrap", np.ones(12), n_replicates=5)
    assert_array_equal(make(random_state=3).weights, make(random_state=3).weights)
    assert_array_equal(
        make(random_state=np.random.RandomState(1)).weights, make(random_state=np.random.RandomState(1)).weights
    )
    generator = np.random.default_rng(5)
    first = make(random_state=generator)
    assert not np.array_equal(first.weights, make(random_state=generator).weights)
    assert make(random_state=None).shape == (12, 5)
    assert replicate_weights("bootstrap", np.ones(3)).n_replicates == 200


# --------------------------------------------------------------------------------------------------------------- R


@pytest.mark.parametrize("name", reference.names("replicates", without="weights"))
def test_jackknife_of_r(name):
    entry = reference.entries("replicates")[name]
    given = reference.replicates(name)
    design = given.design
    made = replicate_weights(
        entry["type"].lower(),
        design.weights,
        groups=design.groups,
        strata=design.strata,
        fpc=design.fpc,
        mse=entry["mse"],
    )
    assert (made.df, made.mse, made.n_replicates) == (entry["degf"], entry["mse"], entry["n_replicates"])
    # replicates in another order
    ours, theirs = (
        np.vstack([r * s, w])
        for w, r, s in ((made.weights, made.rscales, made.scale), (given.weights, given.rscales, given.scale))
    )
    key = np.random.default_rng(0).normal(size=len(ours))
    assert_allclose(ours[:, np.argsort(key @ ours)], theirs[:, np.argsort(key @ theirs)], rtol=1e-12)


@pytest.mark.parametrize("finite", ["", "_fpc"])
@pytest.mark.parametrize("policy", ["remove", "adjust"])
def test_strata_of_a_single_unit_as_in_r(policy, finite):
    data = {name: np.array(column, dtype=float) for name, column in R["lonely_data"].items()}
    expected = R[f"lonely_{policy}{finite}"]
    made = replicate_weights(
        "jkn",
        data["w"],
        groups=data["unit"],
        strata=data["stratum"],
        fpc=data["population"] if finite else None,
        lonely_psu=policy,
    )
    assert_allclose(made.factors, expected["factors"], rtol=1e-12)
    assert_allclose(made.scale * made.rscales, expected["rscales"], rtol=1e-12)
    assert made.df == expected["degf"]
    y = data["y"][:, None]
    assert_allclose(variance_of_totals(made, y, data["w"])[0, 0], expected["total"], rtol=1e-12)
    assert_allclose(variance_of_means(made, y, data["w"])[0, 0], expected["mean"], rtol=1e-12)


def test_strata_of_a_single_unit_have_the_mean_variance_of_the_others():
    stratum, y, weights = np.array([0, 0, 0, 1, 1, 2]), np.arange(6.0)[:, None] ** 2, np.arange(1.0, 7.0)
    made = replicate_weights("jkn", weights, strata=stratum, lonely_psu="average")
    linearised = variance_of_total(weights[:, None] * y, survey_design(6, strata=stratum, lonely_psu="average"))
    assert_allclose(variance_of_totals(made, y, weights), linearised, rtol=1e-12)


@pytest.mark.parametrize("method", ["brr", "fay"])
def test_totals_by_half_samples_as_in_r(method):
    expected = R["half_samples"]
    people = reference.table("nhanes")
    people = people[(people["known"] == 1) & people["SDMVSTRA"].isin(expected["strata"])]
    values, weights = people[["HI_CHOL", "race", "RIAGENDR"]].to_numpy(float), people["WTMEC2YR"].to_numpy()
    rho = {"rho": 0.3} if method == "fay" else {}
    made = replicate_weights(method, weights, groups=people["SDMVPSU"], strata=people["SDMVSTRA"], **rho)
    # another Hadamard matrix than R's, but for a total every one gives the linearised variance
    assert_allclose(variance_of_totals(made, values, weights), expected[method]["cov"], rtol=1e-9)
    assert_allclose(expected[method]["cov"], expected["linearised"]["cov"], rtol=1e-9)
    assert made.df == expected[method]["degf"]


def test_types_say_what_r_says_of_a_matrix():
    weights = np.array(R["types"]["weights"])
    for theirs, ours in (
        ("BRR", ReplicateWeights(weights, method="brr")),
        ("Fay", ReplicateWeights(weights, method="fay", rho=0.3)),
        ("JK2", ReplicateWeights(weights, method="jk2")),
        ("bootstrap", ReplicateWeights(weights, method="bootstrap")),
        ("ACS", ReplicateWeights(weights, method="sdr")),
        ("successive-difference", ReplicateWeights(weights, method="sdr")),
    ):
        expected = R["types"][theirs]
        assert_allclose(ours.scale * ours.rscales, expected["scale"] * expected["rscales"] * np.ones(8))
        assert ours.df == expected["degf"]


def test_replicates_without_estimates_are_left_out_and_made_up_for():
    entry = R["missing"]
    estimates = np.array([[np.nan if v is None else v for v in row] for row in entry["estimates"]], dtype=float)
    rscales = np.array(entry["rscales"])
    replicates = ReplicateWeights(np.ones((5, 4)), scale=entry["scale"], rscales=rscales)
    with pytest.warns(ConvergenceWarning, match="1 of 4 replicates have no estimates"):
        found = replicates.variance(estimates, np.array(entry["full"]))
    # R leaves them out too, as if they had not deviated at all
    assert_allclose(found, np.array(entry["variance"]) * rscales.sum() / rscales[[0, 1, 3]].sum(), rtol=1e-12)
    estimates[:2] = np.nan
    with pytest.warns(ConvergenceWarning, match="3 of 4"):
        assert np.isnan(replicates.variance(estimates, np.array(entry["full"]))).all()


# --------------------------------------------------------------------------------------------------- domains, df


@pytest.mark.parametrize("method", METHODS)
def test_units_outside_the_domain_count_in_the_design_but_not_as_degrees_of_freedom(method):
    stratum, unit, values, weights, _ = sample(6, units=(4,))
    strata = {} if method == "jk1" else {"strata": stratum}
    label = 100 * stratum + unit
    inside = (label != 100) & (stratum != 3) & (np.arange(len(unit)) % 7 > 0)
    make = partial(replicate_weights, method, groups=label, random_state=0, **strata)
    whole, domain = make(weights), make(np.where(inside, weights, 0.0))
    assert_allclose(domain.weights[inside], whole.weights[inside])
    assert_array_equal(domain.weights[~inside], 0.0)
    assert domain.df == np.linalg.matrix_rank(whole.weights[inside]) - 1 < whole.df
    assert domain[inside].df == whole[inside].df == domain.df
    assert_allclose(
        variance_of_totals(domain, values, np.where(inside, weights, 0.0)),
        variance_of_totals(whole, values * inside[:, None], weights),
        rtol=1e-10,
    )


@pytest.mark.parametrize(
    ("method", "df"), [("jk1", 23), ("jkn", 18), ("jk2", 11), ("brr", 12), ("bootstrap", 18), ("sdr", 23)]
)
def test_degrees_of_freedom(method, df):
    stratum, unit, _, weights, _ = sample(6, units=(4,))
    strata = {} if method in ("jk1", "sdr") else {"strata": stratum}
    assert replicate_weights(method, weights, groups=100 * stratum + unit, random_state=0, **strata).df == df


def test_degrees_of_freedom_of_a_matrix():
    rng = np.random.default_rng(6)
    matrix = rng.uniform(size=(60, 3)) @ rng.uniform(size=(3, 9))
    assert ReplicateWeights(matrix, method="bootstrap").df == 2
    assert ReplicateWeights(matrix[:2], method="bootstrap").df == 1
    assert ReplicateWeights(matrix, method="bootstrap", df=31).df == 31
    assert ReplicateWeights(matrix, method="bootstrap", df=31)[:10].df == 31
    base = np.ones(60)
    base[2:] = 0.0
    assert ReplicateWeights(matrix, method="bootstrap", sample_weight=base).df == 1


# -------------------------------------------------------------------------------------------------- invariances


@pytest.mark.parametrize("method", METHODS)
def test_order_of_rows_and_names_of_labels_mean_nothing(method):
    stratum, unit, values, weights, _ = sample(5, units=(4,))
    key = np.arange(len(unit))

    def variance(rows, rename=lambda labels: labels):
        strata = {} if method == "jk1" else {"strata": rename(stratum[rows])}
        label = 10 * stratum + unit if method == "jk1" else unit
        order = {"sort_key": key[rows]} if method == "sdr" else {}
        made = replicate_weights(method, weights[rows], groups=rename(label[rows]), random_state=0, **strata, **order)
        return variance_of_totals(made, values[rows], weights[rows])

    expected = variance(key)
    assert_allclose(variance(np.random.default_rng(7).permutation(len(unit))), expected, rtol=1e-10)
    assert_allclose(variance(key, lambda labels: np.char.add("a", labels.astype(str))), expected, rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_scale_of_weights_goes_through(method):
    stratum, unit, _, weights, _ = sample(5, units=(4,))
    strata = {} if method == "jk1" else {"strata": stratum}
    one, thousand = (
        replicate_weights(method, c * weights, groups=10 * stratum + unit, random_state=0, **strata) for c in (1, 1000)
    )
    assert_allclose(thousand.weights, 1000 * one.weights)
    assert one.df == thousand.df


# ----------------------------------------------------------------------------------------------- the class itself


def test_rows_may_be_taken_as_of_an_array():
    stratum, unit, _, weights, _ = sample()
    made = replicate_weights("jkn", weights, groups=unit, strata=stratum)
    given = ReplicateWeights(made.weights, method="jkn", rscales=made.rscales)
    apart = ReplicateWeights(
        made.factors[made.unit], method="jkn", rscales=made.rscales, combined=False, sample_weight=weights
    )
    rows = np.array([3, 1, 8, 8])
    for replicates in (made, given, apart):
        assert_allclose(replicates.weights, made.weights)
        assert_allclose(replicates[rows].weights, made.weights[rows])
        assert_allclose(_safe_indexing(replicates, rows).weights, made.weights[rows])
        assert replicates[weights > 2].shape == (np.sum(weights > 2), made.n_replicates)
        assert_allclose(replicates.blocks(np.array([4, 0]))(slice(2, 9)), made.weights[2:9][:, [4, 0]])
        assert_allclose(replicates.blocks(slice(1, 3))(slice(2, 9)), made.weights[2:9, 1:3])
        assert len(replicates) == len(weights)
        assert repr(pickle.loads(pickle.dumps(replicates))) == repr(replicates)


def test_it_says_what_it_is():
    stratum, unit, _, weights, populations = sample(2, units=(3, 4))
    made = replicate_weights("jkn", weights, groups=unit, strata=stratum, fpc=populations)
    text = repr(made)
    assert text.startswith(
        f"ReplicateWeights(jkn: 7 replicates of {len(unit)} rows in 7 units, df=5, scale=1, rscales="
    )
    assert " to " in text
    assert repr(replicate_weights("sdr", np.ones(11))).endswith("scale=0.3333, mse=True)")
    assert "rscales=0.5)" in repr(ReplicateWeights(np.eye(3), scale=2.0, rscales=0.5))
    with pytest.raises(AttributeError):
        made.scale = 2.0


def test_data_frames_are_taken():
    frame = pd.DataFrame({"w": [1.0, 2.0, 3.0], "w1": [0.0, 3.0, 3.0], "w2": [2.0, 0.0, 4.0]})
    given = ReplicateWeights(frame[["w1", "w2"]], method="bootstrap", sample_weight=frame["w"])
    assert given.shape == (3, 2)
    made = replicate_weights("jk1", frame["w"], groups=frame["w2"])
    assert made.shape == (3, 3)


def test_variance_is_about_the_mean_or_the_full_estimate():
    rng = np.random.default_rng(8)
    estimates, full, rscales = rng.normal(size=(6, 2)), rng.normal(size=2), np.array([1, 2, 0, 1, 0.5, 1])
    about_full = ReplicateWeights(np.ones((4, 6)), scale=0.2, rscales=rscales, mse=True).variance(estimates, full)
    d = estimates - full
    assert_allclose(about_full, 0.2 * (d.T * rscales) @ d)
    about_mean = ReplicateWeights(np.ones((4, 6)), scale=0.2, rscales=rscales).variance(estimates, full)
    d = estimates - estimates[rscales > 0].mean(axis=0)
    assert_allclose(about_mean, 0.2 * (d.T * rscales) @ d)


# -------------------------------------------------------------------------------------------------------- errors

PAIR = {"groups": [1, 1, 2, 2], "strata": [0, 0, 0, 0]}
MADE_WRONG = [
    ("jackknife", {}, "method='jackknife' is not known"),
    ("jk1", {"strata": [0, 0, 1, 1]}, "use 'jkn'"),
    ("jkn", {"strata": [0, 0, 0, 1]}, "single sampling unit"),
    ("brr", {"strata": [0, 0, 0, 1], "lonely_psu": "remove"}, "odd number.*stratum 0 \\(3\\)"),
    ("brr", {**PAIR, "fpc": 10}, "no finite population correction"),
    ("brr", {**PAIR, "n_replicates": 3}, "n_replicates=3 does not balance 1 pairs.* such as 4"),
    ("brr", {"strata": [0, 0, 1, 1], "n_replicates": 2}, "does not balance 2 pairs"),
    ("brr", {"strata": [0, 0, 1, 2], "lonely_psu": "adjust"}, "lonely_psu='adjust' is available for method='jkn'"),
    ("bootstrap", {"strata": [0, 0, 1, 2], "lonely_psu": "average"}, "lonely_psu='average' is available"),
    ("brr", {"strata": [0, 1, 2, 3], "lonely_psu": "remove"}, "no stratum with two"),
    ("jkn", {"strata": [0, 1, 2, 3], "lonely_psu": "remove"}, "no unit to leave out"),
    ("jkn", {"n_replicates": 7}, "n_replicates= does not belong to method='jkn'"),
    ("bootstrap", {"n_replicates": 1}, "at least 2"),
    ("bootstrap", {"n_replicates": 2.5}, "whole number"),
    ("bootstrap", {"random_state": "seed"}, "random_state must be"),
    ("bootstrap", {"sort_key": [1, 2, 3, 4]}, "sort_key= belongs to method='sdr'"),
    ("brr", {**PAIR, "rho": 0.5}, "rho= belongs to method='fay'"),
    ("fay", {**PAIR, "rho": 1.0}, "rho must be at least 0 and below 1"),
    ("sdr", {"n_replicates": 6}, "not the order of a Hadamard matrix.* such as 8"),
    ("sdr", {"sort_key": [1, 2, 3]}, "sort_key has 3 values for 4 rows"),
    ("sdr", {"sort_key": [1, None, 3, 4]}, "sort_key is missing in 1 rows, first in row 1"),
    ("sdr", {"sort_key": [1, "a", 3, 4]}, "can be sorted"),
    ("jkn", {"groups": [[1, 1], [1, 2], [2, 1], [2, 2]], "fpc": [[9, 9]] * 4}, "multistage_bootstrap"),
    ("jkn", {"groups": [1, 2, 3]}, "3 labels for 4 rows"),
]


@pytest.mark.parametrize(("method", "options", "says"), MADE_WRONG)
def test_what_does_not_suit_is_refused(method, options, says):
    with pytest.raises(ValueError, match=says):
        replicate_weights(method, np.ones(4), **options)


def test_weights_are_checked():
    with pytest.raises(ValueError, match="sample_weight is None"):
        replicate_weights("jk1", None)
    with pytest.raises(ValueError, match="Negative values"):
        replicate_weights("jk1", [1.0, -1.0])
    with pytest.raises(ValueError, match="would take 80 GB"):
        replicate_weights("jk1", np.ones(100_000))


@pytest.mark.parametrize(
    ("weights", "options", "says"),
    [
        (np.ones((4, 2)), {}, "pass scale="),
        (np.ones((4, 2)), {"method": "jkn"}, "pass rscales="),
        (np.ones((4, 2)), {"method": "jack"}, "method='jack' is not known"),
        (np.ones((4, 2)), {"method": "fay"}, "needs rho="),
        (np.ones((4, 2)), {"method": "fay", "rho": 2}, "rho must be"),
        (np.ones((4, 2)), {"method": "brr", "rho": 0.5}, "belongs to method='fay'"),
        (np.ones((4, 2)), {"scale": 0.0}, "scale must be positive"),
        (np.ones((4, 2)), {"scale": np.inf}, "scale must be positive"),
        (np.ones((4, 2)), {"scale": 1.0, "rscales": [1, 2, 3]}, "rscales must be one number or 2"),
        (np.ones((4, 2)), {"scale": 1.0, "rscales": [1, -2]}, "rscales must be finite"),
        (np.ones((4, 2)), {"scale": 1.0, "rscales": 0}, "not all 0"),
        (np.ones((4, 2)), {"scale": 1.0, "combined": False}, "pass sample_weight="),
        (np.ones((4, 2)), {"scale": 1.0, "sample_weight": np.ones(3)}, "3 values for 4 rows"),
        (np.ones(4), {"scale": 1.0}, "one column a replicate"),
        (np.ones((4, 0)), {"scale": 1.0}, "one column a replicate"),
        ([["a", "b"]], {"scale": 1.0}, "must be numbers"),
        (np.array([[1.0, np.nan]]), {"scale": 1.0}, "1 are missing or infinite, first in row 0 of replicate 1"),
        (np.array([[1.0, -2.0]]), {"scale": 1.0}, "1 are negative"),
        (np.array([[1.0, 0.0], [1.0, 0.0]]), {"scale": 1.0}, "every weight is zero in 1 replicates, first in 1"),
    ],
)
def test_matrices_are_checked(weights, options, says):
    with pytest.raises(ValueError, match=says):
        ReplicateWeights(weights, **options)


def test_estimates_must_match():
    replicates = ReplicateWeights(np.ones((4, 2)), scale=1.0)
    for estimates, full in ((np.ones((3, 1)), np.ones(1)), (np.ones(2), np.ones(1)), (np.ones((2, 1)), np.ones(2))):
        with pytest.raises(ValueError, match="estimates must have shape"):
            replicates.variance(estimates, full)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_allclose(replicates.variance(np.ones((2, 1)), np.ones(1)), 0.0)
