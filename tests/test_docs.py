"""The documents say what is true: every policy in them loads, every command in them exists, what they show is what is
printed.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import catalogues
import pytest
import yaml
from typer.testing import CliRunner

from hedgerow.app.cli import GROUP_NAMES, make_cli
from hedgerow.policies.reading.load import parse_policy

ROOT = Path(__file__).parent.parent
HEDGEROW = Path(sys.executable).with_name("hedgerow")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """(document, text) of every block in a language."""
    return [
        (str(path.relative_to(ROOT)), text)
        for path in DOCUMENTS
        for found, text in _BLOCK.findall(path.read_text(encoding="utf-8"))
        if found == language
    ]


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HOME": str(folder),
        "COLUMNS": "200",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
    }
    return subprocess.run(
        [HEDGEROW, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("document", "text"), blocks("yaml"))
def test_every_policy_loads(document: str, text: str) -> None:
    policy = parse_policy(text.encode(), ROOT / document)
    assert policy.network is not None


def commands() -> list[str]:
    """Every `hedgerow …` in a code span or after a prompt, up to the first word that is no subcommand.

    The changelog names commands of other versions too.
    """
    found = set()
    for path in (each for each in DOCUMENTS if each.name != "CHANGELOG.md"):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"`hedgerow ([a-z][^`|]*)`", text)) | set(
            re.findall(r"^(?:\$|##) hedgerow (.*)$", text, re.MULTILINE)
        )
    lines = [[word for word in line.split() if re.fullmatch(r"[a-z]+(?:-[a-z]+)*", word)] for line in found]
    return sorted({" ".join(words[: 2 if words[0] in GROUP_NAMES else 1]) for words in lines if words})


@pytest.mark.parametrize("line", commands())
def test_every_command_exists(line: str) -> None:
    done = CliRunner().invoke(
        make_cli(line.split()[0]), [*line.split(), "--help"], prog_name="hedgerow", env={"COLUMNS": "200"}
    )
    assert done.exit_code == 0, done.output
    assert f"hedgerow {line}" in done.output


def lines_with_options() -> list[str]:
    """Every whole `hedgerow …` that is shown, with what it takes."""
    found = set()
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"`(?:sudo )?hedgerow ([a-z][^`]*)`", text))
        found |= set(re.findall(r"^\$ (?:sudo )?hedgerow ([a-z].*)$", text, re.MULTILINE))
    return sorted({" ".join(line.split()) for line in found if " --" in line})


@pytest.mark.parametrize("line", lines_with_options())
def test_every_option_exists(line: str) -> None:
    words = re.split(r" [#>|] ", line)[0].split()
    reported = (
        CliRunner()
        .invoke(make_cli(words[0]), [*words[: 2 if words[0] in GROUP_NAMES else 1], "--help"], env={"COLUMNS": "200"})
        .output
    )
    for option in (word.split("=")[0] for word in words if word.startswith("--")):
        assert re.search(rf"{option}(?![\w-])", reported), option


def shown_outputs() -> list[tuple[str, str]]:
    """(command, output) of every console block whose command prints the same everywhere."""
    found = []
    for _, text in blocks("console"):
        command, _, output = text.partition("\n")
        if command.startswith(("$ hedgerow check", "$ hedgerow explain", "$ hedgerow lists lookup")):
            found.append((command.removeprefix("$ hedgerow "), output.strip()))
    return found


@pytest.mark.parametrize(("command", "output"), shown_outputs())
def test_what_is_shown_is_what_is_printed(command: str, output: str, tmp_path: Path) -> None:
    words = shlex.split(command)
    state = ["--state", str(tmp_path)] if words[0] == "explain" else []
    done = run([*words, *state], tmp_path)
    assert [line.rstrip() for line in done.stdout.strip().splitlines()] == output.splitlines(), done.stderr


def test_every_test_that_a_document_names_exists() -> None:
    named = {
        name
        for path in [*DOCUMENTS, *(ROOT / "bench").glob("results/*.md")]
        for name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 30
    for path, test in named:
        assert f"def {test}" in (ROOT / path).read_text(encoding="utf-8"), (path, test)


def test_every_benchmark_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in [*DOCUMENTS, *(ROOT / "bench").glob("results/*.md")]:
        text = path.read_text(encoding="utf-8")
        assert [
            name for name in re.findall(r"\bbench/(?:results/)?\w+\.(?:py|md)\b", text) if not (ROOT / name).exists()
        ] == [], path
        assert set(re.findall(r"`make ([\w-]+)", text)) <= targets, path


def test_the_budgets_are_those_of_the_results() -> None:
    """`.venv/bin/python bench/budgets.py --write` gathers them."""
    done = subprocess.run(
        [sys.executable, "-P", ROOT / "bench" / "budgets.py"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.strip() == (ROOT / "bench" / "results" / "budgets.md").read_text(encoding="utf-8").strip()
    assert "not measured" not in done.stdout


def test_every_command_is_documented(tmp_path: Path) -> None:
    documented = {line.split()[0] for line in commands()}
    helped = run(["--help"], tmp_path).stdout
    assert set(re.findall(r"^[│ ]+([a-z]+) {2,}", helped, re.MULTILINE)) <= documented


def anchors(path: Path) -> set[str]:
    """Of the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere() -> None:
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            place = path.parent / name if name else path
            assert place.exists(), f"{path.name}: {target}"
            assert not anchor or anchor in anchors(place), f"{path.name}: {target}"


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    explained = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"[\w-]+", " ".join(re.findall(r"^\| ([^|]+) \|", explained, re.MULTILINE))))
    assert {re.split(r"[\[><=;]", each)[0] for each in wanted} <= rows


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_every_page_is_in_the_site() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").glob("**/*.md")]
    assert [page for page in pages if page not in navigation] == []


DEVELOPER_DOCUMENTS = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "docs" / "threat-model.md",
    ROOT / "bench" / "results" / "attacks.md",
    *(ROOT / "docs").glob("adr/*.md"),
]
_FILE = re.compile(r"(?:[\w.-]+/)+(?:[\w*.-]+\.(?:py|md|yaml|html|po|toml|json))?")


@pytest.mark.parametrize("path", DEVELOPER_DOCUMENTS, ids=lambda path: path.name)
def test_every_file_in_the_documents_for_developers_exists(path: Path) -> None:
    """Paths stand as they are or below the package. NAME and CODE stand for names that the reader chooses."""
    spans = re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8"))
    named = {
        found[0]
        for span in spans
        if (found := _FILE.fullmatch(span)) and not re.search(r"\b(?:test_)?(?:NAME|CODE)\b", span)
    }
    missing = [name for name in sorted(named) if not any([*top.glob(name)] for top in (ROOT, ROOT / "hedgerow"))]
    assert missing == []


def test_there_is_one_logo() -> None:
    """The pages, the block page and the documentation show the same shape."""
    files = (
        "hedgerow/dashboards/static/hedgerow.svg",
        "hedgerow/proxy/pages/page.html",
        "docs/images/logo.svg",
        "docs/images/logo-white.svg",
    )
    shapes = {re.findall(r'<path [^>]*d="([^"]+)"', (ROOT / file).read_text(encoding="utf-8"))[0] for file in files}
    assert len(shapes) == 1


# -- What is quoted, counted and shown in the documents is what the program says. --


def sentences_of_doctor() -> list[re.Pattern[str]]:
    """Return a pattern for each text that a check of the doctor may say, with anything in place of values."""
    found = []
    modules = [*(ROOT / "hedgerow/app/doctor").glob("*.py"), *(ROOT / "hedgerow/features").glob("*/checks.py")]
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [part.value if isinstance(part, ast.Constant) else None for part in parts]
            if all(text is None or isinstance(text, str) for text in texts) and any(texts):
                found.append(re.compile("".join(".*" if text is None else re.escape(str(text)) for text in texts)))
    return [each for each in found if len(re.sub(r"\W|\.\*", "", each.pattern)) >= 5]


