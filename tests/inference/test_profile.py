"""Profile-likelihood intervals: the likelihood ratio at their ends by brute force, lme4, closed forms, invariances."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEERegressor, MixedLinear
from skdep._threads import one_blas_thread
from skdep.datasets import load_pastes, load_penicillin, load_sleepstudy
from skdep.exceptions import CollinearityWarning, SingularFitWarning
from skdep.inference import coef_table, profile_interval
from skdep.mixed.constrained import ConstrainedFit
from skdep.mixed.profiling import _Curve
from tests.mixed.dense import Design, Term, loglik

CUT2 = stats.chi2.ppf(0.95, 1)
ENDS = ["conf_low", "conf_high"]


# ---- brute force -----------------------------------------------------------------------------------------------------


class BruteForce:
    """The dense likelihood, maximised under an equation by sequential quadratic programming.

    Variables are the coefficients, the lower Cholesky factors of all covariance matrices, and sigma.
    """

    def __init__(self, X, y, terms):
        self.design = Design(X, y, tuple(terms))
        self.p = X.shape[1]
        self.alike = [term.codes[:, None] == term.codes for term in terms]

    def split(self, x):
        """Return coefficients, covariance matrices and sigma."""
        factors, entries = [], iter(x[self.p : -1])
        for term in self.design.terms:
            T = np.zeros((term.Z.shape[1],) * 2)
            for i, j in term.pairs:
                T[i, j] = next(entries)
            factors.append(T @ T.T)
        return x[: self.p], factors, x[-1]

    def deviance(self, x):
        beta, covariances, sigma = self.split(x)
        design = self.design
        V = np.diag(sigma**2 / design.W)
        for term, alike, Sigma in zip(design.terms, self.alike, covariances):
            V += alike * (term.Z @ Sigma @ term.Z.T)
        root = np.linalg.cholesky(V)
        residual = np.linalg.solve(root, design.y - design.X @ beta)
        return len(design.y) * np.log(2 * np.pi) + 2 * np.log(np.diag(root)).sum() + residual @ residual

    def start(self, model):
        order = [np.linalg.cholesky(S + 1e-3 * np.diag(np.diag(S))) for S in model.random_covariance_.values()]
        entries = [T[i, j] for T, term in zip(order, self.design.terms) for i, j in term.pairs]
        return np.array([*model._inference.estimate, *entries, np.sqrt(model.sigma2_)])

    def minimise(self, x, constraint=None, n_times=2):
        """Minimise the deviance from x, where constraint(split) is zero; variables are scaled by their start."""
        options = {"method": "BFGS"}
        if constraint is not None:
            options = {"method": "SLSQP", "options": {"maxiter": 500, "ftol": 1e-14}}
        for _ in range(n_times):
            scale = np.where(np.abs(x) > 1e-3, np.abs(x), 1.0)
            if constraint is not None:
                options["constraints"] = {
                    "type": "eq",
                    "fun": lambda u, scale=scale: constraint(*self.split(u * scale)),
                }
            best = optimize.minimize(lambda u, scale=scale: self.deviance(u * scale), x / scale, **options)
            x = best.x * scale
        return best.fun, x


def natural(kind, term, first, second):
    """Return the function of coefficients, covariance matrices and sigma that is the parameter."""
    if kind == "coefficient":
        return lambda beta, S, sigma: beta[first]
    if kind == "residual":
        return lambda beta, S, sigma: abs(sigma)
    if kind == "sd":
        return lambda beta, S, sigma: np.sqrt(S[term][first, first])
    return lambda beta, S, sigma: S[term][first, second] / np.sqrt(S[term][first, first] * S[term][second, second])


def layout(names, random_names):
    """List kind and place of all parameters, in the order of the table; terms in the order of the user."""
    found = [("coefficient", 0, k, 0) for k in range(len(names))]
    for term, effects in enumerate(random_names.values()):
        q = len(effects)
        found += [("sd", term, a, a) for a in range(q)]
        found += [("correlation", term, a, b) for a in range(q) for b in range(a + 1, q)]
    return [*found, ("residual", 0, 0, 0)]


def simulated(seed, n_groups, size, slopes, spread):
    """Return X, y, codes of one factor with random slopes of the first `slopes` features."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_groups), size)
    X = rng.normal(size=(len(codes), max(slopes, 1))) + 1.5
    effects = rng.normal(size=(n_groups, slopes + 1)) @ np.asarray(spread).T
    Z = np.column_stack([np.ones(len(codes)), X[:, :slopes]])
    return X, 2.0 + X[:, 0] + np.sum(Z * effects[codes], axis=1) + rng.normal(size=len(codes)), codes


