"""The script in contrib/ takes an empty home to a whole policy by the API only, notices drift, and restores
the policy.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from web_server import TOKEN, Web, running_web

SCRIPT = Path(__file__).parents[2] / "contrib" / "policy" / "hedgerow-policy"
HOME = {
    "network": {"timezone": "Europe/Lisbon", "country": "PT"},
    "people": {"mia": {"age": 9, "devices": ["mia-tablet"], "bedtime": "20:30-07:00"}, "ana": {"age": 41}},
    "devices": {"mia-tablet": {"mac": "aa:bb:cc:dd:ee:ff"}},
}


def run(web: Web, *arguments: str, by_socket: bool = False) -> subprocess.CompletedProcess[str]:
    folder = web.policy_path.parent
    (folder / "token").write_text(TOKEN)
    way = (
        ["--socket", str(folder / "control.sock")]
        if by_socket
        else ["--url", web.url, "--token-file", str(folder / "token")]
    )
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments, *way], capture_output=True, text=True, check=False, timeout=60
    )


def test_an_empty_home_drifts_and_is_restored(tmp_path: Path) -> None:
    wanted = tmp_path / "home.json"
    wanted.write_text(json.dumps(HOME))
    with running_web(tmp_path) as web:
        assert not web.policy_path.exists()
        planned = run(web, "plan", str(wanted))
        assert (planned.returncode, "mia-tablet: is new" in planned.stdout) == (2, True), planned
        assert run(web, "apply", str(wanted)).stdout.endswith("Applied.\n")
        assert run(web, "plan", str(wanted)).returncode == 0
        assert run(web, "apply", str(wanted)).stdout.endswith("Nothing to change.\n")
        web.policy_path.write_text(web.policy_path.read_text().replace("20:30-07:00", "23:30-07:00") + "# by hand\n")
        assert run(web, "plan", str(wanted), by_socket=True).returncode == 2
        assert run(web, "apply", str(wanted), by_socket=True).returncode == 0
        assert json.loads(run(web, "show").stdout) == HOME
        assert web.policy_path.read_text().endswith("# by hand\n")


def test_a_text_in_yaml_becomes_the_file(tmp_path: Path) -> None:
    text = "# in git\npeople:\n  zoe: {age: 3}   # small\n"
    (tmp_path / "home.yaml").write_text(text)
    with running_web(tmp_path) as web:
        assert run(web, "apply", str(tmp_path / "home.yaml")).returncode == 0
        assert web.policy_path.read_text() == text
        assert run(web, "plan", str(tmp_path / "home.yaml")).returncode == 0


def test_mistakes_are_shown_with_their_place(tmp_path: Path) -> None:
    wanted = tmp_path / "home.json"
    wanted.write_text(json.dumps({"people": {"mia": {"age": "nine"}}}))
    with running_web(tmp_path) as web:
        for action in ("plan", "apply"):
            done = run(web, action, str(wanted))
            assert done.returncode == 1
            assert "people.mia.age" in done.stderr
        assert not web.policy_path.exists()


def test_what_is_missing_is_said_in_a_sentence(tmp_path: Path) -> None:
    for words in (["--token-file", str(tmp_path / "none")], ["--socket", str(tmp_path / "none.sock")]):
        done = subprocess.run(
            [sys.executable, SCRIPT, "show", *words], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 1
        assert done.stderr.startswith("hedgerow-policy: ")
        assert done.stderr.count("\n") == 1
