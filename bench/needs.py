"""What a benchmark needs beside the repository; one line says what is missing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

_PLACES = "/usr/sbin:/usr/local/sbin:/sbin"
_PACKAGES = {"squid": "squid-openssl", "brctl": "bridge-utils", "certutil": "libnss3-tools"}


def programs(*names: str) -> None:
    """End the benchmark unless these programs are installed. A name with a slash is a path."""
    absent = [
        name for name in names if not (Path(name).exists() if "/" in name else shutil.which(name) or shutil.which(name, path=_PLACES))
    ]
    if absent:
        told = ", ".join(f"{name} (package {_PACKAGES[name]})" if name in _PACKAGES else name for name in absent)
        sys.exit(f"{Path(sys.argv[0]).name} needs what is not installed: {told}")
