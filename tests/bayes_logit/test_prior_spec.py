"""Priors of whole models: coordinates, derivatives, defaults, names, tables and prior predictive draws."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special, stats

from skdep.bayes.horseshoe import Horseshoe
from skdep.bayes.joint_priors import MultivariateNormal
from skdep.bayes.lkj import LKJ
from skdep.bayes.prior_spec import resolve_priors
from skdep.bayes.prior_summary import prior_predictive
from skdep.bayes.priors import Cauchy, Laplace, LogF, LogisticPrior, Normal, Prior, StudentT
from skdep.bayes.scale_priors import Exponential, HalfCauchy, HalfNormal, HalfStudentT

NAMES = ["age", "dose", "sex"]
SCALES, CENTRES = np.array([10.0, 2.0, 0.5]), np.array([50.0, -3.0, 0.4])
SCHOOL = SimpleNamespace(name="school", columns=(-1, 0, 2))
REGION = SimpleNamespace(name="region", columns=(1,))
COVARIANCE = np.array([[2.0, 0.3, -0.4, 0.1], [0.3, 0.5, 0.1, 0.0], [-0.4, 0.1, 1.0, 0.2], [0.1, 0.0, 0.2, 0.8]])
MIXED = {"age": StudentT(3, 0.1, 0.02), 1: LogF(1, 2), "coef": Laplace(0, 1)}


def resolve(prior=None, random=(), **arguments):
    return resolve_priors(prior, NAMES, SCALES, CENTRES, random, **arguments)


SPECS = {
    "default": lambda: resolve(),
    "mixed": lambda: resolve({**MIXED, "Intercept": Cauchy()}, [SCHOOL, REGION]),
    "joint": lambda: resolve(MultivariateNormal([1, 2, 3, 4], COVARIANCE)),
    "slopes": lambda: resolve({"coef": MultivariateNormal([1, 2], COVARIANCE[:2, :2]), "dose": Normal()}),
    "at_zero": lambda: resolve({"Intercept at 0": StudentT(5, 1, 2)}, [SCHOOL]),
    "reference": lambda: resolve(None, [SCHOOL], reference=CENTRES + 1.0, spreads=SCALES * 2.0),
    "diagonal": lambda: resolve({"sd": HalfNormal(2)}, [SCHOOL], covariance="diagonal"),
    "horseshoe": lambda: resolve({"coef": Horseshoe(0.5), "sex": Normal(), "Intercept at 0": Normal(0, 2)}, [SCHOOL]),
    "no_intercept": lambda: resolve_priors(None, NAMES, SCALES, np.zeros(3), [REGION], fit_intercept=False),
    "normal": lambda: resolve(None, [REGION]).replaced_by(MultivariateNormal(np.arange(5), np.eye(5) + 0.3)),
}
specs = pytest.mark.parametrize("name", SPECS)


def differences(function, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    steps = step * np.eye(len(x))
    return np.stack([(function(x + each) - function(x - each)) / (2 * step) for each in steps], axis=-1)


@specs
def test_derivatives(name):
    spec = SPECS[name]()
    points = 0.6 + 0.3 * np.random.default_rng(1).standard_normal((3, spec.n_points))
    for point, gradient in zip(points, spec.gradient(points)):
        assert_allclose(gradient, differences(spec.log_density, point), rtol=1e-6, atol=1e-7)
    if spec.has_latents:
        with pytest.raises(NotImplementedError, match="horseshoe"):
            spec.hessian(points)
        return
    for point, hessian, curvature in zip(points, spec.hessian(points), spec.curvature(points)):
        assert_allclose(hessian, differences(spec.gradient, point), rtol=1e-6, atol=1e-6)
        assert np.linalg.eigvalsh(curvature)[0] >= -1e-9
        assert np.linalg.eigvalsh(curvature + hessian)[0] >= -1e-9
    assert_allclose(spec.log_density(points[0]), spec.log_density(points)[0])


@specs
def test_coefficients_and_pull_back(name):
    spec = SPECS[name]()
    point = 0.4 * np.random.default_rng(2).standard_normal(spec.n_points)
    by = np.random.default_rng(3).standard_normal(spec.layout.n_coefficients)
    expected = differences(lambda point: by @ spec.working_coefficients(point), point)
    assert_allclose(spec.pull_back(point, by), expected, rtol=1e-7, atol=1e-8)


@specs
def test_draws_have_the_density(name):
    # E[gradient of the log density] = 0 and E[point_i d/d point_i] = -1 for any smooth density without boundary
    spec = SPECS[name]()
    points = spec.sample_points(4, 40_000)
    gradient = spec.gradient(points)
    scores = np.hstack([gradient, 1 + points * gradient])
    error = scores.std(axis=0) / np.sqrt(len(points))
    assert (np.abs(scores.mean(axis=0)) < 5 * error + 1e-12).all()
    assert_array_equal(points, spec.sample_points(np.random.default_rng(4), 40_000))


@pytest.mark.parametrize("name", [name for name in SPECS if name != "horseshoe"])
def test_round_trip_of_the_users_units(name):
    spec = SPECS[name]()
    points = 0.7 * np.random.default_rng(5).standard_normal((6, spec.n_points))
    assert_allclose(spec.from_user(spec.to_user(points)), points, rtol=1e-8, atol=1e-8)


def test_linear_predictors_agree_in_both_coordinates():
    spec = resolve(None, [SCHOOL, REGION])
    X = CENTRES + SCALES * np.random.default_rng(6).standard_normal((8, 3))
    points = 0.5 * np.random.default_rng(7).standard_normal((4, spec.n_points))
    user, working = spec.to_user(points), spec.working_coefficients(points)
    expected = user["intercept"][:, None] + user["coef"] @ X.T
    assert_allclose(working[:, :1] + working[:, 1:] @ ((X - CENTRES) / SCALES).T, expected, rtol=1e-10)
    for term in spec.layout.random:
        covariance = user["random_covariance"][term.name]
        Z = np.column_stack([np.ones(8) if column < 0 else X[:, column] for column in term.columns])
        factor = term.cholesky(points)
        found = term.design(X) @ factor @ np.swapaxes(factor, -1, -2) @ term.design(X).T
        assert_allclose(found, Z @ covariance @ Z.T, rtol=1e-7, atol=1e-9)


def test_density_in_the_users_units():
    prior = {"Intercept": Normal(1, 2), "age": Normal(0.05, 0.02), "coef": Laplace(0.5, 0.3)}
    spec = resolve(prior)
    intercept, coef = 0.3, np.array([0.06, -0.4, 1.0])
    point = spec.from_user({"intercept": np.array(intercept), "coef": coef})
    expected = (
        stats.norm(1, 2).logpdf(intercept + CENTRES @ coef)
        + stats.norm(0.05, 0.02).logpdf(coef[0])
        + stats.laplace(0.5, 0.3).logpdf(coef[1:]).sum()
    )
    # working slopes are the user's times the scales
    assert_allclose(spec.log_density(point), expected - np.log(SCALES).sum())


def test_joint_prior_is_of_the_models_intercept():
    loc = np.array([-1.0, 0.02, 0.3, 0.5])
    spec = resolve(MultivariateNormal(loc, COVARIANCE))
    draws = spec.sample(1, 40_000)
    both = np.column_stack([draws["intercept"], draws["coef"]])
    assert_allclose(both.mean(axis=0), loc, atol=0.05)
    assert_allclose(np.cov(both.T), COVARIANCE, atol=0.06)
    point = spec.from_user({"intercept": both[0, 0], "coef": both[0, 1:]})
    expected = stats.multivariate_normal(loc, COVARIANCE).logpdf(both[0]) - np.log(SCALES).sum()
    assert_allclose(spec.log_density(point), expected)


@pytest.mark.parametrize(("key", "at"), [("Intercept", CENTRES), ("Intercept at 0", np.zeros(3))])
def test_where_the_intercepts_prior_applies(key, at):
    draws = resolve({key: LogisticPrior()}).sample(2, 10_000)
    assert stats.kstest(special.expit(draws["intercept"] + draws["coef"] @ at), "uniform").pvalue > 1e-3


def test_reference_and_spreads_hold_a_prior_in_place():
    """The same prior of the user's parameters, whatever the working columns."""
    prior = {"dose": Normal(0.3, 0.1)}
    first = resolve(prior)
    later = resolve_priors(prior, NAMES, SCALES * 3, CENTRES - 2, spreads=SCALES, reference=CENTRES)
    values = {"intercept": np.array([0.2, 4.0]), "coef": np.array([[0.1, 0.3, -1.0], [0.0, 1.0, 2.0]])}
    expected = first.log_density(first.from_user(values)) - 3 * np.log(3)
    assert_allclose(later.log_density(later.from_user(values)), expected, rtol=1e-10)


