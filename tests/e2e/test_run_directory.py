"""Files of the run that can't be relied on: removed sockets are made again, and a full disk makes no health check
wrong.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.broken_disk import fill, small_disk
from small_internet.clients import curl
from small_internet.family import COMPUTER, LISTS, family_policy
from small_internet.running import Hedgerow, running_hedgerow, wait_until

from hedgerow.app.settings import memory_folder

PATIENCE = 60.0
SOCKETS = ("inspect/0.sock", "signer.sock", "events.sock", "control.sock", "pages.sock")


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(
        family_policy(whole_internet), lists=LISTS, upstream_authority=whole_internet.authority.root
    ) as running:
        yield running


def inspects(house: Hedgerow, internet: SmallInternet) -> bool:
    """Return True if a page inside TLS is judged by its whole URL."""
    url = internet.url("www.school.example", "/secret/x")
    return curl(url, proxy=house.proxy, source=COMPUTER, ca=house.authority, timeout=5).status == 403


@pytest.mark.provokes_traceback
@pytest.mark.parametrize("name", [*SOCKETS, "inspect"])
def test_a_removed_socket_is_made_again_and_pages_are_inspected(
    name: str, house: Hedgerow, whole_internet: SmallInternet
) -> None:
    wait_until(lambda: inspects(house, whole_internet), PATIENCE, "pages are inspected")
    path = house.state / "run" / name
    before = path.stat().st_mtime_ns
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    wait_until(lambda: path.exists() and path.stat().st_mtime_ns != before, PATIENCE, "it is made again")
    if name == "signer.sock":  # the successor needs it for its first certificate
        (inspector,) = house.pids("inspector")
        os.kill(inspector, signal.SIGKILL)
    wait_until(lambda: inspects(house, whole_internet), PATIENCE, "pages are inspected again")
    assert curl(f"{house.web}/healthz").status == 200


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_health_is_true_while_the_disk_is_full_and_processes_are_restarted(
    whole_internet: SmallInternet, tmp_path: Path
) -> None:
    policy = family_policy(whole_internet)
    with small_disk(tmp_path / "disk", 256) as disk, running_hedgerow(policy, lists=LISTS, directory=disk) as running:
        filler = fill(disk)
        for role in ("dns", "gate", "inspector", "signer"):
            (before,) = running.pids(role)
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: running.pids(role) not in ([], [before]), PATIENCE, f"another {role} runs")  # noqa: B023
            wait_until(lambda: health(running) == (200, "ok\n"), PATIENCE, f"the new {role} counts")
        wait_until(
            lambda: health(running, "readyz") == (503, "the disk is full, and changes can't be saved\n"),
            PATIENCE,
            "that nothing can be written is told",
        )
        doctor = running.run("doctor").stdout
        assert "not serving" not in doctor
        (serving,) = running.pids("dns")
        os.kill(serving, signal.SIGSTOP)  # until the supervisor replaces it
        wait_until(
            lambda: health(running) == (503, "some workers are not running\n"), PATIENCE, "what does not serve is told"
        )
        wait_until(lambda: health(running) == (200, "ok\n"), PATIENCE, "it was replaced")
        filler.unlink()
        listed = running.state / "run" / "workers.json"
        wait_until(lambda: str(running.pids("dns")[0]) in listed.read_text(), PATIENCE, "the list is on the disk again")
    assert not memory_folder(running.state).exists()


def health(house: Hedgerow, check: str = "healthz") -> tuple[int, str]:
    answer = curl(f"{house.web}/{check}")
    return answer.status, answer.text
