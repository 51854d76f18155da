"""A random walk over all pages of a running Hedgerow: no false switch, no tap without an effect or a word, no error
inside.

`make walk` taps 2,000 times; `TAPS` and `SEED` choose others.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dnslib
import httpx
import pytest
from small_internet.running import Hedgerow, running_hedgerow, wait_until
from web_server.switches import TOPICS, ShownSwitches, decided, site_of
from web_server.walking import PageReader, Walker, without_times

from hedgerow.app.snapshot import LoadedSnapshot, Snapshot
from hedgerow.policies.explain import find_device
from hedgerow.policies.model import Device, DeviceId
from hedgerow.policies.reading.load import load_policy

TAPS = int(os.environ.get("TAPS", "200"))
SEED = int(os.environ.get("SEED", "14"))

POLICY = """
network:
  timezone: UTC
  lists: starter
  country: GB
  lan: ["127.0.0.0/24", "::1/128"]
  upstream: ["127.0.0.1:9"]
people:
  mia:
    age: 9
    devices: [mia-tablet, mia-computer]
    block: [news.example, "www.school.example/secret"]
    schedules: {homework: {block: [roblox, tiktok], when: "00:00-23:59"}, playtime: {allow: [games], when: "05:00-23:00"},
      chores: {block: [twitch], when: [every-day], unless: chores}}
    budget: {every-day: 2h, games: 45m}
    chores: {Read: 15m, Tidy: none}
  tom: {age: 15, devices: [tom-laptop]}
  Ana: {profile: adult, devices: [ana-phone]}
block: [kik]
devices:
  mia-tablet: {ip: 127.0.0.2}
  mia-computer: {ip: 127.0.0.4, trusts_ca: true, allow: [twitch]}
  tom-laptop: {ip: 127.0.0.3}
  ana-phone: {ip: 127.0.0.5}
lists:
"""  # noqa: E501
ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.9")
SKIPPED = re.compile(
    # They end the walk, since pages then need a password, reach for other machines, or take away the lists that the
    # test compares with.
    r"/(sign-(in|out)|start/password|account(/.*)?|lists.*|settings/(accounts|tokens|notices).*|language)$"
)
FILES = re.compile(
    r"/(static|certificate/|device/kept|people/[^/]+/kept|api|.*\.csv|events|backup|.*\.mobileconfig|.*\.(pem|crt))"
)


def skips(method: str, path: str) -> bool:
    return bool(FILES.match(path)) or (method == "post" and bool(SKIPPED.match(path)))


@pytest.fixture(scope="module")
def home() -> Iterator[Hedgerow]:
    lists = {f"lists/{topic}.txt": f"{site_of(topic)}\n" for topic in TOPICS}
    entries = "".join(f"  - {{category: {topic}, path: lists/{topic}.txt}}\n" for topic in TOPICS)
    with running_hedgerow(POLICY + entries, lists=lists) as running:
        yield running


@contextlib.contextmanager
def browsers(home: Hedgerow) -> Iterator[list[httpx.Client]]:
    """Open the parent's browser on this machine, and those of the children's devices."""
    headers = {"origin": home.web, "accept-language": "en"}
    with contextlib.ExitStack() as stack:
        transports = [None, *(httpx.HTTPTransport(local_address=address, verify=False) for address in ADDRESSES)]
        clients = [
            httpx.Client(base_url=home.web, transport=each, trust_env=False, timeout=60, headers=headers)
            for each in transports
        ]
        clients[0].cookies.update(home.cookies)
        yield [stack.enter_context(client) for client in clients]


def ask_names(home: Hedgerow, chance: random.Random) -> None:
    """Let a device ask for a few names, so that the log and the list of devices have something to show."""
    for address in ADDRESSES:
        name = chance.choice(("roblox.com", "tiktok.com", "pornhub.com", "pokerstars.com", "wikipedia.org"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(TimeoutError):
            sock.bind((address, 0))
            sock.settimeout(0.2)
            sock.sendto(dnslib.DNSRecord.question(name).pack(), home.dns)
            sock.recv(4096)


def bring_back_people(home: Hedgerow, original: str) -> None:
    """Put the first policy back once the walk has removed a child or their devices."""
    policy = in_force(home).policy
    if not {"mia", "tom"} <= policy.people.keys() or not {"mia-tablet", "tom-laptop"} <= policy.devices.keys():
        home.edit_policy(original)
        wait_until(lambda: is_in_force(home), 60, "the first policy")


def in_force(home: Hedgerow) -> LoadedSnapshot:
    return LoadedSnapshot(Snapshot.load(home.state))


def is_in_force(home: Hedgerow) -> bool:
    """True if the workers use the policy of the file, also if that has just been edited."""
    return in_force(home).policy == load_policy(home.policy_path)


def check_switches(home: Hedgerow, walker: Walker) -> int:
    """Compare a person's page of switches, if one is open, with `decide` under the snapshot that the workers use.

    Schedules may begin or end in between.
    """
    if not urlsplit(walker.url).path.endswith(("/services", "/topics")):
        return 0
    name = unquote(urlsplit(walker.url).path.split("/")[2])
    for attempt in range(4):
        before, page = in_force(home), walker.open(walker.url).text if attempt else walker.page
        view, now = in_force(home), time.time()
        if name not in view.policy.people or 'id="switch-' not in page:
            return 0
        if before.snapshot.serial != view.snapshot.serial:
            continue
        shown = ShownSwitches.read(page)
        person = view.policy.people[name]
        places: list[tuple[str | None, Device]] = [(None, Device(DeviceId(f"new-{name}"), person.profile, name))]
        own = [device.id for device in view.policy.devices.values() if device.person == name]
        places += [(id, found) for id in own if (found := find_device(view.rulesets, id)) is not None]
        false = {
            (place, id): (shown.by_id[id], shown.closures)
            for place, device in places
            for id, is_open in decided(view, device, now).items()
            if id in shown.by_id and shown.is_open(id, place) is not is_open
        }
        if not false:
            return len(shown.by_id) * len(places)
    raise AssertionError(f"{name}: decide says otherwise: {dict(list(false.items())[:5])}, after {walker.tapped}")


SWITCHES = ("/people/mia/services?group=all", "/people/tom/topics")
STARTS = (*SWITCHES, "/people/tom", "/", "/log", "/devices")
"""Pages from which a parent's walk begins."""


