"""The secret of the command line: there is always one, and never an empty one."""

import stat
from pathlib import Path

import pytest

from hedgerow.app.control.process import load_token


def test_the_token_is_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "admin-token"
    token = load_token(path)
    assert len(token) >= 43
    assert load_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("torn", [b"", b"\n", b"abc", b"\xff" * 43])
def test_a_token_that_is_torn_is_made_anew(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "admin-token"
    path.write_bytes(torn)
    token = load_token(path)
    assert len(token) >= 43
    assert path.read_text(encoding="ascii") == token
