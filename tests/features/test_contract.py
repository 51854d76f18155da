"""What every feature keeps to: a folder of its own, a cheap `__init__`, and keys of the policy in one place."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import hedgerow.features
from hedgerow.features import FEATURES
from hedgerow.features.contract import Feature
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.reading.schema import FEATURE_KEYS, SCORE_KEYS

FOLDER = Path(hedgerow.features.__file__).parent
TESTS = Path(__file__).parent
DOCUMENTS = TESTS.parents[1] / "docs" / "features"

each_feature = pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)


def test_the_table_names_each_folder_once() -> None:
    folders = {path.parent.name for path in FOLDER.glob("*/__init__.py")}
    assert sorted(feature.name for feature in FEATURES) == sorted(folders)


def test_reading_the_table_imports_nothing_else_of_ours() -> None:
    """A process that looks at the table pays for it only."""
    script = (
        "import hedgerow.features, sys; print(*sorted(name for name in sys.modules if name.startswith('hedgerow')))"
    )
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    allowed = {
        "hedgerow",
        "hedgerow.backoff",
        "hedgerow.task_state",
        "hedgerow.watched_tasks",
        "hedgerow.features",
        "hedgerow.features.contract",
    }
    assert set(loaded) <= allowed | {f"hedgerow.features.{feature.name}" for feature in FEATURES}


@each_feature
def test_a_feature_has_tests_a_document_and_a_summary(feature: Feature) -> None:
    assert list((TESTS / feature.name).glob("test_*.py"))
    assert (DOCUMENTS / f"{feature.name}.md").exists()
    assert feature.summary
    assert not feature.summary.endswith(".")


@each_feature
def test_a_feature_imports_only_those_that_it_needs(feature: Feature) -> None:
    imported = set()
    for path in (FOLDER / feature.name).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module is not None and module.startswith("hedgerow.features."):
                imported.add(module.split(".")[2])
    assert imported - {"contract", feature.name} == set(feature.needs)


@each_feature
def test_a_feature_is_in_use_when_the_policy_has_its_keys(feature: Feature) -> None:
    assert feature.is_used(parse_policy(b"", None)) is feature.is_permanent
    if feature.policy_keys() or feature.score_keys():
        samples = yaml.safe_load((TESTS / feature.name / "keys.yaml").read_text())
        assert feature.is_used(parse_policy(yaml.safe_dump(samples["policy"]).encode(), None))


def test_each_key_has_one_owner() -> None:
    keys = [*(key.settings.KEY for key in FEATURE_KEYS), *(key.name for key in SCORE_KEYS)]
    assert len(set(keys)) == len(keys)
    assert [key.name for key in SCORE_KEYS] == [key for feature in FEATURES for key in feature.scanners]


def test_a_feature_may_be_used_by_a_file_of_the_state_directory(tmp_path: Path) -> None:
    feature, policy = Feature(name="x", summary="", state_file="x.json"), parse_policy(b"", None)
    assert not feature.is_used(policy, "", tmp_path)
    (tmp_path / "x.json").touch()
    assert feature.is_used(policy, "", tmp_path)


@pytest.mark.parametrize(
    ("text", "store", "is_used"),
    [
        ("people: {}", "", False),
        ("seats: {seat-1: {ip: 127.0.0.3}}", "", True),
        ("people: {}", "postgresql://db.example/h", True),
    ],
)
def test_a_feature_may_be_used_by_keys_of_the_core_or_by_the_store(text: str, store: str, is_used: bool) -> None:
    feature = Feature(name="x", summary="", uses=lambda policy: bool(policy.devices), uses_store=True)
    assert feature.is_used(parse_policy(text.encode(), None), store) is is_used
