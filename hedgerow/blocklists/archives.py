"""Lists as publishers offer them (a file, a packed file, an archive or a folder), turned into one text to parse and
keep.

A text made of several files is a bundle: the line `#:: file FORMAT NAME` comes before each file. The bundle is both
parsed and kept, so that line numbers are those of the files.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import json
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from hedgerow.blocklists.decompression import BoundedWriter, UnpackError, open_packed, too_large
from hedgerow.blocklists.formats.v2fly import attributes_of
from hedgerow.blocklists.line_reader import CHUNK_BYTES, MEMBER_HEADER
from hedgerow.blocklists.tar_reader import BLOCK, TarError, is_tar_header, read_members

MAX_UNPACKED_BYTES = 1 << 30
"""Bytes that a list may unpack to: more is a mistake or a bomb."""
MAX_RATIO = 100
"""Bytes unpacked per byte packed, beyond MIN_CHECKED_BYTES: lists reach 10."""
MIN_CHECKED_BYTES = 16 << 20
MAX_FILES = 5000
_DOCUMENT_PREFIXES = ("global_usage", "README", "LICENSE", "CATEGORIES", ".")
"""Beginnings of the names of files that document lists."""

_SQUIDGUARD_FORMATS = {"domains": "plain", "urls": "urls", "expressions": "expressions"}
_INCLUDE = re.compile(r"include:(\S+)(.*)")
_DAMAGE_ERRORS = (
    EOFError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    TarError,
    zipfile.BadZipFile,
    struct.error,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)
_MAX_ZIP_DIRECTORY = 1 << 20
"""Bytes of a zip's directory, which is read whole."""
_MAX_JSON = 32 << 20


@dataclass(slots=True)
class UnpackResult:
    """The outcome of unpacking:

    `problems` with parts of a list, and the number of files `left_out` because they hold no rules, by kind.
    """

    is_allowlist: bool = False
    problems: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, kind: str) -> None:
        self.left_out[kind] = self.left_out.get(kind, 0) + 1


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of a folder or an archive, by its path there. `file` can be read until the next member is asked for."""

    name: str
    file: IO[bytes]


_ReadMembers = Callable[[UnpackResult], Iterator[_Member]]
"""Walks through a folder or an archive, always in the same order, and notes in the result what it leaves out."""


def unpack(path: Path, out: Path, wanted_format: str = "auto", is_allowlist: bool = False) -> UnpackResult:
    """Write the text of the list at `path` to `out`.

    squidGuard's folders for allowing are left out unless the list `is_allowlist`. Raises UnpackError, or OSError if a
    file or the disk fails.
    """
    result = UnpackResult(is_allowlist=is_allowlist)
    with out.open("wb") as file:
        try:
            if path.is_dir():
                _write_bundle(functools.partial(_folder_members, path), BoundedWriter(file, MAX_UNPACKED_BYTES), result)
            elif _has_includes(path, wanted_format):
                _write_includes(path, BoundedWriter(file, MAX_UNPACKED_BYTES), result)
            else:
                limit = min(MAX_UNPACKED_BYTES, max(MIN_CHECKED_BYTES, MAX_RATIO * path.stat().st_size))
                _write_file(path, BoundedWriter(file, limit), result)
        except UnpackError:
            raise
        except (*_DAMAGE_ERRORS, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk failed, not the archive
            raise UnpackError(f"is damaged: {error}" if str(error) else "is damaged") from None
    result.problems = list(dict.fromkeys(result.problems))
    _convert_to_lines(out)
    return result


def files_of(path: Path, wanted_format: str = "auto") -> list[Path]:
    """Return all files that `unpack` would read, sorted: of a folder, or of a list that includes others.

    Raises OSError.
    """
    if path.is_dir():
        return sorted(each for each in path.rglob("*") if each.is_file())
    if _has_includes(path, wanted_format):
        return sorted({file for _name, file, _filters in _walk_includes(path, UnpackResult())})
    return [path]


def content_digest(path: Path, wanted_format: str = "auto") -> str:
    """Return a checksum of everything that `unpack` would read. Raises OSError."""
    files = files_of(path, wanted_format)
    if files == [path]:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest, root = hashlib.sha256(), path if path.is_dir() else path.parent
    for each in files:
        digest.update(f"{each.relative_to(root)}\0{each.is_symlink()}\0".encode() + each.read_bytes())
    return digest.hexdigest()


def _write_file(path: Path, writer: BoundedWriter, result: UnpackResult) -> None:
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK" and zipfile.is_zipfile(path)
    if is_zip:
        _write_bundle(functools.partial(_zip_members, path), writer, result)
        return
    with open_packed(path, writer.limit) as packed:
        block = packed.read(BLOCK)
        if not is_tar_header(block):
            while block:
                writer.write(block)
                block = packed.read(CHUNK_BYTES)
            return
    _write_bundle(functools.partial(_tar_members, path, writer.limit), writer, result)


def _folder_members(folder: Path, result: UnpackResult) -> Iterator[_Member]:
    root = folder.resolve()
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or any(parent.is_symlink() for parent in path.parents if root in parent.parents):
            result.leave_out("aliases")
        elif path.is_file():
            with path.open("rb") as file:
                yield _Member(str(path.relative_to(root)), file)


def _tar_members(path: Path, limit: int, result: UnpackResult) -> Iterator[_Member]:
    with open_packed(path, limit) as archive:
        for count, member in enumerate(read_members(archive)):
            if count >= MAX_FILES:
                raise UnpackError(f"holds more than {MAX_FILES} files")
            if member.file is None:
                result.leave_out("aliases")
            else:
                yield _Member(member.name, member.file)


def _zip_members(path: Path, result: UnpackResult) -> Iterator[_Member]:
    _check_zip_directory(path)
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
        if len(files) > MAX_FILES:
            raise UnpackError(f"holds more than {MAX_FILES} files")
        for info in files:
            if info.external_attr >> 16 & 0o170000 == 0o120000:  # a symbolic link
                result.leave_out("aliases")
            elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # Python unpacks others without a bound
                raise UnpackError("is a zip with another compression than deflate")
            else:
                if not 0 <= info.header_offset < size:
                    raise UnpackError("is damaged: a file of it stands beyond its end")
                with archive.open(info) as file:
                    yield _Member(info.filename, file)


def _check_zip_directory(path: Path) -> None:
    """Raise UnpackError for a zip with a large directory, or with a 64-bit one.

    The directory is found as `zipfile` finds it.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(-min(size, (1 << 16) + 22 + 20), io.SEEK_END)
        tail = file.read()
    end = len(tail) - 22
    if not (tail[end : end + 4] == b"PK\5\6" and tail.endswith(b"\0\0")):
        end = tail.rfind(b"PK\5\6")
    directory_bytes = int.from_bytes(tail[end + 12 : end + 16], "little")
    if end < 0 or directory_bytes > _MAX_ZIP_DIRECTORY or tail[max(0, end - 20) :].startswith(b"PK\6\7"):
        raise UnpackError(f"holds more than {MAX_FILES} files")


