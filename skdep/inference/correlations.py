"""Working correlations side by side: which of them suits the data, by every criterion that is in use."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skdep._html import frame_html, result_html
from skdep._progress import tracked
from skdep.formula.raw_rows import offset_of
from skdep.gee.base import BaseGEE
from skdep.gee.given_rows import GEEMetadata
from skdep.inference._correlation_criteria import CRITERIA, criteria_of_fit
from skdep.inference._correlation_fits import ComparedData, candidates_by_name, unsuitable
from skdep.inference._marginal import template_within

__all__ = ["CorrelationComparison", "compare_correlations"]

_SHOWN = ("association", "n_association", "scale", "quasi_likelihood", "qic", "qicu", "cic", "qicc", "c1", "c2", "rj")
_COLUMNS = (*_SHOWN, "dbar", "agpc", "sgpc", "pac", "ghyc")
_HELD_OUT = "held_out_deviance"
# Relative differences of criteria below this are rounding.
_SAME = 1e-9


@dataclass(frozen=True)
class CorrelationComparison:
    """Result of `compare_correlations`.

    Parameters
    ----------
    table : DataFrame
        A row a working correlation, a column a criterion.
    std_errors : DataFrame
        Robust standard errors of the coefficients asked for, rows as in `table`.
    fits : dict
        The fitted estimators by name.
    skipped : dict
        Working correlations that were not fitted, and why.
    notes : dict
        What fits warned of, and why criteria are missing, by name.
    held_out : DataFrame or None
        Mean deviance on the rows left out, a row a fold, where cross-validation was asked for.
    """

    table: pd.DataFrame
    std_errors: pd.DataFrame
    fits: dict[str, Any]
    skipped: dict[str, str]
    notes: dict[str, tuple[str, ...]]
    held_out: pd.DataFrame | None = None

    def best(self, criterion: str = "cic") -> str:
        """Return the name of the best working correlation by one criterion, of those whose fit converged.

        Of several that are equally good it is the one with fewest parameters.

        Parameters
        ----------
        criterion : str, default="cic"
            ``"qic"``, ``"cic"``, ``"qicc"``, ``"rj"``, ``"dbar"``, ``"agpc"``, ``"sgpc"``, ``"pac"``, ``"ghyc"`` or
            ``"held_out_deviance"``.

        Raises
        ------
        ValueError
            If the criterion is none of those, or was not computed.
        """
        known = [name for name in (*CRITERIA, _HELD_OUT) if name in self.table]
        if criterion not in known:
            raise ValueError(f"criterion={criterion!r} does not compare working correlations; choose one of {known}.")
        converged = [name for name, fit in self.fits.items() if fit.converged_]
        values = self.table.loc[converged, criterion].dropna()
        if not len(values):
            raise ValueError(f"{criterion!r} was computed for no working correlation: {self.notes}.")
        target = CRITERIA.get(criterion)
        distance = values if target is None else (values - target).abs()
        least = distance.min()
        tied = distance.index[distance <= least + _SAME * abs(least)]
        return str(self.table.loc[tied, "n_association"].idxmin())

    def to_frame(self) -> pd.DataFrame:
        """Return criteria and standard errors in one table, a row a working correlation."""
        return self.table.join(self.std_errors.add_prefix("se "))

    def _marked(self) -> pd.DataFrame:
        """Return the table as text, a column a working correlation, the best by each criterion marked."""
        lines = {}
        for name, values in self.to_frame().items():
            texts = pd.Series([_text(value) for value in values], index=values.index)
            if name in CRITERIA or name == _HELD_OUT:
                with suppress(ValueError):
                    texts[self.best(str(name))] += " *"
            if values.notna().any():
                lines[name] = texts
        return pd.DataFrame(lines).T

    def _remarks(self) -> list[str]:
        said: dict[str, list[str]] = {}
        for name, notes in self.notes.items():
            for note in notes:
                said.setdefault(note, []).append(name)
        for name, why in self.skipped.items():
            said.setdefault(f"not fitted: {why}", []).append(name)
        return [f"{', '.join(names)}: {note}" for note, names in said.items()]

    def __str__(self) -> str:
        return "\n".join([self._marked().to_string(), "* best by this criterion", *self._remarks()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        remarks = ["* best by this criterion", *self._remarks()]
        return result_html(frame_html(self._marked()), notes=remarks, label="")


def _text(value: Any) -> str:
    """Write a number with its own digits: criteria have differences of interest in the second decimal."""
    if not isinstance(value, str) and np.ndim(value) == 0:
        if np.isnan(value):
            return "-"
        if float(value).is_integer() and abs(value) < 1e4:
            return f"{value:.0f}"
        return f"{value:.2f}" if abs(value) >= 100 else f"{value:.4f}"
    return str(value)


def compare_correlations(
    est: Any,
    X: Any,
    y: Any,
    *,
    groups: Any,
    time: Any = None,
    sample_weight: Any = None,
    offset: Any = None,
    strata: Any = None,
    fpc: Any = None,
    structures: Sequence[Any] | Mapping[str, Any] | None = None,
    scale: str | float = "own",
    coefficients: str | Sequence[str] | None = None,
    cv: Any = None,
) -> CorrelationComparison:
    r"""Fit a GEE with every working correlation, and set the criteria side by side.

    Parameters
    ----------
    est : GEERegressor or GEEClassifier
        The model, fitted or not, or a pipeline or search around one; it stays as it is.
    X : array-like of shape (n_rows, n_features)
        Features.
    y : array-like of shape (n_rows,)
        Outcomes.
    groups : array-like of shape (n_rows,) or (n_rows, n_levels)
        Labels of the clusters. Further columns are subclusters, for ``"nested"``; other structures take the first.
    time, sample_weight, offset, strata, fpc : array-like of shape (n_rows,), optional
        The rows' metadata, as in ``fit``.
    structures : sequence of str or WorkingCorrelation, or mapping of names to them, optional
        Which to compare; by default all that have names and suit the data.
    scale : "own", "independence" or float, default="own"
        Scale phi of the criteria: that of each fit, as `qic` and other programs have it; that of the fit under
        independence, the same for all; or a number, such as 1 for counts, or the estimate of the largest mean model.
        Fits do not depend on it.
    coefficients : str or sequence of str, optional
        Names of the coefficients whose robust standard errors are shown; by default all.
    cv : int or splitter, optional
        For the deviance on clusters left out: number of folds of `sklearn.model_selection.GroupKFold`, or another
        splitter.

    Returns
    -------
    CorrelationComparison
        ``.table``, ``.std_errors``, ``.best(criterion)``, ``.fits``, ``.skipped``, ``.notes``, ``.held_out``,
        ``.to_frame()``.

    Raises
    ------
    TypeError
        If the estimator is no GEE.
    ValueError
        If there are no groups, names are unknown, or no working correlation could be fitted.

    Notes
    -----
    With p coefficients, q parameters of the working correlation R, K clusters, V_i the working covariance of cluster i,
    r_i its residuals, phi the scale, B = sum D'V^{-1}D the bread, V_R the robust covariance, and
    Omega = sum D'A^{-1}D / phi the information under independence at the coefficients of the fit, A the variances:

    ============  =================================================================================  =============
    column        definition                                                                         best
    ============  =================================================================================  =============
    ``qic``       -2 Q / phi + 2 tr(Omega V_R), Q the quasi-likelihood                               smallest
    ``qicu``      -2 Q / phi + 2 p: compares mean models, not correlations                           -
    ``cic``       tr(Omega V_R)                                                                      smallest
    ``qicc``      QIC + 2 k (k + 1) / (K - k - 1), k = p + q                                         smallest
    ``c1, c2``    tr(G) / p and tr(G^2) / p, G = B^{-1} sum D'V^{-1} r r' V^{-1} D                   near 1
    ``rj``        ((1 - C1)^2 + (1 - C2)^2)^(1/2)                                                    smallest
    ``dbar``      C2 - 2 C1 + 1                                                                      near 0
    ``agpc``      sum of log|2 pi V_i| + r_i' V_i^{-1} r_i, plus 2 (p + q)                           smallest
    ``sgpc``      the same with log(K) (p + q)                                                       smallest
    ``pac``       distance of det(S V^{-1}) from 1, S and V means of r r' and V_i                    smallest
    ``ghyc``      tr((S V^{-1} - I)^2)                                                               smallest
    ============  =================================================================================  =============

    Sources: QIC [1]_; CIC [2]_; C1, C2, RJ and DBAR [3]_; AGPC and SGPC [4]_; PAC [5]_; GHYC [6]_.

    CIC is the better half of QIC for this choice: the quasi-likelihood hardly sees R. With its own phi, the
    quasi-likelihood of a Gaussian fit is the same whatever R. PAC and GHYC need clusters with common positions, by
    `time` or by their places in clusters of one size. ``association`` is the parameter of R, or says how many. Held-out
    deviance sees R through the coefficients only; its differences are small, and `held_out` has them fold by fold.

    References
    ----------
    .. [1] Pan (2001), Akaike's information criterion in generalized estimating equations, Biometrics 57, 120-125.
    .. [2] Hin and Wang (2009), Working-correlation-structure identification in generalized estimating equations,
       Statistics in Medicine 28, 642-658.
    .. [3] Rotnitzky and Jewell (1990), Biometrika 77, 485-497; Hin, Carey and Wang (2007), American Statistician 61,
       360-364.
    .. [4] Carey and Wang (2011), Working covariance model selection for generalized estimating equations, Statistics in
       Medicine 30, 3117-3124.
    .. [5] Pardo and Alonso (2019), Working correlation structure selection in GEE analysis, Statistical Papers 60,
       1447-1467.
    .. [6] Gosho, Hamada and Yoshimura (2011), Communications in Statistics - Theory and Methods 40, 3839-3856.

    Examples
    --------
    >>> from skdep import GEEClassifier
    >>> from skdep.datasets import load_ohio
    >>> from skdep.inference import compare_correlations
    >>> ohio = load_ohio()
    >>> found = compare_correlations(
    ...     GEEClassifier(), ohio.data, ohio.target, groups=ohio.groups, time=ohio.time,
    ...     structures=["independence", "exchangeable", "ar1"],
    ... )
    >>> found.best("cic"), found.best("rj")
    ('ar1', 'exchangeable')
    """
    if groups is None:
        raise ValueError("Without groups every row is a cluster, and there is no correlation to choose: pass groups=.")
    offset = offset_of(est, X, offset)
    template, reached = template_within(est, X, y)
    if not isinstance(template, BaseGEE):
        raise TypeError(f"compare_correlations is for GEERegressor and GEEClassifier, got {type(template).__name__}.")
    data = ComparedData(est, template, reached, X, y, GEEMetadata(groups, sample_weight, offset, time, strata, fpc))
    candidates = candidates_by_name(structures)
    if structures is None:
        skipped = {name: why for name in candidates if (why := unsuitable(name, data)) is not None}
    else:
        skipped = {}
    fits, notes = _fitted({name: part for name, part in candidates.items() if name not in skipped}, data, skipped)
    table = _criteria_table(fits, data, _shared_scale(scale, data, fits), notes)
    held_out = None
    if cv is not None:
        held_out, weights = data.held_out(list(fits), candidates, cv, notes)
        table[_HELD_OUT] = held_out.T @ weights
    return CorrelationComparison(
        table=table,
        std_errors=_standard_errors(fits, coefficients),
        fits=fits,
        skipped=skipped,
        notes={name: tuple(said) for name, said in notes.items() if said},
        held_out=held_out,
    )


def _fitted(
    candidates: dict[str, Any], data: ComparedData, skipped: dict[str, str]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Fit what can be fitted; return fits and what they warned of, and add the rest to `skipped`."""
    fits, notes = {}, {}
    for name, structure in tracked(candidates.items(), "Working correlations"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                fits[name] = data.fit(structure)
            except ValueError as error:
                skipped[name] = str(error)
                continue
        notes[name] = list(dict.fromkeys(str(warning.message) for warning in caught))
    if not fits:
        raise ValueError(f"No working correlation could be fitted: {skipped}.")
    return fits, notes


def _criteria_table(
    fits: dict[str, Any], data: ComparedData, scale: float | None, notes: dict[str, list[str]]
) -> pd.DataFrame:
    """Return the criteria of all fits; what they lack is added to `notes`."""
    rows = []
    for name, fit in fits.items():
        try:
            found = criteria_of_fit(fit, data.X, data.y, data.metadata_of(fit.working_correlation), scale)
        except ValueError as error:
            notes[name].append(f"no criteria: {error}")
            rows.append({"association": "?", "n_association": 0})
            continue
        rows.append({"association": _association(fit, int(found.values["n_association"])), **found.values})
        missing: dict[str, list[str]] = {}
        for criterion, reason in found.unavailable.items():
            missing.setdefault(reason, []).append(criterion)
        notes[name] += [f"no {', '.join(which)}: {reason}" for reason, which in missing.items()]
    table = pd.DataFrame(rows, index=list(fits), columns=list(_COLUMNS))
    return table.assign(n_association=table["n_association"].astype(int))


def _shared_scale(scale: str | float, data: ComparedData, fits: dict[str, Any]) -> float | None:
    """Return phi of all criteria; None where every fit has its own."""
    if isinstance(scale, str):
        if scale == "own":
            return None
        if scale != "independence":
            raise ValueError(f"scale must be 'own', 'independence' or a number, got {scale!r}.")
        known = fits.get("independence")
        if known is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                known = data.fit("independence")
        return float(known.scale_)
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive and finite, got {scale!r}.")
    return float(scale)


def _association(fit: Any, n_parameters: int) -> Any:
    """Return the parameter of the working correlation, or how many there are."""
    if n_parameters == 0:
        return "none"
    value = np.asarray(fit.association_, dtype=float)
    return float(value.ravel()[0]) if value.size == 1 else f"{n_parameters} values"


def _standard_errors(fits: dict[str, Any], coefficients: str | Sequence[str] | None) -> pd.DataFrame:
    first = next(iter(fits.values()))._inference
    names = list(first.names) if coefficients is None else coefficients
    names = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in names if name not in first.names]
    if unknown:
        raise ValueError(f"coefficients has unknown names {unknown}; the model has {list(first.names)}.")
    rows = {}
    for name, fit in fits.items():
        fitted = fit._inference
        errors = np.sqrt(np.diag(fitted.covariance("robust")))
        errors = np.where(fitted.aliased, np.nan, errors)
        rows[name] = dict(zip(fitted.names, errors, strict=True))
    return pd.DataFrame(rows).T[names]
