"""DNS over TLS, HTTPS and QUIC as phones and browsers use it, at home and away."""

from __future__ import annotations

import base64
import json
import plistlib
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.clients import Address, DnsAnswer, curl, kdig
from small_internet.family import LISTS, OUTSIDER, OWN_LISTS, TABLET
from small_internet.running import Hedgerow, hedgerow_command, network_section, parse_address, running_hedgerow

NAME = "dns.home.example"
PEOPLE = """
people:
  mia:
    age: 9
    devices: [mia-phone, mia-tablet]
  ann:
    profile: adult
    devices: [ann-phone]
devices:
  mia-tablet: {ip: 127.0.0.2}
  mia-phone: {client_id: mia-phone-7f3a}
  ann-phone: {client_id: ann-phone}
"""
UNNAMED = "127.0.0.77"
TRANSPORTS = pytest.mark.parametrize("how", ["tls", "https", "https-get", "quic"])


@pytest.fixture(scope="module")
def encrypted(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    policy = (
        network_section(whole_internet, lan=("127.0.0.0/24", "::1/128"))
        + f"  server_name: {NAME}\n"
        + PEOPLE
        + OWN_LISTS
    )
    places = [word for name in ("dot", "doh", "doq", "doh3") for word in (f"--{name}", "127.0.0.1:0")]
    with running_hedgerow(
        policy, lists=LISTS, options=places, upstream_authority=whole_internet.authority.root
    ) as running:
        yield running


def place(running: Hedgerow, kind: str) -> Address:
    found = re.search(rf" {kind}=(\S+)", running.ready_line)
    assert found
    return parse_address(found[1])


def ask(
    running: Hedgerow, how: str, name: str, kind: str = "A", *, client: str = "", source: str = TABLET
) -> DnsAnswer | None:
    """Over DoT and DoQ the client id is in the server name, over DoH in the path; the certificate is checked."""
    ca = f"+tls-ca={running.authority}"
    if how in {"tls", "quic"}:
        host = f"{client}.{NAME}" if client else NAME
        where = place(running, "dot" if how == "tls" else "doq")
        return kdig(
            where, name, kind, source=source, options=(f"+{how}", ca, f"+tls-hostname={host}", f"+tls-sni={host}")
        )
    path = f"/dns-query/{client}" if client else "/dns-query"
    options = (
        f"+https={path}",
        ca,
        f"+tls-hostname={NAME}",
        f"+tls-sni={NAME}",
        *(["+https-get"] if how == "https-get" else []),
    )
    return kdig(place(running, "doh"), name, kind, source=source, options=options)


@TRANSPORTS
def test_a_device_gets_its_own_answers(encrypted: Hedgerow, whole_internet: SmallInternet, how: str) -> None:
    for _ in range(2):  # found, and then remembered
        blocked, allowed = ask(encrypted, how, "adult.example"), ask(encrypted, how, "bank.example")
        assert blocked is not None, encrypted.stderr
        assert (blocked.data("A"), blocked.ede) == (["0.0.0.0"], 17)
        assert allowed is not None
        assert allowed.data("A") == [whole_internet.address_of("bank.example")]
    large = ask(encrypted, how, "huge-text.oddities.example", "TXT")
    assert large is not None
    assert len(large.data("TXT")[0].replace('" "', "")) == 20002
    missing = ask(encrypted, how, "missing.bank.example")
    assert missing is not None
    assert "; status: NXDOMAIN;" in missing.text


@TRANSPORTS
def test_a_client_id_works_away_from_home(encrypted: Hedgerow, whole_internet: SmallInternet, how: str) -> None:
    for source in (OUTSIDER, UNNAMED):
        child = ask(encrypted, how, "adult.example", client="mia-phone-7f3a", source=source)
        adult = ask(encrypted, how, "adult.example", client="ann-phone", source=source)
        assert child is not None
        assert child.data("A") == ["0.0.0.0"]
        assert adult is not None
        assert adult.data("A") == [whole_internet.address_of("adult.example")]


@TRANSPORTS
def test_an_adults_client_id_does_not_open_a_childs_own_device(encrypted: Hedgerow, how: str) -> None:
    found = ask(encrypted, how, "adult.example", client="ann-phone", source=TABLET)
    assert found is not None
    assert found.data("A") == ["0.0.0.0"]


@TRANSPORTS
def test_an_unknown_client_id_is_ignored(encrypted: Hedgerow, how: str) -> None:
    for client in ("", "nobody", "mia-phone"):
        outside = ask(encrypted, how, "bank.example", client=client, source=OUTSIDER)
        assert outside is None or "; status: REFUSED;" in outside.text, client
    at_home = ask(encrypted, how, "adult.example", client="nobody")
    assert at_home is not None
    assert at_home.data("A") == ["0.0.0.0"]


@pytest.mark.skipif(shutil.which("stubby") is None, reason="needs Debian's stubby")
def test_stubby_asks_by_its_id(encrypted: Hedgerow, whole_internet: SmallInternet, tmp_path: Path) -> None:
    """A forwarder that many use on laptops, which checks certificate and name.

    Only the adult's id opens the site from there.
    """
    for client, data in (("ann-phone", whole_internet.address_of("adult.example")), ("mia-phone-7f3a", "0.0.0.0")):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = tmp_path / f"{client}.yml"
        config.write_text(
            f"listen_addresses:\n  - 127.0.0.1@{port}\nresolution_type: GETDNS_RESOLUTION_STUB\ntls_ca_file:"
            f' "{encrypted.authority}"\ndns_transport_list:\n  - GETDNS_TRANSPORT_TLS\ntls_authentication:'
            " GETDNS_AUTHENTICATION_REQUIRED\nupstream_recursive_servers:\n  - address_data: 127.0.0.1\n    tls_port:"
            f' {place(encrypted, "dot")[1]}\n    tls_auth_name: "{client}.{NAME}"\n'
        )
        process = subprocess.Popen(["stubby", "-C", str(config)], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while (found := kdig(("127.0.0.1", port), "adult.example", source="127.0.0.1")) is None:
                assert time.monotonic() < deadline, process.poll()
            assert found.data("A") == [data], found.text
        finally:
            process.terminate()
            process.wait(60)


def test_plain_dns_designates_encrypted_dns(encrypted: Hedgerow) -> None:
    found = kdig(encrypted.dns, "_dns.resolver.arpa", "SVCB", source=TABLET)
    assert found is not None
    doh, dot, doq, doh3 = (place(encrypted, kind)[1] for kind in ("doh", "dot", "doq", "doh3"))
    records = found.data("SVCB")
    assert len(records) == 4, found.text
    assert records[0].startswith(f'1 {NAME}. alpn="h2,http/1.1" port={doh} '), found.text
    assert "/dns-query{?dns}" in records[0]
    assert records[1:3] == [f'2 {NAME}. alpn="dot" port={dot}', f'3 {NAME}. alpn="doq" port={doq}']
    assert records[3].startswith(f'4 {NAME}. alpn="h3" port={doh3} '), found.text
    assert "/dns-query{?dns}" in records[3]
    for name in (NAME, f"mia-phone-7f3a.{NAME}"):
        here = kdig(encrypted.dns, name, source=TABLET)
        assert here is not None
        assert here.data("A") == ["127.0.0.1"]
    other = kdig(encrypted.dns, "_dns.resolver.arpa", "A", source=TABLET)
    assert other is not None
    assert (other.status, other.records) == ("NOERROR", ())


def test_another_hedgerow_as_client(encrypted: Hedgerow, whole_internet: SmallInternet) -> None:
    """As upstreams that are given by name, whose address stands under `records`, and whose CA under `--upstream-ca`."""
    https, quic = (
        f"{scheme}://{NAME}:{place(encrypted, kind)[1]}" for scheme, kind in (("https", "doh"), ("quic", "doq"))
    )
    policy = (
        f"network:\n  lists: starter\n  upstream: ['{https}']\n  forward: {{news.example: '{quic}'}}\n  records:"
        f" {{{NAME}: 127.0.0.1}}\n  reachable: [127.0.0.0/8]\n"
    )
    with running_hedgerow(policy, upstream_authority=encrypted.authority) as other:
        for host in ("bank.example", "news.example"):
            found = kdig(other.dns, host)
            assert found is not None, other.stderr
            assert found.data("A") == [whole_internet.address_of(host)], other.stderr


def doh_url(running: Hedgerow, path: str = "/dns-query", kind: str = "doh") -> str:
    return f"https://{NAME}:{place(running, kind)[1]}{path}"


def curl_has_http3() -> bool:
    return "HTTP3" in subprocess.run(["curl", "-V"], capture_output=True, text=True, check=True).stdout


def query_of(name: str) -> bytes:
    labels = b"".join(len(label).to_bytes() + label.encode() for label in name.split("."))
    return bytes.fromhex("000001000001000000000000") + labels + b"\0\0\1\0\1"


@pytest.mark.parametrize("version", ["--http1.1", "--http2", "--http3-only"])
def test_http_semantics_of_doh(encrypted: Hedgerow, version: str, tmp_path: Path) -> None:
    if version == "--http3-only" and not curl_has_http3():
        pytest.skip("curl has no HTTP/3")
    listener = "doh3" if version == "--http3-only" else "doh"
    host, port = place(encrypted, listener)
    body = tmp_path / "query"
    body.write_bytes(query_of("adult.example"))
    kind = ("content-type: application/dns-message",)

    def fetch(path: str, *options: str, headers: tuple[str, ...] = ()) -> tuple[int, dict[str, list[str]], bytes]:
        found = curl(
            doh_url(encrypted, path, listener),
            source=TABLET,
            ca=encrypted.authority,
            resolve=[f"{NAME}:{port}:{host}"],
            headers=headers,
            options=(version, *options),
        )
        return found.status, found.headers, found.body

    status, headers, answer = fetch("/dns-query", "--data-binary", f"@{body}", headers=kind)
    assert status == 200
    assert headers["content-type"] == ["application/dns-message"]
    assert answer.endswith(b"\0\0\0\0")
    assert headers["cache-control"] == ["private, max-age=10"]
    encoded = base64.urlsafe_b64encode(query_of("adult.example")).decode().rstrip("=")
    assert fetch(f"/dns-query?dns={encoded}")[2] == answer
    body.write_bytes(answer)
    assert fetch("/dns-query", "--data-binary", f"@{body}", headers=kind)[0] == 400, "an answer is no query"
    large = tmp_path / "large"
    large.write_bytes(bytes(200_000))
    assert fetch("/dns-query", "--data-binary", f"@{large}", headers=kind)[0] == 413
    assert fetch("/dns-query", "--data-binary", f"@{body}", headers=("content-type: text/plain",))[0] == 415
    assert [fetch(path)[0] for path in ("/", "/dns-query?dns=%21", "/dns-query", "/dns-query/a/b")] == [
        404,
        400,
        400,
        404,
    ]
    assert fetch("/dns-query", "-X", "DELETE")[0] == 405
    assert fetch(f"/dns-query/ann-phone?dns={encoded}")[2] == answer, (
        "an adult's client id does not open a child's own device"
    )


def raw(running: Hedgerow, kind: str, protocol: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(running.authority))
    context.set_alpn_protocols([protocol])
    return context.wrap_socket(
        socket.create_connection(place(running, kind), timeout=10, source_address=(TABLET, 0)), server_hostname=NAME
    )


def test_junk_and_slow_clients_do_not_affect_others(encrypted: Hedgerow) -> None:
    slow = []
    for kind, protocol in (("dot", "dot"), ("doh", "h2"), ("doh", "http/1.1")):
        for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(300), b"\0" * 70_000):
            with socket.create_connection(place(encrypted, kind), timeout=10, source_address=(TABLET, 0)) as plain:
                plain.sendall(junk)
            with raw(encrypted, kind, protocol) as inside:
                inside.sendall(junk)
        silent = socket.create_connection(place(encrypted, kind), timeout=10, source_address=(TABLET, 0))
        half = raw(encrypted, kind, protocol)
        half.sendall(b"\0")
        slow += [silent, half]
    for how in ("tls", "https"):
        found = ask(encrypted, how, "adult.example")
        assert found is not None
        assert found.data("A") == ["0.0.0.0"]
    for sock in slow[::2]:  # who does not even say hello
        assert sock.recv(1) == b""
    for sock in slow:
        sock.close()
    assert "Traceback" not in encrypted.stderr


def test_files_for_devices_away_from_home(encrypted: Hedgerow, tmp_path: Path) -> None:
    """The profile is signed by a certificate of the CA, and its address gives the device's answers outside
    the network.
    """
    state = ("--state", str(encrypted.state))
    signed, content, issued = tmp_path / "mia.mobileconfig", tmp_path / "content", tmp_path / "ca.pem"
    hedgerow_command("away", "dns", "mia-phone", "--home-wifi", "Home", "--out", str(signed), *state)
    issued.write_bytes(Path(encrypted.authority).read_bytes())
    verify: list[str | Path] = [
        "openssl",
        "cms",
        "-verify",
        "-inform",
        "DER",
        "-CAfile",
        issued,
        "-purpose",
        "any",
        "-in",
        signed,
        "-out",
        content,
    ]
    checked = subprocess.run([*verify, "-out", str(content)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    profile = plistlib.loads(content.read_bytes())
    settings, root = profile["PayloadContent"]
    url = settings["DNSSettings"]["ServerURL"]
    assert settings["OnDemandRules"][0] == {"Action": "Disconnect", "SSIDMatch": ["Home"]}
    assert root["PayloadContent"] == ssl.PEM_cert_to_DER_cert(issued.read_text())
    assert url == f"https://{NAME}:{place(encrypted, 'doh')[1]}/dns-query/mia-phone-7f3a"
    firefox = json.loads(hedgerow_command("away", "dns", "mia-phone", "--for", "firefox", *state).stdout)
    assert firefox["policies"]["DNSOverHTTPS"]["ProviderURL"] == url
    away = ask(encrypted, "https", "adult.example", client=url.rpartition("/")[2], source=OUTSIDER)
    assert away is not None
    assert away.data("A") == ["0.0.0.0"]
    refused = hedgerow_command("away", "dns", "mia-tablet", *state)
    assert "mia-tablet has no id for encrypted DNS yet." in refused.stderr
