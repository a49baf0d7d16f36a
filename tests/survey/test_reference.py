"""Against R's survey: designs, totals and fits of survey.json, entry by entry."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdep import GEERegressor, LogitRegressor
from skdep.datasets import load_api, load_nhanes
from skdep.exceptions import FewClustersWarning, WeightWarning
from skdep.inference import coef_table, wald_test
from skdep.survey import survey_design, variance_of_total

from . import reference
from .reference import entries, names, symmetric

FITS = [name for name in names("fits", having="design") if entries("fits")[name]["features"]]
LOGIT = [name for name in FITS if entries("fits")[name]["link"] == "logit"]
OTHER_FAMILIES = [name for name in FITS if name not in LOGIT]
LOGIT_TESTS = [name for name in LOGIT if "tests" in entries("fits")[name]]
# R leaves a stratum without rows of the domain out of the average; see test_average_over_strata_outside_the_domain
NO_STRATUM = "lonely_average_no_stratum"
# R centres a lonely unit at 0, which is the mean of all units for influence values only
ADJUSTED = [name for name, entry in entries("designs").items() if entry["lonely"] == "adjust"]


@cache
def fit(name: str) -> LogitRegressor | GEERegressor:
    """Fit as users do; the family decides by which estimator."""
    given = reference.fit(name)
    entry, lonely = given.entry, given.design.lonely_psu
    if entry["link"] == "logit":
        est = LogitRegressor(weight_type="sampling", lonely_psu=lonely)
    else:
        design = {"cov_type": "design", "weight_type": "sampling", "lonely_psu": lonely}
        est = GEERegressor(entry["family"], link=entry["link"], scale=1.0, tol=1e-10, **design)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing in these fits deserves a warning but few units ...
        warnings.simplefilter("ignore", FewClustersWarning)
        warnings.simplefilter("ignore", WeightWarning)  # ... and weights that vary within them
        est.fit(given.X, given.y, offset=given.offset, **metadata_of(est, given.design))
    assert est.converged_
    return est


def metadata_of(est, design):
    """Return what `fit` takes: to a marginal model, columns of groups are stages only if strata or fpc are given."""
    metadata = design.metadata
    if isinstance(est, GEERegressor) and design.fpc is None and design.strata is None and design.groups is not None:
        metadata["groups"] = design.groups if design.groups.ndim == 1 else design.groups.iloc[:, 0]
    return metadata


def parameters(est):
    return np.concatenate([np.atleast_1d(est.intercept_), np.ravel(est.coef_)])


def assert_as_in_r(name):
    """Assert coefficients, standard errors and p-values to 1e-7, degrees of freedom exactly."""
    given, est = reference.fit(name), fit(name)
    se = given.standard_errors
    table = coef_table(est)
    assert np.all(np.abs(parameters(est) - given.coef) <= 1e-7 * np.abs(given.coef) + 1e-8 * se)
    assert_allclose(table["std_error"], se, rtol=1e-7)
    assert_allclose(est.covariance_ / np.outer(se, se), given.cov / np.outer(se, se), atol=1e-7)
    if est._inference.design is not None:
        assert est._inference.design.degf == given.design.degf
    df = given.entry["df_residual"]
    assert (table["df"] == df).all()
    if df > 0:
        assert_allclose(table["p_value"], np.array(given.entry["p_value"], dtype=float), rtol=1e-6, atol=1e-7)
        low, high = np.array(given.entry["conf_int_95"], dtype=float).T
        if df > 1:  # at 12.7 standard errors R's way from t by the normal distribution overflows
            assert_allclose((table["conf_low"] - low) / se, 0.0, atol=1e-6)
            assert_allclose((table["conf_high"] - high) / se, 0.0, atol=1e-6)


# ---------------------------------------------------------------------------------------------- entries


def test_every_entry_is_used():
    assert set(FITS) == set(names("fits", having="design")) - {"strat_intercept"}
    assert (len(LOGIT), len(OTHER_FAMILIES), len(LOGIT_TESTS)) == (61, 78, 11)
    assert (len(names("designs")), len(names("totals"))) == (61, 59)


# ---------------------------------------------------------------------------------------------- designs


@pytest.mark.parametrize("name", names("designs"))
def test_degrees_of_freedom(name):
    given = reference.design(name)
    arguments = given.arguments
    if given.lonely_psu == "fail" and name.startswith("lonely"):
        with pytest.raises(ValueError, match=r"strata have a single sampling unit, first stratum [78]"):
            survey_design(len(given.frame), **arguments)
        arguments["lonely_psu"] = "remove"
    assert survey_design(len(given.frame), **arguments).degf == given.degf


@pytest.mark.parametrize("name", names("totals"))
def test_variances_of_totals(name):
    entry, given = entries("totals")[name], reference.design(name)
    z = given.weights[:, None] * given.frame[entry["columns"]].to_numpy(dtype=float)
    assert_allclose(z.sum(axis=0), entry["total"], rtol=1e-12)
    design = survey_design(len(z), **given.arguments)
    expected = symmetric(entry["cov"])
    found = variance_of_total(z, design)
    if name in ADJUSTED:
        found = variance_of_total(z, survey_design(len(z), **given.arguments | {"lonely_psu": "remove"}))
        found += adjusted_about_zero(z, design)
    elif name == NO_STRATUM:
        found *= factor_without_a_stratum(design)
    scale = np.sqrt(np.diag(expected))
    assert_allclose(found / np.outer(scale, scale), expected / np.outer(scale, scale), atol=1e-12)


def adjusted_about_zero(z, design):
    """Return what lonely units add in R, the square of their totals; stages as in `stages2_lonely_adjust`."""
    variance = np.zeros((z.shape[1], z.shape[1]))
    for number, stage in enumerate(design.stages):
        for h in np.flatnonzero(stage.lonely):
            inside = stage.unit == np.flatnonzero(stage.stratum_of_unit == h)[0]
            total = z[inside].sum(axis=0)
            share = 1.0
            if number:
                first = design.stages[0]
                share = first.fraction[first.stratum_of_unit[first.unit[inside][0]]]
            variance += share * (1 - stage.fraction[h]) * np.outer(total, total)
    return variance


def factor_without_a_stratum(design):
    """Return R's factor for strata without a variance of their own, over that of all strata of the design."""
    n_strata, n_lonely = len(design.stages[0].n_units), int(design.stages[0].lonely.sum())
    assert design.n_strata == n_strata - 1
    return (n_strata - 1) / (n_strata - 1 - n_lonely) * (n_strata - n_lonely) / n_strata


