"""The weekly report: topics, requests and privacy."""

import re
from itertools import product

import httpx
import pytest
from web_server import NOW

from hedgerow.dashboards.reports import weekly_report
from hedgerow.dashboards.words.languages import language
from hedgerow.journal.messages import ProtectionSeen
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Reason, RequestKind, Verdict
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.time_model import ActiveMinute

POLICY = parse_policy(
    b"people:\n  mia: {age: 9, devices: [192.168.1.5]}\n  tom: {age: 15, devices: [192.168.1.6], privacy: none}\n", None
)
DAY = 86400
EVIL = "<script>alert(1)</script>"


def seen(days, device, what, count=1, host="secret-page.example"):
    return Observation(
        NOW - days * DAY,
        DeviceId(device),
        "x",
        "y",
        RequestKind.DNS,
        Verdict.BLOCK,
        Reason.CATEGORY,
        what,
        host,
        count=count,
    )


@pytest.fixture
def report(web):
    web.recorder.add(
        [
            *(seen(days, "192.168.1.5", "social", 10) for days in (1, 2, 3)),
            seen(9, "192.168.1.5", "social", 4),
            seen(1, "192.168.1.5", "ads-trackers", 900),
            seen(1, "192.168.1.6", "gambling", 77),
            AccessRequest(NOW - DAY, DeviceId("192.168.1.5"), "mia", "scratch.example", note=EVIL),
            AccessRequest(NOW - 20 * DAY, DeviceId("192.168.1.5"), "mia", "long-ago.example"),
        ]
    )
    web.recorder.flush()
    return weekly_report(JournalReader(web.engine), POLICY, NOW, language("en")).html


def test_topics_this_week_and_the_one_before(report):
    assert re.search(
        r'Social networks</bdi></th>.*width="100%".*<td class="number">30</td><td class="number">4</td>', report
    )
    assert "blocked 900 times; programs" in report


def test_the_report_names_no_page_and_respects_privacy(report):
    assert "secret-page" not in report
    assert "gambling" not in report.lower()
    assert "Nothing is recorded about tom" in report


def test_requests_of_the_week_and_three_questions(report):
    assert "scratch.example" in report
    assert "long-ago.example" not in report
    assert report.partition("To talk about")[2].count("<li>") == 3
    assert "is there a good way to do it?" in report


def test_the_report_has_no_external_resources_or_scripts(report):
    assert "<script" not in report
    assert "default-src 'none'" in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert "src=" not in report


