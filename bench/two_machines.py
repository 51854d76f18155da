"""Measure two machines for one home while one of them, the database or the network between them fails.

    sudo .venv/bin/python bench/two_machines.py [--only NAME …] [--rate 1000] [--away 60] [--split 300]

Everything runs in network namespaces: two machines with Hedgerow, which `hedgerow join` made one site; two PostgreSQL servers, the second a
synchronous standby, over TLS, both named by the store's URL; the family's router with DHCP (dnsmasq) and the internet; and a child's
tablet that asks names which it never asked before, each of which is blocked and recorded. A query is lost if neither resolver of the
tablet has answered after two tries at each. Events are counted in the database: `missing` are names that a machine answered and that were
not recorded, `twice` are names with more events than machines that were asked.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))  # which Python leaves out where it runs safely

from lab.house import HOST_RULES, command
from lab.spaces import Space, connect, spaces
from postgres_server import PostgresServer, binaries
from small_internet.authority import Authority
from small_internet.running import wait_until

LAN = "192.168.50"
ONE, OTHER, VIRTUAL, FIRST_DB, SECOND_DB = (f"{LAN}.{number}" for number in (2, 3, 4, 11, 12))
TABLET_MAC = "02:00:00:00:50:0a"
STORE = f"postgresql://hedgerow@{FIRST_DB},{SECOND_DB}/hedgerow?target_session_attrs=read-write&sslrootcert="
POLICY = f"""
network:
  timezone: UTC
  lists: starter
  lan: [{LAN}.0/24]
  upstream: [9.9.9.9]
  store: "{STORE}%s"
  query_limit: {{exempt: [{LAN}.0/24]}}
unopened_seats: closed
people:
  mia:
    age: 9
    devices: [tablet]
    budget: {{games: 30m}}
    block: [secret.example, news.example, opened.example, one.example, two.example, before.example, after.example]
devices:
  tablet: {{mac: "{TABLET_MAC}"}}
"""
DURABLE = {
    "fsync": "on", "full_page_writes": "on", "listen_addresses": "*", "ssl": "on", "max_wal_senders": "5", "wal_level": "replica",
    "hot_standby": "on", "wal_keep_size": "512MB", "shared_buffers": "64MB",
}  # fmt: skip
KEEPALIVED = """
global_defs {
    enable_script_security
    script_user nobody
    vrrp_version 3
}
vrrp_script answers {
    script "/usr/bin/kdig +tcp +timeout=1 +retry=0 +short @127.0.0.1 localhost"
    interval 0.2
    timeout 1
    fall 2
    weight -100
}
vrrp_instance hedgerow {
    state BACKUP
    interface eth0
    virtual_router_id 53
    priority %d
    advert_int 0.1
    virtual_ipaddress {
        192.168.50.4/24
    }
    track_script {
        answers
    }
}
"""
LEASE = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add "$ip/$mask" dev "$interface"
ip route replace default via "$router"
for server in $dns; do echo "nameserver $server"; done >{file}
"""


class Machine:
    """A machine with Hedgerow, as its user starts it."""

    def __init__(self, space: Space, folder: Path) -> None:
        self.space, self.folder, self.state = space, folder, folder / "state"
        self.process: subprocess.Popen[str] | None = None
        self.web = ""
        folder.mkdir()

    def start(self) -> None:
        words = ("up", "--policy", str(self.folder / "hedgerow.yaml"), "--state", str(self.state))
        self.process = self.space.start(*command(), *words, stderr=self.folder / "log")
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line.startswith("hedgerow "), (self.folder / "log").read_text()[-3000:]
        self.web = line.partition(" web=")[2].split()[0].rpartition(":")[2]

    def kill(self) -> None:
        """Kill all processes of Hedgerow at once, and nothing else on the machine."""
        assert self.process
        pids = [self.process.pid]
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += map(int, task.read_text().split())
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Hedgerow on this machine."""
        return self.space.run(*command(), *words, "--state", str(self.state), seconds=90)

    def facts(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def typed(self, tablet: Space, address: str, field: str, code: str) -> int:
        """Type a code at the tablet's own page of this machine. Returns the status, 0 without one."""
        words = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Origin: http://{address}:{self.web}", "-d", f"code={code}")
        return int(tablet.run(*words, f"http://{address}:{self.web}/device/{field}").stdout or 0)


