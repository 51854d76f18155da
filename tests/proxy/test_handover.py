"""Handing a client's socket to an inspector: the socket with its message, and the signed token in the header."""

from __future__ import annotations

import contextlib
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.proxy.handover import (
    TOKEN_SECONDS,
    HandoverHeader,
    HandoverSender,
    encode_handover_header,
    load_handover_key,
    parse_handover_header,
    receive_client,
)
from hedgerow.proxy.http_head import Authority
from hedgerow.sockets import bind_datagrams


@contextlib.contextmanager
def messenger(*paths: Path) -> Iterator[HandoverSender]:
    found = HandoverSender(paths)
    yield found
    found.close()


def give(gate: HandoverSender, message: bytes = b"x") -> bool:
    """Hand one end of a pair over whose other end says what is read there."""
    theirs, ours = socket.socketpair()
    with theirs, ours:
        ours.sendall(b"from the client")
        return gate.hand_over(theirs.fileno(), message)


def take_all(inspector: socket.socket) -> int:
    """Receive and close every waiting client. Return their number."""
    count = 0
    while (found := receive_client(inspector)) is not None:
        found[0].close()
        count += 1
    return count


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 16 * 1024 + 1, 600_000])
def test_a_socket_arrives_with_its_message(tmp_path: Path, size: int) -> None:
    message = bytes(number % 251 for number in range(size))
    with bind_datagrams(tmp_path / "a") as inspector, messenger(tmp_path / "a") as gate:
        assert receive_client(inspector) is None
        assert give(gate, message)
        found = receive_client(inspector)
        assert found is not None
        with found[0] as client:
            assert (client.recv(100), client.recv(100), found[1]) == (b"from the client", b"", message)
            assert not client.get_inheritable()


def test_the_socket_file_is_private(tmp_path: Path) -> None:
    with bind_datagrams(tmp_path / "a"):
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_the_next_inspector_is_used_if_one_is_down_or_full(tmp_path: Path) -> None:
    down, up, other = (tmp_path / name for name in ("down", "up", "other"))
    bind_datagrams(down).close()
    with messenger(down, down) as gate, pytest.raises(OSError):
        give(gate)
    with bind_datagrams(up) as first, bind_datagrams(other) as second, messenger(down, up, other) as gate:
        given = 0
        while give(gate):
            given += 1
            assert given < 100_000
        taken = [take_all(each) for each in (first, second)]
        assert sum(taken) == given
        assert min(taken) > 0
        assert give(gate)


def test_a_message_without_a_socket_is_skipped(tmp_path: Path) -> None:
    with (
        bind_datagrams(tmp_path / "a") as inspector,
        messenger(tmp_path / "a") as gate,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        other.sendto(b"nothing", str(tmp_path / "a"))
        assert give(gate, b"something")
        found = receive_client(inspector)
        assert found is not None
        found[0].close()
        assert found[1] == b"something"
        assert receive_client(inspector) is None


def test_an_old_inspector_gets_what_was_sent_before_its_successor(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with bind_datagrams(path) as elder, messenger(path) as gate:
        give(gate, b"1")
        with bind_datagrams(path) as successor:
            give(gate, b"2")
            for inspector, message in ((elder, b"1"), (successor, b"2")):
                found = receive_client(inspector)
                assert found is not None
                found[0].close()
                assert found[1] == message


KEY = b"k" * 32
NOW = 1_790_000_000.0
HEADER = HandoverHeader("2001:db8::7", Authority("a.example", 443))
GOOD = encode_handover_header(KEY, HEADER, NOW).removesuffix(b"\r\n")


def test_a_token_vouches_for_an_address_until_it_expires() -> None:
    assert parse_handover_header(KEY, GOOD, NOW) == HEADER
    assert parse_handover_header(KEY, GOOD, NOW + TOKEN_SECONDS - 1) == HEADER
    assert parse_handover_header(KEY, GOOD, NOW + TOKEN_SECONDS + 1) is None
    assert parse_handover_header(b"x" * 32, GOOD, NOW) is None


@given(st.integers(0, GOOD.index(b" ") - 1), st.binary(min_size=1, max_size=1))
def test_a_changed_token_is_refused(position: int, octet: bytes) -> None:
    changed = GOOD[:position] + octet + GOOD[position + 1 :]
    found = parse_handover_header(KEY, changed, NOW)
    # The last digit of base64 has spare bits, and characters outside its alphabet are skipped: the token then says the
    # same.
    assert found in {None, HEADER}


@given(st.binary(max_size=100))
def test_garbage_is_no_header(line: bytes) -> None:
    assert parse_handover_header(KEY, line, NOW) is None


def test_a_key_of_another_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pass.key"
    path.write_bytes(KEY)
    assert load_handover_key(path) == KEY
    for torn in (b"", KEY[:-1], KEY + b"x"):
        path.write_bytes(torn)
        with pytest.raises(ValueError, match="32 bytes"):
            load_handover_key(path)
