"""Measure pages, API and changes with many devices and people, on a whole running Hedgerow.

    .venv/bin/python bench/scale.py [--devices 500 800 5000 20000] [--people 2000] [--one-file] [--write]

Every device was seen within the last day and is in the policy, with a person for every second device, up to `--people`.
Of each request: the time, the size, the longest that a second connection waited for `/healthz` meanwhile, and the
processor time of the event loop's thread, for which the request holds the loop at most, however busy the machine is.
With `--one-file`, all entries are in the policy's main file, where new ones come too.
`grant in force`: from the call of the API until the device's next DNS answer follows it. Memory is that of the control
process.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import platform
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parent))  # which Python leaves out where it runs safely
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import needs  # noqa: F401
from small_internet import running as starting
from small_internet import small_internet
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

from hedgerow.dns import wire
from hedgerow.journal.database import open_journal
from hedgerow.journal.messages import DeviceSeen
from hedgerow.journal.recorder import Recorder
from hedgerow.policies.model import DeviceId

RESULTS = Path(__file__).parent / "results" / "scale.md"
PATHS = (
    "/",
    "/devices",
    "/devices?q=d17",
    "/people",
    "/people/p7",
    "/metrics",
    "/api/v1/devices",
    "/api/v1/people",
    "/api/v1/status",
)
SUBJECT = "news.example"


def address(number: int) -> str:
    return f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}"


def write_policy(folder: Path, devices: int, people: int) -> None:
    """Write the people and the devices as included files."""
    lines = ["people:"]
    owned: dict[int, list[str]] = {}
    for number in range(0, devices, 2):
        owned.setdefault(number // 2 % people, []).append(f"d{number}")
    for number in range(people):
        own = ", ".join(owned.get(number, ()))
        more = ', bedtime: "23:58-23:59", budget: 23h' if number % 4 == 0 else ""
        lines.append(f"  p{number}: {{age: {5 + number % 12}, devices: [{own}], block: [{SUBJECT}]{more}}}")
    (folder / "people.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    named = [f'  d{number}: {{ip: {address(number)}, mac: "{_mac(number)}"}}' for number in range(devices)]
    (folder / "devices.yaml").write_text("devices:\n" + "\n".join(named) + "\n", encoding="utf-8")


def _mac(number: int) -> str:
    return f"00:1b:63:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def fill_journal(state: Path, devices: int) -> None:
    engine = open_journal(state / "journal.sqlite")
    recorder = Recorder(engine)
    now = time.time()
    for first in range(0, devices, 1000):
        recorder.add(
            DeviceSeen(
                now - number % 86000,
                DeviceId(f"d{number}"),
                address(number),
                _mac(number),
                None,
                "child-8-12",
                f"host-{number}",
            )
            for number in range(first, min(devices, first + 1000))
        )
        recorder.flush()
    engine.dispose()


@dataclass(slots=True)
class Waiting:
    """The longest wait for `/healthz` since the last `take`, in seconds."""

    longest: float = 0.0

    def take(self) -> float:
        longest, self.longest = self.longest, 0.0
        return longest


@contextlib.contextmanager
def probing(url: str) -> Iterator[Waiting]:
    """Ask for `/healthz` all the time, over a connection of its own."""
    waiting, done = Waiting(), threading.Event()

    def probe() -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=120) as client:
            while not done.is_set():
                began = time.perf_counter()
                client.get("/healthz")
                waiting.longest = max(waiting.longest, time.perf_counter() - began)
                time.sleep(0.005)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    try:
        yield waiting
    finally:
        done.set()
        thread.join(120)


def is_open(running: Hedgerow, source: str) -> bool:
    """Ask for the subject as a device. Return whether the answer is one of the nameserver's."""
    question = (
        b"\0\7\1\0\0\1\0\0\0\0\0\0"
        + b"".join(bytes([len(label)]) + label for label in SUBJECT.encode().split(b"."))
        + b"\0\0\1\0\1"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.settimeout(5)
        sock.sendto(question, running.dns)
        answer = sock.recv(4096)
    return answer[3] & 15 == wire.NOERROR and bool(answer[7]) and not answer.endswith(b"\0\0\0\0")


def memory_of(running: Hedgerow) -> tuple[float, float]:
    """Return the resident memory of control in MB, and its peak."""
    fields = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{running.pids('control')[0]}/status").read_text().splitlines()
        if line.startswith("Vm")
    )
    return int(fields["VmRSS"].split()[0]) / 1024, int(fields["VmHWM"].split()[0]) / 1024


def loop_seconds(running: Hedgerow) -> float:
    """Return the processor time of control's event loop."""
    control = running.pids("control")[0]
    return int(Path(f"/proc/{control}/task/{control}/schedstat").read_text().split()[0]) / 1e9


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    seconds: float
    kilobytes: float
    waited: float
    loop: float = 0.0


