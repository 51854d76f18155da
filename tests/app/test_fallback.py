"""The snapshot of last resort blocks what the household's own lists block, whatever is damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hedgerow.app.fallback import make_fallback
from hedgerow.app.settings import Endpoint, Settings, remove_memory_folder
from hedgerow.app.snapshot import LoadedSnapshot, Snapshot


@pytest.mark.parametrize("damage", ["no lists", "damaged lists"])
def test_the_lists_of_the_policy_are_in_force_without_a_usable_generation(tmp_path: Path, damage: str) -> None:
    policy, place = tmp_path / "hedgerow.yaml", Endpoint("127.0.0.1", 0)
    policy.write_text("people: {mia: {age: 9}}\nlists: [{category: social, path: mine.txt}]\n")
    (tmp_path / "mine.txt").write_text("chat.example\n")
    settings = Settings(tmp_path / "state", policy, place, place, place)
    settings.run.mkdir(parents=True)
    if damage == "damaged lists":
        (settings.state / "generations" / "0123456789abcdef").mkdir(parents=True)
        (settings.state / "generations" / "0123456789abcdef" / "meta.json").write_text("damaged")
    try:
        for _ in range(2):
            view = LoadedSnapshot(Snapshot.load(make_fallback(settings)))
            assert view.catalogue.host_mask("chat.example") & view.catalogue.mask_of(["social"])
            assert view.catalogue.host_mask("www.pornhub.com") & view.catalogue.mask_of(["adult"])
            assert view.snapshot.serial == 0
            assert list(view.policy.people) == ["mia"]
    finally:
        remove_memory_folder(settings.state)
        shutil.rmtree(settings.state)
