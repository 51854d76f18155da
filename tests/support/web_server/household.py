"""A household with activity, for tests that look at pages."""

from __future__ import annotations

import runpy
from pathlib import Path

from hedgerow.blocklists.rules import Problem
from hedgerow.dashboards.control import BudgetRow, DeviceView, WorkerHealth
from hedgerow.dashboards.coverage import ListHealth, coverage_by_category
from hedgerow.dashboards.pages.people import PARTS
from hedgerow.journal.messages import DeviceSeen
from hedgerow.policies.host_facts import Lifelines
from hedgerow.policies.model import AccessRequest, DeviceId, Grant, Observation, Reason, RequestKind, Session, Verdict
from web_server import NOW, Web

POLICY = """\
# The house of mia and tom.
network:
  timezone: Europe/Lisbon   # where we live
  country: PT
  tunnel: {endpoint: home.example}
people:
  mia:
    age: 9                  # in May she is ten
    devices: [mia-tablet, console]
    block: [roblox]         # since June
    bedtime: {school-nights: "20:30-07:00", weekend: "21:30-08:00"}
    budget: {school-days: 1h30m, weekend: 3h}
    allow: [scratch.mit.edu]
  tom: {age: 15, devices: [tom-phone], bedtime: "22:30-06:30"}
  Ana: {profile: adult, devices: [ana-phone]}
devices:
  mia-tablet: {ip: 192.168.1.31, client_id: 5d0c2ab81e6f4397a2d4f80b6c11e93a}
  console: {ip: 192.168.1.40}
  tom-phone: {ip: 192.168.1.32}
  ana-phone: {ip: 192.168.1.33}
seats:
  seat-1: {ip: 192.168.1.51}
  seat-2: {ip: 192.168.1.52}
  seat-3: {ip: 192.168.1.53}
notices:
  mother: {about: [request, budget], language: pt, quiet: "22:00-07:00", report: sun 18:00}
  admin: {about: [list-held, update-failed, trouble]}
lists:
  - {category: adult, url: "https://lists.example/adult.txt"}
"""

OF_FEATURES = [runpy.run_path(str(file)) for file in sorted(Path(__file__).parents[2].glob("features/*/household.py"))]
"""The `household.py` of each feature's tests: the paths of its pages (`PAGES`), and `fill`, which gives them something
to show.

`fill_with` gives them one text everywhere, if they can show some.
"""

PAGES = (
    *(
        "/",
        "/day",
        "/counter",
        "/counter/report",
        "/counter/screens",
        "/counter/members",
        "/counter/prices",
        "/counter/staff",
        "/people",
        "/people/mia",
        *(f"/people/mia/{part}" for part in PARTS),
        "/devices",
        "/log",
        "/log/raw",
        "/lists",
        "/settings",
        "/settings/notices",
        "/changes",
        "/changes/1",
    ),
    *("/account", "/report", "/help", "/certificate", "/out-of-reach", "/device", "/sign-in"),
    *("/start", "/start/children"),
    *(f"/start/{step}" for step in ("place", "people", "connect", "devices", "done")),
    *("/people/tom", "/people/tom/sites", "/check", "/more", "/why?device=mia-tablet&target=x.example", "/why?row=1"),
    "/devices/mia-tablet/away",
    *(page for part in OF_FEATURES for page in part["PAGES"]),
)
"""All pages for people."""

MIA, TOM, NEW = DeviceId("mia-tablet"), DeviceId("tom-phone"), DeviceId("b8:27:eb:11:22:33")
_HOSTS = (
    ("www.bet.example", Reason.CATEGORY, "gambling", "starter/gambling:12"),
    ("www.tiktok.com", Reason.CATEGORY, "social", "starter/social:24"),
    ("roblox.com", Reason.SERVICE, "roblox", "hedgerow.yaml:9"),
    ("track.ads.example", Reason.CATEGORY, "ads-trackers", "oisd/big:88112"),
    ("cdn.games.example", Reason.BUDGET, "", "hedgerow.yaml:11"),
    ("vpn.example", Reason.BYPASS, "vpn", ""),
)


