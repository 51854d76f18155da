"""Pictures, up to what the network gets. There are no targets without the extra `pictures`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from fuzz_targets.target import FuzzTarget

from hedgerow.features.pictures import judge


def picture(data: bytes) -> None:
    """Read a picture up to what the network gets. Whatever Pillow raises refuses it, as the scanner's process does."""
    try:
        frames = list(judge.frames_of(data))
    except Exception:
        return
    assert len(frames) <= 3
    for each in frames:
        assert (each.mode, each.size) == ("RGB", (256, 256))
        look = judge.Look(each)
        assert look.is_like(look)


def _pictures() -> Iterator[bytes]:
    """Yield a picture of each format that Pillow writes here, two of them moving, one turned, one clear."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    shades = [Image.linear_gradient("L").resize((120, 100)).rotate(90 * turn).convert("RGB") for turn in range(3)]
    clear = shades[0].convert("RGBA")
    clear.putalpha(shades[1].convert("L"))
    moving = {"save_all": True, "append_images": shades[1:], "duration": 50}
    written: tuple[tuple[str, Any, dict[str, Any]], ...] = (
        ("JPEG", shades[0], {"exif": exif, "progressive": True}),
        ("PNG", clear, {}),
        ("PNG", shades[0].convert("P"), {"transparency": 3}),
        ("GIF", shades[0], moving),
        ("WEBP", shades[0], moving),
        ("AVIF", clear, {}),
        ("BMP", shades[0], {}),
    )
    for name, image, options in written:
        out = io.BytesIO()
        with contextlib.suppress(KeyError, OSError):  # a format that this Pillow can't write
            image.save(out, name, **options)
            yield out.getvalue()


TARGETS: dict[str, FuzzTarget] = (
    {
        "picture": FuzzTarget(picture, tuple(_pictures())),
    }
    if find_spec("PIL") is not None
    else {}
)