def walk(home: Hedgerow, walkers: list[Walker], chance: random.Random) -> Counter[str]:
    """Tap `TAPS` times, mostly in the parent's browser. Returns counts of what was done."""
    counted: Counter[str] = Counter()
    original = home.policy_path.read_text()
    for place, walker in enumerate(walkers):
        walker.open("/device" if place else "/")
    for number in range(TAPS):
        place = 0 if chance.random() < 0.85 else chance.randrange(1, len(walkers))
        walker = walkers[place]
        if number % 15 == 0:
            ask_names(home, chance)
            bring_back_people(home, original)
        if chance.random() < 0.2 or not walker.page:
            walker.open(chance.choice(STARTS) if place == 0 else "/device")
        if number % 20 == 0:
            walkers[0].open(chance.choice(SWITCHES))
            counted["compared"] += check_switches(home, walkers[0])
        before, was_in_force = PageReader(walker.page), number % 10 == 0 and is_in_force(home)
        answer, was_sent = walker.tap()
        counted["sent" if was_sent else "opened"] += 1
        what = f"tap {number} of seed {SEED}: {walker.tapped} -> {answer.status_code}"
        assert answer.status_code < 500, f"{what}\n{answer.text[:2000]}\n{home.stderr[-3000:]}"
        assert "Traceback" not in answer.text, what
        counted[
            f"{'sent' if was_sent else 'opened'}"
            f" {re.sub(r'[0-9a-f]{6,}|[0-9]+', 'N', walker.tapped.split(' [')[0].partition('?')[0])}"
        ] += 1
        if was_sent and answer.headers.get("content-type", "").startswith("text/html"):
            after = PageReader(answer.text)
            has_effect = without_times(before.text) != without_times(after.text)
            said = [each for each in after.messages if each.strip()]
            assert has_effect or said, f"nothing happened and nothing was said: {what}"
            counted["said" if said else "seen"] += 1
        counted["compared"] += check_switches(home, walker)
        if "data-done" in walker.page and "not in force yet" not in walker.page and was_in_force:
            assert is_in_force(home), f"the page says that it was done: {what}"
    return counted


@pytest.mark.timeout(3600)
def test_a_random_walk_finds_no_false_switch_no_silent_tap_and_no_error(home: Hedgerow) -> None:
    chance = random.Random(SEED)
    with browsers(home) as opened:
        walkers = [Walker(client, chance, skips) for client in opened]
        counted = walk(home, walkers, chance)
    print(dict(counted))
    log = home.stderr
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:4000]
    assert counted["compared"] > TAPS * 3 // 4, "switches were compared"


def test_the_walk_covers_the_forms_of_all_pages() -> None:
    templates = Path("hedgerow/dashboards/templates").glob("*.html")
    actions = {action for path in templates for action in re.findall(r'post_form\("(/[\w/-]+)"', path.read_text())}
    assert len(actions) > 20
    assert sorted(action for action in actions if skips("post", action)) == [
        "/account/code",
        "/account/code/stop",
        "/account/password",
        "/account/sessions/end",
        "/language",
        "/lists",
        "/lists/accept",
        "/lists/corrections",
        "/lists/corrections/import",
        "/lists/corrections/remove",
        "/lists/remove",
        "/lists/selection",
        "/lists/sites/correct",
        "/settings/accounts",
        "/settings/accounts/remove",
        "/settings/notices",
        "/settings/notices/address",
        "/settings/notices/change",
        "/settings/notices/mail",
        "/settings/notices/push",
        "/settings/notices/remove",
        "/settings/notices/test",
        "/settings/tokens",
        "/settings/tokens/remove",
        "/sign-in",
        "/sign-out",
        "/start/password",
    ]
