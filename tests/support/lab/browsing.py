"""A program for a namespace of its own: a small internet, Hedgerow, and Chromium, whose connections the kernel
redirects to the proxy.

`python browsing.py FOLDER HOST` prints the results of `EVERY_KIND` on HOST as JSON, with the certificate's issuer. In
the browser, every name resolves to one unused address, so Hedgerow knows only the names in the connections.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from small_internet.browser import EVERY_KIND, browser_for_pages, trusting
from small_internet.running import network_section, running_hedgerow
from small_internet.whole import SmallInternet, small_internet

NOWHERE, PORT = "127.77.7.7", 3129
REDIRECT = f"""
table ip browsing {{
    chain output {{
        type nat hook output priority -100
        ip daddr {NOWHERE} tcp dport {{ 80, 443 }} redirect to :{PORT}
    }}
}}
"""
INSPECTED = "www.school.example"
POLICY = f"""
people:
  mia: {{age: 9, devices: [tablet], block: ["{INSPECTED}/secret", "h2.example/secret"]}}
devices:
  tablet: {{ip: 127.0.0.1, trusts_ca: TRUSTS}}
"""


def browse(net: SmallInternet, host: str, home: Path, authority: Path) -> dict[str, Any]:
    """Return Chromium's results on a host and on a blocked one."""
    options = ["--disable-quic", f"--host-resolver-rules=MAP * {NOWHERE}"]
    with browser_for_pages(args=options, env=trusting(home, authority)) as browser:
        page = browser.new_page()
        opened = page.goto(net.url(host, "/page"))
        assert opened is not None
        security = opened.security_details()
        issuer = security.get("issuer", "") if security else ""
        found: dict[str, Any] = page.evaluate(EVERY_KIND)
        found |= {"issuer": issuer, "blocked page": page.goto(net.url("adult.example", "/", "http")).status}  # type: ignore[union-attr]
    return found


def main(folder: Path, host: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=REDIRECT, text=True, check=True)
    is_inspected = host == INSPECTED
    with small_internet() as net:
        policy = network_section(net) + POLICY.removeprefix("\n").replace("TRUSTS", str(is_inspected).lower())
        options = ("--transparent", f"127.0.0.1:{PORT}")
        lists = {"lists/adult.txt": "adult.example\n"}
        policy += "lists:\n  - {category: adult, path: lists/adult.txt}\n"
        with running_hedgerow(policy, lists=lists, options=options, upstream_authority=net.authority.root) as running:
            authority = running.authority if is_inspected else net.authority.root
            print(json.dumps(browse(net, host, folder / "home", authority)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
