"""MkDocs hooks: the documents at the repository's root become pages of the site, and links are adapted.

A link to a file that is no page of the site, such as a module, becomes plain text. A link whose text is the name of a
document gets its title instead.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {
    "README.md": "docs/index.md",
    "ARCHITECTURE.md": "docs/architecture.md",
    "CONTRIBUTING.md": "docs/contributing.md",
    "SECURITY.md": "docs/security.md",
    "CHANGELOG.md": "docs/changelog.md",
}
"""Document at the root -> its place on the site, as if it lay in docs/."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#]+)(#[^)]*)?\)")
_IMAGE = re.compile(r'(src=")(?!https?:)([^"]+)(")')


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each document at the root."""
    from mkdocs.structure.files import File  # type: ignore[import-not-found]  # installed only while the site is built

    for source, place in ROOT_PAGES.items():
        text = adapt_links((ROOT / source).read_text(encoding="utf-8"), source, place)
        files.append(File.generated(config, place.removeprefix("docs/"), content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Adapt the links of a page in docs/."""
    place = f"docs/{page.file.src_uri}"
    return markdown if place in ROOT_PAGES.values() else adapt_links(markdown, place, place)


def _title(path: str) -> str:
    """Return the title of a document, or its path if it has none."""
    first = (ROOT / path).read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("# ") if first.startswith("# ") else path


def adapt_links(text: str, source: str, place: str) -> str:
    """Return `text`, written for the path `source`, with its links as they must be at `place`.

    >>> adapt_links("[a](docs/dns.md#x) [b](hedgerow/app/cli.py) [web.md](docs/web.md)", "README.md", "docs/index.md")
    '[a](dns.md#x) b [The pages](web.md)'
    """

    def target_of(link: str) -> str | None:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        if (ROOT / path).is_dir():
            path += "/README.md"
        path = ROOT_PAGES.get(path, path)
        is_page = path.startswith("docs/") and (path in ROOT_PAGES.values() or (ROOT / path).exists())
        return posixpath.relpath(path, posixpath.dirname(place)) if is_page else None

    def link(match: re.Match[str]) -> str:
        target = target_of(match[3])
        text = (
            _title(posixpath.normpath(posixpath.join(posixpath.dirname(source), match[3])))
            if match[2].endswith(".md")
            else match[2]
        )
        return f"{match[1]}[{text}]({target}{match[4] or ''})" if target else match[2]

    def image(match: re.Match[str]) -> str:
        target = target_of(match[2])
        # Raw HTML is not adapted by MkDocs, and each page is a directory of its own.
        depth = "" if place.endswith("/index.md") or place == "docs/index.md" else "../"
        return f"{match[1]}{depth}{target or match[2]}{match[3]}"

    return _IMAGE.sub(image, _LINK.sub(link, text))
