"""Messages that no language may lack: those of the block page, the child's own page and the guide."""

import re
from pathlib import Path

import pytest
from catalogues import TRANSLATED, messages, missing, updated

import hedgerow
from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.policies.text.locales import LANGUAGES
from hedgerow.proxy.pages.block_page import BlockPage
from hedgerow.proxy.pages.translations import PageReader


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_language_has_the_block_page_the_childs_page_and_the_guide(code):
    assert missing(updated(code), messages(required_only=True)) == []
    assert LANGUAGES[code] != code, "it has its own name"


def test_numbers_to_call_keep_their_order_beside_arabic():
    """A number with a space in it would be turned round: 111 116 for 116 111."""
    html = (
        BlockPage("SA")
        .blocked(Decision(Verdict.BLOCK, Reason.BEDTIME), "a.example", "", 0.0, reader=PageReader("ar"))
        .body.decode()
    )
    assert '<html lang="ar" dir="rtl">' in html
    numbers = re.findall(r'<a [^>]*href="(?:tel|sms):\d+"[^>]*>(.*?)</a>', html)
    assert numbers
    assert all('<bdi dir="ltr">' in number for number in numbers)


@pytest.mark.parametrize("path", ["dashboards/static/hedgerow.css", "proxy/pages/page.css"])
def test_styles_name_no_side_but_for_times_which_run_from_left_to_right(path):
    lines = (Path(hedgerow.__file__).parent / path).read_text(encoding="utf-8").splitlines()
    sides = re.compile(
        r"(margin|padding|border)-(left|right):|text-align: (left|right)|[ ;{](left|right): |float: (left|right)"
    )
    assert [line for line in lines if sides.search(line) and not re.match(r"\s*\.(track|weekaxis)\b", line)] == []
