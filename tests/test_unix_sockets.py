"""Sockets in the file system, and connections between our processes."""

from __future__ import annotations

import array
import os
import socket
from pathlib import Path

import pytest

from hedgerow.sockets import bind_datagrams, offer_connection, take_connection


def test_an_offered_connection_arrives_and_anything_else_does_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with pytest.raises(FileNotFoundError):
        offer_connection(str(path))
    with bind_datagrams(path) as listener:
        assert path.stat().st_mode & 0o777 == 0o600
        assert take_connection(listener) is None
        datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with datagrams as sender, socket.socket() as internet, (tmp_path / "file").open("w") as file:
            sender.sendto(b"no descriptor", str(path))
            for descriptors in ([internet.fileno()], [file.fileno()], [file.fileno(), internet.fileno()]):
                ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
                sender.sendmsg([b"."], ancillary, 0, str(path))
        before = len(os.listdir("/proc/self/fd"))
        with offer_connection(str(path)) as ours:
            theirs = take_connection(listener)
            assert theirs is not None
            with theirs:
                assert len(os.listdir("/proc/self/fd")) == before + 2, "what else came was closed"
                ours.send(b"hello")
                assert theirs.recv(10) == b"hello"
    with pytest.raises(ConnectionRefusedError):
        offer_connection(str(path))
