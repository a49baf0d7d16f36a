"""Profile-likelihood intervals of logistic mixed models: brute force at their ends, lme4, invariances, boundaries."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, special, stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import GEEClassifier, LogitRegressor, MixedLogit
from skdep._threads import one_blas_thread
from skdep.datasets import load_ohio
from skdep.exceptions import CollinearityWarning, SeparationWarning, SingularFitWarning
from skdep.glmm import held_search
from skdep.glmm.maximise import Settings, make_criterion
from skdep.inference import coef_table, profile_interval
from tests.conftest import REFERENCE
from tests.mixed_logit import dense
from tests.mixed_logit.designs import Case

CUT2 = stats.chi2.ppf(0.95, 1)
ENDS = ["conf_low", "conf_high"]


# ---- brute force -----------------------------------------------------------------------------------------------------


class BruteForce:
    """The likelihood in the user's columns, maximised under an equation by sequential quadratic programming.

    The engine gives values and gradients on the way, the dense twin those that count.
    """

    def __init__(self, design: dense.Design, n_nodes: int = 1):
        self.design, self.n_nodes, case = design, n_nodes, Case(design)
        settings = Settings(n_nodes, design.terms[0].diagonal, np.zeros((design.X.shape[1],) * 2), 0.0, 1, 1.0)
        self.engine, self.parameters = make_criterion(case.rows, settings, n_nodes), case.parameters

    def split(self, x):
        """Return coefficients and covariance matrices."""
        beta, Ts = dense.unpack(self.design, x)
        return beta, [T @ T.T for T in Ts]

    def dense_deviance(self, x):
        arguments = (dense.laplace,) if self.n_nodes == 1 else (dense.quadrature, self.n_nodes)
        return -2.0 * dense.objective(self.design, *arguments)(x)

    def deviance(self, x):
        """Return -2 log L and its gradient."""
        state = self.engine.value(*dense.unpack(self.design, x))
        return 2.0 * state.value, 2.0 * self.engine.gradient(state).packed(self.parameters)

    def start(self, model):
        roots = [np.linalg.cholesky(S + 1e-3 * np.eye(len(S))) for S in model.random_covariance_.values()]
        if self.design.terms[0].diagonal:
            roots = [np.sqrt(np.diag(np.diag(S)) + 1e-3) for S in model.random_covariance_.values()]
        return dense.pack(self.design, model._inference.estimate, roots)

    def minimise(self, x, constraint=None, n_times=2):
        """Minimise from x, where constraint(split) is zero; variables are scaled by their start."""
        options = {"method": "BFGS", "options": {"gtol": 1e-7}}
        for _ in range(n_times):
            scale = np.maximum(np.abs(x), 0.1)
            if constraint is not None:
                equation = {"type": "eq", "fun": lambda u, scale=scale: constraint(*self.split(u * scale))}
                options = {"method": "SLSQP", "options": {"maxiter": 300, "ftol": 1e-13}, "constraints": equation}

            def scaled(u, scale=scale):
                value, gradient = self.deviance(u * scale)
                return value, gradient * scale

            x = optimize.minimize(scaled, x / scale, jac=True, **options).x * scale
        return self.deviance(x)[0], x


def natural(kind, term, first, second):
    """Return the function of coefficients and covariance matrices that is the parameter."""
    if kind == "coefficient":
        return lambda beta, S: beta[first]
    if kind == "sd":
        return lambda beta, S: np.sqrt(S[term][first, first])
    return lambda beta, S: S[term][first, second] / np.sqrt(S[term][first, first] * S[term][second, second])


def layout(model):
    """List kind and place of all parameters, in the order of the table; terms in the order of the user."""
    found = [("coefficient", 0, k, 0) for k in range(len(model._inference.names))]
    for term, effects in enumerate(model.random_names_.values()):
        q = len(effects)
        found += [("sd", term, a, a) for a in range(q)]
        if model.covariance == "full":
            found += [("correlation", term, a, b) for a in range(q) for b in range(a + 1, q)]
    return found


def drawn(rng, eta):
    return (rng.random(len(eta)) < special.expit(eta)).astype(float)


def simulated(seed, n_groups, size, spread, n_slopes=1):
    """Return X with means off zero, y, and codes of one factor with random slopes of the first features."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_groups), size)
    X = rng.normal(size=(len(codes), max(n_slopes, 1))) + 0.7
    effects = rng.normal(size=(n_groups, n_slopes + 1)) @ np.asarray(spread).T
    Z = np.column_stack([np.ones(len(codes)), X[:, :n_slopes]])
    eta = -0.5 + 0.8 * X[:, 0] + np.sum(Z * effects[codes], axis=1)
    return X, drawn(rng, eta), codes