def measure(devices: int, people: int, *, is_one_file: bool) -> tuple[list[Row], str]:
    with tempfile.TemporaryDirectory(prefix="hedgerow-scale-") as name, small_internet() as internet:
        folder = Path(name)
        write_policy(folder, devices, people)
        (folder / "state").mkdir(mode=0o700)
        fill_journal(folder / "state", devices)
        policy = network_section(internet)
        if is_one_file:
            policy += (folder / "people.yaml").read_text() + (folder / "devices.yaml").read_text()
        else:
            policy += "include: [people.yaml, devices.yaml]\n"
        began = time.monotonic()
        with running_hedgerow(policy, directory=folder, upstream_authority=internet.authority.root) as running:
            started = time.monotonic() - began
            token = (running.state / "admin-token").read_text()
            with httpx.Client(
                base_url=running.web, headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=300
            ) as client:
                for path in PATHS:
                    client.get(path).raise_for_status()  # loads the pages
                time.sleep(1)
                alone = list(_measure(client, running, Waiting(), 14))
                with probing(running.web) as waiting:
                    time.sleep(1)
                    probed = _measure(client, running, waiting, 18)
                    rows = [replace(row, loop=quiet.loop) for row, quiet in zip(probed, alone, strict=True)]
            now, peak = memory_of(running)
    return rows, f"start {started:.1f} s; control {now:.0f} MB, {peak:.0f} MB at the peak"


def _measure(client: httpx.Client, running: Hedgerow, waiting: Waiting, number: int) -> Iterator[Row]:
    """Measure all requests, and what changes the device of this even number and its person."""
    for path in PATHS:
        yield _timed(f"GET {path}", running, waiting, functools.partial(client.get, path))
    source = address(number)
    assert not is_open(running, source)
    began = time.perf_counter()
    asked = {"device": f"d{number}", "subject": SUBJECT, "how_long": "hour"}
    yield _timed("POST /api/v1/grants", running, waiting, lambda: client.post("/api/v1/grants", json=asked))
    wait_until(lambda: is_open(running, source), 60, "the grant")
    yield Row("grant in force", time.perf_counter() - began, 0, waiting.take())
    rule = {"subject": "minecraft", "stance": "block"}
    path = f"/api/v1/people/p{number // 2}/rules"
    yield _timed("a rule for a person, in the file and in force", running, waiting, lambda: client.put(path, json=rule))
    for kind, new, value, old in (
        ("person", "people/new", {"age": 9}, f"people/p{number // 2 + 100}"),
        ("device", "devices/new", {"mac": "02:00:5e:00:53:01"}, f"devices/d{number + 3}"),
    ):
        for what, path, send in (
            (f"a new {kind}", new, functools.partial(client.put, json=value)),
            (f"that {kind} removed", new, client.delete),
            (f"an old {kind} removed", old, client.delete),
        ):
            yield _timed(what, running, waiting, functools.partial(send, f"/api/v1/policy/{path}"))


def _timed(what: str, running: Hedgerow, waiting: Waiting, send: Callable[[], httpx.Response]) -> Row:
    waiting.take()
    looped, began = loop_seconds(running), time.perf_counter()
    answer = send()
    seconds = time.perf_counter() - began
    looped = loop_seconds(running) - looped
    answer.raise_for_status()
    time.sleep(0.1)
    return Row(what, seconds, len(answer.content) / 1000, waiting.take(), looped)


def table(found: dict[int, tuple[list[Row], str]]) -> str:
    lines = [
        (
            f"{platform.machine()}, Python {platform.python_version()}. Per request: seconds · kB · ms for which"
            " `/healthz` waited at most · ms of the event loop's processor time."
        ),
        "",
        f"| | {' | '.join(f'{devices:,} devices' for devices in found)} |",
        f"|---|{'---|' * len(found)}",
    ]
    for cells in zip(*(rows for rows, _ in found.values()), strict=True):
        shown = (
            f"{row.seconds:.2f} · {row.kilobytes:,.0f} · {row.waited * 1000:.0f} · {row.loop * 1000:.0f}"
            for row in cells
        )
        lines.append(f"| {cells[0].what} | {' | '.join(shown)} |")
    lines.append(f"| process | {' | '.join(note for _, note in found.values())} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, nargs="+", default=[500, 800, 5000, 20000])
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--one-file", action="store_true")
    parser.add_argument("--write", action="store_true", help="append the table to bench/results/scale.md")
    given = parser.parse_args()
    found = {}
    starting.START_SECONDS = 300  # for 20,000 devices on a busy machine
    for devices in given.devices:
        found[devices] = measure(devices, min(given.people, devices // 2), is_one_file=given.one_file)
        figures = [
            [row.what, *(round(each, 3) for each in (row.seconds, row.waited, row.loop))] for row in found[devices][0]
        ]
        print(devices, json.dumps(figures), flush=True)
    text = table(found)
    print(text)
    if given.write:
        RESULTS.write_text("# Many devices and people, measured by `make bench-scale`\n\n" + text, encoding="utf-8")


if __name__ == "__main__":
    main()
