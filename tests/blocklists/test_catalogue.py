"""Lists, compiled and looked up, with explanations."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ad_blocker import first_match
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.blocklists import host_index
from hedgerow.blocklists.catalogue import Catalogue, UrlMatch
from hedgerow.blocklists.compiler import CompileReport, compile_generation
from hedgerow.blocklists.formats.sealed import hash_expression
from hedgerow.blocklists.generation import META_FILE
from hedgerow.blocklists.host_matcher import HostMatch
from hedgerow.blocklists.rule_locator import locate
from hedgerow.blocklists.rules import Origin
from hedgerow.blocklists.sources import Source, essential_hosts


def build(folder: Path, **lists: str) -> tuple[Catalogue, CompileReport]:
    """Compile lists from texts; `adult_2` is a second list of the category `adult`."""
    sources = []
    for name, text in lists.items():
        path = folder / f"{name}.txt"
        path.write_text(text, encoding="utf-8")
        sources.append(Source(name, name.partition("_")[0], path))
    report = compile_generation(sources, folder / "generation")
    return Catalogue.open(folder / "generation"), report


def names(catalogue: Catalogue, host: str) -> set[str]:
    return set(catalogue.names_of(catalogue.host_mask(host)))


def test_a_domain_covers_itself_and_its_subdomains(tmp_path: Path) -> None:
    catalogue, report = build(
        tmp_path,
        adult="0.0.0.0 adult.example\n0.0.0.0 0.0.0.0\n127.0.0.1 localhost\n",
        gambling="bets.example\nbücher.example\n192.0.2.7\n2001:db8::1\n",
        social="||social.example^\n||adult.example^\n||deep.bets.example^\n",
    )
    assert names(catalogue, "adult.example") == names(catalogue, "a.b.adult.example") == {"adult", "social"}
    assert names(catalogue, "bets.example") == {"gambling"}
    assert names(catalogue, "x.deep.bets.example") == {"gambling", "social"}
    assert (
        names(catalogue, "xn--bcher-kva.example")
        == names(catalogue, "192.0.2.7")
        == names(catalogue, "2001:db8::1")
        == {"gambling"}
    )
    for other in (
        "example",
        "notadult.example",
        "adult.example.org",
        "adult-example",
        "2.0.192.7",
        "7.192.0.2",
        "2001:db8::12",
        "",
        "localhost",
    ):
        assert names(catalogue, other) == set()
    assert report.domains == 7
    assert report.problems == ()


def test_masks_follow_the_taxonomy(tmp_path: Path) -> None:
    catalogue, _ = build(tmp_path, adult="adult.example\n", homemade="own.example\n")
    assert {"adult", "homemade", "bypass"} <= set(catalogue.categories)
    both = catalogue.mask_of(["adult", "homemade", "no such category"])
    assert set(catalogue.names_of(both)) == {"adult", "homemade"}
    assert catalogue.host_mask("adult.example") & both == 1 << catalogue.categories.index("adult")


def test_explanations_name_sources_and_lines(tmp_path: Path) -> None:
    catalogue, _ = build(
        tmp_path,
        adult="# comment\nadult.example\n",
        adult_2="! comment\n! comment\n||www.adult.example^\n||Bücher.example^\n",
        social="0.0.0.0 other.example www.adult.example # two\n",
    )
    assert catalogue.hosts.sources("www.adult.example") == (
        HostMatch("adult", "adult", "adult.example"),
        HostMatch("adult", "adult_2", "www.adult.example"),
        HostMatch("social", "social", "www.adult.example"),
    )
    assert locate(catalogue, "x.www.adult.example", "adult") == Origin("adult", 2, "adult.example")
    assert locate(catalogue, "www.adult.example", "social") == Origin(
        "social", 1, "0.0.0.0 other.example www.adult.example # two"
    )
    assert locate(catalogue, "xn--bcher-kva.example", "adult") == Origin("adult_2", 4, "||Bücher.example^")
    assert locate(catalogue, "www.adult.example", "gambling") is None


def test_covered_names_are_dropped_only_if_their_sources_add_nothing(tmp_path: Path) -> None:
    catalogue, report = build(
        tmp_path,
        adult="a.example\nwww.a.example\nx.www.a.example\nb.example\n",
        adult_2="www.a.example\nc.www.a.example\n",
    )
    assert report.domains == 5
    assert report.keys == 3 + len(essential_hosts())  # a, www.a (a second source names it) and b
    assert catalogue.hosts.sources("c.www.a.example") == (
        HostMatch("adult", "adult", "a.example"),
        HostMatch("adult", "adult", "www.a.example"),
        HostMatch("adult", "adult_2", "www.a.example"),
    )
    assert [source.unique for source in report.sources] == [3, 1]


def test_url_rules(tmp_path: Path) -> None:
    catalogue, report = build(
        tmp_path,
        adult="||mixed.example/adult^\n||mixed.example/both^\n@@||fine.mixed.example^\n/naked-pictures/*\n",
        social="mixed.example/both\nshort.example/feed/\n",
    )
    assert report.url_rules == 5
    assert catalogue.host_mask("mixed.example") == 0
    assert catalogue.has_url_rules("mixed.example")
    assert catalogue.has_url_rules("www.mixed.example")
    assert not catalogue.has_url_rules("other.example")
    found = UrlMatch("adult", Origin("adult", 1, "||mixed.example/adult^"))
    assert catalogue.match_url("https://www.mixed.example/%61dult?x=1") == found
    assert catalogue.match_url("https://www.mixed.example/x/../adult") == found
    assert catalogue.match_url("https://mixed.example/adulthood") is None
    assert [match.category for match in catalogue.match_urls("http://mixed.example/both")] == ["adult", "social"]
    social = catalogue.match_url("http://mixed.example/both", mask=catalogue.mask_of(["social"]))
    assert social == UrlMatch("social", Origin("social", 1, "mixed.example/both"))
    assert catalogue.match_url("http://any.example/naked-pictures/1.jpg") is not None
    assert catalogue.match_url("http://fine.mixed.example/adult") is None
    assert catalogue.match_url("not a url") is None


def test_ad_rules_do_not_apply_to_documents(tmp_path: Path) -> None:
    text = "||mixed.example/ads^\n||mixed.example/more^\n"
    (tmp_path / "list.txt").write_text(text)
    sources = [Source("ads", "ads-trackers", tmp_path / "list.txt"), Source("adult", "adult", tmp_path / "list.txt")]
    compile_generation(sources, tmp_path / "generation")
    catalogue = Catalogue.open(tmp_path / "generation")
    url = "http://mixed.example/ads"
    assert [match.category for match in catalogue.match_urls(url, "image")] == ["adult", "ads-trackers"]
    assert [match.category for match in catalogue.match_urls(url, "document")] == ["adult"]


def test_exceptions_lift_only_their_category(tmp_path: Path) -> None:
    catalogue, _ = build(
        tmp_path,
        adult="||a.example^\n||b.a.example^\n",
        adult_2="@@||good.a.example^\n! \n",
        social="||a.example^\n",
    )
    assert names(catalogue, "a.example") == {"adult", "social"}
    assert names(catalogue, "x.good.a.example") == {"social"}
    assert {match.category for match in catalogue.hosts.sources("good.a.example")} == {"social"}


def test_private_addresses_are_ignored(tmp_path: Path) -> None:
    catalogue, report = build(
        tmp_path,
        adult="192.168.1.1\nfd00::1\n8.8.8.8\na.example\nb.example\nc.example\n",
        malware="||10.0.0.1^\n||10.example^\n",
    )
    asked = ("192.168.1.1", "fd00::1", "8.8.8.8", "a.example", "10.0.0.1", "www.10.example")
    assert [bool(catalogue.host_mask(host)) for host in asked] == [False, False, True, True, False, True]
    assert [source.ignored for source in report.sources] == [{"private networks": 2}, {"private networks": 1}]


def test_public_suffixes_are_problems(tmp_path: Path) -> None:
    catalogue, report = build(
        tmp_path,
        adult="good.example\nco.uk\ncom\nblogspot.com\n",
        malware="||github.io^\n||bad.github.io^\n||ck^\n||www.ck^\n",
    )
    assert [(problem.source, problem.line) for problem in report.problems] == [
        ("adult", 2),
        ("adult", 3),
        ("malware", 1),
        ("malware", 3),
    ]
    assert names(catalogue, "any.co.uk") == names(catalogue, "any.github.io") == set()
    assert names(catalogue, "bad.github.io") == {"malware"}
    # A threat list that names a hoster is wrong; a list of a subject that names one means it.
    assert names(catalogue, "any.blogspot.com") == {"adult"}


def test_exceptions_do_not_lift_important_rules(tmp_path: Path) -> None:
    catalogue, _ = build(
        tmp_path, adult="||a.example^$important\n||b.example^\n", adult_2="@@||x.a.example^\n@@||x.b.example^\n"
    )
    assert names(catalogue, "x.a.example") == {"adult"}
    assert names(catalogue, "x.b.example") == set()
    assert names(catalogue, "b.example") == {"adult"}


def test_badfilter_unblocks_a_host_in_its_category(tmp_path: Path) -> None:
    catalogue, _ = build(
        tmp_path, adult="||a.example^\n||b.example^\n", adult_2="||a.example^$badfilter\n", social="||a.example^\n"
    )
    assert names(catalogue, "www.a.example") == {"social"}
    assert names(catalogue, "b.example") == {"adult"}


def test_no_kind_of_rule_blocks_essential_names(tmp_path: Path) -> None:
    rules = (
        "||{0}^$dnstype=A,important",
        "||{0}^$important,image",
        "||{0}/x$important",
        "||{0}^$dnsrewrite=192.0.2.1",
    )
    host = "captive.apple.com"
    catalogue, _ = build(
        tmp_path, adult="\n".join(rule.format(name) for rule in rules for name in (host, "b.example")) + "\n"
    )
    for name, blocked in ((host, False), (f"www.{host}", False), ("b.example", True)):
        assert (catalogue.match_dns_rule(name, "A").match is not None) == blocked
        for url in (f"http://{name}/", f"http://{name}/x"):
            assert (catalogue.match_url(url, "image") is not None) == blocked
            assert (first_match(catalogue, url, "image") is not None) == blocked


def test_host_patterns(tmp_path: Path) -> None:
    catalogue, report = build(
        tmp_path,
        gambling="keyword:casino\nregexp:(^|\\.)bet[0-9]+\\.example$\nfull:exact.example\nplain.example\n",
        adult="! c\n||porn*.example^\n@@||porn*.good.example^\n||x.example^\n",
    )
    assert report.problems == ()
    assert names(catalogue, "www.best-casino.example") == names(catalogue, "bet365.example") == {"gambling"}
    assert names(catalogue, "bet.example") == names(catalogue, "www.exact.example") == set()
    assert names(catalogue, "a.porn-hub.example") == {"adult"}
    assert names(catalogue, "porn-hub.good.example") == set()
    assert locate(catalogue, "best-casino.example", "gambling") == Origin("gambling", 1, "keyword:casino")


def test_networks(tmp_path: Path) -> None:
    zone = "24.0.8.8.8.rpz-ip CNAME .\n*.a.example CNAME .\n"
    catalogue, report = build(tmp_path, malware="8.8.4.0/22\n2620:fe::/48\n9.9.9.9\n", bypass=zone)
    assert report.problems == ()
    expectations = [
        ("8.8.7.255", "malware"),
        ("8.8.8.8", "bypass"),
        ("8.8.3.255", ""),
        ("2620:fe::9", "malware"),
        ("2620:ff::", ""),
    ]
    for address, expected in [*expectations, ("9.9.9.9", "malware")]:
        assert set(catalogue.names_of(catalogue.host_mask(address))) == set(expected.split()), address
    assert locate(catalogue, "8.8.7.1", "malware") == Origin("malware", 1, "8.8.4.0/22")
    assert locate(catalogue, "::ffff:8.8.7.1", "malware") == Origin("malware", 1, "8.8.4.0/22")
    assert locate(catalogue, "8.8.8.8", "bypass") == Origin("bypass", 1, "24.0.8.8.8.rpz-ip CNAME .")
    assert locate(catalogue, "::ffff:9.9.9.9", "malware") == Origin("malware", 3, "9.9.9.9")
    assert locate(catalogue, "9.9.9.9", "malware") == Origin("malware", 3, "9.9.9.9")


def test_first_match_considers_exceptions_for_urls(tmp_path: Path) -> None:
    catalogue, _ = build(tmp_path, adult="||ads.example^\n@@||ads.example/player.js$script\n/banner-1/\n")
    assert first_match(catalogue, "https://ads.example/x.js", "script") == UrlMatch(
        "adult", Origin("adult", text="ads.example")
    )
    assert first_match(catalogue, "https://ads.example/player.js", "script") is None
    assert first_match(catalogue, "https://ads.example/player.js", "image") is not None
    found = first_match(catalogue, "https://other.example/banner-1/", "image")
    assert found == UrlMatch("adult", Origin("adult", 3, "/banner-1/"))
    assert first_match(catalogue, "https://other.example/", "image") is None
    adult = catalogue.mask_of(["adult"])
    assert catalogue.lifted_by_url("https://ads.example/player.js", "script", mask=adult) == adult
    assert catalogue.lifted_by_url("https://ads.example/x.js", "script", mask=adult) == 0


def test_rules_about_record_types(tmp_path: Path) -> None:
    text = (
        "||six.example^$dnstype=AAAA\n||rest.example^$dnstype=~A|~AAAA\n||both.example^$~image\n"
        "||both.example^$dnstype=A\n"
    )
    catalogue, _ = build(tmp_path, adult=text)
    matching = [("www.six.example", "AAAA", 1), ("rest.example", "HTTPS", 2), ("both.example", "A", 4)]
    others = [
        ("www.six.example", "A"),
        ("six.example", ""),
        ("rest.example", "A"),
        ("rest.example", ""),
        ("both.example", "AAAA"),
    ]
    assert catalogue.has_dns_rules
    for host, dns_type, line in matching:
        found = catalogue.match_dns_rule(host, dns_type).match
        assert found is not None, host
        assert found.origin.line == line
    for host, dns_type in others:
        assert catalogue.match_dns_rule(host, dns_type).match is None, (host, dns_type)
    assert catalogue.match_url("https://six.example/") is None


def test_an_exception_may_lift_a_block_for_one_record_type(tmp_path: Path) -> None:
    text = "||a.example^\n@@||a.example^$dnstype=A\n||b.example^$important\n@@||b.example^$dnstype=A\n"
    catalogue, _ = build(tmp_path, adult=text, social="||a.example^\n")
    adult = catalogue.mask_of(["adult"])
    for host, dns_type, lifted in (("www.a.example", "A", adult), ("a.example", "AAAA", 0), ("b.example", "A", 0)):
        assert catalogue.match_dns_rule(host, dns_type) == (None, lifted, ""), (host, dns_type)


def test_rules_about_clients_are_not_honoured(tmp_path: Path) -> None:
    """The policy has rules for people and devices. Such a list rule is left out rather than applied to everybody."""
    text = (
        "||kid.example^$client=tablet\n||tag.example^$ctag=user_child,dnstype=A\n"
        "@@||whole.example^$client=tablet\n||whole.example^\n"
    )
    catalogue, report = build(tmp_path, adult=text)
    assert report.sources[0].problems == {"modifier not honoured: $client": 2, "modifier not honoured: $ctag": 1}
    assert not catalogue.has_dns_rules
    assert (names(catalogue, "kid.example"), names(catalogue, "whole.example")) == (set(), {"adult"})


def test_badfilter_restores_covered_names(tmp_path: Path) -> None:
    """Names below a disabled rule count again; rules of other categories stay."""
    lists = {
        "adult": "||a.example^\n||deep.a.example^\n||i.example^$important\n||i2.example^\n@@||ok.i2.example^\n",
        "adult_2": "||a.example^$badfilter\n||i.example^$badfilter\n@@||ok.i2.example^$badfilter\n",
        "social": "||a.example^\n",
    }
    sources = []
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        sources.append(Source(name, name.removesuffix("_2"), tmp_path / name, format="adblock"))
    report = compile_generation(sources, tmp_path / "generation")
    catalogue = Catalogue.open(tmp_path / "generation")
    assert names(catalogue, "a.example") == names(catalogue, "x.a.example") == {"social"}
    assert names(catalogue, "x.deep.a.example") == {"adult", "social"}
    assert names(catalogue, "i.example") == {"adult"}  # the rule without $important is not there to be taken back
    assert names(catalogue, "ok.i2.example") == {"adult"}
    assert report.domains == 4
    assert catalogue.hosts.sources("deep.a.example")[-1] == HostMatch("adult", "adult", "deep.a.example")


REWRITES = """\
||a.example^$dnsrewrite=192.0.2.7
||b.example^$dnsrewrite=NOERROR;CNAME;safe.example
||c.example^$dnsrewrite=NXDOMAIN
||d.example^$dnsrewrite=NOERROR;A;0.0.0.0
||e.example^$dnsrewrite=NOERROR;MX;10 mail.example
||f.example^$dnsrewrite=NOERROR;A;2001:db8::1
@@||c.example^$dnsrewrite
@@||a.example^$dnsrewrite=192.0.2.7
||g.example^$dnsrewrite=2001:db8::1,dnstype=A
"""


def test_only_local_lists_may_rewrite_names(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(REWRITES)
    own = Source("own", "adult", tmp_path / "list", format="adblock")
    remote = Source("remote", "social", tmp_path / "list", "https://lists.example/list", format="adblock")
    report = compile_generation([own, remote], tmp_path / "generation")
    catalogue = Catalogue.open(tmp_path / "generation")
    adult, social = (catalogue.mask_of([name]) for name in ("adult", "social"))
    targets = {"a": "192.0.2.7", "b": "safe.example", "e": "", "f": "", "g": "2001:db8::1"}
    for name, target in targets.items():
        assert catalogue.match_dns_rule(f"www.{name}.example", "A", adult).target == target
        assert catalogue.match_dns_rule(f"{name}.example", "A", social) == (None, 0, "")
        assert catalogue.match_dns_rule(f"{name}.example", "", adult) == (None, 0, "")
    assert names(catalogue, "c.example") == names(catalogue, "d.example") == {"adult", "social"}
    mine, theirs = report.sources
    message = "modifier not honoured: $dnsrewrite to another address, in a list that is downloaded"
    assert (mine.url_rules, theirs.url_rules, theirs.problems.get(message)) == (3, 0, 3)
    assert mine.problems == {
        "modifier not honoured: $dnsrewrite=noerror;mx": 1,
        "modifier not honoured: $dnsrewrite=noerror;a": 1,
        "modifier not honoured: $dnsrewrite of an exception": 1,
        "modifier not honoured: $dnsrewrite": 1,
    }
    for reported in report.sources:
        assert reported.lines == reported.names + reported.url_rules + sum(reported.problems.values())


def test_method_modifier(tmp_path: Path) -> None:
    catalogue, report = build(
        tmp_path, adult="||a.example/form$method=post|put\n||a.example/b$method=~get\n||c.example^$method=post\n"
    )
    assert report.problems == ()
    for url, method, blocked in (
        ("https://a.example/form", "POST", True),
        ("https://a.example/form", "GET", False),
        ("https://a.example/form", "", False),
        ("https://a.example/b", "HEAD", True),
        ("https://a.example/b", "GET", False),
        ("https://c.example/", "POST", True),
    ):
        assert (catalogue.match_url(url, method=method) is not None) == blocked, (url, method)
    assert names(catalogue, "c.example") == set()


def test_sealed_lists_are_enforced_and_unreadable(tmp_path: Path) -> None:
    expressions = ["whole.example/", "some.example/album/", "some.example/one.jpg", "some.example/q?id=1"]
    catalogue, report = build(tmp_path, illegal="\n".join(map(hash_expression, expressions)) + "\n")
    assert report.problems == ()
    assert names(catalogue, "cdn.whole.example") == {"illegal"}
    assert names(catalogue, "some.example") == set()
    assert catalogue.has_url_rules("some.example")
    for url in (
        "http://some.example/album/x/y.jpg",
        "https://www.some.example:8443/a/../one.jpg?x#y",
        "http://SOME.example/q?id=%31",
    ):
        assert catalogue.match_url(url) == UrlMatch("illegal", Origin("illegal")), url
        assert first_match(catalogue, url, "image") == UrlMatch("illegal", Origin("illegal"))
    for url in (
        "http://some.example/",
        "http://some.example/albums",
        "http://some.example/q?id=2",
        "http://other.example/album/",
    ):
        assert catalogue.match_url(url) is None, url
    assert locate(catalogue, "whole.example", "illegal") == Origin("illegal")
    assert catalogue.hosts.sources("whole.example") == ()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "generation").rglob("*") if path.is_file())
    assert b"some.example" not in kept
    assert b"whole.example" not in kept


def test_a_good_category_may_name_a_suffix(tmp_path: Path) -> None:
    catalogue, report = build(tmp_path, health="nhs.uk\n")
    assert names(catalogue, "www.nhs.uk") == {"health"}
    assert report.problems == ()


def test_unusable_lists_are_reported_and_the_others_used(tmp_path: Path) -> None:
    texts = {
        "good": b"good.example\n",
        "empty": b"",
        "comments": b"# nothing\n\n",
        "garbage": bytes(range(256)) * 50,
        "web": b"<html>\n<p>x</p>\n",
    }
    texts["half"] = b"fine.example\n\x00\x01\x02\n" + b"also-fine.example\n" * 5
    sources = [Source(name, "adult", tmp_path / name) for name in (*texts, "missing")]
    for name, content in texts.items():
        (tmp_path / name).write_bytes(content)
    sources += [
        Source("remote", "adult", url="https://lists.example/a"),
        Source("odd", "adult", tmp_path / "good", format="pdf"),
    ]
    (tmp_path / "folder").mkdir()
    sources.append(Source("folder", "adult", tmp_path / "folder"))
    report = compile_generation(sources, tmp_path / "generation")
    catalogue = Catalogue.open(tmp_path / "generation")
    assert [host for host in ("good.example", "fine.example", "also-fine.example") if catalogue.host_mask(host)] != []
    assert report.domains == 3
    said = {
        problem.source: problem.message.partition(";")[0] for problem in report.problems if problem.source != "garbage"
    }
    assert said == {
        "empty": "is empty",
        "comments": "is in no format that is known",
        "web": "is in no format that is known",
        "half": "binary data in a line",
        "missing": "cannot be read: No such file or directory",
        "remote": "cannot be read: not downloaded yet",
        "odd": "no such format: pdf",
        "folder": "is empty",
    }
    assert any(problem.source == "garbage" for problem in report.problems)


def test_empty_catalogue(tmp_path: Path) -> None:
    catalogue, report = build(tmp_path)
    assert (catalogue.host_mask("a.example"), catalogue.hosts.sources("a.example"), report.domains) == (0, (), 0)
    assert not catalogue.has_url_rules("a.example")
    assert catalogue.match_url("http://a.example/") is None


def test_the_version_follows_the_content(tmp_path: Path) -> None:
    versions = []
    for place, text in enumerate(["a.example\n", "a.example\n", "b.example\n"]):
        (folder := tmp_path / str(place)).mkdir()
        versions.append(build(folder, adult=text)[0].version)
    assert versions[0] == versions[1] != versions[2]


def test_a_generation_has_its_own_copies_of_lists(tmp_path: Path) -> None:
    catalogue, _ = build(tmp_path, adult="a.example\n")
    (tmp_path / "adult.txt").write_text("changed\n")
    assert locate(catalogue, "a.example", "adult") == Origin("adult", 1, "a.example")


def test_lists_of_the_same_name_are_numbered(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.txt").write_text(f"# {number}\n" * number + f"a{number}.example\n")
    sources = [Source("mine", "adult", tmp_path / "1.txt"), Source("mine", "adult", tmp_path / "2.txt")]
    compile_generation(sources, tmp_path / "generation")
    assert locate(Catalogue.open(tmp_path / "generation"), "a2.example", "adult") == Origin("mine (2)", 3, "a2.example")


def test_a_failed_compile_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "generations").mkdir()
    source = tmp_path / "list.txt"
    source.write_text("a.example\n")
    monkeypatch.setattr("hedgerow.blocklists.compiler.write_meta", full_disk)
    with pytest.raises(OSError, match="No space"):
        compile_generation([Source("list", "adult", source)], tmp_path / "generations" / "1")
    assert list((tmp_path / "generations").iterdir()) == []


def test_an_existing_generation_is_not_overwritten(tmp_path: Path) -> None:
    catalogue, _ = build(tmp_path, adult="a.example\n")
    with pytest.raises(FileExistsError):
        build(tmp_path, adult="b.example\n")
    assert catalogue.host_mask("a.example") != 0


def test_other_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=META_FILE):
        Catalogue.open(tmp_path)
    build(tmp_path, adult="a.example\n")
    meta = tmp_path / "generation" / META_FILE
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "layout": 0}))
    with pytest.raises(ValueError, match="layout"):
        Catalogue.open(tmp_path / "generation")


@pytest.mark.parametrize(
    "file", ["hosts/hosts-000.trie", "hosts/sets.bin", "urls/rules.bin", "urls/rules.jsonl", "urls/buckets.bin"]
)
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, file: str, share: float) -> None:
    build(tmp_path, adult="".join(f"||n{number}.example^\n||u.example/{number}^\n" for number in range(20)))
    path = tmp_path / "generation" / file
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises((OSError, ValueError)):
        Catalogue.open(tmp_path / "generation")


LABEL = st.sampled_from(["a", "b", "ab", "a-b", "c_", "0", "zz"])
DOMAIN = st.lists(LABEL, min_size=1, max_size=4).map(lambda labels: ".".join([*labels, "example"]))


@settings(max_examples=40)
@given(
    lists=st.lists(st.lists(DOMAIN, max_size=30), min_size=1, max_size=4),
    asked=st.lists(DOMAIN, max_size=20),
    shard=st.sampled_from([2, 5, 1000]),
)
def test_the_index_agrees_with_a_dict(
    tmp_path_factory: pytest.TempPathFactory, lists: list[list[str]], asked: list[str], shard: int
) -> None:
    """This holds for any split into runs and shards, and with covered names dropped."""
    folder = tmp_path_factory.mktemp("generation")
    categories = ["adult", "social", "gambling", "adult"]
    sources = [Source(f"s{n}", categories[n], folder / f"{n}.txt", format="plain") for n in range(len(lists))]
    for source, domains in zip(sources, lists, strict=True):
        assert source.path
        source.path.write_text("\n".join(domains) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_index, "KEYS_PER_SHARD", shard)
        patch.setattr("hedgerow.blocklists.host_index.SAMPLE_BYTES", 16)
        patch.setattr("hedgerow.blocklists.host_index.BLOCK_BYTES", 16)
        patch.setattr("hedgerow.blocklists.list_parser.KEYS_PER_RUN", 7)
        report = compile_generation(sources, folder / "generation")
    catalogue = Catalogue.open(folder / "generation")
    for host in {*asked, *(domain for domains in lists for domain in domains)}:
        parents = {host.split(".", n)[n] for n in range(host.count(".") + 1)}
        expected = {
            (source.category, source.name)
            for source, domains in zip(sources, lists, strict=True)
            if parents & set(domains)
        }
        assert names(catalogue, host) == {category for category, _ in expected}
        assert {(match.category, match.source) for match in catalogue.hosts.sources(host)} == expected
    assert report.domains == len({domain for domains in lists for domain in domains})
