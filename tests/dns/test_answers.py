"""Answers as bytes, read back by an independent library (dnslib)."""

from __future__ import annotations

import json
from struct import pack

import dnslib
import pytest

from hedgerow.dns import answers, wire
from hedgerow.dns.cache import addresses_in
from hedgerow.dns.extended_errors import block_error
from hedgerow.dns.upstreams import responses
from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.policies.network import BlockedAnswer

DECISION = Decision(Verdict.BLOCK, Reason.CATEGORY, "gambling")


def query(name: str, qtype: str, *, edns: int = 0, dnssec: bool = False) -> wire.Query:
    question = dnslib.DNSRecord.question(name, qtype)
    if edns:
        question.add_ar(dnslib.EDNS0(udp_len=edns, flags="do" if dnssec else ""))
    return wire.parse_query(bytes(question.pack()))


def read(asked: wire.Query, draft: answers.Draft) -> dnslib.DNSRecord:
    rendered = answers.render(asked, draft)
    message = asked.data[:2] + rendered.head + asked.data[12 : asked.end] + rendered.tail
    responses.parse_response(message, asked.name + asked.suffix[:4])
    return dnslib.DNSRecord.parse(message)


def response(asked: wire.Query, *zone: str, authority: str = "", ad: int = 0, rcode: int = 0) -> responses.Response:
    reply = dnslib.DNSRecord.parse(asked.data).reply()
    reply.header.ad, reply.header.rcode = ad, rcode
    for line in zone:
        reply.add_answer(*dnslib.RR.fromZone(line))
    if authority:
        reply.add_auth(*dnslib.RR.fromZone(authority))
    return responses.parse_response(bytes(reply.pack()), asked.name + asked.suffix[:4])


@pytest.mark.parametrize(("qtype", "shown"), [("A", "0.0.0.0"), ("AAAA", "::")])
def test_blocked_addresses(qtype: str, shown: str) -> None:
    reply = read(query("Casino.example", qtype), answers.blocked(query("casino.example", qtype), DECISION))
    assert [(str(record.rname), str(record.rdata)) for record in reply.rr] == [("Casino.example.", shown)]
    assert (reply.header.qr, reply.header.ra, reply.header.aa, reply.header.rcode) == (1, 1, 0, 0)
    assert not reply.ar


@pytest.mark.parametrize("qtype", ["HTTPS", "SVCB", "TXT", "MX", "CNAME"])
def test_blocked_answer_of_other_types_is_negative_and_cacheable(qtype: str) -> None:
    reply = read(query("casino.example", qtype), answers.blocked(query("casino.example", qtype), DECISION))
    assert not reply.rr
    assert reply.auth[0].rtype == dnslib.QTYPE.SOA
    assert reply.auth[0].rdata.times[-1] == 10


@pytest.mark.parametrize(
    ("what", "code", "fields"),
    [
        ("gambling", 17, {"j": "category gambling", "o": "Hedgerow", "l": "en"}),
        ("malware", 15, {"j": "category malware", "s": 1, "o": "Hedgerow", "l": "en"}),
        ("phishing", 15, {"j": "category phishing", "s": 2, "o": "Hedgerow", "l": "en"}),
        ("crypto-mining", 15, {"j": "category crypto-mining", "s": 5, "o": "Hedgerow", "l": "en"}),
        ("illegal", 16, {"j": "category illegal", "o": "Hedgerow", "l": "en"}),
    ],
)
def test_structured_errors_have_sub_errors_of_their_code_only(what: str, code: int, fields: dict[str, object]) -> None:
    error = block_error(Decision(Verdict.BLOCK, Reason.CATEGORY, what))
    assert (error.code, json.loads(error.extra_text(structured=True))) == (code, fields)


