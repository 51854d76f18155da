"""Copy the tree without a feature, to prove that nothing else needs it:

`python tools/without.py NAME FOLDER [--check]`.

The copy lacks the feature's folders, its document, its row of `FEATURES`, and the features that need it. Generated
documents are made anew, and links to the feature's document become plain text. `--check` runs what `make check` and
`make quick` run, in the copy.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path("hedgerow/features/__init__.py")
_GENERATORS = (
    ["tools/policy_reference.py", "docs"],
    ["tools/reference.py", "docs"],
    ["tools/grafana_dashboards.py"],
    ["tools/catalogues.py"],
    ["tools/features_page.py"],
)
_CHECKS = (
    ["-m", "ruff", "check", "."],
    ["-m", "mypy"],
    ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
    ["tools/check_prose.py"],
    ["tools/run_tests.py", "quick"],
)

_FINDER = '''"""Have Python find the copy's package. Its root is not on the path, since it has links named dns, proxy and so on."""

import sys
from importlib.util import spec_from_file_location
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "hedgerow"


class Finder:
    """The finder of one package."""

    @staticmethod
    def find_spec(name, _path=None, _target=None):
        if name == "hedgerow":
            return spec_from_file_location(name, PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)])
        return None


sys.meta_path.insert(0, Finder)
'''  # noqa: E501


def copy_without(name: str, folder: Path, root: Path = ROOT) -> None:
    """Copy the files of the checkout `root` to the new `folder`, without the feature `name` and those that need it.

    Raises ValueError for an unknown feature.
    """
    if name not in features(root):
        raise ValueError(f"no feature is called {name}")
    left_out = [name, *(other for other in features(root) if name in needs_of(root, other))]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    ).stdout
    built = [path.relative_to(root) for path in (root / "hedgerow").rglob("*.so")]
    for file in [*map(Path, filter(None, os.fsdecode(listed).split("\0"))), *built]:
        if not any(is_of(file, each) for each in left_out) and (root / file).exists():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / file, folder / file, follow_symlinks=False)
    for each in left_out:
        _forget(each, folder)
    (folder / ".path").mkdir()
    (folder / ".path" / "sitecustomize.py").write_text(_FINDER, encoding="utf-8")


def _forget(name: str, folder: Path) -> None:
    """Remove what names a feature from the tables and documents of a copy, and its section from policy files."""

    def drop(pattern: str, *files: Path) -> None:
        for file in files:
            _rewrite(file, lambda text: re.sub(pattern, "", text, flags=re.MULTILINE))

    _rewrite(folder / TABLE, lambda text: without_row(text, name))
    drop(rf"^.*features/{name}\.md\n", folder / "mkdocs.yml")
    tables = ("tests/seconds.json", "tests/test_layout.py", "tools/check_coverage.py")
    drop(rf'^ *"(?:\w+/)?features/{name}/.*\n', *(folder / each for each in tables))
    drop(rf'^ *"(?:hedgerow\.features\.{name}\.\*\* ->.*|.*# features/{name})\n', folder / "pyproject.toml")
    drop(rf"^{name}:.*\n(?: .*\n)*", *(folder / "examples").glob("*.yaml"))
    for document in folder.rglob("*.md"):
        _rewrite(document, lambda text: without_links(text, name))


def features(root: Path) -> list[str]:
    """Return the names of all features, in the order of the table."""
    return re.findall(r"\b(\w+)\.FEATURE\b", (root / TABLE).read_text(encoding="utf-8"))


def needs_of(root: Path, name: str) -> list[str]:
    """Return the names of the features that a feature needs."""
    found = re.search(r"\bneeds=\(([^)]*)\)", (root / TABLE.parent / name / "__init__.py").read_text(encoding="utf-8"))
    return re.findall(r"\"(\w+)\"", found[1]) if found else []


def is_of(file: Path, name: str) -> bool:
    """Return True for a file that belongs to a feature.

    >>> [is_of(Path(file), "away") for file in ("hedgerow/features/away/keys.py", "docs/features/away.md",
    ...  "hedgerow/app/cli.py")]
    [True, True, False]
    """
    homes = (TABLE.parent / name, *(Path(folder, "features", name) for folder in ("tests", "tools", "bench")))
    return any(file.is_relative_to(home) for home in homes) or file == Path(f"docs/features/{name}.md")


def without_row(text: str, name: str) -> str:
    """Return the source of the table of features without one of them.

    >>> print(without_row("from hedgerow.features import away, cafe\\nFEATURES = (away.FEATURE, cafe.FEATURE)", "away"))
    from hedgerow.features import cafe
    FEATURES = (cafe.FEATURE,)
    >>> print(without_row("FEATURES = (\\n    away.FEATURE,\\n    cafe.FEATURE,\\n)", "away"))
    FEATURES = (
        cafe.FEATURE,
    )
    """
    text = re.sub(rf"^\s*{name}(?:\.FEATURE)?,\n", "", text, flags=re.MULTILINE)
    text = re.sub(rf"\b{name}(?:\.FEATURE)?\b, ?|,\s*\b{name}(?:\.FEATURE)?\b", "", text)
    return re.sub(r"\((\w+\.FEATURE)\)", r"(\1,)", text)


def without_links(text: str, name: str) -> str:
    """Return a document without links to a feature's document, without rows of tables that name its modules or tests,
    and without these in lists.

    >>> without_links("See [the tunnel](../features/away.md#keys).", "away")
    'See the tunnel.'
    >>> without_links("Pure code (`features/away/handshake.py`, `dns/wire.py`)", "away")
    'Pure code (`dns/wire.py`)'
    """
    text = re.sub(rf"^\|.*\bfeatures/{name}/.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(rf"`features/{name}/[^`]*`(?:, )?", "", text)
    return re.sub(rf"\[([^\]]*)\]\([\w./]*features/{name}\.md(?:#[\w-]*)?\)", r"\1", text)


def _rewrite(file: Path, change: Callable[[str], str]) -> None:
    before = file.read_text(encoding="utf-8")
    after = change(before)
    if after != before:
        file.write_text(after, encoding="utf-8")


def run_in(folder: Path, words: Sequence[str]) -> int:
    """Run Python in the copy, with the modules of the copy. Returns the exit code."""
    places = os.pathsep.join(map(str, (folder / ".path", folder / "tools")))  # tools import each other
    # with `hedgerow`
    commands = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    environment = os.environ | {"PYTHONPATH": places, "PYTHONSAFEPATH": "1", "PATH": commands}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, check=False).returncode


def main() -> None:
    """Make the copy, its generated documents, and check it if asked to."""
    parser = argparse.ArgumentParser(description="Copy the tree without a feature.")
    parser.add_argument("name", help="the feature")
    parser.add_argument("folder", type=Path, help="a new folder for the copy")
    parser.add_argument("--check", action="store_true", help="run the checks and the quick tests in the copy")
    chosen = parser.parse_args()
    name, folder = chosen.name, chosen.folder.absolute()
    copy_without(name, folder)
    steps = [*_GENERATORS, *(_CHECKS if chosen.check else ())]
    failed = [" ".join(words) for words in steps if run_in(folder, words)]
    print(f"without {name}: {'failed: ' + '; '.join(failed) if failed else 'all is well'}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
