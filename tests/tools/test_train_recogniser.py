"""The training of the name model, on invented lists: it learns, leaves out what is mislabelled, and makes the same
bytes again.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="training needs numpy and scipy, which Hedgerow itself does not")
pytest.importorskip("scipy", reason="training needs numpy and scipy, which Hedgerow itself does not")

from recogniser_sources import NamedHost, Role, TrainingList, load_manifest, read_names
from train_recogniser import gather, train, with_field_names

from hedgerow.blocklists.recognition.name_model import NameModel, TrainingSource
from hedgerow.blocklists.recognition.recogniser import DATA, WellKnownNames

RIPE, PLAIN = (
    ("xtube", "hotcam", "milfs", "nudes"),
    ("garden", "bakery", "museum", "cycling", "school", "library", "doctor", "choir"),
)
SLOTS = ("casino", "jackpot", "betwin", "poker")
ENDS = ("com", "net", "org", "de", "fr", "info")


def hosts(words: tuple[str, ...], others: tuple[str, ...]) -> list[NamedHost]:
    names = (
        f"{first}-{second}{number}.{end}"
        for first, second, number, end in itertools.product(words, others, range(6), ENDS)
    )
    return [NamedHost(name, rank) for rank, name in enumerate(names, 1)]


def source(name: str, role: Role, rank: int = 0) -> TrainingList:
    return TrainingList(name, role, "hosts", "https://lists.example", "MIT", "0" * 64, rank)


def train_on_invented_lists(folder: Path) -> NameModel:
    names = {
        source("ripe", Role.ADULT): hosts(RIPE, PLAIN),
        source("slots", Role.GAMBLING): hosts(SLOTS, PLAIN),
        source("popular", Role.POPULAR, 100): [*hosts(PLAIN, PLAIN), NamedHost("xtube-hotcam-nudes.com", 1)],
        source("trusted", Role.TRUSTED): [NamedHost("milfs-museum.org")],
    }
    train(names, (TrainingSource("ripe", "adult", "https://lists.example", "MIT", "0" * 64, 1),), folder)
    return NameModel(folder)


def test_it_learns_and_makes_the_same_bytes_again(tmp_path: Path) -> None:
    model = train_on_invented_lists(tmp_path / "first")
    adult, gambling = model.judge("new-milfs-xtube.com"), model.judge("new-jackpot-casino.com")
    assert adult is not None
    assert (adult.category, adult.confidence > 80) == ("adult", True)
    assert gambling is not None
    assert gambling.category == "gambling"
    assert model.judge("choir-library-garden.com") is None
    known = WellKnownNames(tmp_path / "first" / "well-known.bin")
    assert "garden-garden0.com" in known, "popular"
    assert "milfs-museum.org" in known, "trusted"
    assert "xtube-hotcam-nudes.com" not in known, "popular, and probably adult"
    train_on_invented_lists(tmp_path / "second")
    assert {path.name: path.read_bytes() for path in (tmp_path / "first").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "second").iterdir()
    }


def test_the_manifest_names_what_the_shipped_model_was_trained_on() -> None:
    shipped = NameModel(DATA).meta.sources
    assert [(each.name, each.role, each.url, each.licence, each.sha256) for each in shipped] == [
        (each.name, each.role.value, each.url, each.licence, each.sha256) for each in load_manifest()
    ]


def test_a_source_is_read_without_www_and_without_what_is_no_registered_name(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(
        "# comment\n0.0.0.0 www.Some-Site.com\n0.0.0.0 some-site.com\n0.0.0.0 1.2.3.4\nlocalhost\n0.0.0.0 com\n"
    )
    found, checksum = read_names(source("list", Role.ADULT), tmp_path / "list")
    assert [each.host for each in found] == ["some-site.com"]
    assert len(checksum) == 64


def test_names_of_mirrors_are_composed_of_brands_and_of_pairs_of_words(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("# comment\nsomebrandbet\nlucky : spins wins  # of one language\n")
    mirrors = TrainingList("invented", Role.MIRRORS, "mirrors", "https://lists.example", "MIT", "0" * 64)
    names = [each.host for each in read_names(mirrors, tmp_path / "words")[0]]
    assert names[0] == "somebrandbet.com"
    assert any(name.startswith("luckyspins") for name in names)
    assert any(name.startswith("winslucky") for name in names)
    assert names == [each.host for each in read_names(mirrors, tmp_path / "words")[0]]


def test_names_of_institutions_teach_under_ordinary_top_level_domains_too() -> None:
    names = {
        source("towns", Role.TRUSTED): [
            NamedHost("milfordct.gov"),
            NamedHost("milford.k12.nj.us"),
            NamedHost("stadt-kassel.de"),
        ],
        source("ripe", Role.ADULT): [NamedHost("hotmilfs.com")],
    }
    examples = with_field_names(gather(names))
    composed = [host for host, role in zip(examples.hosts, examples.roles, strict=True) if role is Role.COMPOSED]
    assert [host.partition(".")[0] for host in composed] == ["milford", "milfordct"]
    assert all(host.endswith((".com", ".net", ".org", ".info")) for host in composed)


def test_names_of_towns_are_composed_of_a_gazetteer(tmp_path: Path) -> None:
    towns = [
        ("Milford", "US", "CT"),
        ("Bad Kissingen", "DE", "02"),
        ("Penistone", "GB", "ENG"),
        ("Rüdesheim am Rhein", "DE", "05"),
    ]
    (tmp_path / "cities.json").write_text(
        json.dumps([{"name": name, "country": of, "admin1": state} for name, of, state in towns])
    )
    names, again = (
        [
            each.host
            for each in read_names(
                TrainingList("towns", Role.COMPOSED, "places", "", "", ""), tmp_path / "cities.json"
            )[0]
        ]
        for _ in range(2)
    )
    assert any("milfordct" in name or "milford-ct" in name for name in names)
    assert all(name.isascii() for name in names)
    assert names == again


@pytest.mark.parametrize(
    ("format", "text", "expected"),
    [
        ("swot", "lib/domains/edu/example.txt\nlib/domains/uk/ac/example.txt\n", ["example.edu", "example.ac.uk"]),
        (
            "addresses",
            "ID,Town,Site\n1,St. Louis,https://www.stlouis-mo.example.com/home\n2,Nowhere,\n",
            ["stlouis-mo.example.com"],
        ),
        ("addresses", "Domain,Type\nkassel.de,City\n", ["kassel.de"]),
    ],
)
def test_tables_of_institutions_are_read(format: str, text: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "list").write_text(text)
    assert [
        each.host for each in read_names(TrainingList("list", Role.TRUSTED, format, "", "", ""), tmp_path / "list")[0]
    ] == expected
