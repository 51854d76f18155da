"""More is recorded about a child only a day after its page has said so."""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from web_server import NOW, Web, running_web

from hedgerow.dashboards.control import DeviceView
from hedgerow.features.agreement.changes import RuleChanges
from hedgerow.features.agreement.recording import (
    NOTICE_S,
    RecordingGuard,
    RecordingLevel,
    is_more,
    levels_of,
    next_level,
)
from hedgerow.policies.identity import Grade
from hedgerow.policies.model import Decision, DeviceId, Policy, Privacy, Reason, Verdict
from hedgerow.policies.reading.load import parse_policy
from hedgerow.proxy.pages.block_page import BlockPage
from hedgerow.proxy.pages.translations import PageReader
from hedgerow.seen_time import ClockWatch

HOUSE = """
network: {lan: [127.0.0.0/8], timezone: UTC, country: PT}
people:
  mia: {age: 9, devices: [mia-tablet, console]}
  tom: {age: 15, devices: [tom-phone]}
  Ana: {profile: adult, devices: [ana-phone]}
devices:
  mia-tablet: {ip: 127.0.0.31}
  console: {ip: 127.0.0.41}
  tom-phone: {ip: 127.0.0.32}
  ana-phone: {ip: 127.0.0.33}
"""
MIA, TOM = "127.0.0.31", "127.0.0.32"
HOUR_S = 3600.0


def _policy(*changes: tuple[str, str]) -> Policy:
    text = HOUSE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_policy(text.encode(), None)


PLAIN = _policy()
WAYS = {
    "the person": ("age: 15,", "age: 15, privacy: full,"),
    "a device": ("127.0.0.32}", "127.0.0.32, privacy: full}"),
    "everybody": ("people:", "privacy: full\npeople:"),
    "a younger profile": ("age: 15,", "age: 9,"),
}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "hedgerow.yaml").write_text(HOUSE)
    with running_web(tmp_path) as running:
        for address, device, person, profile in (
            (MIA, "mia-tablet", "mia", "child-8-12"),
            (TOM, "tom-phone", "tom", "teen-13-15"),
        ):
            running.control.devices[address] = DeviceView(DeviceId(device), person, profile, grade=Grade.ADDRESS)
        yield running


def _guard(web: Web, clock: Clock) -> RecordingGuard:
    """Return a guard on a machine whose clock is right."""
    return RecordingGuard(web.engine, clock, uptime=clock)


def _page(web: Web, path: str, address: str = "127.0.0.1") -> str:
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    with httpx.Client(base_url=web.url, transport=transport, trust_env=False, timeout=60) as browser:
        return unescape(browser.get(path).text)


@pytest.mark.parametrize("way", WAYS)
def test_whatever_raises_it_is_held_back_for_a_day(web: Web, way: str) -> None:
    clock = Clock()
    guard = _guard(web, clock)
    assert guard.hold(PLAIN) is PLAIN
    guard.look()
    before, raised = levels_of(PLAIN), _policy(WAYS[way])
    held = guard.hold(raised)
    assert guard.hold(raised) is held
    assert levels_of(held) == before
    assert held.people.keys() == raised.people.keys()
    assert held.people["Ana"] == raised.people["Ana"], "an adult decides alone"
    guard.look()
    clock.now += NOTICE_S - 60
    assert not guard.look()
    assert levels_of(guard.hold(raised)) == before
    clock.now += 120
    assert guard.look()
    assert guard.hold(raised) == raised
    assert guard.announced("tom") is None


def test_a_restart_and_a_change_of_the_file_while_hedgerow_is_off_make_nothing_higher(web: Web) -> None:
    clock, raised = Clock(), _policy(("age: 15,", "age: 15, privacy: domain,"))
    first = _guard(web, clock)
    first.hold(PLAIN)
    first.look()
    second = _guard(web, clock)
    assert levels_of(second.hold(raised)) == levels_of(PLAIN)
    second.look()
    clock.now += 22 * HOUR_S
    second.look()
    clock.now += HOUR_S
    third = _guard(web, clock)
    assert levels_of(third.hold(raised)) == levels_of(PLAIN)
    third.look()
    clock.now += 2 * HOUR_S
    third.look()
    assert third.hold(raised) == raised, "the day goes on over a restart"


def test_while_hedgerow_is_off_an_hour_counts_and_the_pages_name_the_later_time(web: Web) -> None:
    clock, raised = Clock(), _policy(("age: 15,", "age: 15, privacy: domain,"))
    first = _guard(web, clock)
    first.hold(PLAIN)
    first.hold(raised)
    first.look()
    clock.now += 20 * HOUR_S
    second = _guard(web, clock)
    second.hold(raised)
    second.look()
    level = second.announced("tom")
    assert level is not None
    assert level.begins_at == pytest.approx(clock.now + 23 * HOUR_S, abs=60)


@pytest.mark.parametrize("jump", [2 * HOUR_S, NOTICE_S, 40 * NOTICE_S, 10_000 * NOTICE_S, -NOTICE_S, -NOW])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_clock_that_jumps_lets_nothing_begin_early(web: Web, jump: float, restarts: bool) -> None:
    clock, uptime, raised = Clock(), Clock(), _policy(("age: 15,", "age: 15, privacy: domain,"))
    guard = RecordingGuard(web.engine, clock, uptime)
    guard.hold(PLAIN)
    guard.hold(raised)
    guard.look()
    clock.now += jump
    if restarts:
        guard = RecordingGuard(web.engine, clock, uptime)
    for _ in range(44):  # half hours
        assert levels_of(guard.hold(raised)) == levels_of(PLAIN)
        guard.look()
        clock.now, uptime.now = clock.now + HOUR_S / 2, uptime.now + HOUR_S / 2
    assert levels_of(guard.hold(raised)) == levels_of(PLAIN)
    for _ in range(5):
        guard.look()
        clock.now, uptime.now = clock.now + HOUR_S, uptime.now + HOUR_S
    guard.look()
    assert guard.hold(raised) == raised, "nor does anybody wait much longer"


