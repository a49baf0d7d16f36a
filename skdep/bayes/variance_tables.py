"""Variance components and intraclass correlations of a posterior, computed in every draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from skdep.bayes.estimands import nesting, variance_draws
from skdep.bayes.named_draws import covariance_draws
from skdep.bayes.posterior_table import tails_of

__all__ = ["LATENT_VARIANCE", "component_table", "icc_table"]

LATENT_VARIANCE = np.pi**2 / 3.0
"""Variance of the standard logistic distribution, of the latent outcome whose sign a logistic model describes."""


def component_table(est: Any, *, level: float = 0.95) -> pd.DataFrame:
    """Return the table of `skdep.inference.variance_components`: posterior means, and limits of standard deviations.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator, with random effects.
    level : float, default=0.95
        Probability between ``sd_low`` and ``sd_high``.
    """
    contributed = variance_draws(est)
    total = _total(contributed)
    index, rows = [], []
    columns = list(dict.fromkeys(f"corr_{name}" for names in est.random_names_.values() for name in names[:-1]))
    for factor, draws in covariance_draws(est).items():
        names, sigma = est.random_names_[factor], draws.reshape(-1, *draws.shape[2:])
        sd = np.sqrt(np.diagonal(sigma, axis1=1, axis2=2))
        averaged = names != ("Intercept",)
        for a, name in enumerate(names):
            row = _row(sd[:, a] ** 2, None if averaged else total, level)
            row |= {f"corr_{names[c]}": np.mean(sigma[:, a, c] / (sd[:, a] * sd[:, c])) for c in range(a)}
            index.append((factor, name))
            rows.append(row)
        if averaged:
            index.append((factor, "mean over rows"))
            rows.append(_row(contributed[factor], total, level))
    index.append(("Residual", "latent scale"))
    residual = {"variance": LATENT_VARIANCE, "sd": float(np.sqrt(LATENT_VARIANCE))}
    rows.append(residual | {"share": float(np.mean(LATENT_VARIANCE / total))})
    order = ["variance", "sd", "sd_low", "sd_high", *columns, "share"]
    return pd.DataFrame(rows, columns=order, index=pd.MultiIndex.from_tuples(index, names=["factor", "effect"]))


def _total(variances: dict[str, np.ndarray]) -> np.ndarray:
    """Return the total variance (S,)."""
    return np.sum([*variances.values()], axis=0) + LATENT_VARIANCE


def _row(variance: np.ndarray, total: np.ndarray | None, level: float) -> dict[str, float]:
    sd = np.sqrt(variance)
    low, high = np.quantile(sd, tails_of(level))
    share = np.nan if total is None else float(np.mean(variance / total))
    return {"variance": float(variance.mean()), "sd": float(sd.mean()), "sd_low": low, "sd_high": high, "share": share}


def icc_table(est: Any, *, level: float = 0.95) -> pd.DataFrame:
    """Return the table of `skdep.inference.icc`: posterior medians, and limits of the intraclass correlations.

    Parameters
    ----------
    est : BayesLogit
        The fitted estimator, with random effects.
    level : float, default=0.95
        Probability between ``icc_low`` and ``icc_high``.
    """
    variances, outer = variance_draws(est), nesting(est)
    total = _total(variances)
    rows = {}
    for name, variance in variances.items():
        share = variance / total
        together = share + sum(variances[other] / total for other in outer[name])
        low, high = np.quantile(share, tails_of(level))
        rows[name] = {
            "variance": np.median(variance),
            "icc": np.median(share),
            "icc_low": low,
            "icc_high": high,
            "same_level": np.median(together),
            "median_odds_ratio": np.median(np.exp(np.sqrt(2.0 * variance) * ndtri(0.75))),
        }
    columns = ["variance", "icc", "icc_low", "icc_high", "same_level", "median_odds_ratio"]
    return pd.DataFrame(rows, index=columns, dtype=float).T
