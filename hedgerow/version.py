"""The version that runs, with the commit that it was built from."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hedgerow import __version__

_PACKAGE = Path(__file__).parent


@cache
def commit() -> str:
    """Return the commit's first twelve digits: of the checkout, else of the build. Empty if neither is known."""
    try:
        return _checked_out(_PACKAGE.parent / ".git")[:12]
    except (OSError, ValueError):
        pass
    try:
        return (_PACKAGE / "commit.txt").read_text("ascii").strip()[:12]
    except (OSError, ValueError):
        return ""


def full_version() -> str:
    """Return the version, as `0.2.0 (1a2b3c4d5e6f)` where the commit is known."""
    return f"{__version__} ({commit()})" if commit() else __version__


def _checked_out(git: Path) -> str:
    """Return the commit that HEAD names (gitrepository-layout(5)). Raises OSError and ValueError."""
    if git.is_file():  # a worktree's: `gitdir: PATH`
        git = git.parent / git.read_text("utf-8").removeprefix("gitdir: ").strip()
    common = git / "commondir"
    shared = git / common.read_text("utf-8").strip() if common.exists() else git
    head = (git / "HEAD").read_text("utf-8").strip()
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    if (shared / name).is_file():
        return (shared / name).read_text("utf-8").strip()
    packed = (line.partition(" ") for line in (shared / "packed-refs").read_text("utf-8").splitlines())
    return {ref: found for found, _, ref in packed}.get(name, "")