def test_time_by_topic_and_the_same_as_text_and_as_data(web):
    hour = int(NOW // 3600) - 24
    minutes = [
        ActiveMinute((hour * 60) + minute, "person:mia", subject)
        for minute in range(45)
        for subject in ("", "category:games")
    ]
    before = [
        ActiveMinute(((hour - 7 * 24) * 60) + minute, "person:mia", subject)
        for minute in range(10)
        for subject in ("", "category:games")
    ]
    alone = [ActiveMinute((hour * 60) + 50, "person:mia", "category:social")]  # one name in a minute is no use
    nobody = [ActiveMinute((hour * 60) + minute, "person:tom", "category:video") for minute in range(50)]
    UsageStore(web.engine).add([*minutes, *before, *alone, *nobody])
    report = weekly_report(JournalReader(web.engine), POLICY, NOW, language("en"))
    assert "45 min of use this week, 10 min last week." in report.html
    assert re.search(r'Games</bdi></th>.*<td class="number">45 min</td><td class="number">10 min</td>', report.html)
    assert "- Games: 45 min (Before: 10 min)" in report.text
    assert "There was more time for this" not in report.text
    assert "Video" not in report.html + report.text
    (mia,) = report.people
    assert [(line.what, line.now, line.before) for line in mia.time] == [("Games", 45, 10)]


def test_a_topic_has_no_more_minutes_than_all_use(web):
    """Minutes of topics alone were counted from single names until the ledger had them in minutes of use only."""
    first = int(NOW // 3600) * 60 - 24 * 60
    topics = {"social": 4, "games": 3, "video": 1}
    alone = [
        ActiveMinute(first + n, "person:mia", f"category:{name}") for name, all in topics.items() for n in range(all)
    ]
    UsageStore(web.engine).add([ActiveMinute(first, "person:mia", ""), *alone])
    report = weekly_report(JournalReader(web.engine), POLICY, NOW, language("en"))
    (mia,) = report.people
    assert mia.total is not None
    assert (mia.total.now, [line.now for line in mia.time]) == (1, [1, 1, 1])


def test_bars_on_the_page_are_as_long_as_their_minutes(web):
    """A width in a style sheet takes precedence over the attribute, which mail programs need."""
    sheet = httpx.get(f"{web.url}/static/hedgerow.css", trust_env=False, verify=False, timeout=60).text
    rules = re.findall(r"(?:^|[},])\s*(table[^{]*)\{([^}]*)\}", sheet)
    assert any(re.search(r"(?<![-\w])width:", body) for _, body in rules)
    assert not [name for name, body in rules if name.strip() == "table" and re.search(r"(?<![-\w])width:", body)]


def test_an_empty_week(web):
    assert (
        "does not name any people"
        in weekly_report(JournalReader(web.engine), parse_policy(b"", None), NOW, language("en")).html
    )
    report = weekly_report(JournalReader(web.engine), POLICY, NOW, language("en"))
    assert "No device of mia used Hedgerow this week, so the rules for mia applied to none." in report.html
    assert "No device of mia used Hedgerow this week, so the rules for mia applied to none." in report.text
    (device,) = [device.id for device in POLICY.devices.values() if device.person == "mia"][:1]
    web.recorder.add([ProtectionSeen(NOW - 60, device, Protection.DNS)])
    web.recorder.flush()
    report = weekly_report(JournalReader(web.engine), POLICY, NOW, language("en"))
    assert "Nothing notable was blocked for mia" in report.html


def test_in_the_first_week_nothing_is_more_than_before_and_a_day_without_blocks_has_no_bar(web):
    web.recorder.add([seen(0, "192.168.1.5", "social", 30)])
    web.recorder.flush()
    report = weekly_report(JournalReader(web.engine), POLICY, NOW, language("en")).html
    assert "Social networks" in report
    assert "More was closed this week" not in report
    assert report.count('role="presentation"') == 2, "one for the topic, one for today"


AGES = (5, 9, 14, 17)
SENSITIVE = (
    "adult",
    "self-harm",
    "violence",
    "drugs",
    "dating",
    "gambling",
    "weapons",
    "hate",
    "alcohol-tobacco",
    "random-chat",
)


def test_no_question_names_a_topic_that_accuses(web):
    cases = {
        f"child-{age}-{topic}": (age, topic, f"192.168.1.{number}")
        for number, (age, topic) in enumerate(product(AGES, SENSITIVE), 1)
    }
    web.recorder.add(
        seen(days, address, topic, count) for _, topic, address in cases.values() for days, count in ((1, 40), (9, 1))
    )
    web.recorder.flush()
    people = "".join(
        f"  {name}: {{age: {age}, devices: [{address}], privacy: domain}}\n"
        for name, (age, _, address) in cases.items()
    )
    policy = parse_policy(f"people:\n{people}".encode(), None)
    for person in weekly_report(JournalReader(web.engine), policy, NOW, language("en")).people:
        _, topic, _ = cases.pop(person.name)
        title = language("en").category(topic, topic)
        assert person.blocked[0].what == title, "the parents see it in the table"
        assert len(person.questions) == 3
        assert not [each for each in person.questions if title in each or "blocked" in each], person.name
    assert not cases


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (5, "What did mia like best on the screen this week? Can you do it together?"),
        (9, "What was the best thing that mia saw or made online this week?"),
        (
            14,
            (
                "Social networks: blocked most often this week. Does mia find that rule fair, and what would be a"
                " better one?"
            ),
        ),
    ],
)
def test_questions_fit_the_age(web, age, said):
    web.recorder.add([seen(1, "192.168.1.5", "social", 6), seen(9, "192.168.1.5", "social", 6)])
    web.recorder.flush()
    policy = parse_policy(f"people:\n  mia: {{age: {age}, devices: [192.168.1.5], privacy: domain}}\n".encode(), None)
    (mia,) = weekly_report(JournalReader(web.engine), policy, NOW, language("en")).people
    assert mia.questions[0] == said


def test_bedtime_is_no_topic_of_a_question(web):
    night = Observation(
        NOW - DAY, DeviceId("192.168.1.5"), "x", "y", RequestKind.DNS, Verdict.BLOCK, Reason.BEDTIME, "", "", count=50
    )
    web.recorder.add([night])
    web.recorder.flush()
    policy = parse_policy(b"people:\n  mia: {age: 14, devices: [192.168.1.5], privacy: domain}\n", None)
    (mia,) = weekly_report(JournalReader(web.engine), policy, NOW, language("en")).people
    assert not [each for each in mia.questions if "bedtime" in each or "blocked" in each]
