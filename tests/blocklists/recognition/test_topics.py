"""Topics of names, as they ship, with and without the extension in C: what is recognised, and what stays open because
a wrong block would harm.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.blocklists.canaries import Canaries
from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.recognition import topic_table
from hedgerow.blocklists.recognition.recogniser import DATA, Recogniser
from hedgerow.blocklists.recognition.topic_model import TOPIC_META_FILE, TOPIC_PIECES_FILE, TopicModel
from hedgerow.blocklists.sources import starter_sources
from hedgerow.policies.host_facts import Lifelines


@pytest.fixture(scope="module", params=["C", "Python"])
def recogniser(request: pytest.FixtureRequest) -> Iterator[Recogniser]:
    if request.param == "C" and topic_table.add_up_topics is None:
        pytest.skip("there was no compiler to build hedgerow.blocklists.recognition._pieces")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "Python":
            patch.setattr(topic_table, "add_up_topics", None)
        yield Recogniser()


def told(recogniser: Recogniser, host: str) -> str:
    """Return what a name is blocked for at the threshold of children."""
    return next((each.category for each in recogniser.recognitions(host) if each.confidence >= 60), "")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("serious-dating-for-singles.net", "dating"),
        ("partnervermittlung-kostenlos.de", "dating"),
        ("rencontres-serieuses-lyon.fr", "dating"),
        ("citas-solteros-madrid.es", "dating"),
        ("gaydating-berlin.com", "dating"),
        ("buy-cannabis-seeds-online.com", "drugs"),
        ("hanfsamen-growshop.de", "drugs"),
        ("xanax-without-prescription.net", "drugs"),
        ("vapeshop-eliquids.co.uk", "alcohol-tobacco"),
        ("shisha-tabak-versand.de", "alcohol-tobacco"),
        ("discount-gunshop-ammo.com", "weapons"),
        ("waffenhandel-munition.de", "weapons"),
        ("whitepower-skinheads.com", "hate"),
        ("aryan-brotherhood-forum.net", "hate"),
        ("realgore-videos.net", "violence"),
        ("beheading-videos.tv", "violence"),
        ("proana-thinspo-tips.com", "self-harm"),
        ("ana-y-mia-princesas.com", "self-harm"),
        ("painless-suicide-methods.net", "self-harm"),
        ("ai-girlfriend-nsfw.app", "ai-chat"),
        ("undress-ai-tool.app", "adult"),
        ("nudify-photos.io", "adult"),
    ],
)
def test_what_sells_or_promotes_is_recognised(host: str, expected: str, recogniser: Recogniser) -> None:
    assert told(recogniser, host) == expected


@pytest.mark.parametrize(
    "host",
    [
        "suicide-prevention-chat.com",
        "suicidehotline-texas.net",
        "selfharm-recovery.com",
        "anorexia-help-forum.com",
        "eatingdisorder-support.net",
        "essstoerung-beratung.de",
        "proana-recovery.com",
        "proanalytics.com",
        "proanatomy.com",
        "drug-rehab-ohio.com",
        "cannabis-sucht-hilfe.de",
        "marijuana-policy-research.com",
        "stopvaping.com",
        "quit-smoking-today.com",
        "stop-the-drugwar.com",
        "hatecrime-helpline.com",
        "holocaust-museum-houston.com",
        "nazi-history-archive.com",
        "gegen-nazis.de",
        "antifa-infoblatt.de",
        "exit-deutschland-nazis.de",
        "genocide-memorial.net",
        "islamic-center-austin.com",
        "muslim-youth-jihad-studies.com",
        "gun-violence-prevention.com",
        "guncontrol-now.com",
        "glue-gun-crafts.com",
        "gunther-auto.de",
        "gundam-shop.com",
        "shotgunplayers-theatre.com",
        "seaweed-farm.com",
        "weedcontrol-lawn.com",
        "gore-tex-jackets.com",
        "gorenje-service.de",
        "domestic-violence-shelter.com",
        "dating-violence-help.com",
        "carbon-dating-lab.com",
        "tennis-singles-club.com",
        "wow-armory.com",
        "lgbt-youth-dating-advice.org",
        "transgender-support.com",
        "wine-country-hotel.com",
        "discount-parts.com",
        "online-smart.store",
        "white-horse-inn.com",
        "happyhooligans.com",
        "warriorsworld-rugby.com",
        "xn--proana-9ya.com",
    ],
)
def test_help_recovery_history_and_other_senses_stay_open(host: str, recogniser: Recogniser) -> None:
    assert told(recogniser, host) == ""


def test_no_helpline_canary_or_good_site_looks_like_a_topic(recogniser: Recogniser) -> None:
    """Whatever the threshold is, apart from adult and gambling, of which other tests know."""
    good = [each for each in starter_sources() if each.category in {"education", "health", "kids", "sexual-education"}]
    lines = [line for each in good if each.path for line in each.path.read_text(encoding="utf-8").splitlines()]
    hosts = [line.split()[0] for line in lines if line[:1].isalnum()] + sorted(Lifelines.load().hosts)
    assert len(hosts) > 500
    topics = frozenset(recogniser.topics.meta.topics)
    looks = {host: each for host in hosts for each in recogniser.recognitions(host) if each.category in topics}
    assert [host for host in looks if not Canaries.load().topic_of_site(host)] == []


def test_topics_are_categories_and_name_their_sources() -> None:
    meta = TopicModel(DATA).meta
    assert set(meta.topics) <= {each.name for each in builtin_categories()}
    assert len(meta.calibrations) == len(meta.topics)
    assert {each.role for each in meta.sources} == {"harmless", *meta.topics}
    assert all(each.licence and each.url and len(each.sha256) == 64 for each in meta.sources)


def test_the_strongest_parts_are_those_of_the_topic(recogniser: Recogniser) -> None:
    host = "www.hanfsamen-growshop.de"
    (found,) = recogniser.recognitions(host)
    parts = recogniser.strongest_parts(host, found)
    assert parts
    assert all(part in host for part in parts)


def test_a_torn_model_is_refused(tmp_path: Path) -> None:
    shutil.copy(DATA / TOPIC_META_FILE, tmp_path)
    (tmp_path / TOPIC_PIECES_FILE).write_bytes((DATA / TOPIC_PIECES_FILE).read_bytes()[: 5120 * 4])
    with pytest.raises(ValueError, match="slots of topics"):
        TopicModel(tmp_path)
