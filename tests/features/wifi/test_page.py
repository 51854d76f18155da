"""The page of the children's Wi-Fi, and the doctor, as a parent and an admin meet them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from web_server import NOW, running_web

from hedgerow.app.doctor.findings import Health
from hedgerow.features.wifi.checks import wifi_finding
from hedgerow.features.wifi.pages import WORDS
from hedgerow.features.wifi.report import WifiReport, WifiState
from hedgerow.features.wifi.settings import WifiSettings
from hedgerow.policies.reading.load import load_policy


def test_a_parent_opens_a_wifi_joins_by_the_code_and_closes_it(tmp_path: Path) -> None:
    (tmp_path / "hedgerow.yaml").write_text("network: {lan: [127.0.0.0/8], country: PT}\n")
    with (
        running_web(tmp_path) as web,
        httpx.Client(base_url=web.url, verify=False, trust_env=False, headers={"origin": web.url}, timeout=60) as here,
    ):

        def wanted() -> WifiSettings | None:
            return load_policy(tmp_path / "hedgerow.yaml").settings(WifiSettings)

        def send(path: str, **fields: str) -> httpx.Response:
            return here.post(f"/settings/wifi{path}", data=fields, follow_redirects=True)

        assert "/settings/wifi" in here.get("/settings").text, "there is a radio"
        assert "Open the Wi-Fi" in here.get("/settings/wifi").text
        assert "1 to 32 letters" in send("", name="x" * 33).text
        assert wanted() is None
        page = send("", name=" Mia & Leo ", isolate="true").text
        assert wanted() == WifiSettings("Mia & Leo", isolate=True)
        assert "Mia &amp; Leo" in page
        assert "abcd-efgh-jkmn-pqrs" in page
        assert "<svg" in page
        send("", name="Children", strict="true")
        assert wanted() == WifiSettings("Children", strict=True)
        assert "another password" in send("/password").text
        send("/close")
        assert wanted() is None


@pytest.mark.parametrize("state", WifiState)
def test_each_state_has_words_and_a_finding_with_a_remedy(state: WifiState) -> None:
    assert WORDS[state]
    report = WifiReport(state, NOW, ("wlan0",), "wlan0", "10.43.1.0/24", 2, "the radio is hot")
    finding = wifi_finding(WifiSettings("Children"), report)
    assert (finding.health is Health.GOOD) == (state is WifiState.OPEN)
    assert bool(finding.mend) == (state is not WifiState.OPEN)
    assert ("the radio is hot" in finding.found) == (state is WifiState.FAILED)


def test_a_service_that_does_not_run_is_a_finding() -> None:
    assert "hedgerow-wifi" in wifi_finding(WifiSettings("Children"), None).mend
