"""`hedgerow lists`: output, exit status and progress."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from list_server import ListServer, slowly
from small_internet.running import without_internet
from typer.testing import CliRunner

from hedgerow.app.commands.lists import app


def run(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("content", "status", "shown"),
    [
        (
            b"0.0.0.0 a.example\nwhat\n0.0.0.0 b.example\n",
            0,
            ["list.txt:2:1: does not begin with an", "format hosts: lines 3, names 2"],
        ),
        (b"||google.com^$domain=[/x]\n||b.example^\n", 0, ["list.txt:1:14: modifier not honoured: $domain="]),
        (
            b"a.example\n\xc2\x9b31mred.example\nb.example\n",
            0,
            [r"list.txt:2:1: neither a domain nor an address: \x9b31mred.example"],
        ),
        (bytes(range(256)) * 400, 1, ["list.txt: is binary data, not a list"]),
        ("a.example\r\n".encode("utf-16"), 0, ["has the format plain: lines 1, names 1"]),
        (b"<!doctype html><html>\n", 1, ["list.txt: is in no format that is known"]),
        (b"", 1, ["list.txt: is empty"]),
    ],
)
def test_check(content: bytes, status: int, shown: list[str], tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    found, output, errors = run("check", "list.txt", cwd=tmp_path)
    assert (found, errors) == (status, "")
    assert [line for line in shown if line not in output] == [], output
    assert len(output.splitlines()) < 10
    as_json = json.loads(run("check", "--json", "list.txt", cwd=tmp_path)[1])
    assert sum(as_json["counts"].values()) == len(as_json["problems"])


def test_an_archive_writes_nothing_outside(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "list.zip", "w") as archive:
        archive.writestr("../../escaped/domains", "a.example\n")
        archive.writestr(f"{tmp_path}/absolute.txt", "b.example\n")
    before = set(tmp_path.parent.rglob("*"))
    status, output, _errors = run("check", "list.zip", cwd=tmp_path)
    assert (status, set(tmp_path.parent.rglob("*"))) == (0, before)
    assert "list.zip: 1 × ignored: files that are no lists" in output


def test_compile_and_lookup(tmp_path: Path) -> None:
    (tmp_path / "adult.txt").write_text("a.example\nb.example/[/path]\nbad line\n")
    status, output, errors = run("compile", "--out", "index", "--json", "adlut=adult.txt", cwd=tmp_path)
    figures = json.loads(output)
    assert (status, figures["domains"], figures["url_rules"], figures["skipped"]) == (0, 1, 1, 1)
    assert errors.splitlines() == [
        "Hedgerow has no category called 'adlut'. Did you mean adult?",
        "adult.txt:3:1: neither a domain nor an address: bad line",
    ]
    status, output, errors = run(
        "lookup", "--index", "index", "www.a.example", "http://b.example/[/path]", "c.example", "a b", cwd=tmp_path
    )
    assert (status, errors) == (0, "")
    assert output.splitlines() == [
        "www.a.example",
        "  adlut: adult.txt:1: a.example",
        "http://b.example/[/path]",
        "  adlut: adult.txt:2: b.example/[/path]",
        "c.example: not on any list",
        "a b: neither a host nor a URL",
    ]


def test_lookup_works_after_update_without_a_run(tmp_path: Path) -> None:
    (tmp_path / "hedgerow.yaml").write_text(
        "network: {lists: starter}\nlists: [{category: gambling, path: list.txt}]\n"
    )
    (tmp_path / "list.txt").write_text("a.example\n")
    status, _output, errors = run("lookup", "--state", "state", "a.example", cwd=tmp_path)
    assert (status, "contains no compiled lists" in errors) == (2, True)
    status, output, _errors = run("update", "--state", "state", "--json", cwd=tmp_path)
    assert (status, json.loads(output)["lists"]) == (0, [])
    assert (
        run("lookup", "--state", "state", "a.example", cwd=tmp_path)[1].splitlines()[1]
        == "  gambling: list.txt:1: a.example"
    )


@pytest.mark.parametrize(
    ("sources", "message"),
    [(["adult=no-such-file"], "no-such-file does not exist."), (["adult.txt"], "'adult.txt' is not CATEGORY=PATH")],
)
def test_invalid_arguments_of_compile(sources: list[str], message: str, tmp_path: Path) -> None:
    status, output, errors = run("compile", "--out", "index", *sources, cwd=tmp_path)
    assert (status, output) == (2, "")
    assert errors.startswith(f"hedgerow: {message}")
    assert not (tmp_path / "index").exists()


def test_lookup_shows_every_matching_line(tmp_path: Path) -> None:
    lists = {
        "one.txt": "# one\na.example\n",
        "two.txt": "0.0.0.0 a.example\n",
        "ads.txt": "||b.example^\n@@||b.example/help^\n||c.example/ads/$script,third-party\n/^x[0-9]+\\./\n",
    }
    for name, content in lists.items():
        (tmp_path / name).write_text(content)
    sources = ("adult=one.txt", "adult=two.txt", "ads-trackers=ads.txt")
    assert run("compile", "--out", "index", *sources, cwd=tmp_path)[0] == 0

    def check(target: str, *expected: str) -> None:
        rows = json.loads(run("lookup", "--index", "index", "--json", target, cwd=tmp_path)[1])[target]
        assert [f"{row['category']} {row['source']}:{row['line']}" for row in rows] == list(expected)

    check("https://www.a.example/page", "adult one.txt:2", "adult two.txt:1")
    check("a.example/page", "adult one.txt:2", "adult two.txt:1")
    check("http://b.example/", "ads-trackers ads.txt:1")
    check("http://b.example/help/x", *())
    check("http://c.example/ads/x.js", "ads-trackers ads.txt:3")
    check("http://x12.example/", "ads-trackers ads.txt:4")


COMMAND = (str(Path(sys.executable).with_name("hedgerow")), "lists")


def seen_on_terminal(*arguments: str, cwd: Path) -> tuple[int, str]:
    """Return the exit status and everything written to a terminal."""
    master, slave = pty.openpty()
    environment = {**without_internet(), "TERM": "xterm-256color", "COLUMNS": "160"}
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=cwd, env=environment, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        written = b""
        try:
            while block := os.read(master, 65536):
                written += block
        except OSError:  # Linux reports EIO once the other end is closed
            pass
        finally:
            os.close(master)
    return process.returncode, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())


def names(count: int) -> bytes:
    return "".join(f"name-{number}.example\n" for number in range(count)).encode()


def test_downloads_show_progress_on_a_terminal_only(tmp_path: Path) -> None:
    body = names(20_000)
    with ListServer().serving() as server:
        server.paths["/list"] = slowly(body, 1.5, says_length=True)
        lists = f"lists: [{{category: adult, name: remote, url: '{server.root}/list'}}]\n"
        (tmp_path / "hedgerow.yaml").write_text(f"network: {{lists: starter}}\n{lists}")
        status, shown = seen_on_terminal("update", "--state", "state", cwd=tmp_path)
        assert status == 0, shown
        assert "remote: new" in shown
        assert len(set(re.findall(r"([\d.]+)/368.9 kB \d:\d\d:\d\d", shown))) > 2, shown
        assert "reading starter/" in shown
        assert "writing the index" in shown

        quiet = subprocess.run(
            [*COMMAND, "update", "--state", "other"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            env=without_internet(),
        )
        assert "━" not in quiet.stdout + quiet.stderr
        assert "\x1b" not in quiet.stdout + quiet.stderr
