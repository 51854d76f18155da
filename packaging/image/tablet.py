"""The child's tablet of `try_image.py`, inside the machine: it joins the Wi-Fi, and tries what a child would.

Standard library only.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

BOX, BLOCKED, INTERFACE = "10.43.1.1", "www.tiktok.com", "wlan1"
CONFIG = 'network={{\n ssid="{name}"\n psk="{password}"\n key_mgmt=WPA-PSK\n ieee80211w=1\n}}\n'


def join(name: str, password: str) -> str:
    """Associate with WPA2, ask for an address by DHCP, and return that."""
    config = Path("/tmp/tablet.conf")
    config.write_text(CONFIG.format(name=name, password=password))
    subprocess.run(
        ["/usr/sbin/wpa_supplicant", "-B", "-i", INTERFACE, "-c", config], check=True, stdout=subprocess.DEVNULL
    )
    for _ in range(120):
        if (
            "Connected"
            in subprocess.run(["iw", "dev", INTERFACE, "link"], capture_output=True, text=True, check=True).stdout
        ):
            break
        time.sleep(1)
    script = Path("/tmp/lease")
    script.write_text(
        '#!/bin/sh\n[ "$1" = bound ] || exit 0\nip address replace $ip/$mask dev $interface\n'
        "ip route replace default via $router\n"
        "echo $dns >/tmp/tablet.dns\n"
    )
    script.chmod(0o755)
    subprocess.run(
        ["busybox", "udhcpc", "-n", "-q", "-t", "20", "-i", INTERFACE, "-s", script],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert Path("/tmp/tablet.dns").read_text().split() == [BOX]
    return subprocess.run(
        ["ip", "-4", "-brief", "address", "show", INTERFACE], capture_output=True, text=True, check=True
    ).stdout.split()[2]


def ask(server: str, name: str, timeout: float = 90) -> bytes:
    """Return the answer of a DNS server to a query for an IPv4 address, empty without one."""
    labels = b"".join(struct.pack("B", len(label)) + label.encode() for label in name.split("."))
    query = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(timeout)
        try:
            client.sendto(query, (server, 53))
            return client.recv(4096)
        except OSError:
            return b""


def is_blocked(answer: bytes) -> bool:
    return b"\0\x04\0\0\0\0" in answer or (len(answer) > 5 and answer[3] & 0x0F == 3)


def page(address: str, host: str) -> str:
    """Return what a web server at an address answers for a host, empty without an answer."""
    try:
        with socket.create_connection((address, 80), timeout=60) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode(errors="replace")
    except OSError:
        return ""


def reach(address: str, port: int) -> str:
    try:
        with socket.create_connection((address, port), timeout=60):
            return "reached"
    except OSError as error:
        return f"not reached: {error}"


def said(is_good: bool, found: object) -> str:
    return "good" if is_good else repr(found)


def blocked(server: str) -> str:
    """A blocked site has no address at this server."""
    answer = ask(server, BLOCKED)
    return said(is_blocked(answer), answer)


def block_page() -> str:
    text = page("192.0.2.80", BLOCKED)
    return said("Hedgerow" in text, text[:2000])


def parents_network() -> str:
    """A server in the parents' network answers neither at a port of its own nor through the proxy."""
    port, text = reach("10.0.2.100", 2222), page("10.0.2.100", "10.0.2.100")
    return said(port != "reached" and "hello" not in text, (port, text))


def other_port() -> str:
    found = reach("192.0.2.1", 4444)
    return said(found != "reached", found)


def nothing() -> str:
    """Neither a name nor a page."""
    answer, text = ask(BOX, BLOCKED, 5), page("192.0.2.80", BLOCKED)
    return said(not answer and not text, (answer, text))


def no_wifi() -> str:
    link = ""
    for _ in range(60):
        link = subprocess.run(["iw", "dev", INTERFACE, "link"], capture_output=True, text=True, check=True).stdout
        if "Not connected" in link:
            break
        time.sleep(1)
    return said("Not connected" in link, link)


TRIALS: dict[str, Callable[[], str]] = {
    "blocked-name": lambda: blocked(BOX),
    "blocked-name-elsewhere": lambda: blocked("192.0.2.53"),
    "blocked-page": block_page,
    "parents-network": parents_network,
    "other-port": other_port,
    "nothing": nothing,
    "no-wifi": no_wifi,
}


def main(what: str, *words: str) -> str:
    """Do one thing, and return `good`, or what was seen instead."""
    if what == "join":
        return join(*words)
    if what == "reach":
        return reach(words[0], int(words[1]))
    return TRIALS[what]()


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
