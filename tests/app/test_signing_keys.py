"""Keys that are made when they are needed first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from hedgerow.app.signing_keys import SigningKey


def test_threads_that_need_a_key_at_the_same_moment_get_one(tmp_path: Path) -> None:
    """The pages, the statements and the seats' screens ask for it after the first start."""
    file, together = tmp_path / "statements" / "key.pem", Barrier(8)

    def load(_number: int) -> str:
        together.wait()
        return SigningKey.load_or_make(file).fingerprint

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(load, range(8)))
    assert found == {SigningKey.parse(file.read_bytes()).fingerprint}
