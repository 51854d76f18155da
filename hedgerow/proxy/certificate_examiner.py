"""Examination of the servers of unlisted hosts: one TLS handshake and one request of our own, before a device's tunnel
is joined.

A finding holds for hours, for all devices. The caller passes only addresses that the proxy may dial. Each device has
four examinations at once, so that one whose new hosts are slow delays only itself. One that fails or takes too long
finds nothing: the host may just be slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hedgerow.blocklists.address_ranges import is_public_address
from hedgerow.policies.model import DeviceId
from hedgerow.policies.unlisted import CertificateFlaw
from hedgerow.proxy.http_head import parse_status_line
from hedgerow.values import BoundedDict

_SECONDS_PER_EXAMINATION = 4.0
_ANSWER_SECONDS = 2.0
_AT_ONCE = 4
_MAX_DEVICES = 1024
_MAX_HOSTS = 8192
_CLEAN_SECONDS, _FLAWED_SECONDS, _UNKNOWN_SECONDS = 6 * 3600.0, 600.0, 60.0
_FRESH_SECONDS = 7 * 86_400.0
_MAX_LINE_BYTES, _MAX_FIELDS = 4096, 50
# the type and the first byte of the version of a ServerHello's record (RFC 8446, section 5.1)
_TLS_HANDSHAKE = b"\x16\x03"

# Results of OpenSSL's verification (X509_V_ERR_…). A missing intermediate certificate (20, 21) is a mistake of many
# ordinary sites.
_FLAWS = {18: CertificateFlaw.SELF_SIGNED, 19: CertificateFlaw.OWN_AUTHORITY, 62: CertificateFlaw.OTHER_NAME}


class CertificateExaminer:
    """Examiner of servers, each once at a time. `authorities` is a file of CAs to trust in addition to the usual ones.

    Only public addresses are examined, unless `also_private`: machines of the local network have certificates of their
    own.
    """

    def __init__(
        self, authorities: Path | None = None, clock: Callable[[], float] = time.time, *, also_private: bool = False
    ) -> None:
        self._also_private = also_private
        self._context = ssl.create_default_context()
        if authorities is not None:
            self._context.load_verify_locations(authorities)
        self._clock = clock
        self._found = BoundedDict[tuple[str, int], tuple[float, CertificateFlaw]](_MAX_HOSTS)
        self._running: dict[tuple[str, int], asyncio.Task[CertificateFlaw]] = {}
        self._turns: dict[DeviceId, asyncio.Semaphore] = {}

    async def examine(self, device: DeviceId, host: str, addresses: Sequence[str], port: int) -> CertificateFlaw:
        """Connect to the first of `addresses` with the SNI `host`, as a client would, and return the finding."""
        if not self._also_private and not is_public_address(addresses[0]):
            return CertificateFlaw.NONE
        key = (host, port)
        expires, known = self._found.get(key, (0.0, CertificateFlaw.NONE))
        if self._clock() < expires:
            return known
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.get_running_loop().create_task(self._connect(device, key, addresses[0]))
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(task)  # another connection may wait for the same

    async def _connect(self, device: DeviceId, key: tuple[str, int], address: str) -> CertificateFlaw:
        flaw, seconds = CertificateFlaw.NONE, _UNKNOWN_SECONDS
        with contextlib.suppress(OSError, ValueError, TimeoutError):  # ssl.SSLError is an OSError
            async with asyncio.timeout(_SECONDS_PER_EXAMINATION), self._turn_of(device):
                flaw = await self._handshake(key, address)
                seconds = _FLAWED_SECONDS if flaw else _CLEAN_SECONDS
        self._found[key] = (self._clock() + seconds, flaw)
        return flaw

    def _turn_of(self, device: DeviceId) -> asyncio.Semaphore:
        if len(self._turns) >= _MAX_DEVICES:
            self._turns = {each: turn for each, turn in self._turns.items() if turn.locked()}
        return self._turns.setdefault(device, asyncio.Semaphore(_AT_ONCE))

    async def _handshake(self, key: tuple[str, int], address: str) -> CertificateFlaw:
        host, port = key
        try:
            reader, writer = await asyncio.open_connection(
                address, port, ssl=self._context, server_hostname=host, limit=_MAX_LINE_BYTES
            )
        except ssl.SSLCertVerificationError as error:
            return _FLAWS.get(error.verify_code, CertificateFlaw.NONE)
        try:
            if await _is_proxy(reader, writer, host, port):
                return CertificateFlaw.PROXY
            issued = ssl.cert_time_to_seconds(writer.get_extra_info("peercert")["notBefore"])
            return CertificateFlaw.FRESH if self._clock() - issued < _FRESH_SECONDS else CertificateFlaw.NONE
        finally:
            writer.transport.abort()


async def _is_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> bool:
    """Ask for a tunnel to the host itself (RFC 9110 §9.3.6).

    Only a proxy asks for a password then, or lets a handshake begin.
    """
    writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            line = parse_status_line((await reader.readline()).rstrip(b"\r\n"))
            if line is None or line[1] != 200:
                return line is not None and line[1] == 407
            for _ in range(_MAX_FIELDS):
                if not (await reader.readline()).strip():
                    break
            writer.write(_first_message(host))
            return await reader.readexactly(len(_TLS_HANDSHAKE)) == _TLS_HANDSHAKE  # not a page about a bad request
    except (OSError, EOFError, ValueError, TimeoutError):
        return False


def _first_message(host: str) -> bytes:
    """Return a ClientHello."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=host).do_handshake()
    return outgoing.read()
