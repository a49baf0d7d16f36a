"""Columns of features from the values of variables: which factors are coded in full, and products of columns.

The rule is R's. A factor in a term is coded by contrasts where the rest of the term is contained in an earlier term
(the empty rest always is), else by indicators of all levels. Without an intercept, the first factor of the first term
that has one gets indicators of all its levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skdep.formula._contrasts import Coding, coding_of
from skdep.formula._evaluation import Evaluator
from skdep.formula._syntax import Group, Name, Node
from skdep.formula._terms import Term
from skdep.formula._values import Columns, Factor

__all__ = ["CodedTerm", "Design", "column_name", "design_of"]


@dataclass(frozen=True)
class CodedTerm:
    """A term, and how its variables become columns.

    Parameters
    ----------
    variables : tuple of Node
        Its variables.
    full : tuple of bool
        Whether each is a factor coded by indicators of all levels.
    names : tuple of str
        Names of the columns.
    """

    variables: Term
    full: tuple[bool, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Design:
    """Terms in their order.

    Parameters
    ----------
    intercept : bool
        Whether there is an intercept; it is no column.
    terms : tuple of CodedTerm
        The terms.
    codings : mapping from str to Coding
        Columns of each factor, by its text.
    """

    intercept: bool
    terms: tuple[CodedTerm, ...]
    codings: Mapping[str, Coding]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, without the intercept."""
        return tuple(name for term in self.terms for name in term.names)

    def columns(self, evaluator: Evaluator, n_rows: int) -> np.ndarray:
        """Return the columns (n_rows, n_columns).

        Parameters
        ----------
        evaluator : Evaluator
            Gives the values of variables.
        n_rows : int
            Number of rows.
        """
        parts = [self._of_term(term, evaluator) for term in self.terms]
        return np.hstack(parts) if parts else np.empty((n_rows, 0))

    def _of_term(self, term: CodedTerm, evaluator: Evaluator) -> np.ndarray:
        product = None
        for node, full in zip(term.variables, term.full, strict=True):
            part = self._of_variable(node, full, evaluator)
            # the first variable's columns vary fastest
            product = part if product is None else _products(part, product)
        assert product is not None
        return product

    def _of_variable(self, node: Node, full: bool, evaluator: Evaluator) -> np.ndarray:
        value = evaluator.variable(node)
        if isinstance(value, Factor):
            coding = self.codings[str(node)]
            return (coding.full if full else coding.reduced)[value.codes]
        return _finite(value, node)


def _products(slow: np.ndarray, fast: np.ndarray) -> np.ndarray:
    """Return all products of a column of each (n_rows, n_slow * n_fast)."""
    return (slow[:, :, None] * fast[:, None, :]).reshape(len(slow), slow.shape[1] * fast.shape[1])


def _finite(value: np.ndarray | Columns, node: Node) -> np.ndarray:
    """Return numbers as columns (n_rows, n_columns); those that are not finite raise ValueError."""
    values = value.values if isinstance(value, Columns) else value[:, None]
    broken = ~np.isfinite(values).all(axis=1)
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        raise ValueError(
            f"{node} is no finite number in {int(broken.sum())} rows, first in row {row}: the logarithm of zero, say, "
            "or an infinite value in the data."
        )
    return values


def design_of(intercept: bool, terms: Sequence[Term], evaluator: Evaluator) -> Design:
    """Decide how terms become columns.

    Parameters
    ----------
    intercept : bool
        Whether there is an intercept.
    terms : sequence of Term
        The terms.
    evaluator : Evaluator
        Gives the values of variables.

    Returns
    -------
    Design
        The terms, coded.

    Raises
    ------
    ValueError
        If a factor has a single level and is to be coded by contrasts, or two columns have the same name.
    """
    values = {node: evaluator.variable(node) for term in terms for node in term}
    for node, value in values.items():
        if not isinstance(value, Factor):
            _finite(value, node)
    codings = {
        str(node): coding_of(value.levels, value.contrasts, str(node))
        for node, value in values.items()
        if isinstance(value, Factor)
    }
    is_full = _coded_in_full(intercept, terms, [node for node in values if isinstance(values[node], Factor)])
    coded = []
    for term, full in zip(terms, is_full, strict=True):
        parts = [_names(node, values[node], codings, one) for node, one in zip(term, full, strict=True)]
        coded.append(CodedTerm(term, full, _product_of_names(parts)))
    names = [name for term in coded for name in term.names]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"The formula gives several columns the same name: {repeated}. Rename columns of the data.")
    return Design(intercept, tuple(coded), codings)


def _coded_in_full(intercept: bool, terms: Sequence[Term], factors: Sequence[Node]) -> list[tuple[bool, ...]]:
    """Return for each variable of each term whether it is a factor that is coded in full."""
    found = []
    needs_first = not intercept
    for number, term in enumerate(terms):
        full = []
        for node in term:
            rest = set(term) - {node}
            covered = not rest or any(rest <= set(earlier) for earlier in terms[:number])
            is_factor = node in factors
            full.append(is_factor and (needs_first or not covered))
            needs_first = needs_first and not is_factor
        found.append(tuple(full))
    return found


def _names(node: Node, value: np.ndarray | Factor | Columns, codings: Mapping[str, Coding], full: bool) -> list[str]:
    """Return the names of the columns of one variable."""
    name = column_name(node)
    if isinstance(value, Columns):
        return [f"{name}[{part}]" for part in value.names]
    if not isinstance(value, Factor):
        return [name]
    coding = codings[str(node)]
    if not full and not coding.reduced_names:
        raise ValueError(
            f"{node} has a single level, {value.levels[0]!r}: it is constant, and has no effect to estimate. Leave it "
            "out."
        )
    return [name + suffix for suffix in (coding.full_names if full else coding.reduced_names)]


def column_name(node: Node) -> str:
    """Return the name of a variable's column: its text, a column of the data without backticks."""
    while isinstance(node, Group):
        node = node.inner
    return node.name if isinstance(node, Name) else str(node)


def _product_of_names(parts: Sequence[list[str]]) -> tuple[str, ...]:
    """Return names of products, the first part varying fastest."""
    names = parts[0]
    for part in parts[1:]:
        names = [f"{first}:{second}" for second in part for first in names]
    return tuple(names)
