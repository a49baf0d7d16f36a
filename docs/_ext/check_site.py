"""After the site is built: every link within it, and every anchor, must lead somewhere.

Sphinx checks the references that it resolves itself. This reads the pages as they were written, the theme's navigation
and the gallery's own HTML included, and ends the build with a list of what is broken.
"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.errors import SphinxError

__all__ = ["broken_links", "setup"]


class _Page(HTMLParser):
    """Anchors and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif (name == "href" and tag in ("a", "link")) or (name == "src" and tag in ("img", "script")):
                self.links.add(value)


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def broken_links(site: Path) -> tuple[list[str], int]:
    """Check the links of a built site.

    Parameters
    ----------
    site : Path
        Folder of the HTML files.

    Returns
    -------
    broken : list of str
        Page, link, and what is wrong with it.
    n_links : int
        Number of links checked; those to other sites are not.
    """
    pages = {path: _read(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts}
    broken, n_links = [], 0
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("//"):
                continue
            n_links += 1
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            where = f"{path.relative_to(site)}: {link}"
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                broken.append(f"{where}: there is no such file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                broken.append(f"{where}: the page has no such anchor")
    return broken, n_links


def _check(app: Any, exception: Exception | None) -> None:
    if exception is not None or app.builder.name not in ("html", "dirhtml"):
        return
    broken, n_links = broken_links(Path(app.outdir).resolve())
    if broken:
        raise SphinxError(f"{len(broken)} of {n_links} links lead nowhere:\n" + "\n".join(broken))
    print(f"All {n_links} links within the site resolve, anchors included.")


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("build-finished", _check, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
