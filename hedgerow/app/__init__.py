"""The composition root: the command line, the processes and what passes between them.

Nouns: Settings (how this run was started), Snapshot (what holds now, as a file), View (a snapshot opened by a worker).
Everything that DNS, proxy, journal and pages need is passed in from here. What is absent: any rule about what is blocked.
"""

import sys

# httpx tries to import its own command line, and with it click, rich and pygments: 14 MB in each process. It does without.
sys.modules["httpx._main"] = None  # type: ignore[assignment]
# FastAPI looks whether a model is one of the old pydantic's, which is another megabyte. None is, and it does without where there is none.
sys.modules["pydantic.v1"] = None  # type: ignore[assignment]
