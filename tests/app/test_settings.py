"""Endpoints, settings files and the ready line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hedgerow.app.announcements import ready_lines
from hedgerow.app.settings import Endpoint, Settings, has_ipv6, parse_endpoint


@pytest.mark.parametrize("text", ["127.0.0.1:53", "0.0.0.0:5300", "[::1]:8053", "[::]:53"])
def test_endpoint_round_trip(text: str) -> None:
    assert str(parse_endpoint(text)) == text


@pytest.mark.parametrize(
    "text", ["", "53", ":53", "localhost:53", "127.0.0.1", "127.0.0.1:dns", "127.0.0.1:65536", "1.2.3.4.5:53"]
)
def test_an_invalid_endpoint_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"ADDRESS:PORT|not an IP address"):
        parse_endpoint(text)


def test_all_addresses_means_both_families() -> None:
    families = Endpoint("0.0.0.0", 53).every_family()
    assert [each.host for each in families] == (["0.0.0.0", "::"] if has_ipv6() else ["0.0.0.0"])
    assert Endpoint("127.0.0.1", 53).every_family() == (Endpoint("127.0.0.1", 53),)


def test_settings_survive_the_file(tmp_path: Path) -> None:
    place = Endpoint("::1", 53)
    chosen: dict[str, Any] = {
        "workers": 3,
        "profile": "small",
        "transparent": place,
        "page": (place,),
        "log_json": True,
    }
    settings = Settings(tmp_path, tmp_path / "hedgerow.yaml", place, place, place, **chosen)
    settings.run.mkdir()
    settings.save()
    assert Settings.load(tmp_path) == settings
    assert (settings.run / "settings.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("web", "shown", "others"),
    [
        ("0.0.0.0", "127.0.0.1:8053", ["from other devices: http://192.168.1.2:8053 http://[fd00::2]:8053"]),
        ("::", "[::1]:8053", ["from other devices: http://[fd00::2]:8053"]),
        ("127.0.0.1", "127.0.0.1:8053", []),
        ("192.168.1.2", "192.168.1.2:8053", []),
    ],
)
def test_the_ready_line_has_an_address_for_a_browser_here(
    tmp_path: Path, web: str, shown: str, others: list[str]
) -> None:
    if web == "0.0.0.0" and not has_ipv6():
        others = ["from other devices: http://192.168.1.2:8053"]
    settings = Settings(
        tmp_path,
        None,
        Endpoint("0.0.0.0", 53),
        Endpoint("::1", 3128),
        Endpoint(web, 8053),
        encrypted={"doh": Endpoint("::", 443)},
    )
    own = ["127.0.0.1", "fd00::2", "::1", "192.168.1.2", "8.8.4.4", "203.0.113.2", "100.64.0.2"]
    assert ready_lines(settings, own) == [
        f"hedgerow ready dns=0.0.0.0:53 proxy=[::1]:3128 web=http://{shown} doh=[::]:443",
        *others,
    ]
    assert len(ready_lines(settings, ["127.0.0.1", "::1"])) == 1, "no other device could reach it"
