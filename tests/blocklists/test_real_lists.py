"""Published lists, from the folder beside the checkout."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path

import adblock
import marisa_trie
import pytest
from ad_blocker import AdBlocker

from hedgerow.blocklists.catalogue import Catalogue, UrlMatch
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.formats import FORMATS
from hedgerow.blocklists.formats import adblock as adblock_format
from hedgerow.blocklists.names import host_of_url, parse_host, rule_key, split_url
from hedgerow.blocklists.patterns import compile_regex
from hedgerow.blocklists.sources import Source, essential_hosts
from hedgerow.blocklists.url_index import group_rules, write_url_index
from hedgerow.blocklists.url_matcher import UrlMatcher
from hedgerow.blocklists.url_tests import UrlRequest

pytestmark = pytest.mark.shared

WORDS = {
    "whitelist": "referrals",
    "porn": "adult",
    "nsfw": "adult",
    "snuff": "adult",
    "gambling": "gambling",
    "social": "social",
}


FILES = (
    "abp",
    "adblock",
    "controld-json",
    "dnsmasq",
    "hosts",
    "ips",
    "nextdns-bypass",
    "plain",
    "rpz",
    "unbound",
    "wildcard",
)


def file_lists(data: Path) -> list[Source]:
    folders = [data / "lists" / folder for folder in FILES]
    paths = [path for folder in folders for path in sorted(folder.iterdir()) if path.name != "LICENSE"]
    paths += sorted((data / "lists").glob("nextdns-*.txt"))
    category = {path: next((WORDS[word] for word in WORDS if word in path.name), "bypass") for path in paths}
    return [Source(f"{path.parent.name}/{path.name}", category[path], path) for path in paths]


def everything(data: Path) -> list[Source]:
    """Return all lists: the files, the folders of UT1 and the sources of v2fly."""
    folders = [path for path in sorted((data / "lists" / "ut1").iterdir()) if path.is_dir()]
    good = {
        "child": "kids",
        "sexual_education": "sexual-education",
        "educational_games": "kids",
        "liste_bu": "education",
    }
    ut1 = [Source(f"ut1/{path.name}", good.get(path.name, "adult"), path) for path in folders]
    v2fly = [
        Source(f"v2fly/{path.name}", "social", path, format="v2fly")
        for path in sorted((data / "lists" / "v2fly").iterdir())
    ]
    return [*file_lists(data), *ut1, *v2fly]


def test_every_line_of_all_lists_is_accounted_for(shared_data: Path, tmp_path: Path) -> None:
    sources = everything(shared_data)
    report = compile_generation(sources, tmp_path / "generation")
    catalogue = Catalogue.open(tmp_path / "generation")
    assert report.domains > 400_000
    assert report.index_bytes / report.domains < 8
    assert [reported.name for reported in report.sources if not reported.lines] == []
    folders = {
        "controld-json": "adblock",
        "ut1": "squidguard",
        "abp": "adblock",
        "nextdns-bypass": "plain",
        "lists": "plain",
    }
    for source, reported in zip(sources, report.sources, strict=True):
        folder = source.name.partition("/")[0]
        assert reported.format == folders.get(folder, folder), source
        explained = (
            reported.names + reported.url_rules + sum(reported.problems.values()) + sum(reported.ignored.values())
        )
        explained -= reported.ignored.get("files that are no lists", 0)
        # several names a line
        assert reported.lines == explained or (reported.format == "hosts" and reported.lines < explained), source
        if reported.format == "plain" and source.path and not reported.url_rules:
            refused = {problem.text for problem in report.problems if problem.source == source.name}
            lines = [line.partition("#")[0].strip() for line in source.path.read_text().splitlines()]
            wanted = catalogue.mask_of([source.category])
            missing = [
                line
                for line in lines
                if line
                and line not in refused
                and not catalogue.host_mask(parse_host(line.removeprefix("*.")) or "") & wanted
            ]
            assert missing == []


SAME = {
    "nosafesearch": [
        "adblock/hagezi-nosafesearch.txt",
        "controld-json/nosafesearch-folder.json",
        "dnsmasq/hagezi-nosafesearch.conf",
        "rpz/hagezi-nosafesearch.rpz",
    ],
    "social": [
        "adblock/hagezi-social.txt",
        "dnsmasq/hagezi-social.conf",
        "rpz/hagezi-social.rpz",
        "wildcard/hagezi-social.txt",
    ],
}


@pytest.mark.parametrize("name", SAME)
def test_a_publishers_formats_give_the_same_names(name: str, shared_data: Path, tmp_path: Path) -> None:
    """The sets differ only where the publisher's files do, which are some days apart."""
    keys = {}
    for number, file in enumerate(SAME[name]):
        compile_generation([Source(file, "social", shared_data / "lists" / file)], tmp_path / str(number))
        keys[file] = keys_of(tmp_path / str(number))
    first = next(iter(keys.values()))
    assert len(first) > 200
    for file, found in keys.items():
        assert len(found ^ first) <= 5, (file, found ^ first)


