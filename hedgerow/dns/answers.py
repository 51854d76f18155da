"""Answers as bytes: blocked, rewritten, forwarded, refused. Pure.

An answer is drafted once per question (`Draft`), then rendered for each client: with or without EDNS, within a size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache, partial
from ipaddress import ip_address
from struct import pack, unpack_from
from typing import Final, NamedTuple

from hedgerow.dns import wire
from hedgerow.dns.extended_errors import (
    FILTERED,
    NO_REACHABLE_AUTHORITY,
    STALE,
    STALE_NXDOMAIN,
    ExtendedError,
    block_error,
)
from hedgerow.dns.upstreams import responses
from hedgerow.dns.upstreams.responses import Response
from hedgerow.dns.wire import Query, Record
from hedgerow.policies.model import Decision
from hedgerow.policies.network import BlockedAnswer

BLOCKED_TTL: Final = 10
MAX_TTL: Final = 86_400
MAX_NEGATIVE_TTL: Final = 3_600  # RFC 2308, section 5
# seconds that a blocked answer may stay in the cache; the TTL it shows never passes BLOCKED_TTL
BLOCKED_LIFETIME: Final = 3_600.0
FAILURE_TTL: Final = 1.0  # RFC 9520: failures are cached, but no longer than it takes to protect the upstream

STALE_TTL: Final = 30  # RFC 8767, section 4
PADDING_BLOCK: Final = 468  # octets: padded answers are multiples of this (RFC 8467, section 4.1)
_MAX_MESSAGE: Final = 65_535
_EMPTY_OPT: Final = wire.opt_bytes(0, dnssec=False)
_OPT_PREFIX: Final = _EMPTY_OPT[:5]  # name, type and our datagram size
_SERVICES: Final = (wire.SVCB, wire.HTTPS)
_PLAIN_ANSWERS: Final = {rtype: frozenset((rtype,)) for rtype in (wire.A, wire.AAAA)}
_EMPTY_KEEPALIVE: Final = wire.option_bytes(wire.KEEPALIVE, b"")
_ECH: Final = 5  # SvcParamKey
_MANDATORY: Final = 0
_SIGNED_ECH: Final = ExtendedError(
    FILTERED, "ech would hide hosts from the filter, and can't be taken out of a signed record"
)

# As RPZ resolvers have it. The owner is the asked name, so that the negative answer can be cached.
_LOCAL_SOA: Final = b"\x09localhost\0" + b"\x06nobody\x07invalid\0" + pack("!IIIII", 1, 3600, 1200, 604800, BLOCKED_TTL)
_RFC8482: Final = b"\x07RFC8482\0"


class Draft(NamedTuple):
    """An answer to a question. `answers` and `authority` count the records in `body`, which follows the question.

    `ttls` are pairs of an offset in `body` and seconds. The draft is right for `lifetime` seconds, and no TTL that is
    shown passes `ceiling`. `ede` is an extended error.
    """

    rcode: int
    answers: int = 0
    authority: int = 0
    body: bytes = b""
    ttls: tuple[tuple[int, int], ...] = ()
    lifetime: float = 0.0
    ceiling: int = MAX_TTL
    authentic: bool = False
    ede: ExtendedError | None = None


class RenderedAnswer(NamedTuple):
    """A finished answer around the client's own id and question: id + head + question + tail.

    Offsets in `ttls` are into the tail.
    """

    head: bytes
    tail: bytes
    ttls: tuple[tuple[int, int], ...]


def render(query: Query, draft: Draft) -> RenderedAnswer:
    """Fit a draft to the query's flags, EDNS and size.

    A body that does not fit is left out, and TC set (RFC 2181, section 9).
    """
    body, answers, authority, ttls = draft.body, draft.answers, draft.authority, draft.ttls
    opt = _opt(query, draft, draft.ede)
    if draft.ede is not None and query.end + len(body) + len(opt) > query.limit:
        opt = _opt(query, draft, ExtendedError(draft.ede.code, ""))  # only a long text of a rule makes it too long
    truncated = query.end + len(body) + len(opt) > query.limit
    if truncated:
        body, answers, authority, ttls = b"", 0, 0, ()
    wants_authentic = query.data[3] & 0x20 or (query.edns is not None and query.edns.dnssec)
    authentic = draft.authentic and bool(wants_authentic)
    flags = _flags(query.data, draft.rcode, truncated=truncated, authentic=authentic)
    return RenderedAnswer(_head(flags, answers, authority, 1 if opt else 0), body + opt, ttls)


def _opt(query: Query, draft: Draft, ede: ExtendedError | None) -> bytes:
    """Return the OPT record of an answer with an extended error, empty for a client without EDNS."""
    if query.edns is None:
        return b""
    options = b""
    if ede is not None:
        text = ede.extra_text(structured=bool(query.shape & wire.STRUCTURED_SHAPE))
        options = wire.option_bytes(wire.EXTENDED_ERROR, pack("!H", ede.code) + text)
    return wire.opt_bytes(draft.rcode, query.edns.dnssec, options)


@lru_cache(maxsize=256)
def _head(flags: bytes, answers: int, authority: int, additional: int) -> bytes:
    """Return the header behind the id. Most answers have one of a few heads: one object each is enough."""
    return flags + pack("!HHHH", 1, answers, authority, additional)


def message(query: Query, draft: Draft) -> bytes:
    """Return the whole answer for one client, not to be cached."""
    rendered = render(query, draft)
    return query.data[:2] + rendered.head + query.data[wire.HEADER : query.end] + rendered.tail


def error(data: bytes, rcode: int, question_end: int = wire.HEADER) -> bytes:
    """Return a header with an rcode, and the question if `question_end` is given. `data` has at least a header."""
    count = 1 if question_end > wire.HEADER else 0
    return data[:2] + _flags(data, rcode) + pack("!HHHH", count, 0, 0, 0) + data[wire.HEADER : question_end]


def blocked(
    query: Query, decision: Decision, kind: BlockedAnswer = BlockedAnswer.ZERO, page: tuple[str, ...] = ()
) -> Draft:
    """Draft the answer to a blocked name: 0.0.0.0 and ::, NXDOMAIN, or the addresses of the block page; no records for
    other types.
    """
    ede = block_error(decision, names_page=kind is BlockedAnswer.PAGE and bool(page))
    if kind is BlockedAnswer.NXDOMAIN:
        return negative(wire.NXDOMAIN, ede)
    if query.qtype not in (wire.A, wire.AAAA):
        return negative(ede=ede)
    texts = page if kind is BlockedAnswer.PAGE and page else ("0.0.0.0", "::")  # noqa: S104
    return addresses(query, texts, BLOCKED_TTL)._replace(ede=ede)


def negative(rcode: int = wire.NOERROR, ede: ExtendedError | None = None) -> Draft:
    """Draft NODATA or NXDOMAIN of our own making, with an SOA so that it is cached (RFC 2308)."""
    body = wire.record_bytes(wire.QUESTION_POINTER, wire.SOA, BLOCKED_TTL, _LOCAL_SOA)
    return Draft(rcode, 0, 1, body, ((6, int(BLOCKED_LIFETIME)),), BLOCKED_LIFETIME, BLOCKED_TTL, ede=ede)


def addresses(query: Query, texts: Iterable[str], ceiling: int) -> Draft:
    """Draft an answer with those addresses that have the asked type; NODATA if none has."""
    if query.qtype == wire.ANY:
        return minimal_any()
    rdatas = [
        address.packed
        for address in map(ip_address, texts)
        if query.qtype == (wire.A if address.version == 4 else wire.AAAA)
    ]
    if not rdatas:
        return negative()
    records = [wire.record_bytes(wire.QUESTION_POINTER, query.qtype, ceiling, rdata) for rdata in rdatas]
    size = len(records[0])
    ttls = tuple((size * index + 6, int(BLOCKED_LIFETIME)) for index in range(len(records)))
    return Draft(wire.NOERROR, len(records), 0, b"".join(records), ttls, BLOCKED_LIFETIME, ceiling)


def minimal_any() -> Draft:
    """Draft the answer to ANY (RFC 8482, section 4.2)."""
    body = wire.record_bytes(wire.QUESTION_POINTER, wire.HINFO, 3600, _RFC8482)
    return Draft(wire.NOERROR, 1, 0, body, ((6, 3600),), 3600.0)


def failed(text: str, ede: int | None = None, rcode: int = wire.SERVFAIL) -> Draft:
    """Draft a failure. `ede` is the code of the extended error that an upstream gave."""
    code = NO_REACHABLE_AUTHORITY if ede is None else ede
    return Draft(rcode, lifetime=FAILURE_TTL, ede=ExtendedError(code, text))


def stale(draft: Draft, *, keep: bool) -> Draft:
    """Make a stale answer of an expired draft (RFC 8767).

    `keep`: it may be cached for as long as its TTL says, to spare the upstreams.
    """
    code = STALE_NXDOMAIN if draft.rcode == wire.NXDOMAIN else STALE
    ttls = tuple((offset, STALE_TTL) for offset, _ in draft.ttls)
    ede = ExtendedError(code, "the upstreams do not answer: this is an earlier answer")
    return draft._replace(ttls=ttls, lifetime=float(STALE_TTL) if keep else 0.0, ceiling=STALE_TTL, ede=ede)


def cname_chain(response: Response, name: bytes) -> tuple[bytes, ...]:
    """Return the CNAME targets that lead on from `name`, in order. Each name counts once, so that a loop ends."""
    if wire.CNAME not in response.rtypes:
        return ()
    targets: dict[bytes, bytes] = {}
    for record in response.answers:
        if record.rtype == wire.CNAME:
            targets.setdefault(record.owner, wire.read_name(response.data, record.start)[0].lower())
    chain: list[bytes] = []
    while name in targets:
        name = targets.pop(name)
        chain.append(name)
    return tuple(chain)


def svcb_targets(response: Response, owners: Collection[bytes]) -> tuple[bytes, ...]:
    """Return the targets of the SVCB and HTTPS records of `owners`, other than the owner itself: they are
    aliases too.
    """
    if response.rtypes.isdisjoint(_SERVICES):
        return ()
    services = [record for record in response.answers if record.rtype in _SERVICES and record.owner in owners]
    names = (wire.read_name(response.data, record.start + 2)[0].lower() for record in services)
    return tuple(name for name in names if name != b"\0")


def forwarded(query: Query, response: Response, targets: tuple[bytes, ...], *, keep_ech: bool = False) -> Draft:
    """Draft an upstream's answer without records of other owners, the additional section, and `ech` unless `keep_ech`.

    Aliases are in the order in which they lead on. ECH would hide from the proxy which host a connection is for. It
    can't be taken out of a signed record for a client that may validate it, so that such a record is blocked. Where
    nothing is taken out, the octets are kept as they are: compression pointers stay right, since the question before
    them has the same length.
    """
    if response.rcode not in (wire.NOERROR, wire.NXDOMAIN):
        return Draft(response.rcode, lifetime=FAILURE_TTL)
    wants_proof = query.edns is not None and query.edns.dnssec
    if response.is_whole and not wants_proof and response.rtypes == _PLAIN_ANSWERS.get(query.qtype) and not targets:
        body, ttls = _copy_records(response, 0, MAX_TTL)
        if {record.owner for record in response.answers} == {query.name}:  # as most answers are
            lifetime = min([ttl for _, ttl in ttls])
            return Draft(response.rcode, len(ttls), 0, body, ttls, float(lifetime), authentic=response.authentic)
    belongs = {query.name, *targets}
    if wire.DNAME in response.rtypes:
        belongs.update(
            [
                record.owner
                for record in response.answers
                if record.rtype == wire.DNAME and is_ancestor(record.owner, belongs)
            ]
        )
    answers = [record for record in response.answers if record.owner in belongs]
    if targets:
        answers.sort(key=partial(_alias_rank, (query.name, *targets)))
    strips_ech = not keep_ech and has_ech(response)
    if strips_ech and wants_proof and wire.RRSIG in response.rtypes:
        return negative(ede=_SIGNED_ECH)
    positive = query.qtype in [record.rtype for record in answers]
    authority = _in_bailiwick(response.authority, belongs) if wants_proof or not positive else ()
    is_whole = (
        response.is_whole and answers == list(response.answers) and len(authority) in (0, len(response.authority))
    )
    untouched = is_whole and not strips_ech
    longest = MAX_TTL if positive else _negative_ttl(response)
    if untouched:
        body, ttls = _copy_records(response, len(authority), longest)
    else:
        body, ttls = _rebuild_records(query, response, [*answers, *authority], longest, keep_ech=keep_ech)
    has_soa = wire.SOA in [record.rtype for record in authority]
    lifetime = min([ttl for _, ttl in ttls], default=0) if positive or has_soa else 0
    authentic = response.authentic and (untouched or keep_ech)
    return Draft(response.rcode, len(answers), len(authority), body, ttls, float(lifetime), authentic=authentic)


def _alias_rank(chain: tuple[bytes, ...], record: Record) -> tuple[int, bool]:
    """Return the sort key of a record: the place of its name in a chain of aliases.

    A DNAME precedes the CNAME that follows from it.
    """
    if record.owner in chain:
        return chain.index(record.owner), True
    return next(index for index, name in enumerate(chain) if is_ancestor(record.owner, (name,))), False


def rewritten(query: Query, target: bytes, response: Response | None) -> Draft:
    """Draft a CNAME to `target` with the target's addresses from `response`.

    None: only the CNAME, so that no other record leaks.
    """
    ttl = 300
    records: list[tuple[bytes, int, int, bytes]] = [(wire.QUESTION_POINTER, wire.CNAME, ttl, target)]
    if response is not None:
        belongs = {target, *cname_chain(response, target)}
        records += [
            (record.owner, record.rtype, min(record.ttl, ttl), responses.expand_rdata(response.data, record))
            for record in response.answers
            if record.owner in belongs and record.rtype in (query.qtype, wire.CNAME)
        ]
    found = any(rtype == query.qtype for _, rtype, _, _ in records)
    if not found:
        records.append((target, wire.SOA, BLOCKED_TTL, _LOCAL_SOA))
    body, ttls = _write_records(records)
    lifetime = float(max(1, min(ttl for _, ttl in ttls)))
    return Draft(wire.NOERROR, len(records) - (not found), int(not found), body, ttls, lifetime)


def has_type(response: Response, rtype: int) -> bool:
    return any(record.rtype == rtype for record in response.answers)


def without_ech(rdata: bytes) -> bytes:
    """Remove the `ech` parameter from SVCB or HTTPS rdata, also from its list of mandatory keys (RFC 9460,
    section 8).
    """
    target, params = responses.parse_svcb(rdata)
    kept = bytearray(target)
    for key, value in params:
        if key == _MANDATORY:
            value = b"".join(
                value[at : at + 2] for at in range(0, len(value), 2) if value[at : at + 2] != pack("!H", _ECH)
            )
            if not value:
                continue
        if key != _ECH:
            kept += wire.option_bytes(key, value)
    return bytes(kept)


def has_ech(response: Response) -> bool:
    """Return whether a response offers Encrypted ClientHello."""
    if response.rtypes.isdisjoint(_SERVICES):
        return False
    services = (record for record in response.answers if record.rtype in _SERVICES)
    return any(
        key == _ECH
        for record in services
        for key, _ in responses.parse_svcb(response.data[record.start : record.end])[1]
    )


def _flags(data: bytes, rcode: int, *, truncated: bool = False, authentic: bool = False) -> bytes:
    first = 0x80 | data[2] & 0x79 | (2 if truncated else 0)
    return bytes((first, 0x80 | data[3] & 0x10 | (0x20 if authentic else 0) | rcode & 15))


def is_ancestor(owner: bytes, names: Iterable[bytes]) -> bool:
    """Return whether one of the names is `owner` or beneath it, so that a DNAME or SOA there concerns it."""
    return owner == b"\0" or any(name[at:] == owner for name in names for at in wire.label_starts(name))


def _in_bailiwick(authority: tuple[Record, ...], names: Collection[bytes]) -> tuple[Record, ...]:
    """Drop the SOA and NS records of zones that none of the names is in."""
    return tuple(
        [record for record in authority if record.rtype not in (wire.SOA, wire.NS) or is_ancestor(record.owner, names)]
    )


def _negative_ttl(response: Response) -> int:
    """Return the longest TTL of a negative answer, which the SOA's minimum bounds too (RFC 2308, section 5)."""
    minimums = [int.from_bytes(response.data[r.end - 4 : r.end]) for r in response.authority if r.rtype == wire.SOA]
    return min([*minimums, MAX_NEGATIVE_TTL])


