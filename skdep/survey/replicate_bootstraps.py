r"""Bootstraps of sampling units: with replacement and rescaled, from a population made of the sample, and by stages.

References
----------
Rao and Wu (1988), Journal of the American Statistical Association 83, 231-241; Rao, Wu and Yue (1992), Survey
Methodology 18, 209-217: rescaled weights. Canty and Davison (1999), The Statistician 48, 379-391: resampling from a
population that repeats the sample. Preston (2009), Survey Methodology 35, 227-234: half-samples at every stage.
"""

from __future__ import annotations

import numpy as np

from skdep.survey.design import Stage, SurveyDesign
from skdep.survey.replicate_factors import Factors, ReplicateOptions, check_size, refuse_unless_removed

__all__ = ["multistage_bootstrap", "population_bootstrap", "rescaling_bootstrap"]

# Hypergeometric numbers are drawn from populations below 1e9; such large ones are as good as infinite.
_LARGEST = 9e8
_N_REPLICATES = 200


def rescaling_bootstrap(design: SurveyDesign, options: ReplicateOptions) -> Factors:
    r"""Draw n_h - 1 of the n_h units of each stratum with replacement, and rescale (Rao, Wu and Yue).

    A unit drawn m times gets the factor :math:`1 + (1 - f_h)^{1/2} (m n_h / (n_h - 1) - 1)`.
    """
    refuse_unless_removed(design, options.method)
    stage, rng, n_replicates = design.stages[0], options.rng, options.n_replicates or _N_REPLICATES
    stratum = stage.stratum_of_unit
    check_size(len(stratum), n_replicates)
    n = stage.n_units[stratum].astype(float)
    factors = _draw_with_replacement(stage, np.maximum(stage.n_units - 1, 0), n_replicates, rng).astype(float)
    factors *= (n / np.maximum(n - 1.0, 1.0))[:, None]
    shrink = np.where(n > 1, np.sqrt(1.0 - stage.fraction[stratum]), 0.0)[:, None]
    factors = 1.0 + shrink * (factors - 1.0)
    return _sampled(factors, stage)


def population_bootstrap(design: SurveyDesign, options: ReplicateOptions) -> Factors:
    """Draw n_h units without replacement from N_h that repeat the sample; with replacement if N_h is infinite.

    The variance is unbiased for equal n_h: `scale` has their harmonic mean. A population that is not a multiple of the
    sample repeats some units, drawn by lot for each replicate, once more than others.
    """
    refuse_unless_removed(design, options.method)
    stage, rng, n_replicates = design.stages[0], options.rng, options.n_replicates or _N_REPLICATES
    n_units = stage.n_units
    check_size(len(stage.stratum_of_unit), n_replicates)
    factors = _draw_with_replacement(stage, np.where(stage.fraction > 0, 0, n_units), n_replicates, rng).astype(float)
    if (stage.fraction > 0).any():
        factors += _draw_from_copies(stage, n_replicates, rng)
    alone = n_units == 1
    factors[alone[stage.stratum_of_unit]] = 1.0
    n = 1.0 / np.mean(1.0 / n_units[~alone]) if not alone.all() else np.inf
    return _sampled(factors, stage, 1.0 / (1.0 - 1.0 / n))


