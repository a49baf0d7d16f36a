"""Binary outcomes for logistic mixed models: the shapes of two published studies, and many groups of equal size."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from benchmarks.mixed_data import MixedData

__all__ = ["SHORT_COEF", "binary_groups", "contraception", "short_clusters", "verbal_aggression"]

# intercept, a feature that varies within clusters, one that is constant
SHORT_COEF = np.array([-0.5, 1.0, -1.0])


def contraception(n_rows: int = 1_934, n_districts: int = 60, *, seed: int = 0) -> MixedData:
    """Draw the use of contraception by women of districts of unequal size, as in the survey of Bangladesh in 1988.

    Features are the age in decades about the mean, its square, indicators of one, two, three or more living children
    and of a town, and the product of town and age.
    """
    rng = np.random.default_rng(seed)
    size = rng.lognormal(sigma=0.8, size=n_districts)
    district = rng.choice(n_districts, size=n_rows, p=size / size.sum())
    age = rng.uniform(-1.4, 2.0, size=n_rows)
    # older women have more children: 0 to 3 or more
    children = np.clip(np.rint(1.5 + 1.2 * age + rng.standard_normal(n_rows)), 0, 3)
    town = (rng.random(n_rows) < 0.3).astype(float)
    X = np.column_stack([age, age**2, *(children == count for count in (1.0, 2.0, 3.0)), town, town * age])
    coef = np.array([-0.25, -0.45, 0.85, 0.95, 0.95, 0.7, 0.2])
    eta = -0.9 + X @ coef + 0.8 * rng.standard_normal(n_districts)[district]
    return MixedData(X, _draw(eta, rng), np.unique(district, return_inverse=True)[1])


def verbal_aggression(n_persons: int = 316, n_items: int = 24, *, seed: int = 0) -> MixedData:
    """Draw the answers of all persons to all items of a questionnaire on verbal aggression, crossed.

    Features are the standardised anger and the sex of the person, and three of the item: two indicators of its kind of
    behaviour, and one of the situation.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(n_persons * n_items)
    person, item = np.divmod(order, n_items)
    anger, man = rng.standard_normal(n_persons), rng.random(n_persons) < 0.25
    kind, situation = np.arange(n_items) % 3, np.arange(n_items) // 3 % 2
    X = np.column_stack([anger[person], man[person], kind[item] == 1, kind[item] == 2, situation[item]]).astype(float)
    eta = 1.0 + X @ np.array([0.28, 0.3, -0.9, -1.6, -0.6])
    eta += 1.3 * rng.standard_normal(n_persons)[person] + 0.5 * rng.standard_normal(n_items)[item]
    return MixedData(X, _draw(eta, rng), np.column_stack([person, item]))


def binary_groups(
    n_groups: int, group_size: int = 10, n_features: int = 5, *, slope: bool = False, seed: int = 0
) -> MixedData:
    """Draw groups of equal size with random intercepts, and with correlated slopes of the first feature if asked for.

    Rows are in random order; the intercepts have variance 1, the slopes 0.5, and their covariance is 0.3.
    """
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(n_groups), group_size))
    X = rng.standard_normal((len(groups), n_features))
    effects = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.3], [0.3, 0.5]], size=n_groups)
    coef = np.where(np.arange(n_features) % 2, -0.5, 0.5)
    eta = -0.5 + X @ coef + effects[groups, 0]
    if slope:
        eta += effects[groups, 1] * X[:, 0]
    return MixedData(X, _draw(eta, rng), groups, slope=slope)


def short_clusters(
    n_clusters: int, *, sd: float = 2.0, sizes: tuple[int, int] = (2, 4), seed: int | np.random.SeedSequence = 0
) -> MixedData:
    """Draw clusters of so few rows that what they say of a random intercept of large spread is far from normal.

    Sizes are uniform between the two given ones. The coefficients are `SHORT_COEF`; the first feature varies within
    clusters, the second is constant in each.
    """
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_clusters), rng.integers(*sizes, endpoint=True, size=n_clusters))
    X = np.column_stack([rng.standard_normal(len(groups)), rng.standard_normal(n_clusters)[groups]])
    eta = SHORT_COEF[0] + X @ SHORT_COEF[1:] + sd * rng.standard_normal(n_clusters)[groups]
    return MixedData(X, _draw(eta, rng), groups)


def _draw(eta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (rng.random(len(eta)) < expit(eta)).astype(float)