def one_slope():
    X, y, codes = simulated(3, 12, 6, 1, [[1.0, 0.0], [0.3, 0.6]])
    model = MixedLinear(random_slopes=[0]).fit(X, y, groups=codes)
    design = np.column_stack([np.ones(len(y)), X])
    return model, BruteForce(design, y, [Term(codes, design)])


def two_slopes():
    X, y, codes = simulated(8, 20, 5, 2, [[1.2, 0, 0], [0.5, 0.9, 0], [-0.4, 0.2, 0.8]])
    model = MixedLinear(random_slopes=[0, 1], method="ml").fit(X, y, groups=codes)
    design = np.column_stack([np.ones(len(y)), X])
    return model, BruteForce(design, y, [Term(codes, design)])


def crossed():
    rng = np.random.default_rng(5)
    first, second = (part.ravel() for part in np.meshgrid(np.arange(9), np.arange(7)))
    x = rng.normal(size=len(first))
    effects = rng.normal(size=(9, 2)) @ np.array([[1.0, 0.4], [0.0, 0.7]])
    y = 1 + x + effects[first, 0] + effects[first, 1] * x + 0.8 * rng.normal(size=7)[second] + rng.normal(size=len(x))
    groups = pd.DataFrame({"one": first, "two": second})
    model = MixedLinear(random_slopes={"one": [0]}).fit(x[:, None], y, groups=groups)
    design = np.column_stack([np.ones(len(y)), x])
    return model, BruteForce(design, y, [Term(first, design), Term(second, design[:, :1])])


@pytest.mark.parametrize("case", [one_slope, two_slopes, crossed])
def test_likelihood_ratio_at_the_ends_by_brute_force(case):
    """Every end that is not a bound: the largest likelihood with the parameter held there is chi2(1, .95) / 2 lower."""
    model, brute = case()
    with one_blas_thread():
        check_ends(model, brute)


def check_ends(model, brute):
    table = profile_interval(model).table
    optimum, x_hat = brute.minimise(brute.start(model))
    n_checked = 0
    for (name, row), place in zip(table.iterrows(), layout(model._inference.names, model.random_names_), strict=True):
        value = natural(*place)
        assert value(*brute.split(x_hat)) == pytest.approx(row["estimate"], rel=2e-4, abs=1e-4), name
        for end in ENDS:
            if row[end] in (0.0, 1.0, -1.0):
                continue
            x = x_hat
            for share in (0.5, 1.0):
                held = row["estimate"] + share * (row[end] - row["estimate"])
                n_times = 1 if share < 1.0 else 2  # from half-way on
                reached, x = brute.minimise(x, lambda *parts, held=held, f=value: f(*parts) - held, n_times)
            assert reached - optimum == pytest.approx(CUT2, abs=2e-4), (name, end)
            n_checked += 1
    assert n_checked >= 2 * len(table) - 3


# ---- lme4 ------------------------------------------------------------------------------------------------------------

