"""kdig, curl and dnsperf as a user runs them, bound to a chosen loopback address, with their output parsed.

Where one of them is not installed the test that calls it skips and says so.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """Output of kdig. `records` is the answer section as (name, ttl, type, rdata), names without the trailing dot."""

    status: str
    flags: frozenset[str]
    records: tuple[tuple[str, int, str, str], ...]
    authority: tuple[tuple[str, int, str, str], ...]
    additional: tuple[tuple[str, int, str, str], ...]
    ede: int | None
    ede_text: str
    text: str

    def data(self, kind: str) -> list[str]:
        """The rdata of all answers of one type: `answer.data("A")`."""
        return [rdata for _, _, found, rdata in self.records if found == kind]


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Result of curl.

    `status` is 0 when no response came; `connect_status` is the proxy's answer to CONNECT, 0 without one.

    `exit_code` is curl's (0 good, 56 receive error, 60 bad certificate, …). Header names are lower case.
    `interim` are the heads of the answers before the answer, each a status and its lines.
    """

    exit_code: int
    status: int
    connect_status: int
    headers: dict[str, list[str]]
    body: bytes
    version: str
    certificate: str
    error: str
    seconds: float
    size: int
    interim: tuple[tuple[int, tuple[str, ...]], ...] = ()

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Counts of dnsperf. `codes` is by name of the response code; `lost` counts unanswered queries."""

    sent: int
    completed: int
    lost: int
    queries_per_second: float
    average_latency: float
    codes: dict[str, int]
    text: str


def kdig(
    server: Address,
    name: str,
    kind: str = "A",
    *,
    source: str | None = None,
    tcp: bool = False,
    edns: bool = True,
    options: Iterable[str] = (),
    timeout: int = 10,
) -> DnsAnswer | None:
    """Asks one question. None when nobody answered within `timeout` seconds (kdig does not retry here)."""
    command = [_tool("kdig"), *_kdig_target(server, source), name, kind, f"+timeout={timeout}", "+retry=0"]
    command += ["+tcp"] if tcp else []
    command += ["+edns"] if edns else ["+noedns"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=timeout + 20, check=False)
    if "->>HEADER<<-" not in done.stdout:
        return None
    return parse_kdig(done.stdout)


def kdig_addresses(server: Address, name: str, *, source: str | None = None) -> list[str]:
    """Return the IPv4 addresses in the answer about `name`. Raises AssertionError if there is no answer."""
    answer = kdig(server, name, source=source)
    assert answer is not None, f"no answer about {name}"
    return answer.data("A")


def start_dnsperf(
    server: Address,
    questions: Sequence[str],
    *,
    seconds: float,
    rate: int | None = None,
    source: str | None = None,
    timeout: float = 5.0,
) -> RunningLoad:
    """Starts dnsperf over `questions` ("NAME TYPE" each), round and round for `seconds`, at most `rate` queries a
    second.
    """
    listing = tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False)  # noqa: SIM115  dnsperf reads it after we return
    with listing:
        listing.write("\n".join(questions) + "\n")
    command = [
        _tool("dnsperf"),
        "-s",
        server[0],
        "-p",
        str(server[1]),
        "-d",
        listing.name,
        "-l",
        str(seconds),
        "-t",
        str(timeout),
    ]
    command += ["-Q", str(rate)] if rate else []
    command += ["-a", source] if source else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return RunningLoad(process, Path(listing.name), seconds)


@dataclass(frozen=True, slots=True)
class RunningLoad:
    """A dnsperf at work."""

    process: subprocess.Popen[str]
    listing: Path
    seconds: float

    def result(self) -> LoadResult:
        """Waits for its end and returns what it counted."""
        try:
            output, _ = self.process.communicate(timeout=self.seconds + 30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.communicate()
            self.listing.unlink(missing_ok=True)
        return parse_dnsperf(output)


def curl(
    url: str,
    *,
    proxy: Address | None = None,
    source: str | None = None,
    ca: Path | None = None,
    insecure: bool = False,
    resolve: Iterable[str] = (),
    headers: Iterable[str] = (),
    options: Iterable[str] = (),
    timeout: float = 20.0,
) -> HttpAnswer:
    """Fetches `url`.

    Certificates are checked against `ca` alone where it is given; `resolve` takes curl's HOST:PORT:ADDRESS.
    """
    with tempfile.TemporaryDirectory() as directory:
        body, head = Path(directory, "body"), Path(directory, "head")
        command = _curl_command(url, proxy, source, ca, insecure, resolve, headers, timeout)
        command += ["-o", str(body), "-D", str(head), *options]
        # curl would otherwise take a proxy from the environment of whoever runs the tests.
        done = subprocess.run(
            command, capture_output=True, timeout=timeout + 20, check=False, env={"PATH": "/usr/bin:/bin"}
        )
        raw = body.read_bytes() if body.exists() else b""
        head_text = head.read_bytes().decode("latin-1") if head.exists() else ""
    return _http_answer(done, head_text, raw)


def ticket_in(page: str) -> str:
    """That of a block page's form."""
    found = re.search(r'name="ticket" value="([^"]*)"', page)
    assert found, page[:300]
    return found[1]


