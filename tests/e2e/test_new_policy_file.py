"""A policy file that `--policy` names and that does not exist yet."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from small_internet.running import StartFailure, running_hedgerow

PASSWORD = "four words and more"
PLACE = {"country": "PT", "zone": "Europe/Lisbon"}


def missing(folder: Path) -> None:
    (folder / "hedgerow.yaml").unlink()


def test_the_guide_fills_the_file_that_was_named(tmp_path: Path) -> None:
    with running_hedgerow("", directory=tmp_path, prepare=missing) as running:
        assert "is new: the guide on the web pages fills it" in running.stderr
        assert running.policy_path.stat().st_mode & 0o777 == 0o600
        with httpx.Client(
            base_url=running.web,
            trust_env=False,
            headers={"origin": running.web},
            verify=False,
            timeout=60,
        ) as parent:
            account = {"name": "Ana", "password": PASSWORD, "code": running.setup_code}
            assert parent.post("/start/password", data=account).status_code == 303
            assert parent.post("/start/place", data=PLACE).headers["location"] == "/start/people"
        assert "country: PT" in running.policy_path.read_text()
    with running_hedgerow("", directory=tmp_path, prepare=missing) as running:
        assert "the last good policy stays in force" in running.stderr
        assert not running.policy_path.exists(), "a file that was lost is not begun again"


def test_a_file_in_no_folder_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(StartFailure, match="No such file or directory"),
        running_hedgerow("", directory=tmp_path, options=("--policy", str(tmp_path / "none" / "new.yaml"))),
    ):
        pass
