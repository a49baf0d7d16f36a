"""Every example runs from anywhere, without a warning, and ends in a decision; and is made for the gallery."""

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
SAVE_OR_SHOW = "if sys.argv[1:]:\n    figure.savefig(sys.argv[1], dpi=150)\nelse:\n    plt.show()\n"
needs_matplotlib = pytest.mark.skipif(
    find_spec("matplotlib") is None, reason="needs the extra: pip install 'skdep[plot]'"
)
each_plot = pytest.mark.parametrize("path", PLOTS, ids=lambda path: path.stem)


def run_example(path: Path, folder: Path, *arguments: str, options: tuple[str, ...] = ()) -> str:
    """Run an example in a folder of its own and return what it prints."""
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(EXAMPLES.parent), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, *options, str(path), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", cwd=folder, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def decision(output: str) -> str:
    """Return what comes from the last line on that begins the decision, which is to be the end."""
    assert output.count("\nDecision: ") == 1
    last = "Decision: " + output.split("\nDecision: ")[1].strip()
    assert "\n\n" not in last
    return last


def blocks(path: Path) -> list[tuple[str, str]]:
    """Return text and code of each block, as the gallery cuts them: the docstring first, then at every ``# %%``."""
    first, *others = path.read_text(encoding="utf-8").split("\n# %%\n")
    docstring, code = re.fullmatch(r'"""\n(.*?)\n"""\n(.*)', first, flags=re.DOTALL).groups()
    found = [(docstring, code)]
    for other in others:
        lines = other.split("\n")
        n_text = next(number for number, line in enumerate([*lines, ""]) if not line.startswith("#"))
        found.append(("\n".join(line[2:] for line in lines[:n_text]), "\n".join(lines[n_text:])))
    return found


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


@needs_matplotlib
@each_plot
def test_plots(path, tmp_path):
    output = run_example(path, tmp_path, "picture.png")
    assert decision(output)
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
    if path.stem == "plot_cluster_robust":
        check_quoted_simulation(output)


@needs_matplotlib
def test_without_an_argument_nothing_is_written(tmp_path):
    before = set(EXAMPLES.iterdir())
    shown = ("-W", "ignore:FigureCanvasAgg is non-interactive:UserWarning")  # there is no window to show it in
    output = run_example(EXAMPLES / "plot_working_correlation.py", tmp_path, options=shown)
    assert decision(output)
    assert not list(tmp_path.iterdir())
    assert set(EXAMPLES.iterdir()) == before


@each_plot
def test_titles_and_sections_are_reStructuredText(path):
    (docstring, _), *sections = blocks(path)
    title, underline, empty, _ = docstring.split("\n", 3)
    assert len(underline) == len(title) and set(underline) == {"="} and not empty
    assert len(sections) >= 3
    for text, _ in sections:
        assert text, "a section without a narrative"
        lines = text.split("\n")
        if len(lines) > 1 and set(lines[1]) == {"-"}:
            assert len(lines[1]) == len(lines[0])
            assert len(lines) > 2, f"{lines[0]}: a heading without a narrative"
    assert sections[-1][0].startswith("Decide\n------\n")
    for text in (docstring, *(text for text, _ in sections)):
        names = re.sub(r":\w+:`[^`]+`|``[^`]+``", "", text)
        assert "`" not in names, "names are to be in double backticks"


@each_plot
def test_the_picture_is_drawn_and_shown_in_one_block(path):
    # The gallery captures and closes the figures at the end of a block, and has no arguments.
    shown = [code for _, code in blocks(path) if SAVE_OR_SHOW in code + "\n"]
    assert len(shown) == 1
    assert shown[0].rstrip().endswith("plt.show()")
    assert re.search(r"^figure(, .*)? = plt\.(subplots|figure|subplot_mosaic)\(", shown[0], flags=re.MULTILINE)
    source = path.read_text(encoding="utf-8")
    assert source.count("plt.show()") == 1
    assert "__file__" not in source


@each_plot
def test_the_data_are_real(path):
    assert re.search(r"from skdep\.datasets import .*load_", path.read_text(encoding="utf-8"))


def test_the_folder_is_complete():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"quickstart.py", *(path.name for path in PLOTS)}
    assert len(PLOTS) >= 17
    header = (EXAMPLES / "GALLERY_HEADER.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^- (?:``|:ref:`\w+\.py <sphx_glr_gallery_)(\w+\.py)(?:``|>`): ", header, flags=re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in EXAMPLES.glob("*.py"))
