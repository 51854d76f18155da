"""From what a publisher offers to one text that can be parsed and kept: a file, a packed file, an archive or a folder.

A text that was put together of several files is a bundle: a line `#:: file FORMAT NAME` stands before each. It is what is parsed and
what is kept, so that line numbers are those of the files.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import hashlib
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, Protocol

from hedgerow.blocklists.formats.v2fly import attributes_of
from hedgerow.blocklists.line_reader import CHUNK_BYTES, MEMBER_HEADER
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.tar_reader import BLOCK, TarError, is_tar_header, read_members

MAX_UNPACKED_BYTES = 1 << 30
"""Bytes that a list may unpack to: more is a mistake or a bomb."""
MOST_RATIO = 100
"""Bytes unpacked per byte packed: lists come to 10. What is small may unpack to FREE_OF_RATIO all the same."""
FREE_OF_RATIO = 16 << 20
MAX_FILES = 5000
_DOCUMENT_PREFIXES = ("global_usage", "README", "LICENSE", "CATEGORIES", ".")
"""How the names of files about the lists begin."""

_SQUIDGUARD_FORMATS = {"domains": "plain", "urls": "urls", "expressions": "expressions"}
_INCLUDE = re.compile(r"include:(\S+)(.*)")
_DAMAGE_ERRORS = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError)
_XZ_MEMORY = 128 << 20
"""Bytes: `xz -9` needs half of that to unpack."""
_LONGEST_DIRECTORY = 1 << 20
"""Bytes of a zip's directory, which is read whole."""
_LARGEST_JSON = 32 << 20


class UnpackError(ValueError):
    """What the publisher offers cannot be used; `str()` says why."""


@dataclass(slots=True)
class UnpackResult:
    """`problems` is what was wrong with parts of it, `left_out` counts files that are no rules, by kind."""

    to_allow: bool = False
    problems: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, kind: str) -> None:
        self.left_out[kind] = self.left_out.get(kind, 0) + 1


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of a folder or an archive, by its path there; `file` can be read until the next one is asked for."""

    name: str
    file: IO[bytes]


_Members = Callable[[UnpackResult], Iterator[_Member]]
"""Begins to walk through a folder or an archive, always in one order; what is left out is told to the `UnpackResult`."""


class _BoundedWriter:
    """A file that does not grow beyond `most` bytes."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._left, self.most = file, most, most

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise UnpackError(_too_large(self.most))
        self._file.write(data)


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Bounded(io.RawIOBase):
    """A packed file as it unpacks; raises NotUnpacked beyond `most` bytes, those counted that nobody wants."""

    def __init__(self, packed: _Reader, most: int) -> None:
        self._packed, self._left, self._most = packed, most, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._packed.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise UnpackError(_too_large(self._most))
        buffer[: len(data)] = data
        return len(data)


