"""Write which keys and names the policies of the release before have: `python tools/release_before.py CHECKOUT`.

CHECKOUT is a folder with that release. `hedgerow data downgrade` leaves out of a policy file what the list lacks.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

OUT = Path(__file__).parents[1] / "hedgerow/app/release_before.yaml"
HEAD = "# What the policies of the release before know. Written by tools/release_before.py from that release.\n"


def main() -> None:
    checkout = Path(sys.argv[1])
    schema = json.loads((checkout / "docs/hedgerow.schema.json").read_text(encoding="utf-8"))
    release = {
        "version": tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"],
        "keys": _keys(schema, schema["$defs"]),
        "names": sorted(_names(checkout / "hedgerow")),
    }
    text = yaml.safe_dump(release, default_flow_style=None, sort_keys=True, width=118)
    OUT.write_text(HEAD + text, encoding="utf-8")


def _keys(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """Return the keys of a mapping and what is beneath them; `*` stands for every name and item.

    None if anything is allowed.
    """
    keys: dict[str, Any] = {}
    for each in _choices(node, definitions):
        keys |= {key: _keys(value, definitions) for key, value in each.get("properties", {}).items()}
        for inner in (each.get("additionalProperties"), each.get("items")):
            if isinstance(inner, dict) and (beneath := _keys(inner, definitions)):
                keys["*"] = beneath
    return keys or None


def _choices(node: dict[str, Any], definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in node:
        yield from _choices(definitions[node["$ref"].rpartition("/")[2]], definitions)
    elif "anyOf" in node:
        for each in node["anyOf"]:
            yield from _choices(each, definitions)
    else:
        yield node


def _names(package: Path) -> Iterator[str]:
    """Yield the services with their groups, and the categories."""
    for file in (package / "policies/services").glob("*.yaml"):
        yield file.stem
        yield from map(str, yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    categories = yaml.safe_load((package / "blocklists/data/categories.yaml").read_text(encoding="utf-8"))
    yield from {str(entry["name"]) for entry in categories}


if __name__ == "__main__":
    main()