def test_an_answer_that_would_be_too_long_keeps_its_address() -> None:
    """A structured error loses its texts first, as the draft demands."""
    question = dnslib.DNSRecord.question(".".join(["a" * 60] * 4), "AAAA")
    question.add_ar(dnslib.EDNS0(udp_len=512, opts=[dnslib.EDNSOption(15, b"")]))
    asked = wire.parse_query(bytes(question.pack()))
    reply = read(asked, answers.blocked(asked, Decision(Verdict.BLOCK, Reason.RULE, "x" * 160)))
    assert (reply.header.tc, [str(record.rdata) for record in reply.rr]) == (0, ["::"])
    (option,) = reply.ar[0].rdata
    assert bytes(option.data) == pack("!H", 17)


def test_edns_clients_get_the_reason() -> None:
    asked = query("casino.example", "A", edns=1232)
    (opt,) = read(asked, answers.blocked(asked, DECISION)).ar
    (option,) = opt.rdata
    assert (option.code, option.data) == (15, pack("!H", 17) + b"Hedgerow: category gambling")


def test_answer_that_does_not_fit_is_truncated() -> None:
    zone = [f"big.example. 60 TXT {'x' * 200} {'y' * 200} {number}" for number in range(3)]
    for size, truncated in ((0, True), (512, True), (1232, True), (4096, True)):
        asked = query("big.example", "TXT", edns=size)
        reply = read(asked, answers.forwarded(asked, response(asked, *zone), ()))
        assert (reply.header.tc, len(reply.rr)) == (truncated, 0)
    one = query("big.example", "TXT", edns=1232)
    assert len(read(one, answers.forwarded(one, response(one, *zone[:2]), ())).rr) == 2


def test_records_of_other_owners_are_removed() -> None:
    asked = query("www.example", "A")
    said = response(
        asked, "www.example. 60 CNAME web.example.", "web.example. 60 A 192.0.2.1", "bank.example. 60 A 192.0.2.66"
    )
    draft = answers.forwarded(asked, said, answers.cname_chain(said, asked.name))
    assert [str(record.rname) for record in read(asked, draft).rr] == ["www.example.", "web.example."]


def test_only_ech_is_removed() -> None:
    asked = query("www.example", "HTTPS")
    said = response(asked, "www.example. 60 HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.1 key5=AAAA ipv6hint=2001:db8::1")
    (record,) = read(asked, answers.forwarded(asked, said, ())).rr
    assert [key for key, _ in record.rdata.params] == [1, 4, 6]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([(0, b"\0\1\0\5"), (1, b"\x02h2"), (5, b"xyz")], [(0, b"\0\1"), (1, b"\x02h2")]),
        ([(0, b"\0\5"), (5, b"xyz")], []),
        ([(1, b"\x02h2")], [(1, b"\x02h2")]),
    ],
)
def test_ech_is_removed_from_the_mandatory_keys(
    before: list[tuple[int, bytes]], after: list[tuple[int, bytes]]
) -> None:
    head = b"\0\1\3www\0"
    rdata = head + b"".join(wire.option_bytes(key, value) for key, value in before)
    assert responses.parse_svcb(answers.without_ech(rdata)) == (head, after)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("dnssec", [True, False])
def test_signed_record_with_ech_is_blocked_for_clients_that_may_validate(signed: bool, dnssec: bool) -> None:
    """Without `ech` its signature would be wrong."""
    asked = query("www.example", "HTTPS", edns=1232, dnssec=dnssec)
    reply = dnslib.DNSRecord.parse(query("www.example", "HTTPS").data).reply()
    reply.add_answer(*dnslib.RR.fromZone("www.example. 60 HTTPS 1 . alpn=h2 key5=AAAA"))
    if signed:
        signature = pack("!HBBIIIH", wire.HTTPS, 8, 2, 60, 2, 1, 7) + wire.name_of("example") + bytes(16)
        reply.add_answer(dnslib.RR("www.example", wire.RRSIG, 1, 60, dnslib.RD(signature)))
    found = responses.parse_response(bytes(reply.pack()), asked.name + asked.suffix[:4])
    draft = answers.forwarded(asked, found, ())
    is_blocked = signed and dnssec
    assert (draft.rcode, draft.answers > 0, draft.ede is not None and draft.ede.code == 17) == (
        0,
        not is_blocked,
        is_blocked,
    )
    assert answers.forwarded(asked, found, (), keep_ech=True).answers == len(found.answers)


