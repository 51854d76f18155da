"""Refusal of implausible copies, and the names that no list may block."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.list_parser import ParseCache
from hedgerow.blocklists.names import load_public_suffixes
from hedgerow.blocklists.plausibility import MAX_SHARE_OF_POPULAR, refusal_of_copy
from hedgerow.blocklists.sources import ESSENTIAL_PROBLEM, Source, essential_hosts, popular_hosts, starter_sources


def names(count: int) -> str:
    return "".join(f"n{number}.example\n" for number in range(count))


def refusal(folder: Path, new: str, good: str | None = None, category: str = "adult") -> str:
    (folder / "new").write_text(new)
    (folder / "good").write_text(good or "")
    before = Source("list", category, folder / "good") if good is not None else None
    return refusal_of_copy(ParseCache(folder / "parsed"), Source("list", category, folder / "new"), before)


SAMPLE = sorted(popular_hosts() | essential_hosts())
TOLERATED = int(MAX_SHARE_OF_POPULAR * len(SAMPLE))
POPULAR = sorted(popular_hosts())
SHORT = [host for host in POPULAR if re.fullmatch(r"(www\.)?[a-z]+\.(com|org)", host)]
ORGS = [host for host in POPULAR if re.fullmatch(r"[a-z.]+\.org", host)]


@pytest.mark.parametrize(
    ("new", "good", "expected"),
    [
        (names(60), names(100), ""),
        (names(59), names(100), "it shrank from 100 rules to 59"),
        (names(500), names(100), ""),
        ("# only a comment\n", None, "it has no rules"),
        ("", None, "it has no rules: is empty"),
        ("# Number of entries: 100\n" + names(59), None, "it says that it has 100 entries, but 59 came"),
        ("# Number of entries: 1,000\n" + names(900), None, ""),
        ("\n".join(POPULAR[:TOLERATED]) + "\n", None, ""),
        ("\n".join(POPULAR[: TOLERATED + 1]) + "\n", None, f"it blocks {TOLERATED + 1} of {len(SAMPLE)} essential"),
        ("\n".join(sorted(essential_hosts())) + "\n", None, "it has no rules"),
        (names(9) + "\n".join(sorted(essential_hosts())[:9]) + "\n", None, f"it blocks 9 of {len(SAMPLE)} essential"),
        (
            "/^(www\\.)?[a-z]+\\.(com|org)$/\n||ads.example^\n",
            None,
            f"it blocks {len(SHORT)} of {len(SAMPLE)} essential",
        ),
        (
            "||ads.example^\n/^https:\\/\\/[a-z.]+\\.org\\//\n",
            None,
            f"it blocks {len(ORGS)} of {len(SAMPLE)} essential",
        ),
        (
            "||ads.example^\n/^https:\\/\\/[a-z.]+\\.org\\//$script\n",
            None,
            f"it blocks {len(ORGS)} of {len(SAMPLE)} essential",
        ),
        ("||ads.example^\n/^https:\\/\\/ads[a-z.]+\\.org\\//\n||example.org/ads\n", None, ""),
        ("com\norg\nnet\nint\ngov\nedu\n" + names(30), None, ""),  # suffixes are taken out before anything is judged
    ],
)
def test_refusal_of_copies(tmp_path: Path, new: str, good: str | None, expected: str) -> None:
    found = refusal(tmp_path, new, good)
    assert found.startswith(expected)
    assert bool(found) == bool(expected), found


def test_good_categories_may_name_popular_hosts(tmp_path: Path) -> None:
    assert refusal(tmp_path, "\n".join(POPULAR) + "\n", category="education") == ""


def test_lists_never_block_essential_names(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(
        "\n".join(sorted(essential_hosts())) + "\napple.com\nmicrosoft.com\ndeb.debian.org.evil.example\n"
    )
    report = compile_generation(
        [Source("list", "adult", tmp_path / "list.txt"), *starter_sources()], tmp_path / "generation"
    )
    assert report.sources[0].problems[ESSENTIAL_PROBLEM] == len(essential_hosts())
    catalogue = Catalogue.open(tmp_path / "generation")
    good = catalogue.mask_of(["education", "kids", "health", "sexual-education", "news"])
    for host in essential_hosts():
        assert catalogue.host_mask(host) & ~good == 0, host
        assert catalogue.host_mask(f"a.b.{host}") & ~good == 0, host
    # The parents are blocked, but for what is essential below them.
    assert catalogue.host_mask("www.apple.com") == catalogue.mask_of(["adult"])
    assert catalogue.host_mask("deb.debian.org.evil.example") != 0


def test_essential_names_are_minimal() -> None:
    suffixes = load_public_suffixes()
    assert not essential_hosts() & (suffixes.registries | suffixes.hosters)
    for host in essential_hosts():
        parents = {host.split(".", n)[-1] for n in range(1, host.count("."))}
        assert not parents & essential_hosts(), f"{host} is covered already"
    assert not essential_hosts() & popular_hosts()


@pytest.mark.shared
def test_published_lists_are_not_held_back(shared_data: Path, tmp_path: Path) -> None:
    lists = ParseCache(tmp_path / "parsed")
    words = {"porn": "adult", "nsfw": "adult", "gambling": "gambling", "social": "social", "doh": "bypass"}
    paths = [
        path
        for folder in ("hosts", "plain", "adblock", "abp")
        for path in sorted((shared_data / "lists" / folder).iterdir())
    ]
    for path in paths:
        category = next((words[word] for word in words if word in path.name), "ads-trackers")
        assert refusal_of_copy(lists, Source(path.name, category, path), None) == "", path