def multistage_bootstrap(design: SurveyDesign, options: ReplicateOptions) -> Factors:
    r"""Draw half of the units of each stratum without replacement, at every stage, and rescale (Preston).

    With :math:`\delta` 1 for units drawn, the factor of a unit is 1 plus the sum over stages of

    .. math:: \lambda_s \Bigl(\frac{n_s}{n_s^*} \delta_s - 1\Bigr) \prod_{t < s} (n_t / n_t^*)^{1/2} \delta_t, \quad
              \lambda_s^2 = \frac{n_s^* (1 - f_s)}{n_s - n_s^*} \prod_{t < s} f_t.
    """
    refuse_unless_removed(design, options.method)
    last, rng, n_replicates = design.stages[-1], options.rng, options.n_replicates or _N_REPLICATES
    check_size(len(last.stratum_of_unit), n_replicates)
    total = path = np.zeros(0)
    share = np.ones(0)
    for number, stage in enumerate(design.stages):
        n, n_drawn = stage.n_units.astype(float), np.maximum(stage.n_units // 2, 1)
        stratum = stage.stratum_of_unit
        drawn = _draw_without_replacement(stage, n_drawn, n_replicates, rng)
        if number == 0:
            total, path = np.ones((len(stratum), n_replicates)), np.ones((len(stratum), n_replicates))
            share = np.ones(len(stratum))
        else:
            assert stage.parent is not None
            total, path, share = total[stage.parent], path[stage.parent], share[stage.parent]
        left = n - n_drawn
        spread = np.where(left > 0, n_drawn * (1.0 - stage.fraction) / np.maximum(left, 1.0), 0.0)[stratum]
        ratio = (n / n_drawn)[stratum][:, None]
        total = total + np.sqrt(share * spread)[:, None] * path * (ratio * drawn - 1.0)
        path = path * np.sqrt(ratio) * drawn
        share = share * stage.fraction[stratum]
    return _sampled(total, last)


def _sampled(factors: np.ndarray, stage: Stage, scale: float = 1.0) -> Factors:
    """Return replicates that are drawn at random: their variance about their mean."""
    n_replicates = factors.shape[1]
    return Factors(factors, stage.unit, scale / (n_replicates - 1.0), np.ones(n_replicates))


def _starts(stage: Stage) -> np.ndarray:
    """Return the first unit of each stratum; units are in the order of their strata."""
    return np.cumsum(stage.n_units) - stage.n_units


def _draw_with_replacement(
    stage: Stage, n_draws: np.ndarray, n_replicates: int, rng: np.random.Generator
) -> np.ndarray:
    """Count how often each unit is drawn (n_units, n_replicates), in `n_draws` (n_strata,) draws of its stratum."""
    stratum = np.repeat(np.arange(len(n_draws)), n_draws)
    size = stage.n_units[stratum]
    counts = np.zeros((len(stage.stratum_of_unit), n_replicates), dtype=np.intp)
    if len(stratum):
        # of a uniform number just below 1 the product may round up
        within = np.minimum((rng.random((n_replicates, len(stratum))) * size).astype(np.intp), size - 1)
        drawn = (_starts(stage)[stratum] + within) * n_replicates + np.arange(n_replicates)[:, None]
        counts += np.bincount(drawn.ravel(), minlength=counts.size).reshape(counts.shape)
    return counts


def _draw_without_replacement(
    stage: Stage, n_draws: np.ndarray, n_replicates: int, rng: np.random.Generator
) -> np.ndarray:
    """Say which units are drawn (n_units, n_replicates): `n_draws` (n_strata,) of each stratum."""
    stratum = stage.stratum_of_unit
    # sorted by stratum first and at random within, the units at the head of each stratum are drawn
    order = np.argsort(stratum[:, None] + 0.5 * rng.random((len(stratum), n_replicates)), axis=0)
    head = np.arange(len(stratum)) - _starts(stage)[stratum] < n_draws[stratum]
    drawn = np.zeros(order.shape, dtype=bool)
    np.put_along_axis(drawn, order, np.broadcast_to(head[:, None], order.shape), axis=0)
    return drawn


def _draw_from_copies(stage: Stage, n_replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Count how often each unit of a finite stratum is drawn (n_units, n_replicates), without replacement from copies.

    The draws of a stratum are split between the halves of its units, those between their halves, and so on: each split
    is a hypergeometric number.
    """
    n_units, stratum, starts = stage.n_units, stage.stratum_of_unit, _starts(stage)
    finite = stage.fraction > 0
    population = np.minimum(np.rint(n_units / np.where(finite, stage.fraction, 1.0)), _LARGEST).astype(np.intp)
    more = _draw_without_replacement(stage, population % n_units, n_replicates, rng)
    copies = (population // n_units)[stratum][:, None] + more
    below = np.zeros((len(stratum) + 1, n_replicates), dtype=np.intp)
    np.cumsum(copies, axis=0, out=below[1:])
    draws = np.broadcast_to(np.where(finite, n_units, 0)[:, None], (len(n_units), n_replicates))
    first, last = starts, starts + n_units
    while (last - first > 1).any():
        middle = (first + last + 1) // 2
        left = rng.hypergeometric(below[middle] - below[first], below[last] - below[middle], draws)
        keep = middle < last
        draws = np.concatenate([left, (draws - left)[keep]])
        first, last = np.concatenate([first, middle[keep]]), np.concatenate([middle, last[keep]])
    counts = np.zeros((len(stratum), n_replicates), dtype=np.intp)
    counts[first] = draws
    return counts
