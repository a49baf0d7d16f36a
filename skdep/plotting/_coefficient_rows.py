"""Estimates and intervals of several fits side by side, a row a term and a column a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.inference._access import is_posterior, unwrap
from skdep.inference.coef_table import coef_table

__all__ = ["CoefficientRows", "coefficients_of", "named", "rows_of_tables", "scale_names"]

_COLUMNS = ["estimate", "conf_low", "conf_high"]
# What a coefficient is called, and what it is called exponentiated, by link; of a log link there is more to say.
_LINKS = {
    "logit": ("Log odds ratio", "Odds ratio"),
    "log": ("Log ratio of means", "Ratio of means"),
    "cloglog": ("Log hazard ratio", "Hazard ratio"),
}
_COUNTS = ("Log rate ratio", "Rate ratio")


@dataclass(frozen=True)
class CoefficientRows:
    """Estimates and intervals.

    Parameters
    ----------
    estimate, lower, upper : ndarray of shape (n_terms, n_models)
        Estimates and ends of intervals, NaN where a model lacks a term or an interval.
    terms : list of str
        How the terms are called.
    models : list of str
        How the models are called.
    """

    estimate: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    terms: list[str]
    models: list[str]

    def exponentiated(self) -> CoefficientRows:
        """Return the same as ratios."""
        return CoefficientRows(np.exp(self.estimate), np.exp(self.lower), np.exp(self.upper), self.terms, self.models)


def named(items: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return items by name: a mapping as it is, a sequence by the names given or by class, numbered where equal.

    Parameters
    ----------
    items : mapping or sequence
        Estimators or tables.
    names : sequence of str, optional
        What a sequence is called by default.
    """
    if isinstance(items, Mapping):
        found = {str(name): item for name, item in items.items()}
    else:
        items = list(items)
        called = [type(unwrap(item)).__name__ for item in items] if names is None else list(names)
        twice = {name for name in called if called.count(name) > 1}
        numbered = [
            f"{name} {called[: number + 1].count(name)}" if name in twice else name
            for number, name in enumerate(called)
        ]
        found = dict(zip(numbered, items, strict=True))
    if not found:
        raise ValueError("There is no model to draw: give at least one.")
    return found


def coefficients_of(est: Any, *, exponentiate: bool, level: float, cov_type: str | None, df: Any) -> Any:
    """Return a frame of estimates and intervals, of coefficients or, of a posterior, logarithms of ratios.

    A posterior has medians of its ratios, whose logarithms are medians of the coefficients; else they are means.

    Parameters
    ----------
    est : estimator
        Fitted estimator.
    exponentiate : bool
        Whether the coefficients will be exponentiated; a link whose coefficients are no ratios raises TypeError.
    level, cov_type, df
        As of `coef_table`.
    """
    model = unwrap(est)
    if exponentiate:
        link = _link(model)
        if link not in _LINKS:
            raise TypeError(
                f"exponentiate=True is for links whose coefficients are logarithms of ratios: {', '.join(_LINKS)}. "
                f"This {type(model).__name__} has link {link!r}. Of a logged outcome, exponentiate the table: "
                "CoefficientsDisplay.from_tables(coef_table(est), exponentiate=True)."
            )
    if exponentiate and is_posterior(model):
        from skdep.inference.odds_ratios import odds_ratios

        return np.log(odds_ratios(model, level=level, cov_type=cov_type, df=df)[_COLUMNS])
    return coef_table(model, level=level, cov_type=cov_type, df=df)[_COLUMNS]


def rows_of_tables(
    tables: Mapping[str, Any], terms: Any, *, intercept: bool, per: Mapping[str, float] | None
) -> CoefficientRows:
    """Choose terms of tables, and set them side by side.

    Parameters
    ----------
    tables : mapping from str to DataFrame
        Columns ``estimate``, ``conf_low``, ``conf_high``, terms as index.
    terms : None, str, sequence of str, or mapping from str to str
        Terms in the order wanted; a mapping says how they are to be called.
    intercept : bool
        Whether to keep the intercept, where terms are not named.
    per : mapping from str to float, or None
        Units by which coefficients are multiplied.
    """
    known = list(dict.fromkeys(str(term) for table in tables.values() for term in table.index))
    if terms is None:
        chosen = {term: term for term in known if intercept or term != "Intercept"}
    elif isinstance(terms, Mapping):
        chosen = {str(term): str(label) for term, label in terms.items()}
    else:
        chosen = {str(term): str(term) for term in ([terms] if isinstance(terms, str) else terms)}
    _check_known([*chosen, *(per or {})], known)
    if not chosen:
        raise ValueError("There is no term to draw but the intercept: draw it by intercept=True.")
    parts = []
    for name, table in tables.items():
        missing = [column for column in _COLUMNS if column not in table]
        if missing:
            raise ValueError(f"The table {name!r} has no column {', '.join(missing)}; it must be like coef_table's.")
        frame = table.set_axis([str(term) for term in table.index]).reindex(list(chosen))
        parts.append(frame[_COLUMNS].to_numpy(dtype=np.float64))
    values = np.stack(parts, axis=1)
    labels = list(chosen.values())
    for k, term in enumerate(chosen):
        units = float((per or {}).get(term, 1.0))
        values[k] *= units
        if units != 1.0 and not isinstance(terms, Mapping):
            labels[k] = f"{labels[k]} (per {units:g})"
    estimate, low, high = np.moveaxis(values, 2, 0)
    return CoefficientRows(estimate, np.minimum(low, high), np.maximum(low, high), labels, list(tables))


def scale_names(models: Sequence[Any], *, exponentiate: bool) -> str:
    """Return what the coefficients of all models are, exponentiated or not."""
    pairs = {_scale(unwrap(model)) for model in models}
    if len(pairs) == 1:
        return pairs.pop()[int(exponentiate)]
    return "Ratio" if exponentiate else "Coefficient"


def _link(model: Any) -> str:
    return getattr(model, "_link_name", "identity")


def _scale(model: Any) -> tuple[str, str]:
    link = _link(model)
    if link == "log" and getattr(getattr(model, "_family", None), "counts", False):
        return _COUNTS
    return _LINKS.get(link, ("Coefficient", "Ratio"))


def _check_known(wanted: Sequence[str], known: Sequence[str]) -> None:
    unknown = [term for term in wanted if term not in known]
    if unknown:
        raise ValueError(f"There is no term {', '.join(map(repr, unknown))}; the models have {', '.join(known)}.")
