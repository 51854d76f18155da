"""Wrong settings, broken lists and hostile packets: a plain sentence, and everything else continues."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dnslib
import pytest
from small_internet import SmallInternet
from small_internet.clients import kdig
from small_internet.family import LISTS, PEOPLE, TABLET, family_policy
from small_internet.running import (
    Hedgerow,
    executable,
    hedgerow_command,
    network_section,
    running_hedgerow,
    wait_until,
    without_internet,
)

FREE_PORTS = ("--dns", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--web", "127.0.0.1:0")
NOBODY = 65534


def addresses(running: Hedgerow, name: str) -> list[str]:
    answer = kdig(running.dns, name, source=TABLET)
    assert answer is not None, running.stderr
    return answer.data("A")


def assert_refuses_to_start(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert "ready" not in done.stdout
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_bad_lists_are_named_and_the_rest_is_used(internet: SmallInternet) -> None:
    more = (
        "  - {category: adult, path: lists/missing.txt}\n"
        "  - {category: adult, path: lists/empty.txt}\n"
        "  - {category: adult, path: lists/binary.txt}\n"
    )
    files: dict[str, str | bytes] = {
        **LISTS,
        "lists/empty.txt": "",
        "lists/binary.txt": bytes(range(256)) * 40 + b"\nlast.example\n",
    }
    with running_hedgerow(family_policy(internet) + more, lists=files) as running:
        for name in ("missing.txt", "empty.txt", "binary.txt"):
            assert name in running.stderr, f"{name} is not named:\n{running.stderr}"
        assert "Traceback" not in running.stderr
        assert addresses(running, "adult.example") == ["0.0.0.0"]
        assert addresses(running, "gambling.example") == ["0.0.0.0"]
        assert addresses(running, "bank.example") == [internet.address_of("bank.example")]


@pytest.mark.parametrize("which", ["dns", "proxy", "web"])
def test_a_port_in_use_is_one_sentence(internet: SmallInternet, tmp_path: Path, which: str) -> None:
    (tmp_path / "hedgerow.yaml").write_text(family_policy(internet, lists=""))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = list(FREE_PORTS)
        ports[ports.index(f"--{which}") + 1] = f"127.0.0.1:{port}"
        done = hedgerow_command(
            "up", "--policy", str(tmp_path / "hedgerow.yaml"), "--state", str(tmp_path / "state"), *ports
        )
    assert_refuses_to_start(done, str(port))


def test_an_unwritable_state_directory_is_one_sentence(internet: SmallInternet, tmp_path: Path) -> None:
    (tmp_path / "hedgerow.yaml").write_text(family_policy(internet, lists=""))
    (tmp_path / "file").write_text("not a directory")
    place = str(tmp_path / "file" / "state")
    done = hedgerow_command("up", "--policy", str(tmp_path / "hedgerow.yaml"), "--state", place, *FREE_PORTS)
    assert_refuses_to_start(done, place)


@pytest.mark.root
def test_port_53_without_permission_is_one_sentence(internet: SmallInternet, tmp_path: Path) -> None:
    allowed_from = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if allowed_from <= 53:
        pytest.skip("this machine lets everybody use port 53")
    policy, state = tmp_path / "hedgerow.yaml", tmp_path / "state"
    policy.write_text(family_policy(internet, lists=""))
    state.mkdir()
    for place in (tmp_path, state, *tmp_path.parents):
        if (
            place.stat().st_uid == os.geteuid()
            and place.is_relative_to(tempfile.gettempdir())
            and place != Path(tempfile.gettempdir())
        ):
            place.chmod(0o755)
    os.chown(state, NOBODY, NOBODY)
    ports = ("--dns", "127.0.0.53:53", "--proxy", "127.0.0.1:0", "--web", "127.0.0.1:0")
    command = [executable(), "up", "--policy", str(policy), "--state", str(state), *ports]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        env=without_internet(),
    )
    assert_refuses_to_start(done, "53", "permission")


@pytest.mark.parametrize(
    "text", ["people: [", "people: {mia: {age: 9}", "\tpeople: {}", "people: {mia: &a {age: *b}}", "\x00"]
)
def test_invalid_yaml_is_explained(internet: SmallInternet, tmp_path: Path, text: str) -> None:
    (tmp_path / "hedgerow.yaml").write_text(network_section(internet) + text + "\n")
    for arguments in (("check",), ("up", "--state", str(tmp_path / "state"), *FREE_PORTS, "--policy")):
        done = hedgerow_command(*arguments, str(tmp_path / "hedgerow.yaml"))
        assert done.returncode not in (0, -9), done.stdout
        assert "hedgerow.yaml:" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_a_small_run_has_one_process_of_each_kind(tmp_path: Path) -> None:
    done = hedgerow_command(
        "up", "--profile", "small", "--workers", "2", "--state", str(tmp_path / "state"), *FREE_PORTS
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "leave out --workers" in done.stderr


def test_an_empty_policy_is_a_safe_network(internet: SmallInternet, tmp_path: Path) -> None:
    (tmp_path / "hedgerow.yaml").write_text("")
    done = hedgerow_command("check", str(tmp_path / "hedgerow.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    with running_hedgerow("", options=("--profile", "small")) as running:
        assert addresses(running, "www.pornhub.com") == ["0.0.0.0"]
        wait_until(lambda: "lists could not be fetched" in running.stderr, 60, "the publishers are asked, by default")
        told = [line for line in running.stderr.splitlines() if "fetched" in line]
        assert len(told) == 1, "one warning, however many lists"
        assert addresses(running, "www.pornhub.com") == ["0.0.0.0"], "without the internet the starter lists hold"


UDP_LIMIT = 65507
BURST = 50


def _packets(shared_data: Path) -> Iterator[bytes]:
    for line in (shared_data / "dns" / "fuzz-packets-a.jsonl").read_text().splitlines():
        yield bytes.fromhex(json.loads(line)["hex"])
    for path in sorted((shared_data / "dns" / "malformed-adguard").iterdir()):
        yield path.read_bytes()


@pytest.mark.shared
def test_malformed_queries_get_valid_dns_or_nothing(internet: SmallInternet, shared_data: Path) -> None:
    with running_hedgerow(family_policy(internet, people=PEOPLE), lists=LISTS) as running:
        pids = running.pids("dns")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((TABLET, 0))
            sock.connect(running.dns)
            answers: list[bytes] = []
            for number, packet in enumerate(_packets(shared_data)):
                if len(packet) <= UDP_LIMIT:
                    sock.send(packet)
                if number % BURST == 0:
                    answers += _received(sock, 0.02)
            answers += _received(sock, 2)
        for packet in list(_packets(shared_data))[::100]:
            _over_tcp(running, packet)
        assert answers, "not one of the packets was answered"
        for wire in answers:
            parsed = dnslib.DNSRecord.parse(wire) if len(wire) > 12 else dnslib.DNSHeader.parse(dnslib.DNSBuffer(wire))
            assert (parsed.header if len(wire) > 12 else parsed).qr == 1
        assert running.pids("dns") == pids, "a worker crashed"
        assert "Traceback" not in running.stderr
        assert addresses(running, "adult.example") == ["0.0.0.0"]


def _received(sock: socket.socket, seconds: float) -> Iterator[bytes]:
    sock.settimeout(seconds)
    while True:
        try:
            yield sock.recv(65536)
        except TimeoutError:
            return


def _over_tcp(running: Hedgerow, packet: bytes) -> None:
    with socket.create_connection(running.dns, timeout=3, source_address=(TABLET, 0)) as sock:
        sock.sendall(len(packet).to_bytes(2, "big") + packet)
        sock.settimeout(0.05)
        try:
            answer = sock.recv(65536)
        except (TimeoutError, ConnectionResetError):
            return
        assert not answer or answer[4] & 0x80, answer[:20]
