"""Everything together: names that resolve to origins that answer."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from small_internet.authority import Authority
from small_internet.nameserver import Nameserver, nameserver
from small_internet.origins import Origins, bind_to, origins
from small_internet.zones import HOSTS, addresses, build_zones


@dataclass(frozen=True, slots=True)
class SmallInternet:
    """`prefix` is the /24 of loopback that all names resolve into, such as "127.0.1"."""

    nameserver: Nameserver
    origins: Origins
    authority: Authority
    prefix: str

    def address_of(self, host: str) -> str:
        """The IPv4 address of a name of `zones.HOSTS`. Raises KeyError for others."""
        return f"{self.prefix}.{HOSTS[host]}"

    def url(self, host: str, path: str = "/", scheme: str = "https") -> str:
        """A URL that reaches the origin of `host`."""
        return self.origins.url(host, path, scheme)

    def resolve(self, host: str) -> list[str]:
        """For `curl(resolve=…)` without a proxy: sends the client to the origin of `host`."""
        return [f"{host}:{port}:{self.address_of(host)}" for port in self.origins.ports]


@contextlib.contextmanager
def small_internet(directory: Path | None = None) -> Iterator[SmallInternet]:
    """A running small internet; certificates are written into `directory` or a temporary one.

    As root the origins also have ports 80 and 443, on a prefix where nobody else has them, so that several can run at
    once.
    """
    with contextlib.ExitStack() as stack:
        place = directory or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        prefix, well_known = _claim_well_known_ports() if os.geteuid() == 0 else ("127.0.1", [])
        authority = Authority(place)
        names = stack.enter_context(nameserver(build_zones(prefix)))
        sites = stack.enter_context(origins(authority, addresses(prefix), well_known))
        yield SmallInternet(names, sites, authority, prefix)


def _claim_well_known_ports(tries: int = 20) -> tuple[str, list[socket.socket]]:
    prefixes = ["127.0.1", *(f"127.{random.randint(1, 250)}.{random.randint(2, 250)}" for _ in range(tries))]
    for prefix in prefixes:
        sockets: list[socket.socket] = []
        try:
            sockets += bind_to(addresses(prefix), 80)
            sockets += bind_to(addresses(prefix), 443)
        except OSError:
            for taken in sockets:
                taken.close()
            continue
        return prefix, sockets
    raise OSError("ports 80 and 443 are free on no prefix of loopback that was tried")