def test_the_sample_of_the_doctor_is_what_it_says() -> None:
    page = (ROOT / "docs/install/check.md").read_text(encoding="utf-8")
    sample = next(text for text in _BLOCK.findall(page) if "hedgerow doctor\n" in text[1])[1].splitlines()[1:]
    said = sentences_of_doctor()
    shown = [re.sub(r"^(?:good|unsure|bad) +|^ +→ ", "", line) for line in sample]
    told = [line.partition(": ")[2] if sample[at][0] != " " else line for at, line in enumerate(shown)]
    assert len(told) > 10
    assert [line for line in told if not any(each.fullmatch(line) for each in said)] == []


def test_the_policy_page_counts_the_helplines_as_they_are() -> None:
    entries = yaml.safe_load((ROOT / "hedgerow/policies/lifelines.yaml").read_text(encoding="utf-8"))
    hosts = {host for entry in entries for host in entry.get("hosts", ())}
    countries = {entry["country"] for entry in entries if entry.get("hosts")} - {"int"}
    page = (ROOT / "docs/policy.md").read_text(encoding="utf-8")
    assert re.search(r"Helplines of (\d+) countries .* with (\d+) hosts", page).groups() == (  # type: ignore[union-attr]
        str(len(countries)),
        str(len(hosts)),
    )


