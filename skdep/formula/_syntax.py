"""Formulas as R reads them: text to tokens to a tree, and back to text.

The grammar is that of R's expressions as far as formulas need it; precedence is R's. What Python users type is read as
well: ``**`` for ``^``, ``True`` for ``TRUE``, ``[1, 2]`` for ``c(1, 2)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

__all__ = [
    "Binary",
    "Call",
    "FormulaSyntaxError",
    "Group",
    "Name",
    "Node",
    "Number",
    "Text",
    "Unary",
    "names_in",
    "parse",
]


class FormulaSyntaxError(ValueError):
    """A formula that cannot be read."""


@dataclass(frozen=True)
class Number:
    """A number, as it was written."""

    text: str

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text.rstrip("L"))

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Text:
    """A character string."""

    value: str

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'


@dataclass(frozen=True)
class Name:
    """A column, or a constant such as ``TRUE``."""

    name: str

    def __str__(self) -> str:
        return self.name if _SYNTACTIC.fullmatch(self.name) and self.name not in _WORDS else f"`{self.name}`"


@dataclass(frozen=True)
class Call:
    """A function of arguments, each with its keyword or None."""

    function: str
    arguments: tuple[tuple[str | None, Node], ...]

    def __str__(self) -> str:
        given = (str(node) if key is None else f"{key} = {node}" for key, node in self.arguments)
        return f"{self.function}({', '.join(given)})"


@dataclass(frozen=True)
class Group:
    """What stands in parentheses."""

    inner: Node

    def __str__(self) -> str:
        return f"({self.inner})"


@dataclass(frozen=True)
class Unary:
    """An operator before its operand."""

    operator: str
    operand: Node

    def __str__(self) -> str:
        return f"{self.operator}{self.operand}" if self.operator != "~" else f"~{self.operand}"


@dataclass(frozen=True)
class Binary:
    """An operator between its operands."""

    operator: str
    left: Node
    right: Node

    def __str__(self) -> str:
        space = "" if self.operator in "^:/" else " "
        return f"{self.left}{space}{self.operator}{space}{self.right}"


Node = Number | Text | Name | Call | Group | Unary | Binary

_SYNTACTIC = re.compile(r"(?:[^\W\d_]|\.(?!\d))[\w.]*|\.")
_WORDS = frozenset({"if", "else", "for", "while", "function", "in"})

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?L?)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | `(?P<quoted>[^`]+)`
      | (?P<name>(?:[^\W\d]|\.(?!\d))[\w.]*|\.)
      | (?P<operator>%[^%\s]*%|\*\*|<=|>=|==|!=|\|\||&&|[-+*/^:~|&!<>()\[\],=])
    )""",
    re.VERBOSE,
)

# binding powers of operators between operands, left and right
_POWERS = {
    "~": (10, 11),
    "||": (20, 21),
    "|": (20, 21),
    "&&": (30, 31),
    "&": (30, 31),
    **dict.fromkeys(("==", "!=", "<", ">", "<=", ">="), (50, 51)),
    "+": (60, 61),
    "-": (60, 61),
    "*": (70, 71),
    "/": (70, 71),
    "%": (80, 81),
    ":": (90, 91),
    "^": (110, 100),
}
_PREFIX = {"~": 11, "!": 40, "-": 95, "+": 95}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


def parse(formula: str) -> Node:
    """Read a formula.

    Parameters
    ----------
    formula : str
        The formula, as in R.

    Returns
    -------
    Node
        Its tree.

    Raises
    ------
    FormulaSyntaxError
        If it cannot be read; the message shows where.
    """
    if not isinstance(formula, str):
        raise TypeError(f'A formula is a string such as "y ~ x", got {type(formula).__name__}.')
    return _Parser(formula).whole()


