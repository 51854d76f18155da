"""The command with which somebody starts Hedgerow's other commands on this machine."""

from __future__ import annotations

import shutil
import sys
from functools import cache
from pathlib import Path

_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"


@cache
def hedgerow_command(usual_path: str = _USUAL_PATH, interpreter: str = sys.executable) -> str:
    """Return `hedgerow` where every shell finds it, else the path of the program, as in a checkout.

    Arguments:
        usual_path: the directories that a shell searches.
        interpreter: the Python that runs Hedgerow, next to which its program is.
    """
    beside = Path(interpreter).parent / "hedgerow"
    found = shutil.which("hedgerow", path=usual_path) is not None or not beside.exists()
    return "hedgerow" if found else str(beside)