def _write_bundle(read: _ReadMembers, writer: BoundedWriter, result: UnpackResult) -> None:
    """Write squidGuard's folders (`domains`, `urls`, `expressions`, and `usage` next to them), or any texts.

    The members are read twice, to choose and to write, so that nothing large is held in memory.
    """
    chosen = _choose_members(read(result), result, writer.limit)
    for number, member in enumerate(read(UnpackResult())):
        if number in chosen:
            writer.write(chosen[number])
            _copy(member.file, writer)


def _choose_members(members: Iterable[_Member], result: UnpackResult, limit: int) -> dict[int, bytes]:
    """Return the numbers of the files that are lists, each with its header line."""
    seen: set[bytes] = set()
    texts, usages, left = dict[int, str](), dict[str, bytes](), limit
    for number, member in enumerate(members):
        folder, _, name = member.name.rpartition("/")
        if name == "usage":
            usages[folder] = member.file.read(CHUNK_BYTES)
        elif name in _SQUIDGUARD_FORMATS or not name.startswith(_DOCUMENT_PREFIXES):
            digest, size = _digest_of_text(name, member.file, left, limit)
            left -= size
            if size and digest in seen:
                result.leave_out("aliases")
            else:
                texts[number] = member.name
            seen.add(digest)
    return _with_headers(texts, usages, result)


def _with_headers(texts: dict[int, str], usages: dict[str, bytes], result: UnpackResult) -> dict[int, bytes]:
    is_squidguard = any(path.rpartition("/")[2] in _SQUIDGUARD_FORMATS for path in texts.values())
    chosen = {}
    for number, path in texts.items():
        folder, _, name = path.rpartition("/")
        if is_squidguard and name not in _SQUIDGUARD_FORMATS:
            result.leave_out("files that are no lists")
        elif not result.is_allowlist and _is_for_allowing(usages.get(folder, b"")):
            result.problems.append(f"{path} is for allowing, by its `usage`: left out")
        else:
            header = f"{MEMBER_HEADER}{_SQUIDGUARD_FORMATS.get(name, 'auto')} {path.replace(chr(10), ' ')}\n"
            chosen[number] = header.encode(errors="replace")
    return chosen if is_squidguard or len(texts) > 1 else dict.fromkeys(chosen, b"")


