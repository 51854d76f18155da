"""Damaged files of a run are written again before the next process reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.app.settings import Endpoint, RunFiles, Settings
from hedgerow.app.startup import prepare_run

ANY = Endpoint("127.0.0.1", 0)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", None])
def test_damaged_files_are_written_again(tmp_path: Path, damage: bytes | None) -> None:
    settings, lock = prepare_run(Settings(tmp_path, None, ANY, ANY, ANY, log_level="error"))
    lock.release()
    files = RunFiles(settings)
    files.check()
    changed = replace(settings, policy=tmp_path / "hedgerow.yaml")
    changed.save()  # as control does for the first policy file
    files.check()
    before = settings.pass_key.read_bytes()
    for path in (settings.run / "settings.json", settings.pass_key):
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
    files.check()
    assert Settings.load(tmp_path) == changed
    assert settings.pass_key.read_bytes() == before
    assert settings.pass_key.stat().st_mode & 0o777 == 0o600
