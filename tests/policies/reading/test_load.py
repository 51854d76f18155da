from __future__ import annotations

import gc
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from hedgerow.blocklists.rules import Problem
from hedgerow.codec import decode, encode
from hedgerow.policies.model import Policy, Privacy, SafeSearch, TargetKind
from hedgerow.policies.network import LOCAL_NETWORKS, WEB_PORTS
from hedgerow.policies.reading.load import MANY_ENTRIES, PolicyError, load_policy, parse_policy
from hedgerow.policies.reading.profiles import BUILTIN_PROFILE_NAMES
from hedgerow.policies.reading.schema import RawDevice, RawList, RawNetwork, RawPerson, RawPolicy
from hedgerow.policies.time_model import Span

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def test_an_empty_file_filters_everybody_as_a_child(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "---\n", "{}", "network:\npeople:\n"):
        (tmp_path / "hedgerow.yaml").write_text(text)
        policy = load_policy(tmp_path / "hedgerow.yaml")
        assert policy.network.unknown_devices == "child-8-12"
        assert policy.network.lan == LOCAL_NETWORKS
        assert policy.network.ports == WEB_PORTS
        assert policy.network.reachable == ()
        assert tuple(policy.profiles) == BUILTIN_PROFILE_NAMES


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_examples_are_valid_and_survive_the_codec(path: Path) -> None:
    policy = load_policy(path)
    assert decode(Policy, encode(policy)) == policy


def test_examples_exist() -> None:
    assert {path.stem for path in EXAMPLES} == {"family", "cafe", "shared-house"}


def test_the_family_example() -> None:
    policy = load_policy(ROOT / "examples" / "family.yaml")
    mia = policy.people["mia"]
    assert mia.profile == "child-8-12"
    assert [(target.kind, target.name) for target in mia.rules.block] == [
        (TargetKind.SERVICE, "roblox"),
        (TargetKind.URL, "youtube.com/shorts"),
    ]
    assert mia.rules.block[0].origin.text == 'block: [roblox, "youtube.com/shorts"]'
    assert mia.rules.bedtime is not None
    assert Span(4, 21 * 60 + 30, 32 * 60) in mia.rules.bedtime.spans
    assert Span(6, 20 * 60 + 30, 31 * 60) in mia.rules.bedtime.spans
    tom = policy.devices["aa:bb:cc:dd:ee:01"]
    assert (tom.person, tom.profile, tom.macs) == ("tom", "teen-13-15", ("aa:bb:cc:dd:ee:01",))
    assert policy.people["tom"].rules.youtube is SafeSearch.MODERATE
    assert policy.devices["ana-laptop"].networks == (ip_network("192.168.1.41/32"), ip_network("fd12:3456::41/128"))
    assert "shopping" in {target.name for target in policy.profiles["teen-13-15"].rules.block}


def test_relative_paths_of_lists_start_at_the_policy(tmp_path: Path) -> None:
    text = (
        "block: [ours]\nlists: [{category: ours, path: lists/a.txt}, {category: adult, url: 'https://example.org/a'}]"
    )
    policy = parse_policy(text.encode(), tmp_path / "hedgerow.yaml")
    assert policy.lists[0].path == str(tmp_path / "lists" / "a.txt")
    assert (policy.lists[1].url, policy.lists[1].format, policy.lists[1].category) == (
        "https://example.org/a",
        "auto",
        "adult",
    )
    assert "ours" in policy.categories


def test_rules_of_one_long_line_do_not_each_keep_the_line() -> None:
    hosts = [f"x{number}.example" for number in range(500)]
    policy = parse_policy(f"people:\n  mia: {{age: 9, block: [{', '.join(hosts)}]}}\n".encode(), None)
    rules = policy.people["mia"].rules.block
    assert [rule.name for rule in rules] == hosts
    assert all(rule.name in rule.origin.text and len(rule.origin.text) <= 1000 for rule in rules)


def test_the_garbage_collector_never_looks_through_a_large_policy() -> None:
    names = [f"p{number}" for number in range(MANY_ENTRIES + 1)]
    try:
        policy = parse_policy("".join(["people:\n", *(f"  {name}: {{age: 9}}\n" for name in names)]).encode(), None)
        people = {id(person) for person in policy.people.values()}
        assert len(people) == len(names)
        assert not people & {id(each) for each in gc.get_objects()}  # which leaves out those that are exempt
    finally:
        gc.unfreeze()


