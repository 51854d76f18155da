"""The proxies that are compared: Hedgerow's gate and inspector, and, where they are installed, Squid and mitmproxy."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy_stand import proxy_stand
from small_internet.running import network_section, wait_until
from small_internet.whole import SmallInternet

HOST = "www.school.example"
CHILD_WITH_CA = "127.0.0.11"
CERTGEN = Path("/usr/lib/squid/security_file_certgen")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy.

    `authority` signs its certificates, `host` is the name or address by which it reaches the origins.

    `speaks_http2`: it offers HTTP/2 to clients whose connection it decrypts. `relays_websocket`: it forwards WebSocket
    there.
    """

    name: str
    address: tuple[str, int]
    source: str
    authority: str
    host: str
    speaks_http2: bool
    relays_websocket: bool = True


@contextlib.contextmanager
def hedgerow(net: SmallInternet, ports: list[int]) -> Iterator[Proxy]:
    """Hedgerow, for a child who trusts its certificate."""
    policy = (
        network_section(net).replace("  ports: [", "  ports: [" + "".join(f"{port}, " for port in ports))
        + f'people:\n  mia: {{age: 9, devices: [here], block: ["{HOST}/secret"], page_scan: off}}\n'
        f"devices:\n  here: {{ip: {CHILD_WITH_CA}, trusts_ca: true}}\n"
    )
    with proxy_stand(net, policy) as stand:
        yield Proxy("Hedgerow", stand.proxy, CHILD_WITH_CA, str(stand.ca), HOST, True)


@contextlib.contextmanager
def squid(net: SmallInternet, ports: list[int]) -> Iterator[Proxy]:
    """Squid that decrypts every tunnel."""
    with tempfile.TemporaryDirectory(prefix="squid-") as name:
        directory, port = Path(name), _free_port()
        directory.chmod(0o777)
        (directory / "hosts").write_text(f"{net.address_of(HOST)} {HOST}\n")
        _make_authority(directory)
        subprocess.run([CERTGEN, "-c", "-s", directory / "certs", "-M", "4MB"], check=True, capture_output=True)
        subprocess.run(["chown", "-R", "proxy", directory / "certs"], check=True)
        (directory / "squid.conf").write_text(
            f"http_port 127.0.0.1:{port} ssl-bump tls-cert={directory}/ca.pem generate-host-certificates=on"
            f" dynamic_cert_mem_cache_size=4MB\nsslcrtd_program {CERTGEN} -s {directory}/certs -M 4MB\nssl_bump bump"
            f" all\ntls_outgoing_options cafile={net.authority.root}\nworkers 1\ncache deny all\naccess_log"
            f" none\ncache_log {directory}/cache.log\npid_filename {directory}/squid.pid\ncoredump_dir"
            f" {directory}\nhosts_file {directory}/hosts\ncache_effective_user proxy\nhttp_access allow"
            " all\nshutdown_lifetime 1 seconds\nmax_filedescriptors 4096\n"
        )
        with _child([_path("squid"), "-N", "-f", str(directory / "squid.conf")], port):
            yield Proxy("Squid", ("127.0.0.1", port), "127.0.0.1", str(directory / "ca.crt"), HOST, False, False)


@contextlib.contextmanager
def mitmproxy(net: SmallInternet, ports: list[int]) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="mitmproxy-") as name:
        port = _free_port()
        command = [str(Path(sys.executable).parent / "mitmdump"), "-q", "--listen-host", "127.0.0.1", "-p", str(port)]
        options = [
            f"confdir={name}",
            f"ssl_verify_upstream_trusted_ca={net.authority.root}",
            "connection_strategy=lazy",
        ]
        with _child([*command, *(word for each in options for word in ("--set", each))], port):
            yield Proxy(
                "mitmproxy",
                ("127.0.0.1", port),
                "127.0.0.1",
                f"{name}/mitmproxy-ca-cert.pem",
                net.address_of(HOST),
                True,
            )


def is_squid_installed() -> bool:
    return CERTGEN.exists()


def _make_authority(directory: Path) -> None:
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "9",
            "-subj",
            "/CN=squid",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout",
            directory / "ca.pem",
            "-out",
            directory / "ca.crt",
        ],
        check=True,
        capture_output=True,
    )
    (directory / "ca.pem").write_bytes((directory / "ca.pem").read_bytes() + (directory / "ca.crt").read_bytes())
    (directory / "ca.pem").chmod(0o644)


def _path(program: str) -> str:
    return shutil.which(program) or f"/usr/sbin/{program}"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def _child(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def accepts() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False

    try:
        wait_until(accepts, 60, command[0])
        yield
    finally:
        process.terminate()
        process.wait(20)
