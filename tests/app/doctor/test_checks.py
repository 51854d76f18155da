"""Findings of `hedgerow doctor` about lists and the extension."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from hedgerow.app.doctor.checks import check_speed, list_findings
from hedgerow.app.doctor.findings import Health, Installation
from hedgerow.app.doctor.gateway import gateway_finding
from hedgerow.app.doctor.line import exposure_findings
from hedgerow.app.gateway.config import GatewayConfig
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.blocklists.recognition import piece_table
from hedgerow.dashboards.coverage import ListHealth, coverage_by_category
from hedgerow.policies.network import NetworkSettings
from hedgerow.policies.reading.load import parse_policy

NOW = 1_780_000_000.0
STARTER = ListHealth("starter/adult", "adult", 117, NOW - 9e6, starter=True)
WAITING = ListHealth("hagezi-nsfw", "adult", 0, is_remote=True, waiting=True)
FAILED = replace(WAITING, waiting=False, failed=True, problem="the server answered 404")
FETCHED = replace(WAITING, waiting=False, domains=126_000, fetched=NOW - 10_800)


def status_of(lists: list[ListHealth], *, starter_only: bool = False) -> dict[str, Any]:
    coverage = [asdict(row) for row in coverage_by_category(lists, {}, {"adult"})]
    return {"lists": [asdict(row) for row in lists], "coverage": coverage, "starter_only": starter_only}


@pytest.mark.parametrize(
    ("lists", "starter_only", "expected"),
    [
        (
            [STARTER, FETCHED],
            False,
            [
                (Health.GOOD, "126,117 names from 2 lists, updated 3 hours ago"),
                (Health.GOOD, "2 in force"),
            ],
        ),
        (
            [STARTER, WAITING],
            False,
            [
                (
                    Health.UNSURE,
                    (
                        "only the starter list so far (117 names), the others are being fetched: only the starter lists"
                        " block"
                    ),
                ),
                (Health.UNSURE, "1 of 1 public lists are still being fetched"),
            ],
        ),
        (
            [STARTER, FAILED],
            False,
            [
                (
                    Health.BAD,
                    "only the starter list (117 names); missing: hagezi-nsfw: only the starter lists block adult sites",
                ),
                (Health.UNSURE, "problems with hagezi-nsfw; there is no copy of hagezi-nsfw to use"),
            ],
        ),
        (
            [STARTER],
            True,
            [
                (Health.UNSURE, "only the starter list (117 names): only the starter lists block adult sites"),
                (Health.GOOD, "1 in force"),
            ],
        ),
        (
            [STARTER, replace(FETCHED, fetched=NOW - 8 * 86400, failed=True, dead=True, problem="not sent for 8 days")],
            False,
            [
                (Health.UNSURE, "126,117 names from 2 lists, updated 8 days ago; not sent for a week: hagezi-nsfw"),
                (Health.UNSURE, "dead, not sent for a week: hagezi-nsfw; their last good copies stay in use"),
            ],
        ),
        (
            [STARTER, replace(FETCHED, fetched=NOW - 4 * 86400)],
            False,
            [
                (Health.GOOD, "126,117 names from 2 lists, updated 4 days ago"),
                (Health.UNSURE, "not updated for three days: hagezi-nsfw"),
            ],
        ),
    ],
)
def test_lists(lists: list[ListHealth], starter_only: bool, expected: list[tuple[Health, str]]) -> None:
    """A list that nobody could have fetched yet is no problem; the starter list alone is one."""
    found = list(list_findings(status_of(lists, starter_only=starter_only), NOW))
    assert [finding.health for finding in found] == [health for health, _text in expected]
    assert [finding.found[: len(text)] for finding, (_health, text) in zip(found, expected, strict=True)] == [
        text for _health, text in expected
    ]


def test_lists_without_a_copy_are_named() -> None:
    """Of a list that was never fetched, no good copy stays in use."""
    old = replace(FETCHED, source="steven-black", failed=True, problem="HTTP 500")
    *_, found = list_findings(status_of([STARTER, FAILED, old]), NOW)
    assert found.found == (
        "problems with hagezi-nsfw, steven-black; there is no copy of hagezi-nsfw to use;"
        " the last good copies of the others stay in use"
    )


@pytest.mark.parametrize(
    ("transparent", "idle", "found", "mend"),
    [
        ("0.0.0.0", (), "in place on lan, strict", ""),
        (None, (), "only devices that use Hedgerow as their proxy send it web traffic", "--transparent 0.0.0.0:3129"),
        ("127.0.0.1", (), "only devices that use Hedgerow as their proxy", "--transparent 0.0.0.0:3129"),
        (None, ("IPv6",), "this machine does not forward IPv6", "sysctl"),
    ],
)
def test_a_gateway_that_redirects_no_pages_is_told(
    transparent: str | None, idle: tuple[str, ...], found: str, mend: str
) -> None:
    port = Endpoint(transparent, 3129) if transparent else None
    here = Endpoint("0.0.0.0", 53)
    settings = Settings(Path("run"), None, here, here, here, transparent=port)
    finding = gateway_finding(GatewayConfig(("lan",), strict=True), settings, idle)
    assert found in finding.found
    assert mend in finding.mend
    assert bool(mend) == bool(finding.mend) == (finding.health is Health.UNSURE)


def test_lists_of_a_bundle_that_are_not_taken_over_are_told() -> None:
    problem = "the compiled lists of the bundle are not taken over: the server answers 404"
    found = list(list_findings(status_of([STARTER, FETCHED]) | {"lists_problem": problem}, NOW))
    assert [(each.health, each.found) for each in found[1:]] == [
        (Health.UNSURE, f"those from before stay in force: {problem}")
    ]


def test_what_strangers_reach_is_said() -> None:
    """Behind a router, and with encrypted DNS alone on the internet, there is nothing to say."""
    ports = {"dns": Endpoint("0.0.0.0", 53), "web": Endpoint("192.168.1.2", 8053), "doh": Endpoint("0.0.0.0", 443)}
    assert list(exposure_findings(NetworkSettings(), ports, ["127.0.0.1", "192.168.1.2", "2600:9000::2"])) == []
    (reached,) = exposure_findings(NetworkSettings(), ports, ["45.55.20.7"])
    assert (reached.health, reached.found) == (Health.UNSURE, "dns can be reached from the internet at 45.55.20.7")
    anybody = parse_policy(b"network: {lan: [0.0.0.0/0, 192.168.1.0/24]}", None).network
    (served,) = exposure_findings(anybody, ports, ["192.168.1.2"])
    assert (served.health, served.found[-9:]) == (Health.BAD, "0.0.0.0/0")


def test_a_missing_extension_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for add_up, text in ((None, "lacks the extension"), (lambda *_: 0, "by compiled code")):
        monkeypatch.setattr(piece_table, "add_up", add_up)
        (finding,) = check_speed(Installation.of(tmp_path))
        assert finding.health is Health.GOOD
        assert text in finding.found
