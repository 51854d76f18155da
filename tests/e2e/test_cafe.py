"""A café seat: the code of conduct before each session, and isolation between guests."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
from collections.abc import Iterator

import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, kdig_addresses, ticket_in
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow, wait_until

SEAT, OTHER = "127.0.0.6", "127.0.0.7"
CONDUCT = "Be kind to each other.\nNo <b>filming</b> of others."
ASK = "/.well-known/hedgerow/ask"
POLICY = """
code_of_conduct: conduct.txt
block: [news.example]
seats:
  seat-1: {ip: 127.0.0.6}
  seat-2: {ip: 127.0.0.7}
"""


@pytest.fixture(scope="module")
def cafe(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(network_section(whole_internet) + POLICY, lists={"conduct.txt": CONDUCT}) as each:
        yield each


def _seat(cafe: Hedgerow, *words: str) -> None:
    done = hedgerow_command("seat", *words, "--state", str(cafe.state))
    assert done.returncode == 0, done.stderr


def _is_blocked(cafe: Hedgerow, name: str, source: str = SEAT) -> bool:
    return kdig_addresses(cafe.dns, name, source=source) == ["0.0.0.0"]


def _post(url: str, form: dict[str, str], source: str, *words: str) -> tuple[int, str]:
    origin = "/".join(url.split("/")[:3])
    command = [
        "curl",
        "-s",
        "-o",
        "-",
        "-w",
        "\n%{http_code}",
        "--interface",
        source,
        "-H",
        f"Origin: {origin}",
        *words,
    ]
    done = subprocess.run(
        [*command, "-d", urllib.parse.urlencode(form), url], capture_output=True, text=True, timeout=60, check=True
    )
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def _on_page(
    cafe: Hedgerow, net: SmallInternet, host: str, form: dict[str, str], source: str = SEAT
) -> tuple[int, str]:
    """Sends a form of the block page of a host."""
    url = net.url(host, scheme="http")
    page = curl(url, proxy=cafe.proxy, source=source)
    return _post(
        url.rstrip("/") + ASK,
        {"url": url, "ticket": ticket_in(page.text)} | form,
        source,
        "-x",
        "http://{}:{}".format(*cafe.proxy),
    )


def _own_page(cafe: Hedgerow, source: str = SEAT) -> str:
    """Without the rules, which are the café's and name its sites for everybody."""
    done = subprocess.run(
        ["curl", "-s", "--interface", source, f"{cafe.web}/device"], capture_output=True, text=True, check=True
    )
    return re.sub('<dl class="rules">.*?</dl>', "", done.stdout, flags=re.DOTALL)


def _portal(cafe: Hedgerow) -> dict[str, object]:
    """Return what the program on a seat's screen asks for (`hedgerow seat program`)."""
    done = subprocess.run(
        ["curl", "-s", "--interface", SEAT, f"{cafe.web}/captive-portal"], capture_output=True, check=True
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_the_code_of_conduct_comes_first_in_every_session(cafe: Hedgerow, internet: SmallInternet) -> None:
    assert not _is_blocked(cafe, "school.example"), "nobody sits there"
    _seat(cafe, "open", "seat-1", "--as", "child", "--minutes", "60")
    wait_until(lambda: _is_blocked(cafe, "school.example"), 30, "before it is accepted nothing is open")
    url = internet.url("school.example", scheme="http")
    # The proxy may hear of it a moment after the resolver, and cuts what it has just let in.
    wait_until(lambda: curl(url, proxy=cafe.proxy, source=SEAT).status == 403, 30, "the proxy shows it")
    page = curl(url, proxy=cafe.proxy, source=SEAT)
    assert "Be kind to each other." in page.text
    assert "&lt;b&gt;filming" in page.text
    assert "I accept" in page.text
    assert curl(internet.url("www.childline.org.uk", scheme="http"), proxy=cafe.proxy, source=SEAT).status == 200
    assert not _is_blocked(cafe, "school.example", OTHER)

    status, text = _on_page(cafe, internet, "school.example", {"accept": "yes"})
    assert status == 200, text
    wait_until(lambda: not _is_blocked(cafe, "school.example"), 30, "DNS")
    wait_until(lambda: curl(url, proxy=cafe.proxy, source=SEAT).status == 200, 30, "the proxy")

    taken = hedgerow_command("seat", "open", "seat-1", "--as", "adult", "--state", str(cafe.state))
    assert taken.returncode == 2
    assert "seat-1 is taken" in taken.stderr
    assert "Add --replace" in taken.stderr
    _seat(cafe, "open", "seat-1", "--as", "adult", "--replace")
    wait_until(lambda: _is_blocked(cafe, "school.example"), 30, "the next guest has to accept it too")
    assert "No &lt;b&gt;filming" in _own_page(cafe)
    assert _portal(cafe)["conduct"] == CONDUCT
    assert _post(f"{cafe.web}/device/conduct", {}, SEAT)[0] == 303
    wait_until(lambda: not _is_blocked(cafe, "school.example"), 30)
    assert "conduct" not in _portal(cafe)
    assert "filming" not in _own_page(cafe)

    (cafe.directory / "conduct.txt").write_text("Another text.")
    _seat(cafe, "open", "seat-1", "--as", "child", "--replace")
    wait_until(lambda: "Another text." in _own_page(cafe), 30, "the café edits it while all runs")
    _seat(cafe, "end", "seat-1")
    wait_until(lambda: not _is_blocked(cafe, "school.example"), 30)


def test_nothing_of_one_guest_remains_for_the_next(cafe: Hedgerow, internet: SmallInternet) -> None:
    _seat(cafe, "open", "seat-2", "--as", "child", "--name", "Ana Guest")
    wait_until(
        lambda: (
            _post(f"{cafe.web}/device/conduct", {}, OTHER)[0] == 303 and not _is_blocked(cafe, "school.example", OTHER)
        ),
        30,
    )
    assert curl(internet.url("news.example", scheme="http"), proxy=cafe.proxy, source=OTHER).status == 403
    # The proxy may hear of the guest's consent a moment after the resolver.
    wait_until(
        lambda: _on_page(cafe, internet, "news.example", {"note": "for my homework"}, OTHER)[0] == 200,
        30,
        "it can be asked for",
    )
    (request,) = wait_until(lambda: json.loads(cafe.run("requests", "--json").stdout), 30, "the request")
    assert cafe.run("requests", "--approve", str(request["id"]), "--for", "good").returncode == 0
    wait_until(lambda: not _is_blocked(cafe, "news.example", OTHER), 30)
    page = _own_page(cafe, OTHER)
    assert "Open for now" in page
    assert "news.example" in page
    assert _on_page(cafe, internet, "www.tiktok.com", {"note": "bored"}, OTHER)[0] == 200
    wait_until(lambda: json.loads(cafe.run("requests", "--json").stdout), 30, "one that stays open")

    _seat(cafe, "end", "seat-2")
    _seat(cafe, "open", "seat-2", "--as", "child")
    wait_until(
        lambda: (
            _post(f"{cafe.web}/device/conduct", {}, OTHER)[0] == 303 and not _is_blocked(cafe, "school.example", OTHER)
        ),
        30,
    )
    wait_until(lambda: _is_blocked(cafe, "news.example", OTHER), 30, "the grant was the guest's before")
    page = _own_page(cafe, OTHER)
    assert "Open for now" not in page
    for trace in ("news.example", "tiktok", "homework", "Ana Guest"):
        assert trace not in page
    assert json.loads(cafe.run("requests", "--json").stdout) == []
