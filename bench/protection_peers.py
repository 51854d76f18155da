"""Other filters beside Hedgerow in `bench/protection.py`, as far as they can be run here.

dnsmasq runs with the names of the same lists. The default lists of AdGuard Home and Pi-hole are read by Hedgerow's own
parser, because their programs are not to be had from Debian or PyPI. e2guardian judges pages by their words: without
lists of sites it blocks none of these names, so it stands in `protection_pages.py`.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnslib import DNSRecord
from protection_sets import hosts_in

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import Source
from hedgerow.policies.model import TargetKind
from hedgerow.policies.reading.load import load_policy

PROFILE = "child-8-12"
_NXDOMAIN = 3
_BATCH = 50
_ADGUARD = "lists/abp/adguard-sdn-filter.txt"


@dataclass(slots=True)
class Peer:
    """A filter that answers for names. `note` says what could not be run, in which case it blocks nothing."""

    title: str
    note: str = ""

    def blocked(self, _names: Sequence[str]) -> list[str]:
        return []


@dataclass(slots=True)
class Dnsmasq(Peer):
    """dnsmasq at a port, which answers NXDOMAIN for blocked names."""

    port: int = 0

    def blocked(self, _names: Sequence[str]) -> list[str]:
        names, found = _names, list[str]()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", self.port))
            client.settimeout(5)
            for start in range(0, len(names), _BATCH):
                asked = dict(enumerate(names[start : start + _BATCH]))
                for number, name in asked.items():
                    query = DNSRecord.question(name)
                    query.header.id = number
                    client.send(query.pack())
                answers = dict(_answer(client) for _ in asked)
                found += [name for number, name in asked.items() if answers[number] == _NXDOMAIN]
        return found


def _answer(client: socket.socket) -> tuple[int, int]:
    data = client.recv(4096)
    return int.from_bytes(data[:2]), data[3] & 15


@dataclass(slots=True)
class ListOnly(Peer):
    """A filter's list, read by Hedgerow's parser."""

    catalogue: Catalogue | None = field(default=None)

    def blocked(self, _names: Sequence[str]) -> list[str]:
        assert self.catalogue is not None
        return [name for name in _names if self.catalogue.host_mask(name)]


@contextlib.contextmanager
def peers(sources: Sequence[Source], data: Path, stevenblack: str, folder: Path) -> Iterator[list[Peer]]:
    """Run the peers with the lists of `sources` for a child of 8 to 12 years.

    `stevenblack` is the text of Pi-hole's default list.
    """
    running: list[Peer] = []
    with contextlib.ExitStack() as stack:
        if shutil.which("dnsmasq"):
            running.append(stack.enter_context(_dnsmasq(sorted(set(_names(sources))), folder)))
        else:
            running.append(Peer("dnsmasq", "dnsmasq is not installed"))
        if (data / _ADGUARD).is_file():
            title = "AdGuard Home's default list (AdGuard DNS filter, GPL-3)"
            running.append(_list_only(title, data / _ADGUARD, "adblock", folder))
        if stevenblack:
            path = folder / "stevenblack.txt"
            path.write_text(stevenblack, encoding="utf-8")
            running.append(
                _list_only(
                    "Pi-hole's default list (StevenBlack's hosts, MIT, state of July 2022)", path, "plain", folder
                )
            )
        else:
            running.append(
                Peer(
                    "Pi-hole with its default list",
                    "StevenBlack's hosts file, Pi-hole's default list, has no stored copy",
                )
            )
        yield running


def _list_only(title: str, path: Path, list_format: str, folder: Path) -> Peer:
    index = folder / f"{path.stem}-index"
    compile_generation([Source(path.stem, "ads-trackers", path, format=list_format)], index)
    return ListOnly(title, catalogue=Catalogue.open(index))


def _names(sources: Sequence[Source]) -> Iterator[str]:
    """Yield the names of the lists that a child of 8 to 12 years is kept from, without rules for parts of sites."""
    closed = {each.name for each in load_policy(None).profiles[PROFILE].rules.block if each.kind is TargetKind.CATEGORY}
    for source in sources:
        if source.category not in closed or source.path is None or source.name.startswith("corrections/"):
            continue
        if source.path.name.endswith(".tar.gz"):
            yield from _packed_names(source.path)
        else:
            yield from hosts_in(source.path.read_text(encoding="utf-8", errors="replace"))


def _packed_names(path: Path) -> Iterator[str]:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name.endswith("/domains") and (file := archive.extractfile(member)) is not None:
                yield from hosts_in(file.read().decode("utf-8", "replace"))


@contextlib.contextmanager
def _dnsmasq(names: Iterable[str], folder: Path) -> Iterator[Peer]:
    with _upstream() as upstream:
        port = _free_port()
        lines = [
            *(
                "no-resolv",
                "no-hosts",
                "bind-interfaces",
                "listen-address=127.0.0.1",
                "cache-size=0",
                "dns-forward-max=1000",
                "user=root",
            ),
            *(f"port={port}", f"server=127.0.0.1#{upstream}"),
        ]
        config = folder / "dnsmasq.conf"
        config.write_text("\n".join([*lines, *(f"local=/{name}/" for name in names)]) + "\n")
        process = subprocess.Popen(["dnsmasq", "-k", "-C", str(config)], stderr=subprocess.DEVNULL)
        try:
            _wait(port)
            yield Dnsmasq("dnsmasq with the same lists", port=port)
        finally:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def _upstream() -> Iterator[int]:
    """Answer every question with no error and no record."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.2)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    query, client = server.recvfrom(4096)
                    server.sendto(query[:2] + b"\x81\x80" + query[4:], client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _wait(port: int) -> None:
    """Wait until dnsmasq answers; it reads hundreds of thousands of lines first."""
    deadline = time.monotonic() + 60
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        client.settimeout(0.5)
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                client.send(DNSRecord.question("ready.example").pack())
                client.recv(4096)
                return
            time.sleep(0.1)
    raise SystemExit("dnsmasq does not answer")