class _XzFile(io.RawIOBase):
    """As `lzma.open`, which has no bound on the dictionary that a file asks for."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._decompressor: lzma.LZMADecompressor | None = None

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        given = b""
        while True:
            if self._decompressor is None or self._decompressor.needs_input:
                given = given or self._file.read(CHUNK_BYTES)
                if not given:
                    if self._decompressor is not None:
                        raise EOFError("the file is cut off")
                    return 0
            if self._decompressor is None:
                given = given.lstrip(b"\0")  # padding between streams
                if not given:
                    continue
                self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            data = self._decompressor.decompress(given, len(buffer))
            given = b""
            if self._decompressor.eof:
                self._file.seek(-len(self._decompressor.unused_data), io.SEEK_CUR)
                self._decompressor = None
            if data:
                buffer[: len(data)] = data
                return len(data)


def _too_large(most: int) -> str:
    return f"unpacks to more than {most >> 20} MB"


def _most_of(path: Path) -> int:
    """The bytes to which a file may unpack."""
    return min(MAX_UNPACKED_BYTES, max(FREE_OF_RATIO, MOST_RATIO * path.stat().st_size))


def unpack(path: Path, out: Path, wanted_format: str = "auto", to_allow: bool = False) -> UnpackResult:
    """Writes the text of the list at `path` to `out`. Folders of squidGuard's that are for allowing are left out unless the list is
    `to_allow`. Raises NotUnpacked, or OSError where a file or the disk fails."""
    unpacked = UnpackResult(to_allow=to_allow)
    with out.open("wb") as file:
        try:
            if path.is_dir():
                _write_bundle(functools.partial(_folder_members, path), _BoundedWriter(file, MAX_UNPACKED_BYTES), unpacked)
            elif _is_to_include(path, wanted_format):
                _write_includes(path, _BoundedWriter(file, MAX_UNPACKED_BYTES), unpacked)
            else:
                _write_file(path, _BoundedWriter(file, _most_of(path)), unpacked)
        except (*_DAMAGE_ERRORS, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk, not the archive
            raise UnpackError(f"is damaged: {error}" if str(error) else "is damaged") from None
    unpacked.problems = list(dict.fromkeys(unpacked.problems))
    _convert_encoding(out)
    return unpacked


def files_of(path: Path, wanted_format: str = "auto") -> list[Path]:
    """All files that `unpack` would read, sorted: of a folder, or of a list that includes others. Raises OSError."""
    if path.is_dir():
        return sorted(each for each in path.rglob("*") if each.is_file())
    return sorted(_included(path)) if _is_to_include(path, wanted_format) else [path]


def content_digest(path: Path, wanted_format: str = "auto") -> str:
    """A checksum of all that `unpack` would read; raises OSError."""
    files = files_of(path, wanted_format)
    if files != [path]:
        return _digest_of(files, path if path.is_dir() else path.parent)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(paths: Iterable[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(root)}\0{path.is_symlink()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _write_file(path: Path, writer: _BoundedWriter, unpacked: UnpackResult) -> None:
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PK") and zipfile.is_zipfile(path):
        _write_bundle(functools.partial(_zip_members, path), writer, unpacked)
        return
    with _open_packed(path, start, writer.most) as packed:
        block = packed.read(BLOCK)
        if not is_tar_header(block):
            while block:
                writer.write(block)
                block = packed.read(CHUNK_BYTES)
            return
    _write_bundle(functools.partial(_tar_members, path, start, writer.most), writer, unpacked)


@contextlib.contextmanager
def _open_packed(path: Path, start: bytes, most: int) -> Iterator[IO[bytes]]:
    """The file as it unpacks, as far as `most` bytes."""
    with contextlib.ExitStack() as stack:
        packed: _Reader
        if start.startswith(b"\x1f\x8b"):
            packed = stack.enter_context(gzip.open(path))
        elif start.startswith(b"\xfd7zXZ\0"):
            packed = io.BufferedReader(stack.enter_context(_XzFile(path)), CHUNK_BYTES)
        elif start.startswith(b"BZh"):
            packed = stack.enter_context(bz2.open(path))
        else:
            packed = stack.enter_context(path.open("rb"))
        yield io.BufferedReader(_Bounded(packed, most), CHUNK_BYTES)


def _folder_members(folder: Path, unpacked: UnpackResult) -> Iterator[_Member]:
    root = folder.resolve()
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or any(parent.is_symlink() for parent in path.parents if root in parent.parents):
            unpacked.leave_out("aliases")
        elif path.is_file():
            with path.open("rb") as file:
                yield _Member(str(path.relative_to(root)), file)


def _tar_members(path: Path, start: bytes, most: int, unpacked: UnpackResult) -> Iterator[_Member]:
    with _open_packed(path, start, most) as archive:
        for count, member in enumerate(read_members(archive)):
            if count >= MAX_FILES:
                raise UnpackError(f"holds more than {MAX_FILES} files")
            if member.file is None:
                unpacked.leave_out("aliases")
            else:
                yield _Member(member.name, member.file)


def _zip_members(path: Path, unpacked: UnpackResult) -> Iterator[_Member]:
    _require_small_directory(path)
    with zipfile.ZipFile(path) as archive:
        names = [info for info in archive.infolist() if not info.is_dir()]
        if len(names) > MAX_FILES:
            raise UnpackError(f"holds more than {MAX_FILES} files")
        for info in names:
            if info.external_attr >> 16 & 0o170000 == 0o120000:
                unpacked.leave_out("aliases")
            elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise UnpackError("is a zip with another compression than deflate")  # which Python unpacks without a bound
            else:
                with archive.open(info) as file:
                    yield _Member(info.filename, file)


def _require_small_directory(path: Path) -> None:
    """Raises NotUnpacked for a zip whose directory is large, or says so in a 64-bit record. It is found as `zipfile` does."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(-min(size, (1 << 16) + 22 + 20), io.SEEK_END)
        tail = file.read()
    end = len(tail) - 22
    if not (tail[end : end + 4] == b"PK\5\6" and tail.endswith(b"\0\0")):
        end = tail.rfind(b"PK\5\6")
    if (
        end < 0
        or int.from_bytes(tail[end + 12 : end + 16], "little") > _LONGEST_DIRECTORY
        or tail[max(0, end - 20) :].startswith(b"PK\6\7")
    ):
        raise UnpackError(f"holds more than {MAX_FILES} files")


