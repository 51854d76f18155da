"""Policy edits and killed workers, while queries and a download run."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.bodies import body_sha256
from small_internet.clients import curl, curl_sha256, kdig, start_dnsperf
from small_internet.family import LISTS, TABLET, family_policy
from small_internet.promises import Stopwatch
from small_internet.running import Hedgerow, command_of, hedgerow_command, running_hedgerow, wait_until

QUESTIONS = [
    "bank.example A",
    "adult.example A",
    "www.google.com A",
    *(f"n{number}.wild.example A" for number in range(200)),
]
PROMISED_SECONDS = 2.0
PATIENCE = 60.0


@pytest.fixture(scope="module")
def whole(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    """One run for all tests below that leave it as they found it."""
    with running_hedgerow(
        family_policy(whole_internet), lists=LISTS, workers=2, upstream_authority=whole_internet.authority.root
    ) as running:
        yield running


@pytest.fixture
def changing(whole: Hedgerow, internet: SmallInternet) -> Iterator[Hedgerow]:
    """`whole` with its policy put back afterwards."""
    yield whole
    whole.edit_policy(family_policy(internet))
    wait_until(lambda: addresses(whole, "news.example") == ["0.0.0.0"], PATIENCE, "the policy is put back")
    wait_until(
        lambda: addresses(whole, "bank.example") == [internet.address_of("bank.example")],
        PATIENCE,
        "the policy is put back",
    )
    # Each question goes to one of several workers, so that right answers are not yet all of them.
    wait_until(lambda: is_in_force_everywhere(whole), PATIENCE, "all workers have the policy that was put back")


def is_in_force_everywhere(running: Hedgerow) -> bool:
    """Whether the workers that have changed snapshots since they began are all at the newest."""
    newest = re.findall(r"snapshot (\d+) published", running.stderr)[-1]
    seen = dict(re.findall(r"\[(\d+)\] info: snapshot (\d+) in force", running.stderr))
    return all(
        seen.get(str(pid), newest) == newest for role in ("dns", "gate", "inspector") for pid in running.pids(role)
    )


def addresses(running: Hedgerow, name: str) -> list[str]:
    answer = kdig(running.dns, name, source=TABLET, timeout=2)
    return answer.data("A") if answer else []


def test_an_edit_applies_within_two_seconds_without_losing_a_query(changing: Hedgerow, internet: SmallInternet) -> None:
    policy, url, real = (
        family_policy(internet),
        internet.url("bank.example", "/", "http"),
        [internet.address_of("bank.example")],
    )
    load = start_dnsperf(changing.dns, QUESTIONS, seconds=4, rate=2000, source=TABLET)
    for text, expected, status in (
        (policy.replace("news.example", "bank.example"), ["0.0.0.0"], 403),
        (policy, real, 200),
    ):
        watch = Stopwatch(changing)
        changing.edit_policy(text)
        # Several workers answer in turn, so that one right answer is not yet all of them.
        for _ in range(6):
            watch.holds_within(
                PROMISED_SECONDS,
                lambda: addresses(changing, "bank.example") == expected,  # noqa: B023
                "the new rule",
            )
        watch.holds_within(
            PROMISED_SECONDS,
            lambda: curl(url, proxy=changing.proxy, source=TABLET).status == status,  # noqa: B023
            "the new rule",
        )
    result = load.result()
    assert result.lost == 0, result.text
    assert result.codes == {"NOERROR": result.sent}, result.text
    assert result.sent > 4 * 2000 / 20, "there was no load"  # a busy machine sends less than is asked for


BROKEN_PEOPLE = """
people:
  mia:
    age: nine
    devices: [mia-tablet, no-such-device]
    block: [no-such-servise, "not a domain!"]
    bedtime: "25:00-07:00"
    colour: blue
devices:
  mia-tablet: {ip: 127.0.0.2}
  other: {ip: 127.0.0.2}
