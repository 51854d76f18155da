"""Print the entries of requirements.lock that Hedgerow needs at run time, without those for tests and checks.

Usage: runtime_lock.py ROOT, with the Python of an environment in which everything is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(first: list[str]) -> set[str]:
    """Return the names of `first` and of their dependencies on this platform, from the installed packages."""
    names: set[str] = set()
    waiting = [(Requirement(text), "") for text in first]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        wanted = {"", *requirement.extras}
        if name in names and not requirement.extras:
            continue
        names.add(name)
        try:
            more = requires(requirement.name) or []
        except PackageNotFoundError:
            continue  # for another platform
        waiting += [(Requirement(text), each) for text in more for each in wanted]
    return names


def main() -> None:
    root = Path(sys.argv[1])
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = needed(project["dependencies"])
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (root / "requirements.lock").read_text(encoding="utf-8").strip())
    for block in blocks:
        name = canonicalize_name(re.match(r"[A-Za-z0-9._-]+", block)[0])  # type: ignore[index]
        if name in wanted:
            print(block)


if __name__ == "__main__":
    main()
