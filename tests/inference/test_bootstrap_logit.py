"""Parametric bootstrap of logistic mixed models: fast against slow path, known distributions, failures, seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special, stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdep import MixedLogit
from skdep.exceptions import SeparationWarning
from skdep.glmm import simulation
from skdep.glmm.refitting import rows_given_again
from skdep.glmm.simulation import LogitSimulator
from skdep.inference import bootstrap, coef_table, population_average

RNG = np.random.default_rng(0)
N = 240
X = RNG.normal(loc=[0.0, 1.0], size=(N, 2))
CROSSED = pd.DataFrame({"a": RNG.permutation(np.arange(N) % 20), "b": RNG.permutation(np.arange(N) % 8)})
ETA = (
    X @ [1.0, -0.5] + RNG.normal(size=20)[CROSSED["a"]] * (1.0 + 0.7 * X[:, 0]) + 0.7 * RNG.normal(size=8)[CROSSED["b"]]
)
Y = (RNG.random(N) < special.expit(ETA)).astype(int)
SINGULAR = pytest.mark.filterwarnings("ignore::skdep.exceptions.SingularFitWarning")


def everything(model):
    """Return all parameters, by the names of the table."""
    found = dict(zip(model._inference.names, model._inference.estimate))
    for factor, covariance in model.random_covariance_.items():
        names, sds = model.random_names_[factor], np.sqrt(np.diag(covariance))
        found |= {f"SD of {name} by {factor}": sd for name, sd in zip(names, sds)}
        for a in range(len(names) if model.covariance == "full" else 0):
            for b in range(a + 1, len(names)):
                rho = covariance[a, b] / (sds[a] * sds[b]) if sds[a] * sds[b] > 0 else np.nan
                found[f"Correlation of {names[a]} and {names[b]} by {factor}"] = rho
    return found


# ---- fast and slow path ----------------------------------------------------------------------------------------------

CASES = {
    "quadrature": ({"n_quadrature": 7}, {"groups": CROSSED["a"]}),
    "slopes": ({"random_slopes": [0], "n_quadrature": 1}, {"groups": CROSSED["a"]}),
    "diagonal, penalty": (
        {"random_slopes": [0], "covariance": "diagonal", "penalty": "weak", "n_quadrature": 1},
        {"groups": CROSSED["a"]},
    ),
    "crossed, offset": ({"random_slopes": {"a": [0]}}, {"groups": CROSSED, "offset": np.linspace(-1, 1, N)}),
    "no intercept": ({"fit_intercept": False, "n_quadrature": 3}, {"groups": CROSSED["a"]}),
    "no groups": ({}, {}),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("case", CASES)
def test_fast_path_is_the_slow_path(case):
    options, metadata = CASES[case]
    model = MixedLogit(**options).fit(X, Y, **metadata)
    kwargs = {"n_boot": 8, "random_state": 3, **metadata}
    fast, slow = bootstrap(model, X, Y, **kwargs), bootstrap(model, X, Y, statistic=everything, **kwargs)
    assert list(fast.replicates.columns) == list(slow.replicates.columns)
    assert (fast.n_failed, fast.n_singular) == (slow.n_failed, slow.n_singular)
    clear = (slow.replicates.filter(like="SD").to_numpy() > 1e-3).all(axis=1)
    assert clear.sum() >= 2
    assert_allclose(fast.replicates[clear], slow.replicates[clear], rtol=1e-3, atol=1e-4)
    assert_allclose(fast.replicates, slow.replicates, atol=5e-3)
    assert_allclose(fast.table["estimate"], slow.table["estimate"], rtol=1e-9)


def test_labels_and_equal_rows():
    """Rows that are equal are counted once by the engine; labels are those of the fit."""
    x = np.round(X[:, :1])
    labels = np.array(["ill", "well"])[Y]
    model = MixedLogit(n_quadrature=5).fit(x, labels, groups=CROSSED["b"])
    kwargs = {"groups": CROSSED["b"], "n_boot": 6, "random_state": 1}
    assert rows_given_again(model, x, labels, CROSSED["b"], None, None).data.rows.n_rows < 100
    fast, slow = bootstrap(model, x, labels, **kwargs), bootstrap(model, x, labels, statistic=everything, **kwargs)
    assert_allclose(fast.replicates, slow.replicates, rtol=1e-4, atol=1e-5)


# ---- simulation ------------------------------------------------------------------------------------------------------


def drawn(model, n_draws, **metadata):
    given = rows_given_again(model, X, Y, metadata.get("groups"), metadata.get("sample_weight"), metadata.get("offset"))
    simulator = LogitSimulator(model, given)
    (outcomes,) = simulator.draw(np.random.SeedSequence(7).spawn(n_draws))
    return simulator, outcomes


@SINGULAR
def test_means_are_those_of_the_population():
    """Over 4000 outcomes, each row's share of successes is its marginal probability: 240 z statistics."""
    metadata = {"groups": CROSSED, "offset": np.linspace(-1, 1, N)}
    model = MixedLogit(random_slopes={"a": [0]}).fit(X, Y, **metadata)
    _, outcomes = drawn(model, 4000, **metadata)
    expected = model.predict_proba(X, offset=metadata["offset"])[:, 1]
    z = (outcomes.mean(axis=1) - expected) / np.sqrt(expected * (1 - expected) / 4000)
    assert set(np.unique(outcomes)) == {0.0, 1.0}
    assert np.abs(z).max() < 4.5 and 0.8 < z.std() < 1.25


