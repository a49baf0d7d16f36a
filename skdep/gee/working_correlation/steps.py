"""Times as whole numbers of a common step."""

from __future__ import annotations

import numpy as np

from skdep._docs import read_more
from skdep.clusters import Clusters

__all__ = ["common_step", "steps_of"]

# Times may be this far, in steps, from a whole number of them: they come from divisions and from decimals.
_TOLERANCE = 1e-3
# A step that is a smaller share of the shortest difference between times means that there is none.
_SMALLEST_SHARE = 1e-2


def common_step(times: np.ndarray, name: str) -> float:
    """Return the longest step of which all differences between distinct, sorted times are whole multiples.

    Raises
    ------
    ValueError
        If there is none; `name` is that of the working correlation.
    """
    gaps = np.unique(np.diff(times))
    if not gaps.size:
        return 1.0
    if np.all(gaps == np.round(gaps)) and gaps[-1] < 2**53:
        return float(np.gcd.reduce(gaps.astype(np.int64)))
    step = shortest = float(gaps[0])
    while step >= _SMALLEST_SHARE * shortest:
        # Euclid's algorithm, all gaps at once
        rest = np.abs(gaps - step * np.round(gaps / step))
        rest = rest[rest > _TOLERANCE * shortest]
        if not rest.size:
            return float(times[-1] - times[0]) / np.round((times[-1] - times[0]) / step)
        step = float(rest.min())
    raise ValueError(
        f"working_correlation={name!r} counts lags, but the times are not whole multiples of a common step: "
        f"{', '.join(f'{time:g}' for time in times[:5])}{', ...' if len(times) > 5 else ''}. Number the visits, or use "
        "'ar1', which takes any times."
        f"{read_more('time')}"
    )


def steps_of(time: np.ndarray, clusters: Clusters, step: float, name: str) -> np.ndarray:
    """Return the whole number of steps of each row since the first row of its cluster.

    Raises
    ------
    ValueError
        If a time is not a whole number of steps after the first of its cluster.
    """
    since = (time - clusters.spread(time[clusters.starts])) / step
    whole = np.round(since)
    broken = np.abs(since - whole) > 10.0 * _TOLERANCE
    broken[1:] |= (whole[1:] == whole[:-1]) & (clusters.codes[1:] == clusters.codes[:-1])
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        raise ValueError(
            f"working_correlation={name!r} counts lags of {step:g} units of time, but time {time[row]:g} is "
            f"{since[row]:g} lags after the first of its cluster. Number the visits, or choose another step."
            f"{read_more('time')}"
        )
    return whole.astype(np.intp)
