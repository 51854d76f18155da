"""Listening sockets of a run: opened once, handed to each process by descriptor, and found there by their address."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path

import pytest
from service_manager import ServiceManager, service_manager
from small_internet.running import wait_until

from hedgerow.app.ipc import InheritedSockets, format_descriptors, parse_descriptors
from hedgerow.app.listening import KeptSockets, open_listeners
from hedgerow.app.settings import Endpoint, Settings, has_ipv6
from hedgerow.app.startup import prepare_run

ANY = Endpoint("127.0.0.1", 0)
DATAGRAMS, STREAMS = socket.SOCK_DGRAM, socket.SOCK_STREAM


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    chosen = Settings(
        tmp_path, None, ANY, ANY, ANY, workers=2, inspectors=2, encrypted={"doq": ANY, "dot": ANY}, log_level="error"
    )
    settings, lock = prepare_run(chosen)
    lock.release()
    return settings


@contextlib.contextmanager
def inherited(sockets: list[socket.socket]) -> Iterator[InheritedSockets]:
    """As in a child, which has descriptors of its own."""
    copies = [each.dup() for each in sockets]
    found = InheritedSockets(parse_descriptors(format_descriptors(each.fileno() for each in copies)))
    for each in copies:
        each.detach()
    yield found
    found.close()
    for each in sockets:
        each.close()


def take(sockets: InheritedSockets, endpoint: Endpoint, kind: socket.SocketKind) -> socket.socket:
    found = sockets.take(endpoint, kind)
    assert found is not None
    return found


def test_each_process_finds_its_own_sockets(settings: Settings) -> None:
    slots = open_listeners(settings)
    assert set(slots) == {"control-0", "dns-0", "dns-1", "gate-0", "gate-1", "inspector-0", "inspector-1"}
    places = [
        (settings.dns, DATAGRAMS),
        (settings.dns, STREAMS),
        (settings.encrypted["doq"], DATAGRAMS),
        (settings.encrypted["dot"], STREAMS),
    ]
    with inherited(slots.pop("dns-0")) as first, inherited(slots.pop("dns-1")) as second:
        for endpoint, kind in places:
            with take(first, endpoint, kind) as one, take(second, endpoint, kind) as other:
                assert one.getsockname() == other.getsockname() == (endpoint.host, endpoint.port)
                assert first.take(endpoint, kind) is None, "each is taken once"
        assert first.take(settings.web, STREAMS) is None
    with socket.socket(socket.AF_UNIX, DATAGRAMS) as gate:
        gate.sendto(b"a client", str(settings.inspector_socket(1)))
    with inherited(slots.pop("inspector-1")) as inspector:
        local = inspector.take_local()
        assert local is not None
        with local:
            assert local.recv(100) == b"a client", "which came before there was an inspector"
    close(slots)


def close(slots: dict[str, list[socket.socket]]) -> None:
    for each in (each for sockets in slots.values() for each in sockets):
        each.close()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_every_family_is_listened_on(settings: Settings) -> None:
    everywhere = replace(settings, dns=Endpoint("0.0.0.0", 0), workers=1, encrypted={})
    settings, lock = prepare_run(everywhere)  # with a port that is free at every address
    lock.release()
    slots = open_listeners(settings)
    assert [each.family for each in slots["dns-0"]] == [socket.AF_INET] * 2 + [socket.AF_INET6] * 2
    with inherited(slots.pop("dns-0")) as dns:
        take(dns, Endpoint("::", settings.dns.port), DATAGRAMS).close()
    close(slots)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    with service_manager(tmp_path / "notify") as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", str(manager.place))
        yield manager


def slots_of(systemd: ServiceManager) -> Counter[str]:
    return Counter(name.partition(".")[0] for name in systemd.kept)


def test_sockets_that_systemd_kept_are_used_again(settings: Settings, systemd: ServiceManager) -> None:
    close(open_listeners(settings))
    stored = {"control-0": 1, "dns-0": 4, "dns-1": 4, "gate-0": 1, "gate-1": 1}
    wait_until(lambda: slots_of(systemd) == stored, 20, "all but those of the inspectors are stored")
    with socket.socket(socket.AF_INET, DATAGRAMS) as client:
        client.sendto(b"a query while nobody serves", (settings.dns.host, settings.dns.port))
    kept = KeptSockets(systemd.sockets())
    again, lock = prepare_run(settings, kept)
    lock.release()
    assert again == settings, "the ports are not in use by another program"
    slots = open_listeners(again, kept)
    assert slots_of(systemd) == stored, "nothing is stored twice"
    datagrams = [
        each
        for slot in ("dns-0", "dns-1")
        for each in slots[slot]
        if each.getsockname() == (again.dns.host, again.dns.port)
    ]
    (ready,) = wait([each for each in datagrams if each.type == DATAGRAMS], 20)
    assert isinstance(ready, socket.socket)
    assert ready.recv(100) == b"a query while nobody serves"
    close(slots)


def test_kept_sockets_that_a_run_does_not_want_are_closed_at_systemd_too(
    settings: Settings, systemd: ServiceManager
) -> None:
    close(open_listeners(settings))
    wait_until(lambda: len(systemd.kept) == 11, 20, "all are stored")
    kept = KeptSockets(systemd.sockets())
    elsewhere = replace(settings, workers=1, dns=ANY)
    again, lock = prepare_run(elsewhere, kept)
    lock.release()
    assert slots_of(systemd) == {"control-0": 1, "dns-0": 2, "gate-0": 1}
    for kind in (DATAGRAMS, STREAMS):
        settings.dns.bind(kind).close()
    close(open_listeners(again, kept))
    wait_until(lambda: slots_of(systemd) == {"control-0": 1, "dns-0": 4, "gate-0": 1}, 20, "the new ones are stored")


def test_the_kept_block_page_gives_way_to_a_listener_on_all_addresses(
    settings: Settings, systemd: ServiceManager
) -> None:
    with ANY.bind(STREAMS) as free:
        port = free.getsockname()[1]
    before = replace(settings, page=(Endpoint("127.0.0.1", port),))
    close(open_listeners(before))
    wait_until(lambda: slots_of(systemd)["gate-1"] == 2, 20, "the sockets of the block page are stored")
    kept = KeptSockets(systemd.sockets())
    again, lock = prepare_run(replace(before, encrypted={"doh": Endpoint("0.0.0.0", port)}), kept)
    lock.release()
    kept.close()
    assert again.page == ()


def test_nothing_stays_open_if_one_port_is_taken(settings: Settings) -> None:
    with settings.web.bind(STREAMS) as other:
        other.listen()
        with pytest.raises(OSError, match="in use"):
            open_listeners(settings)
    close(open_listeners(settings))
