"""Locally weighted regression: the smooth line through residuals."""

from __future__ import annotations

import numpy as np

__all__ = ["lowess", "smooth_curve"]

_MOST_SMOOTHED, _MOST_POINTS = 20_000, 60


def smooth_curve(
    x: np.ndarray, y: np.ndarray, *, weights: np.ndarray | None = None, share: float = 2.0 / 3.0, n_robust: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Return points and the smooth line there: quantiles of x, where the rows are, and its range evenly.

    Of very many rows every k-th in the order of x is used, which moves the line by less than its width.

    Parameters
    ----------
    x, y : ndarray of shape (n_rows,)
        Rows.
    weights : ndarray of shape (n_rows,), optional
        Weights of rows.
    share, n_robust
        As of `lowess`.
    """
    step = int(np.ceil(len(x) / _MOST_SMOOTHED))
    if step > 1:
        order = np.argsort(x, kind="stable")
        kept = np.append(order[::step], order[-1])
        x, y, weights = x[kept], y[kept], None if weights is None else weights[kept]
    at = np.unique(x)
    if len(at) > _MOST_POINTS:
        quantiles = np.quantile(x, np.linspace(0.0, 1.0, _MOST_POINTS))
        at = np.unique(np.concatenate([quantiles, np.linspace(x.min(), x.max(), _MOST_POINTS // 4)]))
    return at, lowess(x, y, at, weights=weights, share=share, n_robust=n_robust)


def lowess(
    x: np.ndarray,
    y: np.ndarray,
    at: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    share: float = 2.0 / 3.0,
    n_robust: int = 3,
) -> np.ndarray:
    """Fit lines locally, with tricube weights of the nearest rows, and read them off at some points.

    Outliers count less from round to round, by Tukey's biweight of the residuals over six times their median absolute
    value [1]_. Between the points of `at` the curve is taken as straight, so that a round costs ``len(at)`` local fits
    however many rows there are.

    Parameters
    ----------
    x, y : ndarray of shape (n_rows,)
        Rows.
    at : ndarray of shape (n_points,)
        Increasing points.
    weights : ndarray of shape (n_rows,), optional
        Weights of rows in the local fits.
    share : float, default=2/3
        Share of rows that a local fit uses.
    n_robust : int, default=3
        Number of rounds after the first.

    Returns
    -------
    smooth : ndarray of shape (n_points,)
        The curve.

    References
    ----------
    .. [1] Cleveland (1979), Robust locally weighted regression and smoothing scatterplots, Journal of the American
       Statistical Association 74, 829-836.
    """
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    n_near = int(np.clip(share * len(x) + 1e-10, 2, len(x)))
    mass = np.ones(len(x)) if weights is None else weights[order]
    smooth = _local_lines(x, y, mass, at, n_near)
    for _ in range(n_robust):
        size = np.abs(y - np.interp(x, at, smooth))
        limit = 6.0 * np.median(size)
        if limit <= 1e-12 * np.abs(y).max():
            break
        robust = np.where(size < limit, (1.0 - np.minimum(size / limit, 1.0) ** 2) ** 2, 0.0)
        smooth = _local_lines(x, y, mass * robust, at, n_near)
    return smooth


def _local_lines(x: np.ndarray, y: np.ndarray, robust: np.ndarray, at: np.ndarray, n_near: int) -> np.ndarray:
    result = np.empty(len(at))
    for k, point in enumerate(at):
        first = _nearest(x, point, n_near)
        near = slice(first, first + n_near)
        result[k] = _local_line(x[near] - point, y[near], robust[near])
    return result


def _nearest(x: np.ndarray, point: float, n_near: int) -> int:
    """Return where the `n_near` sorted values nearest to `point` begin, by bisection."""
    low, high = 0, len(x) - n_near
    while low < high:
        middle = (low + high) // 2
        if point - x[middle] > x[middle + n_near] - point:
            low = middle + 1
        else:
            high = middle
    return low


def _local_line(distance: np.ndarray, y: np.ndarray, robust: np.ndarray) -> float:
    """Return the value at distance 0 of the weighted line; where it has no slope, the weighted mean."""
    width = max(-distance[0], distance[-1], 0.0)
    weights = robust
    if width > 0.0:
        share = np.abs(distance) / width
        tricube = 1.0 - share * share * share  # products: powers of arrays are slow
        weights = robust * (tricube * tricube * tricube)
    total = weights.sum()
    if total <= 0.0:
        return float(np.mean(y))
    mean_distance, mean_y = _dot(weights, distance) / total, _dot(weights, y) / total
    centred = distance - mean_distance
    spread = _dot(weights, centred * centred)
    if spread <= 1e-6 * total * width**2:
        return float(mean_y)
    return float(mean_y - mean_distance * _dot(weights, centred * y) / spread)


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """Return the sum of products without the BLAS, whose threads cost more than they gain on short vectors."""
    return float(np.einsum("n,n->", a, b))
