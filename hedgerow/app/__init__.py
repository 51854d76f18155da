"""The composition root: the command line, the processes, and the files and messages between them.

Nouns: `Settings` (the options of a run), `Snapshot` (policy, lists and live state as one file), `LoadedSnapshot` (a snapshot opened by a
worker). The other packages get their dependencies from here. Deliberately absent: any rule about what is blocked.
"""

import sys
from types import SimpleNamespace

# httpx tries to import its own command line, and with it click, rich and pygments: 14 MB in each process. It works without.
sys.modules["httpx._main"] = None  # type: ignore[assignment]
# FastAPI imports pydantic v1 to recognise its models, which takes a megabyte. We have none, and FastAPI works without it.
sys.modules["pydantic.v1"] = None  # type: ignore[assignment]
# uvicorn imports its command line, and with it click and multiprocessing, which take two megabytes. It has its server elsewhere.
sys.modules.setdefault("uvicorn.main", SimpleNamespace(Server=None, main=None, run=None))  # type: ignore[arg-type]
# pydantic looks through the metadata of all installed packages for plugins of its own. It gets none.
sys.modules["pydantic.plugin._loader"] = SimpleNamespace(get_plugins=tuple)  # type: ignore[assignment]
# msgspec prefers typing_extensions, half a megabyte in each process, to typing, which has all that it asks for.
if "typing_extensions" not in sys.modules:
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    import msgspec as msgspec

    del sys.modules["typing_extensions"]
