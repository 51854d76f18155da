"""Send a gigabyte down and a gigabyte up through each lane and compare checksums at both ends, with times and memory
growth.

    .venv/bin/python bench/proxy_bodies.py [--megabytes 1000] [--write]

`--write` keeps the table in bench/results/proxy_bodies.md. Origin, proxy and client share the machine, so the times are
no measure of the proxy's speed; the point is that bodies arrive whole and are passed on rather than buffered.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import needs
from proxy_stand import Stand, proxy_stand
from small_internet.bodies import body, body_sha256
from small_internet.running import network_section
from small_internet.whole import SmallInternet, small_internet

PEOPLE = """people:
  mia: {age: 9, devices: [tablet, console]}
devices:
  tablet: {ip: 127.0.0.11, trusts_ca: true}
  console: {ip: 127.0.0.12}
"""
INSPECTED, TUNNELLED = "127.0.0.11", "127.0.0.12"
LANES = {
    "tunnel": ("https", "news.example", "--http1.1"),
    "plain HTTP": ("http", "news.example", "--http1.1"),
    "inspected, HTTP/1.1": ("https", "www.school.example", "--http1.1"),
    "inspected, HTTP/2": ("https", "www.school.example", "--http2"),
}
RESULT = Path(__file__).parent / "results" / "proxy_bodies.md"


@dataclass(frozen=True, slots=True)
class Row:
    lane: str
    way: str
    is_whole: bool
    seconds: float
    grown_kb: int


def measure(stand: Stand, net: SmallInternet, size: int, upload: Path, lane: str, way: str) -> Row:
    """Send one body through one lane."""
    scheme, host, version = LANES[lane]
    device, root = (TUNNELLED, net.authority.root) if lane == "tunnel" else (INSPECTED, stand.ca)
    path = f"/bytes/{size}" if way == "down" else "/upload"
    words = [
        "curl",
        "-sS",
        "--fail",
        version,
        "--cacert",
        str(root),
        "-x",
        f"http://127.0.0.1:{stand.gate.port}",
        "--interface",
        device,
    ]
    words += ["-T", str(upload), "-X", "POST"] if way == "up" else []
    before, start = memory(stand), time.monotonic()
    with subprocess.Popen([*words, net.url(host, path, scheme)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        digest, told = hashlib.sha256(), b""
        while piece := process.stdout.read(1 << 20):
            digest.update(piece)
            told = (told + piece)[-4096:]
    found = digest.hexdigest() if way == "down" else json.loads(told or b"{}").get("sha256")
    return Row(
        lane,
        way,
        process.returncode == 0 and found == body_sha256(size),
        time.monotonic() - start,
        memory(stand) - before,
    )


def memory(stand: Stand) -> int:
    """Return the peak memory of the two workers so far, in kilobytes."""
    texts = [Path(f"/proc/{worker.pid}/status").read_text() for worker in (stand.gate, stand.inspector)]
    return sum(int(re.search(r"VmHWM:\s+(\d+)", text)[1]) for text in texts)  # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    needs.programs("curl")
    size = options.megabytes * 1_000_000
    with (
        small_internet() as net,
        tempfile.TemporaryDirectory() as folder,
        proxy_stand(net, network_section(net) + PEOPLE) as stand,
    ):
        upload = Path(folder) / "body"
        with upload.open("wb") as file:
            file.writelines(body(size))
        rows = [measure(stand, net, size, upload, lane, way) for lane in LANES for way in ("down", "up")]
    text = table(rows, options.megabytes)
    print(text)
    if options.write:
        RESULT.write_text(text + "\n")
    sys.exit(not all(row.is_whole for row in rows))


def table(rows: list[Row], megabytes: int) -> str:
    lines = [
        f"# {megabytes} MB through each lane, by `bench/proxy_bodies.py`",
        "",
        (
            f"{platform.machine()}, Python {platform.python_version()}; origin, proxy and curl on one machine. “Grown”:"
            " by how much the most"
        ),
        "memory that gate and inspector ever had rose meanwhile.",
        "",
        "| lane | way | SHA-256 at both ends | seconds | grown |",
        "|---|---|---|---:|---:|",
    ]
    lines += [
        f"| {row.lane} | {row.way} | {'the same' if row.is_whole else 'DIFFERENT'} | {row.seconds:.1f} |"
        f" {row.grown_kb / 1000:.1f} MB |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
