"""What a formula says: outcome, terms, offsets and random effects, by R's rules of expansion.

A term is a set of variables. ``a * b`` is ``a + b + a:b``, ``a / b`` is ``a + a:b``, ``b %in% a`` is ``b:a``, powers
cross a sum with itself; terms are sorted by their number of variables. A variable is whatever the formula's own
operators do not take apart: a column or a function of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from skdep.formula._syntax import Binary, Call, FormulaSyntaxError, Group, Name, Node, Number, Unary, parse

__all__ = ["Formula", "Grouping", "RandomTerm", "Term", "expand", "groupings_of", "split"]

Term = tuple[Node, ...]

_BARS = ("|", "||")


@dataclass(frozen=True)
class Grouping:
    """A grouping factor.

    Parameters
    ----------
    name : str
        Its name, as lme4 gives it.
    parts : tuple of Node
        What is crossed in it.
    """

    name: str
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class RandomTerm:
    """Random effects of the levels of one factor that are correlated with each other.

    Parameters
    ----------
    grouping : Grouping
        The factor.
    intercept : bool
        Whether intercepts vary.
    terms : tuple of Term
        Terms whose coefficients vary.
    text : str
        The bar it comes from.
    """

    grouping: Grouping
    intercept: bool
    terms: tuple[Term, ...]
    text: str


@dataclass(frozen=True)
class Formula:
    """A formula taken apart.

    Parameters
    ----------
    text : str
        The formula.
    outcome : Node or None
        What stands before the tilde.
    intercept : bool
        Whether there is an intercept.
    terms : tuple of Term
        Terms of the fixed effects, in their order.
    offsets : tuple of Node
        What stands in ``offset()``.
    random : tuple of RandomTerm
        Random effects.
    """

    text: str
    outcome: Node | None
    intercept: bool
    terms: tuple[Term, ...]
    offsets: tuple[Node, ...]
    random: tuple[RandomTerm, ...]


def split(formula: str) -> tuple[Node | None, Node]:
    """Return both sides of a formula; one without a tilde is its right side."""
    tree = parse(formula)
    if isinstance(tree, Binary) and tree.operator == "~":
        outcome: Node | None = tree.left
        right = tree.right
    elif isinstance(tree, Unary) and tree.operator == "~":
        outcome, right = None, tree.operand
    else:
        outcome, right = None, tree
    for side in (outcome, right):
        if isinstance(side, Binary) and side.operator == "~":
            raise FormulaSyntaxError(f"Formula {formula!r}: there is more than one tilde.")
    if isinstance(right, Binary) and right.operator in _BARS:
        raise FormulaSyntaxError(
            f"Formula {formula!r}: random effects stand in parentheses, as in y ~ x + (1 {right.operator} g)."
        )
    return outcome, right


def expand(formula: str, others: Sequence[str] = ()) -> Formula:
    """Take a formula apart.

    Parameters
    ----------
    formula : str
        The formula.
    others : sequence of str
        The columns that a dot stands for.

    Returns
    -------
    Formula
        Its parts.

    Raises
    ------
    FormulaSyntaxError
        If it cannot be read, or has operators where they mean nothing.
    """
    outcome, right = split(formula)
    algebra = _Algebra(formula, others, [])
    fixed = algebra.sorted_terms(right)
    random = tuple(term for bar in algebra.bars for term in _random_terms(formula, bar, algebra.variables))
    return Formula(_text_of(outcome, right), outcome, algebra.intercept, fixed, tuple(algebra.offsets), random)


def _text_of(outcome: Node | None, right: Node) -> str:
    return f"~{right}" if outcome is None else f"{outcome} ~ {right}"


class _Algebra:
    """Expands operators; `variables` are in order of appearance, which orders the variables within terms."""

    def __init__(self, formula: str, others: Sequence[str], variables: list[Node]):
        self.formula, self.others, self.variables = formula, others, variables
        self.intercept = True
        self.offsets: list[Node] = []
        self.bars: list[Binary] = []

    def sorted_terms(self, node: Node) -> tuple[Term, ...]:
        """Return the terms of a side, those of fewer variables first."""
        sets = sorted((part for part in self._sum(node, True) if part), key=len)
        return tuple(tuple(self.variables[number] for number in sorted(part)) for part in sets)

    def _fail(self, problem: str) -> FormulaSyntaxError:
        return FormulaSyntaxError(f"Formula {self.formula!r}: {problem}")

    def _sum(self, node: Node, added: bool) -> list[frozenset[int]]:
        """Expand what is added or taken away, where bars and offsets may stand."""
        if isinstance(node, Group):
            if isinstance(node.inner, Binary) and node.inner.operator in _BARS:
                if not added:
                    raise self._fail(f"random effects {node} cannot be taken away; leave them out.")
                self.bars.append(node.inner)
                return []
            return self._sum(node.inner, added)
        if isinstance(node, Unary) and node.operator in "+-":
            return self._sum(node.operand, added) if node.operator == "+" else self._taken_away([], node.operand, added)
        if isinstance(node, Binary) and node.operator == "+":
            return _union(self._sum(node.left, added), self._sum(node.right, added))
        if isinstance(node, Binary) and node.operator == "-":
            return self._taken_away(self._sum(node.left, added), node.right, added)
        if isinstance(node, Number):
            if node.value not in (0.0, 1.0):
                raise self._fail(f"the number {node} is no term; 1 stands for the intercept, 0 for none.")
            self.intercept = added == (node.value == 1.0)
            return []
        if isinstance(node, Call) and node.function == "offset":
            if len(node.arguments) != 1 or not added:
                raise self._fail(f"{node} must have one argument, and cannot be taken away.")
            self.offsets.append(node.arguments[0][1])
            return []
        return self._product(node)

    def _taken_away(self, left: list[frozenset[int]], right: Node, added: bool) -> list[frozenset[int]]:
        gone = set(self._sum(right, not added))
        return [part for part in left if part not in gone]

    def _product(self, node: Node) -> list[frozenset[int]]:
        """Expand interactions, nesting and powers."""
        if isinstance(node, Group | Unary) or (isinstance(node, Binary) and node.operator in "+-"):
            if isinstance(node, Group) and isinstance(node.inner, Binary) and node.inner.operator in _BARS:
                raise self._fail(f"random effects {node} can be added to terms only.")
            if isinstance(node, Unary) and node.operator not in "+-":
                return [self._variable(node)]
            before = len(self.offsets), len(self.bars)
            found = self._sum(node, True)
            if (len(self.offsets), len(self.bars)) != before:
                raise self._fail("offset() and random effects can be added to terms only.")
            return found
        if isinstance(node, Number):
            if node.value == 1.0:
                return []
            raise self._fail(f"the number {node} is no term; write I({node} * x) for a multiple.")
        if isinstance(node, Name) and node.name == ".":
            if not self.others:
                raise self._fail("there are no columns that '.' could stand for.")
            return [self._variable(Name(name)) for name in self.others]
        if isinstance(node, Call) and node.function == "offset":
            raise self._fail("offset() can be added to terms only.")
        if not isinstance(node, Binary):
            return [self._variable(node)]
        if node.operator in _BARS:
            raise self._fail(f"put random effects in parentheses: ({node}).")
        if node.operator == "^":
            return self._power(node)
        if node.operator not in (":", "*", "/", "%in%"):
            return [self._variable(node)]
        left, right = self._product(node.left), self._product(node.right)
        crossed = _union([a | b for a in left for b in right])
        if node.operator == ":":
            return crossed
        if node.operator == "*":
            return _union(left, right, crossed)
        if node.operator == "%in%":
            every = frozenset().union(*right)
            return _union([part | every for part in left])
        every = frozenset().union(*left)
        return _union(left, [every | part for part in right])

    def _power(self, node: Binary) -> list[frozenset[int]]:
        power = node.right.inner if isinstance(node.right, Group) else node.right
        if not isinstance(power, Number) or power.value < 1 or power.value != int(power.value):
            raise self._fail(f"the power in {node} must be a whole number; arithmetic stands in I().")
        base = self._product(node.left)
        found = base
        for _ in range(int(power.value) - 1):
            found = _union(found, [a | b for a in found for b in base])
        return found

    def _variable(self, node: Node) -> frozenset[int]:
        if node not in self.variables:
            self.variables.append(node)
        return frozenset({self.variables.index(node)})


def _union(*parts: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    """Return all sets once, in order of appearance."""
    return list(dict.fromkeys(one for part in parts for one in part))


def _random_terms(formula: str, bar: Binary, variables: list[Node]) -> list[RandomTerm]:
    """Return the correlated sets of random effects of a bar; two strokes make every term one of its own."""
    algebra = _Algebra(formula, (), list(variables))
    terms = algebra.sorted_terms(bar.left)
    if algebra.bars or algebra.offsets:
        raise algebra._fail(f"({bar}) has bars or an offset within.")
    if not terms and not algebra.intercept:
        raise algebra._fail(f"({bar}) has no random effect; write (1 | {bar.right}) for intercepts, or leave it out.")
    sets: list[tuple[bool, tuple[Term, ...]]] = [(algebra.intercept, terms)]
    if bar.operator == "||":
        sets = [(True, ())] if algebra.intercept else []
        sets += [(False, (term,)) for term in terms]
    factors = groupings_of(formula, bar.right)
    return [RandomTerm(factor, *one, text=f"({bar})") for factor in factors for one in sets]


def groupings_of(formula: str, node: Node) -> list[Grouping]:
    """Return the factors of what stands behind a bar: ``a/b`` is a, and b within a.

    Parameters
    ----------
    formula : str
        The whole formula, for messages.
    node : Node
        What stands behind the bar.
    """
    if isinstance(node, Group):
        return groupings_of(formula, node.inner)
    if isinstance(node, Binary) and node.operator == "/":
        outer, inner = groupings_of(formula, node.left), groupings_of(formula, node.right)
        around = outer[-1]
        name = f"({around.name})" if len(around.parts) > 1 else around.name
        return outer + [Grouping(f"{part.name}:{name}", part.parts + around.parts) for part in inner]
    if isinstance(node, Binary) and node.operator == ":":
        parts = [groupings_of(formula, side) for side in (node.left, node.right)]
        if any(len(part) != 1 for part in parts):
            raise FormulaSyntaxError(f"Formula {formula!r}: {node} mixes ':' and '/'; write the factors one by one.")
        (left,), (right,) = parts
        return [Grouping(f"{left.name}:{right.name}", left.parts + right.parts)]
    if isinstance(node, Name) and node.name != ".":
        return [Grouping(node.name, (node,))]
    if isinstance(node, Call):
        return [Grouping(str(node), (node,))]
    if isinstance(node, Binary) and node.operator in "+*":
        raise FormulaSyntaxError(
            f"Formula {formula!r}: {node} is no grouping factor. Crossed factors have a bar each, as in "
            "(1 | a) + (1 | b); nested ones are written (1 | a/b)."
        )
    raise FormulaSyntaxError(f"Formula {formula!r}: {node} is no grouping factor.")
