"""Live processes of `hedgerow up`, seen from outside: what each may do, and what other processes of the user may do to
them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, kdig_addresses
from small_internet.family import COMPUTER, LISTS, family_policy
from small_internet.running import Hedgerow, running_hedgerow, wait_until

from hedgerow.confinement import missing_limits

pytestmark = pytest.mark.skipif(bool(missing_limits()), reason="the kernel lacks Landlock or seccomp")

CONTROL = 1 << 0 | 1 << 1 | 1 << 3  # over files where root starts it
SUPERVISOR = CONTROL | 1 << 12 | 1 << 8  # nftables for the gateway, and what lets children give up the rest
PEEK = """
import sys
from hedgerow.confinement import keep_capabilities
keep_capabilities(())
for name in ("mem", "environ"):
    try:
        open(f"/proc/{sys.argv[1]}/{name}", "rb")
        print(name, "open")
    except PermissionError:
        print(name, "closed")
"""

REACH = """
import sys
from pathlib import Path
from hedgerow.app.privileges import confine_job, confine_worker
from hedgerow.app.settings import Settings
from hedgerow.policies.reading.load import load_policy
state, policy, role = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
files = [each for each in state.rglob("*") if each.is_file()]
if role == "job":
    confine_job()
elif role != "nobody":
    confine_worker(role, Settings.load(state), load_policy(policy), state / "generations")
for file in files:
    try:
        file.read_bytes()
    except OSError:
        continue
    parts = file.relative_to(state).parts
    print(parts[0] if parts[0] in {"generations", "kept-lists"} else "/".join(parts))
"""
OF_WORKERS = {"generations", "published/snapshot.json", "published/resolv.conf"}


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def opened_by(pid: int) -> set[str]:
    links = Path(f"/proc/{pid}/fd").iterdir()
    return {str(link.readlink()) for link in links} | set(Path(f"/proc/{pid}/maps").read_text().split())


def shown(running: Hedgerow, internet: SmallInternet, host: str) -> int:
    return curl(internet.url(host, "/open"), proxy=running.proxy, source=COMPUTER, ca=running.authority).status


def test_each_process_keeps_what_it_needs_and_secrets_stay_with_control_and_signer(internet: SmallInternet) -> None:
    with running_hedgerow(family_policy(internet), lists=LISTS, upstream_authority=internet.authority.root) as running:
        assert shown(running, internet, "www.school.example") == 200
        for role in ("dns", "gate", "inspector", "signer"):
            (pid,) = running.pids(role)
            status = status_of(pid)
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), role
            for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
                assert int(status[name], 16) == 0, (role, name)
            secrets = re.compile(r"journal\.sqlite|admin-token|/ca/")
            assert not [place for place in opened_by(pid) if secrets.search(place)], role
        (control,), (signer,) = running.pids("control"), running.pids("signer")
        assert int(status_of(control)["CapPrm"], 16) & ~CONTROL == 0
        for pid in (running.process.pid, *running.pids("zygote"), control):
            status = status_of(pid)
            for name in ("CapPrm", "CapAmb", *(["CapBnd"] if os.geteuid() == 0 else [])):
                assert int(status[name], 16) & ~SUPERVISOR == 0, name
            assert status["NoNewPrivs"] == "1"
        peeked = subprocess.run(
            [sys.executable, "-P", "-c", PEEK, str(signer)], capture_output=True, text=True, check=True
        ).stdout
        assert peeked.split("\n")[:2] == ["mem closed", "environ closed"], "even for processes that nothing confines"

        # Without the signer, known hosts go on; new ones wait until it has started again.
        os.kill(signer, signal.SIGKILL)
        assert shown(running, internet, "www.school.example") == 200
        assert shown(running, internet, "adult.example") == 403, "the block page needs a certificate of its own"
        wait_until(lambda: running.pids("signer") not in ([], [signer]), 30, "the next signer")


def test_a_process_that_was_taken_over_reads_rules_and_lists_and_nothing_else(internet: SmallInternet) -> None:
    """Of the state directory, as any program that its code could run there."""
    with running_hedgerow(family_policy(internet), lists=LISTS) as running:

        def readable(role: str) -> set[str]:
            words = (str(running.state), str(running.directory / "hedgerow.yaml"), role)
            done = subprocess.run(
                [sys.executable, "-P", "-c", REACH, *words], capture_output=True, text=True, check=True
            )
            return set(done.stdout.split())

        secrets = {"ca/hedgerow-ca.pem", "journal.sqlite", "admin-token", "run/settings.json", "run/pass.key"}
        assert secrets <= readable("nobody"), "by their user id alone"
        assert readable("dns") == OF_WORKERS
        for role in ("gate", "inspector"):
            assert readable(role) == OF_WORKERS | {"run/pass.key"}, "with it, a connection is handed over"
        assert readable("job") == set()


def test_a_replaced_phrase_list_comes_into_force_with_other_inspectors(internet: SmallInternet) -> None:
    """Editors replace files, and a confined process may only read the file that it knew."""
    policy = "phrase_lists: [mine.txt]\n" + family_policy(internet)
    lists = LISTS | {"mine.txt": "< nothing of that kind ><500>\n"}
    with running_hedgerow(policy, lists=lists, upstream_authority=internet.authority.root) as running:

        def page() -> int:
            return curl(
                internet.url("www.school.example", "/page"), proxy=running.proxy, source=COMPUTER, ca=running.authority
            ).status

        assert page() == 200
        inspectors = running.pids("inspector")
        fresh = running.directory / "mine.new"
        fresh.write_text("< hello from ><500>\n")
        fresh.replace(running.directory / "mine.txt")
        wait_until(lambda: page() == 403, 30, "the new phrases are in force")
        assert not set(inspectors) & set(running.pids("inspector")[-1:])


def test_a_certificate_in_another_directory_is_shown_by_another_worker(internet: SmallInternet, tmp_path: Path) -> None:
    name = "dns.home.example"
    leaves = [internet.authority.leaf(name), internet.authority.leaf(name, "other.example")]
    places = []
    for number, leaf in enumerate(leaves):
        place = tmp_path / str(number)
        place.mkdir()
        shutil.copy(leaf.certificate, place / "chain.pem")
        shutil.copy(leaf.key, place / "key.pem")
        places.append(place)

    def policy(place: Path) -> str:
        certificate = f"  server_name: {name}\n  certificate: {{chain: {place}/chain.pem, key: {place}/key.pem}}\n"
        return family_policy(internet).replace("people:", f"{certificate}people:", 1)

    with running_hedgerow(policy(places[0]), lists=LISTS, options=("--dot", "127.0.0.1:0")) as running:
        found = re.search(r" dot=(\S+)", running.ready_line)
        assert found is not None

        def shown_names() -> str:
            words = ["openssl", "s_client", "-connect", found[1], "-servername", name]
            chain = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
            words = ["openssl", "x509", "-noout", "-ext", "subjectAltName"]
            return subprocess.run(words, input=chain, capture_output=True, text=True, check=False).stdout

        assert "other.example" not in wait_until(shown_names, 10)
        (worker,) = running.pids("dns")
        running.edit_policy(policy(places[1]))
        wait_until(lambda: "other.example" in shown_names(), 40, "the other certificate is shown")
        assert worker not in running.pids("dns")
        assert kdig_addresses(running.dns, "news.example", source=COMPUTER) == ["0.0.0.0"]
