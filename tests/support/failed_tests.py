"""What a failed test has left open: it must not fail the next one."""

from __future__ import annotations

import gc
import sys
import warnings


def let_go() -> None:
    """Free what the frames of the last failure hold, such as sockets and processes, without a warning of theirs.

    The interpreter keeps these frames for a debugger until the next test runs. Their sockets would then be collected
    during that test, and their warnings are errors.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for name in ("last_exc", "last_value", "last_type", "last_traceback"):
            if hasattr(sys, name):
                delattr(sys, name)
        gc.collect()
