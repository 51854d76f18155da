"""Elements of the sets of the table `inet hedgerow`, written by netlink (linux/netfilter/nf_tables.h).

`nft` takes ten milliseconds to start, too long for a DNS answer to wait. One transaction here takes a tenth of a millisecond.
It needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from struct import Struct
from typing import Final, NamedTuple

from hedgerow.network.nft_expressions import TABLE

_NETLINK_NETFILTER: Final = 12
_HEADER: Final = Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_FAMILY: Final = Struct("=BBH")  # struct nfgenmsg: family, version, resource (network order)
_ATTRIBUTE: Final = Struct("=HH")
_ERROR, _BATCH_BEGIN, _BATCH_END = 2, 16, 17  # NLMSG_ERROR, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END
_NFTABLES: Final = 10  # NFNL_SUBSYS_NFTABLES
_NEW_ELEMENT, _DELETE_ELEMENT, _NEW_GENERATION, _GET_GENERATION = (_NFTABLES << 8 | kind for kind in (12, 14, 15, 16))
_REQUEST, _ACK, _CREATE, _NESTED = 0x1, 0x4, 0x400, 0x8000
_INET: Final = 1  # NFPROTO_INET
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_LIST_ITEM, _DATA_VALUE, _ELEMENT_KEY, _ELEMENT_TIMEOUT, _GENERATION_ID = 1, 1, 1, 4, 1
_BUFFER: Final = 1 << 16
_TIMEOUT_S: Final = 1.0  # the kernel answers before `recv` is called
MAX_ELEMENTS: Final = 512
"""Elements per set in one transaction: a netlink attribute has at most 64 kB."""


class SetElement(NamedTuple):
    """An element of a set with timeouts: the octets of its key, each field padded to four, and the seconds that it has left."""

    key: bytes
    seconds: int


class SetWriter:
    """Writer of set elements over one netlink socket. `commits` counts the transactions that changed the ruleset."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.settimeout(_TIMEOUT_S)
        self._sequence = 0
        self.commits = 0

    def close(self) -> None:
        self._socket.close()

    def write(self, added: Mapping[str, Sequence[SetElement]], removed: Mapping[str, Sequence[SetElement]] | None = None) -> None:
        """Add elements by set name, or renew their timeouts, and remove others, in one transaction. Raises OSError.

        Every element is added, removed, and added again: kernels before 6.12 do not renew a timeout, and removing an element that has
        just expired would fail.
        """
        removed = removed or {}
        names = [name for name in {**added, **removed} if added.get(name) or removed.get(name)]
        both = {name: [*added.get(name, ()), *removed.get(name, ())] for name in names}
        steps = [(_NEW_ELEMENT, _CREATE, both), (_DELETE_ELEMENT, 0, both), (_NEW_ELEMENT, _CREATE, added)]
        messages = [
            (kind, flags, _set_body(name, elements)) for kind, flags, by_name in steps for name, elements in by_name.items() if elements
        ]
        if messages:
            self._transact(messages)
            self.commits += 1

    def generation(self) -> int:
        """Return the number of the ruleset's generation, which every change by anybody raises. Raises OSError."""
        self._sequence += 1
        self._socket.send(_message(_GET_GENERATION, _REQUEST, self._sequence, _FAMILY.pack(0, 0, 0)))
        while True:
            for kind, sequence, body in _messages(self._socket.recv(_BUFFER)):
                if sequence == self._sequence:
                    _raise_error(kind, body)
                    return _generation_id(body[_FAMILY.size :])

    def _transact(self, messages: Sequence[tuple[int, int, bytes]]) -> None:
        begin = self._sequence + 1
        end = self._sequence = begin + len(messages) + 1
        batch = [_message(_BATCH_BEGIN, _REQUEST, begin, _FAMILY.pack(0, 0, socket.htons(_NFTABLES)))]
        batch += [
            _message(kind, _REQUEST | _ACK | flags, begin + 1 + index, _FAMILY.pack(_INET, 0, 0) + body)
            for index, (kind, flags, body) in enumerate(messages)
        ]
        batch.append(_message(_BATCH_END, _REQUEST, end, _FAMILY.pack(0, 0, socket.htons(_NFTABLES))))
        self._socket.send(b"".join(batch))
        waiting, problem = set(range(begin + 1, end)), None
        while waiting:
            for kind, sequence, body in _messages(self._socket.recv(_BUFFER)):
                if begin <= sequence <= end and kind == _ERROR:
                    problem = problem or _error_in(body)
                    waiting.discard(sequence)
                    if sequence == begin:  # the whole batch was refused
                        waiting.clear()
        if problem is not None:
            raise problem


def _set_body(name: str, elements: Sequence[SetElement]) -> bytes:
    items = b"".join(
        _nested(
            _LIST_ITEM,
            _nested(_ELEMENT_KEY, _attribute(_DATA_VALUE, element.key))
            + _attribute(_ELEMENT_TIMEOUT, (1000 * element.seconds).to_bytes(8)),
        )
        for element in elements
    )
    return _attribute(_LIST_TABLE, _text(TABLE)) + _attribute(_LIST_SET, _text(name)) + _nested(_LIST_ELEMENTS, items)


def _text(value: str) -> bytes:
    return value.encode("ascii") + b"\0"


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _nested(kind: int, value: bytes) -> bytes:
    return _attribute(kind | _NESTED, value)


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence & 0xFFFFFFFF, 0) + body


def _messages(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, sequence number and body of each message. Raises OSError for a malformed one."""
    at = 0
    while at + _HEADER.size <= len(datagram):
        length, kind, _, sequence, _ = _HEADER.unpack_from(datagram, at)
        if not _HEADER.size <= length <= len(datagram) - at:
            raise OSError("netlink message of a wrong length")
        yield kind, sequence, datagram[at + _HEADER.size : at + length]
        at += length + 3 & ~3


def _error_in(body: bytes) -> OSError | None:
    code = -int.from_bytes(body[:4], sys.byteorder, signed=True)
    return OSError(code, os.strerror(code)) if code else None


def _raise_error(kind: int, body: bytes) -> None:
    problem = _error_in(body) if kind == _ERROR else None
    if problem is not None:
        raise problem


def _generation_id(attributes: bytes) -> int:
    at = 0
    while at + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, at)
        if kind == _GENERATION_ID:
            return int.from_bytes(attributes[at + 4 : at + 8])
        at += max(length, _ATTRIBUTE.size) + 3 & ~3
    raise OSError("the kernel named no generation")
