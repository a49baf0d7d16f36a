"""The parametric bootstrap: fast and slow path, exact distributions, lme4's bootMer, seeds and processes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import LogitRegressor, MixedLinear
from skdep.datasets import load_penicillin, load_sleepstudy
from skdep.exceptions import ConvergenceWarning, SingularFitWarning
from skdep.inference import bootstrap, coef_table
from skdep.mixed import simulation

SLEEP = load_sleepstudy()
RNG = np.random.default_rng(7)
N = 90
X = RNG.normal(size=(N, 2)) + np.array([3.0, 0.0])
CROSSED = pd.DataFrame({"a": RNG.integers(0, 9, size=N), "b": RNG.integers(0, 6, size=N)})
Y = 5 + X @ [1.0, 0.5] + RNG.normal(size=9)[CROSSED["a"]] + RNG.normal(size=6)[CROSSED["b"]] + RNG.normal(size=N)


def everything(model):
    """Return all parameters by their names in the table."""
    found = dict(zip(model._inference.names, model._inference.estimate))
    for factor, covariance in model.random_covariance_.items():
        names, sds = model.random_names_[factor], np.sqrt(np.diag(covariance))
        found |= {f"SD of {name} by {factor}": sd for name, sd in zip(names, sds)}
        for a in range(len(names) if model.covariance == "full" else 0):
            for b in range(a + 1, len(names)):
                rho = covariance[a, b] / (sds[a] * sds[b]) if sds[a] * sds[b] > 0 else np.nan
                found[f"Correlation of {names[a]} and {names[b]} by {factor}"] = rho
    return found | {"Residual SD": np.sqrt(model.sigma2_)}


def sleep_fit(**options):
    return MixedLinear(random_slopes=["Days"], **options).fit(SLEEP.data, SLEEP.target, groups=SLEEP.groups)


# ---- fast and slow path ----------------------------------------------------------------------------------------------

CASES = {
    "slopes": ({"random_slopes": [0]}, {"groups": CROSSED["a"]}),
    "diagonal, ml": ({"random_slopes": [0], "covariance": "diagonal", "method": "ml"}, {"groups": CROSSED["a"]}),
    "crossed, offset": ({"random_slopes": {"a": [1]}}, {"groups": CROSSED, "offset": 10 + np.linspace(0, 5, N)}),
    "precisions": ({"weight_type": "precision"}, {"groups": CROSSED["b"], "sample_weight": RNG.uniform(0.2, 3, N)}),
    "rows of weight zero": (
        {"weight_type": "precision"},
        {"groups": CROSSED["b"], "sample_weight": np.arange(N) % 4.0, "offset": np.linspace(-3, 3, N)},
    ),
    "no intercept": ({"fit_intercept": False}, {"groups": CROSSED["a"]}),
    "no groups": ({}, {}),
}


@pytest.mark.filterwarnings("ignore::skdep.exceptions.SingularFitWarning")
@pytest.mark.parametrize("case", CASES)
def test_fast_path_is_the_slow_path(case):
    options, metadata = CASES[case]
    model = MixedLinear(**options, tol=1e-14).fit(X, Y, **metadata)
    kwargs = {"n_boot": 30, "random_state": 3, **metadata}
    fast, slow = bootstrap(model, X, Y, **kwargs), bootstrap(model, X, Y, statistic=everything, **kwargs)
    assert list(fast.replicates.columns) == list(slow.replicates.columns)
    clear = (slow.replicates.filter(like="SD").to_numpy() > 1e-4).all(axis=1)
    assert clear.sum() >= 5 and (fast.n_failed, fast.n_singular) == (slow.n_failed, slow.n_singular)
    assert_allclose(fast.replicates[clear], slow.replicates[clear], rtol=1e-4, atol=1e-5)
    assert_allclose(fast.replicates, slow.replicates, atol=2e-3)
    assert_allclose(fast.table["estimate"], slow.table["estimate"], rtol=1e-9)


def test_table_from_replicates():
    result = bootstrap(sleep_fit(), SLEEP.data, SLEEP.target, groups=SLEEP.groups, n_boot=40, level=0.8, random_state=1)
    values, table = result.replicates, result.to_frame()
    estimate = pd.Series(everything(sleep_fit()))
    assert_allclose(table["estimate"], estimate, rtol=1e-8)
    assert_allclose(table["bias"], values.mean() - estimate, rtol=1e-8, atol=1e-10)
    assert_allclose(table["std_error"], values.std())
    low, high = values.quantile(0.1), values.quantile(0.9)
    assert_allclose(table[["conf_low", "conf_high"]].T, [low, high])
    assert_allclose(table[["basic_low", "basic_high"]].T, [2 * estimate - high, 2 * estimate - low], rtol=1e-8)
    assert "40 replicates" in str(result) and "<table" in result._repr_html_()


# ---- distributions that are known ------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight_type", ["none", "precision", "frequency"])
def test_plain_regression_has_its_exact_distribution(weight_type):
    """(n - p) s*^2 / s^2 is chi-square, and coefficients are t: frequencies count rows, precisions do not."""
    weights = None if weight_type == "none" else 1.0 + np.arange(N) % 4
    options = {} if weights is None else {"weight_type": weight_type}
    model = MixedLinear(**options).fit(X, Y, sample_weight=weights)
    result = bootstrap(model, X, Y, sample_weight=weights, n_boot=800, random_state=5)
    df = (weights.sum() if weight_type == "frequency" else N) - 3
    ratio = df * result.replicates["Residual SD"] ** 2 / model.sigma2_
    assert stats.kstest(ratio, stats.chi2(df).cdf).pvalue > 0.01
    standardised = (result.replicates["x0"] - model.coef_[0]) / np.sqrt(model.covariance_[1, 1])
    assert stats.kstest(standardised, stats.norm.cdf).pvalue > 0.01


def test_frequencies_are_repeated_rows():
    """Spread by weights is that of the rows written out, to Monte Carlo error (500 replicates: 4 sd are 18 %)."""
    counts = 1 + np.arange(180) % 4
    rows = np.repeat(np.arange(180), counts)
    model = MixedLinear(random_slopes=["Days"])
    model.fit(SLEEP.data, SLEEP.target, groups=SLEEP.groups, sample_weight=counts)
    kwargs = {"n_boot": 500, "random_state": 0}
    weighted = bootstrap(model, SLEEP.data, SLEEP.target, groups=SLEEP.groups, sample_weight=counts, **kwargs)
    long = SLEEP.data.iloc[rows], SLEEP.target[rows]
    groups = np.asarray(SLEEP.groups)[rows]
    groups = pd.Series(groups, name="Subject")
    written = MixedLinear(random_slopes=["Days"]).fit(*long, groups=groups)
    repeated = bootstrap(written, *long, groups=groups, **kwargs)
    assert_allclose(weighted.table["std_error"], repeated.table["std_error"], rtol=0.18)
    spread = repeated.table["std_error"] / np.sqrt(500)
    assert np.all(np.abs(weighted.table["bias"] - repeated.table["bias"]) < 4 * np.sqrt(2) * spread)


def test_frequencies_with_a_statistic_are_written_out():
    counts = np.arange(N) % 3
    model = MixedLinear(tol=1e-14).fit(X, Y, groups=CROSSED["b"], sample_weight=counts)
    weighted = bootstrap(
        model, X, Y, groups=CROSSED["b"], sample_weight=counts, statistic=everything, n_boot=4, random_state=0
    )
    rows = np.repeat(np.arange(N), counts)
    groups = CROSSED["b"].iloc[rows]
    written = MixedLinear(tol=1e-14).fit(X[rows], Y[rows], groups=groups)
    repeated = bootstrap(written, X[rows], Y[rows], groups=groups, n_boot=4, random_state=0)
    assert_allclose(weighted.replicates, repeated.replicates, rtol=1e-5)


def test_standard_errors_of_coefficients_are_those_of_the_model():
    """In a balanced design with large groups they are close to exact; 600 replicates: 4 sd are 11.5 %."""
    model = sleep_fit()
    result = bootstrap(model, SLEEP.data, SLEEP.target, groups=SLEEP.groups, n_boot=600, random_state=2)
    expected = coef_table(model)["std_error"]
    assert_allclose(result.table.loc[expected.index, "std_error"], expected, rtol=0.115)


# lme4 1.1-31, in R 4.2, 1000 replicates:
#   s <- function(m) c(fixef(m), sd = as.data.frame(VarCorr(m))$sdcor)
#   set.seed(1); f <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy)
#   b <- bootMer(f, s, nsim = 1000); apply(b$t, 2, sd, na.rm = TRUE); colMeans(b$t, na.rm = TRUE) - b$t0
#   set.seed(2); f <- lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin) ...
BOOTMER = {
    "sleepstudy": {
        "std_error": [6.79185200, 1.54150078, 6.02691835, 1.27250710, 0.35285339, 1.44584278],
        "bias": [-0.157027130, 0.042988138, -0.604434595, -0.136887859, 0.059047722, 0.017180913],
    },
    "penicillin": {
        "std_error": [0.823452939, 0.129250345, 0.597850159, 0.036703114],
        "bias": [0.0080208619, -0.0050262365, -0.1046571452, -0.0026035248],
    },
}


@pytest.mark.parametrize("name", BOOTMER)
def test_lme4(name):
    """4 sd of the ratio of standard errors are 4 sqrt(1 / 2000 + 1 / 800) = 17 %; of biases as computed."""
    study = SLEEP if name == "sleepstudy" else load_penicillin()
    model = MixedLinear(random_slopes=["Days"] if name == "sleepstudy" else None)
    model.fit(study.data, study.target, groups=study.groups)
    table = bootstrap(model, study.data, study.target, groups=study.groups, n_boot=400, random_state=0).table
    assert_allclose(table["std_error"], BOOTMER[name]["std_error"], rtol=0.17)
    error = table["std_error"] * np.sqrt(1 / 400 + 1 / 1000)
    assert np.all(np.abs(table["bias"] - BOOTMER[name]["bias"]) < 4 * error)


# ---- seeds and processes ---------------------------------------------------------------------------------------------


def test_replicates_depend_on_the_seed_and_not_on_processes():
    model = sleep_fit()

    def replicates(**options):
        return bootstrap(model, SLEEP.data, SLEEP.target, groups=SLEEP.groups, **options).replicates.to_numpy()

    first = replicates(n_boot=60, random_state=4)
    assert_array_equal(first, replicates(n_boot=60, random_state=4))
    assert_allclose(first, replicates(n_boot=60, random_state=4, n_jobs=2), rtol=1e-12)
    # fewer replicates are the first of many, but for rounding in batches of other sizes
    assert_allclose(first[:30], replicates(n_boot=30, random_state=4), rtol=1e-7)
    assert np.abs(first - replicates(n_boot=60, random_state=5)).max() > 1.0
    assert len(np.unique(first[:, 0])) == 60
    generators = [replicates(n_boot=3, random_state=np.random.default_rng(1)) for _ in range(2)]
    assert_array_equal(*generators)
    assert np.abs(replicates(n_boot=3) - replicates(n_boot=3)).max() > 0


def test_slow_path_in_processes():
    model = MixedLinear().fit(X, Y, groups=CROSSED["a"])
    kwargs = {"groups": CROSSED["a"], "statistic": everything, "n_boot": 30, "random_state": 0}
    one, two = (bootstrap(model, X, Y, n_jobs=n_jobs, **kwargs).replicates for n_jobs in (1, 2))
    assert_allclose(one, two, rtol=1e-10)


# ---- statistics, pipelines, what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statistic", "names"),
    [
        (lambda fit: fit.sigma2_, ["statistic"]),
        (lambda fit: fit.coef_, ["statistic[0]", "statistic[1]"]),
        (lambda fit: pd.Series({"first": fit.coef_[0], "ratio": fit.coef_[0] / fit.coef_[1]}), ["first", "ratio"]),
    ],
)
def test_statistics(statistic, names):
    model = MixedLinear().fit(X, Y, groups=CROSSED["a"])
    result = bootstrap(model, X, Y, groups=CROSSED["a"], statistic=statistic, n_boot=5, random_state=0)
    assert list(result.table.index) == list(result.replicates.columns) == names


def test_pipeline():
    model = make_pipeline(StandardScaler(), MixedLinear()).fit(X, Y, mixedlinear__groups=CROSSED["a"])
    scaled = StandardScaler().fit_transform(X)
    inner = MixedLinear().fit(scaled, Y, groups=CROSSED["a"])
    kwargs = {"groups": CROSSED["a"], "n_boot": 5, "random_state": 0}
    assert_allclose(bootstrap(model, X, Y, **kwargs).replicates, bootstrap(inner, scaled, Y, **kwargs).replicates)


def test_est_is_left_alone():
    model = MixedLinear().fit(X, Y, groups=CROSSED["a"])
    before = {name: str(value) for name, value in vars(model).items()}
    bootstrap(model, X, Y, groups=CROSSED["a"], n_boot=3, random_state=0)
    assert {name: str(value) for name, value in vars(model).items()} == before


def test_singular_refits_count(capsys):
    rng = np.random.default_rng(1)
    groups, noise = np.repeat(np.arange(10), 4), rng.normal(size=40)
    noise -= 0.9 * (np.bincount(groups, noise) / 4)[groups]
    with pytest.warns(SingularFitWarning):
        model = MixedLinear(tol=1e-14).fit(np.arange(40.0)[:, None], noise, groups=groups)
    result = bootstrap(model, np.arange(40.0)[:, None], noise, groups=groups, n_boot=100, random_state=0, progress=True)
    zero = result.replicates["SD of Intercept by group"] < 1e-4
    # about half of all fits: the variance is zero where the score at zero is negative
    assert result.n_singular == zero.sum() and 30 < zero.sum() < 85
    assert f"100 of 100 replicates, {result.n_singular} singular" in capsys.readouterr().err


@pytest.mark.parametrize("statistic", [None, everything])
def test_failed_refits_are_left_out(monkeypatch, statistic):
    model = MixedLinear().fit(X, Y, groups=CROSSED["a"])
    calls = []

    def sometimes(wrapped):
        def run(*args, **kwargs):
            calls.append(1)
            if len(calls) == 3:
                raise np.linalg.LinAlgError("singular")
            return wrapped(*args, **kwargs)

        return run

    if statistic is None:
        monkeypatch.setattr(simulation, "fit_products", sometimes(simulation.fit_products))
    else:
        monkeypatch.setattr(MixedLinear, "fit", sometimes(MixedLinear.fit))
    with pytest.warns(ConvergenceWarning, match="1 of 6"):
        result = bootstrap(model, X, Y, groups=CROSSED["a"], statistic=statistic, n_boot=6, random_state=0)
    assert result.n_failed == 1 and result.replicates.isna().all(axis=1).tolist() == [False, False, True] + 3 * [False]
    assert_allclose(result.table["std_error"], result.replicates.drop(index=2).std())


def test_other_data_are_refused():
    groups = CROSSED["a"]
    model = MixedLinear().fit(X, Y, groups=groups)
    others = [
        (X + RNG.normal(size=X.shape), Y, groups),
        (X, Y[::-1], groups),
        (X, Y, CROSSED["b"]),
        (X, Y, None),
        (X, Y, CROSSED),
        (X[:80], Y[:80], groups[:80]),
    ]
    for other_X, other_y, other_groups in others:
        with pytest.raises(ValueError, match="not the data of the fit"):
            bootstrap(model, other_X, other_y, groups=other_groups, n_boot=2)
    order = RNG.permutation(N)
    assert bootstrap(model, X[order], Y[order], groups=groups.iloc[order], n_boot=2).n_failed == 0


def test_what_cannot_be_simulated_is_refused():
    groups, weights = CROSSED["a"], np.linspace(0.5, 2, N)
    model = MixedLinear(weight_type="sampling").fit(X, Y, groups=groups, sample_weight=weights)
    with pytest.raises(ValueError, match="design"):
        bootstrap(model, X, Y, groups=groups, sample_weight=weights)
    model = MixedLinear().fit(X, Y, groups=groups, sample_weight=weights)
    with pytest.raises(ValueError, match="whole numbers"):
        bootstrap(model, X, Y, groups=groups, sample_weight=weights)
    model = MixedLinear().fit(X, Y, groups=groups)
    for wrong, message in [({"kind": "cluster"}, "parametric"), ({"n_boot": 1}, "n_boot"), ({"level": 95}, "level")]:
        with pytest.raises(ValueError, match=message):
            bootstrap(model, X, Y, **{"groups": groups, **wrong})
    with pytest.warns(SingularFitWarning):
        exact = MixedLinear().fit(X, X[:, 0], groups=groups)
    with pytest.raises(ValueError, match="residual variance"):
        bootstrap(exact, X, X[:, 0], groups=groups)
    with pytest.raises(TypeError, match="MixedLinear"):
        bootstrap(LogitRegressor().fit(X, Y > 8), X, Y > 8)
