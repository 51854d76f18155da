"""`hedgerow services`: all of them as JSON, also those with networks of their own."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from hedgerow.app.cli import make_cli
from hedgerow.policies.host_facts import Services


def test_scripts_read_every_service() -> None:
    done = CliRunner().invoke(make_cli("services"), ["services", "--json"])
    assert done.exit_code == 0, done.output
    shown = {each["id"]: each for each in json.loads(done.stdout)}
    assert shown.keys() == Services.load().by_id.keys()
    assert "149.154.160.0/20" in shown["telegram"]["networks"]
    assert "tiktok.com" in shown["tiktok"]["domains"]
