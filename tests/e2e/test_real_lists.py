"""The same promises with real lists: a hundred thousand names in each of the formats that are found in the wild."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.bodies import body_sha256
from small_internet.clients import curl, curl_sha256, kdig, start_dnsperf
from small_internet.family import LISTS as LIST_FILES
from small_internet.family import OWN_LISTS, TABLET, family_policy
from small_internet.promises import Stopwatch
from small_internet.running import Hedgerow, running_hedgerow

pytestmark = pytest.mark.shared

REAL_LISTS = {
    "hosts/sinfonietta-pornography.hosts": "adult",
    "hosts/sinfonietta-gambling.hosts": "gambling",
    "hosts/sinfonietta-social.hosts": "social",
    "plain/hagezi-nsfw.txt": "adult",
    "plain/hagezi-gambling.mini.txt": "gambling",
    "adblock/hagezi-social.txt": "social",
    "adblock/hagezi-doh-vpn-proxy-bypass.txt": "bypass",
}


def names_of(path: Path) -> list[str]:
    """The domains of a list, by the simplest reading of its format."""
    found = []
    for line in path.read_text().splitlines():
        word = line.partition("#")[0].strip().removeprefix("||").removesuffix("^").split(" ")[-1].split("\t")[-1]
        if "." in word and not line.startswith(("!", "#", "@@", "[")) and not word.replace(".", "").isdigit():
            found.append(word)
    return found


@pytest.fixture(scope="module")
def big(whole_internet: SmallInternet, shared_data: Path) -> Iterator[Hedgerow]:
    lines = "".join(
        f'  - {{category: {category}, path: "{shared_data / "lists" / path}"}}\n'
        for path, category in REAL_LISTS.items()
    )
    policy = family_policy(whole_internet, lists=OWN_LISTS + lines)
    with running_hedgerow(
        policy, lists=LIST_FILES, workers=2, upstream_authority=whole_internet.authority.root
    ) as running:
        yield running


def addresses(running: Hedgerow, name: str) -> list[str]:
    answer = kdig(running.dns, name, source=TABLET)
    assert answer is not None, running.stderr
    return answer.data("A")


@pytest.mark.parametrize("path", REAL_LISTS)
def test_names_of_every_list_are_blocked_and_explained(big: Hedgerow, shared_data: Path, path: str) -> None:
    names = names_of(shared_data / "lists" / path)
    chosen = random.Random(path).sample(names, 5)
    for name in [names[0], names[-1], *chosen]:
        assert addresses(big, name) == ["0.0.0.0"], name
    # A name may also stand in a starter list or a service, which then explains it; not every one of them does.
    explained = (
        (name, json.loads(big.run("explain", "--json", "mia-tablet", name).stdout)["decision"]["rule"])
        for name in chosen
    )
    name, rule = next((name, rule) for name, rule in explained if rule["source"].endswith(path))
    text = Path(rule["source"]).read_text(errors="replace").splitlines()[rule["line"] - 1]
    assert any(parent in text for parent in _with_parents(name)), (rule, text)


def _with_parents(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(len(labels) - 1)]


def test_other_names_and_pages_are_untouched(big: Hedgerow, internet: SmallInternet) -> None:
    assert addresses(big, "bank.example") == [internet.address_of("bank.example")]
    assert addresses(big, "www.wikipedia.org") == [internet.address_of("www.wikipedia.org")]
    google = kdig(big.dns, "www.google.com", source=TABLET)
    assert google is not None
    assert google.data("CNAME") == ["forcesafesearch.google.com."]
    url = internet.url("files.example", "/bytes/50000000")
    found = curl_sha256(url, proxy=big.proxy, source=TABLET, ca=internet.authority.root)
    assert found == (body_sha256(50_000_000), 0)


def test_a_real_list_blocks_in_the_proxy_too(big: Hedgerow, shared_data: Path) -> None:
    name = names_of(shared_data / "lists" / "plain/hagezi-nsfw.txt")[1000]
    assert curl(f"http://{name}/", proxy=big.proxy, source=TABLET).status == 403
    assert curl(f"https://{name}/", proxy=big.proxy, source=TABLET).connect_status == 403


def test_an_edit_under_load_still_holds_within_two_seconds(
    big: Hedgerow, internet: SmallInternet, shared_data: Path
) -> None:
    names = names_of(shared_data / "lists" / "plain/hagezi-nsfw.txt")[:2000]
    questions = [f"{name} A" for name in names] + [f"n{number}.wild.example A" for number in range(200)]
    policy = big.policy_path.read_text()
    load = start_dnsperf(big.dns, questions, seconds=5, rate=2000, source=TABLET)
    for text, is_blocked in (
        (policy.replace("block: [news.example", "block: [bank.example, news.example"), True),
        (policy, False),
    ):
        watch = Stopwatch(big)
        big.edit_policy(text)
        watch.holds_within(2, lambda: (addresses(big, "bank.example") == ["0.0.0.0"]) == is_blocked, "the new rule")  # noqa: B023
    result = load.result()
    assert (result.lost, result.codes) == (0, {"NOERROR": result.sent}), result.text