def _clamp_ttl(ttl: int, longest: int) -> int:
    """Bound a TTL. One with its first bit set counts as zero (RFC 2181, section 8)."""
    return 0 if ttl > 0x7FFFFFFF else min(ttl, longest)


def _copy_records(response: Response, authority: int, longest: int) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    start = response.question_end
    records = response.answers + response.authority[:authority]
    end = records[-1].end if records else start
    return response.data[start:end], tuple(
        [(record.ttl_at - start, _clamp_ttl(record.ttl, longest)) for record in records]
    )


def _rebuild_records(
    query: Query, response: Response, records: list[Record], longest: int, *, keep_ech: bool
) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    written = []
    for record in records:
        rdata = responses.expand_rdata(response.data, record)
        if record.rtype in _SERVICES and not keep_ech:
            rdata = without_ech(rdata)
        owner = wire.QUESTION_POINTER if record.owner == query.name else record.owner
        written.append((owner, record.rtype, _clamp_ttl(record.ttl, longest), rdata))
    return _write_records(written)


def _write_records(records: list[tuple[bytes, int, int, bytes]]) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    body, ttls = bytearray(), []
    for owner, rtype, ttl, rdata in records:
        ttls.append((len(body) + len(owner) + 4, ttl))
        body += wire.record_bytes(owner, rtype, ttl, rdata)
    return bytes(body), tuple(ttls)


