"""The way back from a policy file with mistakes, by page, API and command, in a running Hedgerow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.clients import kdig_addresses
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow, wait_until

TABLET = "127.0.0.2"
BLOCKED = ["0.0.0.0"]
FAMILY = f"""people:
  mia: {{age: 9, devices: [tablet], block: [news.example]}}   # she asked for it
devices:
  tablet: {{ip: {TABLET}}}
include: more/*.yaml
"""
OTHERS = {"more/tom.yaml": "people: {tom: {age: 15}}\n"}
BROKEN = ("people: {mia: [", "peple: {}\n", "people: {mia: {age: nine}}\n", "")


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(network_section(whole_internet) + FAMILY, lists=OTHERS) as running:
        yield running


@pytest.fixture
def parent(house: Hedgerow) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=house.web,
        trust_env=False,
        timeout=60,
        headers={"origin": house.web},
        cookies=house.cookies,
        verify=False,
    ) as client:
        yield client


def is_broken(parent: httpx.Client) -> bool:
    return "The rules have mistakes" in parent.get("/").text


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("way", ["page", "API", "command"])
def test_the_file_has_the_rules_again_that_are_in_force(
    house: Hedgerow, parent: httpx.Client, text: str, way: str
) -> None:
    good = house.policy_path.read_text()
    house.edit_policy(text or f"# nothing\n{good.replace('age: 9', 'age: 900')}")
    wait_until(lambda: is_broken(parent), 30, "the mistake is shown")
    assert "Return to the rules of" in parent.get("/").text
    if way == "page":
        told = parent.post("/changes/last-rules", follow_redirects=True)
        assert re.search('data-done="The file has the rules (of .+ again|again that are in force)."', told.text)
        assert re.search('action="/changes/[0-9]+/undo"', told.text)
    elif way == "API":
        local = httpx.HTTPTransport(uds=str(house.state / "run" / "control.sock"), verify=False)
        with httpx.Client(transport=local, base_url="http://localhost", timeout=60) as script:
            assert script.post("/api/v1/policy/last-rules").status_code == 204
    else:
        done = house.run("last-rules")
        assert (done.returncode, "rules again" in done.stdout) == (0, True), done.stderr
    assert house.policy_path.read_text() == good, "with its comments"
    wait_until(lambda: not is_broken(parent), 30)
    assert kdig_addresses(house.dns, "news.example", source=TABLET) == BLOCKED
    assert parent.get("/changes").status_code == 200, "where the file with mistakes is kept"


def test_a_file_that_the_main_file_includes_comes_back_too(house: Hedgerow, parent: httpx.Client) -> None:
    place = house.directory / "more" / "tom.yaml"
    place.write_text("people: {tom: {age: fifteen}}\n")
    wait_until(lambda: is_broken(parent), 30)
    assert parent.post("/changes/last-rules").status_code == 303
    assert place.read_text() == OTHERS["more/tom.yaml"]
    wait_until(lambda: not is_broken(parent), 30)


def test_a_file_that_went_missing_comes_back(house: Hedgerow, parent: httpx.Client) -> None:
    good = house.policy_path.read_text()
    house.policy_path.unlink()
    wait_until(lambda: is_broken(parent), 30)
    assert parent.post("/changes/last-rules").status_code == 303
    assert house.policy_path.read_text() == good


def test_a_file_without_mistakes_is_left_alone(house: Hedgerow, parent: httpx.Client) -> None:
    before = house.policy_path.read_text()
    refused = parent.post("/changes/last-rules")
    assert (refused.status_code, "has no mistakes" in refused.text) == (422, True)
    done = hedgerow_command("last-rules", "--state", str(house.state))
    assert (done.returncode, done.stderr) == (2, "hedgerow: The policy file has no mistakes.\n")
    assert house.policy_path.read_text() == before


def test_the_way_back_works_after_a_restart(whole_internet: SmallInternet, tmp_path: Path) -> None:
    good = network_section(whole_internet) + FAMILY
    with running_hedgerow(good, directory=tmp_path, lists=OTHERS) as running:
        assert running.cookies

    def write_mistake(folder: Path) -> None:
        (folder / "hedgerow.yaml").write_text("people: [")

    with running_hedgerow(good, directory=tmp_path, lists=OTHERS, prepare=write_mistake) as running:
        done = running.run("last-rules")
        assert done.returncode == 0, done.stderr
        assert running.policy_path.read_text() == good