def one_slope(n_quadrature=1, spread=((1.2, 0.0), (0.2, 1.2)), **options):
    X, y, codes = simulated(3, 25, 8, spread)
    offset = 0.3 * np.cos(np.arange(len(y)))
    model = MixedLogit(random_slopes=[0], n_quadrature=n_quadrature, **options)
    data = {"X": X, "y": y, "groups": codes, "offset": offset}
    Z = np.column_stack([np.ones(len(y)), X])
    term = dense.Term(codes, Z, options.get("covariance") == "diagonal")
    return model.fit(**data), data, BruteForce(dense.Design(Z, y, (term,), offset=offset), n_quadrature)


def uncorrelated():
    return one_slope(covariance="diagonal")


def small_variance():
    rng = np.random.default_rng(2)
    codes = np.repeat(np.arange(15), 5)
    x, counts = rng.normal(size=75), 1 + (np.arange(75) % 4 == 0)
    y = drawn(rng, x + 0.7 * rng.normal(size=15)[codes])
    data = {"X": x[:, None], "y": y, "groups": codes, "sample_weight": counts}
    X = np.column_stack([np.ones(75), x])
    design = dense.Design(X, y, (dense.Term(codes, X[:, :1]),), row_weight=counts.astype(float))
    return MixedLogit(n_quadrature=7).fit(**data), data, BruteForce(design, 7)


def crossed():
    rng = np.random.default_rng(6)
    n, sizes = 200, (9, 6)
    first, second = (rng.permutation(np.arange(n) % size) for size in sizes)
    x = rng.normal(size=n)
    y = drawn(rng, 0.5 + x + rng.normal(size=9)[first] + 0.7 * rng.normal(size=6)[second])
    data = {"X": x[:, None], "y": y, "groups": pd.DataFrame({"one": first, "two": second})}
    X = np.column_stack([np.ones(n), x])
    terms = dense.Term(first, X[:, :1]), dense.Term(second, X[:, :1])
    return MixedLogit().fit(**data), data, BruteForce(dense.Design(X, y, terms))


def two_slopes():
    X, y, codes = simulated(9, 22, 10, [[1.5, 0, 0], [0.5, 1.2, 0], [-0.4, 0.2, 1.1]], 2)
    data = {"X": X, "y": y, "groups": codes}
    Z = np.column_stack([np.ones(len(y)), X])
    model = MixedLogit(random_slopes=[0, 1], n_quadrature=1).fit(**data)
    return model, data, BruteForce(dense.Design(Z, y, (dense.Term(codes, Z),)))


@pytest.mark.parametrize("case", [one_slope, uncorrelated, small_variance, crossed])
def test_likelihood_ratio_at_the_ends_by_brute_force(case):
    """Every end that is not a bound: the largest likelihood with the parameter held there is chi2(1, .95) / 2 lower."""
    check_ends(*case(), tolerance=2e-5)


def test_likelihood_ratio_of_correlations_among_three_effects():
    check_ends(*two_slopes(), tolerance=2e-5, kinds={"correlation"})


def test_likelihood_ratio_of_several_effects_by_quadrature():
    """Nodes lie along other axes than those of the brute force: both have the error of the quadrature."""
    check_ends(*one_slope(13), tolerance=5e-3, kinds={"sd", "correlation"})


