"""One house for all lab tests. Each test restores it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import House
from lab import house as build_house
from shared_servers import shared_servers

TOOLS = ("nft", "unbound", "nginx", "kdig", "curl", "openssl", "nsenter", "unshare", "wireguard-go", "wg", "knotd")
TUNNELS = ("microsocks", "tinyproxy", "iodine", "openvpn", "ssh", "sshd", "ping", "chromium", "dnsmasq", "busybox")
ENCRYPTED = ("--dot", "0.0.0.0:853", "--doh", "0.0.0.0:443", "--doq", "0.0.0.0:853")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    missing = [tool for tool in (*TOOLS, *TUNNELS) if shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    return shared_servers.running("house", _house(tmp_path_factory))


@contextlib.contextmanager
def _house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("house")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    with build_house(folder, options=ENCRYPTED) as whole:
        yield whole


@pytest.fixture
def tablet_house(house: House) -> Iterator[House]:
    """The house with a gateway that has met the tablet, which has looked up the names of all servers."""
    house.hedgerow("gateway", "apply", "--no-strict")
    assert house.steers_pages, "the table is about routers on which web traffic is redirected to the proxy"
    house.meet("tablet")
    house.resolve("tablet")
    yield house
    house.meet("parent")  # whose addresses the tablet has worn
