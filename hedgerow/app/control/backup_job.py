"""The daily backup as a process of its own, at low priority: `python -m hedgerow.app.control.backup_job STATE POLICY FILE STORE`."""

from __future__ import annotations

import sys
from pathlib import Path

from hedgerow.app.backup import BackupError, back_up
from hedgerow.app.control.jobs import LIST_MEMORY, limit_resources
from hedgerow.app.settings import STORE_PASSWORD
from hedgerow.journal.store import StoreAddress

if __name__ == "__main__":
    limit_resources(LIST_MEMORY)
    state, policy, out, store = sys.argv[1:5]
    try:
        address = StoreAddress(store, Path(state) / STORE_PASSWORD) if store else None
        back_up(Path(state), Path(policy) if policy else None, Path(out), address, with_log=not store)
    except BackupError as error:
        sys.exit(str(error))
