"""Apps with certificate pinning or their own trust store, on a child's device with inspection, behind the gateway."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lab import House, Space
from lab import house as build_house
from lab.aims import at
from lab.house import POLICY

pytestmark = pytest.mark.root
APPS, OTHER, CLOSED, PARTLY_OPEN = "www.wikipedia.org", "scratch.mit.edu", "adult.example", "en.wikipedia.org"
UNKNOWN = "www.school.example"
"""An unlisted host."""
OWN_STORE = "own trust store"
PINNED = "pinned key"
DAY_S = 24 * 3600


def inspected_policy() -> str:
    """Return a policy with inspection: all pages are scanned, one page of a site is blocked, Tom's apps are not passed
    through.
    """
    scanned = f"page_scan: {{everywhere: true}}, block: [{PARTLY_OPEN}/secret], devices: "
    text = POLICY.replace("age: 9, devices: ", f"age: 9, {scanned}").replace(
        "age: 15, devices: ", f"age: 15, {scanned}"
    )
    lines = []
    for line in text.splitlines():
        more = {"  tablet: {": "trusts_ca: true", "  laptop: {": "trusts_ca: true, pass_through: false"}
        said = next((rest for start, rest in more.items() if line.startswith(start)), None)
        lines.append(line if said is None else line.replace("}", f", {said}}}"))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("pinned")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    with build_house(folder, policy=inspected_policy()) as whole:
        (folder / "network-ca.pem").write_text(whole.hedgerow("ca", "export").stdout)
        both = (folder / "network-ca.pem").read_bytes() + whole.net.authority.root.read_bytes()
        (folder / "both.pem").write_bytes(both)
        whole.hedgerow("gateway", "apply", "--no-strict")
        for name in ("tablet", "laptop"):
            whole.meet(name)
        yield whole


def opens(house: House, device: Space, host: str, *options: str) -> tuple[int, str]:
    """Return curl's exit status (60: untrusted certificate, 90: not the pinned key) and the page."""
    done = device.run("curl", "-s", "--max-time", "8", *options, f"https://{host}/")
    return done.returncode, done.stdout.strip()