class Laboratory:
    """The home, its two machines, and the two servers of its database."""

    def __init__(self, folder: Path, made: list[Space], rate: int) -> None:
        self.folder, self.rate, self.asked = folder, rate, 0
        outside, self.router, one, other, first_db, second_db, self.tablet = made
        self.second_db = second_db
        self._wire_up(outside)
        places = {one: ONE, other: OTHER, first_db: FIRST_DB, second_db: SECOND_DB}
        for space, address in places.items():
            self._plug_in(space, address)
        self._plug_in(self.tablet, "", TABLET_MAC)
        (folder / "database").mkdir()
        authority = Authority(folder / "database", "Database")
        self.root = authority.root
        leaf = authority.leaf(FIRST_DB, SECOND_DB)
        programs = binaries()
        assert programs, "needs PostgreSQL"
        settings = DURABLE | {"ssl_cert_file": str(leaf.certificate), "ssl_key_file": str(folder / "server.key")}
        self.servers = [
            PostgresServer(folder / name, programs, settings, space=space.name)
            for name, space in (("first", first_db), ("second", second_db))
        ]
        shutil.copy(leaf.key, folder / "server.key")
        shutil.chown(folder / "server.key", "postgres")
        (folder / "server.key").chmod(0o600)
        for server in self.servers:
            server.port = 5432
        self._create_databases(programs)
        outside.ip("address", "add", "9.9.9.9", "dev", "lo")
        words = ("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=", "--no-hosts", "--no-resolv")
        outside.start(*words, "--listen-address=9.9.9.9", "--bind-interfaces", "--address=/example/45.55.10.10")
        self.one, self.other = Machine(one, folder / "one"), Machine(other, folder / "other")
        (self.one.folder / "hedgerow.yaml").write_text(POLICY % self.root)
        self.one.state.mkdir(mode=0o700)
        (self.one.state / "store-password").write_text("geheim")
        self.one.start()
        self._join()
        self.other.start()
        self.lease = self._take_lease()

    def _wire_up(self, outside: Space) -> None:
        connect(outside, "eth0", self.router, "wan")
        outside.ip("address", "add", "100.64.0.1/24", "dev", "eth0")
        self.router.ip("address", "add", "100.64.0.2/24", "dev", "wan")
        self.router.ip("route", "add", "default", "via", "100.64.0.1")
        self.router.ip("link", "add", "lan", "type", "bridge")
        self.router.ip("address", "add", f"{LAN}.1/24", "dev", "lan")
        self.router.ip("link", "set", "lan", "up")
        self.router.must("sysctl", "-qw", "net.ipv4.ip_forward=1")
        assert self.router.run("nft", "-f", "-", text=HOST_RULES).returncode == 0

    def _plug_in(self, space: Space, address: str, mac: str | None = None) -> None:
        port = "to-" + space.name.rpartition("-")[2]
        connect(self.router, port, space, "eth0", mac)
        self.router.ip("link", "set", port, "master", "lan")
        if address:
            space.ip("address", "add", f"{address}/24", "dev", "eth0")
            space.ip("route", "add", "default", "via", f"{LAN}.1")

    def _create_databases(self, programs: Path) -> None:
        first, second = self.servers
        first.create()
        with (first.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"hostssl hedgerow all {LAN}.0/24 scram-sha-256\nhostssl replication standby {LAN}.0/24 scram-sha-256\n")
        first.start()
        first.execute("CREATE ROLE hedgerow LOGIN CREATEROLE PASSWORD 'geheim'")
        first.execute("CREATE ROLE standby LOGIN REPLICATION PASSWORD 'geheim'")
        first.execute("CREATE DATABASE hedgerow OWNER hedgerow")
        second.folder.mkdir(mode=0o755)
        shutil.chown(second.folder, "postgres")
        words = (
            "setpriv",
            "--reuid=postgres",
            "--clear-groups",
            "env",
            f"HOME={second.folder}",
            "PGPASSWORD=geheim",
            str(programs / "pg_basebackup"),
        )
        target = f"host={FIRST_DB} user=standby application_name=second sslmode=verify-full sslrootcert={self.root}"
        place = str(second.folder / "data")
        done = self.second_db.run(*words, "-d", target, "-D", place, "-R", "-X", "stream", "-c", "fast", "--no-sync", seconds=120)
        assert done.returncode == 0, done.stderr
        second.start()
        first.execute("ALTER SYSTEM SET synchronous_standby_names = 'second'")
        first.reload()

    def _join(self) -> None:
        inviting = self.one.space.start(*command(), "invite", "--json", "--state", str(self.one.state), stderr=self.folder / "invite.log")
        assert inviting.stdout
        printed = inviting.stdout.readline()
        assert printed, (self.folder / "invite.log").read_text()
        line = json.loads(printed)["command"].split()[2]
        words = ("join", line, "--policy", str(self.other.folder / "hedgerow.yaml"), "--state", str(self.other.state))
        done = self.other.space.run(*command(), *words, seconds=90)
        assert done.returncode == 0, done.stderr
        assert "joined" in inviting.stdout.readline()

    def _take_lease(self) -> list[str]:
        """Request an address as the tablet. Returns the resolvers that it was given."""
        words = ("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file=", "--interface=lan")
        leases = f"--dhcp-leasefile={self.folder / 'leases'}"
        option = f"--dhcp-option=option:dns-server,{ONE},{OTHER}"
        self.router.start(*words, "--bind-interfaces", leases, f"--dhcp-range={LAN}.100,{LAN}.110,1h", option, "--dhcp-authoritative")
        script = self.folder / "lease.sh"
        script.write_text(LEASE.replace("{file}", str(self.folder / "resolv.conf")))
        script.chmod(0o755)
        self.tablet.run("busybox", "udhcpc", "-n", "-q", "-i", "eth0", "-s", str(script), "-t", "20", seconds=70)
        return re.findall(r"nameserver (\S+)", (self.folder / "resolv.conf").read_text())

    @contextlib.contextmanager
    def asking(self, *resolvers: str, report: dict[str, object], patience: float = 240) -> Iterator[None]:
        """Have the tablet ask new names at a steady rate meanwhile; then put what became of them into `report`."""
        self.asked += 1
        words = (sys.executable, "-P", __file__, "--ask", f"r{self.asked}", "--rate", str(self.rate), *resolvers)
        client = self.tablet.start(*words, stderr=self.folder / "client.log")
        assert client.stdin
        assert client.stdout
        assert client.stdout.readline() == "ready\n", (self.folder / "client.log").read_text()
        try:
            yield
        finally:
            client.stdin.close()
        found = json.loads(client.stdout.read())
        client.wait()
        answered = found.pop("answered_by")
        report |= found
        report["recorded"] = self._recorded(f"r{self.asked}", answered, patience)

    def _recorded(self, run: str, answered: dict[str, int], seconds: float) -> dict[str, int]:
        """Wait until no event waits, and compare the database with what the tablet saw. `answered`: machines asked, by name."""
        query = f"SELECT split_part(host_key, '.', 3), sum(count) FROM decisions WHERE host_key LIKE 'example.secret.{run}-%' GROUP BY 1"
        primary = next(server for server in self.servers if server.is_running and not server.execute("SELECT pg_is_in_recovery()")[0][0])

        def missing() -> int:
            known = {name for name, _ in primary.execute(query, "hedgerow")}
            return len(answered.keys() - known)

        with contextlib.suppress(AssertionError):
            wait_until(lambda: not missing(), seconds)
        counts = dict(primary.execute(query, "hedgerow"))
        twice = sum(int(count) > answered.get(name, 2) for name, count in counts.items())
        return {"answered": len(answered), "missing": missing(), "twice": twice}

    def blocks(self, address: str, host: str) -> bool:
        """Return whether a machine blocks a host for the tablet."""
        return self.tablet.run("kdig", "+short", "+time=2", "+retry=1", f"@{address}", host).stdout.strip() == "0.0.0.0"

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> float:
        """Wait for a condition. Returns the seconds that it took."""
        began = time.monotonic()
        wait_until(condition, seconds, what)
        return round(time.monotonic() - began, 2)