# lme4 1.1-31, in R 4.2:
#   confint(profile(lmer(Reaction ~ Days + (Days | Subject), sleepstudy), devtol = 1e-7, signames = FALSE))
# and so on. lme4 interpolates between points of the profile: its ends are exact to about 2e-4.
LME4 = {
    "sleepstudy": {
        "Intercept": (237.680695505, 265.129514680),
        "Days": (7.358653275, 13.575918752),
        "SD of Intercept by Subject": (14.381418161, 37.715995318),
        "SD of Days by Subject": (3.801164053, 8.753380753),
        "Correlation of Intercept and Days by Subject": (-0.481500758, 0.684986273),
        "Residual SD": (22.898266882, 28.857996511),
    },
    "sleepstudy, diagonal": {
        "Intercept": (237.57214801, 265.23806176),
        "Days": (7.33406683, 13.60050511),
        "SD of Intercept by Subject": (15.25864668, 37.78647090),
        "SD of Days by Subject": (3.96407386, 8.76915916),
        "Residual SD": (22.88055465, 28.78759759),
    },
    "penicillin": {
        "Intercept": (21.266627384, 24.677817616),
        "SD of Intercept by plate": (0.633565967, 1.182103976),
        "SD of Intercept by sample": (1.095789302, 3.556290953),
        "Residual SD": (0.485845400, 0.629453478),
    },
    "pastes": {
        "Intercept": (58.663650379, 61.44301637),
        "SD of Intercept by batch": (0.0, 2.94659110),
        "SD of Intercept by batch:cask": (2.157933708, 4.05358894),
        "Residual SD": (0.652023359, 1.08544810),
    },
    "dyestuff": {
        "Intercept": (1486.4515000, 1568.5484944),
        "SD of Intercept by Batch": (12.1985352, 84.0630467),
        "Residual SD": (38.2299849, 67.6576962),
    },
    "dyestuff2": {
        "Intercept": (4.31210022, 7.01909235),
        "SD of Intercept by Batch": (0.0, 2.08404349),
        "Residual SD": (2.89283102, 4.81583255),
    },
}


@pytest.fixture
def studies(reference_csv):
    def fitted(name, **options):
        if name.startswith("dyestuff"):
            data = reference_csv(f"mixed_{name}")
            return MixedLinear(**options).fit(np.empty((len(data), 0)), data["Yield"], groups=data["Batch"])
        if name.startswith("sleepstudy"):
            study = load_sleepstudy()
            covariance = "diagonal" if "diagonal" in name else "full"
            model = MixedLinear(random_slopes=["Days"], covariance=covariance, **options)
        else:
            study = {"penicillin": load_penicillin, "pastes": load_pastes}[name]()
            model = MixedLinear(**options)
        return model.fit(study.data, study.target, groups=study.groups)

    return fitted


@pytest.mark.filterwarnings("ignore::skdep.exceptions.SingularFitWarning")
@pytest.mark.parametrize("name", LME4)
def test_lme4(studies, name):
    table = profile_interval(studies(name)).table
    expected = pd.DataFrame(LME4[name], index=ENDS).T
    assert list(table.index) == list(expected.index)
    width = (expected["conf_high"] - expected["conf_low"]).to_numpy()[:, None]
    assert np.all(np.abs(table[ENDS].to_numpy() - expected.to_numpy()) < 3e-4 * width)


def test_reml_and_ml_fits_have_the_same_profiles(studies):
    reml, ml = (profile_interval(studies("sleepstudy", method=method)).table for method in ("reml", "ml"))
    assert_allclose(reml, ml, rtol=1e-5)


# ---- closed forms ----------------------------------------------------------------------------------------------------


