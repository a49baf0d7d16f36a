"""Every row of docs/translations is run, and says what the peer's line says."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sklearn import config_context

from tests.translations import pages
from tests.translations.numbers import differences, numbers

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
ROWS = [row for row in pages.all_rows() if row.has_counterpart]
EXTRAS = {"Display": "matplotlib", "from_formula": "formulaic", "smf": "statsmodels", "sm.": "statsmodels"}


@cache
def stored(page: str) -> dict[str, Any]:
    """Return the stored output of R for a page: ``preamble`` and ``rows`` by their line; empty where there is none."""
    for path in REFERENCE.glob("translations_*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        if page in found:
            return found[page]
    return {"preamble": "", "rows": {}}


@cache
def published() -> dict[str, Any]:
    """Return published output, by page and line, each with its source."""
    path = REFERENCE / "translations_published.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def need_extras(*lines: str) -> None:
    for word, package in EXTRAS.items():
        if any(word in line for line in lines):
            pytest.importorskip(package)
    if any("Display" in line for line in lines):
        import matplotlib

        matplotlib.use("Agg")


def expected(row: pages.Row) -> dict[str, Any]:
    """Return the numbers of the peer's line."""
    if row.python_line:
        need_extras(row.python_line)
        return numbers(pages.run(row.python_line, pages.preamble(row.page)))
    if row.r_line:
        output = stored(row.page)["rows"].get(row.r_line)
        assert output is not None, f"{row.identifier}: no output of R is stored; run the script again"
        return output
    output = published().get(row.page, {}).get(row.line)
    assert output is not None, f"{row.identifier}: a peer that cannot be run needs a line of R, or published numbers"
    assert output["source"]
    return output["numbers"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.identifier)
def test_row_says_what_the_peer_says(row):
    need_extras(row.skdep)
    exception = pages.exception_of(row)
    if "needs" in exception:
        pytest.importorskip(exception["needs"])
    with config_context(), warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        result = pages.run_skdep(row)
        if exception.get("compared", True):
            found = differences(numbers(result), expected(row), exception)
            assert not found, f"{row.identifier}\n{row.skdep}\n" + "\n".join(found)
    if "Display" in row.skdep:
        import matplotlib.pyplot as plt

        plt.close("all")


@pytest.mark.parametrize("path", pages.pages(), ids=lambda path: path.stem)
def test_page_has_rows_and_a_session(path):
    assert pages.rows_of(path)
    assert pages.preamble(path.stem)


@pytest.mark.parametrize("path", pages.pages(), ids=lambda path: path.stem)
def test_stored_output_is_that_of_the_page(path):
    """Output of R for other definitions, or for rows that are gone, would compare nothing."""
    rows = pages.rows_of(path)
    lines = {row.r_line for row in rows if row.r_line and row.has_counterpart}
    output = stored(path.stem)
    assert not set(output["rows"]) - lines, "rows that the page no longer has: run the script again"
    if output["rows"]:
        assert output["preamble"] == pages.r_preamble(path.stem), "the page's R changed: run the script again"


@pytest.mark.parametrize("path", pages.pages(), ids=lambda path: path.stem)
def test_exceptions_belong_to_rows_and_have_reasons(path):
    exceptions = pages.exceptions(path.stem)
    assert not set(exceptions) - {"*"} - {row.line for row in pages.rows_of(path) if row.has_counterpart}
    for line, exception in exceptions.items():
        assert len(exception["reason"]) > 10, line
        assert set(exception) - {"reason"} <= {"compared", "ignore", "rtol", "atol", "sorted", "needs"}, line
        assert len(exception) > 1, line


def test_lines_of_a_page_are_distinct():
    """Output is stored by line: the same line must not stand for two things."""
    meaning: dict[tuple[str, str], str] = {}
    for row in ROWS:
        assert meaning.setdefault((row.page, row.line), row.check_line) == row.check_line, row.identifier
