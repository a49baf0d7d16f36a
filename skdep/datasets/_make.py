"""Generators of clustered data whose truth is known, in the idiom of the ``make_*`` functions of scikit-learn.

Both generators add a normal intercept, shared by the rows of a group, to a linear predictor. The intraclass correlation
``icc`` is the share of that intercept in the variance that the features leave unexplained.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state

__all__ = ["make_clustered_classification", "make_clustered_regression"]

_LOGISTIC_VARIANCE = np.pi**2 / 3


def make_clustered_regression(
    n_groups: int = 100,
    group_size: int | tuple[int, int] = 5,
    *,
    n_features: int = 5,
    group_features: int = 0,
    coef: ArrayLike | None = None,
    intercept: float = 0.0,
    icc: float = 0.3,
    noise: float = 1.0,
    shuffle: bool = True,
    return_info: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[Any, ...]:
    """Generate a linear regression problem with correlated rows in groups.

    The outcome of row i of group g is ``intercept + x_gi @ coef + u_g + e_gi``, with standard normal features,
    ``u_g ~ N(0, icc * noise**2)`` and ``e_gi ~ N(0, (1 - icc) * noise**2)``: given the features, two rows of a group
    correlate by ``icc`` and rows of different groups are independent [1]_.

    Parameters
    ----------
    n_groups : int, default=100
        Number of groups.
    group_size : int or (low, high), default=5
        Number of rows of each group, or inclusive bounds between which the sizes are drawn uniformly.
    n_features : int, default=5
        Number of features.
    group_features : int, default=0
        How many of the features, the last ones, are constant within a group.
    coef : array-like of shape (n_features,), default=None
        Coefficients. None draws them from a normal distribution of variance ``1 / n_features``, so that the variance
        explained does not grow with the number of features.
    intercept : float, default=0.0
        Intercept of the linear predictor.
    icc : float, default=0.3
        Intraclass correlation given the features, in [0, 1).
    noise : float, default=1.0
        Standard deviation of the outcome given the features, between and within groups together.
    shuffle : bool, default=True
        Whether to put the rows in random order. If False, the rows of a group are contiguous; the rows are the same.
    return_info : bool, default=False
        Whether to return the truth as a fourth value.
    random_state : int, RandomState instance or None, default=None
        Determines the random numbers. Pass an int for the same data in every call.

    Returns
    -------
    X : ndarray of shape (n_rows, n_features)
        The features.
    y : ndarray of shape (n_rows,)
        The outcome.
    groups : ndarray of shape (n_rows,)
        The group of each row, an integer from 0 to ``n_groups - 1``.
    info : :class:`~sklearn.utils.Bunch`
        Only if ``return_info=True``. The truth: ``coef`` of shape (n_features,), ``intercept``, ``icc``,
        ``group_variance`` (of u), ``residual_variance`` (of e) and ``group_effects`` (the drawn u) of shape
        (n_groups,).

    Raises
    ------
    ValueError
        If an argument is outside its range, or `coef` does not fit `n_features`.

    See Also
    --------
    make_clustered_classification : The same with a binary outcome.

    References
    ----------
    .. [1] Donner, A. (1986). A review of inference procedures for the intraclass correlation coefficient in the one-way
       random effects model. International Statistical Review 54(1), 67-82.

    Examples
    --------
    >>> from skdep.datasets import make_clustered_regression
    >>> X, y, groups = make_clustered_regression(n_groups=30, group_size=4, random_state=0)
    >>> X.shape, y.shape, groups.shape
    ((120, 5), (120,), (120,))
    >>> *_, info = make_clustered_regression(icc=0.25, noise=2.0, return_info=True, random_state=0)
    >>> info.group_variance, info.residual_variance
    (1.0, 3.0)
    """
    noise = _check_number(noise, "noise", low=0.0, hint="it is a standard deviation")
    icc = _check_icc(icc)
    intercept = _check_number(intercept, "intercept")
    rng = check_random_state(random_state)
    X, groups, coef = _draw_design(rng, n_groups, group_size, n_features, group_features, coef)

    variances = {"group_variance": icc * noise**2, "residual_variance": (1.0 - icc) * noise**2}
    group_effects = rng.normal(scale=np.sqrt(variances["group_variance"]), size=n_groups)
    residuals = rng.normal(scale=np.sqrt(variances["residual_variance"]), size=len(X))
    y = intercept + X @ coef + group_effects[groups] + residuals

    rows = _shuffled(rng, X, y, groups) if shuffle else (X, y, groups)
    info = Bunch(coef=coef, intercept=intercept, icc=icc, group_effects=group_effects, **variances)
    return (*rows, info) if return_info else rows


def make_clustered_classification(
    n_groups: int = 100,
    group_size: int | tuple[int, int] = 5,
    *,
    n_features: int = 5,
    group_features: int = 0,
    coef: ArrayLike | None = None,
    intercept: float = 0.0,
    icc: float = 0.3,
    shuffle: bool = True,
    return_info: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[Any, ...]:
    r"""Generate a binary classification problem with correlated rows in groups.

    A logistic model with a normal random intercept: row i of group g has ``y = 1`` with log odds
    ``intercept + x_gi @ coef + u_g``, with standard normal features. On the scale of the latent logistic variable,
    whose residual variance is :math:`\pi^2 / 3`, the intraclass correlation is ``icc`` [1]_.

    Parameters
    ----------
    n_groups : int, default=100
        Number of groups.
    group_size : int or (low, high), default=5
        Number of rows of each group, or inclusive bounds between which the sizes are drawn uniformly.
    n_features : int, default=5
        Number of features.
    group_features : int, default=0
        How many of the features, the last ones, are constant within a group.
    coef : array-like of shape (n_features,), default=None
        Log odds ratios within a group. None draws them from a normal distribution of variance ``1 / n_features``, so
        that the classes do not separate as the number of features grows.
    intercept : float, default=0.0
        Intercept of the linear predictor: positive values make class 1 the more frequent one.
    icc : float, default=0.3
        Intraclass correlation on the latent scale, in [0, 1).
    shuffle : bool, default=True
        Whether to put the rows in random order. If False, the rows of a group are contiguous; the rows are the same.
    return_info : bool, default=False
        Whether to return the truth as a fourth value.
    random_state : int, RandomState instance or None, default=None
        Determines the random numbers. Pass an int for the same data in every call.

    Returns
    -------
    X : ndarray of shape (n_rows, n_features)
        The features.
    y : ndarray of shape (n_rows,)
        The classes, 0 or 1.
    groups : ndarray of shape (n_rows,)
        The group of each row, an integer from 0 to ``n_groups - 1``.
    info : :class:`~sklearn.utils.Bunch`
        Only if ``return_info=True``. The truth: ``coef`` of shape (n_features,), ``intercept``, ``icc``,
        ``group_variance`` (of u), ``residual_variance`` (of the latent variable) and ``group_effects`` (the drawn u) of
        shape (n_groups,).

    Raises
    ------
    ValueError
        If an argument is outside its range, or `coef` does not fit `n_features`.

    See Also
    --------
    make_clustered_regression : The same with a continuous outcome.

    Notes
    -----
    The random intercept has variance :math:`\sigma^2 = \frac{\rho}{1 - \rho} \frac{\pi^2}{3}` with :math:`\rho` the
    ``icc``.

    The coefficients are conditional on the group. A marginal model, such as one fitted by generalized estimating
    equations or by ordinary logistic regression, estimates coefficients nearer to zero, approximately
    :math:`\beta / \sqrt{1 + c^2 \sigma^2}` with :math:`c = 16 \sqrt{3} / (15 \pi)` [2]_. With ``icc=0`` both agree.

    References
    ----------
    .. [1] Goldstein, H., Browne, W. and Rasbash, J. (2002). Partitioning variation in multilevel models. Understanding
       Statistics 1(4), 223-231.
    .. [2] Zeger, S. L., Liang, K.-Y. and Albert, P. S. (1988). Models for longitudinal data: a generalized estimating
       equation approach. Biometrics 44(4), 1049-1060.

    Examples
    --------
    >>> import numpy as np
    >>> from skdep.datasets import make_clustered_classification
    >>> X, y, groups = make_clustered_classification(n_groups=30, group_size=(2, 6), random_state=0)
    >>> X.shape[1], np.unique(y).tolist(), len(np.unique(groups))
    (5, [0, 1], 30)
    >>> *_, info = make_clustered_classification(icc=0.5, coef=[1, -1], n_features=2, return_info=True)
    >>> info.coef.tolist(), round(info.group_variance, 4)
    ([1.0, -1.0], 3.2899)
    """
    icc = _check_icc(icc)
    intercept = _check_number(intercept, "intercept")
    rng = check_random_state(random_state)
    X, groups, coef = _draw_design(rng, n_groups, group_size, n_features, group_features, coef)

    group_variance = float(icc / (1.0 - icc) * _LOGISTIC_VARIANCE)
    group_effects = rng.normal(scale=np.sqrt(group_variance), size=n_groups)
    latent = intercept + X @ coef + group_effects[groups] + rng.logistic(size=len(X))
    y = (latent > 0).astype(np.int64)

    rows = _shuffled(rng, X, y, groups) if shuffle else (X, y, groups)
    info = Bunch(
        coef=coef,
        intercept=intercept,
        icc=icc,
        group_variance=group_variance,
        residual_variance=_LOGISTIC_VARIANCE,
        group_effects=group_effects,
    )
    return (*rows, info) if return_info else rows


def _draw_design(
    rng: np.random.RandomState,
    n_groups: int,
    group_size: int | tuple[int, int],
    n_features: int,
    group_features: int,
    coef: ArrayLike | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check the arguments and draw features (n_rows, n_features), sorted group codes (n_rows,) and coefficients."""
    _check_integer(n_groups, "n_groups", low=1)
    low, high = _check_group_size(group_size)
    _check_integer(n_features, "n_features", low=1)
    _check_integer(group_features, "group_features", low=0)
    if group_features > n_features:
        raise ValueError(
            f"`group_features` must not exceed `n_features`, got {group_features} > {n_features}: it counts the "
            "features that are constant within a group. Raise `n_features` or lower `group_features`."
        )
    # Drawn even when given, so that a seed yields the same features and residuals whatever the coefficients.
    drawn = rng.normal(scale=1.0 / np.sqrt(n_features), size=n_features)
    coefficients = drawn if coef is None else _check_coef(coef, n_features)

    groups = np.repeat(np.arange(n_groups), rng.randint(low, high + 1, size=n_groups))
    X = rng.normal(size=(len(groups), n_features))
    X[:, n_features - group_features :] = rng.normal(size=(n_groups, group_features))[groups]
    return X, groups, coefficients


