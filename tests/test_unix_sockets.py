"""Sockets in the file system, and connections between our processes."""

from __future__ import annotations

import array
import os
import socket
from pathlib import Path

import pytest

from hedgerow.port_binder import receive_descriptors
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
                assert not theirs.get_inheritable(), "no program that is run later has it"
                ours.send(b"hello")
                assert theirs.recv(10) == b"hello"
    with pytest.raises(ConnectionRefusedError):
        offer_connection(str(path))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_programs_that_are_run_later_inherit_no_descriptor_that_was_received(count: int) -> None:
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    before = len(os.listdir("/proc/self/fd"))
    with sender, receiver:
        if count:
            socket.send_fds(sender, [b"hello"], [sender.fileno()] * count)
        else:
            sender.send(b"hello")
        message, descriptors = receive_descriptors(receiver, 100, 2)
        assert (message, len(descriptors)) == (b"hello", min(count, 2))
        assert [os.get_inheritable(each) for each in descriptors] == [False] * len(descriptors)
        assert len(os.listdir("/proc/self/fd")) == before + len(descriptors), "the kernel closes what is too much"
        for each in descriptors:
            os.close(each)