def changes(lab: Laboratory, _given: argparse.Namespace) -> dict[str, object]:
    """What is done at one machine holds at the other."""
    found: dict[str, object] = {"resolvers by DHCP": lab.lease}
    lab.one.facts("grant", "tablet", "opened.example", "--for", "hour")
    found["grant, s"] = lab.until(lambda: not lab.blocks(OTHER, "opened.example"), "the grant")
    lab.other.run("pause", "tablet")
    found["pause, s"] = lab.until(lambda: lab.blocks(ONE, "www.school.example"), "the pause")
    lab.one.run("resume", "tablet")
    found["its end, s"] = lab.until(lambda: not lab.blocks(OTHER, "www.school.example"), "its end")
    digits = lab.one.facts("code", "mia", "--open", "news.example")["digits"]
    found["code here, there"] = [lab.other.typed(lab.tablet, OTHER, "code", digits), lab.one.typed(lab.tablet, ONE, "code", digits)]
    found["code opens there, s"] = lab.until(lambda: not lab.blocks(ONE, "news.example"), "what the code opened")
    found["store"] = lab.other.facts("store", "check")
    return found


def machine_killed(lab: Laboratory, _given: argparse.Namespace) -> dict[str, object]:
    """One of two machines killed, with both resolvers at the tablet. What it had not written yet is gone."""
    report: dict[str, object] = {}
    with lab.asking(*lab.lease, report=report, patience=20):
        time.sleep(8)
        lab.one.kill()
        time.sleep(12)
    lab.one.start()
    return report