def check_ends(model, data, brute, tolerance, kinds=("coefficient", "sd", "correlation")):
    table, n_checked, n_bounds = profile_interval(model, **data).table, 0, 0
    with one_blas_thread():
        lowest, x_hat = brute.minimise(brute.start(model))
        assert brute.dense_deviance(x_hat) == pytest.approx(-2.0 * model.loglik_, abs=tolerance)
        for (name, row), place in zip(table.iterrows(), layout(model), strict=True):
            value = natural(*place)
            assert value(*brute.split(x_hat)) == pytest.approx(row["estimate"], abs=30 * tolerance), name
            for end in ENDS if place[0] in kinds else []:
                if row[end] in (0.0, 1.0, -1.0):
                    n_bounds += 1
                    continue
                x = x_hat
                for share in (0.5, 1.0):
                    held = row["estimate"] + share * (row[end] - row["estimate"])
                    n_times = 1 if share < 1.0 else 2  # from half-way on
                    reached, x = brute.minimise(x, lambda *parts, held=held, f=value: f(*parts) - held, n_times)
                assert reached - lowest == pytest.approx(CUT2, abs=tolerance), (name, end)
                n_checked += 1
        # the dense twin agrees with the engine where both ended
        assert brute.dense_deviance(x) == pytest.approx(reached, abs=1e-8)
    assert n_checked > 0 and n_bounds <= 1


# ---- lme4 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "most"), [("cbpp_laplace", 5e-5), ("cbpp_quadrature", 5e-5), ("crossed", 1e-3)])
def test_lme4(reference_csv, name, most):
    """lme4 interpolates between points of the profile, which lie closer for cbpp than for the other."""
    entry = json.loads((REFERENCE / "glmm_profile.json").read_text())[name]
    data = reference_csv(entry["data"])
    groups = [column for column in ("herd", "a", "b") if column in data]
    features = [column for column in entry["estimate"] if column in data]
    rows = {"X": data[features], "y": data["ill" if "ill" in data else "y"], "groups": data[groups]}
    table = profile_interval(MixedLogit(n_quadrature=entry["n_quadrature"]).fit(**rows), **rows).table
    expected = pd.DataFrame({end: entry[end] for end in ENDS})
    names = {f"sd_(Intercept)|{group}": f"SD of Intercept by {group}" for group in groups}
    expected = expected.rename(names | {"(Intercept)": "Intercept"}).loc[table.index]
    width = (expected["conf_high"] - expected["conf_low"]).to_numpy()[:, None]
    assert np.all(np.abs(table[ENDS] - expected).to_numpy() < most * width)


# ---- other ways to the same ------------------------------------------------------------------------------------------


def test_a_coefficient_that_is_held_is_an_offset():
    """Public fits without the feature, its part of the log odds known."""
    model, data, _ = one_slope_and_another()
    row = profile_interval(model, "x1", **data).table.loc["x1"]
    X, offset = data["X"], data["offset"]
    for end in ENDS:
        held = MixedLogit(random_slopes=[0], n_quadrature=1)
        held.fit(X[:, :1], data["y"], groups=data["groups"], offset=offset + row[end] * X[:, 1])
        assert 2 * (model.loglik_ - held.loglik_) == pytest.approx(CUT2, abs=1e-5)


def one_slope_and_another():
    X, y, codes = simulated(13, 20, 7, [[1.0, 0.0], [0.3, 0.6]])
    X = np.column_stack([X, np.random.default_rng(1).normal(size=len(y))])
    data = {"X": X, "y": y, "groups": codes, "offset": np.linspace(-0.5, 0.5, len(y))}
    return MixedLogit(random_slopes=[0], n_quadrature=1).fit(**data), data, None


def test_without_groups_it_is_that_of_logistic_regression():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2)) + 2.0
    y = drawn(rng, X @ [1.0, -1.0])
    model = MixedLogit().fit(X, y)
    table = profile_interval(model, X=X, y=y).table
    assert list(table.index) == ["Intercept", "x0", "x1"]
    for end in ENDS:
        for k in range(2):
            offset = table.loc[f"x{k}", end] * X[:, k]
            held = LogitRegressor().fit(X[:, [1 - k]], y, offset=offset)
            assert 2 * (model.loglik_ - held.loglik_) == pytest.approx(CUT2, abs=1e-5)
        offset = np.full(80, table.loc["Intercept", end])
        held = LogitRegressor(fit_intercept=False).fit(X, y, offset=offset)
        assert 2 * (model.loglik_ - held.loglik_) == pytest.approx(CUT2, abs=1e-5)