# ------------------------------------------------------------------------------------------------- fits


@pytest.mark.parametrize("name", [name for name in LOGIT if not name.startswith(NO_STRATUM)])
def test_logit(name):
    assert_as_in_r(name)


@pytest.mark.parametrize("name", LOGIT)
def test_logit_of_the_working_model(name):
    given, est = reference.fit(name), fit(name)
    se = np.sqrt(np.diag(given.naive_cov))
    model = est._inference.covariances["model"]
    assert_allclose(model / np.outer(se, se), given.naive_cov / np.outer(se, se), atol=1e-8)
    n_positive = np.sum(given.design.weights > 0)
    assert -2 * est.loglik_ == pytest.approx(given.entry["deviance"] * n_positive / given.entry["n_rows"], rel=1e-9)
    design_effects = est.covariance_.diagonal() / model.diagonal()
    if not name.startswith(NO_STRATUM):
        # R's design effects are of variances times the dispersion
        expected = np.array(given.entry["deff"])
        assert_allclose(design_effects / design_effects[0], expected / expected[0], rtol=1e-7)


@pytest.mark.parametrize("name", [name for name in OTHER_FAMILIES if not name.startswith(NO_STRATUM)])
def test_other_families(name):
    assert_as_in_r(name)


@pytest.mark.parametrize("name", OTHER_FAMILIES)
def test_other_families_of_the_working_model(name):
    given, est = reference.fit(name), fit(name)
    se = np.sqrt(np.diag(given.naive_cov))
    naive = est._inference.covariances["naive"]
    assert_allclose(naive / np.outer(se, se), given.naive_cov / np.outer(se, se), atol=1e-7)