def virtual_address(lab: Laboratory, _given: argparse.Namespace) -> dict[str, object]:
    """The tablet asks the virtual address only: Hedgerow is killed on the machine that has it, then the whole machine is gone."""
    found: dict[str, object] = {}
    keepers = []
    for machine, priority in ((lab.one, 150), (lab.other, 100)):
        file = machine.folder / "keepalived.conf"
        file.write_text(KEEPALIVED % priority)
        file.chmod(0o644)
        pids = [f"--{name}={machine.folder / name}.pid" for name in ("pid", "vrrp_pid", "checkers_pid", "bfd_pid")]
        words = ("keepalived", "-n", "-P", "-f", str(file), *pids, "--log-console")
        keepers.append(machine.space.start(*words, stderr=machine.folder / "keepalived.log"))

    def holds(machine: Machine) -> bool:
        return VIRTUAL in machine.space.must("ip", "address", "show", "dev", "eth0")

    lab.until(lambda: holds(lab.one), "the first machine has the address")
    for name, end in (("Hedgerow killed", lab.one.kill), ("machine gone", lambda: lab.one.space.ip("link", "set", "eth0", "down"))):
        report: dict[str, object] = {}
        with lab.asking(VIRTUAL, report=report, patience=20):
            time.sleep(6)
            end()
            time.sleep(10)
        found[name] = report
        lab.one.space.ip("link", "set", "eth0", "up")
        lab.one.space.ip("route", "replace", "default", "via", f"{LAN}.1")
        if name == "Hedgerow killed":
            lab.one.start()
        lab.until(lambda: holds(lab.one) and not holds(lab.other), "the first machine has it again")
    for keeper in keepers:
        keeper.terminate()
        keeper.wait()
    return found


