"""Import all modules of Hedgerow once, so that Python has compiled what they use, and no more of the libraries."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil

import hedgerow

for module in pkgutil.walk_packages(hedgerow.__path__, "hedgerow."):
    if not module.name.endswith((".__main__", ".migrations.env")):  # these run when they are imported
        with contextlib.suppress(ImportError):  # what judges pictures is an extra
            importlib.import_module(module.name)
