"""The state of the machine, read from files as a kernel writes them, and as people and programs see it."""

from __future__ import annotations

import dataclasses
import os
import runpy
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from small_internet.browser import FOR_PAGES, browser_for_pages, look_through
from web_server import NOW, TOKEN, Web, running_web

from hedgerow.features.machine import watch
from hedgerow.features.machine.readings import Readings, read_machine
from hedgerow.features.machine.watch import DISK, HEAT, MEMORY, SUPPLY, Machine, problems

write_machine = runpy.run_path(str(Path(__file__).with_name("web_parts.py")))["write_machine"]
ZONE, ALARM, ERRORS = (
    "sys/class/thermal/thermal_zone0/temp",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm",
    "sys/fs/ext4/mmcblk0p2/errors_count",
)
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
MOUNTS = "proc/self/mounts"


def read(root: Path, **changed: str) -> Readings:
    write_machine(root, **changed)
    return read_machine(root, NOW, root)


def told(found: Readings) -> list[str]:
    return [row.about for row in problems(found)]


def test_a_machine_in_good_health(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert (found.celsius, found.undervoltage, found.disk_errors, found.has_watchdog) == (61.234, False, 0, True)
    assert (found.memory_total, found.memory_available) == (948000 * 1024, 512000 * 1024)
    assert found.disk_total == os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert 0 < found.started < NOW
    assert told(found) == []


@pytest.mark.parametrize(
    ("changed", "about"),
    [
        ({ZONE: "80000\n"}, [HEAT]),
        ({ALARM: "1\n"}, [SUPPLY]),
        ({FIRMWARE: "50005\n"}, [SUPPLY]),
        ({FIRMWARE: "4\n"}, [HEAT]),
        ({FIRMWARE: "50000\n"}, []),
        ({ERRORS: "3\n"}, [DISK]),
        ({"proc/meminfo": "MemTotal:  1000 kB\nMemAvailable:  49 kB\n"}, [MEMORY]),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, changed: dict[str, str], about: list[str]) -> None:
    assert told(read(tmp_path, **changed)) == about


def test_what_was_wrong_before_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, **{FIRMWARE: "50000\n"})
    assert (found.supply_was_low, found.was_throttled, found.undervoltage, found.throttled) == (
        True,
        True,
        False,
        False,
    )


def test_a_disk_that_takes_no_writes_is_told(tmp_path: Path) -> None:
    line = "/dev/mmcblk0p2 {} ext4 {},relatime 0 0\n"
    assert told(read(tmp_path, **{MOUNTS: line.format("/", "ro") + line.format(tmp_path, "rw")})) == []
    assert told(read(tmp_path, **{MOUNTS: line.format("/", "rw") + line.format(tmp_path, "ro")})) == [DISK]


def test_memory_is_read_where_the_service_does_not_see_meminfo(tmp_path: Path) -> None:
    nodes = "Node 0 MemTotal: 1000 kB\nNode 0 MemFree: 100 kB\nNode 0 Active(file): 20 kB\nNode 0 SReclaimable: 3 kB\n"
    found = read(tmp_path, **{"proc/meminfo": "", "sys/devices/system/node/node0/meminfo": nodes})
    assert (found.memory_total, found.memory_available) == (1000 * 1024, 123 * 1024)


@pytest.mark.parametrize("text", ["", "hot\n", "-274000\n", "999999999\n", "9" * 5000, "\x00\xff"])
def test_a_sensor_that_says_nonsense_is_left_out(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, **{ZONE: text, ALARM: text if text.strip("-9274\n0") else "", ERRORS: "", FIRMWARE: "zz"})
    assert (found.celsius, found.undervoltage, found.throttled, found.disk_errors) == (None, None, None, None)


def test_a_machine_without_sensors(tmp_path: Path) -> None:
    found = read_machine(tmp_path, NOW, tmp_path)
    assert dataclasses.astuple(found)[4:] == (None,) * 8 + (False,)
    assert told(found) == []


def test_the_kernel_is_asked_at_most_every_ten_seconds(tmp_path: Path) -> None:
    write_machine(tmp_path)
    kept, fresh = Machine(tmp_path, tmp_path), Machine(tmp_path, tmp_path, kept_s=0)
    assert kept.status() == ()
    first, _ = kept.read(), fresh.read()
    write_machine(tmp_path, **{ALARM: "1\n"})
    assert kept.read() is first
    assert fresh.read().undervoltage
    assert [row.about for row in fresh.status()] == [SUPPLY]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with running_web(tmp_path) as running:
        yield running


def test_a_parent_sees_it_on_the_page_and_programs_read_it(web: Web) -> None:
    with httpx.Client(base_url=web.url, trust_env=False, timeout=60, verify=False) as parent:
        page = parent.get("/machine").text
        assert "61 °C" in page
        assert "Nothing is wrong with this box" in page
        assert "0.5 GB of 0.9 GB free" in page
        assert 'href="/machine"' in parent.get("/more").text
        metrics = parent.get("/metrics").text
        assert 'hedgerow_machine_temperature_celsius{part="processor"} 61.234' in metrics
        assert 'cause="undervoltage"} 0.0' in metrics
        assert 'cause="throttled"' not in metrics, "there is no sensor for it"
    sent = {"authorization": f"Bearer {TOKEN}"}
    answer = httpx.get(f"{web.url}/api/v1/machine", headers=sent, trust_env=False, timeout=60, verify=False).json()
    assert (answer["celsius"], answer["throttled"]) == (61.234, None)


def test_today_says_that_something_is_wrong(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with httpx.Client(base_url=web.url, trust_env=False, timeout=60, verify=False) as parent:
        assert "wrong with this box" not in parent.get("/").text
        monkeypatch.setattr(watch, "HOT", 61.0)
        for path in ("/", "/machine"):
            assert "Something is wrong with this box" in parent.get(path).text


def test_a_child_sees_none_of_it(web: Web) -> None:
    transport = httpx.HTTPTransport(local_address="127.0.0.31", verify=False)
    with httpx.Client(base_url=web.url, transport=transport, trust_env=False, timeout=60) as child:
        for path in ("/machine", "/api/v1/machine"):
            assert child.get(path).status_code in (303, 401, 403)


@pytest.mark.browser
@pytest.mark.skipif(not FOR_PAGES.exists(), reason="needs Debian's chromium")
def test_the_page_fits_a_phone_and_is_accessible(web: Web) -> None:
    with browser_for_pages() as chromium:
        page = chromium.new_page(viewport={"width": 390, "height": 800})
        page.goto(f"{web.url}/machine")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        found = look_through(page)
        assert found.violations_count == 0, found.generate_report()
        page.goto(f"{web.url}/more")
        page.locator("main").get_by_role("link", name="This box").click()
        assert page.url.endswith("/machine")
