"""Results in HTML, for notebooks and the documentation: colours are those of the page, light or dark.

Nothing is loaded from elsewhere. Where a page strips style sheets the tables remain, plain.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from skdep._docs import docs_link
from skdep._format import formatters

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["facts_html", "frame_html", "notes_html", "result_html"]

# Grey that shows on white and on black; text takes the colour of the page.
_STYLE = """<style>
.skdep-result {color: inherit; max-width: 100%; overflow-x: auto; line-height: 1.4}
.skdep-result p {margin: 0.4em 0; max-width: 52em}
.skdep-result a {color: inherit; text-decoration: underline}
.skdep-result .skdep-title {font-weight: 600; font-size: 1.1em}
.skdep-result table {border-collapse: collapse; border: none; margin: 0.5em 0; width: auto; display: table;
  color: inherit; background: none; font-size: inherit; font-variant-numeric: tabular-nums}
.skdep-result th, .skdep-result td {border: none; padding: 0.2em 0.7em; background: none; color: inherit;
  text-align: right; vertical-align: top; white-space: nowrap}
.skdep-result tbody th {text-align: left; font-weight: 500}
.skdep-result .skdep-table {border-top: 1.5px solid rgba(128, 128, 128, 0.9);
  border-bottom: 1.5px solid rgba(128, 128, 128, 0.9)}
.skdep-result .skdep-table thead th {border-bottom: 1px solid rgba(128, 128, 128, 0.7); font-weight: 600}
.skdep-result .skdep-table tbody tr:hover {background: rgba(128, 128, 128, 0.15)}
.skdep-result .skdep-facts th {font-weight: 400; opacity: 0.8; padding-left: 0}
.skdep-result .skdep-facts td {text-align: left; white-space: normal}
.skdep-result .skdep-note {border-left: 4px solid #e69f00; padding-left: 0.7em; white-space: normal}
</style>"""


def result_html(
    *parts: str | None, title: str = "", notes: Iterable[str] = (), label: str = "Note: ", lead: str = ""
) -> str:
    """Return a result: its title, parts and notes, one below the other.

    Parameters
    ----------
    *parts : str or None
        HTML of the parts; None is left out.
    title : str
        Heading, as text.
    notes : iterable of str
        What to know before believing it, as text; those with a topic link to the page that explains it.
    label : str
        What notes begin with.
    lead : str
        A paragraph before the parts, as text.

    Returns
    -------
    str
        HTML.
    """
    head = f'<p class="skdep-title">{html.escape(title)}</p>' if title else ""
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in lead.splitlines())
    body = "".join(part for part in parts if part)
    return f'<div class="skdep-result">{_STYLE}{head}{lines}{body}{notes_html(notes, label=label)}</div>'


def facts_html(facts: Mapping[str, str]) -> str:
    """Return a table of labels and values.

    Parameters
    ----------
    facts : mapping from str to str
        Value by label, as text.
    """
    rows = "".join(
        f"<tr><th>{html.escape(label)}</th><td>{html.escape(value)}</td></tr>" for label, value in facts.items()
    )
    return f'<table class="skdep-facts"><tbody>{rows}</tbody></table>' if rows else ""


def frame_html(frame: pd.DataFrame, *, na_rep: str = "", floats: str = ".5g", max_rows: int | None = None) -> str:
    """Return a table.

    Parameters
    ----------
    frame : DataFrame
        The table.
    na_rep : str
        What stands where a value is missing.
    floats : str
        Format of numbers that have none of their own, see `formatters`.
    max_rows : int, optional
        Rows shown, of longer tables the first and last.
    """
    if frame.index.nlevels == 1 and frame.index.name is not None:
        # beside the names of columns, and not in a row of its own
        frame = frame.rename_axis(index=None, columns=str(frame.index.name))
    return frame.to_html(
        formatters=formatters(frame, floats),
        na_rep=na_rep,
        border=0,
        classes="skdep-table",
        max_rows=max_rows,
        index_names=frame.index.nlevels == 1,
    )


def notes_html(notes: Iterable[str], *, label: str = "Note: ") -> str:
    """Return notes as paragraphs; those with a topic end in a link to the page that explains it.

    Parameters
    ----------
    notes : iterable of str
        The notes, as text.
    label : str
        What each begins with.
    """
    return "".join(
        f'<p class="skdep-note">{html.escape(label + note)}{_link(getattr(note, "topic", None))}</p>' for note in notes
    )


def _link(topic: str | None) -> str:
    return f' <a href="{html.escape(docs_link(topic))}">Read more</a>' if topic else ""
