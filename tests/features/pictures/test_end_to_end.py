"""Pictures in a running Hedgerow: the process that judges them, and which processes import what judges pictures."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from harmless_pictures import harmless_picture
from small_internet import SmallInternet
from small_internet.clients import curl
from small_internet.family import COMPUTER, LISTS, PEOPLE, family_policy
from small_internet.running import running_hedgerow

from hedgerow.confinement import missing_limits
from hedgerow.features.pictures.scanner import is_installed

pytestmark = [
    pytest.mark.skipif(bool(missing_limits()), reason="the kernel lacks Landlock or seccomp"),
    pytest.mark.skipif(not is_installed(), reason="the extra `pictures` is not installed (make pictures)"),
]


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_pictures_are_judged_in_a_process_without_sockets(internet: SmallInternet) -> None:
    people = PEOPLE.replace("    age: 9\n", "    age: 9\n    picture_scan: {enabled: true, limit: 0}\n")
    with running_hedgerow(
        family_policy(internet, people=people), lists=LISTS, upstream_authority=internet.authority.root
    ) as running:
        url = internet.url(
            "www.school.example",
            f"/mirror?type=image/jpeg&data={base64.urlsafe_b64encode(harmless_picture()).decode()}",
        )
        options = ("-H", "Accept: image/svg+xml,image/*")
        answer = curl(url, proxy=running.proxy, source=COMPUTER, ca=running.authority, options=options)
        assert (answer.status, answer.headers["content-type"]) == (403, ["image/svg+xml; charset=utf-8"])
        (inspector,) = running.pids("inspector")
        children = Path(f"/proc/{inspector}/task/{inspector}/children").read_text().split()
        (judge,) = (
            int(each)
            for each in children
            if b"hedgerow.features.pictures.process" in Path(f"/proc/{each}/cmdline").read_bytes()
        )
        status = status_of(judge)
        assert (status["NoNewPrivs"], status["Seccomp"], status["Threads"]) == ("1", "2", "1")
        assert int(status["Seccomp_filters"]) == 2, "the inspector's filter, and its own, without sockets"
        assert "onnxruntime" not in running.stderr