DOORS = ("for-parents.md", "for-cafes.md", "for-cafe-staff.md", "troubleshooting.md")
"""The documents for people who run no server."""


def plain_text(page: str) -> str:
    """Return what is read of a document: without code, pictures and the targets of links."""
    page = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"<[^>]+>", "", page))


@pytest.mark.parametrize("name", DOORS)
def test_pages_for_families_and_cafes_are_short(name: str) -> None:
    text = plain_text((ROOT / "docs" / name).read_text(encoding="utf-8"))
    assert len(text.split()) <= 1500
    sentences = re.split(r"(?<=[.!?:])[\s\"”*]+|\n\n|\n[-|#]|\n\d\.|\|", text)
    assert [each for each in sentences if len(each.split()) > 25] == []


FOREIGN = re.compile(
    r"\b(?:YAML|HTB|option 82|Ed25519|MASQUE|nftables|ECH|DHCP option|RFC \d+|EDNS|DoH|DoT|Apprise|VLAN|IPv6)\b"
)
"""What no reader of those pages should have to know."""


@pytest.mark.parametrize("name", DOORS)
def test_pages_for_families_and_cafes_have_no_terms_of_admins(name: str) -> None:
    text = plain_text((ROOT / "docs" / name).read_text(encoding="utf-8"))
    assert FOREIGN.findall(text) == []


@pytest.mark.parametrize("name", DOORS)
def test_quoted_labels_are_those_of_the_pages(name: str) -> None:
    """A word in italics is a label that the reader looks for on a page."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    labels = set(re.findall(r"(?<![*\w])\*([^*\n]+)\*(?![*\w])", text.replace("\n", " ")))
    texts = [form for each in catalogues.messages() if each.id for form in strings(each.id)]
    texts = [text for text in texts if len(re.sub(r"%\(\w+\)[sd]|\W", "", text)) > 1]
    known = re.compile("|".join(re.sub(r"%\\\(\w+\\\)[sd]", ".+", re.escape(text)) for text in texts))
    assert len(labels) > 3
    assert sorted(label for label in labels if not known.fullmatch(label)) == []


def strings(id: str | Iterable[str]) -> tuple[str, ...]:
    """Return the forms of a message, one without a plural."""
    return (id,) if isinstance(id, str) else tuple(id)


def test_sentences_of_the_documentation_are_short() -> None:
    """Of those outside the reference and the decision records, few have more than 30 words."""
    long = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]:
        if path.parent.name in ("reference", "adr"):
            continue
        text = re.sub(r"^\|.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        text = re.sub(r"`[^`\n]*`", "X", plain_text(text))
        for paragraph in re.split(r"\n\s*\n|^#.*$|^\s*(?:[-*]|\d+\.)\s", text, flags=re.MULTILINE):
            sentences = re.split(r"(?<=[.!?:;])[\"”)*]*\s", " ".join(paragraph.split()))
            long += [f"{path.name}: {each}" for each in sentences if len(each.split()) > 30]
    assert len(long) <= 20, "\n".join(long)
