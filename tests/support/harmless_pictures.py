"""Pictures of nothing, for tests of hidden pictures. They need the extra `pictures`."""

from __future__ import annotations

import io
import random
from typing import Any


def noise(width: int, height: int, mode: str = "RGB") -> Any:
    """Return a picture of coloured clouds."""
    from PIL import Image

    image = Image.frombytes("RGB", (8, 8), random.Random(7).randbytes(192)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return image.convert(mode)


def encoded(image: Any, format: str, **options: Any) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def harmless_picture() -> bytes:
    """Return a JPEG of 160 × 120 pixels."""
    return encoded(noise(160, 120), "JPEG", quality=50)


def with_long_comment(jpeg: bytes) -> tuple[bytes, int]:
    """Return a JPEG with a comment of 65,500 octets in front, and the number of them to insert after the hundredth
    octet.
    """
    shown = 200
    comment = b"\xff\xfe" + (65_500 + 2).to_bytes(2) + bytes(shown)
    return jpeg[:2] + comment + jpeg[2:], 65_500 - shown
