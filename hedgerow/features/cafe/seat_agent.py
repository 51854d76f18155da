#!/usr/bin/env python3
"""Program for the screen of a café's seat: a curtain while Hedgerow has no session for it, and the counter's commands.

It asks Hedgerow's captive portal API (RFC 8908) every few seconds. While the seat is captive, a window without a frame
covers the screen. It takes the code of a voucher, or shows the café's code of conduct to a guest who has not accepted
it yet. Otherwise a small window shows the seat's name, the time that is left, and a button that calls the staff. It
needs Python 3.9 and Tk (Debian: `python3-tk`; Python for Windows has it), and nothing else.

The counter can lock the screen, show a message, and shut the computer down. A command counts only if it is signed with
the key in this file, together with the number with which the program asked, which is new each time. Deliberately
absent: anything that looks at the screen or at files.

It is a curtain, not a lock: start it as the seat's only session, so that there is no desktop to return to. What the
internet does is decided by Hedgerow, whether this program runs or not.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tkinter

SERVER, KEY = "", ""
"""Address of Hedgerow's pages, and its public key in hexadecimal digits. A downloaded copy has both."""

COMMANDS_OF = "hedgerow seat commands 1"
POLL_S, TIMEOUT_S, WARN_S, SHUTDOWN_S = 3, 5, 300, 30
MAX_BYTES = 65536
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError, http.client.HTTPException)
"""What reading an answer may raise, whoever gave it."""
DARK = "#1c241d"