def database_killed(lab: Laboratory, given: argparse.Namespace) -> dict[str, object]:
    """The server of the database is killed (SIGQUIT) and away for a while."""
    report: dict[str, object] = {"away, s": given.away}
    with lab.asking(*lab.lease, report=report):
        time.sleep(5)
        lab.servers[0].stop()
        time.sleep(given.away)
        lab.servers[0].start()
        time.sleep(5)
    return report


def split(lab: Laboratory, given: argparse.Namespace) -> dict[str, object]:
    """The second machine is cut off from the database and from the first one. Codes and a grant are tried on both sides."""
    report: dict[str, object] = {"split, s": given.split}
    codes = [lab.one.facts("code", "mia", "--open", f"{name}.example")["digits"] for name in ("one", "two")]
    rules = f"table inet split {{ chain out {{ type filter hook output priority 0; ip daddr {{ {ONE}, {FIRST_DB}, {SECOND_DB} }} drop; }}\n"
    rules += f"chain in {{ type filter hook input priority 0; ip saddr {{ {ONE}, {FIRST_DB}, {SECOND_DB} }} drop; }}\n}}\n"
    playing = f"while :; do for machine in {ONE} {OTHER}; do kdig +short +retry=0 @$machine www.roblox.com; done; sleep 10; done"
    game = lab.tablet.start("sh", "-c", playing)  # at both machines, so that each minute counts once only if they agree
    with lab.asking(*lab.lease[::-1], report=report):  # the machine that is cut off is asked first
        time.sleep(5)
        assert lab.other.space.run("nft", "-f", "-", text=rules).returncode == 0
        began = time.monotonic()
        time.sleep(15)
        report["code on the side with the database"] = lab.one.typed(lab.tablet, ONE, "code", codes[0])
        report["the same, cut off"] = lab.other.typed(lab.tablet, OTHER, "code", codes[0])
        report["another code, cut off"] = lab.other.typed(lab.tablet, OTHER, "code", codes[1])
        refused = lab.other.run("grant", "tablet", "after.example", "--for", "hour")
        report["grant, cut off"] = refused.stderr.strip() or refused.stdout.strip()
        time.sleep(max(0.0, given.split - (time.monotonic() - began)))
        lab.other.space.must("nft", "delete", "table", "inet", "split")
        report["a grant given there holds here again, s"] = lab.until(lambda: not lab.blocks(OTHER, "one.example"), "what the code opened")
        report["the other code, once it is back"] = [lab.other.typed(lab.tablet, OTHER, "code", codes[1]) for _ in range(2)]
    game.terminate()
    spent: list[Any] = []

    def are_alike() -> bool:
        spent[:] = [[row["used"] for row in machine.facts("budgets")] for machine in (lab.one, lab.other)]
        return bool(spent[0] == spent[1])

    lab.until(are_alike, "the same minutes on both machines", 90)
    report["minutes spent, on each machine"] = spent
    return report


def promoted(lab: Laboratory, _given: argparse.Namespace) -> dict[str, object]:
    """The first database is killed for good, and its synchronous standby promoted. Codes that were used stay used."""
    report: dict[str, object] = {}
    digits = lab.one.facts("code", "mia", "--open", "before.example")["digits"]
    first = lab.other.typed(lab.tablet, OTHER, "code", digits)
    with lab.asking(*lab.lease, report=report, patience=40):
        time.sleep(5)
        lab.servers[0].stop()
        time.sleep(10)
        began = time.monotonic()
        lab.servers[1].execute("SELECT pg_promote()")
        lab.until(lambda: lab.one.run("grant", "tablet", "after.example", "--for", "hour").returncode == 0, "a grant", 90)
        report["a grant can be given after, s"] = round(time.monotonic() - began, 1)
        time.sleep(5)
    again = lab.one.typed(lab.tablet, ONE, "code", digits)
    report["a code from before, then again"] = [first, again]
    report["grants hold on the other machine"] = not lab.blocks(OTHER, "after.example")
    return report


ACCIDENTS = {each.__name__: each for each in (changes, machine_killed, virtual_address, database_killed, split, promoted)}


