"""`hedgerow explain`: output and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_internet.running import hedgerow_command

POLICY = """
network: {timezone: Europe/Lisbon}
people:
  mia: {age: 9, devices: [tablet], bedtime: "20:30-07:00"}
  tom: {age: 15}
devices: {tablet: {ip: 192.168.1.9}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("home")
    (made / "hedgerow.yaml").write_text(POLICY)
    return made


def _explain(folder: Path, *words: str) -> tuple[int, str]:
    done = hedgerow_command(
        "explain", "--policy", str(folder / "hedgerow.yaml"), "--state", str(folder / "state"), *words
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("mia", "www.tiktok.com", "--at", "12:00"), "block: category (social)"),
        (("tablet", "example.org", "--at", "21:45"), "the internet is closed by bedtime"),
        (("tablet", "example.org", "--at", "2026-11-25 12:00"), "tablet (mia, child-8-12) at Wed 2026-11-25 12:00"),
    ],
)
def test_explain(folder: Path, words: tuple[str, ...], expected: str) -> None:
    status, text = _explain(folder, *words)
    assert status == 0, text
    assert expected in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("tablt", "example.org"),
            "There is no device 'tablt', and it is not an address of this network. Did you mean tablet?",
        ),
        (("tom", "example.org"), "tom has no device yet."),
        (
            ("tablet", "example.org", "--at", "tomorrow"),
            "'tomorrow' is not a time, such as 20:45 for today or 2026-01-31T20:45.",
        ),
        (("tablet", "tiktok"), "'tiktok' is a service: ask about one of its sites, such as tiktok.com."),
        (("tablet", "not a host"), "'not a host' is neither a host nor a URL."),
    ],
)
def test_invalid_arguments(folder: Path, words: tuple[str, ...], expected: str) -> None:
    status, text = _explain(folder, *words)
    assert status == 2
    assert expected in text
    assert "Traceback" not in text


def test_the_level_of_a_rule(tmp_path: Path) -> None:
    (tmp_path / "hedgerow.yaml").write_text(POLICY)
    (tmp_path / "organisation").mkdir()
    (tmp_path / "organisation" / "organisation.yaml").write_text(
        "profiles:\n  child-8-12: {block: [+secret.example]}\n"
    )
    status, text = _explain(tmp_path, "mia", "secret.example", "--at", "12:00")
    assert (status, "from the organisation's policy" in text) == (0, True)
    status, text = _explain(tmp_path, "mia", "www.tiktok.com", "--at", "12:00")
    assert "from the" not in text
    checked = hedgerow_command("check", str(tmp_path / "hedgerow.yaml")).stdout
    assert "From the organisation, line 1: profiles" in checked
