"""Faster coding of HPACK (RFC 7541), for DNS over HTTPS and the inspector.

Tables and limits are those of the `hpack` package, whose decoder copies the rest of a block for every field and decodes
Huffman codes four bits at a time; its encoder compares a field with every entry of the table and shifts one long number
for every octet. Errors are those with which h2 ends a connection.

Protocol code: no sockets, no clock, no files.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError, ProtocolError
from hpack import Decoder, Encoder
from hpack.exceptions import (
    HPACKDecodingError,
    HPACKError,
    InvalidTableIndexError,
    InvalidTableSizeError,
    OversizedHeaderListError,
)
from hpack.hpack import VARINT_MAX_LENGTH, decode_integer, encode_integer
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import HUFFMAN_COMPLETE, HUFFMAN_EMIT_SYMBOL, HUFFMAN_FAIL, HUFFMAN_TABLE
from hpack.struct import HeaderTuple
from hpack.table import HeaderTable

type Field = tuple[bytes, bytes]

_USUAL_OCTETS: Final = 128
"""Octets of the strings whose Huffman codes are kept: a client repeats most of them with each connection, such as its
name.

Only strings that go into the table of fields are kept, so neither paths nor what a client excludes from tables, and no
secrets.
"""

_KEPT: Final = 512
_SECRET: Final = frozenset(b"authorization cookie proxy-authorization set-cookie".split())

_STATIC: Final = HeaderTable.STATIC_TABLE
_DYNAMIC: Final = len(_STATIC) + 1  # the index of the newest entry of the dynamic table
_ENTRY_OCTETS: Final = 32  # RFC 7541, section 4.1
# of a block: the lowest size since the last one, and the size now (RFC 7541, section 4.2)
_MOST_SIZE_UPDATES: Final = 2
_NIBBLE: Final = 16
# the first bits of a literal, and the bits left for an index
_LITERAL, _ADDED, _NEVER_INDEXED = (0x00, 4), (0x40, 6), (0x10, 4)
_CODES: Final = tuple(f"{code:0{length}b}" for code, length in zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))
_CHANGING: Final = frozenset(
    b":path age content-length date etag expires if-modified-since if-none-match last-modified location".split()
)
"""Fields whose next value is likely to differ. Added to the table they would only push others out."""


class CompressionError(ProtocolError):
    """A block of fields that cannot be decoded ends the connection with this code (RFC 9113, section 4.3).

    h2 has no code of its own for it.
    """

    error_code = ErrorCodes.COMPRESSION_ERROR


class FastDecoder(Decoder):
    """Decoder of one connection.

    Fields can be decoded once only, since they change the dynamic table. `hold` keeps what was decoded for the next
    `decode`, which h2 calls.

    >>> decoder = FastDecoder()
    >>> decoder.decode_fields(bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff"))[-1]
    (b':authority', b'www.example.com')
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: list[Field] | None = None

    def hold(self, fields: list[Field]) -> None:
        """Let the next `decode` return these fields."""
        self._held = fields

    def decode(self, data: bytes, raw: bool = False) -> list[Any]:
        """Return the fields of a block. Raises ProtocolError."""
        held, self._held = self._held, None
        fields = self.decode_fields(bytes(data)) if held is None else held
        if raw:
            return fields  # h2 takes any pairs
        return [HeaderTuple(name.decode(), value.decode()) for name, value in fields]

    def decode_fields(self, data: bytes) -> list[Field]:
        """Return the fields of a block as octets.

        Raises CompressionError, or DenialOfServiceError if there are too many.
        """
        try:
            fields = self._decode_block(data)
            self._assert_valid_table_size()
        except OversizedHeaderListError as error:
            raise DenialOfServiceError(str(error)) from error
        except (HPACKError, IndexError) as error:
            raise CompressionError(f"The header block is malformed: {error}") from error
        return fields

    def _decode_block(self, data: bytes) -> list[Field]:
        table, at, end, left = self.header_table, 0, len(data), self.max_header_list_size
        fields, updates = list[Field](), 0
        while at < end:
            first = data[at]
            if first >= 0x80:  # an indexed field
                index, at = (first & 0x7F, at + 1) if first != 0xFF else _integer(data, at, 7)
                field = _STATIC[index - 1] if 0 < index < _DYNAMIC else _dynamic(table, index)
            elif first & 0xE0 == 0x20:
                updates += 1
                if fields or updates > _MOST_SIZE_UPDATES:
                    raise HPACKDecodingError("Table size update not at the start of the block, or one too many")
                size, at = _integer(data, at, 5)
                if size > self.max_allowed_table_size:
                    raise InvalidTableSizeError("Encoder exceeded max allowable table size")
                self.header_table_size = size
                continue
            else:
                is_added = first >= 0x40
                most = 0x3F if is_added else 0x0F
                index = first & most
                index, at = (index, at + 1) if index != most else _integer(data, at, 6 if is_added else 4)
                if index:
                    name = (_STATIC[index - 1] if index < _DYNAMIC else _dynamic(table, index))[0]
                else:
                    name, at = _string(data, at, is_usual=is_added)
                value, at = _string(data, at, is_usual=is_added and name not in _SECRET)
                field = (name, value)
                if is_added:
                    table.add(name, value)
            fields.append(field)
            left -= _ENTRY_OCTETS + len(field[0]) + len(field[1])
            if left < 0:
                raise OversizedHeaderListError(
                    f"A header list larger than {self.max_header_list_size} has been received"
                )
        return fields


def _dynamic(table: HeaderTable, index: int) -> Field:
    if 0 <= index - _DYNAMIC < len(table.dynamic_entries):
        return table.dynamic_entries[index - _DYNAMIC]
    raise InvalidTableIndexError(f"Invalid table index {index}")


def _integer(data: bytes, at: int, bits: int) -> tuple[int, int]:
    value, octets = decode_integer(data[at : at + VARINT_MAX_LENGTH + 2], bits)  # a longer one is an error
    return value, at + octets


def _string(data: bytes, at: int, *, is_usual: bool) -> tuple[bytes, int]:
    first = data[at]
    length, at = (first & 0x7F, at + 1) if first & 0x7F != 0x7F else _integer(data, at, 7)
    end = at + length
    text = data[at:end]
    if len(text) != length:
        raise IndexError
    if first & 0x80:
        text = _decode_usual(text) if is_usual and length <= _USUAL_OCTETS else decode_huffman(text)
    return text, end


def decode_huffman(data: bytes) -> bytes:
    """Decode a string. Raises HPACKDecodingError.

    >>> decode_huffman(bytes.fromhex("a8eb10649cbf"))
    b'no-cache'
    """
    text, state, is_complete, steps = bytearray(), 0, True, _STEPS
    for octet in data:
        symbols, state, is_complete = steps[state | octet]
        text += symbols
    if not is_complete:
        raise HPACKDecodingError("Incomplete Huffman string")
    return bytes(text)


_decode_usual = lru_cache(_KEPT)(decode_huffman)


class _Steps(dict[int, tuple[bytes, int, bool]]):
    """The symbols that an octet completes, the state after it, and whether the string may end there, by state and
    octet.
    """

    def __missing__(self, key: int) -> tuple[bytes, int, bool]:
        state, flags, symbols = key >> 8, 0, bytearray()
        for nibble in (key >> 4 & 0xF, key & 0xF):
            state, flags, symbol = HUFFMAN_TABLE[state * _NIBBLE + nibble]
            if flags & HUFFMAN_FAIL:
                raise HPACKDecodingError("Invalid Huffman string")
            if flags & HUFFMAN_EMIT_SYMBOL:
                symbols.append(symbol)
        step = self[key] = (bytes(symbols), state << 8, bool(flags & HUFFMAN_COMPLETE))
        return step


_STEPS: Final = _Steps()  # 65,536 at most; those of usual texts are some thousands


class FastEncoder(Encoder):
    """Encoder of one connection.

    >>> FastEncoder().encode([(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"),
    ...  (b":authority", b"www.example.com")]).hex()
    '828684418cf1e3c2e5f23a6ba0ab90f4ff'
    """

    def __init__(self) -> None:
        super().__init__()
        # of the last entry with this field or name; older ones may be gone from the table
        self._numbers: dict[Field | bytes, int] = {}
        self._count = 0  # entries that were ever added

    @property
    def header_table_size(self) -> int:
        """The most octets of the table that the peer allows."""
        return self.header_table.maxsize

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        """Announce a change in the next block, also if the peer repeats its setting before that: hpack
        would forget it.
        """
        table = self.header_table
        was_resized = table.resized
        table.maxsize = value
        if table.resized:
            # RFC 7541, section 4.2: only it and the last one are announced
            lowest = min([value, *self.table_size_changes])
            self.table_size_changes = [lowest, value] if lowest < value else [value]
        table.resized = table.resized or was_resized

    def encode(self, headers: Iterable[Any], huffman: bool = True) -> bytes:
        """Return a block of fields.

        Those that are `hpack.NeverIndexedHeaderTuple` stay out of all tables on the way.
        """
        block = bytearray()
        if self.header_table.resized:
            block += self._encode_table_size_change()
            self.header_table.resized = False
        for field in headers:
            block += self._encode_field(field[0], field[1], getattr(field, "indexable", True), huffman)
        return bytes(block)

    def _encode_field(self, name: bytes, value: bytes, is_indexable: bool, is_huffman: bool) -> bytes | bytearray:
        static = HeaderTable.STATIC_TABLE_MAPPING.get(name)
        index = (static[1].get(value) if static is not None else None) or self._index_of((name, value))
        if index:
            return bytes((0x80 | index,)) if index < 0x7F else _prefixed(index, 0x80, 7)
        if not is_indexable:
            start, bits = _NEVER_INDEXED
        elif name in _CHANGING:
            start, bits = _LITERAL
        else:
            start, bits = _ADDED
        index = static[0] if static is not None else self._index_of(name)
        encoded, is_added = _prefixed(index, start, bits), start == _ADDED[0]
        if not index:
            encoded += _encode_string(name, is_huffman=is_huffman, is_usual=is_added)
        encoded += _encode_string(value, is_huffman=is_huffman, is_usual=is_added and name not in _SECRET)
        if is_added:
            self._add(name, value)
        return encoded

    def _index_of(self, key: Field | bytes) -> int:
        """Return the index of an entry in the dynamic table, 0 for none."""
        number = self._numbers.get(key)
        age = self._count - number if number is not None else 0
        return _DYNAMIC + age - 1 if 0 < age <= len(self.header_table.dynamic_entries) else 0

    def _add(self, name: bytes, value: bytes) -> None:
        table = self.header_table
        table.add(name, value)
        if not table.dynamic_entries:
            self._numbers.clear()  # it was too large, and the table is empty now
            return
        numbers = self._numbers
        numbers[name, value] = numbers[name] = self._count
        self._count += 1
        if len(numbers) > 4 * len(table.dynamic_entries) + 64:
            oldest = self._count - len(table.dynamic_entries)
            self._numbers = {key: number for key, number in numbers.items() if number >= oldest}


def _prefixed(number: int, start: int, bits: int) -> bytearray:
    encoded: bytearray = encode_integer(number, bits)
    encoded[0] |= start
    return encoded


def _encode_string(text: bytes, *, is_huffman: bool, is_usual: bool) -> bytearray:
    if is_huffman:
        text = _encode_usual(text) if is_usual and len(text) <= _USUAL_OCTETS else encode_huffman(text)
    return _prefixed(len(text), 0x80 if is_huffman else 0, 7) + text


def encode_huffman(text: bytes) -> bytes:
    """Encode a string.

    >>> encode_huffman(b"no-cache").hex()
    'a8eb10649cbf'
    """
    bits = "".join([_CODES[octet] for octet in text])
    bits += "1" * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8)


_encode_usual = lru_cache(_KEPT)(encode_huffman)
