"""Parsed lists on disk: what a source was parsed to is kept under the checksum of all that it depends on, and used again.

An entry is a folder: the list's text as it was parsed, its runs of keys, its URL rules, `intake.json` and the checksums of these
but the text. It is written beside its place and renamed into it, so an entry is whole or not there; one that was damaged is made anew.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import publicsuffixlist

from hedgerow.blocklists.categories import is_good
from hedgerow.blocklists.checksums import is_whole, write_checksums
from hedgerow.blocklists.generation import Part
from hedgerow.blocklists.intake import KEPT_PROBLEMS, Intake, Run, take_in
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.sources import Source
from hedgerow.blocklists.unpack import NotUnpacked, Unpacked, content_digest, problems_of, unpack

TEXT = "text"
_INTAKE = "intake.json"
_HALF = "half-"


class ParsedLists:
    """The folder of parsed lists. One process at a time may write into it. `kept` problems of a list are reported in full."""

    def __init__(self, folder: Path, kept: int = KEPT_PROBLEMS) -> None:
        self.folder, self._kept = folder, kept

    def take_in(self, source: Source) -> tuple[str, Intake]:
        """Parses the list of `source`, unless that was done before. Returns the entry's name and what was taken in.

        A list that cannot be read gives an empty name and an intake with that problem. Raises OSError where this folder
        cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            if source.path is None:
                raise FileNotFoundError(2, "not downloaded yet")
            name = _name(source, content_digest(source.path, source.format))
            if (known := self._load(name, source.name)) is not None:
                return name, known
        except OSError as error:
            intake = Intake()
            intake.report([Problem(source.name, None, None, f"cannot be read: {error.strerror}", str(source.path or source.url))])
            return "", intake
        half = Path(tempfile.mkdtemp(prefix=_HALF, dir=self.folder))
        try:
            return self._parse(source, source.path, half)
        finally:
            shutil.rmtree(half, ignore_errors=True)

    def text_of(self, name: str) -> Path:
        """The text that the entry `name` was parsed from."""
        return self.folder / name / TEXT

    def prune(self, keep: Iterable[str]) -> None:
        """Throws away all entries but these, and what was left by a process that was killed."""
        kept = set(keep)
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _parse(self, source: Source, path: Path, half: Path) -> tuple[str, Intake]:
        # What is parsed is what is kept, whatever happens to the file meanwhile: it is named after what it was before and after.
        before = content_digest(path, source.format)
        unpacked = _unpack(source, path, half / TEXT)
        after = content_digest(path, source.format)
        name = _name(source, before if before == after else f"{before} {after}")
        # Why nothing could be unpacked, or all was left out, says more than that nothing is there.
        is_refused = unpacked.problems and not (half / TEXT).stat().st_size
        intake = Intake() if is_refused else take_in(half / TEXT, source.name, source.category, source.format, half, self._kept)
        intake.report(problems_of(unpacked, source.name))
        intake.ignored.update(unpacked.left_out)
        (half / _INTAKE).write_text(json.dumps(_plain(intake), ensure_ascii=False), encoding="utf-8")
        write_checksums(half, leave_out=[TEXT])
        flush_folder(half)
        place = self.folder / name
        if place.exists():  # another copy of the same list, or a damaged entry
            shutil.rmtree(place)
        half.rename(place)
        for run in intake.runs:
            run.path = place / run.path.name
        return name, intake

    def _load(self, name: str, source: str) -> Intake | None:
        """The entry, its problems under the name of `source`; None if there is none or it is damaged."""
        place = self.folder / name
        if not is_whole(place):
            return None
        try:
            data = json.loads((place / _INTAKE).read_text(encoding="utf-8"))
            runs = [Run(Part(part), place / file, size) for part, file, size in data.pop("runs")]
            problems = [replace(Problem(**problem), source=source) for problem in data.pop("problems")]
            counts, ignored = Counter(data.pop("problem_counts")), Counter(data.pop("ignored"))
            return Intake(runs=runs, problems=problems, problem_counts=counts, ignored=ignored, **data)
        except (OSError, ValueError, TypeError, KeyError):
            return None


def _unpack(source: Source, path: Path, text: Path) -> Unpacked:
    try:
        return unpack(path, text, source.format, is_good(source.category))
    except NotUnpacked as reason:
        text.write_bytes(b"")
        return Unpacked(problems=[str(reason)])


def _plain(intake: Intake) -> dict[str, Any]:
    # Not asdict: it takes a Counter for a mapping that is built from pairs.
    data: dict[str, Any] = {field.name: getattr(intake, field.name) for field in fields(intake)}
    problems = [asdict(problem) for problem in intake.problems]
    return {**data, "problems": problems, "runs": [(run.part, run.path.name, run.size) for run in intake.runs]}


def name_of(source: Source) -> str:
    """The name of the entry that the list of `source` is parsed to; empty if the list cannot be read."""
    try:
        return _name(source, content_digest(source.path, source.format)) if source.path else ""
    except OSError:
        return ""


def _name(source: Source, digest: str) -> str:
    # The category is in it because it decides which suffixes are refused.
    return hashlib.sha256(repr((digest, source.format, source.category, engine())).encode()).hexdigest()[:32]


@functools.cache
def engine() -> str:
    """Names the list engine: its code, its data and the public suffixes. Another engine may parse the same list to something else."""
    digest = hashlib.sha256(Path(publicsuffixlist.PSLFILE).read_bytes())
    here = Path(__file__).parent
    for path in sorted((*here.rglob("*.py"), *here.glob("data/*.yaml"))):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def flush_folder(folder: Path) -> None:
    """On the disk before the rename, so that a power cut cannot leave a folder with holes at its place."""
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def link_or_copy(path: Path, to: Path) -> None:
    """A second name for a file that nobody changes, where the file system has such; raises OSError."""
    with contextlib.suppress(OSError):
        os.link(path, to)
        return
    shutil.copyfile(path, to)