def test_defaults():
    spec = resolve(None, [SCHOOL, REGION])
    table = spec.summary()
    assert table.loc["Intercept", "prior"] == "Normal(loc=0, scale=5)"
    assert table.loc["age", "prior"] == "Normal(loc=0, scale=0.25)"
    assert table.loc["sd[school, Intercept]", "prior"] == "HalfStudentT(df=4, scale=1)"
    assert table.loc["sd[school, age]", "prior"] == "HalfStudentT(df=4, scale=0.1)"
    assert table.loc["sd[region, dose]", "prior"] == "HalfStudentT(df=4, scale=0.5)"
    assert table.loc["correlation[school]", "prior"] == "LKJ(eta=2)"
    assert table["default"].all()
    # in working columns every slope has the same prior
    points = np.zeros((1, spec.n_points))
    assert_allclose(np.diag(spec.hessian(points)[0])[:4], [-1 / 25, -1 / 6.25, -1 / 6.25, -1 / 6.25])


def test_defaults_do_not_depend_on_units():
    units = np.array([100.0, 0.01, 7.0])
    other = resolve_priors(None, NAMES, SCALES * units, CENTRES * units, [SCHOOL])
    points = np.random.default_rng(8).standard_normal((3, other.n_points))
    assert_allclose(other.log_density(points), resolve(None, [SCHOOL]).log_density(points), rtol=1e-12)


