"""Compiled Jinja templates on disk, next to their sources, as Python keeps its modules.

Compiling takes ten times as long as loading, and leaves megabytes of fragmented memory in a process that runs for
months.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
from pathlib import Path

from jinja2 import FileSystemBytecodeCache
from jinja2.bccache import Bucket

from hedgerow import __version__

_UNREADABLE = (OSError, EOFError, ValueError, pickle.UnpicklingError)


class CompiledTemplates(FileSystemBytecodeCache):
    """A cache in `__pycache__` of the templates' directory.

    Where it can't be written, as in an installed package, which brings it along, or on a full disk, templates are
    compiled in memory.
    """

    def __init__(self, templates: Path) -> None:
        directory = templates / "__pycache__"
        with contextlib.suppress(OSError):
            directory.mkdir(exist_ok=True)
        super().__init__(str(directory), "%s.jinja")

    def get_cache_key(self, name: str, filename: str | None = None) -> str:  # noqa: ARG002  jinja passes it
        """Return the key of a template.

        It has no path, since packages are built in one directory and installed in another.
        """
        return hashlib.sha256(f"{__version__} {name}".encode()).hexdigest()[:32]

    def load_bytecode(self, bucket: Bucket) -> None:
        """Load a compiled template, unless its file is missing, torn, or of another source."""
        try:
            super().load_bytecode(bucket)
        except _UNREADABLE:
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Write a compiled template, readable for everybody as Python's modules are, if that is possible."""
        with contextlib.suppress(OSError):
            super().dump_bytecode(bucket)
            Path(self.directory, self.pattern % bucket.key).chmod(0o644)
