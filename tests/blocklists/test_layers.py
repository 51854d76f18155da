"""A generation made from the one before says the same as one made from nothing."""

from __future__ import annotations

import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hedgerow.blocklists import host_index
from hedgerow.blocklists import list_parser as parsed_module
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import CompileReport, compile_generation
from hedgerow.blocklists.generation import META_FILE, read_meta
from hedgerow.blocklists.sources import Source

LABELS = ["a", "b", "c", "www"]


def sources_in(folder: Path, texts: list[str]) -> list[Source]:
    found = []
    for number, text in enumerate(texts):
        path = folder / f"{number}.txt"
        path.write_text(text)
        found.append(Source(str(number), ("adult", "gambling", "education")[number % 3], path, format="adblock"))
    return found


def random_list(rng: random.Random, size: int) -> str:
    """Few names, one below another and in many lists, some of them exceptions."""
    names = {".".join([*rng.choices(LABELS, k=rng.randrange(4)), f"n{rng.randrange(40)}.example"]) for _ in range(size)}
    return "".join(f"{'@@' if rng.random() < 0.1 else ''}||{name}^\n" for name in sorted(names)) or "! nothing\n"


def counts(report: CompileReport) -> tuple[int, int, list[dict[str, object]]]:
    return report.domains, report.url_rules, [asdict(source) for source in report.sources]


def check_same(folder: Path, sources: list[Source], before: Path, number: int) -> Path:
    parsed = folder / "parsed"
    changed = compile_generation(sources, folder / f"changed-{number}", parsed=parsed, before=before)
    whole = compile_generation(sources, folder / f"whole-{number}")
    assert counts(changed) == counts(whole)
    assert changed.version == whole.version
    one, other = Catalogue.open(folder / f"changed-{number}"), Catalogue.open(folder / f"whole-{number}")
    rng = random.Random(number)
    for _ in range(400):
        host = ".".join([*rng.choices(LABELS, k=rng.randrange(5)), f"n{rng.randrange(41)}.example"])
        assert one.host_mask(host) == other.host_mask(host), host
        # By which of several names that cover it may differ: some are folded away in one and not in the other.
        assert {(m.category, m.source) for m in one.host_sources(host)} == {(m.category, m.source) for m in other.host_sources(host)}
        for category in ("adult", "gambling"):
            assert (one.locate(host, category) is None) == (other.locate(host, category) is None)
    return folder / f"changed-{number}"


@pytest.mark.parametrize("seed", range(6))
def test_changed_lists_compile_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(host_index, "WORTH_KEEPING", 1)
    monkeypatch.setattr(host_index, "LARGEST_CHANGE", 0.9)
    monkeypatch.setattr(host_index, "KEYS_PER_SHARD", 20)
    rng = random.Random(seed)
    texts = [random_list(rng, 30) for _ in range(6)]
    before = tmp_path / "first"
    compile_generation(sources_in(tmp_path, texts), before, parsed=tmp_path / "parsed")
    layered = 0
    for number in range(6):
        match rng.randrange(4):
            case 0:
                texts.append(random_list(rng, 10))
            case 1:
                texts[rng.randrange(len(texts))] = "! nothing is left\n"
            case _:
                texts[rng.randrange(len(texts))] = random_list(rng, 30)
        before = check_same(tmp_path, sources_in(tmp_path, texts), before, number)
        layered += len(read_meta(before).layers) == 2
    assert layered > 0


def test_little_or_damaged_is_compiled_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    texts = [random_list(rng, 30) for _ in range(3)]
    compile_generation(sources_in(tmp_path, texts), tmp_path / "first", parsed=tmp_path / "parsed")
    check_same(tmp_path, sources_in(tmp_path, texts), tmp_path / "first", 1)
    assert len(read_meta(tmp_path / "changed-1").layers) == 1  # too little to think about
    monkeypatch.setattr(host_index, "WORTH_KEEPING", 1)
    (tmp_path / "first" / META_FILE).write_text("{}")
    check_same(tmp_path, sources_in(tmp_path, texts), tmp_path / "first", 2)
    for entry in (tmp_path / "parsed").iterdir():
        for run in entry.glob("*.keys"):
            run.write_bytes(b"")
    check_same(tmp_path, sources_in(tmp_path, texts), tmp_path / "gone", 3)


def test_an_unchanged_list_is_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["||a.example^\n", "||b.example^\n"]
    compile_generation(sources_in(tmp_path, texts), tmp_path / "first", parsed=tmp_path / "parsed")
    parsed: list[str] = []
    parse_source = parsed_module.parse_source

    def listening(text: Path, name: str, *more: Any) -> object:
        parsed.append(name)
        return parse_source(text, name, *more)

    monkeypatch.setattr(parsed_module, "parse_source", listening)
    texts[1] = "||c.example^\n"
    compile_generation(sources_in(tmp_path, texts), tmp_path / "second", parsed=tmp_path / "parsed")
    assert parsed == ["1"]
