"""A tunnel in ICMP, by raw sockets:

`icmp.py serve ADDRESS` at its far end, `icmp.py ask KIND ADDRESS COUNT` on a device.

KIND is `timestamp` (types 13 and 14), or `error` (type 3, about packets of an NTP exchange, so that connection tracking
takes each message for one that belongs to it). The device prints the octets that came back. IPv4 only; the payloads are
what a tunnel would carry.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import time

MARK = b"tunnel!!"
PAYLOAD = MARK + bytes(400)
SHORT = MARK + bytes(64)
ERROR, REQUEST, REPLY = 3, 13, 14
SENDING_S = 1.0
"""Seconds of sending: what passes per second is limited, and a busy machine takes longer for the same number."""


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2])) + (
        data[-1] << 8 if len(data) % 2 else 0
    )
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def message(kind: int, code: int, rest: bytes) -> bytes:
    found = struct.pack("!BBH", kind, code, 0) + rest
    return found[:2] + struct.pack("!H", checksum(found)) + found[4:]


def quoted(source: str, destination: str, source_port: int, destination_port: int) -> bytes:
    """The packet that an error is about: IPv4 and UDP headers, then the payload of the tunnel."""
    size = 20 + 8 + 48
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, size, 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(destination)
    )
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return head + struct.pack("!HHHH", source_port, destination_port, 8 + 48, 0) + PAYLOAD


def serve(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.bind((address, 0))
        print("ready", flush=True)
        while True:
            packet, (peer, _) = raw.recvfrom(65536)
            icmp = packet[20:]
            if MARK not in icmp:
                continue
            if icmp[0] == REQUEST:
                raw.sendto(message(REPLY, 0, icmp[4:]), (peer, 0))
            elif icmp[0] == ERROR:
                inner = icmp[8:]
                port, other = struct.unpack_from("!HH", inner, 20)
                ours, theirs = socket.inet_ntoa(inner[12:16]), socket.inet_ntoa(inner[16:20])
                raw.sendto(message(ERROR, 3, bytes(4) + quoted(theirs, ours, other, port)), (peer, 0))


def ask(kind: str, address: str, count: int) -> int:
    octets, wanted = 0, REPLY if kind == "timestamp" else ERROR  # both may be tried at once
    with (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as time_client,
    ):
        raw.settimeout(1)
        time_client.settimeout(1)
        time_client.connect((address, 123))
        own, port = time_client.getsockname()
        with contextlib.suppress(OSError):
            time_client.send(bytes(48))
            time_client.recv(1000)
        end = time.monotonic() + SENDING_S
        for _ in range(count):
            if time.monotonic() > end:
                break
            rest = (
                struct.pack("!HH", 7, 1) + SHORT if kind == "timestamp" else bytes(4) + quoted(address, own, 123, port)
            )
            with contextlib.suppress(OSError):
                raw.sendto(
                    message(REQUEST if kind == "timestamp" else ERROR, 0 if kind == "timestamp" else 3, rest),
                    (address, 0),
                )
            time.sleep(0.001)
        with contextlib.suppress(OSError):
            while True:
                packet, (peer, _) = raw.recvfrom(65536)
                octets += len(packet) if peer == address and MARK in packet and packet[20] == wanted else 0
    return octets


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        print(ask(sys.argv[2], sys.argv[3], int(sys.argv[4])))