def test_plain_regression_in_closed_form():
    """The deviance is n log(rss) for coefficients, n (log s2 + rss / (n s2)) for sigma."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2)) + 4
    y = X @ [1.0, -2.0] + rng.normal(size=30)
    model = MixedLinear().fit(X, y)
    table, wald = profile_interval(model).table, coef_table(model)
    n, p = 30, 3
    half = wald["std_error"] * np.sqrt((n - p) * np.expm1(CUT2 / n))
    assert_allclose(table.loc[wald.index, "conf_low"], wald["estimate"] - half, rtol=1e-5)
    assert_allclose(table.loc[wald.index, "conf_high"], wald["estimate"] + half, rtol=1e-5)
    s2 = model.sigma2_ * (n - p) / n
    for end in ENDS:
        ratio = table.loc["Residual SD", end] ** 2 / s2
        assert n * (np.log(ratio) + 1 / ratio - 1) == pytest.approx(CUT2, rel=1e-5)


def test_balanced_one_way_in_closed_form(studies):
    """-2 log L = k (m - 1) log s2 + W / s2 + k log u + B / u, with u = s2 + m v and W, B the sums of squares."""
    model = studies("dyestuff")
    k, m = 6, 5
    row = profile_interval(model, "Residual SD").table.iloc[0]
    within, sigma2 = model.sigma2_ * k * (m - 1), model.sigma2_
    between = (k - 1) * (sigma2 + m * model.random_covariance_["Batch"][0, 0])

    def deviance(s2, u):
        return k * (m - 1) * np.log(s2) + within / s2 + k * np.log(u) + between / u

    best = deviance(sigma2, between / k)
    for end in ENDS:
        s2 = row[end] ** 2
        assert deviance(s2, max(between / k, s2)) - best == pytest.approx(CUT2, abs=1e-5)


# ---- boundaries ------------------------------------------------------------------------------------------------------


def test_variance_of_zero_is_in_the_interval_where_the_simpler_model_is_not_rejected(studies):
    pastes = load_pastes()
    full = studies("pastes", method="ml")
    simpler = {
        name: MixedLinear(method="ml").fit(pastes.data, pastes.target, groups=pastes.groups[[other]])
        for name, other in [("batch", "batch:cask"), ("batch:cask", "batch")]
    }
    curves = profile_interval(full).curves
    ratio = 2 * (full.loglik_ - simpler["batch"].loglik_)
    curve = curves["SD of Intercept by batch"]
    assert curve.value[0] == 0.0 and curve.zeta[0] == pytest.approx(-np.sqrt(ratio), abs=1e-5)
    assert 2 * (full.loglik_ - simpler["batch:cask"].loglik_) > CUT2
    assert curves["SD of Intercept by batch:cask"].value[0] > 0


def test_estimate_of_zero(studies):
    with pytest.warns(SingularFitWarning):
        model = studies("dyestuff2", method="ml")
    result = profile_interval(model)
    row = result.table.loc["SD of Intercept by Batch"]
    assert row["estimate"] == row["conf_low"] == 0.0
    assert row["conf_high"] == pytest.approx(2.0840479, rel=1e-5)


def test_correlation_that_may_be_one():
    X, y, codes = simulated(1, 8, 5, 1, [[1.0, 0.0], [0.7, 0.05]])
    with pytest.warns(SingularFitWarning):
        model = MixedLinear(random_slopes=[0], method="ml").fit(X, y, groups=codes)
    result = profile_interval(model)
    row = result.table.loc["Correlation of Intercept and x0 by group"]
    assert row["estimate"] == row["conf_high"] == 1.0
    assert -1.0 < row["conf_low"] < 1.0
    design = np.column_stack([np.ones(len(y)), X])
    brute = BruteForce(design, y, [Term(codes, design)])

    def deviance(x, rho=row["conf_low"]):
        sds, sigma = np.exp(x[2:4]), np.exp(x[4])
        factor = [sds[0], rho * sds[1], np.sqrt(1 - rho**2) * sds[1]]
        return brute.deviance(np.r_[x[:2], factor[0], factor[1], factor[2], sigma])

    start = [*model._inference.estimate, *np.log(np.sqrt(np.diag(model.random_covariance_["group"]))), 0.0]
    reached = optimize.minimize(deviance, start, method="BFGS").fun
    assert reached + 2 * model.loglik_ == pytest.approx(CUT2, abs=1e-4)


def test_correlation_of_an_effect_that_does_not_vary():
    X, y, codes = simulated(4, 10, 6, 1, [[1.0, 0.0], [0.0, 0.0]])
    y = y - np.concatenate([np.polyfit(X[codes == j, 0], y[codes == j], 1)[0] * X[codes == j, 0] for j in range(10)])
    with pytest.warns(SingularFitWarning):
        model = MixedLinear(random_slopes=[0], covariance="full").fit(X - X.mean(), y, groups=codes)
    row = profile_interval(model).table.loc["Correlation of Intercept and x0 by group"]
    assert (row["conf_low"], row["conf_high"]) == (-1.0, 1.0)


# ---- invariances -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sleep():
    return load_sleepstudy()


def sleep_table(sleep, X=None, y=None, **options):
    model = MixedLinear(random_slopes=["Days"])
    X = sleep.data if X is None else X
    return profile_interval(model.fit(X, sleep.target if y is None else y, **{"groups": sleep.groups, **options})).table


def test_units_of_y(sleep):
    table, moved = sleep_table(sleep), sleep_table(sleep, y=1e-3 * sleep.target + 50.0)
    expected = 1e-3 * table[ENDS]
    expected.loc["Intercept"] += 50.0
    expected.loc["Correlation of Intercept and Days by Subject"] *= 1e3
    assert_allclose(moved[ENDS], expected, rtol=1e-5)


def test_origin_of_a_slope_far_away(sleep):
    table, moved = sleep_table(sleep), sleep_table(sleep, X=sleep.data + 1990.0)
    for name in ("Days", "SD of Days by Subject", "Residual SD"):
        assert_allclose(moved.loc[name], table.loc[name], rtol=1e-5)


def test_frequencies_are_repeated_rows(sleep):
    counts = np.arange(180) % 3 + 1
    rows = np.repeat(np.arange(180), counts)
    weighted = sleep_table(sleep, sample_weight=counts)
    repeated = sleep_table(sleep, X=sleep.data.iloc[rows], y=sleep.target[rows], groups=np.asarray(sleep.groups)[rows])
    assert_allclose(weighted, repeated, rtol=1e-5)


def test_offset_is_taken_off_y(sleep):
    offset = np.linspace(-20, 30, 180)
    assert_allclose(sleep_table(sleep, offset=offset), sleep_table(sleep, y=sleep.target - offset), rtol=1e-6)


def test_unit_of_precisions(sleep):
    weights = np.random.default_rng(1).uniform(0.5, 2.0, size=180)
    tables = []
    for scale in (1.0, 9.0):
        model = MixedLinear(random_slopes=["Days"], weight_type="precision")
        model.fit(sleep.data, sleep.target, groups=sleep.groups, sample_weight=scale * weights)
        tables.append(profile_interval(model).table)
    tables[1].loc["Residual SD"] /= 3.0
    assert_allclose(*tables, rtol=1e-5)


# ---- the result ------------------------------------------------------------------------------------------------------


def test_curves(sleep):
    model = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    for level in (0.5, 0.95, 0.99):
        result = profile_interval(model, level=level)
        cut = stats.norm.ppf(0.5 + level / 2)
        for name, row in result.table.iterrows():
            curve = result.curves[name]
            assert np.all(np.diff(curve.value) > 0) and np.all(np.diff(curve.zeta) > 0)
            zeta = dict(zip(curve.value, curve.zeta))
            assert zeta[row["estimate"]] == 0.0
            assert_allclose([zeta[row["conf_low"]], zeta[row["conf_high"]]], [-cut, cut], atol=2e-6)


def test_parameters_by_name(sleep):
    model = MixedLinear(random_slopes=["Days"]).fit(sleep.data, sleep.target, groups=sleep.groups)
    everything = profile_interval(model).table
    assert list(profile_interval(model, "coefficients").table.index) == ["Intercept", "Days"]
    assert list(profile_interval(model, "variances").table.index) == list(everything.index[2:])
    some = profile_interval(model, ["Residual SD", "Days"]).to_frame()
    assert_allclose(some, everything.loc[["Days", "Residual SD"]], rtol=1e-7)
    with pytest.raises(ValueError, match="unknown names"):
        profile_interval(model, ["Days", "nonsense"])
    with pytest.raises(ValueError, match="level"):
        profile_interval(model, level=95)


def test_result_prints_renders_and_pickles(sleep, capsys):
    model = make_pipeline(StandardScaler(), MixedLinear())
    model.fit(sleep.data, sleep.target, mixedlinear__groups=sleep.groups)
    result = profile_interval(model, progress=True)
    assert "Profiles: 4 of 4" in capsys.readouterr().err
    assert "SD of Intercept by Subject" in str(result) and "<table" in result._repr_html_()
    assert_allclose(pickle.loads(pickle.dumps(result)).table, result.table)
    profile_interval(model)
    assert capsys.readouterr().err == ""


def test_collinear_features_have_no_interval(sleep):
    X = np.column_stack([sleep.data, 2 * sleep.data, np.random.default_rng(0).normal(size=180)])
    with pytest.warns(CollinearityWarning):
        model = MixedLinear().fit(X, sleep.target, groups=sleep.groups)
    table = profile_interval(model).table
    clean = profile_interval(MixedLinear().fit(X[:, [0, 2]], sleep.target, groups=sleep.groups)).table
    assert table.loc[["x0", "x1"]].isna().all(axis=None)
    assert_allclose(table.loc["x2"], clean.loc["x1"], rtol=1e-5)
    assert_allclose(table.loc["Residual SD"], clean.loc["Residual SD"], rtol=1e-5)


def test_what_has_no_profile_is_refused(sleep):
    weights = np.linspace(1, 2, 180)
    model = MixedLinear(weight_type="sampling")
    model.fit(sleep.data, sleep.target, groups=sleep.groups, sample_weight=weights)
    with pytest.raises(ValueError, match="pseudo-likelihood"):
        profile_interval(model)
    with pytest.warns(SingularFitWarning):
        model = MixedLinear().fit(sleep.data, 3.0 * sleep.data["Days"], groups=sleep.groups)
    with pytest.raises(ValueError, match="residual variance"):
        profile_interval(model)
    gee = GEERegressor().fit(sleep.data, sleep.target)
    with pytest.raises(TypeError, match="MixedLinear"):
        profile_interval(gee)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_one_row_a_level():
    """Only the sum of both variances is known: neither is bounded away from zero."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(25, 1)), rng.normal(size=25)
    with pytest.warns(SingularFitWarning):
        model = MixedLinear().fit(X, y, groups=np.arange(25))
    table = profile_interval(model).table
    plain = profile_interval(MixedLinear().fit(X, y)).table
    assert_allclose(table.loc["x0", ENDS], plain.loc["x0", ENDS], rtol=1e-4)
    high = plain.loc["Residual SD", "conf_high"]
    for name in ("SD of Intercept by group", "Residual SD"):
        assert table.loc[name, "conf_low"] == 0.0
        assert table.loc[name, "conf_high"] == pytest.approx(high, rel=1e-3)