def test_summary_of_the_users_priors():
    prior = {**MIXED, "sd": {"school": {"age": Exponential(0.2)}, "region": HalfCauchy(3)}, "correlation": LKJ(4)}
    table = resolve(prior, [SCHOOL, REGION]).summary(0.9)
    assert_allclose(table.loc["age", ["low", "high"]].astype(float), stats.t(3, 0.1, 0.02).ppf([0.05, 0.95]))
    ratios = np.exp(stats.laplace(0, 1).ppf([0.05, 0.95]))
    assert_allclose(table.loc["sex", ["odds_ratio_low", "odds_ratio_high"]].astype(float), ratios)
    assert np.isnan(table.loc["Intercept", "odds_ratio_low"])
    shape = 4 - 1 + 1.5
    expected = 2 * stats.beta(shape, shape).ppf([0.05, 0.95]) - 1
    assert_allclose(table.loc["correlation[school]", ["low", "high"]].astype(float), expected)
    assert table["default"].to_dict() == {
        "Intercept": True,
        "age": False,
        "dose": False,
        "sex": False,
        "sd[school, Intercept]": True,
        "sd[school, age]": False,
        "sd[school, sex]": True,
        "sd[region, dose]": False,
        "correlation[school]": False,
    }


@specs
def test_ranges_of_the_summary_hold_their_share_of_the_draws(name):
    spec = SPECS[name]()
    table, draws = spec.summary(0.8), spec.sample(9, 20_000)
    for place, feature in enumerate(NAMES):
        inside = (draws["coef"][:, place] > table.loc[feature, "low"]) & (
            draws["coef"][:, place] < table.loc[feature, "high"]
        )
        assert_allclose(inside.mean(), 0.8, atol=0.015)
    for term in spec.layout.random:
        # standard deviations at the centre of the features, in their units
        sd = np.exp(spec.sample_points(9, 20_000)[:, term.log_sd]) / term.scales
        for place, effect in enumerate(term.effects):
            row = table.loc[f"sd[{term.name}, {effect}]"]
            assert_allclose(((sd[:, place] > row["low"]) & (sd[:, place] < row["high"])).mean(), 0.8, atol=0.015)


def test_horseshoe_is_of_slopes_per_standard_deviation():
    prior = Horseshoe(0.5)
    spec = resolve(prior)
    assert spec.n_points == 4 + 5
    draws = spec.sample(3, 20_000)["coef"] * SCALES
    expected = np.quantile(np.abs(prior.sample(4, 40_000)[:, 0]), [0.25, 0.5, 0.75])
    for place in range(3):
        assert_allclose(np.quantile(np.abs(draws[:, place]), [0.25, 0.5, 0.75]), expected, rtol=0.06)
    with pytest.raises(ValueError, match="do not determine"):
        spec.from_user({"intercept": np.zeros(1), "coef": np.zeros((1, 3))})