class _Client(asyncio.DatagramProtocol):
    """A stub resolver as devices have it: each name is asked at the first server, after a second at the next, and so on, twice around."""

    def __init__(self, servers: list[str]) -> None:
        self.servers, self.waiting = servers, dict[int, asyncio.Future[int]]()
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self.transport = transport

    def datagram_received(self, data: bytes, _address: tuple[str, int]) -> None:
        waiting = self.waiting.get(struct.unpack_from("!H", data)[0])
        if waiting is not None and not waiting.done():
            waiting.set_result(data[3] & 15)

    async def ask(self, number: int, name: str) -> tuple[float, int, int]:
        """Return the delay of the answer, how many servers were asked, and the answer's rcode, -1 without one."""
        began, key = time.monotonic(), number & 0xFFFF
        query = struct.pack("!6H", key, 0x0100, 1, 0, 0, 0)
        query += b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"
        used: set[str] = set()
        rcode = -1
        for server in self.servers * 2:
            self.waiting[key] = future = asyncio.get_running_loop().create_future()
            assert self.transport
            self.transport.sendto(query, (server, 53))
            used.add(server)
            with contextlib.suppress(TimeoutError):
                rcode = await asyncio.wait_for(future, 1.0)
            if rcode in (0, 3):
                break
        del self.waiting[key]
        return time.monotonic() - began, len(used), rcode


async def ask(run: str, rate: int, servers: list[str]) -> dict[str, object]:
    """Ask new names until standard input ends."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_datagram_endpoint(lambda: _Client(servers), local_addr=("0.0.0.0", 0))
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    delays: list[float] = []
    answers: list[float] = []
    answered: dict[str, int] = {}
    tasks: set[asyncio.Task[None]] = set()
    lost: dict[str, int] = {}
    asked_again = 0

    async def one(number: int) -> None:
        nonlocal asked_again
        name = f"{run}-{number}"
        delay, used, rcode = await client.ask(number, f"{name}.secret.example")
        asked_again += delay > 1
        if rcode in (0, 3):
            answered[name] = used
            delays.append(delay)
            answers.append(time.monotonic())
        else:
            lost[str(rcode)] = lost.get(str(rcode), 0) + 1

    print("ready", flush=True)
    began, number = time.monotonic(), 0
    while not ended.is_set():
        due = int((time.monotonic() - began) * rate)
        while number < due:
            task = asyncio.create_task(one(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 0.01)
    took = time.monotonic() - began
    await asyncio.gather(*tasks)
    gaps = [later - earlier for earlier, later in itertools.pairwise(answers)]
    delays.sort()
    return {
        "asked": number, "per_second": round(number / took), "lost_by_rcode": lost, "asked_again": asked_again,
        "longest_without_answers_s": round(max(gaps, default=0.0), 2), "p99_ms": round(delays[int(len(delays) * 0.99)] * 1000, 1),
        "answered_by": answered,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("resolvers", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", choices=ACCIDENTS, default=list(ACCIDENTS))
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--away", type=float, default=60)
    parser.add_argument("--split", type=float, default=300)
    given = parser.parse_args()
    if given.ask:
        print(json.dumps(asyncio.run(ask(given.ask, given.rate, given.resolvers))))
        return
    with tempfile.TemporaryDirectory(prefix="hedgerow-home-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        with spaces("internet", "router", "one", "other", "db1", "db2", "tablet") as made:
            lab = Laboratory(folder, made, given.rate)
            try:
                ((version,),) = lab.servers[0].execute("SHOW server_version")
                print(f"PostgreSQL {version}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}", flush=True)
                for name in given.only:
                    print(json.dumps({"accident": name, **ACCIDENTS[name](lab, given), "load": round(os.getloadavg()[0])}), flush=True)
            except BaseException as error:
                for machine in (lab.one, lab.other):
                    error.add_note((machine.folder / "log").read_text()[-3000:])
                raise
            finally:
                for server in lab.servers:
                    server.stop(signal.SIGINT)


if __name__ == "__main__":
    main()