def test_rows_of_a_level_are_correlated_as_the_model_says():
    """Pairs of rows of one level against the integral over its effect; those of different levels are independent."""
    model = MixedLogit(n_quadrature=9).fit(X, Y, groups=CROSSED["a"])
    _, outcomes = drawn(model, 4000, groups=CROSSED["a"])
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    effects = np.sqrt(model.random_covariance_["a"][0, 0]) * nodes
    rows = np.flatnonzero(CROSSED["a"] == 3)[:6]
    eta = model.intercept_ + X[rows] @ model.coef_[0]
    p = special.expit(eta[:, None] + effects)
    joint = (p * weights) @ p.T / weights.sum()
    found = outcomes[rows] @ outcomes[rows].T / 4000
    off = ~np.eye(6, dtype=bool)
    assert np.abs((found - joint) / np.sqrt(joint * (1 - joint) / 4000))[off].max() < 4.5
    other = np.flatnonzero(CROSSED["a"] == 4)[0]
    assert abs(np.corrcoef(outcomes[rows[0]], outcomes[other])[0, 1]) < 4.5 / np.sqrt(4000)


def test_frequencies_are_numbers_of_trials():
    counts = np.arange(N) % 4
    metadata = {"groups": CROSSED["a"], "sample_weight": counts}
    model = MixedLogit(n_quadrature=5).fit(X, Y, **metadata)
    simulator, outcomes = drawn(model, 300, **metadata)
    kept = counts[counts > 0]
    assert outcomes.shape == (len(kept), 300) and np.all(outcomes.max(axis=1) <= kept)
    expected = model.predict_proba(X[counts > 0])[:, 1]
    assert np.sum(outcomes) / kept.sum() / 300 == pytest.approx(kept @ expected / kept.sum(), abs=0.02)
    assert_allclose(simulator.products(outcomes).sum(axis=0), outcomes.sum(axis=0))


def test_frequencies_are_repeated_rows():
    """Spread by weights is that of the rows written out, to Monte Carlo error (100 replicates: 4 sd are 40 %)."""
    counts = np.arange(N) % 3
    metadata = {"groups": CROSSED["a"], "sample_weight": counts}
    model = MixedLogit(n_quadrature=1).fit(X, Y, **metadata)
    weighted = bootstrap(model, X, Y, n_boot=100, random_state=0, **metadata).table
    rows = np.repeat(np.arange(N), counts)
    written = MixedLogit(n_quadrature=1).fit(X[rows], Y[rows], groups=CROSSED["a"].iloc[rows])
    kwargs = {"groups": CROSSED["a"].iloc[rows], "random_state": 1}
    repeated = bootstrap(written, X[rows], Y[rows], n_boot=100, **kwargs).table
    assert_allclose(weighted["estimate"], repeated["estimate"], rtol=1e-4)
    assert_allclose(weighted["std_error"], repeated["std_error"], rtol=0.4)
    # with a statistic rows are written out
    slow = bootstrap(model, X, Y, statistic=everything, n_boot=4, random_state=1, **metadata)
    fast = bootstrap(written, X[rows], Y[rows], n_boot=4, **kwargs)
    assert_allclose(slow.replicates, fast.replicates, rtol=1e-3, atol=1e-4)


