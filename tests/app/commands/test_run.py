"""Options of `hedgerow up` that end the start with one sentence."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from small_internet.authority import Authority
from small_internet.running import executable, without_internet


@pytest.mark.parametrize(
    ("kind", "reason"), [("mixed", "TRUSTED CERTIFICATE"), ("none", "certificate"), ("missing", "No such file")]
)
def test_a_file_of_authorities_that_some_part_could_not_load(tmp_path: Path, kind: str, reason: str) -> None:
    """OpenSSL reads TRUSTED CERTIFICATE from a file, but not from memory, and silently leaves it out there."""
    root, file = Authority(tmp_path).root, tmp_path / "authorities.pem"
    convert = ["openssl", "x509", "-in", str(root), "-trustout"]
    trusted = subprocess.run(convert, capture_output=True, text=True, check=True).stdout
    texts = {"mixed": root.read_text() + trusted, "none": "hello\n"}
    if kind in texts:
        file.write_text(texts[kind])
    places = [word for name in ("dns", "proxy", "web") for word in (f"--{name}", "127.0.0.1:0")]
    command = [executable(), "up", "--state", str(tmp_path / "state"), *places, "--upstream-ca", str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=without_internet()
    )
    assert done.returncode == 2
    (sentence,) = done.stderr.strip().splitlines()[-1:]
    assert sentence.startswith(f"hedgerow: {file} can't be used as --upstream-ca: ")
    assert reason in sentence
