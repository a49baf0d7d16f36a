"""How numbers of results are written: by the kind of quantity that a column's name says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["formatters"]


def p_value(value: float) -> str:
    """Write a probability with four decimals."""
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def degrees_of_freedom(value: float) -> str:
    """Write degrees of freedom; infinite ones are the normal distribution."""
    return "inf" if np.isinf(value) else f"{value:.4g}"


def formatters(frame: pd.DataFrame, floats: str = ".5g") -> list[Callable[[Any], str]]:
    """Return how to write the values of each column.

    Parameters
    ----------
    frame : DataFrame
        A table of results.
    floats : str, default=".5g"
        Format of numbers that are no p-values, degrees of freedom, or others with a format of their own.

    Returns
    -------
    list of callable
        A function from a value to text, by column.
    """
    return [_formatter(str(name), dtype, floats) for name, dtype in zip(frame.columns, frame.dtypes, strict=True)]


def _formatter(name: str, dtype: Any, floats: str) -> Callable[[Any], str]:
    if not pd.api.types.is_float_dtype(dtype):
        return str
    return _BY_NAME.get(name, ("{:" + floats + "}").format)


_BY_NAME: dict[str, Callable[[Any], str]] = {
    "p_value": p_value,
    "df": degrees_of_freedom,
    "df_denominator": degrees_of_freedom,
    "rhat": "{:.3f}".format,
    **dict.fromkeys(("ess_bulk", "ess_tail"), "{:.0f}".format),
    # differences of some hundredths matter, whatever the size
    **dict.fromkeys(("loglik_reduced", "loglik_full", "qic", "qicu", "cic", "quasi_likelihood"), "{:.4f}".format),
}
