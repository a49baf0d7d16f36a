"""A table of results: a DataFrame, so that it prints, renders and is indexed as one."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from skdep._html import frame_html, result_html

__all__ = ["Table", "critical_value", "two_sided_p_value"]


class Table(pd.DataFrame):
    """A pandas DataFrame that prints whole, and answers ``.to_frame()``, as all results of skdep do."""

    def to_frame(self) -> pd.DataFrame:
        """Return a plain DataFrame."""
        return pd.DataFrame(self)

    def __repr__(self) -> str:
        return self.to_string(float_format=lambda value: f"{value:.5g}")

    def _repr_html_(self) -> str:
        return result_html(frame_html(self, na_rep="NaN"))

    @property
    def _constructor(self):
        return pd.DataFrame


def critical_value(level: float, df: float | np.ndarray) -> np.ndarray:
    """Return the half-width of a confidence interval in standard errors; NaN where df is not positive."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, got {level!r}; 0.95 for 95 % intervals.")
    with np.errstate(invalid="ignore"):
        return stats.t.ppf(0.5 + 0.5 * level, np.where(np.asarray(df) > 0, df, np.nan))


def two_sided_p_value(statistic: np.ndarray, df: float | np.ndarray) -> np.ndarray:
    """Return the two-sided p-value of t statistics; infinite df is the normal distribution, df <= 0 gives NaN."""
    with np.errstate(invalid="ignore"):
        return 2.0 * stats.t.sf(np.abs(statistic), np.where(np.asarray(df) > 0, df, np.nan))
