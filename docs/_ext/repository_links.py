"""Pages of the site that are files of the repository, and links to them.

Markdown is read in two places: as files of the repository, where ``../examples/plot_x.py`` is the script, and on the
site, where its page in the gallery is meant. Files have the first form; this makes it the second. The changelog and its
like stand at the root of the repository; on the site they take the place of the pages that point to them.
"""

from __future__ import annotations

import re
from posixpath import dirname, join, normpath, relpath
from typing import Any

__all__ = ["rewritten", "setup"]

_LINK = re.compile(r"(\]\()([^):#\s]+)((?:#[^)\s]*)?\))")
_STANDS_FOR = {"changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md", "benchmarks": "benchmarks/README.md"}
_PAGES = {
    **{path: f"{page}.md" for page, path in _STANDS_FOR.items()},
    "README.md": "index.md",
    "examples": "gallery/index.rst",
}


def rewritten(text: str, source: str, page: str) -> str:
    """Return Markdown with links to files of the repository replaced by links to pages of the site.

    Parameters
    ----------
    text : str
        Markdown.
    source : str
        The file that it is from, by its path from the root of the repository.
    page : str
        The page that it becomes, by its path below ``docs``.
    """

    def replace(match: re.Match[str]) -> str:
        target = normpath(join(dirname(source), match[2]))
        home = _home(target)
        return match[0] if home is None else f"{match[1]}{relpath(home, dirname(page) or '.')}{match[3]}"

    return _LINK.sub(replace, text)


def _home(target: str) -> str | None:
    """Return where the site has a file of the repository, below ``docs``; None if it has not."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    example = re.fullmatch(r"examples/(plot_\w+)\.py", target)
    return f"gallery/{example[1]}.rst" if example else _PAGES.get(target)


def _on_source_read(app: Any, page: str, source: list[str]) -> None:
    if not str(app.env.doc2path(page)).endswith(".md"):
        return
    path = _STANDS_FOR.get(page, f"docs/{page}.md")
    text = (app.srcdir.parent / path).read_text(encoding="utf-8") if page in _STANDS_FOR else source[0]
    if page in _STANDS_FOR:
        app.env.note_dependency(str(app.srcdir.parent / path))
    source[0] = rewritten(text, path, page)


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("source-read", _on_source_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