def keys_of(generation: Path) -> set[str]:
    """Return the keys of a generation without the essential names."""
    return {
        key for path in generation.glob("hosts/*.trie") for key in marisa_trie.Trie().mmap(str(path))
    } - essential_keys()


def essential_keys() -> set[str]:
    return {rule_key(host) for host in essential_hosts()}


WRITE = {
    "plain": "{0}",
    "wildcard": "*.{0}",
    "hosts": "0.0.0.0 {0}",
    "adblock": "||{0}^",
    "dnsmasq": "local=/{0}/",
    "unbound": 'local-zone: "{0}." always_null',
    "rpz": "{0} CNAME .\n*.{0} CNAME .",
    "v2fly": "domain:{0}",
    "squidguard": "",
}


def test_nine_formats_give_the_same_keys(shared_data: Path, tmp_path: Path) -> None:
    """A list is written in each format, detected by its content and compiled."""
    lines = (shared_data / "lists" / "adblock" / "hagezi-social.txt").read_text().splitlines()
    hosts = [line[2:-1] for line in lines if line.startswith("||")]
    found = {}
    for name, form in WRITE.items():
        path = tmp_path / f"{name}.list"
        if name == "squidguard":
            path.mkdir()
            (path / "domains").write_text("\n".join(hosts) + "\n")
        else:
            path.write_text("\n".join(form.format(host) for host in hosts) + "\n")
        report = compile_generation([Source(name, "social", path)], tmp_path / name)
        assert (report.sources[0].format, report.problems) == (name, ())
        found[name] = keys_of(tmp_path / name)
    assert len(found) == 9
    for name, keys in found.items():
        assert keys == found["plain"], name


def test_public_suffixes_match_the_reference_list(shared_data: Path, tmp_path: Path) -> None:
    """Each rule of the ICANN section, put into a list, is refused."""
    text = (shared_data / "psl" / "public_suffix_list.dat").read_text(encoding="utf-8").partition("===END ICANN")[0]
    rules = [line.removeprefix("*.") for line in text.splitlines() if line and not line.startswith(("//", "!"))]
    (tmp_path / "list.txt").write_text("\n".join(rules) + "\n", encoding="utf-8")
    report = compile_generation(
        [Source("list", "adult", tmp_path / "list.txt", format="plain")], tmp_path / "generation"
    )
    catalogue = Catalogue.open(tmp_path / "generation")
    # The reference list and the library's may be some weeks apart.
    through = [rule for rule in rules if catalogue.host_mask(parse_host(rule) or rule)]
    assert len(through) < len(rules) / 100
    assert report.skipped > 0.99 * len(rules)


def read_requests(data: Path) -> list[dict[str, str]]:
    with zipfile.ZipFile(data / "requests" / "urlfilter-requests.json.zip") as archive:
        lines = archive.read(archive.namelist()[0]).decode().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def explain_difference(request: dict[str, str], ours: UrlMatch | None) -> str:
    """Return why Brave's engine disagrees; empty if there is no known reason."""
    host = host_of_url(request["frameUrl"])
    if host is None and ours is None:
        return "without an initiator, theirs does not look at $domain"
    if host is None:
        return "without an initiator, theirs does not look at an exception's $domain"
    if ours is not None and request["cpt"] == "document":
        return "a host that is blocked as a whole is so for pages too, as at the resolver"
    if ours is not None and "polyfill.io" in request["url"]:
        return "theirs does not know $all"
    return ""


