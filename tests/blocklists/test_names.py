"""Canonical hosts and URLs."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.names import (
    host_of_key,
    host_of_url,
    is_address,
    load_public_suffixes,
    parse_host,
    parse_url,
    rule_key,
    split_url,
)

HOSTS = st.lists(st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True), min_size=1, max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Example.COM.", "example.com"),
        ("  a_b.example\t", "a_b.example"),
        ("-a.example", "-a.example"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("faß.de", "xn--fa-hia.de"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("i❤.ws", "xn--i-7iq.ws"),
        ("1.2.3.4", "1.2.3.4"),
        ("１.２.３.４", "1.2.3.4"),
        ("[2001:DB8:0::1]", "2001:db8::1"),
        ("1.2.3", None),
        ("a.0x7f", None),
        ("1.2.3.256", None),
        ("", None),
        (".", None),
        (".example", None),
        ("a..example", None),
        ("a b.example", None),
        ("a/b", None),
        ("x" * 64 + ".example", None),
        ("x" * 63 + ".example", "x" * 63 + ".example"),
        ("a." * 126 + "a", "a." * 126 + "a"),
        ("a." * 127 + "a", None),
    ],
)
def test_parse_host(text: str, host: str | None) -> None:
    assert parse_host(text) == host


@given(st.text(max_size=80))
def test_canonical_hosts_are_stable(text: str) -> None:
    host = parse_host(text)
    if host is not None:
        assert parse_host(host) == host
        assert host.isascii()
        assert len(host) <= 253


@given(st.ip_addresses())
def test_addresses_are_canonical(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert parse_host(str(address)) == str(address)
    assert is_address(str(address))


@given(HOSTS, HOSTS)
def test_rule_keys_are_prefixes_of_covered_keys(host: str, below: str) -> None:
    assert rule_key(f"{below}.{host}", exact=True).startswith(rule_key(host))
    assert not rule_key(f"{below}{host}", exact=True).startswith(rule_key(host, exact=True))
    assert host_of_key(rule_key(host)) == host_of_key(rule_key(host, exact=True)) == host


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTPS://Example.COM.:443/A?B=c#d", "https://example.com/A?B=c"),
        ("http://example.com:8080/", "http://example.com:8080/"),
        ("http://example.com:8443/a/../b%7e", "http://example.com:8443/b~"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("https://example.com:08443/", "https://example.com:8443/"),
        ("https://user:secret@example.com/x", "https://example.com/x"),
        ("http://example.com/a/./b/../%63%2f", "http://example.com/a/c%2F"),
        ("http://example.com/../..", "http://example.com/"),
        ("http://example.com/a/..", "http://example.com/"),
        ("http://example.com/a//b", "http://example.com/a//b"),
        ("http://example.com/é", "http://example.com/%C3%A9"),
        ("http://example.com/a b/ #c", "http://example.com/a%20b/%20"),
        ("http://good.example\\@evil.example/", "http://good.example/@evil.example/"),
        ("http://[::1]:80/", "http://[::1]/"),
        ("ws://example.com/s", "ws://example.com/s"),
        ("example.com/path", None),
        ("http://", None),
        ("http://example.com:99999/", None),
        ("http://[::1/", None),
    ],
)
def test_parse_url(text: str, url: str | None) -> None:
    assert parse_url(text) == url


@given(st.from_regex(r"https?://[a-zA-Z0-9.-]{1,20}(:[0-9]{1,5})?/[ -~éß]{0,40}", fullmatch=True))
def test_canonical_urls_are_stable_and_keep_their_host(text: str) -> None:
    url = parse_url(text)
    if url is not None:
        assert parse_url(url) == url
        assert split_url(text) == (url, host_of_url(url))
        assert host_of_url(url) == host_of_url(text)


def test_public_suffixes() -> None:
    suffixes = load_public_suffixes()
    assert {"com", "co.uk", "xn--fiqs8s", "ck"} <= suffixes.registries
    assert {"github.io", "duckdns.org"} <= suffixes.hosters
    assert "example.com" not in suffixes.registries | suffixes.hosters


def test_every_escape_becomes_canonical() -> None:
    unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    for code in range(256):
        expected = chr(code) if chr(code) in unreserved else f"%{code:02X}"
        for written in (f"%{code:02X}", f"%{code:02x}"):
            assert parse_url(f"http://example.com/x{written}") == f"http://example.com/x{expected}"
