"""The lists that people publish, from the folder beside the checkout."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import adblock
import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compile import compile_generation
from hedgerow.blocklists.formats import format_named
from hedgerow.blocklists.names import host_of_url, parse_host
from hedgerow.blocklists.sources import Source

pytestmark = pytest.mark.shared

WORDS = {"porn": "adult", "nsfw": "adult", "snuff": "adult", "gambling": "gambling", "social": "social"}


def domain_lists(data: Path) -> list[Source]:
    paths = [path for folder in ("hosts", "plain", "adblock") for path in sorted((data / "lists" / folder).iterdir())]
    category = {path: next((WORDS[word] for word in WORDS if word in path.name), "bypass") for path in paths}
    return [Source(f"{path.parent.name}/{path.name}", category[path], path) for path in paths]


def test_every_domain_is_found_and_every_line_is_accounted_for(shared_data: Path, tmp_path: Path) -> None:
    sources = domain_lists(shared_data)
    report = compile_generation(sources, tmp_path / "generation")
    catalogue = Catalogue.open(tmp_path / "generation")
    assert report.domains > 270_000
    assert report.index_bytes / report.domains < 8
    for source, told in zip(sources, report.sources, strict=True):
        assert source.path
        assert told.format == source.path.parent.name
        if told.format == "plain":
            refused = {problem.text for problem in report.problems if problem.source == source.name}
            lines = source.path.read_text().splitlines()
            assert told.lines == len(lines) == told.names + sum(told.problems.values()) + sum(told.ignored.values())
            wanted = catalogue.mask_of([source.category])
            missing = [line for line in lines if line and line[0] != "#" and line not in refused and not catalogue.host_mask(line) & wanted]
            assert missing == []


def test_one_list_in_two_formats_is_one_set(shared_data: Path, tmp_path: Path) -> None:
    lists = shared_data / "lists"
    pairs = {"adblock": lists / "adblock" / "hagezi-social.txt", "wildcard": lists / "wildcard" / "hagezi-social.txt"}
    found = []
    for name, path in pairs.items():
        if not path.exists():
            pytest.skip(f"no {path}")
        report = compile_generation([Source(name, "social", path)], tmp_path / name)
        catalogue = Catalogue.open(tmp_path / name)
        text = pairs["adblock"].read_text()
        hosts = [line[2:-1] for line in text.splitlines() if line.startswith("||")]
        found.append((report.domains, [catalogue.host_mask(host) != 0 for host in hosts]))
    assert found[0] == found[1]


def test_public_suffixes_are_those_of_the_reference_list(shared_data: Path, tmp_path: Path) -> None:
    """Each rule of the ICANN section, put into a list, is refused."""
    text = (shared_data / "psl" / "public_suffix_list.dat").read_text(encoding="utf-8").partition("===END ICANN")[0]
    rules = [line.removeprefix("*.") for line in text.splitlines() if line and not line.startswith(("//", "!"))]
    (tmp_path / "list.txt").write_text("\n".join(rules) + "\n", encoding="utf-8")
    report = compile_generation([Source("list", "adult", tmp_path / "list.txt", format="plain")], tmp_path / "generation")
    catalogue = Catalogue.open(tmp_path / "generation")
    # The reference list and the library's may be some weeks apart.
    through = [rule for rule in rules if catalogue.host_mask(parse_host(rule) or rule)]
    assert len(through) < len(rules) / 100
    assert report.skipped > 0.99 * len(rules)


def test_verdicts_agree_with_braves_engine(shared_data: Path, tmp_path: Path) -> None:
    """On real requests, with exactly those rules of EasyList and the uBlock lists that we honour."""
    paths = sorted((shared_data / "lists" / "abp").iterdir())
    parser = format_named("adblock")
    assert parser is not None
    honoured = []
    for path in paths:
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            parsed = parser.parse([line], 1, "")
            if parsed.hosts or parsed.excepted or parsed.urls:
                honoured.append(line.strip())
    filters = adblock.FilterSet()
    filters.add_filters(honoured)
    engine = adblock.Engine(filters)
    compile_generation([Source(path.stem, "ads-trackers", path) for path in paths], tmp_path / "generation")
    catalogue = Catalogue.open(tmp_path / "generation")
    with zipfile.ZipFile(shared_data / "requests" / "urlfilter-requests.json.zip") as archive:
        lines = archive.read(archive.namelist()[0]).decode().splitlines()
    requests = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(requests) > 30_000
    differing = []
    for request in requests:
        url = request["url"]
        theirs = engine.check_network_urls(url, request["frameUrl"] or url, request["cpt"]).matched
        ours = catalogue.host_mask(host_of_url(url) or "") != 0 or catalogue.match_url(url, request["cpt"]) is not None
        if ours != theirs:
            differing.append((request, ours))
    assert differing == []
