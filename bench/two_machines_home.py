"""The home of `two_machines.py` in network namespaces: two machines with Hedgerow, two database servers, a router and a
tablet.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab.house import HOST_RULES, command
from lab.spaces import Space, connect
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
    "fsync": "on",
    "full_page_writes": "on",
    "listen_addresses": "*",
    "ssl": "on",
    "max_wal_senders": "5",
    "wal_level": "replica",
    "hot_standby": "on",
    "wal_keep_size": "512MB",
    "shared_buffers": "64MB",
}
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
        words = (
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            f"Origin: http://{address}:{self.web}",
            "-d",
            f"code={code}",
        )
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
        words = (
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--user=root",
            "--pid-file=",
            "--no-hosts",
            "--no-resolv",
        )
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
            rules.write(
                f"hostssl hedgerow all {LAN}.0/24 scram-sha-256\nhostssl replication standby {LAN}.0/24 scram-sha-256\n"
            )
        first.start()
        first.execute("CREATE ROLE hedgerow LOGIN CREATEROLE PASSWORD 'geheim'")
        first.execute("CREATE ROLE standby LOGIN REPLICATION PASSWORD 'geheim'")
        first.execute("CREATE DATABASE hedgerow OWNER hedgerow")
        second.folder.mkdir(mode=0o755)
        shutil.chown(second.folder, "postgres")
        environment = ("env", f"HOME={second.folder}", "PGPASSWORD=geheim")
        words = ("setpriv", "--reuid=postgres", "--clear-groups", *environment, str(programs / "pg_basebackup"))
        target = f"host={FIRST_DB} user=standby application_name=second sslmode=verify-full sslrootcert={self.root}"
        place = str(second.folder / "data")
        done = self.second_db.run(
            *words, "-d", target, "-D", place, "-R", "-X", "stream", "-c", "fast", "--no-sync", seconds=120
        )
        assert done.returncode == 0, done.stderr
        second.start()
        first.execute("ALTER SYSTEM SET synchronous_standby_names = 'second'")
        first.reload()

    def _join(self) -> None:
        inviting = self.one.space.start(
            *command(), "invite", "--json", "--state", str(self.one.state), stderr=self.folder / "invite.log"
        )
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
        words = (
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--user=root",
            "--pid-file=",
            "--interface=lan",
        )
        leases = f"--dhcp-leasefile={self.folder / 'leases'}"
        option = f"--dhcp-option=option:dns-server,{ONE},{OTHER}"
        self.router.start(
            *words, "--bind-interfaces", leases, f"--dhcp-range={LAN}.100,{LAN}.110,1h", option, "--dhcp-authoritative"
        )
        script = self.folder / "lease.sh"
        script.write_text(LEASE.replace("{file}", str(self.folder / "resolv.conf")))
        script.chmod(0o755)
        self.tablet.run("busybox", "udhcpc", "-n", "-q", "-i", "eth0", "-s", str(script), "-t", "20", seconds=70)
        return re.findall(r"nameserver (\S+)", (self.folder / "resolv.conf").read_text())

    @contextlib.contextmanager
    def asking(self, *resolvers: str, report: dict[str, object], patience: float = 240) -> Iterator[None]:
        """Have the tablet ask new names at a steady rate meanwhile; then put what became of them into `report`."""
        self.asked += 1
        words = (
            sys.executable,
            "-P",
            Path(__file__).with_name("two_machines_tablet.py"),
            f"r{self.asked}",
            str(self.rate),
            *resolvers,
        )
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
        """Wait until no event waits, and compare the database with what the tablet saw.

        `answered`: machines asked, by name.
        """
        query = (
            "SELECT split_part(host_key, '.', 3), sum(count) FROM decisions WHERE host_key LIKE"
            f" 'example.secret.{run}-%' GROUP BY 1"
        )
        primary = next(
            server
            for server in self.servers
            if server.is_running and not server.execute("SELECT pg_is_in_recovery()")[0][0]
        )

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
