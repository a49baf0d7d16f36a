"""The literal twin against R and closed forms, and the package against the twin on designs drawn at random."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skdep import LogitRegressor
from skdep.exceptions import FewClustersWarning
from skdep.survey import survey_design, variance_of_total

from . import dense, reference
from .reference import entries, names, symmetric

RNG = np.random.default_rng(20240603)
SMALL = [name for name in names("fits", having="design") if "nhanes" not in name]
REPLICATED = [name for name in names("fits", having="replicates") if "nhanes" not in name]
# how R differs: see test_reference
NO_STRATUM = "lonely_average_no_stratum"


def stages_of(design):
    return {"groups": design.groups, "strata": design.strata, "fpc": design.fpc, "lonely_psu": design.lonely_psu}


def assert_same(found, expected, atol=1e-11):
    """Assert equal covariances, in units of standard deviations."""
    scale = np.sqrt(np.diag(expected))
    assert_allclose(found / np.outer(scale, scale), expected / np.outer(scale, scale), atol=atol)


# ------------------------------------------------------------------------------------------ the twin against R


@pytest.mark.parametrize("name", [name for name in names("totals") if name != NO_STRATUM and "adjust" not in name])
def test_twin_of_totals(name):
    entry, given = entries("totals")[name], reference.design(name)
    z = given.weights[:, None] * given.frame[entry["columns"]].to_numpy(dtype=float)
    assert_same(dense.variance_of_total(z, **stages_of(given)), symmetric(entry["cov"]))
    assert dense.degrees_of_freedom(given.weights, groups=given.groups, strata=given.strata) == given.degf


@pytest.mark.parametrize("name", [name for name in SMALL if not name.startswith(NO_STRATUM)])
def test_twin_of_fits(name):
    given = reference.fit(name)
    entry, design = given.entry, given.design
    fit = dense.pseudo_likelihood(
        given.features, given.y, design.weights, family=entry["family"], link=entry["link"], offset=given.offset
    )
    assert_allclose((fit.beta - given.coef) / given.standard_errors, 0.0, atol=1e-10)
    assert_same(fit.naive, given.naive_cov, atol=1e-10)
    assert_same(dense.design_covariance(fit, **stages_of(design)), given.cov, atol=1e-10)
    assert fit.deviance * entry["n_rows"] / np.sum(design.weights > 0) == pytest.approx(entry["deviance"], rel=1e-10)


def test_dispersion_and_design_effects_of_r():
    """R divides by the variance of a simple random sample, which is the dispersion times the inverse information."""
    for name in ("strat_logit", "clus1_gaussian", "clus2_probit", "strat_poisson", "sim_gamma"):
        given = reference.fit(name)
        ratio = np.diag(given.cov) / np.diag(given.naive_cov) / given.entry["deff"]
        assert_allclose(ratio, ratio[0], rtol=1e-9)
        w = given.design.weights[given.design.weights > 0]
        fit = dense.pseudo_likelihood(
            given.features,
            given.y,
            given.design.weights,
            family=given.entry["family"],
            link=given.entry["link"],
            offset=given.offset,
        )
        inside = given.design.weights > 0
        pearson = (given.y - fit.fitted)[inside] ** 2 / dense.FAMILIES[given.entry["family"]][0](fit.fitted[inside])
        dispersion = np.sum(w / w.mean() * pearson) / (len(w) - len(given.coef))
        assert ratio[0] == pytest.approx(dispersion, rel=1e-9)


@pytest.mark.parametrize("name", REPLICATED)
def test_twin_of_replicates(name):
    given = reference.fit(name)
    entry, repeated = given.entry, given.replicates
    fit, covariance, betas = dense.replicate_covariance(
        given.features,
        given.y,
        given.design.weights,
        repeated.weights,
        scale=repeated.scale,
        rscales=repeated.rscales,
        mse=repeated.mse,
        family=entry["family"],
        link=entry["link"],
        offset=given.offset,
    )
    assert_allclose((fit.beta - given.coef) / given.standard_errors, 0.0, atol=1e-10)
    # R's fits to replicates stop by the deviance, at half the digits where the link is not canonical
    canonical = entry["link"] in ("logit", "identity") or entry["family"] == "poisson"
    assert_same(covariance, given.cov, atol=1e-10 if canonical else 1e-7)
    assert len(betas) == entries("replicates")[repeated.name]["n_replicates"]
    if entry["domain"] is None:
        assert repeated.degf == entry["degf"] == np.linalg.matrix_rank(repeated.weights, tol=None) - 1
    assert entry["df_residual"] == entry["degf"] + 1 - len(given.coef)


def test_profile_intervals_end_where_the_deviance_has_risen():
    """Refitted at the ends, it has risen by the design effect times the squared t quantile."""
    checked = 0
    for name in ("strat_logit", "sim_poisson_offset", "strat_probit"):
        given = reference.fit(name)
        entry = given.entry
        family = {"family": entry["family"], "link": entry["link"]}
        offset = np.zeros(len(given.y)) if given.offset is None else given.offset
        for j, ends in enumerate(entry["profile_95"]):
            design_effect = given.cov[j, j] / given.naive_cov[j, j]
            others = np.delete(given.features, j, axis=1)
            for end in ends:
                held = offset + end * given.features[:, j]
                start = np.delete(given.coef, j)
                fit = dense.pseudo_likelihood(
                    others, given.y, given.design.weights, offset=held, start=start, max_iter=500, **family
                )
                rise = (fit.deviance - entry["deviance"]) / design_effect
                assert rise == pytest.approx(stats.t.ppf(0.975, entry["df_residual"]) ** 2, rel=1e-8)
                checked += 1
    assert checked == 22


@pytest.mark.parametrize("name", names("small_sample"))
def test_twin_of_club_sandwich(name):
    entry = entries("small_sample")[name]
    frame = reference.table(entry["data"])
    X = np.column_stack([np.ones(len(frame)), frame[entry["features"]]])
    y, clusters = frame[entry["response"]].to_numpy(dtype=float), frame[entry["cluster"]].tolist()
    w = np.ones(len(y)) if entry["weights"] is None else frame[entry["weights"]].to_numpy(dtype=float)
    w = w / w.mean()
    binomial = entry["family"] == "binomial"
    link = "logit" if binomial else "identity"
    fit = dense.pseudo_likelihood(X, y, w, family=entry["family"], link=link)
    assert_allclose(fit.beta, entry["coef"], rtol=1e-9)
    slope = fit.fitted * (1 - fit.fitted) if binomial else np.ones(len(y))
    # clubSandwich: on the scale of the response, weights of a linear model being no variances
    as_given = (slope[:, None] * X, y - fit.fitted, w / slope, slope / w if binomial else slope)
    root = np.sqrt(w * slope)
    whitened = (root[:, None] * X, (y - fit.fitted) * w / root, np.ones(len(y)), np.ones(len(y)))
    for rows, expected in ((as_given, entry), (whitened, entry["whitened"])):
        for kind in ("CR0", "CR2", "CR3"):
            covariance, degrees = dense.corrected_covariance(*rows, clusters, kind=kind)
            assert_same(covariance, symmetric(expected[kind]["cov"]))
            assert_allclose(degrees, expected[kind]["df_satterthwaite"], rtol=1e-9)
    n_clusters = entry["n_clusters"]
    assert_allclose(np.array(entry["CR1"]["cov"]), n_clusters / (n_clusters - 1) * np.array(entry["CR0"]["cov"]))


# -------------------------------------------------------------------------------------------- closed forms


def test_mean_of_a_simple_random_sample():
    y = RNG.normal(size=12)
    z = (y - y.mean())[:, None] / 12
    variance = dense.variance_of_total(z, fpc=np.full(12, 40))
    assert variance[0, 0] == pytest.approx((1 - 12 / 40) * y.var(ddof=1) / 12)


def test_mean_of_a_stratified_sample():
    """sum over strata of (N_h / N)² (1 - f_h) s_h² / n_h, as in any textbook."""
    size, population = np.array([4, 6, 3]), np.array([10.0, 30.0, 9.0])
    stratum = np.repeat(np.arange(3), size)
    y = RNG.normal(size=13)
    weight = (population / size)[stratum] / population.sum()
    expected = sum(
        (population[h] / population.sum()) ** 2 * (1 - size[h] / population[h]) * y[stratum == h].var(ddof=1) / size[h]
        for h in range(3)
    )
    variance = dense.variance_of_total((weight * y)[:, None], strata=stratum, fpc=population[stratum])
    assert variance[0, 0] == pytest.approx(expected)


def test_total_in_two_stages_has_the_expectation_of_its_variance():
    """Averaged over all samples of a small population, the estimated variance is that of the estimated total."""
    population = [np.array([1.0, 5.0, 3.0]), np.array([2.0, 8.0, 4.0, 9.0]), np.array([7.0, 0.0])]
    estimates, variances = [], []
    for first in ((0, 1), (0, 2), (1, 2)):
        within = [[(a, b) for a in range(len(population[c])) for b in range(a)] for c in first]
        chance = 1 / 3 / len(within[0]) / len(within[1])
        for chosen in product(*within):
            rows = [(c, unit, population[c][unit]) for c, units in zip(first, chosen) for unit in units]
            clusters, units, y = map(np.array, zip(*rows))
            sizes = np.array([len(population[c]) for c in clusters])
            z = (3 / 2 * sizes / 2 * y)[:, None]
            fpc = np.column_stack([np.full(4, 3), sizes])
            estimates.append((chance, z.sum()))
            groups = np.column_stack([clusters, units])
            variances.append((chance, dense.variance_of_total(z, groups=groups, fpc=fpc)[0, 0]))
            found = variance_of_total(z, survey_design(4, groups=groups, fpc=fpc))
            assert found[0, 0] == pytest.approx(variances[-1][1], rel=1e-12)
    truth = sum(y.sum() for y in population)
    assert sum(chance for chance, _ in estimates) == pytest.approx(1.0)
    assert sum(chance * estimate for chance, estimate in estimates) == pytest.approx(truth)
    variance = sum(chance * (estimate - truth) ** 2 for chance, estimate in estimates)
    assert sum(chance * estimate for chance, estimate in variances) == pytest.approx(variance)


# --------------------------------------------------------------------------------- the package against the twin


def random_rows(seed, *, n_stages):
    """Draw nested units of up to three stages, labels restarting, with strata and populations of every stage."""
    rng = np.random.default_rng(seed)
    rows = []
    for stratum in "abcd"[: rng.integers(2, 5)]:
        n_psus = rng.integers(2, 5)
        populations = [n_psus + rng.integers(0, 4)]
        for psu in range(n_psus):
            n_ssus = rng.integers(2, 4)
            ssu_population = n_ssus + rng.integers(0, 3)
            for ssu in range(n_ssus):
                n_tsus = rng.integers(2, 4)
                tsu_population = n_tsus + rng.integers(0, 3)
                for tsu in range(n_tsus):
                    for _ in range(rng.integers(1, 3)):
                        rows.append((stratum, psu, ssu, tsu, populations[0], ssu_population, tsu_population))
    frame = pd.DataFrame(rows, columns=["stratum", "psu", "ssu", "tsu", "pop1", "pop2", "pop3"])
    frame = frame.sample(frac=1.0, random_state=seed)
    n = len(frame)
    weight = rng.uniform(1, 5, n) * (rng.random(n) < 0.8)  # the others are outside the domain
    return rng, frame, weight, ["psu", "ssu", "tsu"][:n_stages], ["pop1", "pop2", "pop3"][:n_stages]


@pytest.mark.parametrize("n_stages", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_variances_on_random_designs(seed, n_stages):
    rng, frame, weight, units, populations = random_rows(seed, n_stages=n_stages)
    z = weight[:, None] * rng.normal(size=(len(frame), 3))
    groups, strata = frame[units], frame["stratum"]
    for given in (
        {"strata": None, "fpc": None},
        {"strata": strata, "fpc": None},
        {"strata": strata, "fpc": frame["pop1"]},
        {"strata": strata, "fpc": frame[populations]},
    ):
        design = survey_design(len(z), groups=groups, weights=weight, **given)
        assert_same(variance_of_total(z, design), dense.variance_of_total(z, groups=groups, **given))
        assert design.degf == dense.degrees_of_freedom(weight, groups=groups, strata=given["strata"])


@pytest.mark.parametrize("lonely_psu", ["remove", "adjust", "average"])
@pytest.mark.parametrize("seed", range(6))
def test_lonely_units_on_random_designs(seed, lonely_psu):
    rng, frame, weight, units, _ = random_rows(seed, n_stages=2)
    # every stratum keeps a single unit in some draws, and some units a single one of the next stage
    alone = (frame["stratum"] == "a") & (frame["psu"] > 0) | (frame["psu"] == 1) & (frame["ssu"] > 0)
    frame, weight = frame[~alone], weight[~alone.to_numpy()]
    fpc = pd.DataFrame({"first": 9.0, "second": 7.0}, index=frame.index)
    z = weight[:, None] * rng.normal(size=(len(frame), 2))
    given = {"groups": frame[units], "strata": frame["stratum"], "lonely_psu": lonely_psu}
    for populations in (None, fpc["first"], fpc):
        design = survey_design(len(z), fpc=populations, **given)
        assert design.stages[0].lonely.sum() == 1
        assert_same(variance_of_total(z, design), dense.variance_of_total(z, fpc=populations, **given))


@pytest.mark.parametrize("seed", range(6))
def test_logit_on_random_designs(seed):
    rng, frame, weight, units, populations = random_rows(seed + 100, n_stages=2)
    X = rng.normal(size=(len(frame), 2))
    y = (rng.random(len(frame)) < 1 / (1 + np.exp(-0.7 * X[:, 0]))).astype(float)
    metadata = {"groups": frame[units], "strata": frame["stratum"], "fpc": frame[populations]}
    est = LogitRegressor(weight_type="sampling")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewClustersWarning)
        est.fit(X, y, sample_weight=weight, **metadata)
    features = np.column_stack([np.ones(len(y)), X])
    fit = dense.pseudo_likelihood(features, y, weight, family="binomial", link="logit")
    assert_allclose(np.append(est.intercept_, est.coef_), fit.beta, atol=1e-9)
    assert_same(est.covariance_, dense.design_covariance(fit, **metadata), atol=1e-8)
    assert_same(est._inference.covariances["model"], fit.naive, atol=1e-8)


def test_influence_values_are_the_derivative_of_coefficients_by_weights():
    """The coefficients move by z / w for a small change of the weight."""
    _, frame, weight, _, _ = random_rows(7, n_stages=1)
    X = np.column_stack([np.ones(len(frame)), RNG.normal(size=(len(frame), 2))])
    y = RNG.poisson(np.exp(0.3 * X[:, 1])).astype(float)
    model = {"family": "poisson", "link": "log"}
    fit = dense.pseudo_likelihood(X, y, weight, **model)
    for row in np.flatnonzero(weight)[:5]:
        moved = []
        for sign in (1, -1):
            changed = weight.copy()
            changed[row] *= 1 + sign * 1e-5
            moved.append(dense.pseudo_likelihood(X, y, changed, **model, start=fit.beta).beta)
        assert_allclose((moved[0] - moved[1]) / 2e-5, fit.z[row], rtol=1e-5, atol=1e-9)
