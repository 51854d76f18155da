"""The control process: the policy, calendars, DHCP leases, and the pages."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from fuzz_targets.target import FuzzTarget, Shape
from hedgerow.app.bundles import BundleError, open_bundle
from hedgerow.dashboards.credentials import session_cookie
from hedgerow.dashboards.guard import BODY_LIMIT, host_name
from hedgerow.journal import messages
from hedgerow.network import discovery
from hedgerow.policies.reading.holidays import days_of_calendar
from hedgerow.policies.reading.load import PolicyError, parse_policy
from hedgerow.proxy.pages.translations import choose_language


def calendar(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        for _day in days_of_calendar(Path(file.name)):
            pass


def leases(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (discovery.parse_dnsmasq, discovery.parse_isc, discovery.parse_kea):
        parse(text)


def policy_file(data: bytes) -> None:
    parse_policy(data, None)


_CALENDAR = (
    b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20261224\r\n"
    b"DTEND;VALUE=DATE:20261227\r\n"
    b"RRULE:FREQ=YEARLY;COUNT=3\r\nSUMMARY:Holidays\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
_POLICY = (
    b"network: {lan: [192.0.2.0/24], timezone: Europe/Lisbon, country: PT}\n"
    b"people:\n  mia: {age: 9, devices: [tablet], bedtime: {school-nights: '20:30-07:00'}"
    b", block: [roblox, 'a.example/x'], allow: [b.example]}\n"
    b"devices:\n  tablet: {mac: '00:00:5e:00:53:01'}\n"
)


def page_form(data: bytes) -> None:
    """Read a request to the pages: its form, multipart or not, its cookies, its query and its languages."""
    kind, _, body = data.partition(b"\n")
    fields = [(b"content-type", kind.strip()), (b"cookie", body), (b"accept-language", body), (b"host", body[:100])]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": body,
        "headers": fields,
        "server": ("a.example", 80),
    }

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body[:BODY_LIMIT], "more_body": False}

    async def read() -> None:
        request = Request(scope, receive)
        async with request.form() as form:
            form.multi_items()
        request.cookies.get("x")
        session_cookie(request.headers)
        request.query_params.multi_items()
        choose_language(request.headers["accept-language"])
        host_name(request.headers["host"])

    asyncio.run(read())


def bundle(data: bytes) -> None:
    with contextlib.suppress(BundleError):
        open_bundle(data, Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key())


TARGETS: dict[str, FuzzTarget] = {
    "page-form": FuzzTarget(
        page_form,
        (
            b"application/x-www-form-urlencoded\nname=mia&age=9&what=a%20b&what=c",
            (
                b'multipart/form-data; boundary=XX\n--XX\r\nContent-Disposition: form-data; name="a";'
                b' x="b"\r\n\r\nc\r\n--XX--\r\n'
            ),
            b'text/plain\na=b; hedgerow_session=c; d="e"',
        ),
        (MultiPartException,),
    ),
    "worker-message": FuzzTarget(
        messages.decode,
        (
            messages.encode(messages.WorkerHello("dns-1", "dns")),
            messages.encode(messages.CounterDelta("hedgerow_x", ("a", "b"), 2.0)),
        ),
        (ValueError,),
    ),
    "bundle": FuzzTarget(bundle, (b'{"manifest": "{\\"format\\": 1}", "signature": "AAAA"}',)),
    "calendar": FuzzTarget(calendar, (_CALENDAR,), (ValueError,)),
    "leases": FuzzTarget(
        leases,
        (
            b"1790000000 00:00:5e:00:53:01 192.0.2.7 tablet 01:00\nduid 00:01\n",
            (
                b"lease 192.0.2.7 { ends 4 2026/11/26 10:00:00; hardware ethernet 00:00:5e:00:53:01; client-hostname"
                b' "tablet"; }'
            ),
            b"address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state\n"
            b"192.0.2.7,00:00:5e:00:53:01,,3600,1790000000,1,0,0,tablet,0\n",
        ),
        grown=(Shape(b"lease a", b"{", b"\n" * 200), Shape(b"lease a {", b"\n", b"}")),
    ),
    "policy-file": FuzzTarget(
        policy_file,
        (_POLICY,),
        (PolicyError,),
        grown=(
            Shape(b"people: {mia: {bedtime: '20", b" ", b":30'}}\n"),
            Shape(b"people: {mia: {", b"age: 9,", b"}}\n", is_numbered=True),
        ),
    ),
}
