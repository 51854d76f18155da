"""Upstreams: which there are, in which order they are asked, and how long that may take.

An upstream is written as `9.9.9.9`, `9.9.9.9:5353`, `udp://[2620:fe::fe]:53`, `tcp://…`, `tls://dns.example` or `https://dns.example/dns-query`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from struct import pack
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from hedgerow.dns import wire
from hedgerow.dns.wire import Malformed, Response

_PORTS: Final = {"udp": 53, "tcp": 53, "tls": 853, "https": 443}
_ATTEMPT_SECONDS: Final = (1.0, 1.5, 2.0)  # in all less than the five seconds that a stub resolver waits
_REST_SECONDS: Final = 10.0  # how long an upstream that failed is asked last
_MAX_IN_FLIGHT: Final = 4096


class UpstreamError(Exception):
    """An upstream did not answer, or not with DNS: its fault or the network's, never the client's."""


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """Where an upstream is. `host` is an address, or a name for tls and https; `path` is for https."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def is_address(self) -> bool:
        return _is_address(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


class Ask(NamedTuple):
    """A question as the upstreams get it: `question` is the name in lower case, type and class in wire form."""

    question: bytes
    dnssec: bool = False
    checking_disabled: bool = False

    @property
    def body(self) -> bytes:
        """The message after the id: RD, AD, question, OPT with our datagram size. No client subnet, no cookies: nothing of the client."""
        flags = 0x0120 | (0x10 if self.checking_disabled else 0)
        return pack("!HHHHH", flags, 1, 0, 0, 1) + self.question + wire.opt_bytes(0, self.dnssec)


type Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
type Count = Callable[[str, float], None]
"""Told of each attempt: "answered", "refused", "timeout" or "error", and the seconds that it took."""


class Channel(Protocol):
    """A way to one upstream. `exchange` returns a message that answers the question, or raises UpstreamError or TimeoutError."""

    name: str

    async def exchange(self, ask: Ask) -> bytes: ...

    async def close(self) -> None: ...


def parse_upstream(text: str) -> UpstreamSpec:
    """Raises ValueError with a sentence that says what is wrong.

    >>> str(parse_upstream("9.9.9.9")), str(parse_upstream("https://dns.example/dns-query"))
    ('udp://9.9.9.9:53', 'https://dns.example:443/dns-query')
    """
    text = text.strip()
    if "://" not in text:
        text = f"udp://[{text}]" if text.count(":") > 1 and not text.startswith("[") else f"udp://{text}"
    parts = urlsplit(text)
    if parts.scheme not in _PORTS:
        raise ValueError(f"{text!r}: an upstream starts with one of {', '.join(f'{scheme}://' for scheme in _PORTS)}")
    if not parts.hostname:
        raise ValueError(f"{text!r}: no host")
    if parts.scheme in ("udp", "tcp") and not _is_address(parts.hostname):
        raise ValueError(f"{text!r}: {parts.scheme} upstreams are given by address")
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise ValueError(f"{text!r}: the port is a number from 1 to 65535") from None
    path = (parts.path or "/dns-query") if parts.scheme == "https" else ""
    return UpstreamSpec(parts.scheme, parts.hostname, port, path)


def system_upstreams(resolv_conf: str, own: Collection[tuple[str, int]] = ()) -> tuple[UpstreamSpec, ...]:
    """The name servers of a resolv.conf, in its order, without ourselves (`own`: addresses and ports that we listen on).

    >>> [str(spec) for spec in system_upstreams("nameserver 127.0.0.1\\nnameserver 192.0.2.1", [("127.0.0.1", 53)])]
    ['udp://192.0.2.1:53']
    """
    found: dict[UpstreamSpec, None] = {}
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and _is_address(words[1]):
            spec = UpstreamSpec("udp", words[1], 53)
            wildcard = any(port == 53 and ip_address(host).is_unspecified for host, port in own)
            if (spec.host, 53) not in own and not (wildcard and ip_address(spec.host.partition("%")[0]).is_loopback):
                found[spec] = None
    return tuple(found)


class Upstreams:
    """Asks the channels in order, one after the other; who failed is asked last for a while. Equal questions in flight are sent once."""

    def __init__(
        self,
        channels: Sequence[Channel],
        count: Count | None = None,
        clock: Callable[[], float] = time.monotonic,
        bootstrap: Bootstrap | None = None,
    ) -> None:
        self.names = tuple(channel.name for channel in channels)
        self._channels = tuple(channels)
        self._count = count or _count_nothing
        self._bootstrap = bootstrap
        self._clock = clock
        self._rests_until: dict[str, float] = {}
        self._in_flight: dict[Ask, asyncio.Task[Response]] = {}

    async def ask(self, ask: Ask) -> Response:
        """The first good answer. Raises UpstreamError when nobody gives one; never takes longer than the attempts together."""
        task = self._in_flight.get(ask)
        if task is None:
            if len(self._in_flight) >= _MAX_IN_FLIGHT:
                raise UpstreamError("too many questions in flight")
            task = asyncio.get_running_loop().create_task(self._try_in_turn(ask))
            self._in_flight[ask] = task
            task.add_done_callback(lambda done: self._landed(ask, done))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise UpstreamError("closed") from None
            raise

    async def close(self, grace: float = 0.0) -> None:
        """End all sockets; questions in flight get `grace` seconds."""
        tasks = list(self._in_flight.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for channel in self._channels:
            with contextlib.suppress(OSError):
                await channel.close()
        if self._bootstrap is not None:
            await self._bootstrap.close()

    def _landed(self, ask: Ask, task: asyncio.Task[Response]) -> None:
        del self._in_flight[ask]
        if not task.cancelled():
            task.exception()  # every asker may have gone away; then nobody else looks at it

    async def _try_in_turn(self, ask: Ask) -> Response:
        waiting = self._order()
        fallback: Response | None = None
        for seconds in _ATTEMPT_SECONDS:
            if not waiting:
                break
            channel = waiting.pop(0)
            began = self._clock()
            try:
                async with asyncio.timeout(seconds):
                    response = wire.parse_response(await channel.exchange(ask), ask.question)
            except (TimeoutError, OSError, Malformed, UpstreamError) as fault:
                self._rests_until[channel.name] = self._clock() + _REST_SECONDS
                self._count("timeout" if isinstance(fault, TimeoutError) else "error", self._clock() - began)
                waiting.append(channel)
                continue
            if response.rcode in (wire.NOERROR, wire.NXDOMAIN):
                self._rests_until.pop(channel.name, None)
                self._count("answered", self._clock() - began)
                return response
            fallback = response  # it has spoken: asking it again would not help, asking another may
            self._count("refused", self._clock() - began)
        if fallback is not None:
            return fallback
        raise UpstreamError("no upstream answered" if self._channels else "no upstream is configured")

    def _order(self) -> list[Channel]:
        now = self._clock()
        return sorted(self._channels, key=lambda channel: self._rests_until.get(channel.name, 0.0) > now)


class Bootstrap:
    """Finds the addresses of upstreams that are given by name, through plain resolvers, and keeps them for a while."""

    def __init__(self, plain: Upstreams, seconds: float = 300.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._plain, self._seconds, self._clock = plain, seconds, clock
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}

    async def __call__(self, host: str) -> tuple[str, ...]:
        """Addresses of `host`, IPv4 first. Raises UpstreamError if it has none; an old answer is better than none."""
        if _is_address(host):
            return (host,)
        expires, known = self._known.get(host, (0.0, ()))
        if known and self._clock() < expires:
            return known
        asks = [Ask(wire.name_of(host) + pack("!HH", rtype, wire.IN)) for rtype in (wire.A, wire.AAAA)]
        responses = await asyncio.gather(*(self._plain.ask(ask) for ask in asks), return_exceptions=True)
        found = tuple(text for response in responses if isinstance(response, Response) for text in addresses_in(response))
        if not found and not known:
            raise UpstreamError(f"the upstream's name {host} does not resolve")
        self._known[host] = (self._clock() + self._seconds, found or known)
        return found or known

    async def close(self) -> None:
        await self._plain.close()


def addresses_in(response: Response) -> Iterable[str]:
    """The A and AAAA records of an answer as text."""
    for record in response.answers:
        if record.rtype in (wire.A, wire.AAAA):
            yield str(ip_address(response.data[record.start : record.end]))


def _count_nothing(_outcome: str, _seconds: float) -> None:
    return


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
