"""Export and erasure of personal data."""

import json

import httpx
from web_server import NOW, TOKEN

from hedgerow.dashboards.control import DeviceView
from hedgerow.journal.messages import DeviceSeen
from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Reason, RequestKind, Verdict

POLICY = """\
people:
  mia: {age: 9, devices: [tablet, console, television]}
  tom: {age: 15, devices: [phone, television]}
devices:
  tablet: {ip: 127.0.0.2}
  console: {hostname: console}
  television: {ip: 127.0.0.4}
  phone: {ip: 127.0.0.5}
seats:
  seat-1: {ip: 127.0.0.6}
"""
ADDRESSES = {
    "127.0.0.2": "tablet",
    "127.0.0.3": "console",
    "127.0.0.4": "television",
    "127.0.0.5": "phone",
    "127.0.0.6": "seat-1",
}
OWNERS = {"tablet": "mia", "console": "mia", "phone": "tom"}
BEARER = {"authorization": f"Bearer {TOKEN}"}


def fill(web):
    web.policy_path.write_text(POLICY)
    for address, device in ADDRESSES.items():
        web.control.devices[address] = DeviceView(DeviceId(device), OWNERS.get(device), "child-8-12")
        seen = (NOW, DeviceId(device), OWNERS.get(device), "child-8-12", RequestKind.DNS)
        web.recorder.add(
            [
                Observation(*seen, Verdict.BLOCK, Reason.CATEGORY, "games", f"blocked.{device}.example"),
                Observation(*seen, Verdict.ALLOW, Reason.DEFAULT, "", f"allowed.{device}.example"),
                AccessRequest(NOW, DeviceId(device), OWNERS.get(device), f"asked.{device}.example"),
                DeviceSeen(NOW, DeviceId(device), address, None, OWNERS.get(device), "child-8-12"),
            ]
        )


def get(web, path, address="127.0.0.1", **headers):
    with httpx.Client(
        base_url=web.url,
        transport=httpx.HTTPTransport(local_address=address, verify=False),
        trust_env=False,
        timeout=60,
    ) as client:
        return client.get(path, headers=headers)


def post(web, path, address="127.0.0.1", headers=None, **more):
    with httpx.Client(
        base_url=web.url,
        transport=httpx.HTTPTransport(local_address=address, verify=False),
        trust_env=False,
        timeout=60,
    ) as client:
        return client.post(path, headers=headers or {"origin": web.url}, **more)


def rows(answer):
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def hosts(answer):
    return {row["host"] for row in rows(answer) if row["kept"] in {"decisions", "requests"}}


def of(*devices):
    return {f"{what}.{device}.example" for device in devices for what in ("blocked", "allowed", "asked")}


def test_a_person_exports_the_same_rows_as_parents(web):
    fill(web)
    own = get(web, "/device/kept", "127.0.0.2")
    assert "attachment" in own.headers["content-disposition"]
    assert rows(own) == rows(get(web, "/people/mia/kept")) == rows(get(web, "/api/v1/kept?name=mia", **BEARER))
    assert hosts(own) == of("tablet", "console")
    assert hosts(get(web, "/device/kept", "127.0.0.5")) == of("phone")
    for page, address in (("/device", "127.0.0.2"), ("/people/mia/about", "127.0.0.1")):
        assert "Download everything that is stored" in get(web, page, address).text


def test_shared_and_weakly_identified_devices_export_only_their_own_rows(web):
    fill(web)
    assert hosts(get(web, "/device/kept", "127.0.0.4")) == of("television")
    assert hosts(get(web, "/device/kept", "127.0.0.3")) == of("console")


def test_a_guest_exports_nothing_of_the_previous_session(web):
    fill(web)
    assert hosts(get(web, "/device/kept", "127.0.0.6")) == of("seat-1")
    web.time.since["seat-1"] = NOW + 1
    assert rows(get(web, "/device/kept", "127.0.0.6")) == [], (
        "sums of the hour and the day tell of the guest before as well"
    )
    seat = (DeviceId("seat-1"), None, "seat-child", RequestKind.DNS, Verdict.BLOCK, Reason.CATEGORY)
    web.recorder.add([Observation(NOW + 2, *seat, "drugs", "blocked.now.example")])
    assert hosts(get(web, "/device/kept", "127.0.0.6")) == {"blocked.now.example"}
    assert "games" not in get(web, "/device/kept", "127.0.0.6").text


def test_strangers_cannot_export_and_devices_cannot_erase(web):
    fill(web)
    assert get(web, "/device/kept", "127.0.0.77").status_code == 403
    assert post(web, "/people/mia/erase", "127.0.0.2").status_code == 403
    assert post(web, "/people/mia/erase", headers={"origin": "http://evil.example"}).status_code == 403
    assert get(web, "/people/mia/kept", "127.0.0.2").status_code == 403
    assert get(web, "/api/v1/kept?name=mia", "127.0.0.5").status_code == 403
    assert hosts(get(web, "/people/mia/kept")) == of("tablet", "console")


def test_erasure_removes_one_persons_rows_only(web):
    fill(web)
    question = post(web, "/people/mia/erase", follow_redirects=False)
    assert question.status_code == 200
    assert all(text in question.text for text in ("Erase what is stored about mia?", "These stay:", "protections"))
    assert hosts(get(web, "/people/mia/kept")) == of("tablet", "console"), "nothing is erased before the answer"
    answer = post(web, "/people/mia/erase", follow_redirects=False, data={"sure": "yes"})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/people/mia?done=")
    assert {row["kept"] for row in rows(get(web, "/people/mia/kept"))} == {"devices"}, (
        "the list of the network's devices"
    )
    assert hosts(get(web, "/people/tom/kept")) == of("phone")
    files = b"".join(path.read_bytes() for path in web.policy_path.parent.glob("journal.sqlite*"))
    assert b"phone.blocked" in files
    for trace in (b"tablet.blocked", b"blocked.tablet", b"asked.tablet", b"console.allowed"):
        assert trace not in files
    assert post(web, "/people/nobody/erase").status_code == 422


def test_a_person_removed_from_the_policy_is_erased_by_name(web):
    fill(web)
    web.recorder.flush()
    web.policy_path.write_text("people: {}\n")
    done = post(web, "/api/v1/kept/erase", headers=BEARER, json={"name": "mia"}).json()
    assert (done["rows"]["decisions"], done["rows"]["requests"], done["problem"]) == (4, 2, "")
    done = post(web, "/api/v1/kept/erase", headers=BEARER, json={"name": "television"}).json()
    assert done["rows"]["decisions"] == 2
    assert post(web, "/api/v1/kept/erase", headers=BEARER, json={"name": "nobody"}).json() == {
        "rows": {},
        "problem": "",
    }