def test_negative_answers_live_as_long_as_their_soa() -> None:
    asked = query("no.example", "A")
    said = response(asked, authority="example. 900 SOA ns.example. me.example. 1 2 3 4 60", rcode=3)
    draft = answers.forwarded(asked, said, ())
    assert (draft.rcode, draft.lifetime, [ttl for _, ttl in draft.ttls]) == (3, 60.0, [60])
    assert answers.forwarded(asked, response(asked, rcode=3), ()).lifetime == 0


def test_ad_is_only_set_for_clients_that_ask_for_it() -> None:
    for edns, dnssec, shown in ((0, False, 0), (1232, False, 0), (1232, True, 1)):
        asked = query("www.example", "A", edns=edns, dnssec=dnssec)
        said = response(asked, "www.example. 60 A 192.0.2.1", ad=1)
        assert read(asked, answers.forwarded(asked, said, ())).header.ad == shown


def test_rewrite_holds_the_cname_and_only_the_targets_addresses() -> None:
    asked, target = query("www.google.com", "A"), query("forcesafesearch.google.com", "A")
    said = response(target, "forcesafesearch.google.com. 900 A 192.0.2.42", "other.example. 900 A 192.0.2.66")
    reply = read(asked, answers.rewritten(asked, target.name, said))
    assert [(str(record.rname), str(record.rdata), record.ttl) for record in reply.rr] == [
        ("www.google.com.", "forcesafesearch.google.com.", 300),
        ("forcesafesearch.google.com.", "192.0.2.42", 300),
    ]
    bare = read(
        query("www.google.com", "HTTPS"), answers.rewritten(query("www.google.com", "HTTPS"), target.name, None)
    )
    assert [record.rtype for record in bare.rr] == [dnslib.QTYPE.CNAME]
    assert bare.auth[0].rtype == dnslib.QTYPE.SOA


def test_cname_loop_ends() -> None:
    asked = query("a.example", "A")
    said = response(asked, "a.example. 60 CNAME b.example.", "b.example. 60 CNAME a.example.")
    assert answers.cname_chain(said, asked.name) == (wire.name_of("b.example"), wire.name_of("a.example"))


def test_any_is_answered_as_in_rfc_8482() -> None:
    (record,) = read(query("www.example", "ANY"), answers.minimal_any()).rr
    assert (record.rtype, record.rdata.data[:8]) == (13, b"\x07RFC8482")


def test_error_is_no_longer_than_its_query() -> None:
    data = query("www.example", "A").data
    for rcode in (1, 4, 5):
        reply = answers.error(data, rcode)
        assert len(reply) <= len(data)
        assert dnslib.DNSRecord.parse(reply).header.rcode == rcode


@pytest.mark.parametrize("place", [0, 1, 2])
def test_records_of_another_class_are_left_out(place: int) -> None:
    asked = query("www.example", "A")
    reply = dnslib.DNSRecord.parse(asked.data).reply()
    reply.add_answer(*dnslib.RR.fromZone("www.example. 60 A 192.0.2.1\nwww.example. 60 A 192.0.2.2"))
    reply.rr.insert(place, dnslib.RR("www.example", dnslib.QTYPE.A, 3, 60, dnslib.A("10.0.0.1")))
    found = responses.parse_response(bytes(reply.pack()), asked.name + asked.suffix[:4])
    draft = answers.forwarded(asked, found, ())
    shown = read(asked, draft)
    assert [(record.rclass, str(record.rdata)) for record in shown.rr] == [(1, "192.0.2.1"), (1, "192.0.2.2")]
    assert [address for _, address in addresses_in(draft.body, draft.ttls)] == [
        bytes((192, 0, 2, 1)),
        bytes((192, 0, 2, 2)),
    ]


