"""What Home Assistant is shown of a child."""

from __future__ import annotations

from hedgerow.features.home_assistant.payloads import ChildReading, child_state

NOW = 1_700_000_000.0


def test_a_bedtime_is_shown_until_it_begins_and_then_stays_as_it_is() -> None:
    """Home Assistant stores each state that differs from the last: a time that moves would fill its
    database all night.
    """

    def shown(begins: float, now: float) -> object:
        return child_state(ChildReading("mia", False, None, begins, 0, None, {}), now)["bedtime"]

    assert shown(NOW + 600, NOW) == "2023-11-14T22:23:20+00:00"
    assert shown(NOW + 60, NOW + 60) is shown(NOW + 65, NOW + 65.1) is None