def test_yaml_1_1_words_are_text() -> None:
    text = """
network: {country: no, timezone: Europe/Oslo}
people: {mia: {bedtime: 20:30-07:00, safe_search: off, devices: [11:22:33:44:55:06]}}
devices: {tv: {ip: 192.168.1.7, trusts_ca: yes, never_inspect: off}}
"""
    policy = parse_policy(text.encode(), None)
    assert policy.network.country == "NO"
    assert policy.people["mia"].rules.safe_search is SafeSearch.OFF
    assert policy.people["mia"].rules.bedtime is not None
    assert policy.devices["11:22:33:44:55:06"].macs == ("11:22:33:44:55:06",)
    assert (policy.devices["tv"].trusts_ca, policy.devices["tv"].never_inspect) == (True, False)


@pytest.mark.parametrize(
    "upstream",
    [
        "9.9.9.9",
        "9.9.9.9:5353",
        "2620:fe::fe",
        "[2620:fe::fe]:53",
        "udp://9.9.9.9",
        "tcp://[2620:fe::fe]",
        "tls://dns.quad9.net",
        "tls://9.9.9.9:853",
        "https://dns.quad9.net/dns-query",
        "https://9.9.9.9/dns-query",
        "system",
    ],
)
def test_upstreams(upstream: str) -> None:
    assert parse_policy(f"network: {{upstream: ['{upstream}']}}".encode(), None).network.upstream == (upstream,)


def test_built_in_profiles_give_reasons_and_sources() -> None:
    for profile in load_policy(None).profiles.values():
        assert profile.title
        assert profile.why
        assert profile.source
        assert None not in (profile.rules.safe_search, profile.rules.youtube, profile.rules.privacy)
        assert {"illegal", "malware", "phishing"} <= {target.name for target in profile.rules.block}


def test_custom_profiles_inherit_from_the_extended_one() -> None:
    policy = parse_policy(b"profiles: {calm: {extends: child-8-12, block: [+roblox, -shopping], privacy: none}}", None)
    base, own = policy.profiles["child-8-12"].rules, policy.profiles["calm"].rules
    assert {target.name for target in own.block} == {target.name for target in base.block} - {"shopping"} | {"roblox"}
    assert own.privacy is Privacy.NONE
    assert own.safe_search is base.safe_search


def _problems_of(data: bytes) -> tuple[Problem, ...] | None:
    """Return the problems of a policy, or None."""
    try:
        parse_policy(data, Path("hedgerow.yaml"))
    except PolicyError as error:
        return error.problems
    return None


WORDS = """
people mia devices block allow lists network bedtime age 9 20:30-07:00 roblox ! &a *a profiles adult extends ip 192.168.1.7 category path
lan ~ true [ ] { } : ' " # | > % @ none ports every-day 1e5 é
"""  # noqa: E501
words = st.sampled_from([*WORDS.split(), "x y", "- ", "\n", "  ", ", ", ": ", "\t", "\u2028"])


@settings(max_examples=500)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.lists(words, max_size=40).map("".join).map(str.encode),
    )
)
def test_any_bytes_give_a_policy_or_mistakes(data: bytes) -> None:
    problems = _problems_of(data)
    assert problems is None or problems
    assert all(problem.line is not None and problem.message for problem in problems or ())


KEYS = sorted(
    {key for model in (RawPolicy, RawPerson, RawDevice, RawNetwork, RawList) for key in model.model_fields}
    | {"mia", "tv", "adult", "mon"}
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 200),
    st.sampled_from(["mia", "tv", "roblox", "adult", "192.168.1.7", "20:30-07:00", "x"]),
)
json_like = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)),
    max_leaves=20,
)


@settings(max_examples=500)
@given(st.dictionaries(st.sampled_from([*RawPolicy.model_fields, "nonsense"]), json_like, max_size=5))
def test_any_document_gives_a_policy_or_mistakes(document: object) -> None:
    data = TypeAdapter(object).dump_json(document)  # JSON is YAML
    problems = _problems_of(data)
    assert problems is None or len(set(problems)) == len(problems) > 0
