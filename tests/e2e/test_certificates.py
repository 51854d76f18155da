"""`hedgerow ca`: the files that devices install, and a rotation while Hedgerow runs."""

from __future__ import annotations

import json
import plistlib
from pathlib import Path

from cryptography import x509
from small_internet import SmallInternet
from small_internet.clients import curl
from small_internet.family import LISTS, family_policy
from small_internet.running import hedgerow_command, running_hedgerow, wait_until

COMPUTER = "127.0.0.4"


def test_export_and_rotation(whole_internet: SmallInternet, tmp_path: Path) -> None:
    policy, root = family_policy(whole_internet), whole_internet.authority.root
    with running_hedgerow(policy, lists=LISTS, upstream_authority=root) as running:
        url = whole_internet.url("adult.example")

        def blocked(authority: Path) -> bool:
            """Whether the block page shows over HTTPS to a computer that trusts the certificate in `authority`."""
            answer = curl(url, proxy=running.proxy, source=COMPUTER, ca=authority)
            return answer.status == 403 and "This site is not open here" in answer.text

        old = running.authority
        assert blocked(old)
        state = ("--state", str(running.state))
        for name in ("ca.mobileconfig", "ca.cer"):
            assert hedgerow_command("ca", "export", str(tmp_path / name), *state).returncode == 0
        der = (tmp_path / "ca.cer").read_bytes()
        assert x509.load_der_x509_certificate(der) == x509.load_pem_x509_certificate(old.read_bytes())
        assert plistlib.loads((tmp_path / "ca.mobileconfig").read_bytes())["PayloadContent"][0]["PayloadContent"] == der

        rotated = json.loads(hedgerow_command("ca", "rotate", "--yes", "--json", *state).stdout)
        assert rotated["restarted"] >= 1
        new = tmp_path / "new.pem"
        new.write_text(hedgerow_command("ca", "export", *state).stdout)
        assert new.read_bytes() != old.read_bytes()
        wait_until(lambda: blocked(new), 15, "the inspector is back with the new authority")
        assert not blocked(old)
