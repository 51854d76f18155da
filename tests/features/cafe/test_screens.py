"""The counter's commands for the screens of seats: only it can give them, and each is carried out once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import runpy
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from web_server import NOW, TOKEN, Web, running_web

from hedgerow.app.signing_keys import SigningKey
from hedgerow.dashboards.accounts import Accounts
from hedgerow.dashboards.control import DeviceView, InvalidInput
from hedgerow.dashboards.passwords import PasswordHashes
from hedgerow.features.cafe.counter import CounterService
from hedgerow.features.cafe.counter_store import CounterAction, CounterStore, StaffRow
from hedgerow.features.cafe.screens import SILENT_S, ScreenCommand, SeatScreens
from hedgerow.features.cafe.seat_agent import (
    UNREADABLE,
    CounterLine,
    Seat,
    SeatCommand,
    SeatServer,
    is_signed,
    shutdown_words,
)
from hedgerow.features.cafe.wake import magic_packet, send_magic_packets
from hedgerow.journal.accounts import AccountStore
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.store import Store
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import parse_policy

SEAT = DeviceId("seat-1")
MAC = "02:00:5e:00:53:11"
POLICY = f"seats: {{seat-1: {{mac: '{MAC}'}}, seat-2: {{ip: 127.0.0.7}}}}\n"
ORDER = 2**252 + 27742317777372353535851937790883648493


def test_signatures_are_checked_as_the_library_does() -> None:
    for number in range(12):
        private, message = Ed25519PrivateKey.generate(), bytes(range(number * 7))
        key, signature = private.public_key().public_bytes_raw(), private.sign(message)
        assert is_signed(message, signature, key)
        scalar = int.from_bytes(signature[32:], "little") + ORDER
        wrong = [
            (message + b"!", signature, key),
            (message, signature[:-1], key),
            (message, b"", key),
            (message, bytes(64), key),
            (message, signature[:32] + scalar.to_bytes(32, "little"), key),  # the same number, written otherwise
            (message, Ed25519PrivateKey.generate().sign(message), key),
            (message, signature, Ed25519PrivateKey.generate().public_key().public_bytes_raw()),
            (message, signature, b"\xff" * 32),
            (message, signature, key[:-1]),
        ]
        for place in (0, 31, 32, 63):
            changed = bytearray(signature)
            changed[place] ^= 1
            wrong.append((message, bytes(changed), key))
        assert not any(is_signed(*each) for each in wrong)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Line(SeatServer):
    """The way from a seat's program to the counter, on which somebody may listen and send answers of their own."""

    def __init__(self, screens: SeatScreens, seat: DeviceId = SEAT) -> None:
        super().__init__("http://127.0.0.1:9")
        self._screens, self._of = screens, seat
        self.heard: list[bytes] = []
        self.forged: bytes | None = None

    def commands(self, nonce: str, is_locked: bool) -> bytes:
        answer = self._screens.take(self._of, nonce, is_locked=is_locked)
        self.heard.append(httpx.Response(200, json=answer).content)
        return self.heard[-1] if self.forged is None else self.forged


