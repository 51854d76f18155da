"""Examination of the servers of unlisted hosts, by a TLS handshake and a request of our own, before a device's tunnel
is joined and again while one is used.

A finding is about one address of a host, for all devices. It is kept for as long as it has been the same already,
within limits, so that a server that is new here is looked at again soon. The caller passes only addresses that the
proxy may dial. Looks are bounded per device and in all, so that one device whose servers are slow delays only itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from h2.exceptions import ProtocolError

from hedgerow.blocklists.address_ranges import is_public_address
from hedgerow.policies.model import DeviceId, Request
from hedgerow.policies.unlisted import CertificateFlaw
from hedgerow.proxy.http2_question import TLS_HANDSHAKE, is_http2_proxy
from hedgerow.proxy.http_head import parse_status_line
from hedgerow.values import BoundedDict, value_dataclass

_PATIENCE_SECONDS = 3.0
"""Seconds for which a new connection waits for the first finding."""

_LOOK_SECONDS, _ANSWER_SECONDS, _TUNNEL_SECONDS = 12.0, 6.0, 3.0
_LOOKS_PER_DEVICE, _LOOKS = 8, 64  # at the same time
_WAITING_PER_DEVICE = 128
_MANY_OF_A_DEVICE = 24
"""Looks of a device from which on those that wait for their turn close: a page needs fewer at once, and whoever keeps
them busy with servers that say nothing must not hide one among them.
"""

_MAX_SERVERS = 8192
_SHORTEST_SECONDS = 120.0
_LONGEST_SECONDS = {
    **dict.fromkeys(CertificateFlaw, 600.0),
    CertificateFlaw.NONE: 6 * 3600.0,
    CertificateFlaw.FRESH: 6 * 3600.0,
    CertificateFlaw.UNSEEN: 6 * 3600.0,
    CertificateFlaw.PROXY: 24 * 3600.0,
}
"""The most seconds for which a finding is kept. A certificate may be replaced at any time."""

_MAY_BE_HTTP2_PROXY = (CertificateFlaw.NONE, CertificateFlaw.FRESH, CertificateFlaw.SILENT, CertificateFlaw.UNSEEN)
"""Findings over HTTP/1.1 of a server that is not a proxy, says nothing, or refuses whoever does not offer HTTP/2."""

_MAY_JUST_BE_SLOW = (CertificateFlaw.UNSEEN, CertificateFlaw.SILENT)
_FRESH_SECONDS = 7 * 86_400.0
_MAX_LINE_BYTES, _MAX_FIELDS = 4096, 50

# Results of OpenSSL's verification (X509_V_ERR_…). Many ordinary sites make these mistakes: a certificate that is not
# valid yet or any more, and a missing intermediate one. All other results are of no ordinary site.
_OUT_OF_DATE, _INCOMPLETE = (9, 10), (20, 21)
_FLAWS = {18: CertificateFlaw.SELF_SIGNED, 19: CertificateFlaw.OWN_AUTHORITY, 62: CertificateFlaw.OTHER_NAME}
_LOGGED = bytes.fromhex("060a2b06010401d679020402")
"""The object identifier of the timestamps of logs in a certificate (RFC 6962, section 3.3). Browsers ask for them, so
all public authorities put them in; authorities of one's own have no log.
"""

_PROXY_FIELDS = (b"proxy-authenticate:", b"proxy-agent:", b"server: tinyproxy")
"""Beginnings of fields that only proxies send (RFC 9110, section 11.7; the second is a custom of many). The third
answers so where it cannot reach itself.
"""


@value_dataclass(frozen=True, slots=True)
class Server:
    """A server that a tunnel leads to: the SNI that the client sends, and the address that was dialled.

    `unlisted` is the request for the host of which nothing is known, and `owner` the device for limits.
    """

    host: str
    address: str
    port: int
    owner: DeviceId
    unlisted: Request

    @property
    def key(self) -> tuple[str, str, int]:
        return self.host, self.address, self.port


@value_dataclass(frozen=True, slots=True)
class _Finding:
    flaw: CertificateFlaw
    since: float
    until: float


class CertificateExaminer:
    """Examiner of servers, each once at a time. `authorities` is a file of CAs to trust in addition to the usual ones.

    Only public addresses are examined, unless `also_private`: machines of the local network have certificates of their
    own.
    """

    def __init__(
        self, authorities: Path | None = None, clock: Callable[[], float] = time.time, *, also_private: bool = False
    ) -> None:
        self._also_private = also_private
        self._context, self._lenient = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http2 = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http2.set_alpn_protocols(["h2"])
        for context in (self._lenient, self._http2):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for context in (self._context, self._lenient, self._http2):
            # A server that speaks an old version, or has a weak key, is looked at like any other.
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.set_ciphers("ALL:!aNULL:@SECLEVEL=0")
        self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # what it finds hides what counts here
        if authorities is not None:
            self._context.load_verify_locations(authorities)
        self._clock = clock
        self._found = BoundedDict[tuple[str, str, int], _Finding](_MAX_SERVERS)
        self._running: dict[tuple[str, str, int], asyncio.Task[None]] = {}
        self._begun = set[tuple[str, str, int]]()
        self._running_of = Counter[DeviceId]()
        self._turns: dict[DeviceId, asyncio.Semaphore] = {}
        self._turn = asyncio.Semaphore(_LOOKS)

    def known(self, server: Server) -> CertificateFlaw:
        """Return the last finding about a server, NONE before the first."""
        found = self._found.get(server.key)
        return CertificateFlaw.NONE if found is None else found.flaw

    async def examine(self, server: Server) -> CertificateFlaw:
        """Return the last finding, or wait for the first.

        UNSEEN if that takes too long; it may come later. CROWDED if the device itself keeps too many looks busy.
        """
        if not self.may_examine(server.address):
            return CertificateFlaw.NONE
        look = self.renew(server)
        if look is not None and server.key not in self._found:
            await asyncio.wait([look], timeout=_PATIENCE_SECONDS)
        if server.key in self._found:
            return self.known(server)
        is_crowded = server.key not in self._begun and self._running_of[server.owner] >= _MANY_OF_A_DEVICE
        return CertificateFlaw.CROWDED if is_crowded else CertificateFlaw.UNSEEN

    def renew(self, server: Server) -> asyncio.Task[None] | None:
        """Look at a server again, along with what else happens, unless the last finding is still good.

        Return the look, None if there is none.
        """
        found, look = self._found.get(server.key), self._running.get(server.key)
        if look is not None or (found is not None and self._clock() < found.until):
            return look
        owner = server.owner
        if not self.may_examine(server.address) or self._running_of[owner] >= _WAITING_PER_DEVICE:
            return None

        def forget(_look: asyncio.Task[None]) -> None:
            del self._running[server.key]
            self._begun.discard(server.key)
            self._running_of[owner] -= 1
            if not self._running_of[owner]:
                del self._running_of[owner], self._turns[owner]

        self._running_of[owner] += 1
        turn = self._turns.setdefault(owner, asyncio.Semaphore(_LOOKS_PER_DEVICE))
        look = self._running[server.key] = asyncio.get_running_loop().create_task(self._look(server, turn))
        look.add_done_callback(forget)
        return look

    def may_examine(self, address: str) -> bool:
        """Return whether the server at an address is examined, and not one of the local network."""
        return self._also_private or is_public_address(address)

    async def _look(self, server: Server, turn: asyncio.Semaphore) -> None:
        flaw = CertificateFlaw.UNSEEN
        async with turn, self._begin(server):
            with contextlib.suppress(OSError, EOFError, ValueError, TimeoutError):  # ssl.SSLError is an OSError
                async with asyncio.timeout(_LOOK_SECONDS):
                    flaw = await self._handshake(server)
            if flaw in _MAY_BE_HTTP2_PROXY:
                if server.key not in self._found:
                    self._note(server, flaw)  # a new connection need not wait for more
                flaw = CertificateFlaw.PROXY if await self._is_proxy_by_http2(server) else flaw
        self._note(server, flaw)

    @contextlib.asynccontextmanager
    async def _begin(self, server: Server) -> AsyncIterator[None]:
        """Wait for a turn among all devices, which is not the device's own doing."""
        self._begun.add(server.key)
        async with self._turn:
            yield

    def _note(self, server: Server, flaw: CertificateFlaw) -> None:
        """Keep a finding for as long as it has been the same already."""
        now, before = self._clock(), self._found.get(server.key)
        if before is not None and flaw in (before.flaw, *_MAY_JUST_BE_SLOW):
            flaw, since = before.flaw, before.since
        else:
            since = now
        kept = min(max(now - since, _SHORTEST_SECONDS), _LONGEST_SECONDS[flaw])
        self._found[server.key] = _Finding(flaw, since, now + kept)

    async def _is_proxy_by_http2(self, server: Server) -> bool:
        place = f"{server.host}:{server.port}"
        with contextlib.suppress(OSError, EOFError, ValueError, ProtocolError, TimeoutError):
            async with asyncio.timeout(_TUNNEL_SECONDS), self._connected(server, self._http2) as (reader, writer):
                chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
                return chosen == "h2" and await is_http2_proxy(reader, writer, place, _first_message(server.host))
        return False

    async def _handshake(self, server: Server) -> CertificateFlaw:
        try:
            async with self._connected(server, self._context) as (reader, writer):
                issued = ssl.cert_time_to_seconds(writer.get_extra_info("peercert")["notBefore"])
                is_fresh = self._clock() - issued < _FRESH_SECONDS
                flaw = await _flaw_by_answer(reader, writer, server)
                return flaw or (CertificateFlaw.FRESH if is_fresh else CertificateFlaw.NONE)
        except ssl.SSLCertVerificationError as error:
            if error.verify_code not in _OUT_OF_DATE + _INCOMPLETE:
                return _FLAWS.get(error.verify_code, CertificateFlaw.OWN_AUTHORITY)
            is_incomplete = error.verify_code in _INCOMPLETE
        async with self._connected(server, self._lenient) as (reader, writer):
            if is_incomplete and _LOGGED not in writer.get_extra_info("ssl_object").getpeercert(binary_form=True):
                return CertificateFlaw.OWN_AUTHORITY
            return await _flaw_by_answer(reader, writer, server)

    @contextlib.asynccontextmanager
    async def _connected(
        self, server: Server, context: ssl.SSLContext
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(
            server.address, server.port, ssl=context, server_hostname=server.host, limit=_MAX_LINE_BYTES
        )
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def _flaw_by_answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server
) -> CertificateFlaw:
    """Return what a server's answer to a request shows, SILENT if it gives none."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return CertificateFlaw.PROXY if await _is_proxy(reader, writer, server) else CertificateFlaw.NONE
    except TimeoutError:
        return CertificateFlaw.SILENT


async def _is_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server) -> bool:
    """Ask for a tunnel to the host itself (RFC 9110 §9.3.6).

    Only a proxy asks for a password then, names itself or CONNECT in its answer, or lets a handshake begin. A server
    that hangs up is none.

    Raises TimeoutError in the time of the caller.
    """
    place = f"{server.host}:{server.port}"
    try:
        writer.write(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        line = parse_status_line((await reader.readline()).rstrip(b"\r\n"))
        if line is None or line[1] == 407:
            return line is not None
        for _ in range(_MAX_FIELDS):
            field = (await reader.readline()).strip().lower()
            if field.startswith(_PROXY_FIELDS) or (field.startswith(b"allow:") and b"connect" in field):
                return True
            if not field:
                break
        if line[1] != 200:
            return False
        writer.write(_first_message(server.host))
        async with asyncio.timeout(_TUNNEL_SECONDS):  # a web site may wait for the rest of a request
            return await reader.readexactly(len(TLS_HANDSHAKE)) == TLS_HANDSHAKE  # not a page about a bad request
    except (OSError, EOFError, ValueError):
        return False


def _first_message(host: str) -> bytes:
    """Return a ClientHello."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=host).do_handshake()
    return outgoing.read()
