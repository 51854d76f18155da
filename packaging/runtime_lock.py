"""Print the entries of requirements.lock that Hedgerow needs at run time, without those for tests and checks.

It needs only the standard library, since the lock names for each entry what needs it ("via").
"""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path

_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
_VIA = re.compile(r"^ +# (?:via )? *([A-Za-z0-9._-]+)$", re.MULTILINE)


def entries_of_lock(root: Path) -> dict[str, str]:
    """Return all entries of the lock by normalized name."""
    lock = (root / "requirements.lock").read_text(encoding="utf-8").strip()
    return {name_of(entry): entry for entry in re.split(r"\n(?=[A-Za-z0-9])", lock)}


def runtime_entries(root: Path) -> dict[str, str]:
    """Return the entries of the project's dependencies without extras, and of all that these need."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {name_of(text) for text in project["dependencies"]}
    entries = entries_of_lock(root)
    needed_by = {name: set(map(name_of, _VIA.findall(entry))) for name, entry in entries.items()}
    while more := {name for name, parents in needed_by.items() if parents & needed} - needed:
        needed |= more
    return {name: entry for name, entry in entries.items() if name in needed}


def name_of(text: str) -> str:
    """Return the normalized name at the beginning of a requirement (PEP 503).

    >>> name_of("Ruamel_YAML>=0.18")
    'ruamel-yaml'
    """
    found = _REQUIREMENT.match(text)
    assert found is not None, text
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def constraint(entry: str) -> str:
    r"""Return the version of an entry with its marker, without hashes.

    >>> constraint("tzdata==2026.2 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n    # via psycopg")
    "tzdata==2026.2 ; sys_platform == 'win32'"
    """
    return entry.partition("\n")[0].removesuffix("\\").rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument(
        "--constraints", action="store_true", help="versions without hashes, for `--constraint` of pip and uv"
    )
    parser.add_argument("--only", metavar="NAME", help="this entry alone, whatever needs it")
    parser.add_argument("--without", metavar="NAME", help="all but this entry")
    chosen = parser.parse_args()
    entries = {chosen.only: entries_of_lock(chosen.root)[chosen.only]} if chosen.only else runtime_entries(chosen.root)
    entries.pop(chosen.without, None)
    for entry in entries.values():
        print(constraint(entry) if chosen.constraints else entry)


if __name__ == "__main__":
    main()
