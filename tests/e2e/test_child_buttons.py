"""The buttons of a child's card on Today: homework and a later bedtime, as DNS enforces them."""

from __future__ import annotations

import datetime

import httpx
from small_internet import SmallInternet
from small_internet.clients import kdig_addresses
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow, wait_until

TABLET, PATIENCE = "127.0.0.2", 30.0
PEOPLE = """
people:
  mia: {{age: 9, devices: [tablet], allow: [netflix], bedtime: "{bedtime}"}}
devices:
  tablet: {{ip: 127.0.0.2}}
"""


def _press(running: Hedgerow, path: str, **form: str) -> None:
    token = (running.state / "admin-token").read_text().strip()
    answer = httpx.post(
        f"{running.web}{path}",
        data=form,
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=60,
        verify=False,
    )
    assert answer.status_code == 303, answer.text


def _command(running: Hedgerow, *words: str) -> str:
    done = hedgerow_command(*words, "--state", str(running.state))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _is_blocked(running: Hedgerow, name: str) -> bool:
    return kdig_addresses(running.dns, name, source=TABLET) == ["0.0.0.0"]


def _bedtime(start: datetime.timedelta) -> str:
    """Return a bedtime of an hour that begins at `start` from now."""
    begins = datetime.datetime.now(datetime.UTC) + start
    return f"{begins:%H:%M}-{begins + datetime.timedelta(hours=1):%H:%M}"


def test_homework_stops_what_distracts_and_ends_at_the_press_of_a_button(whole_internet: SmallInternet) -> None:
    section = network_section(whole_internet)
    with running_hedgerow(section + PEOPLE.format(bedtime=_bedtime(datetime.timedelta(hours=8)))) as running:
        assert not _is_blocked(running, "www.netflix.com")
        _press(running, "/pause", person="mia", kind="homework", minutes="60")
        wait_until(lambda: _is_blocked(running, "www.netflix.com"), PATIENCE)
        assert not _is_blocked(running, "news.example")
        _press(running, "/resume", person="mia")
        wait_until(lambda: not _is_blocked(running, "www.netflix.com"), PATIENCE)
        assert _command(running, "homework", "mia", "--minutes", "30") == "Homework for mia, for 30 minutes."
        wait_until(lambda: _is_blocked(running, "www.netflix.com"), PATIENCE)
        assert not _is_blocked(running, "news.example")
        assert _command(running, "pause", "--everybody") == "Paused for everybody, until resumed."
        wait_until(lambda: _is_blocked(running, "news.example"), PATIENCE)


def test_a_later_bedtime_opens_the_night_that_has_begun(whole_internet: SmallInternet) -> None:
    section = network_section(whole_internet)
    with running_hedgerow(section + PEOPLE.format(bedtime=_bedtime(datetime.timedelta(minutes=-10)))) as running:
        wait_until(lambda: _is_blocked(running, "news.example"), PATIENCE)
        _press(running, "/bedtime/later", person="mia", minutes="30")
        wait_until(lambda: not _is_blocked(running, "news.example"), PATIENCE)
        _press(running, "/bedtime/later", person="mia", minutes="30")
        token = (running.state / "admin-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        (grant,) = httpx.get(
            f"{running.web}/api/v1/grants", headers=headers, trust_env=False, timeout=60, verify=False
        ).json()["grants"]
        assert grant["ends"] - grant["starts"] > 3500, "the second press adds to the first"
        _press(running, f"/grants/{grant['id']}/revoke")
        wait_until(lambda: _is_blocked(running, "news.example"), PATIENCE)
        assert _command(running, "later", "mia", "20").startswith("mia's bedtime is at ")
        wait_until(lambda: not _is_blocked(running, "news.example"), PATIENCE)
