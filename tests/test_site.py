"""The documentation site: a complete reference, a course map that leads to code, checks that find what is broken."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PUBLIC_MODULES = (
    "skdep",
    "skdep.bayes",
    "skdep.datasets",
    "skdep.distributed",
    "skdep.exceptions",
    "skdep.families",
    "skdep.gee",
    "skdep.glmm",
    "skdep.inference",
    "skdep.links",
    "skdep.logit",
    "skdep.mixed",
    "skdep.plotting",
    "skdep.survey",
)
# public for those who read fitted attributes; scikit-learn documents its own warning
ELSEWHERE = {"__version__", "ConvergenceWarning", "OptimizationSummary"}
IDEAS = 22


@pytest.fixture
def extension(monkeypatch):
    """Import an extension of the site."""
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))

    def load(name):
        pytest.importorskip("sphinx")
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


def reference_names() -> set[str]:
    """Return the names that the API page lists, with their modules."""
    module, names = "", set()
    for line in (DOCS / "api.rst").read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split("::")[1].strip()
        elif re.fullmatch(r"   [A-Za-z][\w.]*", line):
            names.add(f"{module}.{line.strip()}")
    return names


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_is_in_the_reference(module):
    listed = {name.rpartition(".")[2] for name in reference_names()}
    missing = set(importlib.import_module(module).__all__) - listed - ELSEWHERE
    assert not missing, f"{module}: not in docs/api.rst: {sorted(missing)}"


def test_every_name_of_the_reference_can_be_had():
    for name in reference_names():
        module, _, rest = name.rpartition(".")
        if module == "skdep.gee" or not module.startswith("skdep."):
            module = module or "skdep"
        assert hasattr(importlib.import_module(module), rest), name


def slug(heading: str) -> str:
    """Return the anchor of a heading, as pages of repositories have it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", "")).replace(" ", "-")


def section(page: Path, anchor: str) -> str:
    """Return the text of the section of a page under the heading with an anchor, its subsections included."""
    lines = page.read_text(encoding="utf-8").splitlines()
    inside, fenced = 0, False
    found: list[str] = []
    for line in lines:
        fenced ^= line.startswith("```")
        heading = None if fenced else re.match(r"(#+) (.*)", line)
        if heading and inside and len(heading[1]) <= inside:
            break
        if heading and not inside and slug(heading[2]) == anchor:
            inside = len(heading[1])
        if inside:
            found.append(line)
    assert found, f"{page.name} has no heading #{anchor}"
    return "\n".join(found)


def course_rows() -> list[tuple[str, str]]:
    """Return (idea, where) of the rows of the course map."""
    rows = []
    for line in (DOCS / "course_map.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) >= 2 and "](" in line:
            rows.append((cells[0], " ".join(cells[1:])))
    return rows


def test_the_course_map_has_every_idea_of_the_course():
    assert len(course_rows()) >= IDEAS


@pytest.mark.parametrize(("idea", "where"), course_rows())
def test_each_idea_leads_to_a_section_with_code(idea, where):
    links = re.findall(r"\]\((\w+\.md)#([\w-]+)\)", where)
    assert links, f"{idea}: no section is linked"
    for page, anchor in links:
        assert ">>>" in section(DOCS / page, anchor), f"{idea}: {page}#{anchor} has no code that runs"


@pytest.mark.parametrize(
    ("source", "page", "before", "after"),
    [
        ("docs/index.md", "index", "[a](../examples/plot_x.py)", "[a](gallery/plot_x.rst)"),
        ("docs/index.md", "index", "[a](../examples)", "[a](gallery/index.rst)"),
        ("docs/translations/lme4.md", "translations/lme4", "[a](../weights.md#b)", "[a](../weights.md#b)"),
        (
            "docs/translations/lme4.md",
            "translations/lme4",
            "[a](../../examples/plot_x.py)",
            "[a](../gallery/plot_x.rst)",
        ),
        (
            "CHANGELOG.md",
            "changelog",
            "[a](docs/weights.md) [b](https://semver.org)",
            "[a](weights.md) [b](https://semver.org)",
        ),
        ("benchmarks/README.md", "benchmarks", "[a](../docs/weights.md#b)", "[a](weights.md#b)"),
        ("docs/weights.md", "weights", "[a](survey_weights.md)", "[a](survey_weights.md)"),
    ],
)
def test_links_to_files_become_links_to_pages(extension, source, page, before, after):
    assert extension("repository_links").rewritten(before, source, page) == after


def test_broken_links_and_anchors_of_a_site_are_found(extension, tmp_path):
    (tmp_path / "a.html").write_text('<h1 id="top">A</h1><a href="b.html#there">b</a><a href="#top">top</a>')
    (tmp_path / "b.html").write_text('<a href="a.html#gone">a</a><img src="no.png"><a href="https://semver.org">s</a>')
    broken, n_links = extension("check_site").broken_links(tmp_path)
    assert n_links == 4
    assert [line.split(": ")[1] for line in broken] == ["b.html#there", "a.html#gone", "no.png"]
