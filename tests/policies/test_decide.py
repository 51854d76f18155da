"""Properties of all decisions, tested with random policies, hosts and instants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.names import is_beneath
from hedgerow.policies.decide import LIFTED_BY_ALWAYS, STEPS, decide
from hedgerow.policies.explain import explain
from hedgerow.policies.host_facts import Lifelines
from hedgerow.policies.model import (
    Device,
    DeviceId,
    Grant,
    Pause,
    Policy,
    Privacy,
    Reason,
    Request,
    RequestKind,
    Verdict,
)
from hedgerow.policies.reading.load import load_policy, parse_policy
from hedgerow.policies.request_context import build_context
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.times.closing import is_in_force
from hedgerow.policies.times.schedule import state_at

RELAXED = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
NOON = 1_795_521_600.0  # 2026-11-24 12:00 UTC
HOSTS = (
    "adult.example",
    "gambling.example",
    "social.example",
    "vpn.example",
    "both.example",
    "mixed.example",
    "news.example",
    "www.google.com",
    "search.yahoo.com",
    "metager.de",
    "www.youtube.com",
    "www.instagram.com",
    "www.roblox.com",
    "en.wikipedia.org",
    "www.chase.com",
    "discord.com",
    "web.telegram.org",
    "www.youtube-nocookie.com",
    "youtubei.googleapis.com",
    "www.tiktok.com",
    "93.184.216.34",
    "2001:db8::1",
    "localhost",
    "a.b.c.d.e.f.example",
    "xn--bcher-kva.example",
)
SUBJECTS = (
    "roblox",
    "instagram",
    "youtube",
    "youtube-kids",
    "discord",
    "telegram",
    "social",
    "messaging",
    "gambling",
    "adult",
    "bypass",
    "unsafe-search",
    "adult.example",
    ".example",
    "google.com",
    "metager.de",
    "mixed.example/weapons",
    "www.youtube.com",
    "youtube.com/shorts",
    "childline.org.uk",
    "org.uk",
)
BEDTIMES = (
    '"20:30-07:00"',
    '"00:00-24:00"',
    "none",
    '{school-nights: "20:30-07:00", weekend: "23:00-09:00"}',
    '{fri: ["13:00-14:00", "01:00-02:00"]}',
)

SCHEDULES = (
    '{a: {block: internet, when: "12:00-13:00"}}',
    (
        '{a: {block: [social, roblox], when: {school-days: ["08:00-12:30", "14:00-15:00"]}}, b: {allow: youtube, when:'
        ' {sat: "09:00-11:00"}}}'
    ),
    (
        '{a: {only: [youtube, social], when: {sat: "09:00-11:00"}}, b: {only: internet, when: "07:00-22:00"}, c:'
        " {block: games, when: fri}}"
    ),
    '{a: {block: games, when: {school-nights: "17:00-22:00"}}}',
    '{a: {allow: internet, when: {fri: "20:00-23:30", 2026-11-26: "00:00-24:00"}}}',
)

hosts = st.one_of(st.sampled_from(HOSTS), st.sampled_from(sorted(Lifelines.load().hosts)))
subjects = st.lists(st.sampled_from(SUBJECTS), max_size=4, unique=True)
moments = st.integers(0, 14 * 86_400).map(lambda seconds: NOON + seconds)


@st.composite
def scopes(draw: st.DrawFn) -> str:
    named = draw(subjects)
    cut = draw(st.integers(0, len(named)))
    allow, block = named[:cut], named[cut:]
    always = draw(st.integers(0, cut))
    text = f"always: {allow[:always]}, allow: {allow[always:]}, block: {block}"
    if draw(st.booleans()):
        text += f", bedtime: {draw(st.sampled_from(BEDTIMES))}"
    if draw(st.booleans()):
        text += f", safe_search: {draw(st.sampled_from(('off', 'moderate', 'strict')))}"
    if draw(st.booleans()):
        text += f", schedules: {draw(st.sampled_from(SCHEDULES))}"
    return text


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    age, trusts = draw(st.integers(4, 40)), draw(st.booleans())
    return _policy_of(f"age: {age}, {draw(scopes())}", f"trusts_ca: {str(trusts).lower()}, {draw(scopes())}")


def _policy_of(person: str, device: str) -> Policy:
    text = f"people: {{mia: {{devices: [tablet], {person}}}}}\ndevices: {{tablet: {{ip: 192.168.1.9, {device}}}}}\n"
    return parse_policy(text.encode(), None)


@st.composite
def grants(draw: st.DrawFn) -> tuple[Grant, ...]:
    return tuple(
        Grant(
            str(n),
            draw(st.sampled_from(SUBJECTS)),
            "ana",
            NOON + draw(st.integers(-9999, 99_999)),
            NOON + draw(st.integers(100_000, 200_000)),
        )
        for n in range(draw(st.integers(0, 2)))
    )


@st.composite
def pauses(draw: st.DrawFn) -> tuple[Pause, ...]:
    return tuple(
        Pause(str(n), "ana", NOON + draw(st.integers(-9999, 99_999)), NOON + draw(st.integers(100_000, 200_000)))
        for n in range(draw(st.integers(0, 1)))
    )


requests = st.builds(
    lambda host, kind, path: Request(
        DeviceId("tablet"), kind, host, 443, f"https://{host}{path}" if kind is RequestKind.HTTP else None
    ),
    hosts,
    st.sampled_from(RequestKind),
    st.sampled_from(("/", "/shorts/1", "/weapons", "/search?q=1")),
)


def _tablet(rulesets: Rulesets) -> Device:
    device = rulesets.devices.find("192.168.1.9")
    assert device is not None
    return device


@RELAXED
@given(policies(), grants(), pauses(), requests, moments)
def test_verdicts_fit_the_kind(
    catalogue: Catalogue,
    policy: Policy,
    given_grants: tuple[Grant, ...],
    given_pauses: tuple[Pause, ...],
    request_: Request,
    now: float,
) -> None:
    rulesets = Rulesets(policy, given_grants, given_pauses, catalogue)
    ruleset = rulesets.ruleset(_tablet(rulesets), now)
    decision = decide(ruleset, catalogue, request_)
    assert decision == decide(ruleset, catalogue, request_)
    if is_beneath(request_.host, Lifelines.load().hosts):
        assert (decision.verdict, decision.reason) == (Verdict.ALLOW, Reason.LIFELINE)
    elif (closed := ruleset.closed) is not None:
        is_open = closed.reason in LIFTED_BY_ALWAYS and build_context(ruleset, catalogue, request_).is_always_open
        assert is_open or (decision.verdict, decision.reason, decision.until) == (
            Verdict.BLOCK,
            closed.reason,
            closed.until,
        )
    match decision.verdict:
        case Verdict.INSPECT:
            assert request_.kind is RequestKind.TUNNEL
            assert ruleset.trusts_ca
        case Verdict.REWRITE:
            assert request_.kind in (RequestKind.DNS, RequestKind.HTTP)
            assert bool(decision.target) == (request_.kind is RequestKind.DNS)
        case Verdict.BLOCK:
            assert decision.reason is not Reason.DEFAULT
        case Verdict.ALLOW:
            pass
    if decision.until is not None:
        assert decision.until > now


@RELAXED
@given(policies(), grants(), pauses(), requests, moments)
def test_decisions_hold_until_their_end(
    catalogue: Catalogue,
    policy: Policy,
    given_grants: tuple[Grant, ...],
    given_pauses: tuple[Pause, ...],
    request_: Request,
    now: float,
) -> None:
    rulesets = Rulesets(policy, given_grants, given_pauses, catalogue)
    device = _tablet(rulesets)
    ruleset = rulesets.ruleset(device, now)
    until = now + 30 * 86_400 if ruleset.until is None else ruleset.until
    for share in (0.3, 0.9, 0.9999):
        later = now + (until - now) * share
        fresh = Rulesets(policy, given_grants, given_pauses, catalogue)
        assert decide(fresh.ruleset(device, later), catalogue, request_) == decide(ruleset, catalogue, request_)
        assert rulesets.ruleset(device, later) is ruleset
    reported = given_grants, given_pauses
    assert _in_force(rulesets, device, until - 0.001, *reported) == _in_force(rulesets, device, now, *reported)
    if ruleset.until is not None:
        assert rulesets.ruleset(device, ruleset.until) is not ruleset
        assert _in_force(rulesets, device, ruleset.until, *reported) != _in_force(rulesets, device, now, *reported)


def _in_force(
    rulesets: Rulesets, device: Device, now: float, given_grants: Iterable[Grant], given_pauses: Iterable[Pause]
) -> list[bool]:
    """Return everything time-dependent that is in force."""
    (user,) = rulesets.effective_users_of(device, now)
    schedules = [bedtime for rules in user.layers.values() if (bedtime := rules.bedtime) is not None][:1]
    schedules += [timed.when for rules in user.layers.values() for timed in rules.schedules]
    both: tuple[Grant | Pause, ...] = (*given_grants, *given_pauses)
    given = [is_in_force(each, now) for each in both]
    return [state_at(each, user.zone, now).active for each in schedules] + given


@RELAXED
@given(policies(), hosts, moments, st.sampled_from(("unrelated.test", "unrelated.test/path", "duolingo.example.test")))
def test_an_unrelated_rule_changes_nothing(
    catalogue: Catalogue, policy: Policy, host: str, now: float, unrelated: str
) -> None:
    extra = parse_policy(f"block: ['{unrelated}']\n".encode(), None).household
    changed = replace(policy, household=extra)
    for kind in (RequestKind.DNS, RequestKind.TUNNEL):
        request = Request(DeviceId("tablet"), kind, host)
        before, after = (Rulesets(each, (), (), catalogue) for each in (policy, changed))
        assert decide(before.ruleset(_tablet(before), now), catalogue, request) == decide(
            after.ruleset(_tablet(after), now), catalogue, request
        )


AGES = (5, 10, 14, 16, 30)


@settings(RELAXED, max_examples=400)
@given(scopes(), scopes(), grants(), pauses(), requests, moments, st.integers(0, len(AGES) - 2))
@example("allow: [messaging]", "", (), (), Request(DeviceId("tablet"), RequestKind.DNS, "discord.com"), NOON, 0)
def test_a_stricter_age_never_allows_more(
    catalogue: Catalogue,
    person: str,
    device: str,
    given_grants: tuple[Grant, ...],
    given_pauses: tuple[Pause, ...],
    request_: Request,
    now: float,
    younger: int,
) -> None:
    """Hold for any other rules and grants."""

    def blocked(age: int) -> bool:
        policy = _policy_of(f"age: {age}, {person}", device)
        rulesets = Rulesets(policy, given_grants, given_pauses, catalogue)
        return decide(rulesets.ruleset(_tablet(rulesets), now), catalogue, request_).verdict is Verdict.BLOCK

    assert blocked(AGES[younger]) >= blocked(AGES[younger + 1])


def test_built_in_profiles_loosen_with_age() -> None:
    profiles = load_policy(None).profiles
    ordered = [profiles[name].rules for name in ("child-under-8", "child-8-12", "teen-13-15", "teen-16-17", "adult")]
    levels = {"strict": 0, "moderate": 1, "off": 2}
    privacy = [Privacy.FULL, Privacy.DOMAIN, Privacy.CATEGORY, Privacy.NONE]
    for younger, older in pairwise(ordered):
        blocked = [{(target.kind, target.name) for target in rules.block} for rules in (younger, older)]
        assert blocked[0] >= blocked[1]
        assert younger.safe_search is not None
        assert older.safe_search is not None
        assert levels[younger.safe_search] <= levels[older.safe_search]
        assert younger.youtube is not None
        assert older.youtube is not None
        assert levels[younger.youtube] <= levels[older.youtube]
        assert younger.privacy is not None
        assert older.privacy is not None
        assert privacy.index(younger.privacy) <= privacy.index(older.privacy)


@RELAXED
@given(
    policies(),
    grants(),
    pauses(),
    st.one_of(hosts, hosts.map(lambda host: f"https://{host if ':' not in host else f'[{host}]'}/shorts/1")),
    moments,
)
def test_explain_agrees_with_decide(
    catalogue: Catalogue,
    policy: Policy,
    given_grants: tuple[Grant, ...],
    given_pauses: tuple[Pause, ...],
    target: str,
    now: float,
) -> None:
    rulesets = Rulesets(policy, given_grants, given_pauses, catalogue)
    device = _tablet(rulesets)
    ruleset = rulesets.ruleset(device, now)
    explanation = explain(rulesets, catalogue, device, target, now)
    for point in explanation.points:
        decision = decide(ruleset, catalogue, point.request)
        assert replace(point.decision, rule=None) == replace(decision, rule=None)
        assert [step.name for step in point.steps] == [step.name for step in STEPS][: len(point.steps)]
        assert [step.decided for step in point.steps] == [False] * (len(point.steps) - 1) + [True]
        assert all(step.why for step in point.steps)
    assert explanation.decision == explanation.points[-1].decision


def test_a_blocked_host_is_not_inspected(catalogue: Catalogue) -> None:
    policy = parse_policy(b"devices: {pc: {ip: 192.168.1.9, trusts_ca: true}}", None)
    rulesets = Rulesets(policy, (), (), catalogue)
    ruleset = rulesets.ruleset(_tablet(rulesets), NOON)
    for host, verdict in (
        ("adult.example", Verdict.BLOCK),
        ("mixed.example", Verdict.INSPECT),
        ("www.chase.com", Verdict.ALLOW),
    ):
        assert decide(ruleset, catalogue, Request(DeviceId("pc"), RequestKind.TUNNEL, host)).verdict is verdict
