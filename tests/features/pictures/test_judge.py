"""Pictures: which responses are held back, and what the extra's network makes of harmless ones."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
from harmless_pictures import encoded, noise

from hedgerow.features.contract import scanners_of
from hedgerow.features.pictures import FEATURE, scanner
from hedgerow.features.pictures import judge as pictures
from hedgerow.features.pictures.judge import MAX_PIXELS, MAX_WEBP_PIXELS, SMALLEST
from hedgerow.features.pictures.scanner import KEY, PICTURES, PictureScanner, is_installed, is_picture
from hedgerow.policies.content import NO_SCORE_LIMIT, UNCHECKED, ContentRules, ScoreRule
from hedgerow.policies.model import Reason
from hedgerow.policies.reading.load import parse_policy
from hedgerow.proxy.scanners.body import BodyScan
from hedgerow.proxy.scanners.scanner import Head, ScanRules

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP")
needs_extra = pytest.mark.skipif(not is_installed(), reason="the extra `pictures` is not installed (make pictures)")


def rules(limit: int = 50, *, is_on: bool = True) -> ScanRules:
    return ScanRules(ContentRules(scores=(ScoreRule(KEY, is_on, limit),)), scoring=(PictureScanner,))


@pytest.mark.parametrize(
    ("head", "is_wanted"),
    [
        (Head("", "image/jpeg"), True),
        (Head("", "Image/WebP; x=1"), True),
        (Head("", "image/svg+xml"), False),
        (Head("", "application/octet-stream"), True),
        (Head("", "application/octet-stream", "attachment; filename=a.jpg"), False),
        (Head("", "text/plain"), False),
        (Head("", "text/plain", is_image=True), True),
        (Head("", "", is_image=True), True),
        (Head("", "text/html", is_document=True), False),
    ],
)
def test_the_head_tells_what_may_be_a_picture(head: Head, is_wanted: bool) -> None:
    assert (PictureScanner.wants(head, rules()) is not None) is is_wanted
    assert PictureScanner.wants(head, rules(is_on=False)) is None
    assert PictureScanner.wants(head, rules(NO_SCORE_LIMIT)) is None


def test_nothing_is_held_back_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = parse_policy(b"people: {mia: {age: 9, picture_scan: on}}", None)
    for is_there, expected in ((True, (PICTURES,)), (False, ())):
        monkeypatch.setattr(scanner, "is_installed", lambda is_there=is_there: is_there)
        assert scanners_of([FEATURE], policy) == expected
        assert scanners_of([FEATURE], parse_policy(b"people: {mia: {age: 9, picture_scan: off}}", None)) == ()


def test_the_first_bytes_tell_what_is_a_picture() -> None:
    for data, is_one in (
        (b"\xff\xd8\xff\xe0" + bytes(40), True),
        (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", False),
    ):
        scan = BodyScan(Head("", "image/jpeg"), rules())
        scan.feed(data)
        assert scan.whole_scanner is (PictureScanner if is_one else None)
        assert scan.is_done is not is_one


def test_what_cannot_be_held_back_for_longer_is_hidden() -> None:
    scan = BodyScan(Head("", "image/jpeg"), rules())
    scan.feed(b"\xff\xd8\xff")
    scan.release()
    assert scan.refusal is not None
    assert (scan.refusal.reason, scan.refusal.what) == (Reason.PICTURE, UNCHECKED)


def judged(body: bytes, limit: int) -> str:
    """Return what the decision says, as the process comes to it, or 'shown'."""
    scan = BodyScan(Head("", "image/png"), rules(limit), in_worker=True)
    scan.feed(body)
    while scan.is_busy:
        scan.go_on()
    scan.end()
    return scan.refusal.what if scan.refusal is not None else "shown"


@needs_extra
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_judged(format: str) -> None:
    body = encoded(noise(320, 240), format)
    assert is_picture(body[:32])
    assert judged(body, 0).endswith("of 0"), "every score is above nought"
    assert judged(body, 99) == "shown"
    assert judged(encoded(noise(SMALLEST - 1, 400), format), 0) == "shown", "too small"


@needs_extra
@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16"])
def test_every_kind_of_pixel_is_judged(mode: str) -> None:
    from PIL import Image

    image = Image.new(mode, (200, 200), 30_000) if mode == "I;16" else noise(200, 200, mode)
    assert judged(encoded(image, "PNG"), 0).endswith("of 0")


@needs_extra
def test_a_truncated_picture_is_judged_and_a_broken_one_is_hidden() -> None:
    whole = encoded(noise(640, 480), "JPEG")
    assert judged(whole[: len(whole) // 2], 0).endswith("of 0")
    scan = BodyScan(Head("", "image/png"), rules(), in_worker=True)
    scan.feed(b"\x89PNG\r\n\x1a\n" + bytes(5000))
    with pytest.raises(Exception):  # noqa: B017  of which the process makes an unchecked picture
        scan.end()


@needs_extra
def test_a_bomb_of_pixels_is_not_unpacked() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = int(MAX_PIXELS**0.5) + 1
    body = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", bytes(2000))
    )
    with pytest.raises(ValueError, match="pixels"):
        pictures.judge().score(body)


@needs_extra
def test_a_bomb_of_pixels_in_a_webp_is_not_unpacked() -> None:
    """Its decoder has four copies of the picture: two processes with 50 million pixels each took 1.7 GB."""
    from PIL import Image

    side = int(MAX_WEBP_PIXELS**0.5) + 1
    with pytest.raises(ValueError, match="pixels"):
        pictures.judge().score(encoded(Image.new("RGB", (side, side)), "WEBP"))


@needs_extra
@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_several_frames_of_a_moving_picture_are_judged(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (120, 120), (value, 40, 120)) for value in range(0, 250, 25)]
    body = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=100)
    seen: list[int] = []
    judge = pictures.PictureClassifier()

    def score(frame: Any) -> float:
        seen.append(frame.getpixel((128, 128))[0] // 25)
        return float(len(seen))

    monkeypatch.setattr(judge, "quick_score", lambda _frame: 100.0)
    monkeypatch.setattr(judge, "_score_frame", score)
    assert judge.score(body) == 3.0
    assert [abs(each - wanted) <= 1 for each, wanted in zip(seen, (0, 4, 9), strict=True)] == [True] * 3, seen


@needs_extra
def test_copies_of_a_picture_are_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    judge, asked = pictures.PictureClassifier(), list[object]()
    quick_score = judge.quick_score

    def asked_too(frame: Any) -> float:
        asked.append(frame)
        return quick_score(frame)

    monkeypatch.setattr(judge, "quick_score", asked_too)
    copies = [encoded(noise(*size), "JPEG", quality=quality) for size, quality in (((640, 480), 90), ((320, 240), 75))]
    assert judge.score(copies[0]) == judge.score(copies[1])
    assert len(asked) == 1
    judge.score(encoded(noise(640, 480).transpose(0), "JPEG"))
    assert len(asked) == 2, "the mirrored picture is another one"


@needs_extra
def test_drawings_of_black_lines_are_shown_and_grey_photographs_judged() -> None:
    from PIL import Image, ImageDraw, ImageOps

    drawing = Image.new("RGB", (400, 300), "white")
    for at in range(0, 400, 40):
        ImageDraw.Draw(drawing).line((at, 0, 400 - at, 300), "black", 2)
    coloured = ImageOps.colorize(drawing.convert("L"), "firebrick", "white")
    for image, is_drawing in (
        (drawing, True),
        (ImageOps.invert(drawing), True),
        (coloured, False),
        (noise(400, 300, "L").convert("RGB"), False),
    ):
        assert pictures.is_line_drawing(image.resize((32, 32), reducing_gap=2.0)) is is_drawing
        assert (judged(encoded(image, "PNG"), 0) == "shown") is is_drawing


@needs_extra
def test_sixteen_bits_of_grey_are_seen_as_eight() -> None:
    from PIL import Image

    assert next(pictures.frames_of(encoded(Image.new("I;16", (300, 300), 30_000), "PNG"))).getpixel((50, 50)) == (
        117,
        117,
        117,
    )


@needs_extra
def test_what_is_clear_is_seen_on_a_white_page() -> None:
    from PIL import Image

    half = Image.new("RGBA", (300, 300), (200, 0, 0, 128))
    assert next(pictures.frames_of(encoded(half, "PNG"))).getpixel((50, 50)) == pytest.approx((227, 127, 127), abs=2)
    assert next(pictures.frames_of(encoded(Image.new("LA", (300, 300), (0, 0)), "PNG"))).getpixel((50, 50)) == (
        255,
        255,
        255,
    )


@needs_extra
def test_the_network_itself_judges_what_is_not_clearly_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    judge, views = pictures.PictureClassifier(), list[object]()

    def classify(frame: Any) -> float:
        views.append(frame)
        return 30.0 * len(views)

    monkeypatch.setattr(judge, "classify", classify)
    monkeypatch.setattr(judge, "quick_score", lambda _frame: 3.0)
    assert judge.score(encoded(noise(320, 240), "PNG")) == 3.0
    assert views == []
    monkeypatch.setattr(judge, "quick_score", lambda frame: 6.0 if frame.width == pictures.GLANCE_SIDE else 9.0)
    assert judge.score(encoded(noise(320, 240).transpose(0), "PNG")) == 9.0, (
        "not clearly harmless at first, but at the full size"
    )
    assert views == []
    monkeypatch.setattr(judge, "quick_score", lambda _frame: 11.0)
    assert judge.score(encoded(noise(320, 240).rotate(90), "PNG")) == 60.0, "the mean of three views"
    assert len(views) == 3


@needs_extra
def test_the_copy_sees_what_the_network_sees() -> None:
    from PIL import Image

    skin, rings = Image.new("RGB", (256, 256), (224, 172, 140)), Image.radial_gradient("L").convert("RGB")
    for frame, distance in ((skin, 10), (rings, 20)):
        assert pictures.judge().quick_score(frame) == pytest.approx(pictures.judge().classify(frame), abs=distance)
    blocks = pictures.in_blocks(skin)
    assert blocks[0, 1, 1].tolist() == list(pictures.MEAN) * 4, "the margin"
    assert blocks[0, 2, 2].tolist() == blocks[0, -2, -2].tolist() == [224, 172, 140] * 4
