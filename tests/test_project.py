"""The project as a whole: its documents run, its commands are the ones that CI runs, its import is light."""

from __future__ import annotations

import doctest
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from sklearn import config_context

import skdep

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "translations").glob("*.md")),
]
TEXTS = [*DOCUMENTS, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]

REQUIRED_FOLDERS = {".ci", "docs", "examples", "skdep", "tests"}
ALLOWED_FOLDERS = REQUIRED_FOLDERS | {".github", "benchmarks"}
EXTRAS = {
    "arviz_base",
    "arviz_stats",
    "formulaic",
    "glum",
    "matplotlib",
    "numba",
    "numpydoc",
    "nutpie",
    "polyagamma",
    "pytest",
    "sphinx",
    "statsmodels",
}

# In parts, so that this file does not contain what it looks for.
MACHINE_FOLDERS = ("work", "tmp", "root", "home", "Users")
MACHINE_PATH = r"(^|[^A-Za-z0-9_.:/~-])/(" + "|".join(MACHINE_FOLDERS) + r")(/|[^A-Za-z0-9_/-]|$)"

_FENCE = re.compile(r"^(`{3,}|~{3,})\s*(\w*)")


def code_blocks(path: Path) -> list[tuple[int, str, str]]:
    """Return (number of the first line of code, language, code) of every fenced block of a Markdown file."""
    blocks, lines, language, start, fence = [], [], "", 0, None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = _FENCE.match(line)
        if fence is None and match:
            fence, language, lines, start = match[1], match[2], [], number + 1
        elif fence is not None and line.strip() == fence:
            blocks.append((start, language, "\n".join(lines) + "\n"))
            fence = None
        elif fence is not None:
            lines.append(line)
    assert fence is None, f"{path.name}: the block that begins in line {start} does not end"
    return blocks


def readme_command(word: str) -> str:
    """Return the one command line of the README's shell blocks that has `word` in it."""
    shell = [code for _, language, code in code_blocks(ROOT / "README.md") if language == "bash"]
    commands = [line for code in shell for line in code.splitlines() if word in line]
    assert len(commands) == 1, f"README.md should have exactly one command with {word!r}, found {commands}"
    return commands[0]


def fresh_python(code: str) -> str:
    """Run code in a new interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in the checkout; skip the test where there is none."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_code_in_documents_runs(path):
    """All blocks of a document are one session, in order; numbers of lines in a report are those of the document."""
    session = [""] * (len(path.read_text(encoding="utf-8").splitlines()) + 1)
    for start, language, code in code_blocks(path):
        if language in {"python", "pycon", "py"}:
            assert ">>>" in code, f"{path.name}, line {start}: Python code must be written as >>> so that it is run"
            for offset, line in enumerate(code.splitlines()):
                session[start - 1 + offset] = line
    test = doctest.DocTestParser().get_doctest("\n".join(session), {}, path.name, str(path), 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    with config_context():
        runner.run(test, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path):
    prose = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}, which is not there"


@pytest.mark.parametrize("word", ["pytest", "quickstart.py"])
def test_ci_runs_the_commands_of_the_readme(word):
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert readme_command(word) in [line.strip() for line in script]


def test_ci_script_is_executable_and_parses():
    script = ROOT / ".ci" / "run"
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    assert script.stat().st_mode & 0o111
    assert subprocess.run([bash, "-n", str(script)], timeout=30).returncode == 0


def test_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == skdep.__version__
    assert f"## [Unreleased] {skdep.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_import_is_light():
    heavy = {"pandas", "scipy.stats", "sklearn"}
    loaded = fresh_python("import sys, skdep; print(*sys.modules, sep='\\n')").split()
    assert not heavy.intersection(loaded)


def test_every_public_name_can_be_had():
    found = fresh_python("import skdep; print(all(hasattr(skdep, name) for name in skdep.__all__))")
    assert found.strip() == "True"


def test_extras_are_not_imported_with_the_library():
    code = (
        "import sys, pkgutil, importlib, skdep\n"
        "for module in pkgutil.walk_packages(skdep.__path__, 'skdep.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(*sys.modules, sep='\\n')"
    )
    assert not EXTRAS.intersection(fresh_python(code).split())


def test_no_file_names_a_path_of_some_machine():
    found = git("grep", "--untracked", "-nIE", MACHINE_PATH)
    assert found.returncode == 1, found.stdout + found.stderr  # 1: no match


def test_top_level_folders_are_the_known_ones():
    files = git("ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines()
    folders = {file.split("/", 1)[0] for file in files if "/" in file}
    assert folders >= REQUIRED_FOLDERS
    assert folders <= ALLOWED_FOLDERS, "a new top-level folder needs a reason, and a line here"
