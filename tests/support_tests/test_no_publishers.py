"""No test reaches a publisher of lists, from its own process or by a Hedgerow that it starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from list_mirror import ListMirror
from no_publishers import PUBLISHERS, check_start
from small_internet import SmallInternet
from small_internet.forked import start_command
from small_internet.running import executable, network_section, running_hedgerow, wait_until, without_internet

from hedgerow.blocklists.outgoing import download_small
from hedgerow.blocklists.outgoing_guard import NoConnectionError, OutgoingGuard
from hedgerow.blocklists.sources import public_sources

UP = (executable(), "up")


@pytest.mark.root
@pytest.mark.service
def test_a_hedgerow_that_a_test_starts_asks_no_publisher(internet: SmallInternet, tmp_path: Path) -> None:
    """It could: /etc/hosts has their names, and a server at their address serves every list."""
    lists = {source.url: b"reached.example\n" for source in public_sources().values()}
    mirror = ListMirror(lists, tmp_path)
    policy = network_section(internet).replace("  lists: starter\n", "")
    trusting = {**os.environ, "SSL_CERT_FILE": mirror.environment["SSL_CERT_FILE"]}
    with (
        mirror.serving(),
        running_hedgerow(policy, program=(*mirror.program, executable()), environment=trusting) as running,
    ):
        wait_until(lambda: "lists could not be fetched" in running.stderr, 60, "the downloads have failed")
    assert mirror.asked == []


def test_no_publisher_is_looked_up_by_a_test() -> None:
    source = next(iter(public_sources().values()))
    with pytest.raises(NoConnectionError, match="tests ask no publisher"):
        download_small(source.url, 1 << 20, 10, OutgoingGuard())
    for name in PUBLISHERS:
        with pytest.raises(socket.gaierror):
            socket.create_connection((name or "", 443))


@pytest.mark.parametrize("words", [UP, ("env", "-C", "/", *UP), ("faketime", "+1d", executable(), "lists", "update")])
def test_a_start_without_that_environment_fails(words: tuple[str, ...]) -> None:
    for environment in (None, {}, {**without_internet(), "https_proxy": ""}):
        with pytest.raises(AssertionError, match="without_internet"):
            subprocess.run(words, env=environment, check=False)
    with pytest.raises(AssertionError, match="without_internet"):
        start_command(["hedgerow", "up"], stderr=sys.stderr.fileno(), environment={})
    check_start(words, without_internet({}))
    check_start(["env", *(f"{name}={value}" for name, value in without_internet({}).items()), *words], {})
    check_start(["nsenter", "--net=/run/netns/x", *words], {})
    check_start([executable(), "check"], {})