def wants_padding(query: bytes) -> bool:
    """Return whether a query holds the padding option; only then the answer may (RFC 7830, section 4)."""
    return wire.PADDING.to_bytes(2) in query and _query_option(query, wire.PADDING) is not None


def asks_keepalive(query: bytes) -> bool:
    """Return whether a query asks how long its connection is kept open, as it must without a value (RFC 7828, section
    3.2.1).
    """
    return _EMPTY_KEEPALIVE in query and _query_option(query, wire.KEEPALIVE) == b""


def _query_option(query: bytes, code: int) -> bytes | None:
    """Return the content of an EDNS option of a query, found without parsing it whole; None without the option."""
    end = query.find(0, wire.HEADER) + 5
    at = end + len(_EMPTY_OPT)
    if query[end : end + 3] != _OPT_PREFIX[:3]:
        return None
    while at + 4 <= len(query):
        found, size = unpack_from("!HH", query, at)
        if found == code:
            return query[at + 4 : at + 4 + size]
        at += 4 + size
    return None


def with_keepalive(message: bytes, seconds: float) -> bytes:
    """Tell the client in one of our answers how long its idle connection is kept open (RFC 7828, section 3.1)."""
    return _with_option(message, wire.option_bytes(wire.KEEPALIVE, pack("!H", int(seconds * 10))))


def pad(message: bytes) -> bytes:
    """Pad one of our answers behind its other options, so that its length says little.

    Unchanged without OPT record or room.
    """
    return _with_option(message, wire.option_bytes(wire.PADDING, bytes(-(len(message) + 4) % PADDING_BLOCK)))


def _with_option(message: bytes, option: bytes) -> bytes:
    """Add an option behind the others of one of our answers. Unchanged without OPT record or room."""
    at = message.rfind(_OPT_PREFIX) + len(_EMPTY_OPT)
    size = int.from_bytes(message[at - 2 : at])
    if at < wire.HEADER or at + size != len(message) or len(message) + len(option) > _MAX_MESSAGE:
        return message
    return message[: at - 2] + (size + len(option)).to_bytes(2) + message[at:] + option
