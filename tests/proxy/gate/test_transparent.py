"""Transparent listeners in network namespaces: nftables redirects web connections of devices that know
nothing of it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.house import House, house
from lab.internet import address4, address6
from small_internet.running import wait_until

from hedgerow.proxy.gate.destination import parse_sockaddr
from hedgerow.proxy.http_head import Authority

NEEDED = ("ip", "nft", "nsenter", "unbound", "nginx", "kdig", "curl", "openssl")
in_the_laboratory = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}"),
]
PORT = 3129

REDIRECT = f"""
table inet test_transparent {{
    chain prerouting {{
        type nat hook prerouting priority dstnat
        iifname "lan" tcp dport {{ 80, 443 }} fib daddr type != local redirect to :{PORT}
    }}
}}
"""
TPROXY = f"""
table inet test_transparent {{
    chain prerouting {{
        type filter hook prerouting priority mangle
        iifname "lan" meta nfproto ipv4 tcp dport {{ 80, 443 }} fib daddr type != local tproxy ip to :{PORT} meta mark set 1
        iifname "lan" meta nfproto ipv6 tcp dport {{ 80, 443 }} fib daddr type != local tproxy ip6 to :{PORT} meta mark set 1
    }}
}}
"""  # noqa: E501


@pytest.fixture(scope="module", params=["redirect", "tproxy"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp(f"house-{request.param}")
    with house(folder, options=("--transparent", f"0.0.0.0:{PORT}")) as running:
        router = running.router
        done = router.run("nft", "-f", "-", text=REDIRECT if request.param == "redirect" else TPROXY)
        assert done.returncode == 0, done.stderr
        if request.param == "tproxy":
            # Where bridges pass packets to nftables themselves, that happens too early for a socket to be given to
            # them.
            router.run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0")
            for family in ("-4", "-6"):
                router.ip(family, "rule", "add", "fwmark", "1", "lookup", "100")
                router.ip(family, "route", "add", "local", "default", "dev", "lo", "table", "100")
        # a device is known once it is in the neighbour table; until then it counts as a child's
        for place in (address4, address6):
            where = at("adult.example", 80, place("adult.example"))

            def opens(where: tuple[str, ...] = where) -> bool:
                return fetch(running, "parent", "http://adult.example/", *where)[0] == "200"

            wait_until(opens, 20)
        yield running


def fetch(home: House, device: str, url: str, *options: str) -> tuple[str, str, float]:
    """Status (000 for none), body and curl's complaint, and the seconds that it took."""
    start = time.monotonic()
    words = [
        "curl",
        "-sS",
        "--max-time",
        "8",
        "-w",
        "\\n%{http_code}",
        "--cacert",
        str(home.net.authority.root),
        *options,
        url,
    ]
    done = home.devices[device].run(*words)
    body, _, status = done.stdout.rpartition("\n")
    return status, body + done.stderr, time.monotonic() - start


def at(host: str, port: int, address: str) -> tuple[str, str]:
    return "--resolve", f"{host}:{port}:{address if '.' in address else f'[{address}]'}"