@pytest.mark.parametrize("kind", ["logit", "gaussian"])
def test_average_over_strata_outside_the_domain(kind):
    """A stratum without rows of the domain has a variance, of 0: R agrees if weights are zero, not under subset()."""
    est = fit(f"{NO_STRATUM}_{kind}")
    assert_allclose(est.covariance_, fit(f"lonely_average_zero_weights_{kind}").covariance_, rtol=1e-10)
    given = reference.fit(f"{NO_STRATUM}_{kind}")
    design = survey_design(len(given.y), **given.design.arguments)
    se = given.standard_errors
    assert_allclose(
        est.covariance_ * factor_without_a_stratum(design) / np.outer(se, se), given.cov / np.outer(se, se), atol=1e-7
    )


@pytest.mark.parametrize("name", LOGIT_TESTS)
def test_wald_tests(name):
    for expected in entries("fits")[name]["tests"]:
        found = wald_test(fit(name), expected["terms"])
        assert (found.df, found.df_denominator) == (expected["df"], expected["ddf"])
        assert found.statistic == pytest.approx(expected["wald_F"], rel=1e-6)
        assert found.p_value == pytest.approx(expected["wald_p"], rel=1e-5, abs=1e-9)
        asymptotic = wald_test(fit(name), expected["terms"], df="normal")
        assert asymptotic.statistic == pytest.approx(expected["wald_chi2"], rel=1e-6)
        assert asymptotic.p_value == pytest.approx(expected["wald_chi2_p"], rel=1e-5, abs=1e-9)


# ------------------------------------------------------------------------------------- results as published

# The documentation of R's survey: means of api00 in three samples, with their standard errors.
MEANS = {"strat": (662.29, 9.4089), "clus1": (644.17, 23.542), "clus2": (670.81, 30.099)}


@pytest.mark.parametrize("sample", MEANS)
def test_published_means(sample):
    api = load_api(sample)
    share = (api.sample_weight / api.sample_weight.sum()).to_numpy()
    mean = share @ api.target
    design = survey_design(len(api.target), groups=api.groups, strata=api.strata, fpc=api.fpc)
    variance = variance_of_total((share * (api.target - mean)).to_numpy()[:, None], design)
    assert mean == pytest.approx(MEANS[sample][0], abs=0.005)
    assert np.sqrt(variance[0, 0]) == pytest.approx(MEANS[sample][1], rel=2e-5)


# Standard errors of svyglm as it is by default. It stops by the deviance and keeps the working weights of the step
# before: they have four digits.
AS_PRINTED = {
    "strat": (
        [0.83583653, -0.00248964, -0.00315237, 0.06089678],
        [0.45562610, 0.01325250, 0.00919948, 0.03193542],
        194,
    ),
    "clus1": (
        [1.72610017, 0.04009480, -0.02078831, 0.01458037],
        [0.70113486, 0.01257307, 0.00921075, 0.02582998],
        11,
    ),
    "clus2": (
        [0.82118307, -0.05462042, 0.02873456, 0.01460176],
        [0.75561874, 0.02220249, 0.01799132, 0.03018219],
        36,
    ),
}


@pytest.mark.parametrize("sample", AS_PRINTED)
def test_loaded_samples_give_what_r_prints(sample):
    api = load_api(sample)
    est = LogitRegressor(weight_type="sampling")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewClustersWarning)
        est.fit(
            api.data,
            api.frame["sch.wide"] == "Yes",
            groups=api.groups,
            strata=api.strata,
            fpc=api.fpc,
            sample_weight=api.sample_weight,
        )
    coef, se, df = AS_PRINTED[sample]
    table = coef_table(est)
    assert_allclose(table["estimate"], coef, atol=6e-9)
    assert_allclose(table["std_error"], se, rtol=1e-4)
    assert (table["df"] == df).all()


def test_nhanes_without_those_not_measured():
    """People outside the domain change nothing where their units have others in it."""
    nhanes = load_nhanes()
    X = np.column_stack(
        [
            nhanes.data["race"].astype(float),
            *(nhanes.data["agecat"] == f"({age}]" for age in ("19,39", "39,59", "59,Inf")),
            nhanes.data["RIAGENDR"].astype(float),
        ]
    )
    est = LogitRegressor(weight_type="sampling")
    est.fit(X, nhanes.target, groups=nhanes.groups, strata=nhanes.strata, sample_weight=nhanes.sample_weight)
    given = reference.fit("nhanes_logit")
    assert_allclose(parameters(est), given.coef, rtol=1e-9)
    assert_allclose(coef_table(est)["std_error"], given.standard_errors, rtol=1e-9)
    assert (coef_table(est)["df"] == 11).all()
