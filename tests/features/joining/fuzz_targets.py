"""The line by which a second machine joins."""

from __future__ import annotations

from fuzz_targets.target import FuzzTarget

from hedgerow.features.joining.protocol import Invitation, JoinError

TARGETS: dict[str, FuzzTarget] = {
    "invitation": FuzzTarget(
        lambda data: Invitation.parse(data.decode("latin-1")),
        (str(Invitation("fd00::1", 8054, bytes(16), bytes(32))).encode(),),
        (JoinError,),
    ),
}
