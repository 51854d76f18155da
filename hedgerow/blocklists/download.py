"""Downloads in bounded memory, from servers that others run.

Answers are asked for uncompressed. Where a server compresses all the same, gzip and deflate are unpacked piece by piece and other
encodings are refused: a decoder without a bound makes gigabytes of a brotli answer of two kilobytes. A redirect from the internet
must not lead to an address inside, which would let a publisher ask the house's own machines.
"""

from __future__ import annotations

import contextlib
import socket
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx

from hedgerow import __version__

USER_AGENT = f"hedgerow/{__version__}"
"""All that a publisher learns of this installation, beside its address."""
PIECE = 1 << 16
"""Bytes of a body that are held at a time."""
MOST_REDIRECTS = 10
MOST_RATIO = 100
"""Bytes unpacked per byte received: lists of names come to 10."""
FREE_OF_RATIO = 16 << 20
"""Bytes to which anything may unpack."""

_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052


class RefusedError(ValueError):
    """What the server sent is not used; trying again would not help."""


@contextlib.contextmanager
def open_url(client: httpx.Client, url: str, headers: Mapping[str, str], timeout: float) -> Iterator[httpx.Response]:
    """The answer to a GET, after redirects, its body unread. Raises RefusedError for a redirect that must not be followed, and what
    httpx raises for all other failures."""
    request = client.build_request("GET", url, headers={"Accept-Encoding": "identity", **headers}, timeout=timeout)
    starts = _are_inside(request.url.host)
    is_of_the_house = bool(starts) and all(starts)
    for _ in range(MOST_REDIRECTS + 1):
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            if response.next_request is None:
                yield response
                return
        finally:
            response.close()
        target = response.next_request.url
        if request.url.scheme == "https" and target.scheme != "https":
            raise RefusedError("the server redirects to an address without encryption")
        if not is_of_the_house and any(_are_inside(target.host)):
            raise RefusedError("the server redirects to an address inside the network")
        request = response.next_request
    raise RefusedError(f"the download failed: more than {MOST_REDIRECTS} redirects")


def read_body(response: httpx.Response, most: int) -> Iterator[bytes]:
    """The body in pieces as they arrive, decompressed. Raises RefusedError for more than `most` bytes, and for what cannot be unpacked."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    match encoding:
        case "" | "identity":
            pieces = response.iter_raw()
        case "gzip" | "x-gzip" | "deflate":
            pieces = _inflate(response.iter_raw(), is_gzip=encoding != "deflate")
        case _:
            raise RefusedError(f"the server compresses with {encoding[:20]!r} although it was asked not to")
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise RefusedError(f"larger than {most >> 20} MB")
        if size > max(FREE_OF_RATIO, MOST_RATIO * response.num_bytes_downloaded):
            raise RefusedError(f"unpacks to more than {MOST_RATIO} times its size")
        yield piece


def length_of(response: httpx.Response) -> int | None:
    """The bytes that the server says are to come; None where it says nothing."""
    text = response.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 and int(text) else None


def download_small(url: str, most: int, seconds: float) -> bytes:
    """A file that is held in memory, of at most `most` bytes. Raises RefusedError, TimeoutError, and what httpx raises."""
    deadline = time.monotonic() + seconds
    with httpx.Client() as client, open_url(client, url, {"User-Agent": USER_AGENT}, min(10.0, seconds)) as response:
        response.raise_for_status()
        data = bytearray()
        for piece in read_body(response, most):
            data += piece
            if time.monotonic() > deadline:
                raise TimeoutError(f"not finished after {seconds:g} seconds")
        return bytes(data)


def _inflate(pieces: Iterable[bytes], *, is_gzip: bool) -> Iterator[bytes]:
    inflater = None
    try:
        for given in pieces:
            piece = given
            while piece:
                if inflater is None:
                    # By "deflate" some servers mean zlib's format (RFC 1950), as they should, and some the bare one (RFC 1951).
                    is_bare = not is_gzip and piece[0] & 0x0F != 8
                    inflater = zlib.decompressobj(31 if is_gzip else -15 if is_bare else 15)
                if unpacked := inflater.decompress(piece, PIECE):
                    yield unpacked
                piece = inflater.unconsumed_tail
                if inflater.eof:
                    piece, inflater = inflater.unused_data, None
        if inflater is not None:
            raise RefusedError("the download failed: what was compressed is cut off")
    except zlib.error as error:
        raise RefusedError(f"the download failed: what was compressed is damaged: {error}") from error


def _are_inside(host: str) -> list[bool]:
    """For each address of a host, whether it is inside; none for a host without any, which cannot be reached either."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return []
    return [not _is_public(ip_address(str(address).partition("%")[0])) for address in found]


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour or (IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None)
        if hidden is not None:
            return _is_public(hidden)
    return address.is_global and not address.is_multicast