def _shuffled(rng: np.random.RandomState, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Put the rows of all arrays in one random order."""
    order = rng.permutation(len(arrays[0]))
    return tuple(array[order] for array in arrays)


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _check_integer(value: Any, name: str, *, low: int) -> None:
    if not _is_integer(value) or value < low:
        raise ValueError(f"`{name}` must be an integer of at least {low}, got {value!r}.")


def _check_number(value: Any, name: str, *, low: float = -math.inf, hint: str = "") -> float:
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or number < low:
        bound = f" of at least {low:g}" if math.isfinite(low) else ""
        raise ValueError(f"`{name}` must be a finite number{bound}, got {value!r}{': ' + hint if hint else ''}.")
    return number


def _check_icc(icc: Any) -> float:
    hint = "it is the share of the residual variance that rows of a group have in common"
    value = _check_number(icc, "icc", low=0.0, hint=hint)
    if value >= 1.0:
        raise ValueError(f"`icc` must be below 1, got {icc!r}: {hint}. Pass a value in [0, 1).")
    return value


def _check_group_size(group_size: Any) -> tuple[int, int]:
    bounds = tuple(group_size) if isinstance(group_size, tuple | list) else (group_size, group_size)
    if len(bounds) != 2 or not all(map(_is_integer, bounds)) or not 1 <= bounds[0] <= bounds[1]:
        raise ValueError(
            "`group_size` must be an integer of at least 1, or for groups of unequal sizes a pair (low, high) of "
            f"integers with 1 <= low <= high, got {group_size!r}."
        )
    return bounds


def _check_coef(coef: ArrayLike, n_features: int) -> np.ndarray:
    try:
        coefficients = np.array(coef, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`coef` must hold numbers, one for each feature, got {coef!r}.") from error
    if coefficients.shape != (n_features,):
        raise ValueError(
            f"`coef` must have shape ({n_features},), one number for each of `n_features`, got shape "
            f"{coefficients.shape}. Pass `n_features=len(coef)` with your own coefficients."
        )
    if not np.isfinite(coefficients).all():
        raise ValueError(f"`coef` must be finite, got {coefficients.tolist()}.")
    return coefficients
