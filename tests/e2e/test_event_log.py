"""What is recorded, as lines of JSON beside the journal, and single decisions in the log of the debug level."""

from __future__ import annotations

import json
from pathlib import Path

from small_internet import SmallInternet
from small_internet.clients import kdig
from small_internet.running import network_section, running_hedgerow, wait_until

CHILD, PARENT = "127.0.0.6", "127.0.0.41"


def test_decisions_are_written_for_collectors_but_no_visit_to_a_helpline(whole_internet: SmallInternet, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    policy = (
        f"{network_section(whole_internet)}  log_to: {file}\n"
        f"people:\n  mia: {{age: 9, privacy: domain, devices: [tablet]}}\n  ana: {{age: 41, privacy: category, devices: [phone]}}\n"
        f"devices: {{tablet: {{ip: {CHILD}}}, phone: {{ip: {PARENT}}}}}\n"
    )
    with running_hedgerow(policy, options=["--log-level", "debug"]) as running:
        kdig(running.dns, "www.childline.org.uk", source=CHILD)
        kdig(running.dns, "secret.example", source=PARENT)
        kdig(running.dns, "pornhub.com", source=CHILD)

        def decisions() -> list[dict[str, object]]:
            rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
            found = [row for row in rows if row["type"] == "decision"]
            return found if {"tablet", "phone"} <= {row["device"] for row in found} else []

        rows = wait_until(decisions, 20, "two decisions in the file")
        blocked = next(row for row in rows if row.get("host") == "pornhub.com")
        assert (blocked["person"], blocked["verdict"], blocked["what"]) == ("mia", "block", "adult")
        wait_until(lambda: "tablet (mia) dns pornhub.com: block, category adult" in running.stderr, 20, "the decision in the log")
        for text in (file.read_text(), running.stderr):
            assert "childline" not in text
            assert "secret.example" not in text
