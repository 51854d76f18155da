"""The token of scripts on this machine."""

import stat
from pathlib import Path

from hedgerow.app.control.pages_server import make_token


def test_the_token_is_new_at_each_start_and_private(tmp_path: Path) -> None:
    path = tmp_path / "admin-token"
    path.write_text("x" * 43)
    path.chmod(0o644)
    tokens = {make_token(path) for _ in range(2)}
    assert len(tokens) == 2
    assert min(map(len, tokens)) >= 43
    assert path.read_text(encoding="ascii") in tokens
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_control_starts_without_writing_the_token(tmp_path: Path) -> None:
    assert make_token(tmp_path / "gone" / "admin-token")
