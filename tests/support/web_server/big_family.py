"""An invented family with five children and sixty devices, in the middle of an afternoon, for screenshots and tests of
long pages.
"""

from __future__ import annotations

from hedgerow.dashboards.control import BudgetRow, DeviceView, WorkerHealth
from hedgerow.dashboards.coverage import ListHealth, coverage_by_category
from hedgerow.journal.messages import DeviceSeen, ProtectionSeen
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.host_facts import Lifelines
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import AccessRequest, DeviceId, Grant, Observation, Reason, RequestKind, Session, Verdict
from hedgerow.policies.time_model import ActiveMinute
from web_server import NOW, Web

CHILDREN = {"Mia": 9, "Jonas": 12, "Tom": 15, "Lena": 6, "Emil": 11}
ADULTS = ("Ana", "Paul")
_KINDS = ("tablet", "phone", "laptop", "console", "watch")
_THINGS = (
    *(
        "living-room-tv",
        "kitchen-speaker",
        "printer",
        "vacuum",
        "thermostat",
        "doorbell",
        "washing-machine",
        "weather-station",
        "solar",
    ),
    *(
        "bathroom-scale",
        "garden-camera",
        "hall-camera",
        "nas",
        "e-reader",
        "bedroom-tv",
        "hifi",
        "car",
        "charger",
        "fridge",
        "oven",
    ),
)
_LAMPS = 13
_BEDTIMES = {
    "Mia": "20:30-07:00",
    "Lena": "19:30-07:00",
    "Jonas": "21:00-06:45",
    "Tom": "22:30-06:30",
    "Emil": "21:00-06:45",
}
_BUDGETS = {"Mia": 90, "Lena": 45, "Jonas": 120}

_USED = {
    "Mia": (("www.youtube.com", 25), ("roblox.com", 18), ("scratch.mit.edu", 12), ("de.wikipedia.org", 6)),
    "Jonas": (("minecraft.net", 40), ("www.youtube.com", 22), ("www.khanacademy.org", 15), ("open.spotify.com", 9)),
    "Lena": (("www.kika.de", 14), ("pbskids.org", 9)),
    "Emil": (("www.duolingo.com", 11),),
}
_TOPICS = {"Tom": (("social", 48), ("video", 35), ("education", 20), ("messaging", 31))}
_BLOCKED = (
    ("www.tiktok.com", Reason.CATEGORY, "social", "starter/social:24"),
    ("www.bet.example", Reason.CATEGORY, "gambling", "starter/gambling:12"),
    ("track.ads.example", Reason.CATEGORY, "ads-trackers", "oisd/big:88112"),
    ("vpn.example", Reason.BYPASS, "vpn", ""),
)


def policy_text(seats: int = 0) -> str:
    """Return the policy of the family. With `seats`, it is a café as well."""
    lines = ["network: {timezone: America/New_York, country: US}", "people:"]
    for name, age in CHILDREN.items():
        devices = ", ".join(f"{name.lower()}-{kind}" for kind in _KINDS[: 2 + age % 3])
        budget = f", budget: {_BUDGETS[name]}m" if name in _BUDGETS else ""
        lines.append(f"  {name}: {{age: {age}, devices: [{devices}], bedtime: '{_BEDTIMES[name]}'{budget}}}")
    lines += [
        f"  {name}: {{profile: adult, devices: [{name.lower()}-phone, {name.lower()}-laptop]}}" for name in ADULTS
    ]
    lines.append("devices:")
    lines += [f"  {name}: {{ip: 192.168.1.{number}}}" for number, name in enumerate(device_names(), 20)]
    if seats:
        lines.append("seats:")
        lines += [f"  seat-{number}: {{ip: 192.168.1.{150 + number}}}" for number in range(1, seats + 1)]
    lines += ["notices:", "  mother: {about: [request, budget, new-device], quiet: '22:00-07:00', report: sun 18:00}"]
    return "\n".join(lines) + "\n"


def device_names() -> list[str]:
    """Return the names of all devices that the policy names."""
    own = [f"{name.lower()}-{kind}" for name, age in CHILDREN.items() for kind in _KINDS[: 2 + age % 3]]
    own += [f"{name.lower()}-{kind}" for name in ADULTS for kind in ("phone", "laptop")]
    return [*own, *_THINGS, *(f"lamp-{number}" for number in range(1, _LAMPS + 1))]