def test_records_of_another_class_in_the_authority_are_left_out() -> None:
    asked = query("no.example", "A")
    reply = dnslib.DNSRecord.parse(asked.data).reply()
    reply.header.rcode = 3
    reply.add_auth(dnslib.RR("example", dnslib.QTYPE.NS, 3, 60, dnslib.NS("ns.example")))
    reply.add_auth(*dnslib.RR.fromZone("example. 60 SOA ns.example. a.example. 1 2 3 4 5"))
    found = responses.parse_response(bytes(reply.pack()), asked.name + asked.suffix[:4])
    shown = read(asked, answers.forwarded(asked, found, ()))
    assert [record.rtype for record in shown.auth] == [dnslib.QTYPE.SOA]


def test_dname_above_the_name_is_kept_with_its_signature() -> None:
    """Validating clients need the signature. DNAMEs of other owners are dropped."""
    asked = query("a.old.example", "A", edns=1232, dnssec=True)
    reply = dnslib.DNSRecord.parse(query("a.old.example", "A").data).reply()
    dname = wire.name_of("new.example")
    signature = pack("!HBBIIIH", wire.DNAME, 8, 2, 60, 2, 1, 7) + wire.name_of("example") + bytes(16)
    for owner in ("old.example", "other.example"):
        reply.add_answer(dnslib.RR(owner, wire.DNAME, 1, 60, dnslib.RD(dname)))
        reply.add_answer(dnslib.RR(owner, wire.RRSIG, 1, 60, dnslib.RD(signature)))
    reply.add_answer(*dnslib.RR.fromZone("a.old.example. 60 CNAME a.new.example.\na.new.example. 60 A 192.0.2.1"))
    found = responses.parse_response(bytes(reply.pack()), asked.name + asked.suffix[:4])
    draft = answers.forwarded(asked, found, answers.cname_chain(found, asked.name))
    shown = [(str(record.rname), record.rtype) for record in read(asked, draft).rr]
    assert shown == [
        ("old.example.", wire.DNAME),
        ("old.example.", wire.RRSIG),
        ("a.old.example.", wire.CNAME),
        ("a.new.example.", wire.A),
    ]


@pytest.mark.parametrize(
    ("owner", "stays"), [("example", True), (".", True), ("no.example", True), ("a.no.example", False), ("test", False)]
)
def test_soa_of_an_unrelated_zone_is_dropped(owner: str, stays: bool) -> None:
    asked = query("no.example", "A")
    reply = dnslib.DNSRecord.parse(asked.data).reply()
    reply.header.rcode = 3
    reply.add_auth(*dnslib.RR.fromZone(f"{owner.rstrip('.')}. 60 SOA ns.example. a.example. 1 2 3 4 5"))
    found = responses.parse_response(bytes(reply.pack()), asked.name + asked.suffix[:4])
    draft = answers.forwarded(asked, found, ())
    assert (draft.authority, draft.lifetime) == ((1, 5.0) if stays else (0, 0.0))
    assert len(read(asked, draft).auth) == draft.authority


@pytest.mark.parametrize(
    ("qtype", "kind", "page", "shown"),
    [
        ("A", BlockedAnswer.NXDOMAIN, (), (3, [])),
        ("A", BlockedAnswer.PAGE, ("192.168.1.2", "fd00::2"), (0, ["192.168.1.2"])),
        ("AAAA", BlockedAnswer.PAGE, ("192.168.1.2", "fd00::2"), (0, ["fd00::2"])),
        ("AAAA", BlockedAnswer.PAGE, ("192.168.1.2",), (0, [])),  # the page has no such address
        ("A", BlockedAnswer.PAGE, (), (0, ["0.0.0.0"])),
    ],
)
def test_a_blocked_name_is_answered_as_the_policy_wants(
    qtype: str, kind: BlockedAnswer, page: tuple[str, ...], shown: tuple[int, list[str]]
) -> None:
    asked = query("casino.example", qtype)
    draft = answers.blocked(asked, DECISION, kind, page)
    reply = read(asked, draft)
    assert (reply.header.rcode, [str(record.rdata) for record in reply.rr]) == shown
    has_soa = [record.rtype for record in reply.auth] == [dnslib.QTYPE.SOA]
    assert has_soa is not bool(shown[1]), "an answer without records is cached too"