def test_no_fixed_effects_but_the_intercept():
    """The profile of the intercept of a model of nothing else, by quadrature of the definition."""
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(20), 6)
    y = drawn(rng, 1.0 + rng.normal(size=20)[codes])
    successes = np.bincount(codes, y)
    data = {"X": np.empty((120, 0)), "y": y, "groups": codes}
    row = profile_interval(MixedLogit(n_quadrature=25).fit(**data), "Intercept", **data).table.iloc[0]
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)

    def deviance(beta, tau):
        eta = beta + tau * nodes[:, None]
        logs = successes * eta - 6 * np.logaddexp(0, eta)
        return -2.0 * np.sum(np.log(weights @ np.exp(logs) / np.sqrt(2 * np.pi)))

    lowest = optimize.minimize(lambda x: deviance(*x), [1.0, 1.0], method="BFGS").fun
    for end in ENDS:
        reached = optimize.minimize_scalar(lambda tau, beta=row[end]: deviance(beta, tau), bounds=(0, 5)).fun
        assert reached - lowest == pytest.approx(CUT2, abs=1e-5)


def test_weak_penalty():
    """Half of (2.5 times the standard unit)^-2 times the square of each parameter is added to -log L."""
    rng = np.random.default_rng(4)
    codes = np.repeat(np.arange(12), 6)
    x = 3.0 * rng.normal(size=72) + 1.0
    y = drawn(rng, 0.4 * x + rng.normal(size=12)[codes])
    data = {"X": x[:, None], "y": y, "groups": codes}
    model = MixedLogit(penalty="weak", n_quadrature=9).fit(**data)
    table = profile_interval(model, **data).table
    X = np.column_stack([np.ones(72), x])
    brute = BruteForce(dense.Design(X, y, (dense.Term(codes, X[:, :1]),)), 9)
    precision = np.array([0.0, (x.std() / 2.5) ** 2, 2.5**-2])

    def penalised(free, held=None, value=0.0):
        full = free if held is None else np.insert(free, held, value)
        return brute.deviance(full)[0] + precision @ full**2

    start = np.array([*model._inference.estimate, np.sqrt(model.random_covariance_["group"][0, 0])])
    lowest = optimize.minimize(penalised, start, method="BFGS").fun
    for held, name in enumerate(table.index):
        for end in ENDS:
            value = table.loc[name, end]
            reached = optimize.minimize(penalised, np.delete(start, held), args=(held, value), method="BFGS").fun
            assert reached - lowest == pytest.approx(CUT2, abs=2e-5)


# ---- boundaries ------------------------------------------------------------------------------------------------------


def test_variance_of_zero_is_in_the_interval_where_the_simpler_model_is_not_rejected():
    model, data, _ = small_variance()
    curve = profile_interval(model, "variances", **data).curves["SD of Intercept by group"]
    simpler = MixedLogit().fit(data["X"], data["y"], sample_weight=data["sample_weight"])
    assert curve.value[0] == 0.0
    assert curve.zeta[0] == pytest.approx(-np.sqrt(2 * (model.loglik_ - simpler.loglik_)), abs=1e-5)
    model, data, _ = one_slope(spread=((1.0, 0.0), (0.3, 0.6)))
    curve = profile_interval(model, "SD of x0 by group", level=0.999, **data).curves["SD of x0 by group"]
    simpler = MixedLogit(n_quadrature=1).fit(data["X"], data["y"], groups=data["groups"], offset=data["offset"])
    assert curve.value[0] == 0.0
    assert curve.zeta[0] == pytest.approx(-np.sqrt(2 * (model.loglik_ - simpler.loglik_)), abs=1e-5)


