"""The certificate authority on a site's second machine: it follows each rotation on the first, and takes
nothing else.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from small_internet.running import hedgerow_command
from sqlalchemy.exc import IntegrityError

from hedgerow.app.sealed_authority import open_authority, seal_authority
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.features.joining.authority import AuthorityFollower
from hedgerow.journal.authorities import AuthorityStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.store import Store
from hedgerow.proxy.certificate_authority import (
    CertificateAuthority,
    CertificateAuthorityError,
    ensure_ca,
    load_ca,
    rotate_ca,
)

NOW = 1_790_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_journal(tmp_path / "journal.sqlite")) as found:
        yield found


@pytest.fixture
def machines(tmp_path: Path) -> tuple[Path, Path]:
    """The folders of the authority on two machines, after `hedgerow join`."""
    first, second = tmp_path / "one" / "ca", tmp_path / "other" / "ca"
    ensure_ca(first)
    shutil.copytree(first, second)
    return first, second


def follower(store: Store, folder: Path) -> AuthorityFollower:
    place = Endpoint("127.0.0.1", 1)
    return AuthorityFollower(Settings(folder.parent, None, place, place, place), store)


def rotate(store: Store, folder: Path) -> CertificateAuthority:
    def share(old: CertificateAuthority, new: CertificateAuthority) -> None:
        AuthorityStore(store).add(NOW, old.fingerprint, seal_authority(old, new))

    return rotate_ca(folder, share)[1]


def test_each_rotation_reaches_the_second_machine(store: Store, machines: tuple[Path, Path]) -> None:
    first, second = machines
    before = load_ca(second)
    assert not follower(store, second).follow()
    rotate(store, first)
    newest = rotate(store, first)  # while the second machine was off
    assert follower(store, second).follow()
    assert load_ca(second).pem == newest.pem
    assert load_ca(second).key.private_numbers() == load_ca(first).key.private_numbers()
    assert [path.read_bytes() for path in second.glob("retired-*")] == [before.pem]
    assert not follower(store, second).follow()
    assert not follower(store, first).follow()


def test_two_machines_do_not_rotate_at_once(store: Store, machines: tuple[Path, Path]) -> None:
    first, second = machines
    newest = rotate(store, first)
    with pytest.raises(IntegrityError):
        rotate(store, second)
    assert load_ca(second).fingerprint != newest.fingerprint
    assert follower(store, second).follow()
    assert load_ca(second).fingerprint == newest.fingerprint


def test_the_store_shows_no_key_and_changes_none(store: Store, machines: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = machines
    old = load_ca(first)
    new = rotate(store, first)
    sealed = AuthorityStore(store).successor(old.fingerprint)
    assert sealed is not None
    for stranger in (ensure_ca(tmp_path / "stranger"), new):
        with pytest.raises(CertificateAuthorityError, match="can't be decrypted"):
            open_authority(stranger, sealed)
    third = rotate(store, first)
    AuthorityStore(store).add(NOW, third.fingerprint, sealed[:-8] + "AAAAAAAA")
    with pytest.raises(CertificateAuthorityError, match="can't be decrypted"):
        follower(store, second).follow()
    assert load_ca(second).pem == old.pem, "the last one stays"


def test_a_store_that_is_away_changes_nothing(machines: tuple[Path, Path]) -> None:
    first, _ = machines
    place, before = Endpoint("127.0.0.1", 1), load_ca(first)
    (first.parent / "run").mkdir(mode=0o700)
    Settings(first.parent, None, place, place, place, store="postgresql://hedgerow@127.0.0.1:1/hedgerow").save()
    words = ("ca", "rotate", "--yes", "--state", str(first.parent))
    done = hedgerow_command(*words)
    assert (done.returncode, "so nothing was replaced" in done.stderr) == (1, True), done.stderr
    assert load_ca(first).pem == before.pem
    assert hedgerow_command(*words, "--here").returncode == 0
    assert load_ca(first).pem != before.pem