"""
MISTAKES = ["nine", "no-such-device", "no-such-servise", "not a domain!", "25:00", "colour", "127.0.0.2"]


def test_a_broken_edit_is_explained_and_changes_nothing(changing: Hedgerow, internet: SmallInternet) -> None:
    policy = family_policy(internet)
    broken = family_policy(internet, people=BROKEN_PEOPLE)
    changing.edit_policy(broken)
    wait_until(lambda: "no-such-device" in changing.stderr, PATIENCE, "the mistakes in the log")
    assert_names_every_mistake(changing.stderr, broken)
    assert addresses(changing, "news.example") == ["0.0.0.0"]
    changing.edit_policy(policy.replace("news.example", "bank.example"))
    wait_until(lambda: addresses(changing, "bank.example") == ["0.0.0.0"], PATIENCE, "a good edit after the broken one")


def test_check_explains_every_mistake(internet: SmallInternet, tmp_path: Path) -> None:
    broken = family_policy(internet, people=BROKEN_PEOPLE, lists="")
    (tmp_path / "hedgerow.yaml").write_text(broken)
    done = hedgerow_command("check", str(tmp_path / "hedgerow.yaml"))
    assert done.returncode != 0
    assert_names_every_mistake(done.stdout + done.stderr, broken)
    assert "Traceback" not in done.stderr


def assert_names_every_mistake(report: str, policy: str) -> None:
    """Each mistake with the line it is on and some column: `hedgerow.yaml:12:8`."""
    lines = policy.splitlines()
    for mistake in MISTAKES:
        numbers = [number for number, line in enumerate(lines, 1) if mistake in line]
        found = [int(line) for line in re.findall(r"hedgerow\.yaml:(\d+):\d+", report)]
        assert set(numbers) & set(found), f"{mistake} on line {numbers} is not reported:\n{report}"
        assert mistake in report, report


@dataclass(frozen=True, slots=True)
class Probe:
    """When it began and how long it took, by the stopwatch; what the resolver said, and the statuses of an open and a
    blocked page.
    """

    begun: float
    took: float
    told: list[str]
    statuses: tuple[int, int]


@contextmanager
def probing(running: Hedgerow, internet: SmallInternet, watch: Stopwatch) -> Iterator[list[Probe]]:
    """Asks the resolver and the proxy over and over, until left."""
    probes: list[Probe] = []
    over = threading.Event()

    def status(host: str) -> int:
        return curl(internet.url(host, "/", "http"), proxy=running.proxy, source=TABLET, timeout=10).status

    def probe() -> None:
        while not over.is_set():
            begun = watch.seconds()
            told, statuses = addresses(running, "bank.example"), (status("bank.example"), status("adult.example"))
            probes.append(Probe(begun, watch.seconds() - begun, told, statuses))

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield probes
    finally:
        over.set()
        thread.join(60)


@pytest.mark.parametrize("role", ["dns", "gate", "inspector", "control"])
def test_a_killed_worker_is_back_within_two_seconds(whole: Hedgerow, internet: SmallInternet, role: str) -> None:
    size = 60_000_000
    before = whole.pids(role)
    assert before, f"no process of role {role}"
    download = Download(whole, internet, size)
    victim = next(pid for pid in before if pid != download.worker)
    load = start_dnsperf(whole.dns, QUESTIONS, seconds=4, rate=1000, source=TABLET)
    watch = Stopwatch(whole)
    with probing(whole, internet, watch) as probes:
        good = ([internet.address_of("bank.example")], (200, 403))
        wait_until(
            lambda: [(each.told, each.statuses) for each in probes[-3:]] == [good] * 3, PATIENCE, "all is well before"
        )
        killed, over = watch.seconds(), time.monotonic() + PROMISED_SECONDS
        os.kill(victim, signal.SIGKILL)
        watch.holds_within(
            killed + PROMISED_SECONDS, lambda: len({*whole.pids(role)} - {victim}) == len(before), f"{role} runs again"
        )
        wait_until(lambda: all_serve(whole, role), PATIENCE, f"{role} serves again")
        seen = len(probes)
        wait_until(
            lambda: len(probes) >= seen + 10 and time.monotonic() > over,
            PATIENCE,
            "it is asked afterwards",
        )
    assert all(probe.statuses[1] != 200 for probe in probes), "unfiltered"
    failed = [
        probe
        for probe in probes
        if probe.begun + probe.took > killed and ((probe.told, probe.statuses) != good or probe.took > PROMISED_SECONDS)
    ]
    assert all(killed - PROMISED_SECONDS < probe.begun < killed + PROMISED_SECONDS for probe in failed), (
        killed,
        failed,
    )
    result = load.result()
    assert download.finish() == (body_sha256(size), 0), "the download through another worker broke"
    if role != "dns":
        assert result.lost == 0, result.text
    assert result.lost < 1000 * PROMISED_SECONDS, result.text


def all_serve(running: Hedgerow, role: str) -> bool:
    """Whether all processes of a role have said that they are ready."""
    rows = json.loads((running.state / "run" / "workers.json").read_bytes())["workers"]
    return {row["pid"] for row in rows if row["role"] == role and row["ready"]} == set(running.pids(role))


class Download:
    """A slow download through the proxy. `worker` is the gate process that carries it."""

    def __init__(self, running: Hedgerow, internet: SmallInternet, size: int) -> None:
        self._found: tuple[str, int] = ("", -1)
        url = internet.url("files.example", f"/bytes/{size}")

        def fetch() -> None:
            options = ["--limit-rate", str(size // 4)]
            self._found = curl_sha256(
                url, proxy=running.proxy, source=TABLET, ca=internet.authority.root, options=options
            )

        self._thread = threading.Thread(target=fetch)
        self._thread.start()
        address = internet.address_of("files.example")

        def worker() -> int | None:
            if not self._thread.is_alive():  # it took four seconds, which pass unseen on a busy machine
                self._thread = threading.Thread(target=fetch)
                self._thread.start()
            ports = [connection.peer[1] for connection in internet.origins.connections(address)]
            return next((pid for pid in running.all_pids() for port in ports if _has_local_port(pid, port)), None)

        self.worker = wait_until(worker, PATIENCE, "a process of Hedgerow carries the download")

    def finish(self) -> tuple[str, int]:
        self._thread.join(60)
        return self._found


def _has_local_port(pid: int, port: int) -> bool:
    table = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    inodes = {f"socket:[{fields[9]}]" for fields in map(str.split, table) if fields[1].endswith(f":{port:04X}")}
    links = Path(f"/proc/{pid}/fd").iterdir()
    return any(str(link.readlink()) in inodes for link in links if link.is_symlink())


def test_sighup_reloads(changing: Hedgerow, internet: SmallInternet) -> None:
    changing.policy_path.write_text(family_policy(internet).replace("news.example", "bank.example"))
    changing.process.send_signal(signal.SIGHUP)
    wait_until(lambda: addresses(changing, "bank.example") == ["0.0.0.0"], PATIENCE, "the new rule")


def test_killing_the_supervisor_leaves_nothing_behind(internet: SmallInternet) -> None:
    with (  # noqa: PT012
        pytest.raises(AssertionError, match="all ended"),
        running_hedgerow(family_policy(internet), lists=LISTS) as running,
    ):
        pids = running.all_pids()
        running.process.kill()
        running.process.wait()
        wait_until(lambda: not any(command_of(pid) for pid in pids), PATIENCE, "all processes end")
        raise AssertionError("all ended")


def test_two_runs_do_not_share_a_state_directory(whole: Hedgerow) -> None:
    arguments = ("up", "--policy", str(whole.policy_path), "--state", str(whole.state))
    second = hedgerow_command(*arguments, "--dns", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--web", "127.0.0.1:0")
    assert second.returncode == 2
    assert "Traceback" not in second.stderr
    assert addresses(whole, "adult.example") == ["0.0.0.0"]
