"""Lists from misbehaving servers: each outcome is shown in the status, and blocking never gets weaker."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from list_server import ListServer, bomb, send, slowly, text, tls_context
from small_internet import SmallInternet
from small_internet.clients import kdig
from small_internet.family import TABLET, family_policy
from small_internet.running import Hedgerow, command_of, has_role, hedgerow_command, running_hedgerow, wait_until

from hedgerow.blocklists.sources import popular_hosts


def names(prefix: str, count: int = 200) -> bytes:
    return "".join(f"{prefix}-{number}.example\n" for number in range(count)).encode()


WEB_PAGE = b"<!DOCTYPE html><html><body>Please log in to the hotel's Wi-Fi</body></html>"
GOOD = {
    "good": text(names("good"), etag='"1"'),
    "slow": slowly(names("slow"), 2.0),
    "moved": lambda handler: send(handler, 301, location="/new-place"),
    "new-place": text(names("moved")),
    "shrinks": text(names("shrinks")),
    "grows-wild": text(names("grows-wild")),
}
BAD = {
    "truncated": (lambda handler: send(handler, 200, names("t"), content_length="999999"), "cut off"),
    "page": (text(WEB_PAGE), "a web page came"),
    "oversized": (lambda handler: send(handler, 200, content_length=str(1 << 31)), "larger than"),
    "bomb": (bomb(420), "times its size"),
    "gone": (lambda handler: send(handler, 410), "answered 410"),
    "wild": (text("\n".join(sorted(popular_hosts())).encode()), "essential and well-known names"),
}


@pytest.fixture
def publisher() -> Iterator[ListServer]:
    with ListServer().serving() as server:
        server.paths = {f"/{name}": serve for name, serve in GOOD.items()} | {
            f"/{name}": serve for name, (serve, _) in BAD.items()
        }
        yield server


@pytest.fixture
def impostor(internet: SmallInternet) -> Iterator[ListServer]:
    leaf = internet.authority.self_signed_leaf("127.0.0.1")
    with ListServer(tls_context(leaf.certificate, leaf.key)).serving() as server:
        server.paths = {"/list": text(names("impostor"))}
        yield server


def policy_of(internet: SmallInternet, publisher: ListServer, impostor: ListServer) -> str:
    wanted = [name for name in (*GOOD, *BAD) if name != "new-place"]
    entries = [f'  - {{category: adult, name: {name}, url: "{publisher.root}/{name}"}}\n' for name in wanted]
    entries.append(f'  - {{category: adult, name: impostor, url: "{impostor.root}/list"}}\n')
    return family_policy(internet, lists="lists:\n" + "".join(entries))


def status(running: Hedgerow) -> dict[str, Any]:
    done = hedgerow_command("lists", "status", "--json", "--state", str(running.state))
    assert done.returncode == 0, done.stderr
    return {row["source"]: row for row in json.loads(done.stdout)["lists"]}


def all_reported(rows: dict[str, Any], problems: dict[str, str]) -> dict[str, Any]:
    """Return `rows` if they report all `problems` by name, else an empty dict."""
    return rows if rows and all(problem in rows[name]["problem"] for name, problem in problems.items()) else {}


def is_blocked(running: Hedgerow, name: str) -> bool:
    answer = kdig(running.dns, name, source=TABLET)
    assert answer is not None, running.stderr
    return answer.data("A") == ["0.0.0.0"]


def update(running: Hedgerow, *command: str) -> str:
    arguments = (
        "lists",
        *(command or ("update",)),
        "--state",
        str(running.state),
        "--policy",
        str(running.policy_path),
    )
    done = hedgerow_command(*arguments, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.timeout(400)  # a bomb of 420 MB is unpacked twice
def test_every_outcome_is_shown_and_blocks_no_less(
    internet: SmallInternet, publisher: ListServer, impostor: ListServer
) -> None:
    with running_hedgerow(policy_of(internet, publisher, impostor)) as running:
        assert is_blocked(running, "pornhub.com"), "the starter lists hold before anything is fetched"
        wait_until(lambda: is_blocked(running, "good-7.example"), 60, "the first lists are fetched")
        good = [name for name in GOOD if name != "new-place"]
        wait_until(lambda: (found := status(running)) and all(found[name]["domains"] for name in good), 60)
        # The bomb is the last to be done with.
        told = {name: message for name, (_, message) in BAD.items()}
        rows = wait_until(lambda: all_reported(status(running), told), 120)
        for name in BAD:
            assert rows[name]["domains"] == 0
        assert "certificate is not trusted" in rows["impostor"]["problem"]
        assert rows["wild"]["held"]
        for name in ("good", "slow", "moved", "shrinks", "grows-wild"):
            assert (rows[name]["problem"], rows[name]["domains"], rows[name]["unique"]) == ("", 200, 200), rows[name]
            assert is_blocked(running, f"{name}-199.example")
        assert not is_blocked(running, "www.github.com")

        publisher.paths["/shrinks"] = text(names("shrinks", 50))
        publisher.paths["/grows-wild"] = text(names("grows-wild") + "\n".join(sorted(popular_hosts())).encode())
        publisher.paths["/slow"], publisher.paths["/moved"] = text(WEB_PAGE), lambda handler: send(handler, 503)
        heard = update(running)
        assert "good: unchanged" in heard
        assert ("/good", '"1"') in publisher.asked
        rows = status(running)
        assert "it shrank from 200 rules to 50" in rows["shrinks"]["problem"]
        assert rows["shrinks"]["held"]
        assert "essential and well-known names" in rows["grows-wild"]["problem"]
        for name in ("good", "slow", "moved", "shrinks", "grows-wild"):
            assert rows[name]["domains"] == 200
            assert is_blocked(running, f"{name}-199.example")
        assert not is_blocked(running, "www.github.com")

        update(running, "accept", "shrinks")
        wait_until(lambda: not is_blocked(running, "shrinks-199.example"), 60, "the accepted copy holds")
        assert is_blocked(running, "shrinks-49.example")
        assert not status(running)["shrinks"]["held"]
        _press(running, "grows-wild")
        wait_until(lambda: is_blocked(running, "www.github.com"), 60, "the copy that was accepted on the page holds")
        assert not is_blocked(running, "www.wikipedia.org"), (
            "a site of education is left out, also of a copy that was accepted"
        )
        assert not status(running)["grows-wild"]["held"]


def _press(running: Hedgerow, name: str) -> None:
    """The button on the page of lists, again where lists are being compiled at the moment."""
    token = (running.state / "admin-token").read_text().strip()
    page = {"headers": {"Authorization": f"Bearer {token}"}, "trust_env": False, "timeout": 60}

    def is_taken() -> bool:
        return httpx.post(f"{running.web}/lists/accept", data={"name": name}, **page, verify=False).status_code == 303  # type: ignore[arg-type]

    assert "Use the newer copy" in httpx.get(f"{running.web}/lists", **page, verify=False).text  # type: ignore[arg-type]
    wait_until(is_taken, 60, "the held copy is accepted")


def test_a_slow_server_does_not_delay_other_lists(internet: SmallInternet, publisher: ListServer) -> None:
    is_over = threading.Event()

    def never(_handler):
        is_over.wait(60)

    publisher.paths["/never"] = never
    entries = "".join(
        f'  - {{category: adult, name: {name}, url: "{publisher.root}/{name}"}}\n' for name in ("never", "good")
    )
    try:
        with running_hedgerow(family_policy(internet, lists="lists:\n" + entries)) as running:
            wait_until(lambda: is_blocked(running, "good-7.example"), 45, "the list of the quick server is used")
            assert status(running)["never"]["domains"] == 0
            check_that_fetching_is_forked_and_may_be_killed(running)
    finally:
        is_over.set()


def test_hedgerow_asks_itself_for_no_list(internet: SmallInternet) -> None:
    with running_hedgerow(family_policy(internet)) as running:
        lists = f'lists:\n  - {{category: adult, name: own, url: "{running.web}/metrics"}}\n'
        running.edit_policy(family_policy(internet, lists=lists))
        wait_until(
            lambda: "is Hedgerow itself" in status(running).get("own", {"problem": ""})["problem"], 60, "refused"
        )


def check_that_fetching_is_forked_and_may_be_killed(running: Hedgerow) -> None:
    (job,) = [pid for pid in running.all_pids() if has_role(pid, "fetch")]
    status = Path(f"/proc/{job}/status").read_text()
    assert re.search(rf"^PPid:\t{running.process.pid}$", status, re.MULTILINE), (
        "the zygote has forked it for the supervisor"
    )
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    assert Path(f"/proc/{job}/oom_score_adj").read_text() == "1000\n"
    inherited = {str(each.readlink()).partition(":")[0] for each in Path(f"/proc/{job}/fd").iterdir()}
    assert inherited <= {"/dev/null", "socket", "anon_inode", str(running.directory / "stderr.txt"), *locks_of(running)}
    os.kill(job, signal.SIGKILL)
    wait_until(lambda: "could not be fetched: it ended early" in running.stderr, 20, "control goes on without the job")
    wait_until(lambda: not command_of(job), 20, "the supervisor reaps it")
    assert is_blocked(running, "good-7.example")


def locks_of(running: Hedgerow) -> list[str]:
    return [str(running.state / f"{name}.lock") for name in ("lists", "fetch")]


def test_an_outdated_list_is_flagged(internet: SmallInternet) -> None:
    lists = (
        "lists:\n  - {category: adult, path: lists/old.txt, refresh: 1d}\n  - {category: adult, path: lists/new.txt,"
        " refresh: 1d}\n"
    )

    def age(directory: Path) -> None:
        os.utime(directory / "lists/old.txt", (time.time() - 3 * 86400,) * 2)

    files = {"lists/old.txt": "old.example\n", "lists/new.txt": "new.example\n"}
    with running_hedgerow(family_policy(internet, lists=lists), lists=files, prepare=age) as running:
        rows = {name.rpartition("/")[2]: row for name, row in status(running).items()}
        assert "not refreshed for 72 hours" in rows["old.txt"]["problem"]
        assert rows["new.txt"]["problem"] == ""
        assert is_blocked(running, "old.example")
