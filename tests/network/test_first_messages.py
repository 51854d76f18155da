"""The first messages of tunnels and proxies are known in a kernel's nftables, as clients spell them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hedgerow.network import first_messages
from hedgerow.network.first_messages import PROTOCOL_SIGNATURES
from hedgerow.network.nft_expressions import (
    COUNTER,
    NftExpression,
    add_base_chain,
    add_chain,
    add_rule,
    own,
)

pytestmark = pytest.mark.root

PROXIED = [
    "CONNECT a.example:443 HTTP/1.1\r\n",
    "connect a.example:443 HTTP/1.1\r\n",
    "CONNECT\ta.example:443 HTTP/1.1\r\n",
    "\r\n\r\nCONNECT a.example:443 HTTP/1.1\r\n",
    "\nCoNnEcT  a.example:443 HTTP/1.1\r\n",
    "GET http://a.example/ HTTP/1.1\r\n",
    "get HTTPS://a.example/ HTTP/1.1\r\n",
    "PUT http://a.example/ HTTP/1.1\r\n",
    "OPTIONS http://a.example/ HTTP/1.1\r\n",
    "PROPFIND http://a.example/ HTTP/1.1\r\n",
    "GET  http://a.example/ HTTP/1.1\r\n",
    "GET\thttp://a.example/ HTTP/1.1\r\n",
    "\r\n\r\n\n\nPOST http://a.example/ HTTP/1.1\r\n",
    " CONNECT a.example:443 HTTP/1.1\r\n",
    "\t \r\nconnect a.example:443 HTTP/1.1\r\n",
    " GET http://a.example/ HTTP/1.1\r\n",
]
DIRECT = [
    "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET /http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "HTTP /connect HTTP/1.1\r\n\r\n",
    "USER anonymous\r\n",
    "EHLO http-server.example\r\n",
    "PRIVMSG httpsrv hello\r\n",
    "LOOK httpd is down",
    "\0\3\x50",
]


@pytest.fixture(scope="module")
def space() -> Iterator[str]:
    """A network of its own that counts packets with a signature, by what they are."""
    name = f"hedgerow-{os.getpid()}-first"
    table, chain = {"family": "inet", "name": "counted"}, {"family": "inet", "table": "counted"}
    hook = {"name": "sent", "type": "filter", "hook": "output", "prio": 0, "policy": "accept"}
    rules: list[dict[str, list[NftExpression]]] = [
        {"expr": [*each.expressions(), {"counter": None}]} for each in PROTOCOL_SIGNATURES
    ]
    commands = [{"add": {"table": table}}, {"add": {"chain": chain | hook}}]
    commands += [{"add": {"rule": chain | {"chain": "sent", "comment": "signature"} | each}} for each in rules]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        text = json.dumps({"nftables": commands})
        subprocess.run(["ip", "netns", "exec", name, "nft", "-j", "-f", "-"], input=text, text=True, check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def counted(space: str, table: str = "counted") -> int:
    listing = subprocess.run(
        ["ip", "netns", "exec", space, "nft", "-j", "list", "table", "inet", table], capture_output=True, check=True
    )
    rules = [each["rule"]["expr"] for each in json.loads(listing.stdout)["nftables"] if "rule" in each]
    return sum(part["counter"]["packets"] for rule in rules for part in rule if "counter" in part)


def listener(space: str) -> socket.socket:
    """Return a listening socket within the network."""
    found: list[socket.socket] = []

    def enter() -> None:
        with Path(f"/run/netns/{space}").open("rb") as file:
            os.setns(file.fileno(), os.CLONE_NEWNET)
        found.append(socket.create_server(("127.0.0.1", 0)))
        found.append(socket.socket())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    found[1].close()
    return found[0]


def send(space: str, server: socket.socket, *pieces: str, table: str = "counted") -> int:
    """Send packets over a connection of TCP within the network, one after the other. Return how many were counted."""
    before, arrived = counted(space, table), threading.Semaphore(0)

    def connect() -> None:
        with Path(f"/run/netns/{space}").open("rb") as file:
            os.setns(file.fileno(), os.CLONE_NEWNET)
        with socket.create_connection(server.getsockname()) as client:
            for piece in pieces:
                client.sendall(piece.encode("latin-1"))
                assert arrived.acquire(timeout=30)

    thread = threading.Thread(target=connect)
    thread.start()
    with server.accept()[0] as peer:
        while peer.recv(1000):
            arrived.release()
    thread.join()
    return counted(space, table) - before


def test_a_web_proxy_is_known_however_its_request_is_spelled(space: str) -> None:
    with listener(space) as server:
        assert [text for text in PROXIED if send(space, server, text) == 0] == []
        assert [text for text in DIRECT if send(space, server, text) > 0] == []


IN_TURN = [
    ["GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "CONNECT a.example:443 HTTP/1.1\r\n"],
    ["GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET http://a.example/ HTTP/1.1\r\n"],
    ["\r\n", "connect a.example:443 HTTP/1.1\r\n"],
    ["\n", "\r\n", "PUT http://a.example/ HTTP/1.1\r\n"],
]
IN_PIECES = [
    ["C", "ONNECT a.example:443 HTTP/1.1\r\n"],
    ["co", "nnect a.example:443 HTTP/1.1\r\n"],
    ["CONN", "ECT a.example:443 HTTP/1.1\r\n"],
    ["CONNECT", " a.example:443 HTTP/1.1\r\n"],
    ["GET ", "http://a.example/ HTTP/1.1\r\n"],
    ["get http", "://a.example/ HTTP/1.1\r\n"],
    ["S", "SH-2.0-a\r\n"],
    ["SSH", "-2.0-a\r\n"],
    ["SSH-", "2.0-a\r\n"],
    [*"CONNECT a.example:443 HTTP/1.1\r\n"],
]
SHORT = [
    ["\0\3\x50"],
    ["\x10", "\0\x2f"],
    ["1", "2"],
    ["d", "u"],
    ["QUIT\r\n"],
    ["NOOP\r\n"],
    ["NICK mia\r\n", "C", "S"],
    ["\r\n", "NICK mia\r\n", "C"],
]
LATER = [
    *SHORT,
    ["NICK mia\r\n", "hello http://a.example/ is good"],
    ["NICK mia\r\n", "connect me"],
    ["x" * 900, "\0\x20\x38"],
]


def test_later_text_of_a_connection_is_no_request(space: str) -> None:
    """Proxies take several requests over a connection, and ignore empty lines before one."""
    chains = [add_base_chain("sent", "filter", "output", 0), add_chain(first_messages.CHAIN)]
    rules = first_messages.first_messages(
        "sent", lambda chain, _what, *met: add_rule(chain, *met, COUNTER), allow_ssh=False
    )
    text = json.dumps({"nftables": [{"add": {"table": own()}}, *chains, *rules]})
    subprocess.run(["ip", "netns", "exec", space, "nft", "-j", "-f", "-"], input=text, text=True, check=True)
    with listener(space) as server:
        assert [pieces for pieces in IN_TURN if send(space, server, *pieces, table="hedgerow") == 0] == []
        assert [pieces for pieces in IN_PIECES if send(space, server, *pieces, table="hedgerow") == 0] == []
        assert [pieces for pieces in LATER if send(space, server, *pieces, table="hedgerow") > 0] == []


def test_openvpn_is_known_with_every_digest_and_over_tcp_with_the_clients_key(space: str, tmp_path: Path) -> None:
    def make(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True, cwd=tmp_path)

    make(
        *[
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=a",
            "-keyout",
            "k",
            "-out",
            "c",
        ]
    )
    make("openvpn", "--genkey", "secret", "auth")
    make("openvpn", "--genkey", "tls-crypt-v2-server", "server")
    make("openvpn", "--tls-crypt-v2", "server", "--genkey", "tls-crypt-v2-client", "v2")
    client = ["ip", "netns", "exec", space, "openvpn", "--dev", "null", "--ifconfig-noexec", "--tls-client", "--nobind"]
    client += ["--verb", "1", "--remote", "127.0.0.1", "--ca", "c", "--cert", "c", "--key", "k"]
    wrapped = [
        ["--auth", digest, "--tls-auth", "auth", "1"] for digest in ("SHA384", "SHA224", "MD5", "SHA1", "SHA512")
    ]
    with listener(space) as server, ExitStack() as stack:
        port = str(server.getsockname()[1])
        for words in (
            *(["--proto", "udp", *each] for each in wrapped),
            ["--proto", "tcp-client", "--tls-crypt-v2", "v2"],
        ):
            before = counted(space)
            process = subprocess.Popen([*client, "--port", port, *words], cwd=tmp_path, stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            deadline = time.monotonic() + 30
            while counted(space) == before:
                assert process.poll() is None, words
                assert time.monotonic() < deadline, words
                time.sleep(0.05)
            process.kill()
