"""The weekly report: topics against last week, what was asked for, and nothing that privacy forbids."""

import re

import pytest
from web_server import NOW

from hedgerow.dashboards.reports import weekly_report
from hedgerow.journal.read import Reader
from hedgerow.policies.load import parse_policy
from hedgerow.policies.model import AccessRequest, DeviceId, Kind, Observation, Reason, Verdict

POLICY = parse_policy(b"people:\n  mia: {age: 9, devices: [192.168.1.5]}\n  tom: {age: 15, devices: [192.168.1.6], privacy: none}\n", None)
DAY = 86400
EVIL = "<script>alert(1)</script>"


def seen(days, device, what, count=1, host="secret-page.example"):
    return Observation(NOW - days * DAY, DeviceId(device), "x", "y", Kind.DNS, Verdict.BLOCK, Reason.CATEGORY, what, host, count=count)


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
    return weekly_report(Reader(web.engine), POLICY, NOW).html


def test_topics_this_week_and_the_one_before(report):
    assert re.search(r'topic: social</bdi></th>.*width="100%".*<td class="number">30</td><td class="number">4</td>', report)
    assert "900 times advertising" in report


def test_no_page_is_named_and_nothing_of_whom_nothing_is_kept(report):
    assert "secret-page" not in report
    assert "gambling" not in report
    assert "Nothing is kept about <bdi>tom</bdi>" in report


def test_what_was_asked_for_this_week_and_three_questions(report):
    assert "scratch.example" in report
    assert "long-ago.example" not in report
    assert report.partition("To talk about")[2].count("<li>") == 3
    assert "is there a good way to it?" in report


def test_it_asks_nobody_for_anything_and_runs_nothing(report):
    assert "<script" not in report
    assert "default-src 'none'" in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert "src=" not in report


def test_an_empty_week(web):
    assert "Nobody is named" in weekly_report(Reader(web.engine), parse_policy(b"", None), NOW).html
    assert "Nothing that says something about mia" in weekly_report(Reader(web.engine), POLICY, NOW).html
