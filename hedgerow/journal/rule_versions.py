"""Versions of the rules and lists in force, so that a decision can be explained later by the rules in force when it was
made.

A version is written when the policy or the lists change, and every decision names its version. The texts of the policy
files are kept, so that the place of a rule (`file:line`) leads to the rule as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Row, func, select

from hedgerow.journal.store import Store
from hedgerow.journal.tables import rule_versions

MAX_VERSIONS = 500
"""Versions that are kept. The oldest are deleted first."""

MAX_TEXT = 256 * 1024
"""Characters of policy files per version. Texts of larger policies are not kept."""

_EXCERPT_LINES = 8
_C = rule_versions.c


@dataclass(frozen=True, slots=True)
class ListVersion:
    """A list as it was compiled.

    `changed` is the time stamp of its copy, `names` the number of names in it; None if unknown.
    """

    name: str
    category: str
    changed: float | None = None
    names: int | None = None


@dataclass(frozen=True, slots=True)
class RuleVersion:
    """Rules and lists that were in force from `at` on.

    `policy` and `lists` are digests; `files` holds the policy files' texts by path.
    """

    id: int
    at: float
    policy: str
    lists: str
    files: Mapping[str, str]
    sources: tuple[ListVersion, ...]

    def source(self, name: str) -> ListVersion | None:
        """Return a list by its name."""
        return next((each for each in self.sources if each.name == name), None)

    def excerpt(self, place: str) -> str:
        """Return the lines of a policy file at `file:line` with what belongs to them, empty if they are not kept.

        >>> RuleVersion(1, 0.0, "", "", {"a.yaml": "mia:\\n  bedtime:\\n    school: 20:30\\n  age: 9"},
        ...  ()).excerpt("a.yaml:2")
        'bedtime:\\n  school: 20:30'
        """
        path, _, number = place.rpartition(":")
        lines = self.files.get(path, "").splitlines()
        if not number.isdecimal() or not 0 < int(number) <= len(lines):
            return ""
        first, *others = lines[int(number) - 1 : int(number) - 1 + _EXCERPT_LINES]
        indent = len(first) - len(first.lstrip())
        taken = [first]
        for line in others:
            if line.strip() and len(line) - len(line.lstrip()) <= indent:
                break
            taken.append(line)
        return "\n".join(line[indent:] for line in taken).rstrip()


class RuleVersions:
    """The store of the versions of rules and lists. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(
        self, at: float, policy: str, lists: str, files: Mapping[str, str], sources: Sequence[ListVersion]
    ) -> int:
        """Return the id of the version with these digests, which is added unless it is the newest.

        Raises DatabaseError.
        """
        texts = json.dumps(dict(files)) if sum(map(len, files.values())) <= MAX_TEXT else "{}"
        with self._store.begin() as connection:
            newest = connection.execute(self._store.select(rule_versions).order_by(_C.id.desc()).limit(1)).one_or_none()
            if newest is not None and (newest.policy, newest.lists) == (policy, lists):
                if newest.files != texts and files:  # after a restart, the texts are known later than the policy
                    connection.execute(self._store.update(rule_versions).where(_C.id == newest.id).values(files=texts))
                return int(newest.id)
            row = {
                "at": at,
                "policy": policy,
                "lists": lists,
                # after a restart with a file that has mistakes, the texts of the policy in force are not read again
                "files": texts if files or newest is None or newest.policy != policy else newest.files,
                "sources": json.dumps([asdict(each) for each in sources]),
            }
            key = connection.execute(self._store.insert(rule_versions).values(row)).inserted_primary_key
            assert key is not None
            own = self._store.own(rule_versions)
            oldest = connection.scalar(select(_C.id).where(own).order_by(_C.id.desc()).offset(MAX_VERSIONS).limit(1))
            if oldest is not None and self._store.rights.may_manage:
                connection.execute(self._store.delete(rule_versions).where(_C.id <= oldest))
        return int(key[0])

    def version(self, version_id: int) -> RuleVersion | None:
        """Return a version, or None if it is not kept any more."""
        rows = self._store.rows(self._store.select(rule_versions).where(_C.id == version_id))
        return _version(rows[0]) if rows else None

    def newest(self) -> int | None:
        """Return the id of the version that was written last."""
        newest: int | None = self._store.scalar(select(func.max(_C.id)).where(self._store.own(rule_versions)))
        return newest


def _version(row: Row[Any]) -> RuleVersion:
    sources = tuple(ListVersion(**each) for each in json.loads(row.sources))
    return RuleVersion(row.id, row.at, row.policy, row.lists, json.loads(row.files), sources)
