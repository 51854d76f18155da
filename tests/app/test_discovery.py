"""Whose word control takes for a DHCP server's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hedgerow.app.control.discovery import MAX_LEASE_FILE_BYTES, read_leases, unreadable_lease_files
from hedgerow.network.discovery import Lease, parse_dnsmasq

LEASE = Lease("02:00:00:00:00:01", "192.168.1.5", "dads-laptop", 9000000000.0)
TEXT = "9000000000 02:00:00:00:00:01 192.168.1.5 dads-laptop *\n"


def leases_in(folder: Path) -> list[Lease]:
    return read_leases([(str(folder / "dhcp.leases"), parse_dnsmasq)])


def unread_in(folder: Path) -> list[str]:
    return unreadable_lease_files([(str(folder / "dhcp.leases"), parse_dnsmasq)])


def test_a_servers_file_is_read(tmp_path: Path) -> None:
    assert leases_in(tmp_path) == []
    assert unread_in(tmp_path) == [], "not everybody has a DHCP server"
    (tmp_path / "dhcp.leases").write_text(TEXT)
    assert leases_in(tmp_path) == [LEASE]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_in_a_folder_for_everybody_nobody_else_is_believed(tmp_path: Path) -> None:
    """A café's guest with an account on the machine could call their device what a grown-up's is called."""
    (tmp_path / "dhcp.leases").write_text(TEXT)
    os.chown(tmp_path / "dhcp.leases", 65534, 65534)
    assert leases_in(tmp_path) == [LEASE], "dnsmasq's own folder"
    assert unread_in(tmp_path) == []
    tmp_path.chmod(0o1777)
    assert leases_in(tmp_path) == []
    assert unread_in(tmp_path) == [f"{tmp_path}/dhcp.leases: could be anybody's, in a folder where everybody may write"]


def test_what_is_no_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dhcp.leases")
    assert leases_in(tmp_path) == []
    assert unread_in(tmp_path) == [f"{tmp_path}/dhcp.leases: is no file"]


def test_a_file_that_is_too_large_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "dhcp.leases"
    path.write_text(TEXT + "#" * (MAX_LEASE_FILE_BYTES - len(TEXT)))
    assert (leases_in(tmp_path), unread_in(tmp_path)) == ([LEASE], [])
    path.write_text(path.read_text() + "#")
    assert (leases_in(tmp_path), unread_in(tmp_path)) == ([], [f"{path}: is larger than 4 MB"])
