"""Tests ask no publisher of lists: neither this process nor a Hedgerow that it starts can reach one.

A test that needs lists plays their publishers (`list_mirror`) or serves lists of its own (`list_server`).
"""

from __future__ import annotations

import itertools
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hedgerow.blocklists.sources import public_sources

_NOWHERE = "http://127.0.0.1:9"
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_HERE = ("127.0.0.1", "127.0.0.0/8", "localhost", "::1")
_FETCHING = frozenset({"up", "lists"})
"""Commands that fetch lists."""

PUBLISHERS = frozenset(urlsplit(source.url).hostname for source in public_sources().values())


def no_internet(*others: str) -> dict[str, str]:
    """Return variables that send requests to a port at which nobody listens, except those to this machine and to
    `others`.
    """
    lower = {**dict.fromkeys(_PROXIES, _NOWHERE), "no_proxy": ",".join((*_HERE, *others))}
    return {**lower, **{name.upper(): value for name, value in lower.items()}}


def check_start(words: Sequence[str], environment: Mapping[str, str] | None, *, network: str = "") -> None:
    """Raise AssertionError if a program is a Hedgerow that may reach a publisher.

    The proxies of tests and their network namespaces lead to no internet.
    """
    inside = network or any(word.startswith("--net=") for word in words)
    given = {**(os.environ if environment is None else environment)}
    given |= dict(word.split("=", 1) for word in words if word.partition("=")[0] in _PROXIES)
    hosts = {urlsplit(given.get(name, "")).hostname for name in _PROXIES}
    if _fetches(words) and not inside and hosts != {"127.0.0.1"}:
        raise AssertionError(f"start it with the environment of `without_internet`: {' '.join(words)}")


def _fetches(words: Sequence[str]) -> bool:
    pairs = itertools.pairwise(words)
    return "--help" not in words and any(
        Path(program).name == "hedgerow" and command in _FETCHING for program, command in pairs
    )


def refuse_publishers() -> None:
    """Refuse each look-up of a publisher by this process from now on, and each start of a Hedgerow that may do it."""

    def judge(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo" and str(arguments[0]) in PUBLISHERS:
            raise socket.gaierror(socket.EAI_NONAME, "tests ask no publisher of lists")
        if event == "subprocess.Popen":
            given = [arguments[1]] if isinstance(arguments[1], str | bytes | Path) else arguments[1]
            check_start([os.fsdecode(word) for word in given], arguments[3])

    sys.addaudithook(judge)
