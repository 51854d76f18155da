"""The file that a benchmark writes its figures into."""

from __future__ import annotations

from pathlib import Path

_NOTES = "\n## Notes\n"


def write(path: Path, text: str) -> None:
    """Write the figures, and keep what somebody wrote below the heading `Notes`."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(f"{text.rstrip()}\n{''.join(before.partition(_NOTES)[1:])}", encoding="utf-8")
