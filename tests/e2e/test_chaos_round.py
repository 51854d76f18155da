"""A few rounds of the drills, so that they stay in working order. `make chaos` runs them all."""

from __future__ import annotations

from chaos.run import run


def test_damage_loses_no_rule_and_no_pause() -> None:
    tallies = run(rounds=2, seed=0, only="damaged")
    assert sum(tally.rounds for tally in tallies.values()) == 2
    assert [problem for tally in tallies.values() for problem in tally.problems] == []
    assert all(tally.dns.asked and not tally.dns.wrong and not tally.pages.wrong for tally in tallies.values())
