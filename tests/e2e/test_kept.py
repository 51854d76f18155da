"""Personal data of a child: export by child and parent, and erasure from every file of the state directory."""

from __future__ import annotations

import json
import subprocess

from small_internet import SmallInternet
from small_internet.clients import curl, kdig, kdig_addresses
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow, wait_until

TABLET, PHONE = "127.0.0.2", "127.0.0.3"
PEOPLE = """
people:
  mia: {age: 9, devices: [tablet], block: [secret-of-mia.example]}
  tom: {age: 12, devices: [phone], block: [secret-of-tom.example]}
devices:
  tablet: {ip: 127.0.0.2}
  phone: {ip: 127.0.0.3}
"""


def _command(running: Hedgerow, *words: str) -> subprocess.CompletedProcess[str]:
    return hedgerow_command(*words, "--state", str(running.state))


def _own(running: Hedgerow, source: str) -> str:
    return curl(f"{running.web}/device/kept", source=source).text


def _kept(text: str, kind: str) -> set[str]:
    return {row["host"] for row in map(json.loads, text.splitlines()) if row["kept"] == kind}


def test_personal_data_is_shown_and_erased(internet: SmallInternet) -> None:
    with running_hedgerow(network_section(internet) + PEOPLE) as running:
        for source, child in ((TABLET, "mia"), (PHONE, "tom")):
            assert kdig_addresses(running.dns, f"www.secret-of-{child}.example", source=source) == ["0.0.0.0"]
            kdig(running.dns, "www.wikipedia.org", source=source)
            kdig(running.dns, "www.childline.org.uk", source=source)
        both = {"www.secret-of-mia.example", "www.wikipedia.org"}
        wait_until(lambda: _kept(_own(running, TABLET), "decisions") >= both, 20, "what was asked for is kept")
        own = _own(running, TABLET)
        assert _kept(own, "decisions") == both, "a helpline never is"
        assert sorted(own.splitlines()) == sorted(_command(running, "kept", "mia").stdout.splitlines())
        assert "tom" not in own

        assert _command(running, "erase", "mia").returncode != 0, "nobody said yes"
        assert _kept(_own(running, TABLET), "decisions") == both
        done = _command(running, "erase", "mia", "--yes")
        assert done.returncode == 0, done.stderr
        assert "Erased about mia: 2 decisions" in done.stdout
        assert _kept(_own(running, TABLET), "decisions") == set()
        assert "www.secret-of-tom.example" in _kept(_own(running, PHONE), "decisions")
        files = {path.name: path.read_bytes() for path in running.state.rglob("journal*") if path.is_file()}
        assert files
        assert [name for name, data in files.items() if b"example.secret-of-mia.www" in data] == []
        assert any(b"example.secret-of-tom.www" in data for data in files.values())
        assert "There was no data about nobody." in _command(running, "erase", "nobody", "--yes").stdout
