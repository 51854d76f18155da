"""What a benchmark needs beside the repository; one line says what is missing.

To be imported before everything that only `make dev` installs.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

_PLACES = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin:/sbin"
_PACKAGES = {
    "squid": "squid-openssl",
    "/usr/lib/squid/security_file_certgen": "squid-openssl",
    "/usr/bin/chromium": "chromium",
    "pdns_recursor": "pdns-recursor",
    "kresd": "knot-resolver",
    "kdig": "knot-dnsutils",
    "nft": "nftables",
    "ip": "iproute2",
    "wg": "wireguard-tools",
    "certutil": "libnss3-tools",
}


def stop(missing: str) -> NoReturn:
    """End the benchmark with one line."""
    sys.exit(f"{Path(sys.argv[0]).name} needs {missing}")


def programs(*names: str) -> None:
    """End the benchmark unless these programs are installed. A name with a slash is a path."""
    if absent := [name for name in names if not shutil.which(name, path=_PLACES)]:
        stop(
            "what is not installed: "
            + ", ".join(f"{name} (package {_PACKAGES[name]})" if name in _PACKAGES else name for name in absent)
        )


def root(purpose: str) -> None:
    """End the benchmark unless it runs as root."""
    if os.geteuid():
        stop(f"root rights, {purpose}")


def laboratory(*more: str) -> None:
    """End the benchmark unless network namespaces can be made, and these programs and those of `tests/support/lab` are
    there.
    """
    root("for network namespaces")
    programs("ip", "nft", "nginx", "unbound", "kdig", "curl", "openssl", *more)


if find_spec("pytest") is None:
    stop("what tests need too: run `make dev`")
