"""What is fitted to compare working correlations: candidates, and one model fitted with each of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import GroupKFold
from sklearn.utils import _safe_indexing

from skdep._progress import tracked
from skdep._validation import check_time
from skdep.clusters import encode_factors
from skdep.gee.given_rows import GEEMetadata
from skdep.gee.working_correlation import WORKING_CORRELATIONS, WorkingCorrelation
from skdep.inference.scorers import mean_deviance

__all__ = ["ComparedData", "candidates_by_name", "metadata_for", "unsuitable"]


def candidates_by_name(structures: Sequence[Any] | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what to fit, by name."""
    if structures is None:
        return {name: name for name in WORKING_CORRELATIONS}
    if isinstance(structures, Mapping):
        return dict(structures)
    found: dict[str, Any] = {}
    for structure in [structures] if isinstance(structures, str | WorkingCorrelation) else structures:
        unknown = isinstance(structure, str) and structure not in WORKING_CORRELATIONS
        if unknown or not isinstance(structure, str | WorkingCorrelation):
            raise ValueError(
                f"structures has {structure!r}, which is no working correlation: choose of "
                f"{sorted(WORKING_CORRELATIONS)}, or give objects."
            )
        name = structure if isinstance(structure, str) else str(structure.name or type(structure).__name__)
        number = sum(known.partition(" #")[0] == name for known in found)
        found[name if not number else f"{name} #{number + 1}"] = structure
    if not found:
        raise ValueError("structures is empty: there is nothing to compare.")
    return found


def unsuitable(name: str, data: ComparedData) -> str | None:
    """Say why a structure of the default list does not suit the data; None if it does."""
    structure, metadata = WORKING_CORRELATIONS[name], data.metadata
    if name == "fixed":
        return "it is for a correlation matrix that is known beforehand; pass skdep.gee.Fixed(matrix) in structures="
    if structure.needs_subclusters and data.n_levels == 1:
        return "it is for clusters with subclusters, given as columns of groups"
    if structure.needs_time and metadata.time is None:
        return "it depends on time, and no time was given"
    if name in ("toeplitz", "unstructured"):
        time = check_time(metadata.time, data.n_rows)
        n_times = 1 if time is None else len(np.unique(time))
        n_parameters = n_times - 1 if name == "toeplitz" else n_times * (n_times - 1) // 2
        if n_parameters >= data.n_clusters:
            return f"it has up to {n_parameters} parameters for {data.n_clusters} clusters"
    return None


class ComparedData:
    """The data of all fits, and the model without its working correlation."""

    def __init__(self, est: Any, template: Any, reached: Any, X: Any, y: Any, metadata: GEEMetadata):
        self.est, self.template, self.X, self.y, self.metadata = est, template, reached, y, metadata
        self.given_X, self.n_rows = X, len(y)
        factors = encode_factors(metadata.groups, self.n_rows)
        self.n_levels, self.clusters = len(factors), factors[0][0]
        self.n_clusters = len(factors[0][1])

    def metadata_of(self, structure: Any) -> GEEMetadata:
        """Return the metadata with as many levels of groups as a structure (or design) uses."""
        return metadata_for(structure, self.metadata, self.n_levels)

    def fit(self, structure: Any, rows: np.ndarray | None = None, X: Any = None) -> Any:
        """Fit to all rows, or to some of them with features X."""
        metadata = self.metadata_of(structure)._asdict()
        given = {name: _taken(part, rows) for name, part in metadata.items() if part is not None}
        model = clone(self.template).set_params(working_correlation=structure)
        model.fit(self.X if X is None else X, _taken(self.y, rows), **given)
        if hasattr(self.template, "formula_"):  # so that fits take raw data
            model.formula_ = self.template.formula_
        return model

    def held_out(
        self, names: list[str], candidates: dict[str, Any], cv: Any, notes: dict[str, list[str]]
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """Return mean deviances (folds, structures) on rows left out, and the share of each fold's weight."""
        splitter = GroupKFold(cv) if isinstance(cv, Integral) else cv
        folds: list[dict[str, float]] = []
        weights: list[float] = []
        parts = splitter.split(np.zeros((self.n_rows, 1)), self.y, self.clusters)
        for train, test in tracked(parts, "Folds"):
            inside, outside = self._features(train, test)
            sample_weight, offset = (_taken(part, test) for part in (self.metadata.sample_weight, self.metadata.offset))
            row = {}
            for name in names:
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # said of the fit to all rows
                        fit = self.fit(candidates[name], train, inside)
                        row[name] = mean_deviance(fit, outside, _taken(self.y, test), sample_weight, offset)
                except ValueError as error:
                    notes[name].append(
                        f"held-out deviance is missing: fold {len(folds) + 1} could not be used, {error}"
                    )
                    row[name] = np.nan
            folds.append(row)
            weights.append(len(test) if sample_weight is None else float(np.sum(np.asarray(sample_weight))))
        table = pd.DataFrame(folds, columns=names)
        table.index.name = "fold"
        return table, np.array(weights) / np.sum(weights)

    def _features(self, train: np.ndarray, test: np.ndarray) -> tuple[Any, Any]:
        """Return features of both parts as they reach the model; steps before it see the first only."""
        est = self.est
        while hasattr(est, "best_estimator_"):
            est = est.best_estimator_
        if not hasattr(est, "steps") or len(est.steps) == 1:
            return _taken(self.X, train), _taken(self.X, test)
        inside, outside = _taken(self.given_X, train), _taken(self.given_X, test)
        before = clone(est[:-1]).fit(inside, _taken(self.y, train))
        return before.transform(inside), before.transform(outside)


def metadata_for(structure: Any, metadata: GEEMetadata, n_levels: int) -> GEEMetadata:
    """Return metadata with the first level of groups only, where a structure (or design) does not use the others."""
    kind = WORKING_CORRELATIONS[structure] if isinstance(structure, str) else structure
    in_design = metadata.strata is not None or metadata.fpc is not None
    if n_levels == 1 or kind.needs_subclusters or in_design:
        return metadata
    groups = metadata.groups
    first = groups.iloc[:, 0] if hasattr(groups, "iloc") else np.asarray(groups)[:, 0]
    return metadata._replace(groups=first)


def _taken(values: Any, rows: np.ndarray | None) -> Any:
    """Return some rows of whatever a user may give; None means all of them."""
    if values is None or rows is None:
        return values
    if not hasattr(values, "dtype") and not hasattr(values, "iloc"):
        return [values[row] for row in rows]
    return _safe_indexing(values, rows)
