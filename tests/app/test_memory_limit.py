"""Too little memory is one sentence at the start, instead of processes that the kernel kills again and again."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from small_internet.running import executable, without_internet

from hedgerow.app.startup import memory_problem

SENTENCE = "Hedgerow needs 180 MB of memory, and its group may use 120 MB: raise MemoryMax."


@pytest.mark.parametrize(
    ("own", "files", "problem"),
    [
        ("0::/system.slice/hedgerow.service", {"system.slice/hedgerow.service/memory.max": "120000000"}, SENTENCE),
        ("0::/system.slice/hedgerow.service", {"system.slice/memory.max": "120000000"}, SENTENCE),
        ("0::/x", {"x/memory.max": "max"}, ""),
        ("0::/x", {"x/memory.max": "400000000"}, ""),
        ("0::/", {}, ""),
        ("4:memory:/box\n3:cpuset:/", {"memory/box/memory.limit_in_bytes": "120000000"}, SENTENCE),
        ("4:memory:/box", {"memory/memory.limit_in_bytes": "9223372036854771712"}, ""),
    ],
)
def test_the_limit_of_a_control_group_is_found(tmp_path: Path, own: str, files: dict[str, str], problem: str) -> None:
    (tmp_path / "own").write_text(own + "\n")
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text + "\n")
    assert memory_problem(tmp_path / "own", tmp_path / "groups") == problem


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit is not installed")
def test_too_little_address_space_ends_the_start_with_one_sentence(tmp_path: Path) -> None:
    places = [word for name in ("dns", "proxy", "web") for word in (f"--{name}", "127.0.0.1:0")]
    command = ["prlimit", f"--as={300 << 20}", executable(), "up", "--state", str(tmp_path / "state"), *places]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=without_internet()
    )
    assert done.returncode == 2
    assert done.stderr.strip().endswith("and may use 315 MB: raise the limit (ulimit -v).")
    assert len(done.stderr.strip().splitlines()) == 1
