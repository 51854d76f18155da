"""A failed test leaves nothing that could fail the next one."""

from __future__ import annotations

import gc
import socket
import sys
import warnings
import weakref

import failed_tests


class Peer(socket.socket):
    """A socket that can be watched."""


def fail_with_an_open_socket(seen: list[weakref.ref[Peer]]) -> None:
    peer = Peer()
    seen.append(weakref.ref(peer))
    raise AssertionError(peer)


def test_the_sockets_of_a_failed_test_are_closed_without_a_warning() -> None:
    seen = list[weakref.ref[Peer]]()
    try:
        fail_with_an_open_socket(seen)
    except AssertionError as error:
        sys.last_exc = error
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        failed_tests.let_go()
        gc.collect()
    assert seen[-1]() is None
    assert [each.message for each in warned] == []
    assert not hasattr(sys, "last_exc")
