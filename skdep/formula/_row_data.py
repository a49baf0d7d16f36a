"""Metadata of rows given by the names of columns: groups, times, weights, strata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdep.formula._design import Design, column_name, design_of
from skdep.formula._evaluation import Evaluator, unknown_column
from skdep.formula._syntax import Binary, Call, FormulaSyntaxError, Group, Name, Node, Number, names_in
from skdep.formula._terms import Grouping, expand, groupings_of, split
from skdep.formula._values import column_of

__all__ = ["RowData", "as_designed", "labels_of", "named_columns", "row_data"]

# What may have a column for each of several stages or factors.
_SEVERAL = frozenset({"groups", "strata", "fpc"})


@dataclass(frozen=True)
class RowData:
    """What one argument of fit is, in terms of columns.

    Parameters
    ----------
    groupings : tuple of Grouping
        Grouping factors, if it is labels of clusters.
    nodes : tuple of Node
        Columns or expressions, if it is something else.
    formula : str
        A formula of features, if it is several columns of numbers.
    design : Design or None
        Their columns, once they have been seen.
    """

    groupings: tuple[Grouping, ...] = ()
    nodes: tuple[Node, ...] = ()
    formula: str = ""
    design: Design | None = None

    def variables(self) -> tuple[str, ...]:
        """Return the names that occur."""
        nodes = [*self.nodes, *(part for grouping in self.groupings for part in grouping.parts)]
        if self.formula:
            nodes.append(split(self.formula)[1])
        return tuple(dict.fromkeys(name for node in nodes for name in names_in(node)))

    def values(self, frame: Any, evaluator: Evaluator) -> Any:
        """Return the argument of fit for these rows: a Series, or a DataFrame where it has several columns."""
        import pandas as pd

        if self.design is not None:
            columns = self.design.columns(evaluator, len(frame))
            return pd.DataFrame(columns, columns=list(self.design.names), index=frame.index)
        if self.groupings:
            parts = [labels_of(grouping, frame, evaluator) for grouping in self.groupings]
        else:
            parts = [_series(node, frame, evaluator) for node in self.nodes]
        return parts[0] if len(parts) == 1 else pd.concat(parts, axis=1)


def as_designed(given: RowData, evaluator: Evaluator) -> RowData:
    """Return the same, its features coded as the rows of the fit call for."""
    if not given.formula:
        return given
    parsed = expand(given.formula)
    return RowData(formula=given.formula, design=design_of(True, parsed.terms, evaluator))


def named_columns(value: Any, frame: Any) -> bool:
    """Say whether an argument of fit names columns, and is not an array of values."""
    if isinstance(value, str):
        return True
    return isinstance(value, list | tuple) and len(value) > 0 and all(_is_column(name, frame) for name in value)


def _is_column(name: Any, frame: Any) -> bool:
    return isinstance(name, str) and name in frame.columns


def row_data(argument: str, value: Any, frame: Any) -> RowData | None:
    """Return what an argument of fit given by names is.

    Parameters
    ----------
    argument : str
        Name of the argument.
    value : str or list of str
        A column, an expression, a formula such as ``"~ school + class"``, or several columns.
    frame : DataFrame
        The data.

    Returns
    -------
    RowData or None
        None for ``"~ 1"``, which says that there is nothing.
    """
    if argument == "dropout_features":
        return RowData(
            formula=value if isinstance(value, str) else "~ " + " + ".join(str(Name(name)) for name in value)
        )
    nodes = [Name(name) for name in value] if not isinstance(value, str) else _nodes(value, frame)
    if not nodes:
        return None
    if len(nodes) > 1 and argument not in _SEVERAL:
        raise ValueError(f"{argument}={value!r}: {argument} is a single column.")
    for node in nodes:
        for name in names_in(node):
            if name not in frame.columns:
                raise unknown_column(name, frame)
    if argument == "groups":
        factors = [factor for node in nodes for factor in groupings_of(f"{argument}={value!r}", node)]
        return RowData(groupings=tuple(factors))
    return RowData(nodes=tuple(nodes))


def _nodes(value: str, frame: Any) -> list[Node]:
    """Return what is named by a string: a column, or the parts of a sum."""
    if value in frame.columns:
        return [Name(value)]
    try:
        _, right = split(value)
    except FormulaSyntaxError as error:
        if "~" in value:
            raise
        raise unknown_column(value, frame) from error
    parts, rest = [], [right]
    while rest:
        node = rest.pop()
        if isinstance(node, Binary) and node.operator == "+":
            rest += [node.right, node.left]
        elif not isinstance(node, Number):
            parts.append(node.inner if isinstance(node, Group) else node)
    return parts


def labels_of(grouping: Grouping, frame: Any, evaluator: Evaluator) -> Any:
    """Return the labels of a grouping factor as a Series.

    Parameters
    ----------
    grouping : Grouping
        The factor.
    frame : DataFrame
        The rows.
    evaluator : Evaluator
        Gives the values of expressions.
    """
    from skdep.clusters import interaction

    parts = [_series(_plain(part), frame, evaluator) for part in grouping.parts]
    found = parts[0] if len(parts) == 1 else interaction(*parts)
    return found.rename(grouping.name)


def _plain(node: Node) -> Node:
    """Return what is made a factor of: the labels are the same."""
    if isinstance(node, Call) and node.function in ("factor", "as.factor") and len(node.arguments) == 1:
        return node.arguments[0][1]
    return node


def _series(node: Node, frame: Any, evaluator: Evaluator) -> Any:
    """Return a column as it is, or the values of an expression."""
    import pandas as pd

    if isinstance(node, Name) and node.name in frame.columns:
        return column_of(frame, node.name)
    value = evaluator.value(node)
    value = value.labels if hasattr(value, "labels") else np.asarray(value)
    if value.shape != (len(frame),):
        raise ValueError(f"{node} has shape {value.shape}, and not one value for each of {len(frame)} rows.")
    return pd.Series(value, index=frame.index, name=column_name(node))