def _write_bundle(members: _Members, writer: _BoundedWriter, unpacked: UnpackResult) -> None:
    """squidGuard's folders (`domains`, `urls`, `expressions`, beside them `usage`), or any texts, each read by its own content.

    It is walked through twice, to choose and to write, so that nothing large is held in memory.
    """
    chosen = _choose_members(members(unpacked), unpacked, writer.most)
    for number, member in enumerate(members(UnpackResult())):
        if number in chosen:
            writer.write(chosen[number])
            _copy(member.file, writer)


def _choose_members(members: Iterable[_Member], unpacked: UnpackResult, most: int) -> dict[int, bytes]:
    """The numbers of the files that are lists, each with the line that stands before it."""
    seen: set[bytes] = set()
    texts, usages, left = dict[int, str](), dict[str, bytes](), most
    for number, member in enumerate(members):
        folder, _, name = member.name.rpartition("/")
        if name == "usage":
            usages[folder] = member.file.read(CHUNK_BYTES)
        elif name in _SQUIDGUARD_FORMATS or not name.startswith(_DOCUMENT_PREFIXES):
            digest, size = _digest_of_text(name, member.file, left, most)
            left -= size
            if size and digest in seen:
                unpacked.leave_out("aliases")
            else:
                texts[number] = member.name
            seen.add(digest)
    return _with_marks(texts, usages, unpacked)


def _with_marks(texts: dict[int, str], usages: dict[str, bytes], unpacked: UnpackResult) -> dict[int, bytes]:
    is_squidguard = any(path.rpartition("/")[2] in _SQUIDGUARD_FORMATS for path in texts.values())
    chosen = {}
    for number, path in texts.items():
        folder, _, name = path.rpartition("/")
        if is_squidguard and name not in _SQUIDGUARD_FORMATS:
            unpacked.leave_out("files that are no lists")
        elif not unpacked.to_allow and _is_allowlist(usages.get(folder, b"")):
            unpacked.problems.append(f"{path} is for allowing, by its `usage`: left out")
        else:
            chosen[number] = f"{MEMBER_HEADER}{_SQUIDGUARD_FORMATS.get(name, 'auto')} {path.replace(chr(10), ' ')}\n".encode(
                errors="replace"
            )
    return chosen if is_squidguard or len(texts) > 1 else dict.fromkeys(chosen, b"")


def _digest_of_text(name: str, file: IO[bytes], left: int, most: int) -> tuple[bytes, int]:
    """The digest of a file with its name, and its size, 0 if it is blank. Raises NotUnpacked if it has more than `left` bytes."""
    digest, size, is_blank = hashlib.sha256(name.encode(errors="replace")), 0, True
    while block := file.read(CHUNK_BYTES):
        digest.update(block)
        size += len(block)
        is_blank = is_blank and not block.strip()
        if size > left:
            raise UnpackError(_too_large(most))
    return digest.digest(), 0 if is_blank else size