# Ed25519 (RFC 8032), verification only: the standard library has no signatures, and seats have nothing else installed.
# Points are in extended coordinates: (X, Y, Z, T) with x = X/Z, y = Y/Z and xy = T/Z.
Point = tuple[int, int, int, int]
_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_SQRT_MINUS_1 = pow(2, (_P - 1) // 4, _P)


def _add(one: Point, other: Point) -> Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c, d = 2 * one[3] * other[3] * _D % _P, 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiply(number: int, point: Point) -> Point:
    found = (0, 1, 1, 0)
    while number:
        if number & 1:
            found = _add(found, point)
        point, number = _add(point, point), number >> 1
    return found


def _point(octets: bytes) -> Point | None:
    """Return the point that 32 octets encode, or None (RFC 8032, section 5.1.3)."""
    encoded = int.from_bytes(octets, "little")
    y, sign = encoded & (2**255 - 1), encoded >> 255
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _SQRT_MINUS_1 % _P
    if y >= _P or (x * x - square) % _P or (not x and sign):
        return None
    x = _P - x if x & 1 != sign else x
    return x, y, 1, x * y % _P


_BASE = _point((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))


def is_signed(message: bytes, signature: bytes, key: bytes) -> bool:
    """Return True if the owner of an Ed25519 key has made this signature of a message."""
    if len(signature) != 64 or len(key) != 32:
        return False
    public, commitment = _point(key), _point(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if public is None or commitment is None or _BASE is None or scalar >= _ORDER:
        return False
    hashed = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % _ORDER
    left, right = _multiply(scalar, _BASE), _add(commitment, _multiply(hashed, public))
    return all((left[i] * right[2] - right[i] * left[2]) % _P == 0 for i in (0, 1))


@dataclass(frozen=True)
class Seat:
    """State of this seat, as Hedgerow tells it. `left` is in seconds, None without an end.

    `conduct` is a text that the guest must accept first. `is_called`: the staff has been called.
    """

    captive: bool
    left: int | None = None
    conduct: str = ""
    name: str = ""
    is_called: bool = False

    @classmethod
    def parse(cls, data: bytes) -> Seat:
        """Read the API's answer. Raises ValueError."""
        facts = json.loads(data)
        if not isinstance(facts, dict) or not isinstance(facts.get("captive"), bool):
            raise ValueError("not an answer of a captive portal API")
        left = facts.get("seconds-remaining")
        return cls(
            facts["captive"],
            int(left) if isinstance(left, (int, float)) else None,
            str(facts.get("conduct", "")),
            str(facts.get("seat", "")),
            facts.get("called") is True,
        )


@dataclass(frozen=True)
class SeatCommand:
    """A command of the counter: `lock`, `unlock`, `message` or `shutdown`. `text` is that of a message."""

    do: str
    text: str = ""


class SeatServer:
    """Hedgerow at an address such as http://192.168.60.1:8053. Proxies of the desktop are not used."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def seat(self) -> Seat:
        """Return the state of this seat. Raises OSError or ValueError if there is no answer."""
        with self._opener.open(f"{self._url}/captive-portal", timeout=TIMEOUT_S) as answer:
            return Seat.parse(answer.read(MAX_BYTES))

    def redeem(self, code: str) -> bool:
        """Use a voucher at this seat. Returns False if Hedgerow does not take it; raises OSError without an answer."""
        return self._send("/device/voucher", {"code": code}) is not None

    def accept(self) -> bool:
        """Accept the code of conduct for the guest at this seat. Returns and raises as `redeem`."""
        return self._send("/device/conduct", {}) is not None

    def call(self) -> bool:
        """Call the staff to this seat. Returns and raises as `redeem`."""
        return self._send("/device/call", {}) is not None

    def commands(self, nonce: str, is_locked: bool) -> bytes:
        """Ask for commands. Raises OSError without an answer; it is empty if the server refuses to give one."""
        return self._send("/device/commands", {"nonce": nonce, "locked": "yes" if is_locked else "no"}) or b""

    def _send(self, path: str, form: dict[str, str]) -> bytes | None:
        data = urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(self._url + path, data, {"Origin": self._url})  # noqa: S310 (of the staff)
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return bytes(answer.read(MAX_BYTES))
        except urllib.error.HTTPError as error:
            error.close()
            return None


class CounterLine:
    """The counter's commands for this seat. `is_locked` until it unlocks the screen, whatever else happens."""

    def __init__(self, server: SeatServer, key: bytes) -> None:
        self._server, self._key = server, key
        self.is_locked = False

    def ask(self) -> list[SeatCommand]:
        """Return new messages and the command to shut down; the lock changes here. Raises OSError and ValueError."""
        nonce = secrets.token_hex(16)
        commands = self._read(self._server.commands(nonce, self.is_locked), nonce)
        for each in commands:
            if each.do in ("lock", "unlock"):
                self.is_locked = each.do == "lock"
        return [each for each in commands if each.do in ("message", "shutdown")]

    def _read(self, data: bytes, nonce: str) -> list[SeatCommand]:
        """Return the commands of an answer to this number. Raises ValueError for one that the key has not signed."""
        facts = json.loads(data or b"{}")
        if not facts:
            return []
        order, signature = str(facts["order"]), base64.b64decode(facts["signature"], validate=True)
        if not is_signed(order.encode(), signature, self._key):
            raise ValueError("not signed with the key of this file")
        about, _, text = order.partition("\n")
        if about != COMMANDS_OF or json.loads(text)["nonce"] != nonce:
            raise ValueError("not an answer to this question")
        return [SeatCommand(str(each["do"]), str(each["text"])) for each in json.loads(text)["commands"]]


def shutdown_words(platform: str = sys.platform) -> list[str]:
    """Return the command that shuts a computer down.

    >>> shutdown_words("win32")
    ['shutdown', '/s', '/t', '0']
    """
    return ["shutdown", "/s", "/t", "0"] if platform == "win32" else ["systemctl", "poweroff"]


def clock_text(seconds: int) -> str:
    """Return the time that is left.

    >>> [clock_text(seconds) for seconds in (0, 59, 5400)]
    ['0:00', '0:59', '1:30:00']
    """
    hours, rest = divmod(max(0, seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


class SeatWindows:
    """The windows of the seat: the curtain, the small bar of an open session, and messages.

    `execute` runs a command of the computer.
    """

    def __init__(
        self, server: SeatServer, counter: CounterLine | None, execute: Callable[[list[str]], object] = subprocess.run
    ) -> None:
        import tkinter

        self._server, self._counter, self._execute = server, counter, execute
        self._shown: object = None
        self._ends: float | None = None
        self._seat_name = ""
        self._was_open = self._is_warned = False
        self._root = root = tkinter.Tk()
        root.title("Hedgerow")
        root.configure(background=DARK)
        root.geometry(f"{root.winfo_screenwidth()}x{root.winfo_screenheight()}+0+0")  # a window manager may be missing
        root.attributes("-fullscreen", True)
        root.protocol("WM_DELETE_WINDOW", lambda: None)
        self._width = root.winfo_screenwidth() * 3 // 4
        self._name, self._title, self._text, self._notice = (self._label(root, size) for size in (20, 32, 18, 16))
        self._entry = tkinter.Entry(root, font=("monospace", 28), width=12, justify="center")
        self._accept = tkinter.Button(root, font=("sans-serif", 20), text="I accept")
        self._bar = tkinter.Toplevel(root, background=DARK)
        self._clock = self._label(self._bar, 14)
        self._calls = [
            tkinter.Button(root, font=("sans-serif", 16)),
            tkinter.Button(self._bar, font=("sans-serif", 11)),
        ]
        self._arrange()

    def _label(self, parent: tkinter.Misc, size: int) -> tkinter.Label:
        import tkinter

        font = ("sans-serif", size)
        return tkinter.Label(parent, font=font, background=DARK, foreground="#ffffff", wraplength=self._width)

    def _arrange(self) -> None:
        """Place the parts of the windows, and say what their buttons do."""
        self._text["justify"] = "left"
        self._notice.pack(side="bottom", pady=30)  # before the text, which may be longer than the screen
        self._calls[0].pack(side="bottom", pady=10)
        self._name.pack(pady=(40, 0))
        self._title.pack(pady=(40, 20))
        self._text.pack()
        self._bar.overrideredirect(True)
        self._bar.attributes("-topmost", True)
        self._bar.geometry("-0+0")
        self._clock.pack(side="left", padx=10, pady=4)
        self._calls[1].pack(side="left", padx=4)
        self._bar.withdraw()
        self._entry.bind("<Return>", self._submit)
        self._accept.bind("<Return>", lambda _event: self._accept.invoke())
        self._accept["command"] = lambda: self._send(self._server.accept, "There is no session any more.")
        for each in self._calls:
            each["command"] = lambda: self._send(
                self._server.call, "You called several times. Please go to the counter."
            )

    def run(self) -> None:
        """Show the windows until the program is ended."""
        self._poll()
        self._tick()
        self._root.mainloop()

    def _send(self, is_taken: Callable[[], bool], refusal: str) -> None:
        try:
            self._notice["text"] = "" if is_taken() else refusal
        except UNREADABLE:
            self._notice["text"] = "The counter does not answer. Try again in a moment."
        self._look()

    def _submit(self, _event: object = None) -> None:
        code = self._entry.get().strip()
        self._entry.delete(0, "end")
        self._send(lambda: not code or self._server.redeem(code), "This code is not valid here.")

    def _cover(self, seat: Seat, is_locked: bool) -> None:
        field = None if is_locked else self._accept if seat.conduct else self._entry
        if (seat.conduct, is_locked, self._was_open) != self._shown:
            self._entry.pack_forget()
            self._accept.pack_forget()
            if is_locked:
                title, text = "This seat is locked", "Please ask at the counter."
            elif seat.conduct:
                title, text = "Before you begin", seat.conduct
            else:
                title = "The time is over" if self._was_open else "This seat is free"
                text = "Type the code of your voucher, or ask at the counter."
            self._title["text"], self._text["text"] = title, text
            if field is not None:
                field.pack(side="bottom", pady=30, before=self._title)
        self._shown = (seat.conduct, is_locked, self._was_open)
        self._bar.withdraw()
        self._root.deiconify()
        self._root.attributes("-topmost", True)
        self._root.lift()
        if field is not None:
            field.focus_force()

    def _uncover(self) -> None:
        self._shown, self._was_open = None, True
        self._root.withdraw()
        self._bar.deiconify()
        self._bar.lift()

    def _show(self, message: str, seconds: int | None = None) -> None:
        import tkinter

        hint = tkinter.Toplevel(self._root)
        hint.attributes("-topmost", True)  # Windows opens it beneath the guest's window
        tkinter.Label(hint, text=message, font=("sans-serif", 20), padx=30, pady=20, wraplength=self._width).pack()
        tkinter.Button(hint, text="OK", font=("sans-serif", 16), command=hint.destroy).pack(pady=(0, 20))
        hint.lift()
        if seconds is not None:
            hint.after(seconds * 1000, hint.destroy)

    def _obey(self) -> None:
        """Ask the counter for commands, and carry them out. One that is not the counter's is ignored."""
        try:
            commands = self._counter.ask() if self._counter is not None else []
        except UNREADABLE:
            commands = []
        for each in commands:
            if each.do == "message":
                self._show(each.text)
            else:
                self._show(f"This computer is shut down in {SHUTDOWN_S} seconds.")
                self._root.after(SHUTDOWN_S * 1000, lambda: self._execute(shutdown_words()))

    def _look(self) -> None:
        """Ask for the state of the seat, and show it."""
        try:
            seat = self._server.seat()
        except UNREADABLE:
            seat = Seat(captive=True, name=self._seat_name)  # without the server there is no internet either
        self._seat_name, self._ends = seat.name, time.monotonic() + seat.left if seat.left is not None else None
        self._name["text"] = seat.name
        for each in self._calls:
            each["text"] = "The staff has been called" if seat.is_called else "Call the staff"
        is_locked = self._counter is not None and self._counter.is_locked
        if seat.captive or is_locked:
            self._cover(seat, is_locked)
        else:
            self._uncover()
        is_ending = not seat.captive and seat.left is not None and seat.left <= WARN_S
        if is_ending and not self._is_warned and seat.left is not None:
            self._show(f"{max(1, round(seat.left / 60))} minutes are left.", 15)
        self._is_warned = is_ending

    def _poll(self) -> None:
        self._obey()
        self._look()
        self._root.after(POLL_S * 1000, self._poll)

    def _tick(self) -> None:
        left = "" if self._ends is None else clock_text(round(self._ends - time.monotonic()))
        self._clock["text"] = "  ".join(filter(None, (self._seat_name, left)))
        self._root.after(1000, self._tick)


def main() -> None:
    parser = argparse.ArgumentParser(description="Cover a café seat's screen while it has no session.")
    parser.add_argument("server", nargs="?", default=SERVER, help="the address of Hedgerow's pages")
    parser.add_argument("--key", default=KEY, help="its public key, without which there are no commands of the counter")
    parser.add_argument(
        "--once", action="store_true", help="print the state of this seat and end: 0 if it is open, 3 if not"
    )
    arguments = parser.parse_args()
    if not arguments.server:
        parser.error("say the address of Hedgerow's pages, such as http://192.168.60.1:8053")
    server = SeatServer(arguments.server)
    if arguments.once:
        seat = server.seat()
        print("captive" if seat.captive else "open" if seat.left is None else f"open, {seat.left} seconds left")
        raise SystemExit(3 if seat.captive else 0)
    SeatWindows(server, CounterLine(server, bytes.fromhex(arguments.key)) if arguments.key else None).run()


if __name__ == "__main__":
    main()
