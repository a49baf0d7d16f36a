r"""How unequal weights are, and what that costs.

With cv the coefficient of variation of the weights, Kish's design effect 1 + cv^2 = n sum w^2 / (sum w)^2 is by how
much the variance of a mean grows if weights have nothing to do with the outcome; n over it is the effective sample
size.

References
----------
Kish (1965), Survey Sampling, Wiley, section 11.7; Kish (1992), Journal of Official Statistics 8, 183-200.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["effective_size", "kish_effect", "weight_histogram", "weight_table"]

_MOST_BINS = 40


def kish_effect(weights: np.ndarray) -> float:
    """Return Kish's design effect of positive weights (n,)."""
    scaled = weights / weights.max()
    return float(len(weights) * np.sum(scaled**2) / np.sum(scaled) ** 2)


def effective_size(weights: np.ndarray) -> float:
    """Return the effective sample size of positive weights (n,)."""
    return len(weights) / kish_effect(weights)


def _describe(weights: np.ndarray) -> dict[str, float]:
    """Return figures on weights of some rows."""
    quartiles = np.quantile(weights, [0.0, 0.25, 0.5, 0.75, 1.0])
    heaviest = np.sort(weights)[::-1][: max(1, round(0.01 * len(weights)))]
    effect = kish_effect(weights)
    names = ("min", "lower_quartile", "median", "upper_quartile", "max")
    return {
        "n_rows": len(weights),
        "sum": float(weights.sum()),
        **{name: float(value) for name, value in zip(names, quartiles, strict=True)},
        "max_to_median": float(quartiles[-1] / quartiles[2]),
        "top_percent_share": float(heaviest.sum() / weights.sum()),
        "cv": float(np.sqrt(max(effect - 1.0, 0.0))),
        "kish_deff": effect,
        "effective_size": len(weights) / effect,
    }


def weight_table(weights: np.ndarray, strata: tuple[np.ndarray, np.ndarray] | None) -> pd.DataFrame:
    """Describe weights, of all rows and by stratum.

    Parameters
    ----------
    weights : ndarray of shape (n_rows,)
        Positive weights as given.
    strata : tuple of ndarray and ndarray, or None
        Number of each row's stratum, and labels.

    Returns
    -------
    DataFrame
        A row ``"all"`` and one a stratum.
    """
    records = {"all": _describe(weights)}
    if strata is not None:
        codes, labels = strata
        order = np.argsort(codes, kind="stable")
        present, starts = np.unique(codes[order], return_index=True)
        parts = np.split(weights[order], starts[1:])
        records |= {labels[code]: _describe(part) for code, part in zip(present, parts, strict=True)}
    return pd.DataFrame.from_dict(records, orient="index")


def weight_histogram(weights: np.ndarray) -> pd.DataFrame:
    """Count weights of mean one in bins: columns ``left``, ``right`` and ``count``."""
    n_distinct = len(np.unique(np.round(weights, 9)))
    n_bins = int(np.clip(2.0 * len(weights) ** (1.0 / 3.0), 5, _MOST_BINS)) if n_distinct > 1 else 1
    counts, edges = np.histogram(weights, bins=n_bins)
    return pd.DataFrame({"left": edges[:-1], "right": edges[1:], "count": counts})