# ---- distributions ---------------------------------------------------------------------------------------------------


def test_standard_errors_are_near_those_of_the_model():
    """With 100 levels they are close to right; 200 replicates: 3 sd are 15 %."""
    rng = np.random.default_rng(2)
    codes = np.repeat(np.arange(100), 6)
    x = rng.normal(size=(600, 2))
    y = (rng.random(600) < special.expit(x[:, 0] + rng.normal(size=100)[codes])).astype(int)
    model = MixedLogit(n_quadrature=3).fit(x, y, groups=codes)
    result = bootstrap(model, x, y, groups=codes, n_boot=200, random_state=1)
    wald = coef_table(model)
    assert_allclose(result.table.loc[wald.index, "std_error"], wald["std_error"], rtol=0.16)
    standardised = (result.replicates["x1"] - model.coef_[0, 1]) / wald.loc["x1", "std_error"]
    assert stats.kstest(standardised, stats.norm.cdf).pvalue > 0.01
    assert result.n_failed == 0
    assert_allclose(
        result.table[["conf_low", "conf_high"]].loc["x0"], wald.loc["x0", ["conf_low", "conf_high"]], atol=0.1
    )


def test_table_from_replicates():
    model = MixedLogit(n_quadrature=1).fit(X, Y, groups=CROSSED["a"])
    result = bootstrap(model, X, Y, groups=CROSSED["a"], n_boot=20, level=0.8, random_state=1)
    values, table = result.replicates, result.to_frame()
    assert_allclose(table["estimate"], pd.Series(everything(model)), rtol=1e-8)
    assert_allclose(table["bias"], values.mean() - table["estimate"], atol=1e-10)
    assert_allclose(table["std_error"], values.std())
    assert_allclose(table[["conf_low", "conf_high"]].T, [values.quantile(0.1), values.quantile(0.9)])
    assert "20 replicates" in str(result)


# ---- seeds and processes ---------------------------------------------------------------------------------------------


def test_replicates_depend_on_the_seed_and_not_on_processes():
    model = MixedLogit(n_quadrature=1).fit(X, Y, groups=CROSSED["a"])

    def replicates(**options):
        return bootstrap(model, X, Y, groups=CROSSED["a"], **options).replicates.to_numpy()

    first = replicates(n_boot=30, random_state=4)
    assert_array_equal(first, replicates(n_boot=30, random_state=4))
    assert_array_equal(first[:10], replicates(n_boot=10, random_state=4))
    assert_allclose(first, replicates(n_boot=30, random_state=4, n_jobs=2), rtol=1e-12)
    assert np.abs(first - replicates(n_boot=30, random_state=5)).max() > 0.1
    assert len(np.unique(first[:, 0])) == 30


# ---- statistics, pipelines, failures ---------------------------------------------------------------------------------


def test_statistic_of_the_population():
    """A function of a fit that the table of parameters does not have."""
    model = MixedLogit(n_quadrature=5).fit(X, Y, groups=CROSSED["a"])

    def slopes(fit):
        return population_average(fit, X).to_frame()["population_average"]

    result = bootstrap(model, X, Y, groups=CROSSED["a"], statistic=slopes, n_boot=5, random_state=0)
    assert_allclose(result.table["estimate"], slopes(model))
    assert result.replicates.notna().all(axis=None)


def test_number_of_nodes_is_that_of_the_fit():
    model = MixedLogit().fit(X, Y, groups=CROSSED["a"])
    assert model.n_quadrature_ > 1
    kwargs = {"groups": CROSSED["a"], "n_boot": 3, "random_state": 0}
    result = bootstrap(model, X, Y, statistic=lambda fit: fit.n_quadrature_, **kwargs)
    assert_array_equal(result.replicates, np.full((3, 1), model.n_quadrature_))


def test_pipeline():
    model = make_pipeline(StandardScaler(), MixedLogit()).fit(X, Y, mixedlogit__groups=CROSSED)
    scaled = StandardScaler().fit_transform(X)
    inner = MixedLogit().fit(scaled, Y, groups=CROSSED)
    kwargs = {"groups": CROSSED, "n_boot": 4, "random_state": 0}
    assert_allclose(bootstrap(model, X, Y, **kwargs).replicates, bootstrap(inner, scaled, Y, **kwargs).replicates)