@pytest.mark.parametrize("power", [1.0, 0.7, 1.4])
def test_ends_of_a_known_curve(power):
    """zeta = 2 sign(x - 3) |x - 3|^power."""
    curve = _Curve(lambda x, start: ConstrainedFit(4 * abs(x - 3) ** (2 * power), start, True), 3.0, 0.0, [], 1.5)
    reach = 0.75 ** (1 / power)
    assert curve.end(-1, -np.inf, 0.3) == pytest.approx(3 - reach, abs=1e-5)
    assert curve.end(1, 3 + 2 * reach, 5.0) == pytest.approx(3 + reach, abs=1e-5)
    assert curve.end(1, 3 + 0.9 * reach, 0.5) == 3 + 0.9 * reach
    assert not curve.problems


def test_what_goes_wrong_is_said():
    def broken(x, start):
        return ConstrainedFit(np.nan if x > 1 else x**2, start, True)

    curve = _Curve(broken, 0.0, 0.0, [], 1.96)
    assert np.isnan(curve.end(1, np.inf, 1.0)) and "could not be computed" in curve.problems[0]
    curve = _Curve(lambda x, start: ConstrainedFit(min(x**2, 1.0), start, True), 0.0, 0.0, [], 1.96)
    assert np.isnan(curve.end(1, np.inf, 1.0)) and "no end was found" in curve.problems[0]
    curve = _Curve(lambda x, start: ConstrainedFit(x**2, start, False), 0.0, 0.0, [], 1.96)
    curve.end(1, np.inf, 1.0)
    said = " ".join(curve.problems)
    assert "better fit" not in said and "did not converge" in said
    curve = _Curve(lambda x, start: ConstrainedFit((x - 1) ** 2 - 1, start, True), 0.0, 0.0, [], 1.96)
    assert curve.end(1, np.inf, 1.0) == pytest.approx(1 + np.sqrt(1 + 1.96**2), abs=1e-5)
    assert "better fit" in curve.problems[0]


def test_dense_deviance_is_the_dense_loglik():
    """What brute force minimises is the likelihood that the rest of the tests trust."""
    model, brute = one_slope()
    beta, covariances, sigma = brute.split(brute.start(model))
    theta = np.array([*(S[i, j] for S in covariances for j in range(2) for i in range(j, 2)), sigma**2])
    gls_beta = np.linalg.lstsq(brute.design.X, brute.design.y, rcond=None)[0]
    best = min(
        optimize.minimize(lambda b: brute.deviance(np.r_[b, brute.start(model)[2:]]), start).fun
        for start in (beta, gls_beta)
    )
    assert best == pytest.approx(-2 * loglik(brute.design, theta, "ml"), rel=1e-8)
