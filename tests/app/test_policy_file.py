"""The policy file as it is edited: taken when good, left when not, missed when gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hedgerow.app.control.publisher import PolicyFile
from hedgerow.policies.reading.load import load_policy


def test_an_edit_is_taken_and_a_broken_one_is_not(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "hedgerow.yaml"
        path.write_text("people: {mia: {age: 9}}\n")
        file = PolicyFile(path, load_policy(path), 1.0)
        assert file.has_changed()
        assert await file.reload()
        assert not file.has_changed()

        path.write_text("people: {mia: {age: 9}, tom: {agee: 15}}\nnetwrok: {}\n")
        assert file.has_changed()
        assert not await file.reload()
        assert list(file.policy.people) == ["mia"]
        assert [problem.line for problem in file.problems] == [1, 2]
        assert not file.has_changed()

        path.unlink()
        assert not file.has_changed()

        path.write_text("people: {tom: {age: 15}}\n")
        assert file.has_changed()
        assert await file.reload()
        assert list(file.policy.people) == ["tom"]
        assert file.problems == ()

    asyncio.run(main())


def test_the_built_in_policy_has_no_file(tmp_path: Path) -> None:
    file = PolicyFile(None, load_policy(None), 1.0)
    assert not file.has_changed()
    assert asyncio.run(file.reload())