def fill(web: Web) -> None:
    """Add devices, decisions over the day, two requests, a grant, a pause, budgets, and lists with and without
    problems.
    """
    web.policy_path.write_text(POLICY)
    web.recorder.add(
        [
            DeviceSeen(NOW - 60, MIA, "192.168.1.31", "aa:bb:cc:dd:ee:01", "mia", "child-8-12"),
            DeviceSeen(NOW - 200, TOM, "192.168.1.32", "aa:bb:cc:dd:ee:02", "tom", "teen-13-15"),
            DeviceSeen(NOW - 500, NEW, "192.168.1.77", NEW, None, "child-8-12", "galaxy-a14"),
        ]
    )
    for step in reversed(range(90)):
        device, person, profile = ((MIA, "mia", "child-8-12"), (TOM, "tom", "teen-13-15"))[step % 2]
        at = NOW - 120 - step * 700 - (step % 7) * 40
        host, reason, what, rule = _HOSTS[step % len(_HOSTS)]
        kind = RequestKind.DNS if step % 3 else RequestKind.HTTP
        url = "" if kind is RequestKind.DNS else f"https://{host}/page/{step}"
        web.recorder.add(
            [
                Observation(
                    at, device, person, profile, kind, Verdict.BLOCK, reason, what, host, url, rule, count=1 + step % 5
                )
            ]
        )
        web.recorder.add(
            [
                Observation(
                    at - 30,
                    device,
                    person,
                    profile,
                    kind,
                    Verdict.ALLOW,
                    Reason.DEFAULT,
                    "",
                    "www.school.example",
                    "",
                    count=9,
                )
            ]
        )
        if step >= 88:  # each device is known from its first request on
            web.recorder.flush()
    web.recorder.add(
        [
            AccessRequest(
                NOW - 300,
                MIA,
                "mia",
                "minecraft.net",
                "https://minecraft.net/download",
                "category",
                "All my friends play it!",
            ),
            AccessRequest(NOW - 900, TOM, "tom", "discord.com"),
        ]
    )
    web.recorder.flush()
    for part in OF_FEATURES:
        part["fill"](web)
    web.ledger.give(Grant("g1", "chess.example", "Ana", NOW - 600, NOW + 3000, MIA))
    web.ledger.pause("Ana", device=DeviceId("console"))
    web.time.rows = (
        BudgetRow("mia", "", 64, 90, 26, NOW + 10000),
        BudgetRow("tom", "games", 45, 45, 0, NOW + 10000),
    )
    web.time.seated = {
        "seat-1": Session("s1", DeviceId("seat-1"), "Ana", NOW - 3000, NOW + 240, profile="seat-child"),
        "seat-3": Session("s3", DeviceId("seat-3"), "Ana", NOW - 600, NOW + 4000, profile="seat-adult"),
    }
    lists = (
        ListHealth("starter/gambling", "gambling", 312, NOW - 7200, starter=True),
        ListHealth("starter/adult", "adult", 117, NOW - 7200, starter=True),
        ListHealth("hagezi-nsfw", "adult", 126_000, NOW - 7200, is_remote=True),
        ListHealth(
            "https://lists.example/adult.txt",
            "adult",
            4600123,
            NOW - 86400 * 9,
            "the server answers 404 since 8 days",
            is_remote=True,
            failed=True,
            dead=True,
        ),
    )
    web.change_status(
        lists=lists,
        coverage=coverage_by_category(lists, {}, {"adult", "gambling"}),
        recommended=("hagezi-nsfw", "oisd-nsfw", "hagezi-gambling-mini"),
        list_problems=(Problem("https://lists.example/adult.txt", 7, 1, "'||' is no host"),),
        workers=(
            WorkerHealth("dns-0", "dns", "running", NOW - 7000),
            WorkerHealth("gate-0", "gate", "running", NOW - 7000),
        ),
        people=("mia", "tom", "Ana"),
        version="0.1.0",
    )
    lifelines = Lifelines.load().for_country("PT")
    web.control.devices["127.0.0.1"] = DeviceView(MIA, "mia", "child-8-12", lifelines)
