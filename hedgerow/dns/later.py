"""An answer that is not there yet, as a value of its own: None means that there will be none."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class Later(Enum):
    LATER = auto()


LATER: Final = Later.LATER
