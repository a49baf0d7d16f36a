r"""Replicate weights made from a sampling design, by the methods of the field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from skdep._validation import check_weights
from skdep.survey.design import SurveyDesign, survey_design
from skdep.survey.replicate_bootstraps import multistage_bootstrap, population_bootstrap, rescaling_bootstrap
from skdep.survey.replicate_factors import (
    Factors,
    ReplicateOptions,
    delete_one,
    delete_one_in_strata,
    drop_half_of_pairs,
    half_samples,
    successive_differences,
)
from skdep.survey.replicates import METHODS, ReplicateWeights, check_rho

__all__ = ["replicate_weights"]

_MAKERS: dict[str, Callable[[SurveyDesign, ReplicateOptions], Factors]] = {
    "jk1": delete_one,
    "jkn": delete_one_in_strata,
    "jk2": drop_half_of_pairs,
    "brr": half_samples,
    "fay": half_samples,
    "bootstrap": rescaling_bootstrap,
    "canty_davison": population_bootstrap,
    "multistage_bootstrap": multistage_bootstrap,
    "sdr": successive_differences,
}
_CHOOSE_NUMBER = ("brr", "fay", "bootstrap", "canty_davison", "multistage_bootstrap", "sdr")


def replicate_weights(
    method: str,
    sample_weight: Any,
    *,
    groups: Any = None,
    strata: Any = None,
    fpc: Any = None,
    n_replicates: int | None = None,
    rho: float | None = None,
    sort_key: Any = None,
    random_state: Any = None,
    mse: bool | None = None,
    lonely_psu: str = "fail",
) -> ReplicateWeights:
    """Make replicate weights from a sampling design.

    Parameters
    ----------
    method : str
        ``"jk1"``
            Jackknife: leaves out one primary unit at a time; without strata.
        ``"jkn"``
            The same within strata.
        ``"jk2"``
            For pairs of units: leaves out one unit of a pair, drawn by lot, one pair at a time.
        ``"brr"``
            Balanced half-samples, for pairs of units. Strata of more units are split into pairs, in the order of
            their labels.
        ``"fay"``
            Half-samples in which no unit vanishes: units get `rho` or 2 - `rho` times their weight.
        ``"bootstrap"``
            Rao, Wu and Yue: n - 1 of the n units of a stratum drawn with replacement, and rescaled.
        ``"canty_davison"``
            n of the n units, from a population that repeats the sample.
        ``"multistage_bootstrap"``
            Preston: half of the units without replacement, at every stage whose population is finite.
        ``"sdr"``
            Successive differences, for systematic samples: neighbours in the order of sampling move in opposite
            directions, as in the American Community Survey.
    sample_weight : array-like of shape (n_rows,)
        Sampling weights. Rows of weight zero are outside the domain of interest: their units count in the design.
    groups, strata, fpc : array-like, optional
        The design, as `survey_design` takes it: primary units (by default the rows), strata, finite populations.
        Of several stages all but ``"multistage_bootstrap"`` resample the first, and refuse populations of others.
    n_replicates : int, optional
        Number of replicates: of bootstraps (200 by default), half-samples (by default the least that balances) and
        successive differences (by default 80, or as few as give every unit a row of its own).
    rho : float, default=0.5
        Fay's coefficient, at least 0 and below 1; for ``"fay"`` alone.
    sort_key : array-like of shape (n_rows,), optional
        The order of sampling, for ``"sdr"``: units are ordered by the least key of their rows. By default the order of
        rows.
    random_state : int, Generator, RandomState or None, default=None
        Source of randomness of the bootstraps and of ``"jk2"``.
    mse : bool, optional
        Whether deviations are from the full sample's estimate; by default for ``"jk2"`` and ``"sdr"`` alone.
    lonely_psu : {"fail", "remove", "adjust", "average"}, default="fail"
        What to do with strata of a single unit: raise, or give them no variance. The jackknife can also leave such a
        stratum out as a whole (``"adjust"``), or give it the mean of the other strata's variances (``"average"``).

    Returns
    -------
    ReplicateWeights
        The replicate weights, kept as factors of the sampling units.

    Raises
    ------
    ValueError
        If the method is not known or does not suit the design, or an option does not belong to the method.

    See Also
    --------
    ReplicateWeights : For weights that are there already.
    survey_design : Designs, for linearised variances.

    References
    ----------
    .. [1] Wolter (2007), Introduction to Variance Estimation, 2nd ed., Springer, chapters 3 to 5.
    .. [2] Rao, Wu and Yue (1992), Some recent work on resampling methods for complex surveys, Survey Methodology 18,
       209-217.
    .. [3] Fay and Train (1995), Aspects of survey and model-based postcensal estimation of income and poverty
       characteristics for states and counties, American Statistical Association, Proceedings of the Section on
       Government Statistics, 154-159.

    Examples
    --------
    The variance of a mean.

    >>> import numpy as np
    >>> from skdep.survey import replicate_weights
    >>> y = np.array([1.0, 2.0, 4.0, 5.0])
    >>> replicates = replicate_weights("jk1", np.ones(4))
    >>> means = replicates.weights.T @ y / replicates.weights.sum(axis=0)
    >>> variance = replicates.variance(means[:, None], np.array([3.0]))
    >>> bool(np.isclose(variance[0, 0], y.var(ddof=1) / 4))
    True
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r} is not known; choose one of {list(METHODS)}.")
    if sample_weight is None:
        raise ValueError("sample_weight is None: pass the sampling weights, or ones.")
    base = check_weights(sample_weight, np.size(sample_weight))
    assert base is not None
    _check_options(method, n_replicates=n_replicates, rho=rho, sort_key=sort_key)
    design = survey_design(len(base), groups=groups, strata=strata, fpc=fpc, weights=base, lonely_psu=lonely_psu)
    if len(design.stages) > 1 and method != "multistage_bootstrap":
        raise ValueError(
            f"method={method!r} resamples primary units alone, but fpc has {len(design.stages)} stages: with finite "
            "populations what later stages add would be missed. Use method='multistage_bootstrap', or leave out fpc=."
        )
    options = ReplicateOptions(
        method=method,
        n_replicates=n_replicates,
        rho=0.5 if rho is None and method == "fay" else rho or 0.0,
        rank=None if sort_key is None else _ranks(sort_key, len(base)),
        rng=_generator(random_state),
    )
    made = _MAKERS[method](design, options)
    if not made.factors.shape[1]:
        raise ValueError(f"method={method!r} finds no unit to leave out: every stratum has a single one.")
    return ReplicateWeights.from_factors(made, base, method, mse)


