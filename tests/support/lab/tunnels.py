"""Servers for bypasses: SSH, SOCKS and web proxies, OpenVPN, and IP over DNS."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.nameservers import TUNNEL4
from lab.spaces import Space

PLAIN_PORT, CRYPT_PORT, AUTH_PORT = 1194, 40002, 40003
"""OpenVPN's ports: the usual one over UDP and TCP, one with tls-crypt, one with tls-auth. 40001 is plain too."""
OWN_PORT = 40001
SSH_PORT, SOCKS_PORT, WEB_PROXY_PORT = 40022, 40080, 8080
"""Ports of SSH and SOCKS besides their usual ones, and of the web proxy."""


@dataclass(frozen=True, slots=True)
class Tunnels:
    """The servers at one address, and their clients' options."""

    folder: Path
    ssh_key: Path

    def openvpn_client(self, port: int) -> list[str]:
        """Return the OpenVPN client's options for a port."""
        return [*_identity(self.folder), *_wrapping(self.folder, port, "1")]


def tunnels(space: Space, folder: Path, address4: str, address6: str, *others: str) -> Tunnels:
    """Start all servers in `space`, which has these addresses. At the `others` there are SOCKS servers only."""
    for address in (address4, address6, *others):
        for port in (1080, SOCKS_PORT):
            space.start("microsocks", "-i", address, "-p", str(port))
    _start_web_proxy(space, folder, address4, address6)
    _start_ssh(space, folder, address4)
    _start_openvpn(space, folder, address4)
    iodined = ("iodined", "-f", "-c", "-P", "secret", "-l", TUNNEL4, "-d", "dns0", "10.98.0.1/24", "t.tunnel.example")
    space.start(*iodined, stderr=folder / "iodined.log")
    return Tunnels(folder, folder / "ssh_key")


def _start_ssh(space: Space, folder: Path, address: str) -> None:
    for name in ("ssh_host", "ssh_key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    (folder / "ssh_key.pub").rename(folder / "authorized_keys")
    settings = [
        f"HostKey {folder / 'ssh_host'}",
        f"AuthorizedKeysFile {folder / 'authorized_keys'}",
        "StrictModes no",
        "UsePAM no",
    ]
    settings += [
        "PermitRootLogin yes",
        "PidFile none",
        *(f"ListenAddress {address}:{port}" for port in (22, 443, SSH_PORT)),
    ]
    (folder / "sshd.conf").write_text("\n".join(settings) + "\n")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's built-in chroot directory
    space.start("/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd.conf"), stderr=folder / "sshd.log")


def _start_web_proxy(space: Space, folder: Path, *addresses: str) -> None:
    for port in (WEB_PROXY_PORT, 80):
        lines = [f"Port {port}", *(f"Listen {address}" for address in addresses), "Timeout 60", "LogLevel Warning"]
        settings = folder / f"tinyproxy-{port}.conf"
        settings.write_text("\n".join(lines) + "\n")
        space.start("tinyproxy", "-d", "-c", str(settings), stderr=folder / f"tinyproxy-{port}.log")


def _start_openvpn(space: Space, folder: Path, address: str) -> None:
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=peer",
    ]
    _run(*words, "-days", "30", "-keyout", str(folder / "openvpn.key"), "-out", str(folder / "openvpn.pem"))
    _run("openvpn", "--genkey", "tls-crypt", str(folder / "crypt.key"))
    _run("openvpn", "--genkey", "secret", str(folder / "auth.key"))
    for port, protocol in (
        (PLAIN_PORT, "udp"),
        (PLAIN_PORT, "tcp-server"),
        (OWN_PORT, "udp"),
        (CRYPT_PORT, "udp"),
        (AUTH_PORT, "udp"),
    ):
        words = [
            "openvpn",
            "--dev",
            "null",
            "--ifconfig-noexec",
            "--tls-server",
            "--dh",
            "none",
            "--proto",
            protocol,
            "--local",
            address,
        ]
        words += ["--lport", str(port), "--verb", "1", *_identity(folder), *_wrapping(folder, port, "0")]
        space.start(*words, stderr=folder / f"openvpn-{port}-{protocol}.log")


def _identity(folder: Path) -> list[str]:
    """Create one certificate for both ends, which trust it by its fingerprint."""
    shown = _run("openssl", "x509", "-in", str(folder / "openvpn.pem"), "-noout", "-fingerprint", "-sha256")
    return [
        "--peer-fingerprint",
        shown.strip().rpartition("=")[2],
        "--cert",
        str(folder / "openvpn.pem"),
        "--key",
        str(folder / "openvpn.key"),
    ]


def _wrapping(folder: Path, port: int, direction: str) -> list[str]:
    if port == CRYPT_PORT:
        return ["--tls-crypt", str(folder / "crypt.key")]
    return ["--tls-auth", str(folder / "auth.key"), direction] if port == AUTH_PORT else []


def _run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout
