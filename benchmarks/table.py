"""Tables of results, as Markdown that is also readable in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Table"]

_RAW = ("seconds",)  # kept for JSON, not printed


@dataclass(frozen=True)
class Table:
    """Rows of one case; a row lacks what does not apply to it."""

    title: str
    description: str
    rows: list[dict[str, Any]]
    notes: dict[str, str] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)  # of numbers, by column

    def __str__(self) -> str:
        columns = list(dict.fromkeys(name for row in self.rows for name in row if name not in _RAW))
        cells = [columns, *([_cell(row.get(name), self.formats.get(name)) for name in columns] for row in self.rows)]
        widths = [max(len(line[j]) for line in cells) for j in range(len(columns))]
        header, *body = ["| " + " | ".join(_align(line, widths)) + " |" for line in cells]
        rule = "|" + "|".join("-" * (width + 1) + (":" if j else "-") for j, width in enumerate(widths)) + "|"
        lines = [f"### {self.title}", ""]
        if self.description:
            lines += [self.description, ""]
        lines += [header, rule, *body]
        if self.notes:
            lines += ["", *(f"- {name}: {note}" for name, note in self.notes.items())]
        return "\n".join(lines)


def _align(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.rjust(width) if j else cell.ljust(width) for j, (cell, width) in enumerate(zip(line, widths))]


def _cell(value: Any, form: str | None) -> str:
    if value is None:
        return ""
    if form is not None:
        return format(value, form)
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