def curl_sha256(
    url: str,
    *,
    proxy: Address | None = None,
    source: str | None = None,
    ca: Path | None = None,
    options: Iterable[str] = (),
    timeout: float = 60.0,
) -> tuple[str, int]:
    """Downloads without keeping the body. Returns its SHA-256 in hex, and curl's exit code."""
    command = [*_curl_command(url, proxy, source, ca, False, (), (), timeout, report=False), *options]
    fetch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin"})
    with fetch:
        summed = subprocess.run(
            ["sha256sum"], stdin=fetch.stdout, capture_output=True, text=True, timeout=timeout + 20, check=True
        )
    return summed.stdout.split()[0], fetch.returncode


def curl_shows(
    url: str,
    words: bytes,
    *,
    proxy: Address | None = None,
    source: str | None = None,
    ca: Path | None = None,
    timeout: float = 30.0,
) -> bool:
    """Return True if these words appear in a body, which may be endless."""
    command = [*_curl_command(url, proxy, source, ca, False, (), (), timeout, report=False), "--no-buffer"]
    seen = b""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin"}, bufsize=0
    ) as fetch:
        assert fetch.stdout
        while words not in seen and (piece := fetch.stdout.read(65536)):
            seen += piece
        fetch.terminate()
    return words in seen


def parse_kdig(text: str) -> DnsAnswer:
    """Reads kdig's usual output."""
    sections: dict[str, list[tuple[str, int, str, str]]] = {"ANSWER": [], "AUTHORITY": [], "ADDITIONAL": []}
    section = ""
    for line in text.splitlines():
        if found := re.match(r";; ([A-Z]+) SECTION", line):
            section = found[1]
        elif line and not line.startswith(";") and section in sections:
            owner, ttl, _, kind, *rdata = line.split(None, 4)
            sections[section].append((owner.rstrip(".").lower(), int(ttl), kind, rdata[0] if rdata else ""))
    status = re.search(r"status: (\w+)", text)
    flags = re.search(r";; Flags: ([a-z ]*);", text)
    ede = re.search(r";; EDE: (\d+) \([^)]*\)(?:: '(.*)')?", text)
    return DnsAnswer(
        status=status[1] if status else "",
        flags=frozenset(flags[1].split() if flags else ()),
        records=tuple(sections["ANSWER"]),
        authority=tuple(sections["AUTHORITY"]),
        additional=tuple(sections["ADDITIONAL"]),
        ede=int(ede[1]) if ede else None,
        ede_text=(ede[2] or "") if ede else "",
        text=text,
    )


def parse_dnsperf(text: str) -> LoadResult:
    """Reads the statistics that dnsperf prints at its end. Raises ValueError when there are none."""

    def number(pattern: str) -> float:
        found = re.search(pattern, text)
        if not found:
            raise ValueError(f"dnsperf printed no {pattern!r}:\n{text}")
        return float(found[1])

    codes = re.search(r"Response codes:\s*(.*)", text)
    return LoadResult(
        sent=int(number(r"Queries sent:\s+(\d+)")),
        completed=int(number(r"Queries completed:\s+(\d+)")),
        lost=int(number(r"Queries lost:\s+(\d+)")),
        queries_per_second=number(r"Queries per second:\s+([\d.]+)"),
        average_latency=number(r"Average Latency \(s\):\s+([\d.]+)"),
        codes={name: int(count) for name, count in re.findall(r"(\w+) (\d+) \(", codes[1] if codes else "")},
        text=text,
    )


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def _kdig_target(server: Address, source: str | None) -> list[str]:
    target = ["-p", str(server[1]), f"@{server[0]}"]
    return ["-b", source, *target] if source else target


_REPORT = '\n{"status":"%{http_code}","connect":"%{http_connect}","version":"%{http_version}","seconds":%{time_total},"size":%{size_download}}'  # noqa: E501
_CERTIFICATE = "%{certs}"


def _curl_command(
    url: str,
    proxy: Address | None,
    source: str | None,
    ca: Path | None,
    insecure: bool,
    resolve: Iterable[str],
    headers: Iterable[str],
    timeout: float,
    report: bool = True,
) -> list[str]:
    command = [_tool("curl"), "--silent", "--show-error", "--globoff", "--path-as-is", "--max-time", str(timeout)]
    command += ["--write-out", _CERTIFICATE + _REPORT] if report else []
    command += ["--proxy", f"http://{_bracketed(proxy[0])}:{proxy[1]}"] if proxy else ["--noproxy", "*"]
    command += ["--interface", source] if source else []
    command += ["--cacert", str(ca), "--capath", "/nowhere"] if ca else []
    command += ["--insecure"] if insecure else []
    for mapping in resolve:
        command += ["--resolve", mapping]
    for header in headers:
        command += ["--header", header]
    return [*command, url]


def _http_answer(done: subprocess.CompletedProcess[bytes], head: str, body: bytes) -> HttpAnswer:
    certificates, _, report = done.stdout.decode("utf-8", "replace").rpartition("\n")
    facts = json.loads(report)
    headers: dict[str, list[str]] = {}
    heads = [block for block in head.replace("\r\n", "\n").split("\n\n") if block.strip()]
    for line in heads[-1].splitlines()[1:] if heads else []:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), []).append(value.strip())
    return HttpAnswer(
        exit_code=done.returncode,
        status=int(facts["status"]),
        connect_status=int(facts["connect"]),
        headers=headers,
        body=body,
        version=facts["version"],
        certificate=certificates,
        error=done.stderr.decode("utf-8", "replace").strip(),
        seconds=facts["seconds"],
        size=facts["size"],
        interim=tuple(
            (int(first.split(" ")[1]), tuple(rest)) for first, *rest in map(str.splitlines, heads) if " 1" in first[:10]
        ),
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
