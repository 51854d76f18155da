"""The copy of the tree without a feature."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import without

from hedgerow.features import FEATURES

TREE = {
    "hedgerow/features/__init__.py": (
        "from hedgerow.features import away, cafe\nFEATURES = (away.FEATURE, cafe.FEATURE)\n"
    ),
    "hedgerow/features/away/__init__.py": 'FEATURE = Feature(name="away")\n',
    "hedgerow/features/cafe/__init__.py": 'FEATURE = Feature(name="cafe", needs=("away",))\n',
    "hedgerow/app.py": "import hedgerow\n",
    "tests/features/cafe/test_prices.py": "",
    "tests/features/away/test_tunnel.py": "",
    "tests/seconds.json": '{\n "tests/features/cafe/test_prices.py": 1.0,\n "tests/test_a.py": 2.0\n}\n',
    "pyproject.toml": (
        'dependencies = [\n    "tills",  # features/cafe\n]\n'
        'ignore_imports = [\n    "hedgerow.features.cafe.** -> hedgerow.features.away.**",\n]\n'
    ),
    "examples/cafe.yaml": "cafe:\n  currency: EUR\nseats: {}\n",
    "tests/test_layout.py": 'OWN = {\n    "features/cafe/x.py": "a printer",\n    "app/ipc.py": "control",\n}\n',
    "tools/check_coverage.py": 'PROTOCOL = {\n    "hedgerow/features/cafe/x.py": ("x.py",),\n}\n',
    "docs/features/cafe.md": "# Café\n",
    "docs/policy.md": (
        "| test |\n| `tests/features/cafe/test_prices.py::test_x` |\n\nSee [the café](features/cafe.md).\n"
    ),
    "mkdocs.yml": "nav:\n  - Café: features/cafe.md\n  - Policy: policy.md\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, text in TREE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    return root


def test_a_copy_lacks_what_belongs_to_the_feature(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    without.copy_without("cafe", copy, tree)
    left = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file() and ".path" not in path.parts}
    assert left == {name for name in TREE if "features/cafe" not in name}
    assert (
        copy / "hedgerow/features/__init__.py"
    ).read_text() == "from hedgerow.features import away\nFEATURES = (away.FEATURE,)\n"
    assert (copy / "docs/policy.md").read_text() == "| test |\n\nSee the café.\n"
    assert (copy / "mkdocs.yml").read_text() == "nav:\n  - Policy: policy.md\n"
    assert (copy / "tests/test_layout.py").read_text() == 'OWN = {\n    "app/ipc.py": "control",\n}\n'
    assert (copy / "tools/check_coverage.py").read_text() == "PROTOCOL = {\n}\n"
    assert (copy / "pyproject.toml").read_text() == "dependencies = [\n]\nignore_imports = [\n]\n"
    assert (copy / "examples/cafe.yaml").read_text() == "seats: {}\n"
    assert (copy / "tests/seconds.json").read_text() == '{\n "tests/test_a.py": 2.0\n}\n'


def test_a_copy_lacks_what_needs_the_feature(tree: Path, tmp_path: Path) -> None:
    without.copy_without("away", tmp_path / "copy", tree)
    assert without.features(tmp_path / "copy") == []
    assert not (tmp_path / "copy/hedgerow/features/cafe").exists()


def test_what_is_unknown_is_not_left_out(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no feature is called chess"):
        without.copy_without("chess", tmp_path / "copy", tree)


def test_a_copy_has_modules_of_its_own(tree: Path, tmp_path: Path) -> None:
    (tree / "hedgerow/__init__.py").write_text("PLACE = __file__\n")
    without.copy_without("cafe", tmp_path / "copy", tree)
    (tmp_path / "copy/check.py").write_text(
        "import sys\nimport hedgerow\nsys.exit('/copy/hedgerow/' not in hedgerow.PLACE)\n"
    )
    assert without.run_in(tmp_path / "copy", ["check.py"]) == 0


def test_every_feature_of_the_table_is_found_by_its_name() -> None:
    assert without.features(without.ROOT) == [feature.name for feature in FEATURES]
    assert all(without.needs_of(without.ROOT, feature.name) == list(feature.needs) for feature in FEATURES)