def names_in(node: Node) -> Iterator[str]:
    """Yield the names in a tree, from left to right, functions left out."""
    if isinstance(node, Name):
        yield node.name
    elif isinstance(node, Call):
        # further arguments of C() name contrasts
        for _, argument in node.arguments[:1] if node.function == "C" else node.arguments:
            yield from names_in(argument)
    elif isinstance(node, Group):
        yield from names_in(node.inner)
    elif isinstance(node, Unary):
        yield from names_in(node.operand)
    elif isinstance(node, Binary):
        yield from names_in(node.left)
        yield from names_in(node.right)


class _Parser:
    """Reads by precedence: an operator takes what binds more strongly than it does."""

    def __init__(self, formula: str):
        self._formula = formula
        self._tokens = list(self._tokenise())
        self._next = 0

    def whole(self) -> Node:
        """Read everything."""
        if not self._tokens:
            raise FormulaSyntaxError("The formula is empty.")
        node = self._expression(0)
        if self._next < len(self._tokens):
            self._fail(f"{self._tokens[self._next].text!r} is not expected here")
        return node

    def _tokenise(self) -> Iterator[_Token]:
        position, formula = 0, self._formula.rstrip()
        while position < len(formula):
            match = _TOKEN.match(formula, position)
            if match is None:
                rest = formula[position:]
                begin = position + len(rest) - len(rest.lstrip())
                self._fail(f"{formula[begin]!r} cannot be read", begin)
            kind = str(match.lastgroup)
            yield _Token(kind, match[kind], match.start(kind))
            position = match.end()

    def _fail(self, problem: str, position: int | None = None) -> NoReturn:
        if position is None:
            ended = self._next >= len(self._tokens)
            position = len(self._formula) if ended else self._tokens[self._next].position
        text = self._formula.replace("\n", " ")
        raise FormulaSyntaxError(f"Formula: {problem}.\n    {text}\n    {' ' * position}^")

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _at(self, *operators: str) -> bool:
        token = self._peek()
        return token is not None and token.kind == "operator" and token.text in operators

    def _take(self, operator: str) -> None:
        if not self._at(operator):
            self._fail(f"{operator!r} is missing")
        self._next += 1

    def _expression(self, least: int) -> Node:
        left = self._operand()
        while (token := self._peek()) is not None and token.kind == "operator":
            operator = "^" if token.text == "**" else token.text
            powers = _POWERS.get("%" if operator.startswith("%") else operator)
            if powers is None or powers[0] < least:
                break
            self._next += 1
            left = Binary(operator, left, self._expression(powers[1]))
        if token is not None and token.kind != "operator":
            self._fail(f"an operator is missing before {token.text!r}")
        return left

    def _operand(self) -> Node:
        token = self._peek()
        if token is None:
            self._fail("it ends too early")
        self._next += 1
        if token.kind == "number":
            return Number(token.text)
        if token.kind == "text":
            return Text(re.sub(r"\\(.)", r"\1", token.text[1:-1]))
        if token.kind == "quoted":
            return Name(token.text)
        if token.kind == "name":
            return self._call(token.text) if self._at("(") else Name(token.text)
        if token.text in _PREFIX:
            return Unary(token.text, self._expression(_PREFIX[token.text]))
        if token.text == "(":
            inner = self._expression(0)
            self._take(")")
            return Group(inner)
        if token.text == "[":
            return Call("c", self._arguments("]"))
        self._next -= 1
        self._fail(f"{token.text!r} is not expected here")

    def _call(self, function: str) -> Node:
        self._take("(")
        return Call(function, self._arguments(")"))

    def _arguments(self, end: str) -> tuple[tuple[str | None, Node], ...]:
        """Read arguments up to the closing bracket, which is taken too."""
        found: list[tuple[str | None, Node]] = []
        while not self._at(end):
            if found:
                self._take(",")
            found.append(self._argument())
        self._take(end)
        return tuple(found)

    def _argument(self) -> tuple[str | None, Node]:
        token = self._peek()
        follows = self._tokens[self._next + 1] if self._next + 1 < len(self._tokens) else None
        is_key = token is not None and token.kind == "name" and follows is not None and follows.text == "="
        if token is not None and is_key:
            self._next += 2
            return token.text, self._expression(0)
        return None, self._expression(0)