class Cafe:
    """A café's counter and the screens of its seats, with the program of one."""

    def __init__(self, journal: Store, folder: Path) -> None:
        self.clock, self.woken, self.store = Clock(), list[str](), CounterStore(journal)
        policy = parse_policy(POLICY.encode(), None)
        passwords = PasswordHashes(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        rules: Any = SimpleNamespace(
            policy=policy, view=None, usage=UsageStore(journal), ledger=None, reader=JournalReader(journal)
        )
        counter = CounterService(rules, self.store, Accounts(AccountStore(journal), time.time, passwords))
        self.problem: OSError | None = None
        self.screens = SeatScreens(counter, lambda: policy, folder / "key.pem", self.clock, self._wake)
        self.line = Line(self.screens)
        self.program = CounterLine(self.line, self.screens.key().public.public_bytes_raw())

    def _wake(self, macs: Iterable[str], _addresses: Iterable[str]) -> None:
        assert self.given()[-1][2] == "wake", "the entry is there before the packet"
        if self.problem is not None:
            raise self.problem
        self.woken.extend(macs)

    def give(self, do: ScreenCommand, text: str = "", seat: str = SEAT, request: str = "") -> None:
        asyncio.run(self.screens.command(seat, do, text, actor="Ana", request=request))

    def given(self) -> list[tuple[str, str, str]]:
        return [(each.actor, each.seat, each.note) for each in self.store.entries(0.0, 9e9)]


@pytest.fixture
def cafe(journal: Store, tmp_path: Path) -> Cafe:
    return Cafe(journal, tmp_path)


def test_the_counter_locks_unlocks_and_says_something(cafe: Cafe) -> None:
    assert cafe.program.ask() == []
    cafe.give(ScreenCommand.LOCK)
    cafe.give(ScreenCommand.MESSAGE, "Please come to the counter")
    assert cafe.program.ask() == [SeatCommand("message", "Please come to the counter")]
    assert cafe.program.is_locked
    assert cafe.program.ask() == [], "once"
    assert [each.is_locked for each in cafe.screens.screens()] == [True, False]
    restarted = CounterLine(cafe.line, cafe.screens.key().public.public_bytes_raw())
    assert restarted.ask() == []
    assert restarted.is_locked, "the program was ended and has begun anew"
    cafe.give(ScreenCommand.UNLOCK)
    cafe.give(ScreenCommand.SHUTDOWN)
    assert restarted.ask() == [SeatCommand("shutdown")]
    assert not restarted.is_locked
    assert cafe.given() == [("Ana", "seat-1", each) for each in ("lock", "message", "unlock", "shutdown")]
    assert {each.action for each in cafe.store.entries(0.0, 9e9)} == {CounterAction.SCREEN}


def test_what_was_heard_or_made_up_is_refused(cafe: Cafe) -> None:
    cafe.program.ask()
    cafe.give(ScreenCommand.LOCK)
    cafe.program.ask()
    cafe.give(ScreenCommand.UNLOCK)
    unlock = json.loads((cafe.program.ask(), cafe.line.heard[-1])[1])
    cafe.give(ScreenCommand.LOCK)
    cafe.program.ask()
    of_another = SigningKey.make()
    forgeries = {
        "again": unlock,
        "changed": unlock | {"order": unlock["order"].replace("unlock", "shutdown")},
        "by another": unlock | {"signature": of_another.sign(unlock["order"])},
        "unsigned": unlock | {"signature": ""},
        "no order": {"signature": "x"},
    }
    for name, each in forgeries.items():
        cafe.line.forged = json.dumps(each).encode()
        with pytest.raises((ValueError, KeyError)):
            cafe.program.ask()
        assert cafe.program.is_locked, name
    for other in (b"[1]", b"{", b"null", b'{"order": {}}'):
        cafe.line.forged = other
        with contextlib.suppress(ValueError, KeyError, TypeError):
            assert cafe.program.ask() == []
        assert cafe.program.is_locked


class OtherTexts(Line):
    """A line on which all is signed by the site, as statements are, but for another purpose."""

    def commands(self, nonce: str, is_locked: bool) -> bytes:
        commands = [{"do": "unlock" if is_locked else "shutdown", "text": ""}]
        text = "statement\n" + json.dumps({"nonce": nonce, "commands": commands})
        return json.dumps({"order": text, "signature": self._screens.key().sign(text)}).encode()


def test_other_texts_of_the_key_are_no_commands(cafe: Cafe) -> None:
    program = CounterLine(OtherTexts(cafe.screens), cafe.screens.key().public.public_bytes_raw())
    with pytest.raises(ValueError, match="not an answer"):
        program.ask()


def test_a_silent_seat_a_double_tap_and_nobody_on_duty(cafe: Cafe) -> None:
    with pytest.raises(InvalidInput, match="does not answer"):
        cafe.give(ScreenCommand.LOCK)
    cafe.program.ask()
    for _ in range(2):
        cafe.give(ScreenCommand.MESSAGE, "Hello", request="a form")
    assert cafe.program.ask() == [SeatCommand("message", "Hello")]
    cafe.give(ScreenCommand.MESSAGE, "Too late")
    cafe.clock.now += 60
    assert cafe.program.ask() == []
    cafe.clock.now += SILENT_S
    with pytest.raises(InvalidInput, match="does not answer"):
        cafe.give(ScreenCommand.SHUTDOWN)
    with pytest.raises(InvalidInput, match="seat-9"):
        cafe.give(ScreenCommand.LOCK, seat="seat-9")
    cafe.program.ask()
    cafe.store.put_staff(StaffRow("Ben", "staff", NOW, "hash"))
    with pytest.raises(InvalidInput, match="on duty"):
        cafe.give(ScreenCommand.LOCK)
    assert cafe.given() == [("Ana", "seat-1", "message")] * 2


def test_a_seat_is_woken_by_its_mac_address(cafe: Cafe) -> None:
    cafe.give(ScreenCommand.WAKE)
    assert cafe.woken == [MAC]
    assert cafe.given() == [("Ana", "seat-1", "wake")]
    with pytest.raises(InvalidInput, match="MAC address"):
        cafe.give(ScreenCommand.WAKE, seat="seat-2")


def test_a_wake_that_fails_has_its_entry_and_is_tried_again(cafe: Cafe) -> None:
    cafe.problem = OSError(101, "Network is unreachable")
    with pytest.raises(InvalidInput, match="Network is unreachable"):
        cafe.give(ScreenCommand.WAKE, request="a form")
    cafe.problem = None
    cafe.give(ScreenCommand.WAKE, request="a form")
    assert cafe.woken == [MAC]
    assert cafe.given() == [("Ana", "seat-1", "wake")]


def test_no_message_is_lost_while_the_program_asks(cafe: Cafe) -> None:
    """Commands and questions meet on one event loop, and the page's route asks there."""
    cafe.program.ask()
    taken: list[str] = []

    async def give_and_take() -> None:
        async def ask() -> None:
            while len(taken) < 20:
                order = cafe.screens.take(SEAT, "0" * 32, is_locked=False).get("order", "")
                if order:
                    taken.extend(each["text"] for each in json.loads(order.partition("\n")[2])["commands"])
                await asyncio.sleep(0)

        asking = asyncio.create_task(ask())
        for number in range(20):
            await cafe.screens.command(SEAT, ScreenCommand.MESSAGE, f"{number}", actor="Ana")
        await asyncio.wait_for(asking, 10)

    asyncio.run(give_and_take())
    assert taken == [f"{number}" for number in range(20)]


def test_the_packet_reaches_the_network_of_an_address() -> None:
    with pytest.raises(OSError, match="no address"):
        send_magic_packets([MAC], [])
    assert magic_packet(MAC) == b"\xff" * 6 + bytes.fromhex("02005e005311") * 16


def test_each_system_has_its_command() -> None:
    assert shutdown_words("linux") == ["systemctl", "poweroff"]
    assert shutdown_words("win32")[:2] == ["shutdown", "/s"]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with running_web(tmp_path) as running:
        running.policy_path.write_text(POLICY)
        running.control.devices["127.0.0.1"] = DeviceView(SEAT, None, "seat-child", is_seat=True, is_captive=True)
        yield running


def test_the_program_is_one_file_that_obeys_this_counter(web: Web, tmp_path: Path) -> None:
    admin = {"authorization": f"Bearer {TOKEN}"}
    with httpx.Client(
        base_url=web.url, trust_env=False, timeout=60, headers={"origin": web.url, "accept-language": "en"}
    ) as counter:
        written = counter.get("/api/v1/screens/program", params={"server": web.url}, headers=admin).text
        assert "http://127.0.0.1:8053" in counter.get("/counter/screens/program").text
        file = tmp_path / "seat.pyw"
        file.write_text(written)
        asked = subprocess.run(
            [sys.executable, file, "--once"], capture_output=True, text=True, timeout=60, check=False
        )
        assert (asked.stdout, asked.returncode) == ("captive\n", 3)
        facts = runpy.run_path(str(file), run_name="a copy")
        server = facts["SeatServer"](facts["SERVER"])
        program = facts["CounterLine"](server, bytes.fromhex(facts["KEY"]))
        assert server.seat().name == "seat-1"
        assert "does not answer" in counter.get("/counter/screens").text
        assert counter.post("/counter/screens/lock", data={"seat": "seat-1"}).status_code == 422
        assert program.ask() == []
        assert 'aria-label="Lock seat-1"' in counter.get("/counter/screens").text
        locked = counter.post("/counter/screens/lock", data={"seat": "seat-1"}).headers["location"]
        assert locked.startswith("/counter/screens?done=")
        sent = counter.post("/api/v1/screens/seat-1/message", json={"text": "Hi"}, headers=admin)
        assert sent.status_code == 204
        assert [(each.do, each.text) for each in program.ask()] == [("message", "Hi")]
        assert program.is_locked
        assert program.ask() == []
        assert 'aria-label="Unlock seat-1"' in counter.get("/counter/screens/list").text
        listed = counter.get("/api/v1/screens", headers=admin).json()
        assert listed[0] == {"seat": "seat-1", "is_on": True, "is_locked": True}
        assert server.call()
        assert server.seat().is_called
        assert counter.post("/device/commands", data={"nonce": "short"}).status_code == 422


def test_an_answer_of_something_else_is_no_surprise() -> None:
    """The program goes on after it: what answers in the server's place must not keep it from the next look."""

    def answer() -> None:
        with listening.accept()[0] as peer:
            peer.recv(4096)
            peer.sendall(b"garbage\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        other = threading.Thread(target=answer)
        other.start()
        with pytest.raises(UNREADABLE):
            SeatServer(f"http://127.0.0.1:{listening.getsockname()[1]}").seat()
        other.join()
    with pytest.raises(UNREADABLE):
        Seat.parse(b"[" * 60_000)
