"""Several inspectors: when one is killed, the others go on inspecting and nobody notices."""

from __future__ import annotations

import os
import signal

from small_internet import SmallInternet
from small_internet.clients import curl
from small_internet.family import COMPUTER, LISTS, family_policy
from small_internet.running import running_hedgerow, wait_until


def test_the_next_inspector_is_asked_when_one_is_down(internet: SmallInternet) -> None:
    options = ["--inspectors", "2"]
    with running_hedgerow(family_policy(internet), lists=LISTS, options=options, upstream_authority=internet.authority.root) as running:

        def status(path: str) -> int:
            return curl(internet.url("www.school.example", path), proxy=running.proxy, source=COMPUTER, ca=running.authority).status

        pids = running.pids("inspector")
        assert len(pids) == 2
        os.kill(pids[0], signal.SIGKILL)
        assert [status(path) for path in ("/secret/x", "/open") * 4] == [403, 200] * 4
        wait_until(lambda: len(set(running.pids("inspector"))) == 2 and pids[0] not in running.pids("inspector"), 30)
