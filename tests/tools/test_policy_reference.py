"""Generated parts of the documents are up to date."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from policy_reference import PROFILES_FILE, SCHEMA_FILE, profiles_page, profiles_table, schema_json

from hedgerow.policies.model import TargetKind
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.reading.profiles import BUILTIN_PROFILE_NAMES, builtin_profiles
from hedgerow.policies.reading.schema import RawPolicy, RawRules

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_schema_is_up_to_date() -> None:
    assert (DOCS / SCHEMA_FILE).read_text(encoding="utf-8") == schema_json(), (
        "run: python tools/policy_reference.py docs"
    )


def test_the_page_of_profiles_is_up_to_date() -> None:
    assert (DOCS / PROFILES_FILE).read_text(encoding="utf-8") == profiles_page(), (
        "run: python tools/policy_reference.py docs"
    )


def test_the_table_names_what_every_profile_blocks() -> None:
    table = profiles_table()
    rows = {cells[0]: cells[1:] for line in table.splitlines() if (cells := line.strip("| ").split(" | "))}
    for number, name in enumerate(BUILTIN_PROFILE_NAMES):
        targets = builtin_profiles()[name].rules.block
        blocked = {target.name for target in targets if target.kind is not TargetKind.SERVICE}
        closed = len(targets) - len(blocked)
        assert rows["single services ([by age](services.md))"][number] == (f"{closed} blocked" if closed else "·")
        assert {
            row
            for row, cells in rows.items()
            if len(cells) == len(BUILTIN_PROFILE_NAMES) and cells[number] == "blocked"
        } == blocked


def test_the_schema_has_every_key() -> None:
    schema: dict[str, Any] = json.loads(schema_json())
    assert set(schema["properties"]) == set(RawPolicy.model_fields)
    person = schema["$defs"]["RawPerson"]
    assert set(RawRules.model_fields) < set(person["properties"])
    assert person["additionalProperties"] is False


def test_every_key_is_described() -> None:
    schema: dict[str, Any] = json.loads(schema_json())
    models = {"RawPolicy": schema, **{name: each for name, each in schema["$defs"].items() if "properties" in each}}
    assert {"RawItem", "RawListen", "RawSchedule"} < set(models)
    missing = [
        f"{name}.{key}"
        for name, model in models.items()
        for key, each in model["properties"].items()
        if not each.get("description")
    ]
    assert missing == []


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_key_of_the_examples_is_in_the_schema(path: Path) -> None:
    schema: dict[str, Any] = json.loads(schema_json())
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(document) <= set(schema["properties"])
    for section, noun in (("people", "RawPerson"), ("devices", "RawNamedDevice"), ("seats", "RawSeat")):
        for entry in (document.get(section) or {}).values():
            assert set(entry or {}) <= set(schema["$defs"][noun]["properties"])


def test_every_example_line_of_the_document_is_valid() -> None:
    document = (DOCS / "policy.md").read_text(encoding="utf-8")
    table = document.partition("## In one sentence")[2].partition("\n## ")[0]
    lines = [
        line
        for row in table.splitlines()
        if row.startswith("| ")
        for line in re.findall(r"`(\w+: [^`]+)`", row.rpartition(" | ")[2])
    ]
    assert len(lines) >= 9
    for line in lines:
        age = "" if line.startswith("profile:") else "age: 9, "
        assert parse_policy(f"people: {{mia: {{{age}{line}}}}}".encode(), None).people["mia"]
