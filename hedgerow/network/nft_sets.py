"""Elements of the sets of the table `inet hedgerow`, written by netlink (linux/netfilter/nf_tables.h).

`nft` takes ten milliseconds to start, too long for a DNS answer to wait. One transaction here takes a tenth of a
millisecond. It needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Final, NamedTuple

from hedgerow.network.netlink import BUFFER, ERROR, attribute, attributes, error_in, message, messages
from hedgerow.network.nft_expressions import TABLE

_NETLINK_NETFILTER: Final = 12
_FAMILY: Final = Struct("=BBH")  # struct nfgenmsg: family, version, resource (network order)
_BATCH_BEGIN, _BATCH_END = 16, 17  # NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END
_NFTABLES: Final = 10  # NFNL_SUBSYS_NFTABLES
_NEW_ELEMENT, _DELETE_ELEMENT, _NEW_GENERATION, _GET_GENERATION = (_NFTABLES << 8 | kind for kind in (12, 14, 15, 16))
_ACK, _CREATE, _NESTED = 0x4, 0x400, 0x8000
_INET: Final = 1  # NFPROTO_INET
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_LIST_ITEM, _DATA_VALUE, _ELEMENT_KEY, _ELEMENT_TIMEOUT, _GENERATION_ID = 1, 1, 1, 4, 1
_TIMEOUT_S: Final = 1.0  # the kernel answers before `recv` is called
MAX_ELEMENTS: Final = 512
"""Elements per set in one transaction: a netlink attribute has at most 64 kB."""


class SetElement(NamedTuple):
    """An element of a set with timeouts: the octets of its key, each field padded to four, and the seconds that it has
    left.
    """

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

    def write(
        self, added: Mapping[str, Sequence[SetElement]], removed: Mapping[str, Sequence[SetElement]] | None = None
    ) -> None:
        """Add elements by set name, or renew their timeouts, and remove others, in one transaction. Raises OSError.

        Every element is added, removed, and added again: kernels before 6.12 do not renew a timeout, and removing an
        element that has just expired would fail.
        """
        removed = removed or {}
        names = [name for name in {**added, **removed} if added.get(name) or removed.get(name)]
        both = {name: [*added.get(name, ()), *removed.get(name, ())] for name in names}
        steps = [(_NEW_ELEMENT, _CREATE, both), (_DELETE_ELEMENT, 0, both), (_NEW_ELEMENT, _CREATE, added)]
        wanted = [
            (kind, flags, _set_body(name, elements))
            for kind, flags, by_name in steps
            for name, elements in by_name.items()
            if elements
        ]
        if wanted:
            self._transact(wanted)
            self.commits += 1

    def generation(self) -> int:
        """Return the number of the ruleset's generation, which every change by anybody raises. Raises OSError."""
        self._sequence += 1
        self._socket.send(message(_GET_GENERATION, 0, self._sequence, _FAMILY.pack(0, 0, 0)))
        while True:
            for kind, sequence, body in messages(self._socket.recv(BUFFER)):
                if sequence == self._sequence:
                    problem = error_in(body) if kind == ERROR else None
                    found = attributes(body[_FAMILY.size :]).get(_GENERATION_ID)
                    if found is None:
                        raise problem or OSError("the kernel named no generation")
                    return int.from_bytes(found)

    def _transact(self, steps: Sequence[tuple[int, int, bytes]]) -> None:
        begin = self._sequence + 1
        end = self._sequence = begin + len(steps) + 1
        batch = [message(_BATCH_BEGIN, 0, begin, _FAMILY.pack(0, 0, socket.htons(_NFTABLES)))]
        batch += [
            message(kind, _ACK | flags, begin + 1 + index, _FAMILY.pack(_INET, 0, 0) + body)
            for index, (kind, flags, body) in enumerate(steps)
        ]
        batch.append(message(_BATCH_END, 0, end, _FAMILY.pack(0, 0, socket.htons(_NFTABLES))))
        self._socket.send(b"".join(batch))
        waiting, problem = set(range(begin + 1, end)), None
        while waiting:
            for kind, sequence, body in messages(self._socket.recv(BUFFER)):
                if begin <= sequence <= end and kind == ERROR:
                    problem = problem or error_in(body)
                    waiting.discard(sequence)
                    if sequence == begin:  # the whole batch was refused
                        waiting.clear()
        if problem is not None:
            raise problem


def _set_body(name: str, elements: Sequence[SetElement]) -> bytes:
    items = b"".join(
        _nested(
            _LIST_ITEM,
            _nested(_ELEMENT_KEY, attribute(_DATA_VALUE, element.key))
            + attribute(_ELEMENT_TIMEOUT, (1000 * element.seconds).to_bytes(8)),
        )
        for element in elements
    )
    return attribute(_LIST_TABLE, _text(TABLE)) + attribute(_LIST_SET, _text(name)) + _nested(_LIST_ELEMENTS, items)


def _text(value: str) -> bytes:
    return value.encode("ascii") + b"\0"


def _nested(kind: int, value: bytes) -> bytes:
    return attribute(kind | _NESTED, value)
