"""The tunnel home (WireGuard): its keys, and its interface.

`wg` configures the interface, the kernel's as well as that of wireguard-go, which serves where the kernel has none.
Sources: wg(8), and the WireGuard paper for handshakes and preshared keys.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hedgerow.confinement import end_with_parent
from hedgerow.network.source_rules import TUNNEL_INTERFACE
from hedgerow.policies.text.addresses import IpNetwork

HANDSHAKE_EVERY_S = 180.0
"""Seconds after which a peer that sends has shaken hands again (the paper's Reject-After-Time)."""
KEEPALIVE_S = 25
"""Seconds after which an idle device sends something, so that routers on the way remember it (wg(8))."""
LEVEL = "tunnel"
"""Name of the gauges of a device's use of the tunnel, which are not metrics.

Their labels are the device's public key, and handshake, received or sent.
"""
_WG_TIMEOUT_S = 10
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/bin"
_KEY_BYTES = 32


class TunnelError(Exception):
    """The interface cannot be as it should. The message is one plain sentence."""


@dataclass(frozen=True, slots=True)
class TunnelSecrets:
    """This machine's private key, and the secret from which each device's preshared key is made."""

    private: bytes = field(repr=False)
    shared: bytes = field(repr=False)

    @classmethod
    def new(cls) -> TunnelSecrets:
        return cls(new_private_key(), os.urandom(_KEY_BYTES))

    @classmethod
    def load(cls, path: Path) -> TunnelSecrets | None:
        """Return the secrets in a file, or None if there is none. Raises OSError and ValueError."""
        try:
            keys = [base64.b64decode(line, validate=True) for line in path.read_bytes().split()]
        except FileNotFoundError:
            return None
        if [len(key) for key in keys] != [_KEY_BYTES, _KEY_BYTES]:
            raise ValueError(f"{path} does not hold two keys")
        return cls(*keys)

    def as_file(self) -> bytes:
        return f"{key_text(self.private)}\n{key_text(self.shared)}\n".encode()

    def preshared_key(self, public_key: str) -> str:
        """Return the preshared key of the device with a public key.

        It keeps recorded traffic secret if Curve25519 is broken one day.
        """
        return key_text(hmac.digest(self.shared, base64.b64decode(public_key), hashlib.sha256))


def key_text(key: bytes) -> str:
    """Return a key as WireGuard writes it."""
    return base64.b64encode(key).decode()


def new_private_key() -> bytes:
    """Return a new private key of X25519, with the bits set that its use sets anyway (RFC 7748, section 5)."""
    key = bytearray(os.urandom(_KEY_BYTES))
    key[0] &= 248
    key[31] = key[31] & 127 | 64
    return bytes(key)


def public_key_of(private: bytes) -> str:
    """Return the public key of a private one, as WireGuard writes it."""
    # imported late: the gateway's process makes no keys
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return key_text(X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())


@dataclass(frozen=True, slots=True)
class PeerActivity:
    """A device's use of the tunnel: the instant of its last handshake, None before the first, and bytes since the
    interface was made.
    """

    handshake: float | None = None
    received: int = 0
    sent: int = 0

    def is_connected(self, now: float) -> bool:
        return self.handshake is not None and now - self.handshake < HANDSHAKE_EVERY_S


def render_config(secrets: TunnelSecrets, port: int, peers: Iterable[tuple[str, Iterable[IpNetwork]]]) -> str:
    """Return the interface's configuration for `wg syncconf`.

    `peers` are public keys, and addresses from which only they may send.
    """
    lines = ["[Interface]", f"PrivateKey = {key_text(secrets.private)}", f"ListenPort = {port}"]
    for key, networks in peers:
        lines += ["[Peer]", f"PublicKey = {key}", f"PresharedKey = {secrets.preshared_key(key)}"]
        lines.append(f"AllowedIPs = {', '.join(map(str, networks))}")
    return "\n".join(lines) + "\n"


def parse_dump(text: str) -> dict[str, PeerActivity]:
    """Return the activity of each peer by its public key, from the output of `wg show INTERFACE dump`.

    >>> parse_dump("private\\tpublic\\t51820\\toff\\nkey\\tpsk\\t192.0.2.1:9\\t10.0.0.2/32\\t1700000000\\t148\\t92\\toff\\n")
    {'key': PeerActivity(handshake=1700000000.0, received=148, sent=92)}
    """  # noqa: E501
    rows = [line.split("\t") for line in text.splitlines()[1:]]
    return {row[0]: PeerActivity(float(row[4]) or None, int(row[5]), int(row[6])) for row in rows if len(row) == 8}


def has_interface() -> bool:
    try:
        socket.if_nametoindex(TUNNEL_INTERFACE)
    except OSError:
        return False
    return True


def add_kernel_interface() -> bool:
    """Create the interface; False if the kernel has no WireGuard. Raises `TunnelError`."""
    try:
        with _netlink() as netlink:
            netlink.link("add", ifname=TUNNEL_INTERFACE, kind="wireguard")
    except TunnelError as error:
        if getattr(error.__cause__, "code", 0) != errno.EOPNOTSUPP:
            raise
        return False
    return True


def start_in_user_space() -> subprocess.Popen[bytes]:
    """Start wireguard-go, which creates the interface a moment later and ends with this process.

    Raises `TunnelError`.
    """
    program = shutil.which("wireguard-go", path=_PATH)
    if program is None:
        raise TunnelError(
            "The kernel has no WireGuard, and wireguard-go was not found: install the package wireguard-go."
        )
    quiet = subprocess.DEVNULL
    try:
        return subprocess.Popen(
            [program, "-f", TUNNEL_INTERFACE], stdin=quiet, stdout=quiet, stderr=quiet, preexec_fn=end_with_parent
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise TunnelError(f"wireguard-go can't be started: {error}.") from None


def is_served_in_user_space() -> bool:
    """Return True once wireguard-go takes orders."""
    return Path(f"/var/run/wireguard/{TUNNEL_INTERFACE}.sock").exists()


def configure(config: str, addresses: Iterable[str]) -> None:
    """Give the interface its keys and peers, of which those that stay keep their sessions, and its addresses with their
    prefix lengths.

    Raises `TunnelError`.
    """
    wanted = {(address, int(length)) for address, _, length in (each.partition("/") for each in addresses)}
    _wg("syncconf", TUNNEL_INTERFACE, "/dev/stdin", text=config)
    with _netlink() as netlink:
        index = socket.if_nametoindex(TUNNEL_INTERFACE)
        current = {
            (each.get("address"), each["prefixlen"])
            for each in netlink.get_addr(index=index)
            if not _is_link_local(each)
        }
        for address, length in current - wanted:
            netlink.addr("del", index=index, address=address, prefixlen=length)
        netlink.link("set", index=index, state="up")
        for address, length in wanted - current:
            netlink.addr("add", index=index, address=address, prefixlen=length)


def activity() -> dict[str, PeerActivity]:
    """Return the activity of each device by its public key. Raises `TunnelError`."""
    return parse_dump(_wg("show", TUNNEL_INTERFACE, "dump"))


def remove_interface() -> None:
    """Remove the interface if there is one; wireguard-go ends with it. Raises `TunnelError`."""
    with _netlink() as netlink:
        for index in netlink.link_lookup(ifname=TUNNEL_INTERFACE):
            netlink.link("del", index=index)


def _wg(*words: str, text: str | None = None) -> str:
    wg = shutil.which("wg", path=_PATH)
    if wg is None:
        raise TunnelError("wg was not found: install the package wireguard-tools.")
    try:
        done = subprocess.run(
            [wg, *words], input=text, capture_output=True, text=True, timeout=_WG_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise TunnelError(f"wg did not answer within {_WG_TIMEOUT_S} seconds.") from None
    if done.returncode != 0:
        problem = done.stderr.strip()
        raise TunnelError(f"wg refused: {problem.splitlines()[-1] if problem else f'status {done.returncode}'}")
    return done.stdout


@contextlib.contextmanager
def _netlink() -> Iterator[Any]:
    """Open a connection to the kernel's table of interfaces. Its errors become `TunnelError`."""
    from pyroute2 import IPRoute, NetlinkError  # imported late for their weight: most machines have no tunnel

    try:
        with IPRoute() as netlink:
            yield netlink
    except NetlinkError as error:
        raise TunnelError(f"The kernel refuses the interface {TUNNEL_INTERFACE}: {os.strerror(error.code)}.") from error


def _is_link_local(entry: Any) -> bool:
    return str(entry.get("address")).startswith("fe80:")