def _check_options(method: str, *, n_replicates: int | None, rho: float | None, sort_key: Any) -> None:
    """Raise if an option does not belong to the method."""
    if n_replicates is not None:
        if method not in _CHOOSE_NUMBER:
            raise ValueError(f"n_replicates= does not belong to method={method!r}: the design says how many there are.")
        if not isinstance(n_replicates, int | np.integer) or n_replicates < 2:
            raise ValueError(f"n_replicates must be a whole number of at least 2, got {n_replicates!r}.")
    if rho is not None:
        if method != "fay":
            raise ValueError(f"rho= belongs to method='fay', not to {method!r}.")
        check_rho(rho)
    if sort_key is not None and method != "sdr":
        raise ValueError(f"sort_key= belongs to method='sdr', not to {method!r}.")


def _ranks(sort_key: Any, n_rows: int) -> np.ndarray:
    """Return the rank of each row's key, keys of any type that can be sorted."""
    import pandas as pd

    key = pd.Series(sort_key).reset_index(drop=True)
    if len(key) != n_rows:
        raise ValueError(f"sort_key has {len(key)} values for {n_rows} rows; give exactly one value a row.")
    if key.isna().any():
        row = int(np.flatnonzero(key.isna())[0])
        raise ValueError(f"sort_key is missing in {int(key.isna().sum())} rows, first in row {row}.")
    try:
        return key.rank(method="dense").to_numpy().astype(np.intp) - 1
    except TypeError as error:
        raise ValueError(f"sort_key must be values that can be sorted: {error}.") from error


def _generator(random_state: Any) -> np.random.Generator:
    """Return a generator for what scikit-learn takes as a random state, or a Generator itself."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise ValueError(f"random_state must be None, a number, a Generator or a RandomState: {error}.") from error
