"""Every case runs, and peers that solve the same equations agree: ``python -m pytest benchmarks``."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import coverage
from benchmarks.__main__ import main
from benchmarks.cases import CASES
from benchmarks.programs import ours
from benchmarks.simulate import clustered_binary, true_coefficients
from benchmarks.table import Table
from benchmarks.timing import Estimates, Options, compare, relative_difference

QUICK = Options(repeats=2, quick=True)
COMPARED = [name for name in CASES if name.startswith(("gee", "logit"))]


@pytest.mark.parametrize("name", COMPARED)
def test_programs_run_and_agree(name):
    table = CASES[name](QUICK)
    for row in table.rows:
        remark = row.get("remark", "")
        assert not remark or remark.startswith("not installed"), f"{row['program']}: {remark}"
        if remark:
            continue
        assert len(row["seconds"]) == 2
        for what in ("coef", "SE"):
            differ = row.get(f"tight {what} differ", row.get(f"{what} differ"))
            assert differ is None or differ < (1e-3 if name == "gee-long" else 1e-6), row


def test_every_case_is_tested_here():
    assert set(CASES) == {*COMPARED, "import", "memory"}


def test_imports_are_timed():
    rows = {row["program"]: row for row in CASES["import"](QUICK).rows}
    assert rows["import skdep"]["best s"] < rows["import sklearn.base"]["best s"]


def test_memory_grows_with_rows():
    rows = CASES["memory"](QUICK).rows
    for small, large in zip(rows[::2], rows[1::2]):
        assert large["rows"] == 2 * small["rows"]
        assert 1.5 < large["fit adds MB"] / small["fit adds MB"] < 2.5


def test_command_line_writes_json(tmp_path, capsys):
    main(["--quick", "--repeats", "1", "--only", "gee-indep*", "--no-slow", "--json", str(tmp_path / "out.json")])
    assert "Binary GEE, independence" in capsys.readouterr().out
    written = json.loads((tmp_path / "out.json").read_text())
    assert list(written["cases"]) == ["gee-independence"]
    assert written["machine"]["skdep"]


def test_unknown_case_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])
    assert "gee-exchangeable" in capsys.readouterr().err


def test_missing_slow_and_broken_peers_are_listed():
    def broken(data: object) -> Estimates:
        raise RuntimeError("no such luck")

    data = clustered_binary(50, 5, 2)
    first = ours.gee("independence")
    peers = [
        replace(first, name="absent", missing=lambda: "thing"),
        replace(first, name="slow", effort="slow"),
        replace(first, name="hopeless", effort="hopeless"),
        replace(first, name="broken", fit=broken),
    ]
    table = compare("title", data, [first, *peers], Options(repeats=1, slow=False), warm_up=data)
    remarks = {row["program"]: row.get("remark", "") for row in table.rows}
    assert remarks["skdep"] == ""
    assert remarks["absent"] == "not installed (thing)"
    assert remarks["slow"].startswith("left out")
    assert remarks["hopeless"].startswith("left out")
    assert "no such luck" in remarks["broken"]


def test_relative_difference():
    assert relative_difference(np.array([1.1, 2.0]), np.array([1.0, 2.0])) == pytest.approx(0.1)
    assert relative_difference(None, np.ones(1)) is None


def test_table_lines_have_equal_length():
    text = str(Table("t", "", [{"a": "x", "b": 1234.5}, {"a": "long name", "c": 3}]))
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1
    assert "1,234" in text


def test_simulated_marginal_model_is_the_stated_one():
    data = clustered_binary(60_000, 3, 2, correlation=0.5, seed=3)
    found = ours.gee_estimates("independence")(data)
    assert found.std_error is not None
    assert np.all(np.abs(found.coef - true_coefficients(2)) < 4 * found.std_error)


def test_coverage_is_reproducible_and_counts_every_data_set():
    rows = coverage.coverage(n_clusters=30, n_replicates=10, seed=1)
    assert rows == coverage.coverage(n_clusters=30, n_replicates=10, seed=1)
    assert len(rows) == 2 * len(coverage.METHODS)
    assert all(row["data sets"] + row["not converged"] == 10 for row in rows)
