"""A worker and the gateway's process over their socket: admission, renewal, and the loss of either side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from hedgerow.app.gateway.process import AdmissionServer
from hedgerow.app.workers import admissions
from hedgerow.app.workers.admissions import DestinationAdmitter
from hedgerow.network.nft_sets import SetElement, SetWriter

MAC = bytes.fromhex("02000000000a")
FIRST, SECOND = bytes((192, 0, 2, 1)), bytes(16)


class Sets(SetWriter):
    """Keeps the elements instead of the kernel; `tests/network/test_nft_sets.py` and `tests/lab` use the kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[dict[str, list[SetElement]]] = []
        self.fails = False

    def write(
        self, added: Mapping[str, Sequence[SetElement]], removed: Mapping[str, Sequence[SetElement]] | None = None
    ) -> None:
        if self.fails:
            raise OSError(2, "no table")
        self.written.append({name: list(elements) for name, elements in added.items()})


class Worker:
    def __init__(self, path: Path) -> None:
        self.changes: list[bool] = []
        self.counted: list[str] = []
        config = path.with_name("gateway.json")
        config.touch()
        self.admitter = DestinationAdmitter(
            path, config, lambda: self.changes.append(self.admitter.is_connected), self.counted.append
        )

    async def admitted(self, *addresses: bytes, ttl: int = 60) -> tuple[bool, bool]:
        """Return whether the addresses were admitted, and whether the answer had to wait."""
        done = asyncio.get_running_loop().create_future()
        if self.admitter.admit(MAC, addresses, ttl, done.set_result):
            return True, False
        return bool(await done), True


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def in_company(path: Path, use: Callable[[Worker, AdmissionServer, Sets], object]) -> None:
    sets = Sets()
    server, worker = AdmissionServer(path, sets), Worker(path)
    connecting = asyncio.create_task(worker.admitter.run())
    try:
        await server.restore()
        await until(lambda: worker.admitter.is_connected)
        await use(worker, server, sets)  # type: ignore[misc]
    finally:
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        server.close()
        sets.close()


def test_addresses_are_admitted_once_and_renewed_in_time(tmp_path: Path) -> None:
    async def use(worker: Worker, _server: AdmissionServer, sets: Sets) -> None:
        assert await worker.admitted(FIRST, SECOND) == (True, True)
        assert sets.written == [
            {
                "admitted_v4": [SetElement(MAC + b"\0\0" + FIRST, 7200)],
                "admitted_v6": [SetElement(MAC + b"\0\0" + SECOND, 7200)],
            }
        ]
        assert await worker.admitted(SECOND) == (True, False)
        assert await worker.admitted(FIRST, ttl=7000) == (True, False)
        assert await worker.admitted(FIRST, ttl=86_400) == (True, True), "the device may use the answer for longer"
        assert sets.written[1] == {"admitted_v4": [SetElement(MAC + b"\0\0" + FIRST, 172_800)]}
        assert worker.counted == ["admitted", "admitted"]

    asyncio.run(in_company(tmp_path / "gateway.sock", use))


def test_a_failure_sends_the_answer_and_is_no_admission(tmp_path: Path) -> None:
    async def use(worker: Worker, _server: AdmissionServer, sets: Sets) -> None:
        sets.fails = True
        assert await worker.admitted(FIRST) == (False, True)
        sets.fails = False
        assert await worker.admitted(FIRST) == (True, True)
        assert worker.counted == ["failed", "admitted"]

    asyncio.run(in_company(tmp_path / "gateway.sock", use))


def test_a_slow_gateway_holds_an_answer_for_a_moment_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(worker: Worker, server: AdmissionServer, _sets: Sets) -> None:
        waiting: list[Callable[[], None]] = []
        receive = server._receive
        for connection in server._connections:
            asyncio.get_running_loop().remove_reader(connection)
            asyncio.get_running_loop().add_reader(connection, lambda: None)
            waiting.append(lambda connection=connection: receive(connection))  # type: ignore[misc]
        assert await worker.admitted(FIRST) == (False, True)
        assert worker.counted == ["late"]
        for go_on in waiting:
            go_on()

    monkeypatch.setattr(admissions, "HOLD_S", 0.02)
    asyncio.run(in_company(tmp_path / "gateway.sock", use))


def test_what_was_missed_is_admitted_after_a_reconnection(tmp_path: Path) -> None:
    async def use(worker: Worker, server: AdmissionServer, _sets: Sets) -> None:
        assert await worker.admitted(FIRST) == (True, True)
        server.close()
        await until(lambda: not worker.admitter.is_connected)
        assert await worker.admitted(SECOND) == (True, False), "nothing to wait for"
        assert worker.counted == ["admitted", "missed"]
        again = Sets()
        successor = AdmissionServer(tmp_path / "gateway.sock", again)
        try:
            await successor.restore()
            await until(lambda: again.written)
            assert again.written == [{"admitted_v6": [SetElement(MAC + b"\0\0" + SECOND, 7200)]}]
            assert worker.changes == [True, False, True]
            assert await worker.admitted(FIRST) == (True, True), "a new process may not know it"
        finally:
            successor.close()
            again.close()

    asyncio.run(in_company(tmp_path / "gateway.sock", use))


def test_destinations_are_written_again_after_a_change_of_the_table(tmp_path: Path) -> None:
    async def use(worker: Worker, server: AdmissionServer, sets: Sets) -> None:
        for number in range(3):
            assert await worker.admitted(bytes((192, 0, 2, number))) == (True, True)
        sets.written.clear()
        await server.restore()
        ((name, elements),) = sets.written[0].items()
        assert (name, len(elements), len(sets.written)) == ("admitted_v4", 3, 1)
        assert all(7190 <= element.seconds <= 7200 for element in elements)

    asyncio.run(in_company(tmp_path / "gateway.sock", use))


def test_malformed_requests_end_their_connection_only(tmp_path: Path) -> None:
    import socket

    async def use(worker: Worker, server: AdmissionServer, _sets: Sets) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.connect(str(tmp_path / "gateway.sock"))
            stranger.settimeout(5)
            stranger.send(b"nonsense" * 20)
            assert await asyncio.to_thread(stranger.recv, 10) == b""
        await until(lambda: len(server._connections) == 1)
        assert await worker.admitted(FIRST) == (True, True)

    asyncio.run(in_company(tmp_path / "gateway.sock", use))