@SINGULAR
def test_singular_refits_count(capsys):
    rng = np.random.default_rng(1)
    codes = np.repeat(np.arange(12), 6)
    x, y = rng.normal(size=(72, 1)), rng.integers(0, 2, 72)
    model = MixedLogit(penalty="weak", n_quadrature=1).fit(x, y, groups=codes)
    result = bootstrap(model, x, y, groups=codes, n_boot=40, random_state=0, progress=True)
    zero = result.replicates["SD of Intercept by group"] < 1e-4
    assert result.n_singular == zero.sum() and 5 < zero.sum() < 40
    assert f"40 of 40 replicates, {result.n_singular} singular" in capsys.readouterr().err


@SINGULAR
@pytest.mark.parametrize("statistic", [None, everything])
def test_separated_replicates_fail(statistic):
    """A rare feature, and a rare outcome: some replicates have no finite estimates, and both paths find them."""
    rng = np.random.default_rng(5)
    codes = np.repeat(np.arange(10), 5)
    x = np.column_stack([np.arange(50) % 12 == 0, rng.normal(size=50)]).astype(float)
    y = np.arange(50) % 8 == 0
    y[12] = True
    model = MixedLogit(n_quadrature=1).fit(x, y, groups=codes)
    kwargs = {"groups": codes, "n_boot": 30, "random_state": 1}
    with pytest.warns(ConvergenceWarning, match="of 30 replicates could not be fitted"):
        result = bootstrap(model, x, y, statistic=statistic, **kwargs)
    (outcomes,) = LogitSimulator(model, rows_given_again(model, x, y, codes, None, None)).draw(
        np.random.SeedSequence([int(word) for word in np.random.RandomState(1).randint(0, 2**32, 4, np.uint64)]).spawn(
            30
        )
    )
    among_rare = outcomes[x[:, 0] == 1].sum(axis=0)
    separated = (among_rare == 0) | (among_rare == 5)
    failed = result.replicates.isna().all(axis=1).to_numpy()
    assert 3 < separated.sum() < 25 and failed[separated].all()
    assert result.n_failed == failed.sum() <= separated.sum() + 2


def test_failed_refits_are_left_out(monkeypatch):
    model = MixedLogit(n_quadrature=1).fit(X, Y, groups=CROSSED["a"])
    once, calls = simulation.LogitRefit._once, []

    def sometimes(self, rows):
        calls.append(1)
        if len(calls) == 3:
            raise np.linalg.LinAlgError("singular")
        return once(self, rows)

    monkeypatch.setattr(simulation.LogitRefit, "_once", sometimes)
    with pytest.warns(ConvergenceWarning, match="1 of 6"):
        result = bootstrap(model, X, Y, groups=CROSSED["a"], n_boot=6, random_state=0)
    assert result.n_failed == 1 and result.replicates.isna().all(axis=1).tolist() == [False, False, True] + 3 * [False]


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_other_data_are_refused():
    groups = CROSSED["a"]
    model = MixedLogit(n_quadrature=1).fit(X, Y, groups=groups)
    for data in [(X + 0.1, Y, groups), (X, Y[::-1], groups), (X, Y, CROSSED["b"]), (X, Y, None), (X, Y, CROSSED)]:
        with pytest.raises(ValueError, match="not the data of the fit"):
            bootstrap(model, *data[:2], groups=data[2], n_boot=2)
    order = RNG.permutation(N)
    assert bootstrap(model, X[order], Y[order], groups=groups.iloc[order], n_boot=2).n_failed == 0


def test_what_cannot_be_simulated_is_refused():
    groups, weights = CROSSED["a"], np.linspace(0.5, 2, N)
    model = MixedLogit(weight_type="sampling", n_quadrature=1).fit(X, Y, groups=groups, sample_weight=weights)
    with pytest.raises(ValueError, match="design"):
        bootstrap(model, X, Y, groups=groups, sample_weight=weights)
    model = MixedLogit(n_quadrature=1).fit(X, Y, groups=groups, sample_weight=weights)
    with pytest.raises(ValueError, match="whole numbers") as error:
        bootstrap(model, X, Y, groups=groups, sample_weight=weights)
    assert "precision" not in str(error.value)
    with pytest.warns(SeparationWarning):
        model = MixedLogit().fit(X, X[:, 0] > 0)
    with pytest.raises(ValueError, match="finite estimates"):
        bootstrap(model, X, X[:, 0] > 0)
