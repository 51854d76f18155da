"""Servers that `dns.py` measures, each started with the same blocked names and the same upstream:

Hedgerow's worker and its peers.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

POLICY = """
network: {timezone: Europe/Lisbon, lists: starter, unknown_devices: child-8-12, upstream: [UPSTREAM], certificate: {chain: CHAIN, key: KEY}}
people:
  mia: {age: 9, devices: [mia-tablet, mia-console, mia-laptop], bedtime: {every-day: "03:00-03:01"}}
  tom: {age: 15, devices: [tom-phone, tom-laptop, tom-console]}
  ana: {profile: adult, devices: [ana-phone, ana-laptop, tv, printer]}
devices:
"""  # noqa: E501
DEVICES = (
    "mia-tablet",
    "mia-console",
    "mia-laptop",
    "tom-phone",
    "tom-laptop",
    "tom-console",
    "ana-phone",
    "ana-laptop",
    "tv",
    "printer",
)

# Takes datagrams one by one, as where recvmmsg cannot be had.
PLAIN = (
    "from hedgerow.dns.server import udp; udp.BatchUdpListener = udp.SimpleUdpListener; from hedgerow.app.processes"
    " import main; main()"
)


@dataclass(frozen=True, slots=True)
class Side:
    """A server that answers; `dot`, `doh` and `doq` are 0 where it does not support these."""

    name: str
    processes: tuple[subprocess.Popen[bytes], ...]
    port: int
    dot: int = 0
    doh: int = 0
    doq: int = 0


@dataclass(frozen=True, slots=True)
class Stand:
    """What all sides share: a directory, the blocked names, and the upstream's port."""

    folder: Path
    names: Sequence[str]
    upstream: int

    @property
    def certificate(self) -> tuple[Path, Path]:
        """Create a self-signed certificate and its key."""
        chain, key = self.folder / "certificate.pem", self.folder / "key.pem"
        if not chain.exists():
            curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
            command = [
                "openssl",
                "req",
                "-x509",
                *curve,
                "-keyout",
                key,
                "-out",
                chain,
                "-days",
                "2",
                "-subj",
                "/CN=dns.example.net",
            ]
            subprocess.run(command, check=True, capture_output=True)
        return chain, key


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def started(
    command: Sequence[str | Path], cores: str = "0", environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process on these cores until the end of the block. A worker of ours ends when its standard input does."""
    with tempfile.TemporaryFile() as log:
        pinned = ["taskset", "-c", cores, *command]
        process = subprocess.Popen(
            pinned, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log, env=environment
        )
        try:
            yield process
        finally:
            has_failed = process.poll() is not None
            process.terminate()
            process.communicate()
            log.seek(0)
            if b"Traceback" in (said := log.read()) or has_failed:
                print(said.decode()[-3000:], file=sys.stderr)


def wait_until_answers(port: int, *processes: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    """Wait until a server answers. Exits if it does not, or one of these processes ends before."""
    query = bytes.fromhex("000101000001000000000000") + b"\x04host\x07example\x03net\x00\x00\x01\x00\x01"
    deadline = time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.connect(("127.0.0.1", port))
        while time.monotonic() < deadline and not any(process.poll() is not None for process in processes):
            try:
                sock.send(query)
                sock.recv(512)
            except OSError:
                time.sleep(0.05)
            else:
                return
    raise SystemExit(f"nobody answers at port {port}")


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    """Run a dnsmasq that answers everything with one address. By default it answers REFUSED to many queries at once."""
    port = free_port()
    options = [
        "--no-resolv",
        "--no-hosts",
        "--local-ttl=300",
        "--address=/#/192.0.2.7",
        "--conf-file=/dev/null",
        "--user=root",
    ]
    where = [f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file="]
    with started(["dnsmasq", "--keep-in-foreground", *where, *options], "1") as process:
        wait_until_answers(port, process)
        yield port


@contextlib.contextmanager
def hedgerow(
    stand: Stand,
    *,
    plain: bool = False,
    encrypted: bool = False,
    limited: bool = False,
    who: str = "",
    workers: int = 1,
    cores: str = "0",
) -> Iterator[Side]:
    """Run workers as the program would start them, on one of `cores` each, with a sink in control's place that reads
    their events.

    `limited`: limits of queries hold for loopback too. `who`: people and devices of the policy in place of a family's.
    """
    ports = (free_port(), free_port(), free_port(), free_port()) if encrypted else (free_port(), 0, 0, 0)
    with tempfile.TemporaryDirectory(dir=stand.folder) as place, contextlib.ExitStack() as running:
        state = Path(place)
        _publish(stand, state, ports, limited=limited, who=who)
        # On the server's side: beside dnsperf it would keep the thread that takes answers waiting for milliseconds.
        running.enter_context(
            started([sys.executable, __file__, state / "run" / "events.sock"], cores.partition(",")[0])
        )
        # As installed: compiled once.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        program = [sys.executable, *(("-c", PLAIN) if plain else ("-m", "hedgerow.app.processes"))]
        commands = [[*program, "dns", str(index), str(state)] for index in range(workers)]
        places = cores.split(",") * workers
        processes = tuple(
            running.enter_context(started(*each, environment)) for each in zip(commands, places, strict=False)
        )
        for _ in range(4 * workers):  # each of them, most likely
            wait_until_answers(ports[0], *processes)
        yield Side("hedgerow", processes, *ports)


def _publish(stand: Stand, state: Path, ports: tuple[int, int, int, int], *, limited: bool, who: str) -> None:
    """Write what supervisor and control leave for a worker: settings and a snapshot."""
    from hedgerow.app.settings import Endpoint, Settings
    from hedgerow.app.snapshot import Snapshot
    from hedgerow.app.startup import usable_memory
    from hedgerow.policies.reading.load import parse_policy

    chain, key = stand.certificate
    text = (
        POLICY.replace("UPSTREAM", f"127.0.0.1:{stand.upstream}").replace("CHAIN", str(chain)).replace("KEY", str(key))
    )
    text = text.replace("network: {", "network: {query_limit: {exempt: []}, ", 1) if limited else text
    text += "".join(f"  {name}: {{ip: 127.0.1.{number}}}\n" for number, name in enumerate(DEVICES, 1))
    text = f"{text.partition('people:')[0]}{who}" if who else text
    nowhere = Endpoint("127.0.0.1", 1)
    dns, dot, doh, doq = (Endpoint("127.0.0.1", port) if port else nowhere for port in ports)
    encrypted = {
        name: endpoint for name, endpoint in (("dot", dot), ("doh", doh), ("doq", doq)) if endpoint is not nowhere
    }
    settings = Settings(state, None, dns, nowhere, nowhere, encrypted=encrypted, memory=usable_memory())
    (state / "run").mkdir()
    settings.save()
    Snapshot(1, time.time(), parse_policy(text.encode(), state / "hedgerow.yaml"), stand.folder / "generation").save(
        state
    )


def sink(path: Path) -> None:
    """Receive what workers send and discard it. Runs in a child process."""

    def forget(connection: socket.socket) -> None:
        room = bytearray(1 << 16)
        while connection.recv_into(room):
            pass

    from hedgerow.sockets import bind_datagrams, take_connection

    with bind_datagrams(path) as listening:
        while select.select([listening], [], []):
            while (connection := take_connection(listening)) is not None:
                connection.setblocking(True)
                threading.Thread(target=forget, args=(connection,), daemon=True).start()


@contextlib.contextmanager
def unbound(stand: Stand) -> Iterator[Side]:
    """Run Unbound with caches in which all working sets fit; those of its defaults hold some ten thousand names."""
    port, dot, doh = free_port(), free_port(), free_port()
    chain, key = stand.certificate
    zones = "\n".join(f'local-zone: "{name}" always_null' for name in stand.names)
    interfaces = "".join(f" interface: 127.0.0.1@{each}\n" for each in (port, dot, doh))
    config = stand.folder / "unbound.conf"
    config.write_text(
        f'server:\n directory: "{stand.folder}"\n username: ""\n chroot: ""\n pidfile: ""\n num-threads:'
        f' 1\n{interfaces} tls-service-pem: "{chain}"\n tls-service-key: "{key}"\n tls-port: {dot}\n https-port:'
        f' {doh}\n module-config: "iterator"\n do-not-query-localhost: no\n use-syslog: no\n so-rcvbuf: 4m\n'
        f" msg-cache-size: 128m\n rrset-cache-size: 256m\n{zones}\nremote-control:\n control-enable:"
        f' no\nforward-zone:\n name: "."\n forward-addr: 127.0.0.1@{stand.upstream}\n'
    )
    with started(["unbound", "-d", "-c", config]) as process:
        wait_until_answers(port, process)
        yield Side("unbound", (process,), port, dot, doh)


@contextlib.contextmanager
def dnsmasq(stand: Stand) -> Iterator[Side]:
    port = free_port()
    config = stand.folder / "dnsmasq.conf"
    config.write_text(
        f"port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\n"
        f"server=127.0.0.1#{stand.upstream}\n"
        f"cache-size=10000\ndns-forward-max=5000\nuser=root\npid-file={stand.folder / 'dnsmasq.pid'}\n"
        + "".join(f"local=/{name}/\n" for name in stand.names)
    )
    with started(["dnsmasq", "--keep-in-foreground", f"--conf-file={config}"]) as process:
        wait_until_answers(port, process)
        yield Side("dnsmasq", (process,), port)


def _write_zone(stand: Stand) -> Path:
    """Write the names as a response policy zone."""
    path = stand.folder / "blocked.rpz"
    rows = "".join(f"{name} CNAME .\n*.{name} CNAME .\n" for name in stand.names)
    path.write_text(
        "$TTL 300\n$ORIGIN rpz.example.\n@ SOA localhost. nobody.invalid. 1 3600 600 86400 300\n@ NS"
        f" localhost.\n{rows}"
    )
    return path


@contextlib.contextmanager
def recursor(stand: Stand) -> Iterator[Side]:
    """PowerDNS Recursor."""
    port = free_port()
    folder = stand.folder / "recursor"
    folder.mkdir(exist_ok=True)
    (folder / "recursor.yml").write_text(
        f"incoming: {{listen: ['127.0.0.1:{port}'], allow_from: ['127.0.0.0/8']}}\n"
        f"recursor:\n  threads: 1\n  socket_dir: {folder}\n  rpzs: [{{name: '{_write_zone(stand)}'}}]\n"
        f"  forward_zones: [{{zone: ., forwarders: ['127.0.0.1:{stand.upstream}']}}]\n"
        "outgoing: {dont_query: []}\ndnssec: {validation: 'off'}\nlogging: {quiet: true, loglevel: 3}\n"
    )
    with started(["pdns_recursor", f"--config-dir={folder}", "--daemon=no"]) as process:
        wait_until_answers(port, process)
        yield Side("pdns-recursor", (process,), port)


@contextlib.contextmanager
def knot(stand: Stand) -> Iterator[Side]:
    """Knot Resolver."""
    port = free_port()
    folder = stand.folder / "knot"
    folder.mkdir(exist_ok=True)
    (folder / "kresd.conf").write_text(
        f"net.listen('127.0.0.1', {port}, {{ kind = 'dns' }})\nnet.ipv6 = false\ntrust_anchors.remove('.')\ncache.size"
        f" = 100 * MB\nmodules = {{ 'policy' }}\npolicy.add(policy.rpz(policy.DENY, '{_write_zone(stand)}',"
        f" false))\npolicy.add(policy.all(policy.STUB({{ '127.0.0.1@{stand.upstream}' }})))\n"
    )
    with started(["kresd", "-n", "-c", "kresd.conf", folder]) as process:
        wait_until_answers(port, process)
        yield Side("knot-resolver", (process,), port)


if __name__ == "__main__":
    sink(Path(sys.argv[1]))
