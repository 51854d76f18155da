"""Flows of the apps that families ask for, as they are on the wire: hosts, ports and transport. Their servers echo."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hedgerow.policies.host_facts import Services, service_ages
from lab.aims import Aim, calls, datagram, noise, reads
from lab.house import House
from lab.internet import APP_NAMES

ANYWHERE = "45.55.10.125"
"""An address that no name leads to."""
TEAMS, ZOOM, MEET = "52.113.10.5", "170.114.10.5", "142.250.82.10"
TELEGRAM4, TELEGRAM6 = "149.154.167.51", "2001:67c:4e8:f002::a"
"""Addresses in the operators' own networks."""
UDP_PORTS = (1400, 3074, 3478, 3479, 8801, 9005, 19305, 27015, 50005, 50123)
TCP_PORTS = (80, 443, 5222, 25565)


class Opens(Enum):
    """What opens a flow."""

    SERVICE = "its service"
    NAME = "its name"
    NOTHING = "a flow of your own"


@dataclass(frozen=True, slots=True)
class AppFlow:
    """Something that an app does. `name` is looked up before."""

    service: str
    what: str
    aim: Aim
    opens: Opens = Opens.SERVICE
    name: str = ""

    def is_open(self, age: int) -> bool:
        if self.opens is Opens.SERVICE:
            return age >= service_ages()[self.service].open_from
        return self.opens is not Opens.NOTHING


def _pages(service: str, host: str) -> AppFlow:
    return AppFlow(service, f"`{host}`, TCP 443", reads(f"https://{host}/", page=host))


def _named(service: str, name: str, port: int, aim: Aim, opens: Opens = Opens.SERVICE) -> AppFlow:
    protocol = "UDP" if service == "discord" else "TCP"
    return AppFlow(service, f"`{name}`, {protocol} {port}", aim, opens, name)


FLOWS = (
    _pages("whatsapp", "web.whatsapp.com"),
    _named("whatsapp", "g.whatsapp.net", 5222, noise(APP_NAMES["g.whatsapp.net"], 5222)),
    AppFlow("whatsapp", "calls: STUN at any address, UDP 3478", calls(ANYWHERE, 3478)),
    _pages("telegram", "web.telegram.org"),
    AppFlow("telegram", "Telegram's networks, TCP 443, not TLS", noise(TELEGRAM4, 443)),
    AppFlow("telegram", "Telegram's networks, IPv6, TCP 443, not TLS", noise(TELEGRAM6, 443)),
    AppFlow("telegram", "Telegram's networks, TCP 80, not HTTP", noise(TELEGRAM4, 80)),
    AppFlow("telegram", "Telegram's networks, TCP 5222", noise(TELEGRAM4, 5222)),
    AppFlow("telegram", "calls: Telegram's networks, UDP", datagram(TELEGRAM4, 1400)),
    _pages("signal", "chat.signal.org"),
    AppFlow("signal", "calls: STUN at any address, UDP 3478", calls(ANYWHERE, 3478)),
    _pages("teams", "teams.microsoft.com"),
    AppFlow("teams", "calls: Microsoft's networks, UDP 3479", datagram(TEAMS, 3479)),
    _pages("zoom", "zoom.us"),
    AppFlow("zoom", "calls: Zoom's networks, UDP 8801", datagram(ZOOM, 8801)),
    _pages("google-meet", "meet.google.com"),
    AppFlow("google-meet", "calls: STUN at Google's servers, UDP 19305", calls(MEET, 19305)),
    _pages("discord", "discord.com"),
    _named("discord", "eu-west.discord.media", 50005, datagram(APP_NAMES["eu-west.discord.media"], 50005)),
    _pages("steam", "store.steampowered.com"),
    AppFlow("steam", "any address, UDP 27015", datagram(ANYWHERE, 27015)),
    _pages("xbox", "www.xbox.com"),
    AppFlow("xbox", "any address, UDP 3074", datagram(ANYWHERE, 3074)),
    _pages("playstation", "www.playstation.com"),
    AppFlow("playstation", "any address, UDP 3479", datagram(ANYWHERE, 3479)),
    _pages("minecraft", "www.minecraft.net"),
    _named("minecraft", "play.server.example", 25565, noise(APP_NAMES["play.server.example"], 25565), Opens.NAME),
    _pages("roblox", "www.roblox.com"),
    AppFlow("roblox", "a game at any address, UDP 50123", datagram(ANYWHERE, 50123), Opens.NOTHING),
    _pages("fortnite", "www.fortnite.com"),
    AppFlow("fortnite", "a match at any address, UDP 9005", datagram(ANYWHERE, 9005), Opens.NOTHING),
)
NAMES = tuple(APP_NAMES)
AGES = {"under 8": 6, "8 to 12": 9, "13 to 15": 15}


HEAD = """\
# What the apps of families can do

Each flow is tried on devices behind the gateway, without strict mode, against servers of a laboratory at the hosts,
ports and networks of the apps. The apps themselves are not part of it. `tests/lab/test_family_apps.py` writes the
table.

*Its service* follows the [age of the service](reference/services.md) and the policy: a block, a grant, a schedule or a
used-up budget changes it within a second or two, for calls and matches that run as well. Calls at any address are open
while one of the messengers that call so is open to the person, and everything without a name needs
[`network.flows`](install/router.md#which-connections-pass). A flow of your own opens games whose servers have no name.

"""


@contextmanager
def app_servers(house: House) -> Iterator[None]:
    """Serve the flows' addresses in the laboratory's internet."""
    space, addresses = house.net.space, (*APP_NAMES.values(), ANYWHERE, TEAMS, ZOOM, MEET, TELEGRAM4, TELEGRAM6)
    for address in addresses:
        space.ip("address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
    ports = [",".join(map(str, numbers)) for numbers in (UDP_PORTS, TCP_PORTS)]
    words = (sys.executable, "-P", str(Path(__file__).with_name("echo.py")), ",".join(addresses), *ports)
    process = space.start(*words, stderr=house.folder / "apps.log")
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n", (house.folder / "apps.log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(60)
        for address in addresses:
            space.ip("address", "delete", f"{address}/{128 if ':' in address else 32}", "dev", "lo")


def render(ages: Mapping[str, int]) -> str:
    """Return the document."""
    rows = [
        f"| {Services.load().by_id[flow.service].title} | {flow.what} | {flow.opens.value} | "
        + " | ".join("open" if flow.is_open(age) else "closed" for age in ages.values())
        + " | closed |"
        for flow in FLOWS
    ]
    columns = f"| App | What it sends | What opens it | {' | '.join(ages)} | Paused |"
    return HEAD + "\n".join([columns, "|---|---|---|" + "---|" * (len(ages) + 1), *rows]) + "\n"
