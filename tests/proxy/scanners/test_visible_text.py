"""Words that a browser shows are found however a page hides them from a filter, in whatever pieces it comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.proxy.scanners.visible_text import Markup, TextExtractor

SHOWN = [
    "<!-->WORDS",
    "<!--->WORDS",
    "<!-- --!>WORDS",
    "<a title='<!--'>WORDS",
    '<a title="<script>">WORDS',
    "<title><!--</title>WORDS",
    "<title>WORDS <b",
    "<textarea><script></textarea>WORDS",
    "<textarea placeholder='WORDS'></textarea>",
    "<xmp><!--</xmp>WORDS",
    "<plaintext><style>WORDS",
    "<noscript><style></noscript>WORDS",
    "<iframe><style></iframe>WORDS",
    "<object>WORDS",
    "<math>WORDS",
    "<div><template shadowrootmode=open><p>WORDS</template></div>",
    "<iframe srcdoc='&lt;p>WORDS'></iframe>",
    "<iframe src='data:text/html,<p>WORDS'></iframe>",
    "<object data='data:text/html;base64,PHA+V09SRFM='></object>",
    "<input value=WORDS>",
    "<select><option label='WORDS'></select>",
    "<select><option><style>WORDS</select>",
    "<style>p::before { content: 'WORDS' }</style>",
    "<style>/* ' */ p::before { content: '\\57ORDS' }</style>",
    "<style><p title='</style>'></style>WORDS",
    "<svg><style><p>WORDS",
    "<svg><script><p>WORDS",
    "<svg><title><b></svg></b></title><style><p>WORDS",
    "<svg><![CDATA[<!--]]></svg>WORDS",
    "<svg></math><style><p>WORDS",
    "<svg></div><style><p>WORDS",
    "<math></svg><script/>WORDS",
    "<script><!--<script></script><style></script>WORDS",
    "<script><!--></script>WORDS",
    "<script></script title='<!--'>WORDS",
    "<script\xa0>WORDS",
    "</p title='<!--'>WORDS",
    "</!WORDS>WORDS",
    '<a ="x>WORDS',
    "<a b = '>' c='<style>'>WORDS",
    "<span>W</span><span>O</span><span>R</span><span>D</span><span>S</span>",
    "<p>W<i>OR</i><b>DS</b>",
    "WOR<!-- -->DS",
    f"<img src='data:{40000 * 'x'}<style>'>WORDS",
    f"<img src=data:{40000 * 'x'}<style>>WORDS",
    f"<script data-x='{40000 * 'x'}'></script>WORDS",
]
SHOWN_IN_XML = [
    "<script/>WORDS",
    "<x><script>WORDS</script></x>",
    "<!DOCTYPE x [<!ENTITY a 'WORDS'>]><x>&a;</x>",
    "<!DOCTYPE x [<!ENTITY a 'WO'><!ENTITY b '&a;RD'>]><x>&b;S</x>",
    "<x><![CDATA[<!--]]>WORDS</x>",
    "<?x > <!-- ?><x>WORDS</x>",
    "<x a='>'>WORDS</x>",
]
HIDDEN = [
    "a<!-- WORDS -->b",
    "a<!-- <!-- --> b <!-- WORDS",
    "<script>WORDS</script>",
    "<script><!-- WORDS <script> WORDS </script> WORDS --></script>",
    "<style>WORDS { color: red }</style>",
    "<svg><style>.WORDS { fill: red }</style></svg>",
    "<a title='WORDS'>",
    "<!doctype WORDS>",
    "<input type=hidden value=WORDS>",
]


def read(page: str, size: int = 1 << 20, markup: Markup = Markup.HTML) -> str:
    extractor = TextExtractor(markup=markup)
    text = "".join(extractor.feed(page[at : at + size]) for at in range(0, len(page), size))
    return text + extractor.feed("", last=True)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_what_a_browser_shows_is_found(size: int) -> None:
    lost = [page[:60] for page in SHOWN if "words" not in read(page, max(size, len(page) // 200)).split()]
    lost += [page for page in SHOWN_IN_XML if "words" not in read(page, size, Markup.XML).split()]
    assert not lost


@pytest.mark.parametrize("page", HIDDEN)
def test_what_no_browser_shows_does_not_count(page: str) -> None:
    assert "words" not in read(page)


def test_text_is_shown_whole_and_what_a_body_is_may_be_sniffed() -> None:
    assert "words" in read("<style>WORDS", markup=Markup.TEXT)
    assert "words" in read("some text <style>WORDS", markup=Markup.SNIFFED)
    assert "words" in read("<?xml version='1.0'?><x><style>WORDS", markup=Markup.SNIFFED)
    assert "words" not in read("<p><style>WORDS", markup=Markup.SNIFFED)


TOKENS = ["<", ">", "<!--", "-->", "<p>", "<style>", "</style>", "<script>", "</script>", "<svg>", "</svg>", "<title>"]
TOKENS += ["</title>", "<![CDATA[", "]]>", "&amp;", "'", '"', "=", " ", "word", "a", "<a b='", "<iframe srcdoc="]


@given(st.lists(st.sampled_from(TOKENS), max_size=40), st.sampled_from(Markup), st.integers(1, 50))
def test_the_pieces_of_a_page_make_no_difference(tokens: list[str], markup: Markup, size: int) -> None:
    page = "".join(tokens)
    assert read(page, size, markup) == read(page, markup=markup)