def test_verdicts_agree_with_braves_engine(shared_data: Path, tmp_path: Path) -> None:
    """On real requests, with all rules of EasyList and the uBlock lists, whether or not we honour them."""
    paths = sorted((shared_data / "lists" / "abp").iterdir())
    filters = adblock.FilterSet()
    for path in paths:
        filters.add_filter_list(path.read_text(encoding="utf-8", errors="replace"))
    engine = adblock.Engine(filters)
    compile_generation([Source(path.stem, "ads-trackers", path) for path in paths], tmp_path / "generation")
    blocker = AdBlocker(Catalogue.open(tmp_path / "generation"))
    requests = read_requests(shared_data)
    assert len(requests) == 30_524
    reasons = Counter[str]()
    for request in requests:
        # A fetch is one to browsers; their engine knows it under the older name only.
        kind = "xhr" if request["cpt"] == "fetch" else request["cpt"]
        theirs = engine.check_network_urls(request["url"], request["frameUrl"], kind).matched
        ours = blocker.first_match(request["url"], kind, host_of_url(request["frameUrl"]) or "null")
        if (ours is not None) != theirs:
            reason = explain_difference(request, ours)
            assert reason, (request, ours)
            reasons[reason] += 1
    assert reasons.total() <= 0.005 * len(requests), reasons
    assert reasons.total() < 100, reasons


def test_rules_match_as_in_braves_tests(shared_data: Path, tmp_path: Path) -> None:
    """Pairs of a rule and a request, from the tests of Brave's engine. Each rule is a category of its own."""
    pairs = json.loads((shared_data / "requests" / "matching-test-requests.json").read_text())
    filters = sorted({text for pair in pairs for text in pair["filters"]})
    parsed = {text: adblock_format.FORMAT.parse([text.removeprefix("@@")], 1, "") for text in filters}
    refused = Counter(one.problems[0].message for one in parsed.values() if one.problems)
    assert set(refused) <= {
        "too short: it would match nearly every URL",
        "a public suffix, under which strangers have their sites",
    }
    assert refused.total() <= 25
    rules = [(index, rule) for index, text in enumerate(filters) for rule in parsed[text].urls]
    found = group_rules(rules, filters)
    write_url_index(found.urls, tmp_path)
    matcher = UrlMatcher(tmp_path, [1 << index for index in range(len(filters))], [True] * len(filters))
    names = {index: compile_regex(rule.pattern) for index, rule in found.names}
    place = {text: index for index, text in enumerate(filters)}
    wrong, checked = [], 0
    for pair in pairs:
        parts = split_url(pair["url"])
        for text in pair["filters"] if parts else []:
            if parsed[text].problems:
                continue
            assert parts is not None
            hosts, index = parsed[text].hosts, place[text]
            asked = UrlRequest.about(
                *parts, {"fetch": "other"}.get(pair["type"], pair["type"]), host_of_url(pair["sourceUrl"]) or "null"
            )
            holds = f".{parts[1]}".endswith(f".{hosts[0]}") if hosts else bool(matcher.find(asked, 1 << index).blocks)
            holds = holds or (index in names and bool(names[index].search(parts[1])))
            checked += 1
            if holds != pair.get("check", True):
                wrong.append((text, pair))
    assert checked > 9_300
    assert wrong == []


def test_files_that_are_no_lists(shared_data: Path, tmp_path: Path) -> None:
    """Malformed packets, zones, vectors and phrases in eight encodings are parsed as lists, in every format."""
    folders = [shared_data / name for name in ("dns", "phraselists", "psl", "safesearch", "services")]
    paths = [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.stat().st_size < 400_000
    ]
    assert len(paths) > 100
    sources = [Source(str(number), "adult", path) for number, path in enumerate(paths)]
    sources += [
        Source(known.name, "adult", path, format=known.name)
        for known, path in zip(FORMATS, paths[:: len(paths) // 12], strict=False)
    ]
    report = compile_generation([*sources, Source("all", "adult", shared_data / "dns")], tmp_path / "generation")
    AdBlocker(Catalogue.open(tmp_path / "generation")).first_match("https://www.example.com/", "script")
    for reported in report.sources[: len(paths)]:
        explained = (
            reported.names + reported.url_rules + sum(reported.problems.values()) + sum(reported.ignored.values())
        )
        assert reported.lines <= explained, reported


def test_exclusion_lists_are_plain(shared_data: Path, tmp_path: Path) -> None:
    paths = sorted((shared_data / "https-exclusions").glob("*.txt"))
    report = compile_generation([Source(path.stem, "health", path) for path in paths], tmp_path / "generation")
    for reported in report.sources:
        assert reported.format == "plain"
        assert sum(reported.problems.values()) <= 3, reported
