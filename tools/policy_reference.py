"""Generate the tables of profiles and of reserved keys in docs/policy.md, and the JSON Schema with which editors check
a policy file.

`python tools/policy_reference.py docs` writes them. A test compares them with the code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hedgerow.policies.content import NO_SCORE_LIMIT
from hedgerow.policies.model import Profile, TargetKind
from hedgerow.policies.reading.key_scopes import KeyPath, policy_keys, scope_of
from hedgerow.policies.reading.profiles import BUILTIN_PROFILE_NAMES, builtin_profiles
from hedgerow.policies.reading.schema import SCORE_KEYS, RawPolicy
from hedgerow.policies.reading.schema_types import KeyScope

SCHEMA_FILE, POLICY_FILE = "hedgerow.schema.json", "policy.md"
_PROFILES, _RESERVED = "<!-- made from the profiles: begin -->", "<!-- made from the reserved keys: begin -->"
_END = "<!-- end -->"


def schema_json() -> str:
    """Return the JSON Schema of a policy file."""
    schema = RawPolicy.model_json_schema(by_alias=True)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A policy of Hedgerow"}
    return (
        json.dumps(head | {key: value for key, value in schema.items() if key != "title"}, indent=1, ensure_ascii=False)
        + "\n"
    )


def profiles_table() -> str:
    """Return a Markdown table of what each built-in profile blocks, with its levels, followed by reasons
    and sources.
    """
    profiles = builtin_profiles()
    targets = [target for profile in profiles.values() for target in profile.rules.block]
    names = list(dict.fromkeys(target.name for target in targets if target.kind is not TargetKind.SERVICE))
    rows = [["", *(f"`{name}`" for name in BUILTIN_PROFILE_NAMES)], ["---", *("---" for _ in BUILTIN_PROFILE_NAMES)]]
    rows += [[name, *(_mark(profiles[each], name) for each in BUILTIN_PROFILE_NAMES)] for name in names]
    rows.append(
        [
            "single services ([by age](reference/services.md))",
            *(_service_count(profiles[each]) for each in BUILTIN_PROFILE_NAMES),
        ]
    )
    for title, value in (("safe search", "safe_search"), ("YouTube", "youtube"), ("stored", "privacy")):
        rows.append([title, *(str(getattr(profiles[each].rules, value) or "") for each in BUILTIN_PROFILE_NAMES)])
    rows.append(
        ["score above which pages are blocked", *(_page_limit(profiles[each]) for each in BUILTIN_PROFILE_NAMES)]
    )
    rows += [
        [key.title, *(_score_limit(profiles[each], key.name) for each in BUILTIN_PROFILE_NAMES)] for key in SCORE_KEYS
    ]
    rows.append(
        [
            "blocked kinds of files",
            *(", ".join(profiles[each].rules.content.files or ()) or "·" for each in BUILTIN_PROFILE_NAMES),
        ]
    )
    rows.append(["bedtime, budget", *(_times(profiles[each]) for each in BUILTIN_PROFILE_NAMES)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    why = "\n".join(
        f"- `{name}`: {profiles[name].why.strip()} Source: {profiles[name].source.strip()}"
        for name in BUILTIN_PROFILE_NAMES
    )
    return f"{table}\n\n{why}\n"


def reserved_keys_table() -> str:
    """Return a Markdown table of the keys that only an admin may change. A key stands for all keys inside it."""
    rows = ["| key | meaning |", "|---|---|"]
    found: list[KeyPath] = []
    for path, key in policy_keys():
        scope = scope_of(key)
        if scope is KeyScope.MANAGE or any(path[: len(outer)] == outer for outer in found):
            continue
        found.append(path)
        name = ".".join("NAME" if step == "*" else step for step in path).replace(".[]", "[]")
        rows.append(f"| `{name}`{' (files)' if scope is KeyScope.MANAGE_DATES else ''} | {key.description} |")
    return "\n".join(rows) + "\n"


def _mark(profile: Profile, name: str) -> str:
    return "blocked" if any(target.name == name for target in profile.rules.block) else "·"


def _service_count(profile: Profile) -> str:
    count = sum(target.kind is TargetKind.SERVICE for target in profile.rules.block)
    return f"{count} blocked" if count else "·"


def _page_limit(profile: Profile) -> str:
    limit = profile.rules.content.page_limit
    return str(limit) if limit else "·"


def _score_limit(profile: Profile, key: str) -> str:
    limit = next((rule.limit for rule in profile.rules.content.scores if rule.key == key), None)
    return str(limit) if limit is not None and limit < NO_SCORE_LIMIT else "·"


def _times(profile: Profile) -> str:
    settings = [name for name, value in (("bedtime", profile.rules.bedtime), ("budget", profile.rules.budget)) if value]
    return ", ".join(settings) or "set by the family"


def with_tables(document: str) -> str:
    """Return a document with up-to-date tables between their marks. Raises ValueError if they are missing."""
    for begin, table in ((_PROFILES, profiles_table()), (_RESERVED, reserved_keys_table())):
        before, found, rest = document.partition(begin)
        _, end, after = rest.partition(_END)
        if not found or not end:
            raise ValueError(f"the marks of the table are missing: {begin} … {_END}")
        document = f"{before}{begin}\n{table}{_END}{after}"
    return document


def main(folder: Path) -> None:
    (folder / SCHEMA_FILE).write_text(schema_json(), encoding="utf-8")
    policy = folder / POLICY_FILE
    policy.write_text(with_tables(policy.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
