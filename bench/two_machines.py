"""Measure two machines for one home while one of them, the database or the network between them fails.

    sudo .venv/bin/python bench/two_machines.py [--only NAME …] [--rate 1000] [--away 60] [--split 300]

Everything runs in network namespaces: two machines with Hedgerow, which `hedgerow join` made one site; two PostgreSQL
servers, the second a synchronous standby, over TLS, both named by the store's URL; the family's router with DHCP
(dnsmasq) and the internet; and a child's tablet that asks names which it never asked before, each of which is blocked
and recorded. A query is lost if neither resolver of the tablet has answered after two tries at each. Events are counted
in the database: `missing` are names that a machine answered and that were not recorded, `twice` are names with more
events than machines that were asked.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import needs
from lab.spaces import spaces
from postgres_server import binaries
from two_machines_home import FIRST_DB, KEEPALIVED, LAN, ONE, OTHER, SECOND_DB, VIRTUAL, Laboratory, Machine


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
    found["code here, there"] = [
        lab.other.typed(lab.tablet, OTHER, "code", digits),
        lab.one.typed(lab.tablet, ONE, "code", digits),
    ]
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
    """The tablet asks the virtual address only:

    Hedgerow is killed on the machine that has it, then the whole machine is gone.
    """
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
    for name, end in (
        ("Hedgerow killed", lab.one.kill),
        ("machine gone", lambda: lab.one.space.ip("link", "set", "eth0", "down")),
    ):
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
    """The second machine is cut off from the database and from the first one.

    Codes and a grant are tried on both sides.
    """
    report: dict[str, object] = {"split, s": given.split}
    codes = [lab.one.facts("code", "mia", "--open", f"{name}.example")["digits"] for name in ("one", "two")]
    rules = (
        f"table inet split {{ chain out {{ type filter hook output priority 0; ip daddr {{ {ONE}, {FIRST_DB},"
        f" {SECOND_DB} }} drop; }}\n"
    )
    rules += (
        f"chain in {{ type filter hook input priority 0; ip saddr {{ {ONE}, {FIRST_DB}, {SECOND_DB} }} drop; }}\n}}\n"
    )
    playing = (
        f"while :; do for machine in {ONE} {OTHER}; do kdig +short +retry=0 @$machine www.roblox.com; done; sleep 10;"
        " done"
    )
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
        report["a grant given there holds here again, s"] = lab.until(
            lambda: not lab.blocks(OTHER, "one.example"), "what the code opened"
        )
        report["the other code, once it is back"] = [
            lab.other.typed(lab.tablet, OTHER, "code", codes[1]) for _ in range(2)
        ]
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
        lab.until(
            lambda: lab.one.run("grant", "tablet", "after.example", "--for", "hour").returncode == 0, "a grant", 90
        )
        report["a grant can be given after, s"] = round(time.monotonic() - began, 1)
        time.sleep(5)
    again = lab.one.typed(lab.tablet, ONE, "code", digits)
    report["a code from before, then again"] = [first, again]
    report["grants hold on the other machine"] = not lab.blocks(OTHER, "after.example")
    return report


ACCIDENTS = {
    each.__name__: each for each in (changes, machine_killed, virtual_address, database_killed, split, promoted)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=ACCIDENTS, default=list(ACCIDENTS))
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--away", type=float, default=60)
    parser.add_argument("--split", type=float, default=300)
    given = parser.parse_args()
    needs.laboratory("dnsmasq", "busybox", "keepalived")
    if binaries() is None:
        needs.stop("PostgreSQL (package postgresql)")
    with tempfile.TemporaryDirectory(prefix="hedgerow-home-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        with spaces("internet", "router", "one", "other", "db1", "db2", "tablet") as made:
            lab = Laboratory(folder, made, given.rate)
            try:
                ((version,),) = lab.servers[0].execute("SHOW server_version")
                print(f"PostgreSQL {version}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}", flush=True)
                for name in given.only:
                    print(
                        json.dumps(
                            {"accident": name, **ACCIDENTS[name](lab, given), "load": round(os.getloadavg()[0])}
                        ),
                        flush=True,
                    )
            except BaseException as error:
                for machine in (lab.one, lab.other):
                    error.add_note((machine.folder / "log").read_text()[-3000:])
                raise
            finally:
                for server in lab.servers:
                    server.stop(signal.SIGINT)


if __name__ == "__main__":
    main()
