"""The same questions to Hedgerow and to Unbound over the same upstream. Differences are listed with their reasons."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dnslib
import pytest
from small_internet import SmallInternet
from small_internet.records import parse_zone

from .conftest import ask, running

pytestmark = pytest.mark.skipif(shutil.which("unbound") is None, reason="unbound is not installed")


@contextlib.contextmanager
def unbound(folder: Path, upstream_port: int) -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    config = folder / "unbound.conf"
    config.write_text(
        f'server:\n directory: "{folder}"\n username: ""\n chroot: ""\n pidfile: ""\n interface: 127.0.0.1@{port}\n'
        ' num-threads: 1\n module-config: "iterator"\n do-not-query-localhost: no\n use-syslog: no\n'
        ' minimal-responses: yes\n qname-minimisation: no\n local-zone: "test."'
        f' nodefault\n{_patience()}remote-control:\n control-enable: no\nforward-zone:\n name: "."\n forward-addr:'
        f" 127.0.0.1@{upstream_port}\n"
    )
    process = subprocess.Popen(
        ["unbound", "-d", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait()


def _patience() -> str:
    """Return the option with which Unbound answers late too.

    Since 1.20 it drops a query after 1.9 seconds: a busy machine is slower.
    """
    shown = subprocess.run(["unbound", "-V"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"Version (\d+)\.(\d+)", shown)
    assert version is not None, shown
    return " discard-timeout: 0\n" if (int(version[1]), int(version[2])) >= (1, 20) else ""


def query(name: str, kind: str, *, flags: int = 0x0100) -> bytes:
    made = dnslib.DNSRecord.question(name, kind)
    made.add_ar(dnslib.EDNS0(udp_len=1232))
    packed = bytes(made.pack())
    return packed[:2] + flags.to_bytes(2) + packed[4:]


KINDS = """
plain{n}     A 198.51.100.1
both{n}      A 198.51.100.2
both{n}      AAAA 2001:db8::2
many{n}      A 198.51.100.3
many{n}      A 198.51.100.4
many{n}      A 198.51.100.5
link{n}      CNAME plain{n}
chain{n}     CNAME link{n}
long{n}      CNAME chain{n}
broken{n}    CNAME missing{n}
text{n}      TXT "some text" "and more of it {n}"
big{n}       TXT size=2500
mail{n}      MX 10 plain{n}
service{n}   SRV 0 5 443 plain{n}
https{n}     HTTPS 1 . alpn=h2,h3 ipv4hint=198.51.100.6
svcb{n}      SVCB 0 plain{n}
*.wild{n}    A 198.51.100.7
*.wildlink{n} CNAME plain{n}
"""
ASKED = tuple(
    (name + "{n}", kind)
    for name, kinds in {
        "plain": "A AAAA TXT TYPE65280",
        "PLAIN": "A",
        "both": "A AAAA",
        "many": "A",
        "link": "A CNAME",
        "chain": "A",
        "long": "A AAAA",
        "broken": "A",
        "text": "TXT",
        "big": "TXT",
        "mail": "MX",
        "service": "SRV",
        "https": "HTTPS",
        "svcb": "SVCB",
        "a.wild": "A",
        "b.c.wild": "A",
        "x.wildlink": "A",
        "missing": "A",
        "a.b.missing": "AAAA",
    }.items()
    for kind in kinds.split()
)
ROUNDS = 80  # times 25 questions are 2,000 names


def shape(message: bytes | None) -> object:
    """Normalise an answer: without TTLs, order of equal records, compression and case."""
    if message is None:
        return None
    record = dnslib.DNSRecord.parse(message)
    answers = sorted((str(rr.rname).lower(), rr.rtype, str(rr.rdata).lower()) for rr in record.rr)
    soa = sorted(str(rr.rname).lower() for rr in record.auth if rr.rtype == 6)
    return record.header.rcode, record.header.tc, record.header.aa, record.header.ra, answers, soa


async def over_tcp(port: int, message: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(len(message).to_bytes(2) + message)
    async with asyncio.timeout(30):
        found = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    writer.close()
    await writer.wait_closed()
    return found


async def ask_as_a_stub(port: int, message: bytes) -> bytes | None:
    """As those who use UDP do: what is lost, on a machine that is busy, is asked for again.

    So is what a resolver could not find out in time: it says SERVFAIL, and Unbound repeats that for five seconds. No
    question here has this answer.
    """
    answer = None
    for _ in range(5):
        answer = await ask(port, message)
        if answer is not None and answer[3] & 15 != dnslib.RCODE.SERVFAIL:
            return answer
        await asyncio.sleep(0 if answer is None else 6)
    return answer


def test_answers_equal_those_of_unbound(internet: SmallInternet, tmp_path: Path) -> None:
    zone = "".join(KINDS.format(n=number) for number in range(ROUNDS))
    internet.nameserver.add_zone(parse_zone("kinds.example", zone))
    questions = [(f"{name.format(n=number)}.kinds.example", kind) for number in range(ROUNDS) for name, kind in ASKED]
    assert len(questions) == 2000
    different: list[tuple[str, str, object, object]] = []

    async def main(peer: int) -> None:
        room = asyncio.Semaphore(16)
        async with running(internet.nameserver.upstream) as server:

            async def compare(name: str, kind: str) -> None:
                sent = (
                    query(name, kind)
                    if not kind.startswith("TYPE")
                    else query(name, "A").replace(b"\0\1\0\1", b"\xff\0\0\1", 1)
                )
                async with room:
                    ours, theirs = await asyncio.gather(ask_as_a_stub(server.port, sent), ask_as_a_stub(peer, sent))
                    if kind == "TXT" and ours is not None and ours[2] & 2:
                        assert theirs is not None
                        assert theirs[2] & 2
                        ours, theirs = await asyncio.gather(over_tcp(server.port, sent), over_tcp(peer, sent))
                if shape(ours) != shape(theirs):
                    different.append((name, kind, shape(ours), shape(theirs)))

            await asyncio.gather(*(compare(*asked) for asked in questions))

    with unbound(tmp_path, internet.nameserver.port) as peer:
        asyncio.run(main(peer))
    assert different == []


def with_opt(options: bytes = b"", version: int = 0, flags: int = 0, size: int = 1232) -> Callable[[bytes], bytes]:
    opt = b"\0\0\x29" + size.to_bytes(2) + bytes((0, version)) + flags.to_bytes(2) + len(options).to_bytes(2) + options
    return lambda plain: plain[:10] + b"\0\1" + plain[12:] + opt


# RFC 8906, section 8. The name of each, and how a plain query (no EDNS) becomes it.
RFC8906: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda plain: plain,
    "unknown type": lambda plain: plain[:-4] + b"\x03\xe8\0\1",
    "AD": lambda plain: plain[:3] + b"\x20" + plain[4:],
    "CD": lambda plain: plain[:3] + b"\x10" + plain[4:],
    "reserved Z flag": lambda plain: plain[:3] + b"\x40" + plain[4:],
    "unknown opcode": lambda plain: plain[:2] + b"\x79" + plain[3:],
    "unknown opcode, header only": lambda plain: plain[:2] + b"\x79\0" + bytes(8),
    "EDNS": with_opt(),
    "EDNS 512": with_opt(size=512),
    "EDNS unknown version": with_opt(version=1),
    "EDNS unknown option": with_opt(b"\xff\xf0\0\0"),
    "EDNS unknown flag": with_opt(flags=0x0040),
    "EDNS unknown version and option": with_opt(b"\xff\xf0\0\0", version=1),
    "EDNS DO": with_opt(flags=0x8000),
    "EDNS several options": with_opt(b"\0\x0a\0\x08\1\2\3\4\5\6\7\x08\0\3\0\0\0\x0c\0\2\0\0"),
    "IXFR": lambda plain: plain[:-4] + b"\0\xfb\0\1",
    "CHAOS": lambda plain: plain[:-2] + b"\0\3",
    "no recursion": lambda plain: plain[:2] + b"\0" + plain[3:],
}
# Where the two differ, and why that is meant.
MEANT = {
    "unknown opcode": "we give the opcode back (RFC 1035, 4.1.1), Unbound says QUERY",
    "EDNS DO": "the small internet signs nothing: both answer, Unbound with the authority section as it came",
    "IXFR": "Unbound passes a transfer on as a question, we refuse it",
    "CHAOS": "Unbound tells the class CHAOS of itself, we refuse it",
    "no recursion": "Unbound answers from its cache, which tells a client what others have asked for; we refuse",
    "unknown opcode, header only": "Unbound is silent or answers, as RFC 8906 leaves open",
}


def test_queries_of_rfc_8906_get_the_same_answers(internet: SmallInternet, tmp_path: Path) -> None:
    plain = bytes(dnslib.DNSRecord.question("news.example").pack())

    def outline(message: bytes | None) -> object:
        if message is None:
            return None
        record = dnslib.DNSRecord.parse(message)
        opts = [rr for rr in record.ar if rr.rtype == 41]
        extended = sum(rr.ttl >> 24 for rr in opts)
        version = [rr.ttl >> 16 & 255 for rr in opts]
        header = record.header
        unknown = [option.code for rr in opts for option in rr.rdata if option.code not in (10, 15)]
        return header.rcode | extended << 4, message[2] >> 3 & 15, message[3] >> 6 & 1, len(record.rr), version, unknown

    async def main(peer: int) -> dict[str, tuple[object, object]]:
        async with running(internet.nameserver.upstream) as server:
            found = {}
            for name, change in RFC8906.items():
                sent = change(plain)
                found[name] = (outline(await ask(server.port, sent, wait=2)), outline(await ask(peer, sent, wait=2)))
                tcp = outline(await over_tcp(server.port, sent))
                assert tcp == found[name][0], name
            return found

    with unbound(tmp_path, internet.nameserver.port) as peer:
        found = asyncio.run(main(peer))
    for name, (ours, theirs) in found.items():
        assert ours is not None, name
        if name not in MEANT:
            assert ours == theirs, name
