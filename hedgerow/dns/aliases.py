"""Following of aliases to their end (RFC 1034, section 3.6.2; RFC 6672), which stub resolvers expect and authoritative
servers leave out.

A resolver's answer holds the whole chain. An authoritative server, as one under `network.forward` may be, says where an
alias leads and nothing about a name beyond its own zones. Then that name is asked for too, of the upstreams that are
right for it, and all parts become one response, which is judged and kept like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import Final

from hedgerow.dns import wire
from hedgerow.dns.answers import cname_chain, is_ancestor
from hedgerow.dns.private_networks import private_zone
from hedgerow.dns.upstreams import responses
from hedgerow.dns.upstreams.pool import OutcomeCallback, UpstreamOutcome, UpstreamPool
from hedgerow.dns.upstreams.responses import Response
from hedgerow.dns.upstreams.upstream import UpstreamError, UpstreamQuestion
from hedgerow.dns.wire import Malformed, Record

MAX_HOPS: Final = 8
"""Questions for one answer beyond the first."""

_ALIASES: Final = (wire.CNAME, wire.DNAME)
_NEVER_FOLLOWED: Final = frozenset((wire.CNAME, wire.DNAME, wire.ANY))
_MAX_NAME: Final = 255


def start_following(upstreams: UpstreamPool, question: UpstreamQuestion, callback: OutcomeCallback) -> None:
    """Ask the upstreams as `UpstreamPool.start` does, and follow the aliases in the answer."""

    def on_outcome(outcome: UpstreamOutcome) -> None:
        if isinstance(outcome, Response) and not outcome.rtypes.isdisjoint(_ALIASES):
            _Follower(upstreams, question, callback).take(outcome)
        else:
            callback(outcome)

    upstreams.start(question, on_outcome)


class _Follower:
    """A question whose answer is an alias. `take` gets the response to each name of the chain in turn."""

    def __init__(self, upstreams: UpstreamPool, question: UpstreamQuestion, callback: OutcomeCallback) -> None:
        self._upstreams, self._question, self._callback = upstreams, question, callback
        self._name, self._qtype = question.question[:-4], int.from_bytes(question.question[-4:-2])
        self._parts: list[Response] = []
        self._names = {self._name}

    def take(self, outcome: UpstreamOutcome) -> None:
        if isinstance(outcome, UpstreamError):
            self._callback(outcome)
            return
        try:
            self._follow(outcome)
        except Malformed as fault:
            self._callback(UpstreamError(str(fault)))

    def _follow(self, response: Response) -> None:
        response = with_synthesised_aliases(response, self._name + self._question.question[-4:])
        self._parts.append(response)
        target = unanswered_target(response, self._name, self._qtype)
        if target is None or not self._may_ask(target):
            self._callback(merge(self._question.question, self._parts))
        elif target in self._names or len(self._parts) > MAX_HOPS:
            self._callback(UpstreamError("aliases lead in a circle, or on and on"))
        else:
            self._name = target
            self._names.add(target)
            self._upstreams.start(self._question._replace(question=target + self._question.question[-4:]), self.take)

    def _may_ask(self, name: bytes) -> bool:
        """Return whether the upstreams may be told a name: those of private networks stay in them."""
        return private_zone(wire.host_of(name)) is None or self._upstreams.may_ask(name)


def unanswered_target(response: Response, name: bytes, qtype: int) -> bytes | None:
    """Return the name to which aliases lead on from `name`, if the response says nothing about it.

    None if it is an answer.
    """
    if response.rcode != wire.NOERROR or qtype in _NEVER_FOLLOWED:
        return None
    chain = cname_chain(response, name)
    if not chain or chain[-1] in (name, *chain[:-1]):
        return None
    target = chain[-1]
    if any(record.rtype == qtype and record.owner == target for record in response.answers):
        return None
    is_negative = any(
        record.rtype == wire.SOA and is_ancestor(record.owner, (target,)) for record in response.authority
    )
    return None if is_negative else target


def with_synthesised_aliases(response: Response, question: bytes) -> Response:
    """Add the CNAME records that follow from DNAME records (RFC 6672, section 3.1), where the server has left them out.

    Raises Malformed if a name becomes too long, or aliases lead on and on.
    """
    if wire.DNAME not in response.rtypes:
        return response
    name = question[:-4]
    aliases = {
        record.owner: wire.read_name(response.data, record.start)[0].lower()
        for record in response.answers
        if record.rtype == wire.CNAME
    }
    dnames = [record for record in response.answers if record.rtype == wire.DNAME]
    made: list[tuple[bytes, int, int, bytes]] = []
    passed: set[bytes] = set()
    while name not in passed:
        passed.add(name)
        dname = next((each for each in dnames if _is_strictly_beneath(name, each.owner)), None)
        if name not in aliases and dname is not None:
            target = name[: -len(dname.owner)] + wire.read_name(response.data, dname.start)[0].lower()
            if len(target) > _MAX_NAME or len(made) >= MAX_HOPS:
                raise Malformed("a DNAME leads to a name that is too long, or on and on")
            made.append((name, wire.CNAME, dname.ttl, target))
            aliases[name] = target
        name = aliases.get(name, name)
    if not made:
        return response
    records = [*_written(response, response.answers), *made]
    return _compose(question, response, records, authentic=response.authentic)


def merge(question: bytes, parts: Sequence[Response]) -> Response:
    """Return one response of those to the names of a chain.

    Its code and authority section are those of the last one (RFC 6604).
    """
    if len(parts) == 1:
        return parts[0]
    records = [record for part in parts for record in _written(part, part.answers)]
    return _compose(question, parts[-1], list(dict.fromkeys(records)), authentic=all(part.authentic for part in parts))


def _written(response: Response, records: Sequence[Record]) -> list[tuple[bytes, int, int, bytes]]:
    return [
        (record.owner, record.rtype, record.ttl, responses.expand_rdata(response.data, record)) for record in records
    ]


def _compose(
    question: bytes, last: Response, answers: Sequence[tuple[bytes, int, int, bytes]], *, authentic: bool
) -> Response:
    """Return a response with these answers, and the rest of the last one. Raises Malformed."""
    authority = _written(last, last.authority)
    flags = 0x8180 | (0x20 if authentic else 0) | last.rcode & 15
    head = b"\0\0" + pack("!HHHHH", flags, 1, len(answers), len(authority), 0)
    body = b"".join(wire.record_bytes(*record) for record in (*answers, *authority))
    return responses.parse_response(head + question + body, question)._replace(options=last.options)


def _is_strictly_beneath(name: bytes, zone: bytes) -> bool:
    return name != zone and is_ancestor(zone, (name,))
