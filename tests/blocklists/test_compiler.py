"""The compiler: kills, exact rules and the parse cache."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hedgerow.blocklists import list_parser
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.formats import format_named
from hedgerow.blocklists.formats.line_parser import ListFormat
from hedgerow.blocklists.rules import ParsedLines
from hedgerow.blocklists.sources import Source, essential_hosts, essential_source

COMPILE = """
import sys
from pathlib import Path
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import Source
print("start", flush=True)
compile_generation([Source("list", "adult", Path(sys.argv[1]))], Path(sys.argv[2]))
print("end", flush=True)
"""


def test_a_killed_compiler_leaves_a_complete_generation_or_none(tmp_path: Path) -> None:
    text = tmp_path / "list.txt"
    text.write_text("".join(f"name-{number}.example{number % 977}.net\n" for number in range(60_000)))
    generations = tmp_path / "generations"
    rng, whole = random.Random(1), 0
    for attempt in range(8):
        out = generations / str(attempt)
        with subprocess.Popen(
            [sys.executable, "-P", "-c", COMPILE, str(text), str(out)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            if attempt:  # the first runs to its end, to know that it would
                time.sleep(rng.uniform(0, 0.35))
                process.kill()
        if out.exists():
            whole += 1
            assert Catalogue.open(out).host_mask("www.name-59999.example402.net") != 0
    assert whole >= 1


def test_an_exact_rule_does_not_cover_subdomains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(lines: Sequence[str], first: int, source: str) -> ParsedLines:
        return ParsedLines(exact=[line for line in lines if line], hosts=["wide.example"])

    exact = ListFormat("exact", parse, lambda _line: True, lambda _line: False)
    monkeypatch.setattr(
        "hedgerow.blocklists.list_parser.format_named", lambda name: exact if name == "exact" else format_named(name)
    )
    (tmp_path / "list.txt").write_text("one.example\nwide.example\nx.wide.example\n")
    report = compile_generation(
        [Source("list", "adult", tmp_path / "list.txt", format="exact")], tmp_path / "generation"
    )
    catalogue = Catalogue.open(tmp_path / "generation")
    assert catalogue.host_mask("one.example") != 0
    assert catalogue.host_mask("www.one.example") == 0
    assert catalogue.host_mask("x.wide.example") != 0
    assert [match.domain for match in catalogue.hosts.sources("one.example")] == ["one.example"]
    assert report.keys == 2 + len(essential_hosts())  # the exact names under wide.example add nothing


def test_an_unchanged_list_is_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    parse_source = list_parser.parse_source

    def recording_parse_source(text: Path, name: str, *more: Any, **options: Any) -> object:
        parsed.append(name)
        return parse_source(text, name, *more, **options)

    def compile_lists(out: str, *texts: str) -> None:
        for number, text in enumerate(texts):
            (tmp_path / f"{number}.txt").write_text(text)
        sources = [Source(str(number), "adult", tmp_path / f"{number}.txt") for number in range(len(texts))]
        compile_generation(sources, tmp_path / out, parsed=tmp_path / "parsed")

    compile_lists("first", "||a.example^\n", "||b.example^\n")
    monkeypatch.setattr(list_parser, "parse_source", recording_parse_source)
    compile_lists("second", "||a.example^\n", "||c.example^\n")
    assert parsed == ["1"]
    for run in (tmp_path / "parsed").glob("*/*.keys"):
        run.write_bytes(b"")
    compile_lists("third", "||a.example^\n", "||c.example^\n")
    assert parsed == ["1", "0", "1", essential_source().name]
    catalogue = Catalogue.open(tmp_path / "third")
    assert all(map(catalogue.host_mask, ("a.example", "c.example")))