def test_estimate_of_zero(reference_csv):
    data = reference_csv("glmm_sim_singular")
    rows = {"X": data[["x"]], "y": data["y"], "groups": data["group"]}
    with pytest.warns(SingularFitWarning):
        model = MixedLogit(n_quadrature=7).fit(**rows)
    row = profile_interval(model, "variances", **rows).table.iloc[0]
    assert row["estimate"] == row["conf_low"] == 0.0
    X = np.column_stack([np.ones(len(data)), data["x"]])
    codes = np.unique(data["group"], return_inverse=True)[1]
    brute = BruteForce(dense.Design(X, data["y"].to_numpy(float), (dense.Term(codes, X[:, :1]),)), 7)

    def deviance(beta, tau=row["conf_high"]):
        return brute.deviance(np.array([*beta, tau]))[0]

    reached = optimize.minimize(deviance, model._inference.estimate, method="BFGS").fun
    assert reached + 2 * model.loglik_ == pytest.approx(CUT2, abs=2e-5)


def test_correlation_that_may_be_one(reference_csv):
    data = reference_csv("glmm_sim_singular_slope")
    rows = {"X": data[["x"]], "y": data["y"], "groups": data["group"]}
    with pytest.warns(SingularFitWarning):
        model = MixedLogit(random_slopes=["x"], n_quadrature=1).fit(**rows)
    row = profile_interval(model, "Correlation of Intercept and x by group", **rows).table.iloc[0]
    assert row["estimate"] == row["conf_high"] == 1.0 and -1.0 < row["conf_low"] < 1.0
    X = np.column_stack([np.ones(len(data)), data["x"]])
    codes = np.unique(data["group"], return_inverse=True)[1]
    brute = BruteForce(dense.Design(X, data["y"].to_numpy(float), (dense.Term(codes, X),)))

    def deviance(x, rho=row["conf_low"]):
        first, second = np.exp(x[2:])
        return brute.deviance(np.array([*x[:2], first, rho * second, np.sqrt(1 - rho**2) * second]))[0]

    start = [*model._inference.estimate, *np.log(np.sqrt(np.diag(model.random_covariance_["group"])))]
    reached = optimize.minimize(deviance, start, method="BFGS").fun
    assert reached + 2 * model.loglik_ == pytest.approx(CUT2, abs=2e-5)


def test_no_correlation_is_less_likely_than_an_effect_less():
    """An effect that hardly varies may have any correlation: along the profile, all but it are free."""
    X, y, codes = simulated(5, 25, 8, [[1.2, 0.0], [0.2, 1.2]])
    data = {"X": X, "y": y, "groups": codes}
    model = MixedLogit(random_slopes=[0], n_quadrature=1).fit(**data)
    simpler = MixedLogit(n_quadrature=1).fit(**data)
    most = np.sqrt(2 * (model.loglik_ - simpler.loglik_))
    result = profile_interval(model, "variances", **data)
    name = "Correlation of Intercept and x0 by group"
    assert most < np.sqrt(CUT2) and result.table.loc["SD of x0 by group", "conf_low"] == 0.0
    assert result.table.loc[name, ENDS].tolist() == [-1.0, 1.0]
    assert result.curves[name].zeta[0] == pytest.approx(-most, abs=1e-5)
    assert np.all(np.abs(result.curves[name].zeta) <= most + 1e-5)


def test_correlation_of_an_effect_that_does_not_vary(reference_csv):
    data = reference_csv("glmm_sim_singular")
    rows = {"X": data[["x"]], "y": data["y"], "groups": data["group"]}
    with pytest.warns(SingularFitWarning):
        model = MixedLogit(random_slopes=["x"]).fit(**rows)
    row = profile_interval(model, "Correlation of Intercept and x by group", **rows).table.iloc[0]
    assert np.isnan(row["estimate"]) and (row["conf_low"], row["conf_high"]) == (-1.0, 1.0)


def test_variance_without_upper_end():
    """Levels of one class each but for a single row: no variance is too large for that."""
    codes = np.repeat(np.arange(6), 10)
    y = (codes >= 3).astype(int)
    y[0] = 1
    data = {"X": np.empty((60, 0)), "y": y, "groups": codes}
    row = profile_interval(MixedLogit(n_quadrature=1).fit(**data), "variances", **data).table.iloc[0]
    assert row["conf_high"] == np.inf and 0.0 < row["conf_low"] < row["estimate"]