def fill_big(web: Web, seats: int = 0) -> None:
    """Fill the journal with a day of the family: what they used, what was blocked, requests, a pause and budgets."""
    web.policy_path.write_text(policy_text(seats))
    names = device_names()
    policy = web.control.policy()
    devices = [policy.devices[name] for name in names]
    seen = [
        DeviceSeen(
            NOW - 20 - number * 37 % 840,
            device.id,
            f"192.168.1.{number + 20}",
            f"aa:bb:cc:dd:ee:{number:02x}",
            device.person,
            device.profile,
            device.id,
        )
        for number, device in enumerate(devices)
        if device.person != "Emil"
    ]
    unnamed = [DeviceId(f"b8:27:eb:11:22:{number:02x}") for number in range(60 - len(names))]
    seen += [
        DeviceSeen(NOW - 300, new, f"192.168.1.{200 + number}", new, None, "child-8-12", f"galaxy-a1{number}")
        for number, new in enumerate(unnamed)
    ]
    web.recorder.add(seen)
    web.recorder.add([ProtectionSeen(NOW - 20, device.id, Protection.DNS) for device in devices])
    minutes: list[ActiveMinute] = []
    for name, used in (_USED | _TOPICS).items():
        device, minute = DeviceId(f"{name.lower()}-tablet"), int(NOW // 60)
        profile = policy.people[name].profile
        ago = 300 if name == "Emil" else 0
        for subject, count in used:
            for _ in range(count):
                minute -= 1
                minutes.append(ActiveMinute(minute - ago, f"person:{name}", ""))
                if name in _TOPICS:
                    minutes.append(ActiveMinute(minute, f"person:{name}", f"category:{subject}"))
                    continue
                at = (minute - ago) * 60.0 + 5
                web.recorder.add(
                    [
                        Observation(
                            at,
                            device,
                            name,
                            profile,
                            RequestKind.DNS,
                            Verdict.ALLOW,
                            Reason.DEFAULT,
                            "",
                            subject,
                            "",
                            count=4,
                        )
                    ]
                )
    UsageStore(web.engine).add(minutes)
    for step in range(60):
        name = list(CHILDREN)[step % 4]
        host, reason, what, rule = _BLOCKED[step % len(_BLOCKED)]
        is_private = name in _TOPICS
        web.recorder.add(
            [
                Observation(
                    NOW - 240 - step * 600,
                    DeviceId(f"{name.lower()}-tablet"),
                    name,
                    policy.people[name].profile,
                    RequestKind.DNS,
                    Verdict.BLOCK,
                    reason,
                    what,
                    "" if is_private else host,
                    "",
                    "" if is_private else rule,
                    count=1 + step % 4,
                )
            ]
        )
    web.recorder.flush()
    web.recorder.add(
        [
            AccessRequest(NOW - 300, DeviceId("mia-tablet"), "Mia", "minecraft.net", "", "category", "For the party!"),
            AccessRequest(NOW - 1500, DeviceId("e-reader"), None, "shop.example"),
        ]
    )
    web.recorder.flush()
    web.ledger.give(Grant("g1", "chess.example", "Ana", NOW - 600, NOW + 3000, DeviceId("jonas-tablet")))
    web.ledger.pause("Ana", person="Jonas", ends=NOW + 1800)
    web.time.rows = tuple(
        BudgetRow(name, "", used, limit, limit - used, NOW + 10000)
        for name, used, limit in (
            ("Mia", 61, 90),
            ("Lena", 23, 45),
            ("Jonas", 86, 120),
        )
    )
    if seats:
        web.time.seated = {
            f"seat-{seat}": Session(
                f"s{seat}", DeviceId(f"seat-{seat}"), "Ana", NOW - 1800, NOW + minutes * 60, profile=f"seat-{band}"
            )
            for seat, band, minutes in ((1, "child", 4), (3, "adult", 67), (4, "child", 32), (7, "child", 51))
        }
    lists = (
        ListHealth("starter/adult", "adult", 117, NOW - 7200, starter=True),
        ListHealth("hagezi-nsfw", "adult", 126_000, NOW - 10_800, is_remote=True),
        ListHealth("oisd-nsfw", "adult", 370_000, NOW - 10_800, is_remote=True),
        ListHealth("starter/gambling", "gambling", 312, NOW - 7200, starter=True),
        ListHealth("hagezi-gambling-mini", "gambling", 85_000, NOW - 10_800, is_remote=True),
    )
    web.change_status(
        lists=lists,
        coverage=coverage_by_category(lists, {"adult": 421_034, "gambling": 85_214}, {"adult", "gambling"}),
        recommended=tuple(each.source for each in lists if each.is_remote),
        workers=tuple(WorkerHealth(f"{role}-0", role, "running", NOW - 7000) for role in ("dns", "gate", "inspector")),
        people=(*CHILDREN, *ADULTS),
        timezone="America/New_York",
    )
    lifelines = Lifelines.load().for_country("US")
    web.control.devices["127.0.0.1"] = DeviceView(
        DeviceId("mia-tablet"), "Mia", "child-8-12", lifelines, may_sign_in=True
    )
