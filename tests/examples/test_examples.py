"""Every example runs from anywhere, without a warning, and ends in a decision."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PLOTS = sorted(EXAMPLES.glob("plot_*.py"))


def run_example(path: Path, folder: Path, *arguments: str) -> str:
    """Run an example in a folder of its own and return what it prints."""
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(EXAMPLES.parent), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(path), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", cwd=folder, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def decision(output: str) -> str:
    """Return the last paragraph, which is to be the decision."""
    last = output.strip().split("\n\n")[-1]
    assert last.startswith("Decision: ")
    return last


def check_quoted_simulation(output: str) -> None:
    """The README quotes two percentages of the simulation."""
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    simulated = re.search(r"correlation 0\.10: model-based (\d+)%, cluster-robust (\d+)%", output)
    quoted = re.search(r"truth (\d+)% of the time.*contain it (\d+)% of the time", readme, flags=re.DOTALL)
    for found, claimed in zip(simulated.groups(), quoted.groups()):
        assert abs(int(found) - int(claimed)) <= 1


def test_quickstart(tmp_path):
    output = run_example(EXAMPLES / "quickstart.py", tmp_path)
    for structure in ["independence", "exchangeable", "ar1", "unstructured"]:
        assert structure in output
    assert "treat_A" in decision(output)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra: pip install 'skdep[plot]'")
@pytest.mark.parametrize("path", PLOTS, ids=lambda path: path.stem)
def test_plots(path, tmp_path):
    output = run_example(path, tmp_path, "picture.png")
    assert decision(output)
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
    if path.stem == "plot_cluster_robust":
        check_quoted_simulation(output)


def test_the_folder_is_complete():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"quickstart.py", *(path.name for path in PLOTS)}
    assert len(PLOTS) >= 2
