"""The client subnet of a policy is sent to public upstreams, and to none in this network."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Network, IPv6Network, ip_network

import dnslib
import pytest

from hedgerow.dns.upstreams.factory import open_upstream_pool
from hedgerow.dns.upstreams.upstream import UpstreamError, UpstreamQuestion, client_subnet
from hedgerow.dns.wire import opt_bytes
from hedgerow.policies.network import ForwardZone


def options_of(message: bytes) -> dict[int, bytes]:
    (opt,) = [each for each in dnslib.DNSRecord.parse(message).ar if each.rtype == 41]
    return {option.code: option.data for option in opt.rdata}


def question(name: str) -> bytes:
    return bytes(dnslib.DNSRecord.question(name).pack())[12:]


class Listening(asyncio.DatagramProtocol):
    """A resolver that refuses, and remembers what it was asked."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.append(data)
        record = dnslib.DNSRecord.parse(data).reply()
        record.header.rcode = dnslib.RCODE.NXDOMAIN
        record.header.ra = 1
        record.q.qname = dnslib.DNSRecord.parse(data).q.qname
        assert isinstance(self.transport, asyncio.DatagramTransport)
        self.transport.sendto(bytes(record.pack()), addr)


@pytest.mark.parametrize("subnet", [ip_network("203.0.113.0/24"), ip_network("2001:db8:12::/48"), None])
def test_client_subnet_is_sent_to_public_upstreams_only(subnet: IPv4Network | IPv6Network | None) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ends = [await loop.create_datagram_endpoint(Listening, local_addr=("127.0.0.1", 0)) for _ in range(2)]
        (outside, inside) = (f"127.0.0.1:{transport.get_extra_info('sockname')[1]}" for transport, _ in ends)
        upstreams = open_upstream_pool([outside], forward=[ForwardZone("lan", (inside,))], subnet=subnet)
        try:
            for name in ("www.example.org", "nas.lan"):
                try:
                    await upstreams.ask(UpstreamQuestion(question(name)))
                except UpstreamError as error:
                    raise AssertionError(name) from error
        finally:
            await upstreams.close()
            for transport, _ in ends:
                transport.close()
        public, own = (protocol.heard[0] for _, protocol in ends)
        assert options_of(own) == {}
        octets = {} if subnet is None else {8: bytes((0, 1 if subnet.version == 4 else 2, subnet.prefixlen, 0))}
        assert {code: data[:4] for code, data in options_of(public).items()} == octets
        if subnet is not None:
            assert options_of(public)[8][4:] == subnet.network_address.packed[: subnet.prefixlen // 8]

    asyncio.run(main())


def test_padded_question_has_the_same_length_with_a_subnet() -> None:
    plain = UpstreamQuestion(question("www.example.org"))
    reported = plain._replace(options=client_subnet(ip_network("203.0.113.0/24")))
    assert (len(plain.padded_body) + 2) % 128 == (len(reported.padded_body) + 2) % 128 == 0
    assert set(options_of(b"\0\0" + reported.padded_body)) == {8, 12}
    assert reported.body.endswith(opt_bytes(0, False, reported.options))