def test_own_addresses_are_shown_by_type_and_any_gets_one_record() -> None:
    texts = ("192.168.1.2", "192.168.1.3", "fd00::2")
    shown = {
        qtype: [str(record.rdata) for record in read(query("hedgerow.internal", qtype), draft).rr]
        for qtype in ("A", "AAAA")
        if (draft := answers.addresses(query("hedgerow.internal", qtype), texts, 60))
    }
    assert shown == {"A": ["192.168.1.2", "192.168.1.3"], "AAAA": ["fd00::2"]}
    asked = query("hedgerow.internal", "ANY")
    assert [record.rtype for record in read(asked, answers.addresses(asked, texts, 60)).rr] == [wire.HINFO]


@pytest.mark.parametrize(("given", "code"), [(None, 22), (9, 9)])
def test_a_failure_says_why_and_is_kept_for_a_second(given: int | None, code: int) -> None:
    asked = query("www.example", "A", edns=1232)
    draft = answers.failed("the upstream did not answer", given)
    reply = read(asked, draft)
    (option,) = reply.ar[0].rdata
    assert option.data == pack("!H", code) + b"the upstream did not answer"
    assert (reply.header.rcode, draft.lifetime) == (wire.SERVFAIL, answers.FAILURE_TTL)


@pytest.mark.parametrize(("rcode", "code"), [(0, 3), (3, 19)])
@pytest.mark.parametrize("keep", [True, False])
def test_a_stale_answer_says_so_and_lives_for_thirty_seconds_at_most(rcode: int, code: int, keep: bool) -> None:
    """RFC 8767, section 4; RFC 8914, sections 4.4 and 4.20."""
    asked = query("www.example", "A", edns=1232)
    before = answers.negative(rcode) if rcode else answers.addresses(asked, ["192.0.2.1"], 3600)
    draft = answers.stale(before, keep=keep)
    reply = read(asked, draft)
    assert (reply.header.rcode, len(reply.rr), len(reply.auth)) == (rcode, before.answers, before.authority)
    assert reply.ar[0].rdata[0].data[:2] == pack("!H", code)
    assert ([ttl for _, ttl in draft.ttls], draft.ceiling, draft.lifetime) == ([30], 30, 30.0 if keep else 0.0)


def test_services_lead_on_to_their_targets() -> None:
    asked = query("www.example", "HTTPS")
    said = response(
        asked,
        "www.example. 60 HTTPS 1 . alpn=h2",
        "www.example. 60 HTTPS 2 Web.example. alpn=h2",
        "other.example. 60 HTTPS 1 evil.example. alpn=h2",
    )
    assert answers.svcb_targets(said, {asked.name}) == (wire.name_of("web.example"),)
    assert answers.svcb_targets(response(query("www.example", "A"), "www.example. 60 A 192.0.2.1"), {asked.name}) == ()
    assert (answers.has_type(said, wire.HTTPS), answers.has_type(said, wire.A)) == (True, False)


@pytest.mark.parametrize("rcode", [1, 2, 5])
def test_an_upstreams_failure_is_passed_on_without_records(rcode: int) -> None:
    asked = query("www.example", "A")
    draft = answers.forwarded(asked, response(asked, "www.example. 60 A 192.0.2.1", rcode=rcode), ())
    assert (read(asked, draft).header.rcode, draft.answers, draft.lifetime) == (rcode, 0, 1.0)


def test_a_whole_message_is_for_its_client() -> None:
    asked = query("Casino.example", "A")
    reply = dnslib.DNSRecord.parse(answers.message(asked, answers.blocked(asked, DECISION)))
    assert reply.header.id == int.from_bytes(asked.data[:2])
    assert (str(reply.q.qname), len(reply.rr)) == ("Casino.example.", 1)
