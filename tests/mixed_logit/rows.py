"""Labels of two classes in clusters, for tests of the public class."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["GROUPS", "WEIGHT", "N", "X", "frame", "y"]

_rng = np.random.default_rng(1)
_LEVELS = 40
GROUPS = _rng.permutation(np.repeat(np.arange(_LEVELS), _rng.integers(1, 14, _LEVELS)))
N = len(GROUPS)
X = np.column_stack([_rng.normal(size=N), _rng.integers(2, size=N), _rng.uniform(-1, 1, N)])
_intercept, _slope = _rng.normal(scale=1.2, size=_LEVELS), _rng.normal(scale=0.8, size=_LEVELS)
_eta = 0.3 + X @ [0.5, -0.6, 0.8] + _intercept[GROUPS] + (_slope + 0.4 * _intercept)[GROUPS] * X[:, 0]
y = (_rng.uniform(size=N) < 1.0 / (1.0 + np.exp(-_eta))).astype(int)
WEIGHT = _rng.uniform(0.5, 3.0, N)


def frame() -> pd.DataFrame:
    """Return the features with names a, b, c."""
    return pd.DataFrame(X, columns=list("abc"))
