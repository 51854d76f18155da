"""What of the documents is made from the data: the table of the profiles, and the JSON Schema that editors check a policy file with.

`python tools/policy_reference.py docs` writes both; a test sees that they are as they would be written now.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hedgerow.policies.model import Profile, TargetKind
from hedgerow.policies.reading.profiles import BUILTIN_PROFILE_NAMES, builtin_profiles
from hedgerow.policies.reading.schema import RawPolicy

SCHEMA_FILE, POLICY_FILE = "hedgerow.schema.json", "policy.md"
_BEGIN, _END = "<!-- made from the profiles: begin -->", "<!-- end -->"


def schema_json() -> str:
    """The form of a policy file as JSON Schema."""
    schema = RawPolicy.model_json_schema(by_alias=True)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A policy of Hedgerow"}
    return json.dumps(head | {key: value for key, value in schema.items() if key != "title"}, indent=1, ensure_ascii=False) + "\n"


def profiles_table() -> str:
    """Which categories and services each built-in profile blocks, and its levels, as Markdown; then why, and where that is from."""
    profiles = builtin_profiles()
    names = list(dict.fromkeys(target.name for profile in profiles.values() for target in profile.rules.block))
    services = {t.name for p in profiles.values() for t in p.rules.block if t.kind is TargetKind.SERVICE}
    rows = [["", *(f"`{name}`" for name in BUILTIN_PROFILE_NAMES)], ["---", *("---" for _ in BUILTIN_PROFILE_NAMES)]]
    rows += [
        [f"{name} (service)" if name in services else name, *(_mark(profiles[each], name) for each in BUILTIN_PROFILE_NAMES)]
        for name in names
    ]
    for title, value in (("safe search", "safe_search"), ("YouTube", "youtube"), ("what is remembered", "privacy")):
        rows.append([title, *(str(getattr(profiles[each].rules, value) or "") for each in BUILTIN_PROFILE_NAMES)])
    rows.append(["pages from this score are blocked", *(_page_limit(profiles[each]) for each in BUILTIN_PROFILE_NAMES)])
    rows.append(
        ["kinds of files that are blocked", *(", ".join(profiles[each].rules.content.files or ()) or "·" for each in BUILTIN_PROFILE_NAMES)]
    )
    rows.append(["bedtime, budget", *(_times(profiles[each]) for each in BUILTIN_PROFILE_NAMES)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    why = "\n".join(f"- `{name}`: {profiles[name].why.strip()} Source: {profiles[name].source.strip()}" for name in BUILTIN_PROFILE_NAMES)
    return f"{table}\n\n{why}\n"


def _mark(profile: Profile, name: str) -> str:
    return "blocked" if any(target.name == name for target in profile.rules.block) else "·"


def _page_limit(profile: Profile) -> str:
    limit = profile.rules.content.page_limit
    return str(limit) if limit else "·"


def _times(profile: Profile) -> str:
    said = [name for name, value in (("bedtime", profile.rules.bedtime), ("budget", profile.rules.budget)) if value]
    return ", ".join(said) or "the family says"


def with_table(document: str) -> str:
    """A document with the table between its marks as it would be made now. Raises ValueError where the marks are missing."""
    before, begin, rest = document.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"there is no place for the table: {_BEGIN} … {_END}")
    return f"{before}{_BEGIN}\n{profiles_table()}{_END}{after}"


def main(folder: Path) -> None:
    (folder / SCHEMA_FILE).write_text(schema_json(), encoding="utf-8")
    policy = folder / POLICY_FILE
    policy.write_text(with_table(policy.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
