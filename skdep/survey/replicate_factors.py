r"""Factors by which replicates multiply the weights of sampling units: jackknife, half-samples, successive differences.

Every function takes a design and returns a factor for each unit in each replicate, with what a variance needs: it is
`scale` times the sum over replicates of `rscales` times squared deviations of the replicate's estimate.

References
----------
Wolter (2007), Introduction to Variance Estimation, 2nd ed., Springer, chapters 3 and 4: half-samples, jackknives.
Judkins (1990), Journal of Official Statistics 6, 223-239: Fay's method. Fay and Train (1995), American Statistical
Association, Proceedings of the Section on Government Statistics, 154-159; Ash (2014), Survey Methodology 40, 47-59:
successive differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np

from skdep.survey.design import Stage, SurveyDesign
from skdep.survey.hadamard import hadamard_matrix, least_hadamard_order

__all__ = [
    "Factors",
    "ReplicateOptions",
    "check_size",
    "delete_one",
    "delete_one_in_strata",
    "drop_half_of_pairs",
    "half_samples",
    "refuse_finite",
    "refuse_unless_removed",
    "successive_differences",
]

# Four gigabytes of factors.
_MOST_FACTORS = 2**29
# As in the American Community Survey: 79 rows of signs, a prime number, to go round.
_SDR_REPLICATES = 80


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """What a method of replication does with the weights.

    Parameters
    ----------
    factors : ndarray of shape (n_units, n_replicates)
        What the weights of a unit are multiplied by.
    unit : ndarray of shape (n_rows,)
        Number of each row's unit.
    scale : float
        Factor of the variance.
    rscales : ndarray of shape (n_replicates,)
        Factor of each replicate.
    mse : bool
        Whether deviations are from the full sample's estimate, and not from the mean of the replicates'.
    """

    factors: np.ndarray
    unit: np.ndarray
    scale: float
    rscales: np.ndarray
    mse: bool = False


@dataclass(frozen=True, slots=True)
class ReplicateOptions:
    """What a method may be told.

    Parameters
    ----------
    method : str
        Name of the method, for messages.
    n_replicates : int or None
        Number of replicates asked for.
    rho : float
        Fay's coefficient; 0 for plain half-samples.
    rank : ndarray of shape (n_rows,) or None
        Rank of each row in the order of sampling.
    rng : Generator
        Source of randomness.
    """

    method: str
    n_replicates: int | None
    rho: float
    rank: np.ndarray | None
    rng: np.random.Generator


def check_size(n_units: int, n_replicates: int) -> None:
    """Raise if factors would fill the memory."""
    if n_units * n_replicates > _MOST_FACTORS:
        raise ValueError(
            f"{n_replicates} replicates of {n_units} sampling units would take {8e-9 * n_units * n_replicates:.0f} GB. "
            "Give the primary units as groups=, merge them into random groups, or use method='bootstrap'."
        )


def refuse_finite(design: SurveyDesign, method: str) -> None:
    """Raise if populations are finite, for methods that have no place for that."""
    if design.finite:
        raise ValueError(
            f"method={method!r} takes units as drawn with replacement, and has no finite population correction: leave "
            "out fpc= (the variance is then rather too large), or use 'jkn', 'bootstrap' or 'sdr'."
        )


def refuse_unless_removed(design: SurveyDesign, method: str) -> None:
    """Raise if strata of a single unit are to get a variance, which only the jackknife can give them."""
    if design.lonely_psu in ("adjust", "average") and any(stage.lonely.any() for stage in design.stages):
        raise ValueError(
            f"lonely_psu={design.lonely_psu!r} is available for method='jkn'; for {method!r} merge strata of a single "
            "unit, or set lonely_psu='remove'."
        )


def delete_one(design: SurveyDesign, options: ReplicateOptions) -> Factors:
    """Leave out one unit at a time, without strata (JK1)."""
    if len(design.stages[0].n_units) > 1:
        raise ValueError(f"method={options.method!r} is for designs without strata; use 'jkn'.")
    found = delete_one_in_strata(design, options)
    # the same number for all replicates is the scale of the variance
    common = float(found.rscales[0]) if len(found.rscales) else 1.0
    return Factors(found.factors, found.unit, found.scale * common, np.ones_like(found.rscales))


def delete_one_in_strata(design: SurveyDesign, options: ReplicateOptions) -> Factors:
    """Leave out one unit of a stratum at a time, and let the others of the stratum stand for it (JKn)."""
    stage = design.stages[0]
    stratum, n_strata = stage.stratum_of_unit, len(stage.n_units)
    n, finite = stage.n_units[stratum].astype(float), 1.0 - stage.fraction[stratum]
    alone = stage.lonely[stratum] & (design.lonely_psu == "adjust") & (n_strata > 1)
    left_out = np.flatnonzero((n > 1) | alone)
    check_size(len(n), len(left_out))
    larger = np.where(n > 1, n / np.maximum(n - 1.0, 1.0), 1.0)
    factors = np.where(stratum[:, None] == stratum[left_out], larger[:, None], 1.0)
    rscales = finite / larger
    if alone.any():
        # a stratum of a single unit is left out as a whole, as if strata were units
        factors[:, alone[left_out]] = n_strata / (n_strata - 1.0)
        rscales[alone] = (n_strata - 1.0) / n_strata
    factors[left_out, np.arange(len(left_out))] = 0.0
    scale = 1.0
    if design.lonely_psu == "average":
        scale = n_strata / max(n_strata - int(stage.lonely.sum()), 1)
    return Factors(factors, stage.unit, scale, rscales[left_out])


def half_samples(design: SurveyDesign, options: ReplicateOptions) -> Factors:
    """Shift weight between the units of each pair by balanced signs (BRR, and Fay's method where `rho` > 0)."""
    pair, sign = _pairs(design, options.method)
    n_pairs, n_replicates, rho = int(pair.max()) + 1, options.n_replicates, options.rho
    # the row of ones is for nobody: it would add the same to every replicate
    order = least_hadamard_order(n_pairs + 1)
    if n_replicates is not None:
        if n_replicates < n_pairs + 1 or least_hadamard_order(n_replicates) != n_replicates:
            raise ValueError(
                f"n_replicates={n_replicates} does not balance {n_pairs} pairs of sampling units: it must be the order "
                f"of a Hadamard matrix above {n_pairs}, such as {least_hadamard_order(max(n_replicates, n_pairs + 1))}."
            )
        order = n_replicates
    check_size(len(pair), order)
    factors = 1.0 + (1.0 - rho) * sign[:, None] * hadamard_matrix(order)[pair + 1]
    factors[pair < 0] = 1.0
    return Factors(factors, design.stages[0].unit, 1.0 / (order * (1.0 - rho) ** 2), np.ones(order))


def drop_half_of_pairs(design: SurveyDesign, options: ReplicateOptions) -> Factors:
    """Drop one unit of one pair at a time, drawn by lot, and double the other (JK2)."""
    pair, sign = _pairs(design, options.method)
    n_pairs = int(pair.max()) + 1
    check_size(len(pair), n_pairs)
    lot = np.where(options.rng.random(n_pairs) < 0.5, 1.0, -1.0)
    factors = np.ones((len(pair), n_pairs))
    units = np.flatnonzero(pair >= 0)
    factors[units, pair[units]] += sign[units] * lot[pair[units]]
    return Factors(factors, design.stages[0].unit, 1.0, np.ones(n_pairs), mse=True)


def _pairs(design: SurveyDesign, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each unit's pair, -1 for none, and +1 or -1 for its first and second unit."""
    refuse_finite(design, method)
    refuse_unless_removed(design, method)
    stage = design.stages[0]
    odd = (stage.n_units % 2 == 1) & ~stage.lonely
    if odd.any():
        h = int(np.flatnonzero(odd)[0])
        raise ValueError(
            f"method={method!r} needs pairs of sampling units: {int(odd.sum())} strata have an odd number of them, "
            f"first stratum {stage.stratum_labels[h]!r} ({stage.n_units[h]}). Use 'jkn' or 'bootstrap', or merge units."
        )
    paired = ~stage.lonely[stage.stratum_of_unit]
    if not paired.any():
        raise ValueError(f"method={method!r} finds no stratum with two sampling units or more.")
    pair = np.full(len(paired), -1)
    # units are in the order of their strata, so that neighbours, two by two, are pairs of the same stratum
    position = np.arange(int(paired.sum()))
    pair[paired] = position // 2
    sign = np.zeros(len(paired))
    sign[paired] = np.where(position % 2 == 0, 1.0, -1.0)
    return pair, sign


def successive_differences(design: SurveyDesign, options: ReplicateOptions) -> Factors:
    """Perturb neighbours in the order of sampling in opposite directions (SDR).

    The last unit of a stratum is a neighbour of its first. Rows of signs are taken in turn; when all are used up the
    next turn takes every second one, then every third, so that no two pairs of neighbours share both their rows.
    """
    refuse_unless_removed(design, options.method)
    stage, n_replicates = design.stages[0], options.n_replicates
    order = _sampling_order(stage, options.rank)
    n_units = len(order)
    if n_replicates is None:
        n_replicates = least_hadamard_order(min(n_units + 1, _SDR_REPLICATES))
    if n_replicates < 4 or least_hadamard_order(n_replicates) != n_replicates:
        raise ValueError(
            f"n_replicates={n_replicates} is not the order of a Hadamard matrix of 4 or more, such as "
            f"{least_hadamard_order(max(n_replicates, 4))}."
        )
    check_size(n_units, n_replicates)
    row = _rows_in_turn(n_units, n_replicates - 1)
    stratum = stage.stratum_of_unit[order]
    first = np.searchsorted(stratum, np.arange(len(stage.n_units)))
    next_row = np.append(row[1:], row[0])
    next_row[first + stage.n_units - 1] = row[first]
    signs = hadamard_matrix(n_replicates)[1:].astype(float)
    shift = np.sqrt((1.0 - stage.fraction[stratum]) / 8.0)[:, None]
    factors = np.empty((n_units, n_replicates))
    factors[order] = 1.0 + shift * (signs[row] - signs[next_row])
    return Factors(factors, stage.unit, 4.0 / n_replicates, np.ones(n_replicates), mse=True)


def _sampling_order(stage: Stage, rank: np.ndarray | None) -> np.ndarray:
    """Return unit numbers by stratum, and within it by the least rank of their rows (by default the first row)."""
    least = np.full(len(stage.stratum_of_unit), len(stage.unit))
    np.minimum.at(least, stage.unit, np.arange(len(stage.unit)) if rank is None else rank)
    return np.lexsort((least, stage.stratum_of_unit))


def _rows_in_turn(n_units: int, n_rows: int) -> np.ndarray:
    """Return a row number for each unit: turn t takes the rows 0, c, 2 c, ... modulo their number, c coprime to it."""
    turn, position = np.divmod(np.arange(n_units), n_rows)
    steps = np.array([c for c in range(1, max(n_rows, 2)) if gcd(c, n_rows) == 1])
    return steps[turn % len(steps)] * position % n_rows
