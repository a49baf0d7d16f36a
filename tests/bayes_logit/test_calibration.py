"""Simulation-based calibration: parameters drawn from the prior are anywhere in their posteriors, equally often.

`benchmarks/calibration.py` does the same at length.

Talts, Betancourt, Simpson, Vehtari and Gelman (2018), Validating Bayesian inference algorithms with simulation-based
calibration, arXiv:1804.06788.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from skdep.bayes.logit import BayesLogit
from skdep.bayes.priors import Normal
from skdep.bayes.scale_priors import HalfNormal


def rank(draws, truth):
    """Return the share of draws below the truth."""
    return np.mean(np.asarray(draws).reshape(-1, np.size(truth)) < truth, axis=0)


def flat_ranks(n_fits, rng, scale=1.0):
    """Return ranks (n_fits, 4) of intercept, slopes and one linear predictor; `scale` is that of the fit's prior."""
    ranks = []
    for seed in range(n_fits):
        X = rng.normal(size=(30, 2))
        X = (X - X.mean(axis=0)) / X.std(axis=0)
        truth = rng.normal(size=3) * [1.5, 1.0, 1.0]
        y = rng.uniform(size=30) < special.expit(truth[0] + X @ truth[1:])
        # constant outcomes, about which the classifier is told by rows without weight
        X, y, weight = np.vstack([X, X[:2]]), np.r_[y, False, True].astype(int), np.r_[np.ones(30), 1e-12, 1e-12]
        prior = {"Intercept at 0": Normal(0, 1.5), "coef": Normal(0, scale)}
        model = BayesLogit(prior, n_draws=250, random_state=seed, method="pairs").fit(X, y, sample_weight=weight)
        draws = np.concatenate([model.draws_["intercept"][..., None], model.draws_["coef"]], axis=-1)
        ranks.append([*rank(draws, truth), rank(draws @ [1, 1, -1], truth @ [1, 1, -1])[0]])
    return np.array(ranks)


def multilevel_ranks(n_fits, rng, n_groups=20):
    """Return ranks (n_fits, 4) of intercept, slope, standard deviation, and the first group's effect."""
    groups = np.repeat(np.arange(n_groups), 5)
    ranks = []
    for seed in range(n_fits):
        x = rng.normal(size=len(groups))
        x = (x - x.mean()) / x.std()
        truth, sd = rng.normal(size=2), abs(rng.normal())
        effects = sd * rng.normal(size=n_groups)
        y = (rng.uniform(size=len(groups)) < special.expit(truth[0] + truth[1] * x + effects[groups])).astype(int)
        if y.min() == y.max():  # has next to no probability here
            continue
        prior = {"Intercept at 0": Normal(0, 1), "coef": Normal(0, 1), "sd": HalfNormal(1)}
        model = BayesLogit(prior, n_draws=250, random_state=seed, method="pairs").fit(x[:, None], y, groups=groups)
        (drawn,) = model._effect_draws().values()
        ranks.append(
            [
                rank(model.draws_["intercept"], truth[0])[0],
                rank(model.draws_["coef"], truth[1])[0],
                rank(np.sqrt(model.draws_["random_covariance"]), sd)[0],
                rank(drawn[:, 0, 0], effects[0])[0],
            ]
        )
    return np.array(ranks)


def p_values(ranks):
    """Return p-values that ranks are uniform, of their distribution and of their spread."""
    by_rank = [stats.kstest(column, "uniform").pvalue for column in ranks.T]
    # too narrow posteriors have ranks at both ends
    by_size = [stats.kstest(np.abs(2 * column - 1), "uniform").pvalue for column in ranks.T]
    return np.array([by_rank, by_size])


@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
def test_flat():
    assert p_values(flat_ranks(120, np.random.default_rng(0))).min() > 1e-3


@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
def test_a_wrong_prior_is_noticed():
    assert p_values(flat_ranks(120, np.random.default_rng(0), scale=0.3)).min() < 1e-3


@pytest.mark.filterwarnings("ignore::skdep.exceptions.ConvergenceWarning")
def test_multilevel():
    ranks = multilevel_ranks(40, np.random.default_rng(1))
    assert len(ranks) > 35
    assert p_values(ranks).min() > 1e-3
