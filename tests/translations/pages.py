"""The tables of docs/translations: rows of a peer's line and skdep's, and sessions to run them in.

A table of rows has the header ``| peer | skdep |``, or ``| peer | skdep | the same in R |`` (or ``| by hand |``, in
Python) for a peer that cannot be run here. Cells hold one code span, ``|`` within it written ``\\|``; a cell of skdep
without a counterpart begins with "none" and says why.
"""

from __future__ import annotations

import ast
import doctest
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "translations"
EXCEPTIONS = Path(__file__).parent / "exceptions"

PYTHON_PEERS = frozenset({"scikit-learn", "statsmodels"})
OTHER_PEERS = frozenset({"SAS", "Stata"})  # cannot be run here: a third column says what their rows are checked by
THE_SAME_IN_R = "the same in R"
BY_HAND = "by hand"

_FENCE = re.compile(r"^(`{3,}|~{3,})\s*(\w*)")
_CODE = re.compile(r"(`+)(.+?)\1(?!`)")
_CELL_END = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"^\|[\s:|-]+\|$")


@dataclass(frozen=True)
class Row:
    """A row of a table: what a peer's user types, and what a user of skdep does."""

    page: str
    number: int
    heading: str
    peer: str
    line: str
    skdep: str
    checked_by: str
    check_line: str

    @property
    def identifier(self) -> str:
        """Return a short name for reports: the line of the page, and the peer's code."""
        return f"{self.page}:{self.number}: {self.line}"

    @property
    def has_counterpart(self) -> bool:
        """Whether there is something to run."""
        return bool(self.skdep)

    @property
    def r_line(self) -> str:
        """Return the line of R whose stored output the row is compared with, or nothing."""
        if self.checked_by == THE_SAME_IN_R:
            return self.check_line
        return "" if self.peer in PYTHON_PEERS | OTHER_PEERS else self.line

    @property
    def python_line(self) -> str:
        """Return the line of Python whose value the row is compared with, or nothing."""
        if self.checked_by == BY_HAND:
            return self.check_line
        return self.line if self.peer in PYTHON_PEERS else ""


def pages() -> list[Path]:
    """Return the pages that have tables: all but the index."""
    return sorted(path for path in FOLDER.glob("*.md") if path.stem != "index")


def code_of(cell: str) -> str:
    """Return the code spans of a cell, joined as statements; nothing if there are none."""
    return "; ".join(code.strip() for _, code in _CODE.findall(cell))


def cells(line: str) -> list[str]:
    """Split a line of a table into its cells."""
    return [cell.strip().replace(r"\|", "|") for cell in _CELL_END.split(line.strip().strip("|"))]


def outside_fences(text: str) -> list[tuple[int, str]]:
    """Return (number, line) of the lines that are not in a fenced block."""
    kept, fence = [], None
    for number, line in enumerate(text.splitlines(), start=1):
        match = _FENCE.match(line)
        if fence is None and match:
            fence = match[1]
        elif fence is not None and line.strip() == fence:
            fence = None
        elif fence is None:
            kept.append((number, line))
    return kept


def blocks(text: str, languages: set[str]) -> list[str]:
    """Return the fenced blocks in a language, in order."""
    found: list[str] = []
    lines, fence, wanted = [], None, False
    for line in text.splitlines():
        match = _FENCE.match(line)
        if fence is None and match:
            fence, wanted, lines = match[1], match[2] in languages, []
        elif fence is not None and line.strip() == fence:
            fence = None
            if wanted:
                found.append("\n".join(lines) + "\n")
        elif fence is not None:
            lines.append(line)
    return found


def rows_of(path: Path) -> list[Row]:
    """Return the rows of a page's tables whose second column is skdep."""
    rows: list[Row] = []
    heading, header = "", None
    for number, line in outside_fences(path.read_text(encoding="utf-8")):
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
        if not line.startswith("|"):
            header = None
        elif header is None:
            header = cells(line)
        elif not _RULE.match(line) and len(header) > 1 and header[1] == "skdep":
            rows.append(_row(path.stem, number, heading, header, cells(line)))
    return rows


def _row(page: str, number: int, heading: str, header: list[str], found: list[str]) -> Row:
    where = f"{page}.md, line {number}"
    assert len(found) == len(header), f"{where}: {len(found)} cells under {len(header)} headings"
    line, skdep = code_of(found[0]), "" if found[1].startswith("none") else code_of(found[1])
    assert line, f"{where}: the peer's cell has no code"
    assert skdep or found[1].startswith("none"), f"{where}: a cell of skdep has code, or begins with 'none'"
    check = found[2] if len(header) > 2 else ""
    return Row(
        page=page,
        number=number,
        heading=heading,
        peer=header[0],
        line=line,
        skdep=skdep,
        checked_by=header[2] if len(header) > 2 else "",
        check_line=code_of(check),
    )


@cache
def all_rows() -> tuple[Row, ...]:
    """Return the rows of all pages."""
    return tuple(row for path in pages() for row in rows_of(path))


@cache
def preamble(page: str) -> dict[str, Any]:
    """Run the Python session of a page, up to its first table, and return its names."""
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    before = text.split("| skdep |", 1)[0]
    namespace: dict[str, Any] = {}
    for code in blocks(before, {"python", "pycon", "py"}):
        for example in doctest.DocTestParser().get_examples(code):
            exec(compile(example.source, f"{page}.md", "exec"), namespace)
    return namespace


def r_preamble(page: str) -> str:
    """Return the lines of R that set up the rows of a page: all its blocks of R before the first table."""
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    return "".join(blocks(text.split("| skdep |", 1)[0], {"r", "R"}))


def run(line: str, namespace: dict[str, Any]) -> Any:
    """Execute statements in a copy of a namespace, and return the value of the last one: an expression, or assigned."""
    own = dict(namespace)
    tree = ast.parse(line)
    *first, last = tree.body
    exec(compile(ast.Module(first, []), line, "exec"), own)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), line, "eval"), own)
    exec(compile(ast.Module([last], []), line, "exec"), own)
    if isinstance(last, ast.Assign) and isinstance(last.targets[0], ast.Name):
        return own[last.targets[0].id]
    return None


def run_skdep(row: Row) -> Any:
    """Run skdep's line of a row in the session of its page."""
    return run(row.skdep, preamble(row.page))


@cache
def exceptions(page: str) -> dict[str, dict[str, Any]]:
    """Return, by the peer's line, what is not compared, or less closely, and the reason; ``"*"`` is for all others.

    An exception has ``"reason"`` and one of ``"compared": false`` (the row runs in skdep only), ``"ignore"`` (parts of
    the result), ``"sorted"``, ``"rtol"``, ``"atol"``, ``"needs"`` (a package without which skdep's line cannot run).
    """
    path = EXCEPTIONS / f"{page}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def exception_of(row: Row) -> dict[str, Any]:
    """Return the exception of a row; empty where there is none."""
    found = exceptions(row.page)
    return found.get(row.line, found.get("*", {}))
