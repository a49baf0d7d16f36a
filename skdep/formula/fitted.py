"""A formula as it was fitted: what makes features, groups and offset of new rows of raw data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skdep.formula._design import Design, design_of
from skdep.formula._evaluation import Evaluator
from skdep.formula._outcomes import Outcome, outcome_of
from skdep.formula._random_effects import RandomEffects, random_effects_of
from skdep.formula._row_data import RowData, as_designed, labels_of
from skdep.formula._syntax import Call, Name, Node, names_in
from skdep.formula._tables import as_table, check_complete, check_present, require_formulaic
from skdep.formula._terms import Formula

__all__ = ["FittedFormula", "fit_formula"]

_ADVICE = "Predictions need all of them."


@dataclass(frozen=True)
class FittedFormula:
    """A formula with what it has learnt of the rows of the fit; it holds none of them.

    Estimators fitted by `from_formula` have it as ``formula_``. ``str(formula_)`` is the formula.

    Parameters
    ----------
    formula : Formula
        The formula taken apart.
    design : Design
        Columns of the fixed effects.
    random : RandomEffects
        Random effects, and further columns for them.
    state : dict
        Levels, means, knots of the fit.
    columns : tuple of str
        Columns of the data of the fit.
    row_data : dict of str to RowData
        Arguments of fit that were given by names of columns.
    functions : dict of str to callable
        Functions of the user.
    keep_unused : bool
        Whether declared levels that no row has are kept.
    as_shares : bool
        Whether counts of successes and failures are fitted as shares.
    n_dropped : int
        Rows with missing values that were left out of the fit.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep.datasets import load_sleepstudy
    >>> sleep = load_sleepstudy()
    >>> frame = sleep.data.assign(Reaction=sleep.target, Subject=sleep.groups)
    >>> model = MixedLinear.from_formula("Reaction ~ Days + (Days | Subject)", frame)
    >>> print(model.formula_)
    Reaction ~ Days + (Days | Subject)
    >>> model.formula_.feature_names
    ('Days',)
    >>> model.formula_.groups(frame.head(2)).tolist()
    [308, 308]
    """

    formula: Formula
    design: Design
    random: RandomEffects
    state: Mapping[str, Mapping[str, Any]]
    columns: tuple[Any, ...]
    row_data: Mapping[str, RowData] = field(default_factory=dict)
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    keep_unused: bool = False
    as_shares: bool = False
    n_dropped: int = 0

    def __str__(self) -> str:
        return self.formula.text

    @property
    def fit_intercept(self) -> bool:
        """Whether the formula has an intercept."""
        return self.design.intercept

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features: of the fixed effects, then those that have random effects only."""
        return (*self.design.names, *self.random.only)

    @property
    def variables(self) -> tuple[str, ...]:
        """Columns of the data that features are made of."""
        return self._used(
            *(node for term in self.formula.terms for node in term),
            *(node for term in self.formula.random for part in term.terms for node in part),
        )

    @property
    def offset_variables(self) -> tuple[str, ...]:
        """Columns of the data that the offset is made of."""
        return self._used(*self._offset_nodes)

    @property
    def other_variables(self) -> tuple[str, ...]:
        """Columns of the data that are used otherwise: outcome, grouping factors, offset, what was named."""
        outcome = () if self.formula.outcome is None else (self.formula.outcome,)
        factors = (part for term in self.formula.random for part in term.grouping.parts)
        named = (name for given in self.row_data.values() for name in given.variables())
        used = (*self._used(*outcome, *factors, *self._offset_nodes), *(name for name in named if name in self.columns))
        return tuple(dict.fromkeys(used))

    @property
    def categories(self) -> tuple[str, ...]:
        """Columns of the data that are categories and nothing else: in the data of the fit, or by ``factor(x)``."""
        nodes = [node for term in self.formula.terms for node in term]
        made = {name for node in nodes if self._is_category(node) for name in names_in(node)}
        otherwise = {name for node in nodes if not self._is_category(node) for name in names_in(node)}
        return tuple(name for name in self.variables if name in made - otherwise)

    def _is_category(self, node: Node) -> bool:
        return f"levels of {node}" in self.state if isinstance(node, Name) else _is_made_factor(node)

    @property
    def _offset_nodes(self) -> tuple[Node, ...]:
        return (*self.formula.offsets, *getattr(self.row_data.get("offset"), "nodes", ()))

    def _used(self, *nodes: Node) -> tuple[str, ...]:
        """Return the columns of the data of the fit that occur in expressions."""
        return tuple(dict.fromkeys(name for node in nodes for name in names_in(node) if name in self.columns))

    def _rows(self, frame: Any, columns: tuple[str, ...]) -> tuple[Any, Evaluator]:
        """Return the rows, checked, and what evaluates expressions in them."""
        require_formulaic()
        frame = as_table(frame)
        check_present(frame, columns)
        check_complete(frame, columns, _ADVICE)
        state = {key: dict(value) for key, value in self.state.items()}
        return frame, Evaluator(frame, state, training=False, functions=self.functions, keep_unused=self.keep_unused)

    def features(self, frame: Any) -> Any:
        """Return the features of rows.

        Parameters
        ----------
        frame : DataFrame of shape (n_rows, n_columns)
            Raw data; columns that the formula does not use are not looked at.

        Returns
        -------
        X : DataFrame of shape (n_rows, n_features)
            The features, with the index of `frame`.

        Raises
        ------
        ValueError
            If columns are not there, values are missing, or a factor has levels that the fit has not seen.
        """
        import pandas as pd

        frame, evaluator = self._rows(frame, self.variables)
        values = np.hstack([self.design.columns(evaluator, len(frame)), self.random.columns(evaluator, len(frame))])
        return pd.DataFrame(values, columns=list(self.feature_names), index=frame.index)

    def groups(self, frame: Any) -> Any:
        """Return the labels of the grouping factors: those of the bars, or what `groups` named.

        Parameters
        ----------
        frame : DataFrame of shape (n_rows, n_columns)
            Raw data.

        Returns
        -------
        groups : Series, DataFrame or None
            Labels (n_rows,), or a column a factor where there are several; None where there is none.
        """
        import pandas as pd

        groupings = self.random.groupings or getattr(self.row_data.get("groups"), "groupings", ())
        if not groupings:
            return None
        frame, evaluator = self._rows(frame, self._used(*(part for one in groupings for part in one.parts)))
        parts = [labels_of(grouping, frame, evaluator) for grouping in groupings]
        return parts[0] if len(parts) == 1 else pd.concat(parts, axis=1)

    def offset(self, frame: Any) -> np.ndarray | None:
        """Return the offset of rows, by ``offset()`` in the formula and a column named by ``offset=``.

        Parameters
        ----------
        frame : DataFrame of shape (n_rows, n_columns)
            Raw data.

        Returns
        -------
        offset : ndarray of shape (n_rows,) or None
            The sum; None where there is none.
        """
        nodes = self._offset_nodes
        if not nodes:
            return None
        frame, evaluator = self._rows(frame, self.offset_variables)
        total = np.zeros(len(frame))
        for node in nodes:
            value = evaluator.variable(node)
            if not isinstance(value, np.ndarray):
                raise ValueError(f"offset({node}) must be numbers.")
            total = total + value
        return total

    def outcome(self, frame: Any) -> np.ndarray:
        """Return the outcomes of rows, what stands before the tilde.

        Parameters
        ----------
        frame : DataFrame of shape (n_rows, n_columns)
            Raw data.

        Returns
        -------
        y : ndarray of shape (n_rows,)
            Numbers or labels; the share of successes for ``cbind()``.
        """
        return self.outcome_values(frame).shares

    def outcome_values(self, frame: Any) -> Outcome:
        """Return `outcome` with numbers of trials and levels, where it has them."""
        assert self.formula.outcome is not None
        frame, evaluator = self._rows(frame, self._used(self.formula.outcome))
        return outcome_of(self.formula.outcome, frame, evaluator)

    def fit_arguments(self, frame: Any) -> dict[str, Any]:
        """Return what `fit` is called with for these rows: features, outcome, and what was named.

        It serves functions that need the data again: ``influence(est, **est.formula_.fit_arguments(frame))``. Outcomes
        of ``cbind()`` have two rows for each row, for successes and failures, or one for a share, as in the fit.

        Parameters
        ----------
        frame : DataFrame of shape (n_rows, n_columns)
            Raw data.

        Returns
        -------
        dict
            ``X``, ``y``, and ``groups``, ``offset``, ``sample_weight``, ``time``, ... where the formula or names of
            columns gave them.
        """
        return self.arguments_with(frame, {})

    def arguments_with(self, frame: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return `fit_arguments` with further ones, a value a row; an offset is added to that of the formula."""
        found: dict[str, Any] = {"X": self.features(frame), "groups": self.groups(frame), "offset": self.offset(frame)}
        for argument, named in self.row_data.items():
            if argument not in found:
                rows, evaluator = self._rows(frame, self._used_by(named))
                found[argument] = named.values(rows, evaluator)
        if given.get("offset") is not None and found["offset"] is not None:
            given = {**given, "offset": np.asarray(given["offset"], dtype=np.float64) + found["offset"]}
        found |= given
        outcome = self.outcome_values(frame)
        found = {name: value for name, value in found.items() if value is not None}
        return outcome.with_arguments(found, as_shares=self.as_shares)

    def _used_by(self, given: RowData) -> tuple[str, ...]:
        return tuple(name for name in given.variables() if name in self.columns)


def _is_made_factor(node: Node) -> bool:
    return isinstance(node, Call) and node.function in ("factor", "as.factor", "ordered", "relevel", "C")


def fit_formula(
    formula: Formula,
    frame: Any,
    *,
    row_data: Mapping[str, RowData] | None = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    keep_unused: bool = False,
    as_shares: bool = False,
) -> FittedFormula:
    """Learn what a formula needs to know of the rows of a fit.

    Parameters
    ----------
    formula : Formula
        The formula taken apart.
    frame : DataFrame
        The rows, nothing missing.
    row_data : mapping from str to RowData, optional
        Arguments of fit that are given by names of columns.
    functions : mapping from str to callable, optional
        Functions of the user.
    keep_unused : bool
        Whether to keep declared levels that no row has.
    as_shares : bool
        Whether counts of successes and failures are fitted as shares.
    """
    state: dict[str, dict[str, Any]] = {}
    evaluator = Evaluator(frame, state, training=True, functions=functions, keep_unused=keep_unused)
    design = design_of(formula.intercept, formula.terms, evaluator)
    random = random_effects_of(formula.random, design.names, evaluator)
    given = {name: as_designed(value, evaluator) for name, value in (row_data or {}).items()}
    # functions that learn from rows may stand anywhere: all parts are evaluated once
    for value in given.values():
        value.values(frame, evaluator)
    for grouping in random.groupings:
        labels_of(grouping, frame, evaluator)
    for node in formula.offsets:
        evaluator.variable(node)
    if formula.outcome is not None:
        outcome_of(formula.outcome, frame, evaluator)
    columns = tuple(frame.columns)
    return FittedFormula(formula, design, random, state, columns, given, dict(functions or {}), keep_unused, as_shares)