def _digest_of_text(name: str, file: IO[bytes], left: int, limit: int) -> tuple[bytes, int]:
    """Return the digest of a file with its name, and its size, 0 if it is blank.

    Raises UnpackError for more than `left` bytes.
    """
    digest, size, is_blank = hashlib.sha256(name.encode(errors="replace")), 0, True
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        is_blank = is_blank and not chunk.strip()
        if size > left:
            raise too_large(limit)
    return digest.digest(), 0 if is_blank else size


def _copy(file: IO[bytes], writer: BoundedWriter) -> None:
    """Copy a file without its byte order mark, and end its last line."""
    chunk = file.read(CHUNK_BYTES).removeprefix(b"\xef\xbb\xbf")
    last = b"\n"
    while chunk:
        writer.write(chunk)
        last = chunk[-1:]
        chunk = file.read(CHUNK_BYTES)
    writer.write(b"" if last == b"\n" else b"\n")


def _is_for_allowing(usage: bytes) -> bool:
    words = {line.strip().lower() for line in usage.decode("latin-1").splitlines()}
    return "white" in words and "black" not in words


def _has_includes(path: Path, wanted_format: str) -> bool:
    if wanted_format not in ("auto", "v2fly"):
        return False
    with path.open("rb") as file:
        return any(line.startswith(b"include:") for line in file.read(1 << 16).splitlines())


def _write_includes(path: Path, writer: BoundedWriter, result: UnpackResult) -> None:
    """Write a v2fly file and all files that it includes, each once per filter."""
    for name, file, filters in _walk_includes(path, result):
        writer.write(f"{MEMBER_HEADER}{'@'.join(['v2fly', *sorted(filters)])} {name}\n".encode())
        data = file.read_bytes()
        writer.write(data if data.endswith(b"\n") else data + b"\n")


def _walk_includes(path: Path, result: UnpackResult) -> Iterator[tuple[str, Path, frozenset[str]]]:
    pending, seen = [(path.name, frozenset[str]())], set[tuple[str, frozenset[str]]]()
    while pending:
        name, filters = pending.pop()
        file = path.parent / name
        if (name, filters) in seen or len(seen) > MAX_FILES:
            continue
        seen.add((name, filters))
        if "/" in name or name.startswith(".") or not file.is_file():
            result.problems.append(f"includes {name[:60]}, which is not there")
            continue
        yield name, file, filters
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        includes = filter(None, (_INCLUDE.match(line.strip()) for line in lines))
        pending += [(include[1], filters | attributes_of(include[2])) for include in includes]


def _convert_to_lines(out: Path) -> None:
    """Convert texts in UTF-16 to UTF-8, and ControlD's folders in JSON to lines."""
    with out.open("rb") as file:
        start = file.read(4096)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        utf16 = out.with_name(f"{out.name}.utf-16")
        try:
            out.replace(utf16)
            with utf16.open(encoding="utf-16", errors="replace") as source, out.open("w", encoding="utf-8") as target:
                while text := source.read(CHUNK_BYTES):
                    target.write(text)
        finally:
            utf16.unlink(missing_ok=True)
    elif start.lstrip().startswith(b"{") and b'"group"' in start and out.stat().st_size <= _MAX_JSON:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            out.write_text(_from_controld(json.loads(out.read_bytes())), encoding="utf-8")


def _from_controld(folder: dict[str, list[dict[str, object]]]) -> str:
    """Convert a folder to ad blockers' rules.

    Action 0 blocks, 1 allows; others redirect (https://docs.controld.com/docs/folders).
    """
    lines = ["[Adblock Plus]"]
    for rule in folder["rules"]:
        action, name = rule.get("action"), str(rule["PK"]).removeprefix("*.")
        do = action.get("do") if isinstance(action, dict) and action.get("status", 1) else None
        if isinstance(do, int):
            lines.append({0: f"||{name}^", 1: f"@@||{name}^"}.get(do, f"! not a block: {name}"))
        else:
            lines.append(f"! switched off: {name}")
    return "\n".join(lines) + "\n"