def test_normal_prior_of_points():
    spec = resolve(None, [SimpleNamespace(name="school", columns=(-1, 0))])
    normal = MultivariateNormal(np.linspace(-0.5, 0.5, 7), 0.1 * np.eye(7))
    replaced = spec.replaced_by(normal)
    points = np.random.default_rng(1).standard_normal((3, 7))
    assert_allclose(replaced.log_density(points), normal.log_density(points))
    row = replaced.summary().loc["correlation[school, Intercept, age]"]
    expected = np.tanh(stats.norm(0.5, np.sqrt(0.1)).ppf([0.025, 0.975]))
    assert_allclose(row[["low", "high"]].astype(float), expected, atol=0.01)
    with pytest.raises(ValueError, match="dimension 7"):
        spec.replaced_by(MultivariateNormal(np.zeros(3), np.eye(3)))


def test_only_rough_priors_are_smoothed():
    spec, rough = resolve(), resolve(MIXED)
    points = np.random.default_rng(3).standard_normal((4, 4))
    assert spec.smooth
    assert_array_equal(spec.smoothed().log_density(points), spec.log_density(points))
    assert not rough.smooth
    assert rough.smoothed().smooth
    assert (np.abs(rough.smoothed().log_density(points) - rough.log_density(points)) < 1).all()


@pytest.mark.parametrize("prior", [None, {"sd": HalfNormal(0.8), "correlation": LKJ(5)}])
def test_prior_predictive_draws(prior):
    spec = resolve(prior, [SCHOOL, REGION])
    X = CENTRES + SCALES * np.array([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5], [1.0, -1.0, 0.5]])
    own = prior_predictive(spec, X, 1, 20_000)
    assert own.shape == (20_000, 3)
    assert_allclose(own.mean(axis=0), 0.5, atol=0.015)
    together = {"school": np.array([3, 3, 3]), "region": np.array([1, 2, 2])}
    shared = prior_predictive(spec, X, 2, 20_000, codes=together)
    # rows of the same levels and features have the same probability; else only the same distribution
    assert_array_equal(shared[:, 1], shared[:, 2])
    assert not np.allclose(own[:, 1], own[:, 2])
    for place in range(3):
        assert stats.ks_2samp(own[:, place], shared[:, place]).pvalue > 1e-3
    offset = np.array([1.0, 0.0, -1.0])
    moved = special.logit(prior_predictive(spec, X, 1, 5, offset=offset))
    assert_allclose(moved, special.logit(prior_predictive(spec, X, 1, 5)) + offset, rtol=1e-6)
    with pytest.raises(ValueError, match="X should have 3 columns"):
        prior_predictive(spec, X[:, :2])