def test_what_another_machine_has_saved_takes_back_no_time_that_was_seen_here(web: Web) -> None:
    clock, raised = Clock(), _policy(("age: 15,", "age: 15, privacy: domain,"))
    guard = _guard(web, clock)
    guard.hold(PLAIN)
    guard.hold(raised)
    guard.look()
    clock.now += HOUR_S / 2
    guard.look()
    guard.refresh()
    level = guard.announced("tom")
    assert level is not None
    assert level.unseen == NOTICE_S - HOUR_S / 2


def test_after_a_damage_of_the_journal_the_last_rules_go_on(web: Web) -> None:
    guard = _guard(web, Clock())
    guard.recall(PLAIN)
    assert levels_of(guard.hold(_policy(("age: 15,", "age: 15, privacy: full,")))) == levels_of(PLAIN)


def test_less_is_recorded_at_once_and_what_was_withdrawn_is_announced_anew(web: Web) -> None:
    clock, raised = Clock(), _policy(("age: 15,", "age: 15, privacy: full,"))
    guard = _guard(web, clock)
    none = _policy(("age: 15,", "age: 15, privacy: none,"))
    guard.hold(PLAIN)
    guard.hold(raised)
    assert guard.hold(none) is none
    assert guard.announced("tom") is None
    clock.now += NOTICE_S - 60
    guard.hold(raised)
    level = guard.announced("tom")
    assert level == RecordingLevel(
        person="tom", privacy=Privacy.NONE, raised=Privacy.FULL, unseen=NOTICE_S, seen_at=clock.now
    )


def test_both_sides_read_when_it_begins_and_the_brother_reads_nothing(web: Web) -> None:
    clock = Clock()
    guard = _guard(web, clock)
    guard.hold(PLAIN)
    guard.look()
    guard.hold(_policy(("age: 15,", "age: 15, privacy: domain,")))
    guard.look()
    mine = _page(web, "/device", TOM)
    assert "More is stored about you, beginning" in mine
    assert "Your parents can see which sites you open, but not the pages." in mine
    assert "More is stored about tom, beginning" in _page(web, "/people/tom")
    for path, address in (("/device", MIA), ("/people/mia", "127.0.0.1"), ("/people/Ana", "127.0.0.1")):
        assert "More is stored" not in _page(web, path, address), path


def test_while_more_than_counts_is_recorded_the_childs_page_says_so(web: Web) -> None:
    assert "Your parents can see which sites you open, but not the pages." in _page(web, "/device", MIA)
    assert "Your parents can see which sites" not in _page(web, "/device", TOM)


def test_a_level_that_is_held_back_is_no_change_of_the_rules(web: Web) -> None:
    clock = Clock()
    guard, raised = _guard(web, clock), _policy(("age: 15,", "age: 15, privacy: domain,"))
    policy = PLAIN
    changes = RuleChanges(web.engine, lambda: guard.hold(policy), clock)
    guard.hold(PLAIN)
    guard.look()
    changes.look()
    policy = raised
    changes.look()
    assert changes.of_child("tom") == ()
    clock.now += NOTICE_S + 60
    guard.look()
    changes.look()
    (change,) = changes.of_child("tom")
    assert change.after.privacy is Privacy.DOMAIN


@given(
    start=st.sampled_from(Privacy),
    steps=st.lists(
        st.tuples(
            st.sampled_from(Privacy),
            st.floats(0, 2 * NOTICE_S),
            st.one_of(st.just(0.0), st.floats(-400 * NOTICE_S, 400 * NOTICE_S)),
        ),
        min_size=1,
        max_size=30,
    ),
)
def test_nothing_begins_that_was_not_announced_a_day_before(
    start: Privacy, steps: list[tuple[Privacy, float, float]]
) -> None:
    """Each step is a level, the time that really passes, and a jump of the clock."""
    level, real, ahead, told_at, watch = RecordingLevel(person="mia", privacy=start), NOW, 0.0, NOW, ClockWatch()
    for wanted, passed, jump in steps:
        real, ahead = real + passed, ahead + jump
        now = real + ahead
        before, level = level, next_level(level, wanted, now, watch.look(now, real))
        if is_more(level.privacy, before.privacy):
            assert before.raised is not None
            assert not is_more(level.privacy, before.raised)
            assert real >= told_at + NOTICE_S - 1e-3
        if level.raised is not None:
            assert level.unseen <= NOTICE_S
            assert is_more(level.raised, level.privacy)
            if before.raised is None or is_more(level.raised, before.raised):
                told_at = real
        assert not is_more(level.privacy, wanted) or level.privacy is wanted


@pytest.mark.parametrize("privacy", Privacy)
@pytest.mark.parametrize("young", [False, True])
def test_the_block_page_says_what_is_recorded_while_it_is_more_than_counts(privacy: Privacy, young: bool) -> None:
    recorded = privacy if is_more(privacy, Privacy.CATEGORY) else None
    reader = PageReader(young=young, is_family=not young, recorded=recorded)
    page = BlockPage().blocked(Decision(Verdict.BLOCK, Reason.BEDTIME), "a.example", "", 0.0, reader=reader)
    assert (b"Your parents can see which sites" in page.body) == (recorded is not None)
