"""What the seats of a café reach, by real downloads and uploads to a peer in the internet."""

from __future__ import annotations

from lab.house import House
from lab.internet import PEER4
from lab.spaces import PYTHON

PORT, SECONDS = 25570, 2
SERVER = f"""
import socket, threading
def serve(connection):
    kind = connection.recv(1)
    try:
        while connection.recv(65536) if kind == b"u" else connection.send(bytes(65536)):
            pass
    except OSError:
        pass
listening = socket.create_server(("0.0.0.0", {PORT}))
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=[listening.accept()[0]], daemon=True).start()
"""
"""Sends without end to whoever sends a `d`, and takes whatever comes from whoever sends a `u`."""
CLIENT = f"""
import socket, sys, time
kind, seconds = sys.argv[2], float(sys.argv[3])
peer = socket.create_connection((sys.argv[1], {PORT}), 5)
peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
peer.settimeout(5)
peer.sendall(kind.encode())
start = time.monotonic()
while time.monotonic() < start + seconds / 4:  # what the buffers and the burst take at once
    peer.send(bytes(8192)) if kind == "u" else peer.recv(65536)
start, moved = time.monotonic(), 0
while (now := time.monotonic()) < start + seconds:
    moved += peer.send(bytes(8192)) if kind == "u" else len(peer.recv(65536))
print(moved * 8 / (now - start))
"""
"""Prints the bits per second that it received (`d`) or sent (`u`)."""


def start_peer(cafe: House) -> None:
    server = cafe.net.space.start(*PYTHON, SERVER)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"


def measured(cafe: House, direction: str) -> tuple[float, float]:
    """Return what the tablet and the laptop reach side by side, in Mbit/s."""
    words = (*PYTHON, CLIENT, PEER4, direction, str(SECONDS))
    clients = [cafe.devices[who].start(*words) for who in ("tablet", "laptop")]
    first, second = (float(client.communicate(timeout=60)[0]) / 1e6 for client in clients)
    print(f"{direction}: {first:.2f} and {second:.2f} Mbit/s")
    return first, second