def test_intercept_only():
    spec = resolve_priors({"Intercept": LogF(2, 3)}, [], [], [])
    draws = prior_predictive(spec, np.empty((1, 0)), 5, 10_000)[:, 0]
    assert stats.kstest(draws, stats.beta(2, 3).cdf).pvalue > 1e-3
    assert spec.log_density(np.zeros((1, 1))).shape == (1,)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"agee": Normal()}, r"key 'agee'; each should be a feature \('age', 'dose', 'sex'\), its number, or one of"),
        ({3: Normal()}, "key 3; each should be a feature"),
        ({-1: Normal()}, "key -1; each should be a feature"),
        ({True: Normal()}, "key True"),
        ({"age": Normal(), 0: Normal()}, "'age' twice"),
        ({"age": HalfNormal()}, r"prior\['age'\] should be a prior of a coefficient"),
        ({"age": 2.5}, r"prior\['age'\] should be a prior of a coefficient"),
        ({"Intercept": MultivariateNormal([0], [[1]])}, "should be a prior of a coefficient"),
        ({"Intercept": Normal(), "Intercept at 0": Normal()}, "give one of them"),
        ({"coef": LKJ()}, r"prior\['coef'\] should be a prior of coefficients"),
        ({"coef": MultivariateNormal(np.zeros(4), np.eye(4))}, "dimension 4, but it is to be of 3 slopes"),
        ({"joint": MultivariateNormal(np.zeros(3), np.eye(3))}, "dimension 3, but there are 4 coefficients"),
        ({"joint": MultivariateNormal(np.zeros(4), np.eye(4)), "age": Normal()}, r"leaves none for \['age'\]"),
        ({"joint": Normal()}, "MultivariateNormal"),
        (MultivariateNormal(np.zeros(6), np.eye(6)), "dimension 6"),
        (HalfNormal(), "{'sd': HalfNormal"),
        (LKJ(), "{'correlation': LKJ"),
        ("normal", "prior should be None"),
        ({"sd": Normal()}, "should be a prior of a standard deviation"),
        ({"sd": {"scool": HalfNormal()}}, r"keys \['scool'\], but each should be the name of a factor: \['school'\]"),
        ({"sd": {"school": {"dose": HalfNormal()}}}, r"name of a random effect: \['Intercept', 'age', 'sex'\]"),
        ({"correlation": Normal()}, "should be a prior of correlations"),
    ],
)
def test_what_cannot_be_understood(prior, message):
    with pytest.raises(ValueError, match=message):
        resolve(prior, [SCHOOL])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resolve({"sd": HalfNormal()}), "groups are not given"),
        (lambda: resolve({"correlation": LKJ()}, [REGION]), "no factor has correlated"),
        (lambda: resolve_priors({"coef": Normal()}, ["coef"], [1], [0]), "both a feature and a word"),
        (lambda: resolve_priors({"a": Normal()}, ["a", "a"], [1, 1], [0, 0]), "name of several features"),
        (lambda: resolve_priors(None, ["a"], [0.0], [0.0]), "constant features"),
        (lambda: resolve_priors(None, ["a"], [1.0], [0.0, 1.0]), "1 finite numbers"),
        (lambda: resolve_priors(None, ["a"], [1.0], [2.0], fit_intercept=False), "cannot be centred"),
        (
            lambda: resolve_priors({"Intercept": Normal()}, ["a"], [1.0], [0.0], fit_intercept=False),
            "the model has no intercept",
        ),
        (lambda: resolve(spreads=np.zeros(3)), "spreads"),
        (lambda: resolve(reference=np.zeros(2)), "reference"),
        (lambda: resolve().summary(1.5), "level"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_half_t_of_the_user_is_not_rescaled():
    spec = resolve({"sd": HalfStudentT(4, 0.2)}, [SimpleNamespace(name="school", columns=(-1, 0))])
    covariance = spec.sample(1, 20_000)["random_covariance"]["school"]
    sd = np.sqrt(covariance[:, 1, 1])
    assert stats.kstest(sd, HalfStudentT(4, 0.2).cdf).pvalue > 1e-3
    at_centre = np.array([1.0, CENTRES[0]])
    intercept_sd = np.sqrt(at_centre @ covariance @ at_centre)
    assert stats.kstest(intercept_sd, HalfStudentT(4, 0.2).cdf).pvalue > 1e-3


@dataclass(frozen=True, repr=False)
class Gumbel(Prior):
    """A prior of a user's own."""

    loc: float = 0.0
    scale: float = 1.0

    def _log_density(self, z):
        return -z - np.exp(-z)

    def _gradient(self, z):
        return np.exp(-z) - 1.0

    def _second_derivative(self, z):
        return -np.exp(-z)

    def _quantile(self, probability):
        return -np.log(-np.log(probability))

    def _draw(self, rng, size):
        return rng.gumbel(size=size)


def test_a_prior_of_the_users_own():
    spec = resolve({"age": Gumbel(0.1, 0.05), "coef": Gumbel(1.0, 2.0)})
    point = np.array([0.5, 0.3, 1.0, -0.4])
    expected = (
        stats.norm(0, 5).logpdf(0.5)
        + stats.gumbel_r(1.0, 0.5).logpdf(0.3)
        + stats.gumbel_r([2.0, 0.5], [4.0, 1.0]).logpdf(point[2:]).sum()
    )
    assert_allclose(spec.log_density(point), expected)
    assert_allclose(spec.gradient(point), differences(spec.log_density, point), rtol=1e-7)
    draws = spec.sample(1, 10_000)["coef"]
    assert stats.kstest(draws[:, 0], stats.gumbel_r(0.1, 0.05).cdf).pvalue > 1e-3
    assert_allclose(spec.summary().loc["age", "high"], stats.gumbel_r(0.1, 0.05).ppf(0.975))


def test_uncorrelated_effects_are_uncorrelated_in_the_users_units():
    draws = SPECS["diagonal"]().sample(1, 5)["random_covariance"]["school"]
    assert_allclose(draws, draws * np.eye(3))
    without_intercept = resolve(None, [SimpleNamespace(name="school", columns=(0, 1))]).layout.random[0]
    assert without_intercept.correlated
    assert_array_equal(without_intercept.centres, 0.0)
