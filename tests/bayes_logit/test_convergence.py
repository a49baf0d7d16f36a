"""R-hat, effective sample sizes, Monte Carlo errors: another program, definitions, autoregressions, replications."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import signal, stats

from skdep.bayes import chain_statistics, convergence, half_chains
from skdep.bayes.convergence import (
    ess_bulk,
    ess_mean,
    ess_quantile,
    ess_sd,
    ess_tail,
    mcse_mean,
    mcse_quantile,
    mcse_sd,
    rhat,
)

BY_PARAMETER = {
    "rhat": rhat,
    "ess_bulk": ess_bulk,
    "ess_tail": ess_tail,
    "ess_mean": ess_mean,
    "ess_sd": ess_sd,
    "ess_quantile": lambda draws: ess_quantile(draws, 0.3),
    "mcse_mean": mcse_mean,
    "mcse_sd": mcse_sd,
    "mcse_quantile": lambda draws: mcse_quantile(draws, 0.3),
}


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def autoregression(rng, phi, shape):
    """Stationary chains of variance one."""
    steps = rng.normal(size=(shape[0], shape[1] + 400, *shape[2:])) * np.sqrt(1 - phi**2)
    return signal.lfilter([1.0], [1.0, -phi], steps, axis=1)[:, 400:]


# ---------------------------------------------------------------------------------------------------- another program
@pytest.mark.parametrize("n_draws", [20, 200, 1000])
@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.6, 0.97])
def test_arviz(rng, phi, n_draws):
    array_stats = pytest.importorskip("arviz_stats.base").array_stats
    draws = autoregression(rng, phi, (4, n_draws, 4))
    draws[:, :, 1] = draws[:, :, 1].round(1)  # ties
    draws[1, :, 2] += 1.0
    draws[1, :, 3] *= 2.0
    axes = {"chain_axis": 0, "draw_axis": 1}
    assert_allclose(rhat(draws), array_stats.rhat(draws, **axes), rtol=1e-10)
    assert_allclose(ess_bulk(draws), array_stats.ess(draws, **axes), rtol=1e-8)
    assert_allclose(ess_tail(draws), array_stats.ess(draws, method="tail", prob=0.05, **axes), rtol=1e-8)
    assert_allclose(ess_mean(draws), array_stats.ess(draws, method="mean", **axes), rtol=1e-8)
    assert_allclose(ess_sd(draws), array_stats.ess(draws, method="sd", **axes), rtol=1e-8)
    assert_allclose(ess_quantile(draws, 0.3), array_stats.ess(draws, method="quantile", prob=0.3, **axes), rtol=1e-8)
    assert_allclose(mcse_mean(draws), array_stats.mcse(draws, **axes), rtol=1e-8)
    assert_allclose(mcse_quantile(draws, 0.3), array_stats.mcse(draws, method="quantile", prob=0.3, **axes), rtol=1e-8)
    # It divides by the effective sample size of the mean; that of squares is what the delta method asks for.
    expected = array_stats.mcse(draws, method="sd", **axes) * np.sqrt(ess_mean(draws) / ess_sd(draws))
    assert_allclose(mcse_sd(draws), expected, rtol=1e-8)


# -------------------------------------------------------------------------------------------------------- definitions
def rhat_by_definition(draws):
    halves = np.concatenate([draws[:, : draws.shape[1] // 2], draws[:, draws.shape[1] // 2 :]])

    def of(values):
        ranks = stats.rankdata(values).reshape(values.shape)
        scores = stats.norm.ppf((ranks - 3 / 8) / (values.size + 1 / 4))
        within = np.mean([np.var(chain, ddof=1) for chain in scores])
        n = values.shape[1]
        between = n * np.var([chain.mean() for chain in scores], ddof=1)
        return np.sqrt(((n - 1) / n * within + between / n) / within)

    return max(of(halves), of(np.abs(halves - np.median(halves))))


def ess_by_definition(halves):
    """Effective sample size of the mean of (m, n) values, lag by lag."""
    m, n = halves.shape
    centred = halves - halves.mean(axis=1, keepdims=True)
    covariance = [sum((c[: n - t] * c[t:]).sum() for c in centred) / (m * n) for t in range(n)]
    within = covariance[0] * n / (n - 1)
    total = covariance[0] + halves.mean(axis=1).var(ddof=1)
    rho = [1.0] + [1 - (within - covariance[t]) / total for t in range(1, n)]
    time, k, previous = -1.0, 0, np.inf
    last = (n - 1) // 2 - 1
    while k < last and rho[2 * k] + rho[2 * k + 1] > 0:
        previous = min(previous, rho[2 * k] + rho[2 * k + 1])
        time += 2 * previous
        k += 1
    ended = rho[2 * k] + rho[2 * k + 1] <= 0
    time += max(rho[2 * k], 0.0) if ended else rho[2 * k]
    return m * n / max(time, 1 / np.log10(m * n))


@pytest.mark.parametrize("phi", [-0.7, 0.0, 0.5, 0.95])
def test_definitions(rng, phi):
    draws = autoregression(rng, phi, (3, 60, 5))
    draws[:, :, 0] = draws[:, :, 0].round()
    expected = [rhat_by_definition(draws[:, :, j]) for j in range(5)]
    assert_allclose(rhat(draws), expected, rtol=1e-10)
    halves = draws.reshape(3, 2, 30, 5).reshape(6, 30, 5)
    assert_allclose(ess_mean(draws), [ess_by_definition(halves[:, :, j]) for j in range(5)], rtol=1e-8)


def test_fourier_transforms_and_products_agree(rng, monkeypatch):
    draws = autoregression(rng, 0.8, (2, 300, 20))
    monkeypatch.setattr(chain_statistics, "_FIRST_LAGS", 2)
    by_fourier = ess_mean(draws)
    monkeypatch.setattr(chain_statistics, "_FIRST_LAGS", 150)
    assert_allclose(ess_mean(draws), by_fourier, rtol=1e-9)


# ---------------------------------------------------------------------------------------------------- known processes
@pytest.mark.parametrize("phi", [-0.3, 0.0, 0.5, 0.9])
def test_ess_of_an_autoregression(rng, phi):
    draws = autoregression(rng, phi, (4, 5000, 12))
    size = 20_000
    assert_allclose(np.median(ess_mean(draws)), size * (1 - phi) / (1 + phi), rtol=0.06)
    # Squares of a normal autoregression have autocorrelations phi^(2t).
    assert_allclose(np.median(ess_sd(draws)), size * (1 - phi**2) / (1 + phi**2), rtol=0.06)
    # The indicator of the lower half: correlation 2 arcsin(phi^t) / pi.
    time = 1 + 2 * np.sum(2 / np.pi * np.arcsin(phi ** np.arange(1.0, 400.0)))
    assert_allclose(np.median(ess_quantile(draws, 0.5)), size / time, rtol=0.06)


@pytest.mark.parametrize("phi", [0.0, 0.7])
def test_errors_are_the_spread_of_estimates_over_replications(rng, phi):
    draws = autoregression(rng, phi, (4, 500, 400))
    pooled = draws.reshape(2000, 400)
    for estimates, errors, tolerance in (
        (pooled.mean(axis=0), mcse_mean(draws), 0.12),
        (pooled.std(axis=0), mcse_sd(draws), 0.12),
        # Its interval ends at order statistics, and is rounded outwards to them.
        (np.quantile(pooled, 0.9, axis=0), mcse_quantile(draws, 0.9), 0.2),
    ):
        assert_allclose(np.sqrt(np.mean(errors**2)), estimates.std(), rtol=tolerance)


def test_rhat_sees_location_spread_and_drift(rng):
    draws = rng.normal(size=(4, 1000, 4))
    draws[0, :, 1] += 0.5
    draws[0, :, 2] *= 2.0
    draws[:, :, 3] += np.linspace(-0.5, 0.5, 1000)  # every chain drifts alike: only halves disagree
    values = rhat(draws)
    assert values[0] < 1.01
    assert (values[1:] > 1.01).all()


def test_rhat_of_heavy_tails(rng):
    draws = rng.standard_cauchy(size=(4, 1000, 20))
    assert (rhat(draws) < 1.01).all()
    draws[0] += 2.0
    assert (rhat(draws) > 1.02).all()


# -------------------------------------------------------------------------------------------------------- invariances
@pytest.mark.parametrize("name", BY_PARAMETER)
def test_chains_blocks_and_axes_do_not_matter(rng, name, monkeypatch):
    statistic = BY_PARAMETER[name]
    draws = autoregression(rng, 0.4, (3, 100, 2, 3))
    values = statistic(draws)
    assert values.shape == (2, 3)
    assert_allclose(statistic(draws[::-1]), values, rtol=1e-9)
    assert_allclose(statistic(draws[:, :, 1, 2]), values[1, 2], rtol=1e-9)
    assert np.ndim(statistic(draws[:, :, 1, 2])) == 0
    monkeypatch.setattr(half_chains, "_BLOCK", 1)
    assert_allclose(statistic(draws), values, rtol=1e-9)
    assert statistic(draws[:, :, :, :0]).shape == (2, 0)


@pytest.mark.parametrize("name", BY_PARAMETER)
def test_units_do_not_matter(rng, name):
    draws = autoregression(rng, 0.4, (3, 100, 5))
    unit = 2.0**-20  # a power of two, lest rounding break or make ties
    scale = unit if name.startswith("mcse") else 1.0
    assert_allclose(BY_PARAMETER[name](unit * draws), scale * BY_PARAMETER[name](draws), rtol=1e-9)


def test_bulk_depends_on_ranks_only(rng):
    draws = autoregression(rng, 0.4, (3, 200, 5))
    assert_allclose(ess_bulk(np.exp(3 * draws)), ess_bulk(draws), rtol=1e-12)
    assert_allclose(ess_tail(np.exp(3 * draws)), ess_tail(draws), rtol=1e-12)


@pytest.mark.parametrize("name", BY_PARAMETER)
def test_the_middle_of_an_odd_number_of_draws_is_left_out(rng, name):
    draws = autoregression(rng, 0.4, (3, 101, 5))
    assert_allclose(BY_PARAMETER[name](draws), BY_PARAMETER[name](np.delete(draws, 50, axis=1)), rtol=1e-12)


def test_one_pass_gives_the_same(rng):
    draws = autoregression(rng, 0.4, (4, 300, 7))
    checks = convergence.convergence(draws)
    assert_allclose(checks.rhat, rhat(draws))
    assert_allclose(checks.ess_bulk, ess_bulk(draws))
    assert_allclose(checks.ess_tail, ess_tail(draws))
    assert checks.max_rhat == checks.rhat.max()
    assert checks.min_ess_bulk == checks.ess_bulk.min()
    assert checks.min_ess_tail == checks.ess_tail.min()
    assert (checks.n_chains, checks.n_draws, checks.n_undefined) == (4, 300, 0)


# --------------------------------------------------------------------------------------------------- degenerate draws
@pytest.mark.parametrize("name", BY_PARAMETER)
@pytest.mark.parametrize("bad", [np.nan, np.inf, "constant"])
def test_constant_and_infinite_draws_have_no_diagnostics(rng, name, bad):
    draws = rng.normal(size=(4, 50, 3))
    good = BY_PARAMETER[name](draws[:, :, [0, 2]])
    if bad == "constant":
        draws[:, :, 1] = 0.1
    else:
        draws[2, 3, 1] = bad
    values = BY_PARAMETER[name](draws)
    assert np.isnan(values[1])
    assert_allclose(values[[0, 2]], good)


def test_constant_draws_in_the_summary(rng):
    draws = rng.normal(size=(4, 1000, 2))
    assert convergence.convergence(draws).converged
    draws[:, :, 1] = 1.0
    checks = convergence.convergence(draws)
    assert checks.n_undefined == 1 and not checks.converged
    assert np.isfinite([checks.max_rhat, checks.min_ess_bulk, checks.min_ess_tail]).all()
    nothing = convergence.convergence(np.zeros((4, 100)))
    assert np.isnan([nothing.max_rhat, nothing.min_ess_bulk, nothing.min_ess_tail]).all()


def test_stuck_chains_that_differ(rng):
    draws = np.repeat(rng.normal(size=(4, 1)), 100, axis=1)
    assert rhat(draws) > 1e6
    assert ess_bulk(draws) < 10


def test_a_two_valued_parameter(rng):
    draws = (rng.random((4, 1000, 2)) < [0.5, 0.02]).astype(float)
    checks = convergence.convergence(draws)
    assert (checks.rhat < 1.02).all() and (checks.ess_bulk > 2000).all()
    assert np.isfinite(checks.ess_tail).any()


def test_antithetic_draws_are_worth_more_than_their_number(rng):
    draws = autoregression(rng, -0.6, (4, 1000))
    assert ess_mean(draws) > 8000


def test_one_chain(rng):
    draws = rng.normal(size=(1, 1000))
    assert rhat(draws) < 1.02
    assert ess_bulk(draws) > 500


def test_integers_are_draws(rng):
    draws = rng.integers(0, 50, size=(4, 100))
    assert_array_equal(rhat(draws), rhat(draws.astype(float)))


@pytest.mark.parametrize("shape", [(100,), (4, 3), (4, 3, 2)])
def test_bad_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="at least 4 draws"):
        rhat(np.zeros(shape))


@pytest.mark.parametrize("probability", [0.0, 1.0, np.nan])
def test_bad_probabilities_are_refused(probability):
    with pytest.raises(ValueError, match="between 0 and 1"):
        ess_quantile(np.zeros((4, 10)), probability)
    with pytest.raises(ValueError, match="between 0 and 1"):
        mcse_quantile(np.zeros((4, 10)), probability)
