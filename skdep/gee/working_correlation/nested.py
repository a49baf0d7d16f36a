r"""Nested exchangeable working correlation: rows correlate by the smallest subcluster they share.

Two rows that share the cluster only have correlation alpha_0, two of one subcluster of it alpha_1, and so on to
alpha_L. With J_l the blocks of ones of level l,

    R = (1 - alpha_L) I + sum over levels of d_l J_l,     d_l = alpha_l - alpha_(l-1),  d_0 = alpha_0.

Levels are whitened one after the other, the smallest units first. Where C'C is the inverse of what is there so far and
g = C 1 within a unit, adding d J to it asks for the further root

    (I + d g g')^(-1/2) z = z - [1 - (1 + d g'g)^(-1/2)] g (g'z) / (g'g),

which makes of g the multiple (1 + d g'g)^(-1/2) of it: O(N) for clusters and units of any size.

With a negative d a unit can be indefinite by itself, M = A + d J, and R yet positive definite by the levels further
out, if it is the only such unit of its parent. Then its siblings, whitened first, predict it: given them the unit has
mean d' T and matrix A + (d + d') J, d' = D / (1 + D C), with D the d of the parent, and T = 1'M^(-1)z and
C = 1'M^(-1)1 added up over siblings.

Negative eigenvalues are counted by inertia: adding d J makes one more where d < 0 and 1 + d 1'M^(-1)1 < 0, and one
fewer where d > 0 and that is negative.

References
----------
Teerenstra, Lu, Preisser, van Achterberg and Borm (2010), Biometrics 66, 1230-1237: nested exchangeable correlation in
GEE for three-level trials.
Haynsworth (1968), Linear Algebra and its Applications 1, 73-81: inertia of a bordered matrix.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from skdep.clusters import Clusters
from skdep.gee.working_correlation.base import (
    LEAST_EIGENVALUE,
    Sensitivity,
    WorkingCorrelation,
    correction_factors,
    mean_products,
    share_kept,
)

__all__ = ["Nested"]

# Halvings of an interval that brackets the least eigenvalue.
_BISECTIONS = 50
# Stands for the zero by which a singular matrix would divide.
_TINY = 1e-100


@dataclass(frozen=True, slots=True)
class _Layout:
    levels: tuple[Clusters, ...]  # of rows: clusters first, the smallest units last
    units: tuple[Clusters, ...]  # by level but the last: the smallest units as rows
    children: tuple[Clusters, ...]  # by level but the last: the units of the next level as rows
    cluster: tuple[np.ndarray, ...]  # by level: number of each unit's cluster
    pairs: np.ndarray  # (n_levels,) pairs of rows that share a unit of this level and none smaller


class Nested(WorkingCorrelation):
    """A correlation for each level of nesting: rows of one cluster, of one subcluster of it, and so on.

    Pass `groups` with a column a level, the cluster first: ``groups=frame[["practice", "doctor"]]``. Labels of
    subclusters may restart in every cluster. Only clusters are taken to be independent, by the sandwich too.

    Notes
    -----
    ``association_`` holds the correlations from the outermost level in: that of rows which share only the cluster, that
    of rows which share the subcluster, and so on. They may take any order that leaves the matrix positive definite. A
    level at which no two rows meet has correlation 0.

    Examples
    --------
    Pupils in classes, numbered within schools:

    >>> import numpy as np
    >>> import pandas as pd
    >>> from skdep import GEERegressor
    >>> rng = np.random.default_rng(0)
    >>> levels = pd.DataFrame({"school": np.repeat(np.arange(60), 24), "class": np.tile(np.repeat([1, 2, 3], 8), 60)})
    >>> common = np.repeat(rng.normal(scale=0.5, size=60), 24) + np.repeat(rng.normal(scale=0.5, size=180), 8)
    >>> hours = rng.normal(size=1440)
    >>> score = hours + common + rng.normal(size=1440)
    >>> gee = GEERegressor(working_correlation="nested").fit(hours[:, None], score, groups=levels)
    >>> gee.association_.round(2)
    array([0.16, 0.35])
    """

    name = "nested"
    needs_subclusters = True

    def layout(self, block, dof):
        """Find the units of each level, and count their pairs."""
        levels = (block.clusters, *block.subclusters)
        units = tuple(_units_of(level, levels[-1]) for level in levels[:-1])
        children = tuple(_units_of(outer, inner) for outer, inner in itertools.pairwise(levels))
        cluster = tuple(block.clusters.codes[level.starts] for level in levels)
        pairs = np.array([float(np.sum(level.sizes * (level.sizes - 1.0)) / 2.0) for level in levels])
        return _Layout(levels, units, children, cluster, pairs - np.append(pairs[1:], 0.0))

    def start(self, layouts):
        """Return zeros."""
        return np.zeros(len(layouts[0].levels))

    def pair_products(self, layout, values):
        """Return sums over pairs by the smallest unit they share, by (sum v)^2 = sum v^2 + 2 sum over pairs."""
        squares = values @ values
        within = np.array([0.5 * (np.sum(level.sum(values) ** 2) - squares) for level in layout.levels])
        return self._by_smallest(layout, within)

    def _by_smallest(self, layout, within: np.ndarray) -> np.ndarray:
        """Take from the pairs (n_levels, ...) within units of each level those within units of the next."""
        sums = within.copy()
        sums[:-1] -= within[1:]
        sums[layout.pairs == 0] = 0.0  # no pairs: the difference would be rounding
        return sums

    def estimate(self, layouts, products, counts, moments, previous):
        """Return mean residual products of pairs over phi, level by level; 0 where a level has no pair."""
        return mean_products(products, counts, moments)

    def repair(self, layouts, association, limit=LEAST_EIGENVALUE):
        """Shrink towards 0 until every cluster's matrix is positive definite."""
        if all(_is_definite(layout, association, limit) for layout in layouts):
            return association, 0.0
        largest = max(int(layout.levels[0].sizes.max()) for layout in layouts)
        low, high = 1.0 - largest * float(np.abs(association).max()), limit
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            if all(_is_definite(layout, association, middle) for layout in layouts):
                low = middle
            else:
                high = middle
        kept = share_kept(low, limit)
        return kept * association, 1.0 - kept

    def whiten(self, layout, association, values):
        """Whiten level by level, the smallest units first."""
        if not association.any():
            return values
        smallest, base = layout.levels[-1], 1.0 / np.sqrt(1.0 - association[-1])
        sums, sizes = smallest.sum(values), smallest.sizes
        steps, prediction = _whitening_steps(layout, association, sums)
        # g is constant within the smallest units, and so is all that is taken from their rows: sums of units suffice
        g = 1.0 / np.sqrt(1.0 - association[-1] + sizes * steps[-1])
        change = ((g - base) / sizes)[:, None] * sums
        if prediction is not None:
            sums -= sizes[:, None] * prediction.mean
            change -= g[:, None] * prediction.mean
        sums *= g[:, None]
        for number in range(len(layout.units) - 1, -1, -1):
            units = layout.units[number]
            ours = g if prediction is None else np.where(prediction.predicted[number], 0.0, g)
            squared = units.sum(sizes * ours**2)
            shrunk = 1.0 / np.sqrt(1.0 + steps[number] * squared)
            share = (1.0 - shrunk) / np.where(squared > 0.0, squared, 1.0)
            moved = ours[:, None] * units.spread(share[:, None] * units.sum(ours[:, None] * sums))
            change -= moved
            sums -= sizes[:, None] * moved
            factor = units.spread(shrunk)
            if prediction is not None:
                left = units.spread(prediction.left_of_ones[number])
                factor = np.where(prediction.predicted[number], left, factor)
            g *= factor
        result = smallest.spread(change)
        result += base * values
        return result

    def problems(self, layouts, counts, moments, association):
        """Say which levels have no pairs of rows, or too few for the denominator asked for."""
        found = []
        for number, count in enumerate(counts):
            level = layouts[0].levels[number].name
            if 0 < count <= moments.n_params:
                found.append(
                    f"Factor {level!r} has no more pairs of rows than there are parameters; their correlation was "
                    "divided by the number of pairs, not by that less parameters."
                )
            elif count == 0 and counts.any():
                last = number == len(counts) - 1
                inner = "" if last else f" that differ in {layouts[0].levels[number + 1].name!r}"
                found.append(
                    f"No unit of factor {level!r} has two rows{inner}: their correlation cannot be estimated, is not "
                    "used, and is reported as 0."
                )
        return found

    def correlations(self, layout, association, earlier, later):
        """Return the correlation of the smallest unit that rows share."""
        found = np.full(len(earlier), association[0])
        for number, level in enumerate(layout.levels[1:], start=1):
            found[level.codes[earlier] == level.codes[later]] = association[number]
        return found

    def parameter_names(self, layouts):
        """Name the factors that rows share, the outermost alone first."""
        return tuple(f"alpha[same {level.name}]" for level in layouts[0].levels)

    def sensitivity(self, layouts, number, association, counts, moments):
        """Return the correlations: each level has its own."""
        return Sensitivity(association, None, correction_factors(counts, moments))

    def cluster_products(self, layout, values, coefficients):
        """Return sums over the pairs of each cluster, by the smallest unit they share."""
        n_clusters = layout.levels[0].n_clusters
        squares = layout.levels[0].sum(values**2)
        within = [
            0.5 * (np.bincount(cluster, weights=level.sum(values) ** 2, minlength=n_clusters) - squares)
            for level, cluster in zip(layout.levels, layout.cluster, strict=True)
        ]
        return self._by_smallest(layout, np.array(within)).T * coefficients

    def pair_forms(self, layout, left, right, coefficients):
        """Return sums over pairs of left and right, by the smallest unit they share."""
        alone = left @ right
        within = np.array([level.sum(left) @ level.sum(right) - alone for level in layout.levels])
        return coefficients[:, None] * self._by_smallest(layout, within)


