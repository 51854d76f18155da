"""Children that one process forks: they share its memory, and nothing else of each other or of the command line."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

import pytest
from small_internet.running import Hedgerow, command_of

FORKED = ("dns", "gate", "signer", "inspector", "control")


def children(house: Hedgerow) -> dict[str, list[int]]:
    return {role: house.pids(role) for role in (*FORKED, "zygote")}


def test_every_child_is_forked_belongs_to_the_supervisor_and_has_its_name(family: Hedgerow) -> None:
    for pids in children(family).values():
        assert pids
        for pid in pids:
            assert "hedgerow.app.processes" not in command_of(pid), "it is no program of its own"
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            assert int(status[1]) == family.process.pid
            assert int(status[2]) == pid, "a process group of its own"


def test_no_child_has_a_descriptor_of_another(family: Hedgerow) -> None:
    """Neither a listening socket of another slot nor the supervisor's end of any, nor the lock, nor what the command
    line had open.
    """
    holders: dict[str, set[int]] = defaultdict(set)
    shared = re.compile(r"/dev/null|anon_inode:.*|.*stderr\.txt|/.*\.(?:mo|idx|bin|trie|sqlite.*)|.*/generations/.*")
    for pid in (pid for pids in children(family).values() for pid in pids):
        for number in os.listdir(f"/proc/{pid}/fd"):
            target = str(Path(f"/proc/{pid}/fd/{number}").readlink())
            if not shared.fullmatch(target):
                holders[target].add(pid)
    assert {target: pids for target, pids in holders.items() if len(pids) > 1} == {}
    assert not [target for target in holders if target.endswith("/lock")]


def test_the_zygote_holds_the_sockets_by_which_the_supervisor_and_control_reach_it(family: Hedgerow) -> None:
    (zygote,) = family.pids("zygote")
    targets = [str(each.readlink()) for each in Path(f"/proc/{zygote}/fd").iterdir()]
    files = sorted(target for target in targets if not target.startswith("socket:"))
    assert files == ["/dev/null", "/dev/null", str(family.directory / "stderr.txt")]
    assert len(targets) == len(files) + 2
    assert len(os.listdir(f"/proc/{zygote}/task")) == 1


def memory_holds(pid: int, secret: bytes) -> bool:
    """Search all that a process can read of its memory."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in lines:
            place, mode, *_ = line.split()
            if not mode.startswith("rw") or "[v" in line:
                continue
            start, end = (int(text, 16) for text in place.split("-"))
            memory.seek(start)
            try:
                if secret in memory.read(end - start):
                    return True
            except OSError:
                continue
    return False


def test_secrets_are_in_no_memory_that_others_inherit(family: Hedgerow) -> None:
    key = (family.state / "run" / "pass.key").read_bytes()
    gates = family.pids("gate")
    try:
        found = [memory_holds(pid, key) for pid in gates]
    except PermissionError:
        pytest.skip("the kernel lets nobody read the memory of other processes")
    assert all(found), "the search finds it where it is needed"
    for role in ("zygote", "dns"):
        assert not any(memory_holds(pid, key) for pid in family.pids(role)), role
