"""Budget edits from a person's page."""

import re

import httpx
import pytest

from hedgerow.dashboards.edits.household import BudgetLimit, budget_edit, budget_limits
from hedgerow.dashboards.edits.yaml_text import apply_edits
from hedgerow.policies.reading.load import load_policy, parse_policy


def text_of(budget):
    said = f"    budget: {budget}\n" if budget else ""
    return f"people:\n  mia:\n    age: 9   # nearly ten\n{said}"


@pytest.mark.parametrize(
    ("before", "limit", "after"),
    [
        ("", BudgetLimit("", 90, 180), "{school-days: 1h30m, weekend: 3h}"),
        ("", BudgetLimit("", 60, 60), "{every-day: 1h}"),
        ("", BudgetLimit("games", 45, 45), "{games: 45m}"),
        ("", BudgetLimit("games", None, 0), "{games: {weekend: 0m}}"),
        ("2h", BudgetLimit("games", 30, 45), "{every-day: 2h, games: {school-days: 30m, weekend: 45m}}"),
        ("2h", BudgetLimit("", 90, 120), "{school-days: 1h30m, weekend: 2h}"),
        ("none", BudgetLimit("", 90, None), "{school-days: 1h30m}"),
        (
            "{mon-fri: 1h, weekend: 2h, games: 45m}",
            BudgetLimit("", 90, 120),
            "{weekend: 2h, games: 45m, school-days: 1h30m}",
        ),
        ("{weekdays: 1h, week: 10h, holidays: 4h}", BudgetLimit("", None, None), "{week: 10h, holidays: 4h}"),
        ("{school-days: 1h, games: 45m}", BudgetLimit("games", None, None), "{school-days: 1h}"),
        (
            "{games: {weekend: 20m, week: 2h}}",
            BudgetLimit("games", 10, 20),
            "{games: {weekend: 20m, week: 2h, school-days: 10m}}",
        ),
        ("{games: 45m}", BudgetLimit("games", None, None), ""),
        ("1h", BudgetLimit("", None, None), ""),
    ],
)
def test_budget_edits(before, limit, after):
    text = apply_edits(text_of(before), [budget_edit("mia", limit)])
    assert text == text_of(after)
    (found,) = [
        each
        for each in budget_limits(parse_policy(text.encode(), None).people["mia"].rules.budget)
        if each.what == limit.what
    ] or [BudgetLimit(limit.what, None, None)]
    assert (found.school, found.weekend) == (limit.school, limit.weekend)


COMMENTED = """\
# top
people:
  mia:
    age: 9   # nine
    # before the budget
    budget:   # on the budget
      # first
      school-days: 1h   # sd
      weekend: 2h  # we
      week: 10h   # wk
      # games
      games:  # g
        weekend: 20m  # gw
        # inner
        holidays: 1h  # gh
      # video
      video: 30m  # v
    # after the budget
    bedtime: "20:00-07:00"  # bed
  tom:
    age: 15
    budget: 2h   # two hours
# end
"""


@pytest.mark.parametrize("person", ["mia", "tom"])
@pytest.mark.parametrize("what", ["", "games", "video", "tiktok"])
@pytest.mark.parametrize("minutes", [(45, 45), (30, 60), (None, None), (None, 60)])
def test_every_comment_stays(person, what, minutes):
    after = apply_edits(COMMENTED, [budget_edit(person, BudgetLimit(what, *minutes))])
    assert [comment for comment in re.findall("#.*", COMMENTED) if comment not in after] == []
    parse_policy(after.encode(), None)


def test_budgets_with_differing_days_are_marked():
    budget = parse_policy(text_of("{mon: 1h, tue: 2h, weekend: 3h}").encode(), None).people["mia"].rules.budget
    assert budget_limits(budget) == (BudgetLimit("", None, None, differs=True),)


def test_a_parent_limits_the_time_and_takes_the_limit_back(web):
    with httpx.Client(
        base_url=web.url, trust_env=False, timeout=30, headers={"origin": web.url}, verify=False
    ) as browser:
        before = web.policy_path.read_text()

        def save(status=303, **form):
            answer = browser.post("/people/mia/budget", data=form)
            assert answer.status_code == status, answer.text
            return answer.text

        save(what="", school="90", weekend="180")
        save(what="games", school="45", weekend="45")
        page = browser.get("/people/mia/time").text
        assert 'value="90"' in page
        assert "Save the time for Games" in page
        budget = load_policy(web.policy_path).people["mia"].rules.budget
        assert budget is not None
        (all_use, games) = budget
        assert (all_use.daily[0], all_use.daily[6], games.subject, games.daily[2]) == (90, 180, "category:games", 45)
        written = web.policy_path.read_text()
        for wrong in (
            {"school": "many"},
            {"school": "1441"},
            {"school": "-1"},
            {"what": "no such thing", "school": "10"},
        ):
            save(422, **{"what": "", "weekend": "", **wrong})
        save(what="", school="90", weekend="180")
        assert web.policy_path.read_text() == written
        save(what="games")
        save(what="")
        assert web.policy_path.read_text() == before