def _units_of(outer: Clusters, inner: Clusters) -> Clusters:
    """Return the units of a level as clusters of the units of a level further in."""
    return Clusters.from_codes(outer.codes[inner.starts], outer.levels)


@dataclass(frozen=True, slots=True)
class _Prediction:
    """Units that their siblings predict, and what of them that leaves."""

    mean: np.ndarray  # (n_smallest, m) predictions of the values
    predicted: list[np.ndarray]  # by level but the last: smallest units in a child of a unit that is predicted there
    left_of_ones: list[np.ndarray]  # by level but the last, by unit: what a prediction leaves of ones in such a child


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of the units of each level, M = A + d J: 1'M^(-1)1, 1 + d 1'A^(-1)1, and the number of negative eigenvalues."""

    of_ones: list[np.ndarray]
    divisor: list[np.ndarray]
    n_negative: list[np.ndarray]


def _sums(layout: _Layout, association: np.ndarray, shift: float = 0.0) -> _Sums:
    """Carry sums from the smallest units of R - shift I to the clusters."""
    increments = np.diff(association, prepend=0.0)
    inner = layout.levels[-1].sizes / (1.0 - association[-1] - shift)
    negative = np.zeros(len(inner))
    result = _Sums([], [], [])
    for number in range(len(association) - 1, -1, -1):
        if number < len(layout.children):
            inner, negative = layout.children[number].sum(inner), layout.children[number].sum(negative)
        divisor = 1.0 + increments[number] * inner
        negative = negative - np.sign(increments[number]) * (divisor <= 0.0)
        divisor = np.where(divisor == 0.0, -_TINY, divisor)
        inner = inner / divisor
        for found, value in zip((result.of_ones, result.divisor, result.n_negative), (inner, divisor, negative)):
            found.insert(0, value)
    return result


def _is_definite(layout: _Layout, association: np.ndarray, shift: float) -> bool:
    """Say whether R - shift I is positive definite for every cluster."""
    if 1.0 - association[-1] - shift <= 0.0:
        return False
    return not _sums(layout, association, shift).n_negative[0].any()


def _whitening_steps(
    layout: _Layout, association: np.ndarray, totals: np.ndarray
) -> tuple[list[np.ndarray], _Prediction | None]:
    """Return by level what is to be added to each unit, d or more, and which units are predicted from their siblings.

    Goes from the clusters inwards; `totals` (n_smallest, m) are sums of values over the smallest units.
    """
    increments = np.diff(association, prepend=0.0)
    steps = [np.full(level.n_clusters, step) for level, step in zip(layout.levels, increments, strict=True)]
    if (increments >= 0.0).all():
        return steps, None
    sums = _sums(layout, association)
    indefinite = [negative > 0.0 for negative in sums.n_negative[1:]]
    if not any(found.any() for found in indefinite):
        return steps, None
    of_values = _sums_of_values(layout, association, sums, totals)
    prediction = _Prediction(np.zeros((layout.levels[0].n_clusters, totals.shape[1])), [], [])
    mean = prediction.mean
    for number, (children, alone) in enumerate(zip(layout.children, indefinite, strict=True)):
        of_ones = children.sum(np.where(alone, 0.0, sums.of_ones[number + 1]))
        rest = children.sum(np.where(alone[:, None], 0.0, of_values[number + 1])) - mean * of_ones[:, None]
        left = 1.0 / (1.0 + steps[number] * of_ones)
        known = steps[number] * left
        steps[number + 1] = steps[number + 1] + np.where(alone, children.spread(known), 0.0)
        mean = children.spread(mean) + np.where(alone[:, None], children.spread(known[:, None] * rest), 0.0)
        inner = layout.units[number + 1] if number + 1 < len(layout.units) else None
        prediction.predicted.append(alone if inner is None else inner.spread(alone))
        prediction.left_of_ones.append(left)
    return steps, _Prediction(mean, prediction.predicted, prediction.left_of_ones)


def _sums_of_values(layout: _Layout, association: np.ndarray, sums: _Sums, totals: np.ndarray) -> list[np.ndarray]:
    """Return by level 1'M^(-1)z of each unit, z the values whose totals over the smallest units are given."""
    found = [totals / (1.0 - association[-1]) / sums.divisor[-1][:, None]]
    for children, divisor in zip(reversed(layout.children), reversed(sums.divisor[:-1]), strict=True):
        found.insert(0, children.sum(found[0]) / divisor[:, None])
    return found
