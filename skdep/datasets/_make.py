"""Generators of clustered data whose truth is known, in the idiom of the ``make_*`` functions of scikit-learn.

Both generators add a normal intercept, shared by the rows of a group, to a linear predictor, and on request normal
slopes. The intraclass correlation ``icc`` is the share of that intercept in the variance that the features leave
unexplained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state

from skdep.datasets._checks import check_icc, check_number
from skdep.datasets._draw import draw_design, draw_effects, shuffled

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
    random_slopes: Sequence[int] | None = None,
    slope_sd: ArrayLike = 0.5,
    effect_correlation: float = 0.0,
    shuffle: bool = True,
    return_info: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[Any, ...]:
    """Generate a linear regression problem with correlated rows in groups.

    The outcome of row i of group g is ``intercept + x_gi @ coef + u_g + e_gi``, with standard normal features,
    ``u_g ~ N(0, icc * noise**2)`` and ``e_gi ~ N(0, (1 - icc) * noise**2)``: given the features, two rows of a group
    correlate by ``icc`` and rows of different groups are independent [1]_. With `random_slopes` the coefficients of
    some features vary by group as well: the outcome gains ``x_gij * v_gj`` for each such feature j, and ``icc`` is the
    correlation where these features are zero.

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
        Intraclass correlation given the features, in [0, 1); with random slopes, where their features are zero.
    noise : float, default=1.0
        Standard deviation of the outcome given the features, between and within groups together, without what random
        slopes add.
    random_slopes : sequence of int, default=None
        Columns of X whose coefficients vary from group to group around `coef`. None for a random intercept only.
    slope_sd : float or array-like of shape (len(random_slopes),), default=0.5
        Standard deviation of each random slope.
    effect_correlation : float, default=0.0
        Correlation between every two random effects of a group, intercept and slopes, below 1 and above
        ``-1 / len(random_slopes)``.
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
        (n_groups,), and for the intercept and the random slopes together ``random_covariance`` of shape (q, q) and
        ``random_effects`` of shape (n_groups, q), in the order of `random_slopes` after the intercept.

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

    A slope that differs from group to group, and tends to be steeper where the intercept is higher:

    >>> X, y, groups, info = make_clustered_regression(
    ...     icc=0.5, random_slopes=[0], slope_sd=0.4, effect_correlation=0.5, return_info=True, random_state=0
    ... )
    >>> info.random_covariance.round(3).tolist()
    [[0.5, 0.141], [0.141, 0.16]]
    """
    noise = check_number(noise, "noise", low=0.0, hint="it is a standard deviation")
    icc = check_icc(icc)
    intercept = check_number(intercept, "intercept")
    rng = check_random_state(random_state)
    X, groups, coef = draw_design(rng, n_groups, group_size, n_features, group_features, coef)

    variances = {"group_variance": icc * noise**2, "residual_variance": (1.0 - icc) * noise**2}
    effects = draw_effects(
        rng,
        n_groups,
        n_features,
        intercept_variance=variances["group_variance"],
        random_slopes=random_slopes,
        slope_sd=slope_sd,
        effect_correlation=effect_correlation,
    )
    residuals = rng.normal(scale=np.sqrt(variances["residual_variance"]), size=len(X))
    y = intercept + X @ coef + effects.predictor(X, groups) + residuals

    rows = shuffled(rng, X, y, groups) if shuffle else (X, y, groups)
    info = Bunch(
        coef=coef,
        intercept=intercept,
        icc=icc,
        group_effects=effects.values[:, 0],
        random_covariance=effects.covariance,
        random_effects=effects.values,
        **variances,
    )
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
    random_slopes: Sequence[int] | None = None,
    slope_sd: ArrayLike = 0.5,
    effect_correlation: float = 0.0,
    shuffle: bool = True,
    return_info: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[Any, ...]:
    r"""Generate a binary classification problem with correlated rows in groups.

    A logistic model with a normal random intercept: row i of group g has ``y = 1`` with log odds
    ``intercept + x_gi @ coef + u_g``, with standard normal features. On the scale of the latent logistic variable,
    whose residual variance is :math:`\pi^2 / 3`, the intraclass correlation is ``icc`` [1]_. With `random_slopes` the
    coefficients of some features vary by group as well: the log odds gain ``x_gij * v_gj`` for each such feature j, and
    ``icc`` is the correlation where these features are zero.

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
        Intraclass correlation on the latent scale, in [0, 1); with random slopes, where their features are zero.
    random_slopes : sequence of int, default=None
        Columns of X whose coefficients vary from group to group around `coef`. None for a random intercept only.
    slope_sd : float or array-like of shape (len(random_slopes),), default=0.5
        Standard deviation of each random slope, on the scale of log odds.
    effect_correlation : float, default=0.0
        Correlation between every two random effects of a group, intercept and slopes, below 1 and above
        ``-1 / len(random_slopes)``.
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
        shape (n_groups,), and for the intercept and the random slopes together ``random_covariance`` of shape (q, q)
        and ``random_effects`` of shape (n_groups, q), in the order of `random_slopes` after the intercept.

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
    :math:`\beta / \sqrt{1 + c^2 \sigma^2}` with :math:`c = 16 \sqrt{3} / (15 \pi)` [2]_ when only the
    intercept is random. Without random effects (``icc=0``, no random slopes) both agree.

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
    icc = check_icc(icc)
    intercept = check_number(intercept, "intercept")
    rng = check_random_state(random_state)
    X, groups, coef = draw_design(rng, n_groups, group_size, n_features, group_features, coef)

    group_variance = float(icc / (1.0 - icc) * _LOGISTIC_VARIANCE)
    effects = draw_effects(
        rng,
        n_groups,
        n_features,
        intercept_variance=group_variance,
        random_slopes=random_slopes,
        slope_sd=slope_sd,
        effect_correlation=effect_correlation,
    )
    latent = intercept + X @ coef + effects.predictor(X, groups) + rng.logistic(size=len(X))
    y = (latent > 0).astype(np.int64)

    rows = shuffled(rng, X, y, groups) if shuffle else (X, y, groups)
    info = Bunch(
        coef=coef,
        intercept=intercept,
        icc=icc,
        group_variance=group_variance,
        residual_variance=_LOGISTIC_VARIANCE,
        group_effects=effects.values[:, 0],
        random_covariance=effects.covariance,
        random_effects=effects.values,
    )
    return (*rows, info) if return_info else rows