def app(house: House, kind: str, host: str = APPS) -> tuple[str, ...]:
    """Return curl's options for an app with its own trust store or a pinned key."""
    if kind == OWN_STORE:
        return ("--cacert", str(house.net.authority.root))
    words = ("openssl", "s_client", "-connect", f"{at(host)[1].rpartition(':')[2]}:443", "-servername", host)
    pem = house.net.space.run(*words, text="").stdout
    key = (
        x509.load_pem_x509_certificate(pem.encode())
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    pin = base64.b64encode(hashlib.sha256(key).digest()).decode()
    return ("--cacert", str(house.folder / "both.pem"), "--pinnedpubkey", f"sha256//{pin}")


def browser(house: House) -> tuple[str, ...]:
    return ("--cacert", str(house.folder / "network-ca.pem"))


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def passed_through(house: House) -> int:
    """Return the metric."""
    reported = house.router.must("curl", "-sf", "http://127.0.0.1:8053/metrics").splitlines()
    return sum(
        int(float(line.split()[-1])) for line in reported if line.startswith("hedgerow_proxy_passed_through_total")
    )


def told_of(house: House, host: str) -> list[str]:
    """Return the recorded decisions about a host, the newest first."""
    rows = map(json.loads, house.hedgerow("log", "--json").stdout.splitlines())
    return [row["what"] for row in rows if row["host"] == host and row["device"] == "tablet"]


@pytest.mark.parametrize(("kind", "refused", "host"), [(OWN_STORE, 60, APPS), (PINNED, 90, OTHER)])
def test_a_pinned_app_is_passed_through_after_a_refusal(house: House, kind: str, refused: int, host: str) -> None:
    """Automatically, for this device and host only, and visibly."""
    tablet, options, before = house.devices["tablet"], app(house, kind, host), passed_through(house)
    assert opens(house, tablet, host, *options) == (refused, ""), "it is inspected"
    until(lambda: opens(house, tablet, host, *options) == (0, f"page of {host}"), "it is passed through")
    until(lambda: passed_through(house) == before + 1, "the metrics count it")
    until(lambda: "pass-through" in told_of(house, host), "the log tells")
    log = house.router.must(
        "curl", "-sf", "-H", f"Authorization: Bearer {token(house)}", f"http://127.0.0.1:8053/log?host={host}"
    )
    assert "Passed through uninspected" in log
    lines = [line.split() for line in (house.state / "refused" / "pass-through").read_text().splitlines()]
    (ends,) = [float(until_) for until_, its, device in lines if (its, device) == (host, "tablet")]
    assert 0 < ends - time.time() <= DAY_S + 1, "written in whole seconds, rounded up"


def test_a_site_that_nobody_knows_is_passed_through_once_a_parent_agrees(house: House) -> None:
    tablet, options = house.devices["tablet"], app(house, OWN_STORE, UNKNOWN)
    assert [opens(house, tablet, UNKNOWN, *options)[0] for _ in range(3)] == [60] * 3
    until(lambda: asked(house), "the parent is asked")
    (request,) = asked(house)
    assert (request["host"], request["device"], request["asked"]) == (UNKNOWN, "tablet", 1)
    page = house.router.must("curl", "-sf", "-H", f"Authorization: Bearer {token(house)}", "http://127.0.0.1:8053/")
    assert "Let it through without looking inside?" in page
    house.hedgerow("requests", "--approve", str(request["id"]))
    until(lambda: opens(house, tablet, UNKNOWN, *options) == (0, f"page of {UNKNOWN}"), "it is passed through")


def asked(house: House) -> list[dict[str, Any]]:
    """Return the open requests."""
    found: list[dict[str, Any]] = json.loads(house.hedgerow("requests", "--json").stdout)
    return found


def token(house: House) -> str:
    return (house.state / "admin-token").read_text().strip()


def test_other_devices_are_still_inspected_and_the_policy_can_forbid_pass_through(house: House) -> None:
    tablet, laptop, options = house.devices["tablet"], house.devices["laptop"], app(house, OWN_STORE)
    until(lambda: opens(house, tablet, APPS, *options)[0] == 0, "the tablet's is passed through")
    before = passed_through(house)
    assert [opens(house, laptop, APPS, *options)[0] for _ in range(5)] == [60] * 5
    assert opens(house, laptop, APPS, *browser(house)) == (0, f"page of {APPS}")
    assert passed_through(house) == before


def test_a_blocked_host_is_not_passed_through(house: House) -> None:
    tablet, options = house.devices["tablet"], app(house, OWN_STORE)
    assert not any(f"page of {CLOSED}" in opens(house, tablet, CLOSED, *options, *at(CLOSED))[1] for _ in range(5))


def test_a_host_with_blocked_pages_is_not_passed_through(house: House) -> None:
    tablet, before = house.devices["tablet"], passed_through(house)
    assert [opens(house, tablet, PARTLY_OPEN, *app(house, OWN_STORE))[0] for _ in range(5)] == [60] * 5
    until(lambda: "certificate-refused" in told_of(house, PARTLY_OPEN), "the log tells")
    assert passed_through(house) == before
    assert opens(house, tablet, PARTLY_OPEN, *browser(house)) == (0, f"page of {PARTLY_OPEN}")


def test_an_app_that_connects_by_address_is_inspected_too(house: House) -> None:
    """Such an app sends no DNS query."""
    laptop = house.devices["laptop"]
    assert opens(house, laptop, OTHER, *app(house, OWN_STORE), *at(OTHER))[0] == 60
    assert opens(house, laptop, OTHER, *browser(house), *at(OTHER)) == (0, f"page of {OTHER}")