class TestInTheLaboratory:
    pytestmark = in_the_laboratory

    @pytest.mark.parametrize("place", [address4, address6])
    def test_open_sites_open_and_show_their_own_certificate(self, home: House, place: Callable[[str], str]) -> None:
        host = "www.school.example"
        status, body, _ = fetch(home, "tablet", f"https://{host}/", *at(host, 443, place(host)))
        assert status == "200", body
        status, body, _ = fetch(home, "tablet", f"http://{host}/", *at(host, 80, place(host)))
        assert status == "200", body

    @pytest.mark.parametrize("place", [address4, address6])
    def test_blocked_tls_gets_an_alert_at_once(self, home: House, place: Callable[[str], str]) -> None:
        host = "adult.example"
        status, complaint, seconds = fetch(home, "tablet", f"https://{host}/", *at(host, 443, place(host)))
        assert status == "000"
        assert "access denied" in complaint.lower(), complaint
        assert seconds < 1.5

    def test_a_refusal_is_in_the_journal_and_on_the_device_page(self, home: House) -> None:
        host = "adult.example"
        wanted = ("tablet", host, "tunnel", "block", "category")

        def is_told() -> bool:
            assert fetch(home, "tablet", f"https://{host}/", *at(host, 443, address4(host)))[0] == "000"
            rows = [json.loads(line) for line in home.hedgerow("log", "--json").stdout.splitlines()]
            return any(
                (row["device"], row["host"], row["kind"], row["verdict"], row["reason"]) == wanted for row in rows
            )

        wait_until(is_told, 30, "the journal has it")
        page = home.devices["tablet"].run("curl", "-sS", "http://192.168.50.1:8053/device").stdout
        assert "What is not for children is left out here" in page
        assert host not in page, "the tablet is a nine-year-old's"

    @pytest.mark.browser
    def test_chromium_without_proxy_settings(self, home: House) -> None:
        if shutil.which("chromium") is None:
            pytest.skip("Chromium is not installed")
        if "tproxy" in home.folder.name:
            pytest.skip("a browser sees no difference between redirect and tproxy, and takes long to start")
        options = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--ignore-certificate-errors",
            "--dump-dom",
        ]

        def shown(url: str) -> str:
            return (
                home.devices["tablet"]
                .run(*options, f"--user-data-dir={home.folder / 'chromium'}", url, seconds=60)
                .stdout
            )

        assert "page of www.school.example" in shown("https://www.school.example/open")
        address = address4("adult.example")  # the resolver would not even tell it
        options.append(f"--host-resolver-rules=MAP adult.example {address}")
        assert "This site is not open here" in shown("http://adult.example/")
        assert "page of" not in shown("https://adult.example/")

    @pytest.mark.parametrize("place", [address4, address6])
    def test_blocked_http_gets_the_page(self, home: House, place: Callable[[str], str]) -> None:
        host = "adult.example"
        status, body, _ = fetch(home, "tablet", f"http://{host}/", *at(host, 80, place(host)))
        assert status == "403"
        assert "This site is not open here" in body
        status, body, _ = fetch(home, "parent", f"http://{host}/", *at(host, 80, place(host)))
        assert status == "200", body

    def test_the_named_host_counts_and_not_the_dialled_address(self, home: House) -> None:
        """A device that lies about an address gets the site that it named, or nothing."""
        lying = at("www.school.example", 443, address4("adult.example"))
        status, body, _ = fetch(home, "tablet", "https://www.school.example/", *lying)
        assert status == "200", body
        lying = at("adult.example", 443, address4("www.school.example"))
        assert fetch(home, "tablet", "https://adult.example/", *lying)[0] == "000"

    @pytest.mark.parametrize("place", [address4, address6])
    def test_without_a_name_the_address_is_judged(self, home: House, place: Callable[[str], str]) -> None:
        address = place("www.school.example")
        target = f"[{address}]:443" if ":" in address else f"{address}:443"
        for device, opens in (("tablet", False), ("parent", True)):
            done = home.devices[device].run("openssl", "s_client", "-connect", target, "-noservername", text="")
            assert ("BEGIN CERTIFICATE" in done.stdout) is opens, (device, done.stdout[-500:], done.stderr[-500:])
        bare = f"http://[{address}]/" if ":" in address else f"http://{address}/"
        status, body, _ = fetch(home, "tablet", bare)
        assert status == "403"
        assert "This address is only a number" in body

    def test_each_request_of_a_connection_is_judged(self, home: House) -> None:
        first, second = "http://www.school.example/", "http://adult.example/"
        where = [*at("www.school.example", 80, address4("www.school.example"))]
        words = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{num_connects}\\n", *where, first]
        words += [
            "--next",
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{num_connects}\\n",
            "-H",
            "Host: adult.example",
            *where,
            first,
        ]
        assert home.devices["tablet"].run(*words).stdout.split() == ["200", "1", "403", "0"]
        assert second

    def test_a_client_that_connects_directly_is_not_served(self, home: House) -> None:
        for address in ("192.168.50.1", "[2600:9000:5400::1]"):
            status, _, seconds = fetch(home, "tablet", f"http://{address}:{PORT}/")
            assert status == "000"
            assert seconds < 7

    def test_local_machines_are_closed_under_public_addresses_too(self, home: House) -> None:
        """Of IPv6 a house mostly has addresses of the whole internet; the proxy must be no way round the firewall to
        them.
        """
        for address in ("[2600:9000:5400::1]", "[2600:9000:5400::77]", "192.168.50.1", "[::ffff:192.168.50.1]"):
            for device in ("tablet", "parent"):
                status, body, _ = fetch(home, device, f"http://{address}/", "--proxy", "http://192.168.50.1:3128")
                assert (status, "not open here" in body) == ("403", True), (device, address, body[-300:])

    def test_anything_but_tls_and_http_is_refused(self, home: House) -> None:
        target = f"{address4('www.school.example')}"
        script = (
            f"import socket; s = socket.create_connection(('{target}', 443), 5); s.sendall(b'SSH-2.0-x\\r\\n');"
            " print(s.recv(99)[:12])"
        )
        assert home.devices["tablet"].run("python3", "-c", script).stdout.strip() == "b'HTTP/1.1 400'"

    def test_a_pause_cuts_a_redirected_tunnel(self, home: House) -> None:
        host = "www.school.example"
        script = (
            "import socket, ssl, time; c = ssl._create_unverified_context();"
            f"s = c.wrap_socket(socket.create_connection(('{address4(host)}', 443), 5), server_hostname='{host}');"
            "print('open', flush=True); t = time.time(); s.settimeout(40)\n"
            "try: s.recv(1)\nexcept OSError: pass\nprint(time.time() - t < 35)"
        )
        process = home.devices["tablet"].start("python3", "-c", script)
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        home.hedgerow("pause", "mia")
        try:
            assert process.stdout.readline() == "True\n"
        finally:
            home.hedgerow("resume", "mia")


@given(st.binary(min_size=4, max_size=4), st.integers(0, 65535))
def test_kernel_addresses_of_ipv4(address: bytes, port: int) -> None:
    data = struct.pack("=HxxL", socket.AF_INET, 0)[:2] + port.to_bytes(2, "big") + address + bytes(8)
    assert parse_sockaddr(data) == Authority(socket.inet_ntop(socket.AF_INET, address), port)


@given(st.binary(min_size=16, max_size=16), st.integers(0, 65535))
def test_kernel_addresses_of_ipv6(address: bytes, port: int) -> None:
    data = socket.AF_INET6.to_bytes(2, "little") + port.to_bytes(2, "big") + bytes(4) + address + bytes(4)
    assert parse_sockaddr(data) == Authority(socket.inet_ntop(socket.AF_INET6, address), port)
