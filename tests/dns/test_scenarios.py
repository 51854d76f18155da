"""Deckard's scenarios as far as they fit a forwarder: an upstream gives the answers that each demands of a resolver, in
its order, and the client must get just those from us: codes, answers with signatures and CNAME chains, negative answers
with their proofs.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path

import dnslib
import pytest

from .conftest import ask, running
from .test_against_unbound import over_tcp

pytestmark = pytest.mark.shared

_STEP = re.compile(r"^STEP\s+\d+\s+(QUERY|CHECK_ANSWER)\s*$(.*?)^ENTRY_END", re.MULTILINE | re.DOTALL)
CODES = {name: code for code, name in dnslib.RCODE.forward.items()}


@dataclass
class Message:
    """One entry of a scenario."""

    flags: set[str] = field(default_factory=set)
    question: tuple[str, str] = ("", "")
    sections: dict[str, list[dnslib.RR]] = field(default_factory=dict)

    @property
    def rcode(self) -> int:
        return next((CODES[flag] for flag in self.flags if flag in CODES), 0)


def parse_entry(text: str) -> Message:
    """Raises an exception for what dnslib does not know."""
    message, section = Message(), ""
    for raw in text.splitlines():
        line = raw.partition(";")[0].strip()
        if line.startswith("REPLY"):
            message.flags |= set(line.split()[1:])
        elif line.startswith("SECTION"):
            section = line.split()[1]
        elif not line or line.startswith(("MATCH", "ADJUST", "ENTRY")):
            continue
        elif section == "QUESTION":
            words = line.split()
            message.question = (words[0].rstrip(".").lower(), words[-1])
        elif section:
            message.sections.setdefault(section, []).extend(dnslib.RR.fromZone(line, ttl=3600))
    return message


def load_scenario(path: Path) -> list[tuple[Message, Message]]:
    """Questions, each with the answer that is demanded."""
    steps = [(kind, parse_entry(text)) for kind, text in _STEP.findall(path.read_text())]
    return [
        (asked[1], checked[1])
        for asked, checked in itertools.pairwise(steps)
        if (asked[0], checked[0]) == ("QUERY", "CHECK_ANSWER")
    ]


class Scripted(asyncio.DatagramProtocol):
    """Answers whatever is asked with `now`."""

    now = Message()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = dnslib.DNSRecord.parse(data).reply()
        reply.header.rcode = self.now.rcode
        for record in self.now.sections.get("ANSWER", ()):
            reply.add_answer(record)
        for record in self.now.sections.get("AUTHORITY", ()):
            reply.add_auth(record)
        self.transport.sendto(bytes(reply.pack()), addr)  # type: ignore[attr-defined]


def query(asked: Message) -> bytes:
    made = dnslib.DNSRecord.question(*asked.question)
    made.header.cd = int("CD" in asked.flags)
    made.add_ar(dnslib.EDNS0(udp_len=4096, flags="do" if "DO" in asked.flags else ""))
    return bytes(made.pack())


def listed(records: list[dnslib.RR]) -> list[tuple[str, int, str]]:
    return sorted((str(record.rname).lower(), record.rtype, str(record.rdata).lower()) for record in records)


def load_all(folder: Path) -> dict[str, list[tuple[Message, Message]]]:
    found = {}
    for path in sorted(folder.glob("*.rpl")):
        try:
            scenario = load_scenario(path)
        except Exception:  # a type or a notation that dnslib does not know: counted below
            continue
        if scenario:
            found[path.stem] = scenario
    return found


def test_deckard_scenarios(shared_data: Path) -> None:
    scenarios = load_all(shared_data / "dns" / "rpl-deckard")
    assert len(scenarios) >= 60, len(scenarios)
    different: list[object] = []

    async def main() -> int:
        transport, upstream = await asyncio.get_running_loop().create_datagram_endpoint(
            Scripted, local_addr=("127.0.0.1", 0)
        )
        asked = 0
        for name, scenario in scenarios.items():
            async with running(f"127.0.0.1:{transport.get_extra_info('sockname')[1]}") as server:
                for question, demanded in scenario:
                    upstream.now = demanded
                    server.resolver.answers.clear()
                    server.resolver.resolutions.clear()
                    got = await ask(server.port, query(question), wait=5)
                    assert got is not None, name
                    if got[2] & 2:
                        got = await over_tcp(server.port, query(question))
                    record = dnslib.DNSRecord.parse(got)
                    asked += 1
                    expected = (demanded.rcode, listed(demanded.sections.get("ANSWER", [])))
                    if (record.header.rcode, listed(record.rr)) != expected:
                        different.append((name, question.question, (record.header.rcode, listed(record.rr)), expected))
        transport.close()
        return asked

    assert asyncio.run(main()) >= 80
    assert different == []