# ---- invariances -----------------------------------------------------------------------------------------------------


def slope_table(X, y, codes, **options):
    data = {"X": X, "y": y, "groups": codes, **options}
    return profile_interval(MixedLogit(random_slopes=[0], n_quadrature=1).fit(**data), **data).table


def test_units_and_origin_of_a_feature():
    X, y, codes = simulated(3, 25, 8, [[1.0, 0.0], [0.3, 0.6]])
    table, moved = slope_table(X, y, codes), slope_table(100.0 * X + 5000.0, y, codes)
    for name in ("x0", "SD of x0 by group"):
        assert_allclose(100.0 * moved.loc[name], table.loc[name], rtol=1e-4)


def test_order_and_labels_of_rows():
    X, y, codes = simulated(3, 25, 8, [[1.0, 0.0], [0.3, 0.6]])
    order = np.random.default_rng(0).permutation(len(y))
    labels = np.array(["no", "yes"])[y.astype(int)]
    moved = slope_table(X[order], labels[order], codes[order])
    assert_allclose(moved, slope_table(X, y, codes), rtol=1e-4, atol=1e-6)
    # the fit and the profile may get them in different orders
    data = {"X": X, "y": y, "groups": codes}
    model = MixedLogit(random_slopes=[0], n_quadrature=1).fit(**data)
    other = profile_interval(model, X=X[order], y=y[order], groups=codes[order]).table
    assert_allclose(other, moved, rtol=1e-4, atol=1e-6)


def test_order_of_factors():
    model, data, _ = crossed()
    table = profile_interval(model, "variances", **data).table
    turned = {**data, "groups": data["groups"][["two", "one"]]}
    moved = profile_interval(MixedLogit().fit(**turned), "variances", **turned).table
    assert list(moved.index) == ["SD of Intercept by two", "SD of Intercept by one"]
    assert_allclose(moved.loc[table.index], table, rtol=1e-4)


def test_frequencies_are_repeated_rows():
    X, y, codes = simulated(3, 25, 8, [[1.0, 0.0], [0.3, 0.6]])
    counts = np.arange(len(y)) % 3
    rows = np.repeat(np.arange(len(y)), counts)
    weighted = slope_table(X, y, codes, sample_weight=counts)
    assert_allclose(weighted, slope_table(X[rows], y[rows], codes[rows]), rtol=1e-4, atol=1e-6)


def test_pipeline():
    _, data, _ = crossed()
    scaled = StandardScaler().fit_transform(data["X"])
    whole = make_pipeline(StandardScaler(), MixedLogit())
    whole.fit(data["X"], data["y"], mixedlogit__groups=data["groups"])
    inner = MixedLogit().fit(scaled, data["y"], groups=data["groups"])
    first = profile_interval(whole, "x0", **data).table
    assert_allclose(first, profile_interval(inner, "x0", **{**data, "X": scaled}).table, rtol=1e-6)


# ---- the result ------------------------------------------------------------------------------------------------------


def test_curves_and_subsets(capsys):
    model, data, _ = crossed()
    everything = profile_interval(model, progress=True, **data)
    assert "4 of 4" in capsys.readouterr().err
    cut = np.sqrt(CUT2)
    for name, row in everything.table.iterrows():
        curve = everything.curves[name]
        assert np.all(np.diff(curve.value) > 0) and np.all(np.diff(curve.zeta) > 0) and len(curve.value) >= 5
        zeta = dict(zip(curve.value, curve.zeta))
        assert zeta[row["estimate"]] == 0.0
        assert_allclose([zeta[row["conf_low"]], zeta[row["conf_high"]]], [-cut, cut], atol=2e-6)
    some = profile_interval(model, ["SD of Intercept by two", "x0"], **data).table
    assert_allclose(some, everything.table.loc[["x0", "SD of Intercept by two"]], rtol=1e-6)
    variances = profile_interval(model, "variances", level=0.5, **data)
    assert list(variances.table.index) == ["SD of Intercept by one", "SD of Intercept by two"]
    wider = everything.table.loc[variances.table.index]
    assert np.all(variances.table["conf_low"] > wider["conf_low"])
    again = pickle.loads(pickle.dumps(everything))
    assert_allclose(again.table, everything.table)


