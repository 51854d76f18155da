"""A home whose router asks Hedgerow too: it is set apart on the pages as nobody's, and filtered all the same."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.spaces import Space, connect, spaces
from small_internet.running import setup_code, wait_until, without_internet

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

SERVER, ROUTER = "192.168.77.1", "192.168.77.254"
MACS = {"router": "02:00:00:00:77:fe", "tablet": "02:00:00:00:77:0b"}
ADDRESSES = {"router": ROUTER, "tablet": "192.168.77.11"}
POLICY = """network: {timezone: UTC, lists: starter}
people:
  Mia: {age: 9, devices: [mia-tablet]}
  Tom: {age: 12, devices: [tom-phone]}
devices:
  mia-tablet: {mac: "02:00:00:00:77:aa"}
  tom-phone: {mac: "02:00:00:00:77:ab"}
"""


@pytest.fixture
def home() -> Iterator[dict[str, Space]]:
    with spaces("server", *MACS) as made:
        named = dict(zip(("server", *MACS), made, strict=True))
        server = named["server"]
        server.ip("link", "add", "br0", "type", "bridge")
        server.ip("link", "set", "br0", "up")
        server.ip("address", "add", f"{SERVER}/24", "dev", "br0")
        server.ip("route", "add", "default", "via", ROUTER)
        for name, mac in MACS.items():
            connect(server, name, named[name], "eth0", mac)
            server.ip("link", "set", name, "master", "br0")
            named[name].ip("address", "add", f"{ADDRESSES[name]}/24", "dev", "eth0")
            named[name].files = {}
        yield named


def asked(space: Space, name: str) -> str:
    return space.run("kdig", f"@{SERVER}", "+short", "+timeout=5", "+retry=0", name).stdout.strip()


def told(page: str) -> str:
    return html.unescape(re.sub("<[^>]+>", "", page))


def test_the_router_is_offered_to_no_child(home: dict[str, Space], tmp_path: Path) -> None:
    state, cookies = tmp_path / "state", str(tmp_path / "cookies")
    (tmp_path / "hedgerow.yaml").write_text(POLICY)
    addresses = ("--dns", f"{SERVER}:53", "--proxy", f"{SERVER}:3128", "--web", "127.0.0.1:8053")
    server, options = home["server"], ("--state", str(state), *addresses)
    process = server.start_hedgerow(
        "up", *options, stderr=tmp_path / "stderr", directory=tmp_path, environment=without_internet()
    )
    assert process.stdout
    assert "ready" in process.stdout.readline(), (tmp_path / "stderr").read_text()
    for name in MACS:
        assert asked(home[name], "www.pornhub.com") == "0.0.0.0", "filtered as every device without a name"
    web = "http://127.0.0.1:8053"

    def page(path: str, *form: str) -> str:
        data = [word for each in form for word in ("--data-urlencode", each)]
        words = ("curl", "-s", "-b", cookies, "-c", cookies, "-H", f"Origin: {web}", *data, f"{web}{path}")
        return server.run(*words).stdout

    page("/start/password", "name=Ana", "password=four words and more", f"code={setup_code(state)}")
    wait_until(lambda: all(mac in page("/devices") for mac in MACS.values()), 60, "both are on the page")
    (equipment,) = re.findall(
        r'<details class="card" id="equipment">.*?</details>\s*<section', page("/devices"), re.DOTALL
    )
    assert (MACS["router"] in equipment, MACS["tablet"] in equipment) == (True, False)
    assert "with a new address" not in equipment
    today = page("/")
    assert MACS["router"] not in today.partition('id="new-devices"')[2].partition("</section>")[0]
    guide = page("/start/devices")
    before, _, apart = guide.partition('class="apart"')
    assert (MACS["tablet"] in before, MACS["router"] in before, MACS["router"] in apart) == (True, False, True)
    assert "This machine, Hedgerow's own" not in told(page("/start/done"))
    assert asked(server, "www.wikipedia.org") != "0.0.0.0"
    wait_until(lambda: "This machine, Hedgerow's own" in told(page("/start/done")), 60, "it is no router")
    assert "This is a router or the like" not in told(page("/start/done")).partition("This machine")[2]
    assert asked(home["router"], "www.pornhub.com") == "0.0.0.0", "setting it apart is no exception from the rules"
