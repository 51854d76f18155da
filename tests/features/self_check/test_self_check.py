"""Trials of inspection: what does not work is told, and replaced."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.family import LISTS, family_policy
from small_internet.running import Hedgerow, running_hedgerow, wait_until

from hedgerow.app.ipc import WorkerRow, WorkersFile
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.codec import encode
from hedgerow.features.self_check.services import (
    InspectionCheck,
    InspectionFailure,
    try_inspector,
)
from hedgerow.proxy.handover import CHECKED, KEY_BYTES, UNSIGNED, load_handover_key, receive_client
from hedgerow.sockets import bind_datagrams

PATIENCE = 60.0
HERE = Endpoint("127.0.0.1", 1)
INSPECTOR, SIGNER = 101, 102


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(family_policy(whole_internet), lists=LISTS) as running:
        yield running


@pytest.mark.service
def test_an_inspector_that_works_has_a_certificate_from_the_signer(house: Hedgerow) -> None:
    place, key = house.state / "run/inspect/0.sock", load_handover_key(house.state / "run/pass.key")
    wait_until(lambda: try_inspector(place, key, time.time()) == CHECKED, PATIENCE, "the trial succeeds")
    assert try_inspector(place, bytes(KEY_BYTES), time.time()) == b"", "nobody else may ask"
    assert try_inspector(house.state / "nowhere", key, time.time()) == b""


@contextlib.contextmanager
def inspector(settings: Settings, answer: bytes) -> Iterator[None]:
    """A process that takes connections over at an inspector's socket, and answers each so."""
    settings.inspector_sockets.mkdir()
    listener = bind_datagrams(settings.inspector_socket(0))
    listener.setblocking(True)
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.is_set() and (found := receive_client(listener)) is not None:
            with found[0] as client:
                client.send(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        try_inspector(settings.inspector_socket(0), bytes(KEY_BYTES), 0.0)
        thread.join()
        listener.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(tmp_path, None, HERE, HERE, HERE)
    found.run.mkdir()
    found.pass_key.write_bytes(bytes(KEY_BYTES))
    list_workers(found, since=0.0)
    return found


def list_workers(settings: Settings, since: float) -> None:
    rows = (
        WorkerRow("inspector", 0, INSPECTOR, since, ready=True, restarts=0, renewals=0),
        WorkerRow("signer", 0, SIGNER, since, ready=True, restarts=0, renewals=0),
    )
    settings.workers_file.write_bytes(encode(WorkersFile(1, rows)))


def test_a_busy_inspector_has_time_to_make_room(settings: Settings) -> None:
    settings.inspector_sockets.mkdir()
    place, key, answers = settings.inspector_socket(0), load_handover_key(settings.pass_key), list[bytes]()
    with contextlib.closing(bind_datagrams(place)) as listener:
        fill(place)
        assert try_inspector(place, key, time.time(), seconds=0.0) == b""
        trial = threading.Thread(target=lambda: answers.append(try_inspector(place, key, time.time())))
        trial.start()
        while trial.is_alive():
            if (found := receive_client(listener)) is not None:
                with found[0] as client:
                    client.send(CHECKED)
        trial.join()
    assert answers == [CHECKED]


def fill(place: Path) -> None:
    """Send datagrams to a socket until it takes no further one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(BlockingIOError):
        sender.setblocking(False)
        while True:
            sender.sendto(b"no client", str(place))


@pytest.mark.parametrize(
    ("answer", "culprit", "replaced"),
    [(b"", "inspector", (INSPECTOR, signal.SIGUSR1)), (UNSIGNED, "signer", (SIGNER, signal.SIGTERM))],
)
def test_what_fails_three_times_is_told_and_replaced(
    settings: Settings, answer: bytes, culprit: str, replaced: tuple[int, int]
) -> None:
    killed = list[tuple[int, int]]()
    check = InspectionCheck(settings, lambda pid, number: killed.append((pid, number)))
    with inspector(settings, answer):
        for _ in range(2):
            asyncio.run(check.check())
        for expected in ([replaced], [replaced], [replaced], [replaced] * 2):
            with pytest.raises(InspectionFailure, match=f"the {culprit} does not do its work"):
                asyncio.run(check.check())
            assert killed == expected


def test_a_success_between_failures_replaces_nothing(settings: Settings) -> None:
    killed = list[tuple[int, int]]()
    check = InspectionCheck(settings, lambda pid, number: killed.append((pid, number)))
    for _ in range(3):
        asyncio.run(check.check())  # there is no socket
        with inspector(settings, CHECKED):
            asyncio.run(check.check())
        settings.inspector_socket(0).unlink()
        settings.inspector_sockets.rmdir()
    assert killed == []


def test_processes_that_start_are_not_tried(settings: Settings) -> None:
    list_workers(settings, since=time.time())
    asyncio.run(InspectionCheck(settings, lambda _pid, _number: pytest.fail("it is replaced")).check())