def _copy(file: IO[bytes], writer: _BoundedWriter) -> None:
    """Without a byte order mark, and with an end to its last line."""
    block = file.read(CHUNK_BYTES).removeprefix(b"\xef\xbb\xbf")
    last = b"\n"
    while block:
        writer.write(block)
        last = block[-1:]
        block = file.read(CHUNK_BYTES)
    writer.write(b"" if last == b"\n" else b"\n")


def _is_allowlist(usage: bytes) -> bool:
    words = {line.strip().lower() for line in usage.decode("latin-1").splitlines()}
    return "white" in words and "black" not in words


def _is_to_include(path: Path, wanted_format: str) -> bool:
    if wanted_format not in ("auto", "v2fly"):
        return False
    with path.open("rb") as file:
        return any(line.startswith(b"include:") for line in file.read(1 << 16).splitlines())


def _write_includes(path: Path, writer: _BoundedWriter, unpacked: UnpackResult) -> None:
    """A v2fly file and all it includes, each once for each filter."""
    for name, file, filters in _walk_includes(path, unpacked):
        form = "@".join(["v2fly", *sorted(filters)])
        writer.write(f"{MEMBER_HEADER}{form} {name}\n".encode())
        data = file.read_bytes()
        writer.write(data if data.endswith(b"\n") else data + b"\n")


def _included(path: Path) -> set[Path]:
    return {file for _name, file, _filters in _walk_includes(path, UnpackResult())}


def _walk_includes(path: Path, unpacked: UnpackResult) -> Iterator[tuple[str, Path, frozenset[str]]]:
    waiting, seen = [(path.name, frozenset[str]())], set[tuple[str, frozenset[str]]]()
    while waiting:
        name, filters = waiting.pop()
        file = path.parent / name
        if (name, filters) in seen or len(seen) > MAX_FILES:
            continue
        seen.add((name, filters))
        if "/" in name or name.startswith(".") or not file.is_file():
            unpacked.problems.append(f"includes {name[:60]}, which is not there")
            continue
        yield name, file, filters
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        found = filter(None, (_INCLUDE.match(line.strip()) for line in lines))
        waiting += [(include[1], filters | attributes_of(include[2])) for include in found]


def _convert_encoding(out: Path) -> None:
    """What is no list of lines becomes one: ControlD's folders in JSON, and texts in UTF-16."""
    with out.open("rb") as file:
        start = file.read(4096)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        wide = out.with_name(f"{out.name}.utf-16")
        try:
            out.replace(wide)
            with wide.open(encoding="utf-16", errors="replace") as read, out.open("w", encoding="utf-8") as write:
                while text := read.read(CHUNK_BYTES):
                    write.write(text)
        finally:
            wide.unlink(missing_ok=True)
    elif start.lstrip().startswith(b"{") and b'"group"' in start and out.stat().st_size <= _LARGEST_JSON:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            out.write_text(_from_controld(json.loads(out.read_bytes())), encoding="utf-8")


def _from_controld(folder: dict[str, list[dict[str, object]]]) -> str:
    """Source: https://docs.controld.com/docs/folders. An action of 0 blocks, of 1 allows; others send the name elsewhere."""
    lines = ["[Adblock Plus]"]
    for rule in folder["rules"]:
        action = rule.get("action")
        do = action.get("do") if isinstance(action, dict) and action.get("status", 1) else None
        name = str(rule["PK"]).removeprefix("*.")
        lines.append(
            {0: f"||{name}^", 1: f"@@||{name}^"}.get(do, f"! not a block: {name}") if isinstance(do, int) else f"! switched off: {name}"
        )
    return "\n".join(lines) + "\n"


def problems_of(unpacked: UnpackResult, source: str) -> list[Problem]:
    return [Problem(source, None, None, problem) for problem in unpacked.problems]