def test_close_to_wald_in_large_samples():
    ohio = load_ohio()
    data = {"X": ohio.data, "y": ohio.target, "groups": ohio.groups}
    model = MixedLogit(n_quadrature=9).fit(**data)
    table, wald = profile_interval(model, "coefficients", **data).table, coef_table(model)
    assert_allclose(table[ENDS], wald[ENDS], atol=0.05)


def test_estimator_is_left_alone():
    model, data, _ = crossed()
    before = {name: str(value) for name, value in vars(model).items()}
    profile_interval(model, "x0", **data)
    assert {name: str(value) for name, value in vars(model).items()} == before


def test_collinear_features():
    _, data, _ = crossed()
    X = np.column_stack([data["X"], 2.0 * data["X"]])
    with pytest.warns(CollinearityWarning):
        model = MixedLogit().fit(X, data["y"], groups=data["groups"])
    table = profile_interval(model, **{**data, "X": X}).table
    assert table.loc[["x0", "x1"]].isna().all(axis=None)
    assert table.drop(index=["x0", "x1"]).notna().all(axis=None)


def test_trouble_is_told(monkeypatch):
    model, data, _ = crossed()

    def fails(*args):
        raise np.linalg.LinAlgError("no")

    run = held_search.HeldSearch.run
    calls = []

    def sometimes(self, *args):
        calls.append(1)
        return run(self, *args) if len(calls) == 1 else fails()

    monkeypatch.setattr(held_search.HeldSearch, "run", sometimes)
    with pytest.warns(ConvergenceWarning, match="x0: the likelihood at .* could not be computed"):
        row = profile_interval(model, "x0", **data).table.iloc[0]
    assert np.isfinite(row["estimate"]) and row[ENDS].isna().all()


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_missing_and_other_data_are_refused():
    model, data, _ = crossed()
    with pytest.raises(ValueError, match="needs the data of the fit again"):
        profile_interval(model)
    X, y, groups = data["X"], data["y"], data["groups"]
    others = [
        {"X": X + 0.01},
        {"y": y[::-1]},
        {"y": 1 - y},
        {"groups": groups[["two", "one"]]},
        {"groups": groups["one"]},
        {"groups": groups.iloc[::-1]},
        {"offset": np.linspace(0, 1, len(y))},
        {"sample_weight": np.full(len(y), 2)},
        {"X": X[:150], "y": y[:150], "groups": groups[:150]},
        {"X": np.column_stack([X, X])},
    ]
    for other in others:
        with pytest.raises(ValueError, match="not the data of the fit"):
            profile_interval(model, "x0", **{**data, **other})


def test_fits_without_a_likelihood_are_refused():
    _, data, _ = crossed()
    X, y, codes = simulated(3, 25, 8, [[1.0, 0.0], [0.3, 0.6]])
    weights = np.linspace(0.5, 2.0, len(y))
    model = MixedLogit(weight_type="sampling").fit(X, y, groups=codes, sample_weight=weights)
    with pytest.raises(ValueError, match="pseudo-likelihood"):
        profile_interval(model, X=X, y=y, groups=codes, sample_weight=weights)
    with pytest.warns(SeparationWarning):
        model = MixedLogit().fit(X, X[:, 0] > 0.5)
    with pytest.raises(ValueError, match="finite estimates"):
        profile_interval(model, X=X, y=X[:, 0] > 0.5)
    with pytest.raises(TypeError, match="MixedLogit"):
        profile_interval(GEEClassifier().fit(X, y), X=X, y=y)
    model = MixedLogit().fit(**data)
    with pytest.raises(ValueError, match="unknown names"):
        profile_interval(model, "Residual SD", **data)
    with pytest.raises(ValueError, match="level"):
        profile_interval(model, level=95, **data)
