"""What a result says, as named lists of numbers: of R's objects the JSON has them, of Python's they are made here.

Names are ``value`` (bare numbers), columns of a coefficient table, ``statistic``, ``df`` and ``p_value`` of a test,
and of a fit ``coef``, ``se``, ``loglik``, ``random_covariance`` (matrices by factor, most levels first), ``sigma``,
``scale`` and ``association``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from skdep.inference import coef_table

Numbers = dict[str, list[float]]

RTOL = 1e-5
_COLUMNS = frozenset(
    (
        "estimate",
        "std_error",
        "statistic",
        "df",
        "p_value",
        "conf_low",
        "conf_high",
        "aic",
        "bic",
        "loglik",
        "n_params",
        "qic",
        "qicu",
        "cic",
        "mean",
        "sd",
    )
)
_OF_A_POSTERIOR = {"mean": "estimate", "sd": "std_error", "q2.5": "conf_low", "q97.5": "conf_high"}
_TEST_FIELDS = ("statistic", "df", "df_denominator", "p_value")


def numbers(result: Any) -> Numbers:
    """Return the numbers that a value of Python says."""
    if isinstance(result, pd.DataFrame):
        return _of_frame(result)
    if hasattr(result, "coef_"):
        return _of_fit(result)
    if hasattr(result, "log_density"):  # a prior
        return {"value": [result.eta] if hasattr(result, "eta") else _flat(result.quantile(np.array([0.25, 0.6, 0.9])))}
    if isinstance(result, dict) and len(result) == 1:
        return numbers(*result.values())
    if hasattr(result, "statistic") and hasattr(result, "p_value"):
        return {name: _flat(getattr(result, name)) for name in _TEST_FIELDS if hasattr(result, name)}
    if hasattr(result, "statistic") and hasattr(result, "pvalue"):  # a test of statsmodels
        return {"statistic": _flat(result.statistic), "p_value": _flat(result.pvalue)}
    if type(result).__name__ == "Comparison":
        return _of_frame(result.to_frame())
    if type(result).__name__ == "VarianceComponents":
        return _of_components(result.to_frame())
    if type(result).__name__ == "Summary":
        return _of_frame(result.table)
    if hasattr(result, "params") and hasattr(result, "bse"):
        return _of_statsmodels(result)
    if hasattr(result, "to_frame") and not isinstance(result, pd.Series | pd.Index):
        return _of_frame(result.to_frame())
    return {"value": _flat(result)}


def _flat(result: Any) -> list[float]:
    if isinstance(result, Mapping):
        return [number for value in result.values() for number in _flat(value)]
    if isinstance(result, list | tuple):
        return [number for value in result for number in _flat(value)]
    return [float(number) for number in np.asarray(result).ravel()]


def _of_frame(frame: pd.DataFrame) -> Numbers:
    if "ess_bulk" in frame.columns:
        frame = frame.rename(columns=_OF_A_POSTERIOR)
    known = [column for column in frame.columns if column in _COLUMNS]
    if known:
        return {column: _flat(frame[column].dropna()) for column in known}
    return {"value": _flat(frame.select_dtypes("number"))}


def _of_components(frame: pd.DataFrame) -> Numbers:
    kept = frame[[effect not in {"mean over rows", "latent scale"} for effect in frame.index.get_level_values(1)]]
    return {"sd": _flat(kept["sd"]), "variance": _flat(kept["variance"])}


def _of_fit(fit: Any) -> Numbers:
    if not hasattr(fit, "covariance_"):  # of scikit-learn
        return {"coef": (_flat(fit.intercept_) if fit.fit_intercept else []) + _flat(fit.coef_)}
    table = coef_table(fit)  # without features that have random effects only
    found = {"coef": _flat(table["estimate"]), "se": _flat(np.sqrt(np.diag(fit.covariance_)))}
    if hasattr(fit, "scale_"):
        found["scale"] = [float(fit.scale_)]
    if getattr(fit, "association_", None) is not None:
        found["association"] = _of_association(fit.association_)
    if hasattr(fit, "loglik_"):
        found["loglik"] = [float(fit.loglik_)]
    if hasattr(fit, "random_covariance_"):
        by_size = sorted(fit.random_covariance_, key=lambda factor: -len(fit.levels_[factor]))
        found["random_covariance"] = _flat([fit.random_covariance_[factor] for factor in by_size])
    if hasattr(fit, "sigma2_"):
        found["sigma"] = [math.sqrt(fit.sigma2_)]
    return found


def _of_association(association: Any) -> list[float]:
    """Return a number a parameter: of a correlation matrix what is above its diagonal, row by row."""
    values = np.asarray(association, float)
    return _flat(values if values.ndim < 2 else values[np.triu_indices(len(values), 1)])


def _of_statsmodels(result: Any) -> Numbers:
    fixed = getattr(result, "fe_params", result.params)
    found = {"coef": _flat(fixed), "se": _flat(result.bse)[: len(fixed)]}
    if hasattr(result, "cov_re"):
        found |= {"random_covariance": _flat(result.cov_re), "sigma": [math.sqrt(result.scale)]}
    if type(result).__name__ == "GEEResultsWrapper":
        association = result.model.cov_struct.dep_params
        return found | ({} if association is None else {"association": _of_association(association)})
    if getattr(result, "llf", None) is not None:
        found["loglik"] = [float(result.llf)]
    return found


def differences(ours: Numbers, theirs: Numbers, exception: Mapping[str, Any]) -> list[str]:
    """Return where two results differ: in the lists that both have, but for the parts that the exception ignores."""
    common = [name for name in theirs if name in ours and name not in exception.get("ignore", [])]
    if not common:
        return [f"nothing to compare: ours has {sorted(ours)}, theirs {sorted(theirs)}"]
    return [line for name in common for line in _difference(name, ours[name], theirs[name], exception)]


def _difference(name: str, ours: list[float], theirs: list[float], exception: Mapping[str, Any]) -> list[str]:
    a, b = np.asarray(ours, float), np.asarray([np.nan if x is None else x for x in theirs], float)
    if a.shape != b.shape:
        return [f"{name}: {len(a)} numbers, theirs {len(b)}"]
    if exception.get("sorted"):
        a, b = np.sort(a), np.sort(b)
    rtol, atol = exception.get("rtol", RTOL), exception.get("atol", 0.0)
    if name == "p_value":  # a small one magnifies the error of its statistic
        rtol *= 10
    finite = np.isfinite(b)
    largest = np.abs(b[finite]).max(initial=0.0)
    near = np.abs(a - b) <= rtol * (np.abs(b) + 0.01 * largest) + atol
    same = np.where(finite, near, (a == b) | (np.isnan(a) & np.isnan(b)))
    return [f"{name}[{k}]: {a[k]!r}, theirs {b[k]!r}" for k in np.flatnonzero(~same)]
