"""Claiming of ports and the state directory before anything starts; each failure is one sentence with a remedy."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.app.settings import Endpoint, Settings
from hedgerow.app.startup import StartError, claim_endpoint, prepare_run

BOTH = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
ANY = Endpoint("127.0.0.1", 0)


def settings_in(state: Path) -> Settings:
    return Settings(state, None, ANY, ANY, ANY, log_level="error")


def test_port_0_becomes_a_free_port() -> None:
    found = claim_endpoint(ANY, "dns", BOTH)
    assert found.host == ANY.host
    assert found.port > 0


@pytest.mark.parametrize("kind", BOTH)
def test_a_port_in_use_is_refused_even_with_reuseport(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=rf"Port {port} on 127.0.0.1 \(dns\) is in use .* --dns ADDRESS:PORT"):
            claim_endpoint(Endpoint("127.0.0.1", port), "dns", BOTH)


@pytest.mark.parametrize(
    ("dot", "doh"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::1", "0.0.0.0")]
)
def test_two_parts_with_the_same_port_are_refused(tmp_path: Path, dot: str, doh: str) -> None:
    settings = replace(settings_in(tmp_path), encrypted={"dot": Endpoint(dot, 853), "doh": Endpoint(doh, 853)})
    with pytest.raises(
        StartError, match=r"Port 853 is configured for both dot and doh: choose another with --doh ADDRESS:PORT"
    ):
        prepare_run(settings)


def test_the_same_port_is_allowed_on_other_addresses_and_for_tcp_and_udp(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = replace(
        settings_in(tmp_path),
        encrypted={
            name: Endpoint(host, port)
            for name, host in (("dot", "127.0.0.1"), ("doh", "127.0.0.2"), ("doq", "127.0.0.1"))
        },
    )
    _, lock = prepare_run(places)
    lock.release()


def test_a_foreign_address_is_refused() -> None:
    with pytest.raises(StartError, match=r"no address 192\.0\.2\.1 \(web\)"):
        claim_endpoint(Endpoint("192.0.2.1", 0), "web", (socket.SOCK_STREAM,))


def test_an_unwritable_state_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StartError, match=r"Can't write to the state directory .*state: .* --state DIR"):
        prepare_run(settings_in(tmp_path / "state"))


def test_a_second_run_on_one_state_directory_is_refused(tmp_path: Path) -> None:
    _, lock = prepare_run(settings_in(tmp_path))
    with pytest.raises(StartError, match=rf"process {os.getpid()}\) already uses"):
        prepare_run(settings_in(tmp_path))
    lock.release()


def test_the_pass_key_is_new_and_private_at_each_start(tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        settings, lock = prepare_run(settings_in(tmp_path))
        keys.append(settings.pass_key.read_bytes())
        assert settings.pass_key.stat().st_mode & 0o777 == 0o600
        lock.release()
    assert keys[0] != keys[1]
