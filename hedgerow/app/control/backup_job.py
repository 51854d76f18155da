"""The daily backup as a process of its own, at low priority: `python -m hedgerow.app.control.backup_job STATE POLICY FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from hedgerow.app.backup import BackupError, back_up
from hedgerow.app.control.jobs import LIST_MEMORY, limit_resources

if __name__ == "__main__":
    limit_resources(LIST_MEMORY)
    state, policy, out = sys.argv[1:4]
    try:
        back_up(Path(state), Path(policy) if policy else None, Path(out))
    except BackupError as error:
        sys.exit(str(error))
