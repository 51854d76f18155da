"""Unpacking of files, packed files, archives and folders."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.blocklists import archives
from hedgerow.blocklists.archives import unpack
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import CompileReport, compile_generation
from hedgerow.blocklists.decompression import UnpackError
from hedgerow.blocklists.rule_locator import locate
from hedgerow.blocklists.rules import Origin
from hedgerow.blocklists.sources import Source

TEXT = b"# a list\na.example\nwww.b.example\n"


TAR_HEADER = tarfile.TarInfo("a").tobuf()


def pack(folder: Path, name: str) -> Path:
    path = folder / name
    match name.rpartition(".")[2]:
        case "gz":
            path.write_bytes(gzip.compress(TEXT))
        case "xz":
            path.write_bytes(lzma.compress(TEXT))
        case "bz2":
            path.write_bytes(bz2.compress(TEXT))
        case "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("list.txt", TEXT)
        case "tar" | "tgz":
            with tarfile.open(path, "w:gz" if name.endswith("tgz") else "w") as archive:
                info = tarfile.TarInfo("list.txt")
                info.size = len(TEXT)
                archive.addfile(info, io.BytesIO(TEXT))
        case "utf16":
            path.write_bytes(TEXT.decode().encode("utf-16"))
        case "bom":
            path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace(b"\n", b"\r\n"))
        case _:
            path.write_bytes(TEXT)
    return path


def compiled(folder: Path, path: Path, category: str = "adult", form: str = "auto") -> tuple[Catalogue, CompileReport]:
    report = compile_generation([Source("list", category, path, format=form)], folder / "generation")
    return Catalogue.open(folder / "generation"), report


@pytest.mark.parametrize("name", ["plain.txt", "a.gz", "a.xz", "a.bz2", "a.zip", "a.tar", "a.tgz", "a.utf16", "a.bom"])
def test_all_packings_give_the_same_list(tmp_path: Path, name: str) -> None:
    catalogue, report = compiled(tmp_path, pack(tmp_path, name))
    assert (report.domains, report.problems) == (2, ())
    assert locate(catalogue, "x.www.b.example", "adult") == Origin("list", 3, "www.b.example")


@pytest.mark.parametrize("name", ["a.gz", "a.xz", "a.bz2", "a.zip", "a.tgz"])
def test_truncated_archives_are_damaged(tmp_path: Path, name: str) -> None:
    path = pack(tmp_path, name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, report = compiled(tmp_path, path)
    assert report.domains == 0
    assert report.problems != ()


@pytest.mark.parametrize("name", ["a.gz", "a.xz", "a.bz2", "a.zip", "a.tgz"])
def test_bombs_are_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 20)
    with pytest.raises(UnpackError, match="unpacks to more"):
        unpack(pack(tmp_path, name), tmp_path / "out")


def peak_memory(work: Callable[[], object]) -> int:
    """Return the peak of the memory that Python allocates during `work`, in bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


MUCH = 48 << 20


def header_bomb(kind: bytes) -> bytes:
    """Return a tar with a valid list, whose first extended header is long."""
    info = tarfile.TarInfo("list.txt")
    info.size = len(TEXT)
    first = tarfile.TarInfo("header")
    first.type, first.size = kind, MUCH
    data = f"{MUCH} comment=".encode() if kind in (tarfile.XHDTYPE, tarfile.XGLTYPE) else b"a"
    body = data + b"a" * (MUCH - len(data) - 1) + b"\n"
    return (
        first.tobuf(tarfile.USTAR_FORMAT)
        + body
        + info.tobuf(tarfile.USTAR_FORMAT)
        + TEXT.ljust(512, b"\0")
        + bytes(1024)
    )


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_long_tar_headers_are_not_read(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "list.tgz").write_bytes(gzip.compress(header_bomb(kind), 1))

    def refuse() -> None:
        with pytest.raises(UnpackError, match=r"is damaged: a header of \d+ bytes"):
            unpack(tmp_path / "list.tgz", tmp_path / "out")

    assert peak_memory(refuse) < MUCH // 8


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_all_tar_formats_are_read(tmp_path: Path, form: int) -> None:
    """Long names, other alphabets, folders and links, as `tarfile` writes them."""
    long = "/".join(["folder"] * 20) + "/domains"
    with tarfile.open(tmp_path / "list.tar", "w", format=form) as archive:
        for name, text in ((long, TEXT), ("café/domains", b"c.example\n"), ("README", b"about")):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
        folder, link = tarfile.TarInfo("folder"), tarfile.TarInfo("porn")
        folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "folder"
        archive.addfile(folder)
        archive.addfile(link)
    unpacked = unpack(tmp_path / "list.tar", tmp_path / "out")
    written = (tmp_path / "out").read_text()
    assert all(f"#:: file plain {name}\n" in written for name in (long, "café/domains"))
    assert written.count(".example\n") == 3
    assert unpacked.left_out["aliases"] == 1


@pytest.mark.parametrize("name", ["gz", "xz", "bz2", "zip", "tgz"])
def test_high_compression_ratios_are_refused(tmp_path: Path, name: str) -> None:
    """This includes members that would be left out, and takes little memory."""
    data, path = b"bomb.example\n" * (MUCH // 13), tmp_path / f"list.{name}"
    match name:
        case "bz2":
            path.write_bytes(bz2.compress(bytes(MUCH)))  # which takes a tenth of the time for lines
        case "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("list.txt", data)
        case "tgz":
            info = tarfile.TarInfo("README")
            info.size = len(data)
            path.write_bytes(gzip.compress(info.tobuf() + data + bytes(-len(data) % 512) + bytes(1024), 6))
        case _:
            packers: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "xz": lzma.compress}
            path.write_bytes(packers[name](data))

    def refuse() -> None:
        with pytest.raises(UnpackError, match="unpacks to more than 16 MB"):
            unpack(path, tmp_path / "out")

    assert peak_memory(refuse) < MUCH // 4


def test_large_xz_dictionaries_are_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 192 << 20}]
    (tmp_path / "list.xz").write_bytes(lzma.compress(TEXT, filters=filters))
    with pytest.raises(UnpackError, match="emory usage limit"):
        unpack(tmp_path / "list.xz", tmp_path / "out")


def test_concatenated_streams_are_one_list(tmp_path: Path) -> None:
    for name, compress in (("a.xz", lzma.compress), ("a.gz", gzip.compress), ("a.bz2", bz2.compress)):
        (tmp_path / name).write_bytes(compress(TEXT) + compress(b"c.example\n"))
        unpack(tmp_path / name, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == TEXT + b"c.example\n"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_zip_compression_is_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "list.zip", "w", method) as archive:
        archive.writestr("list.txt", TEXT)
    with pytest.raises(UnpackError, match="another compression"):
        unpack(tmp_path / "list.zip", tmp_path / "out")


def test_huge_zip_directories_are_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "list.zip", "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}.txt", "")

    def refuse() -> None:
        with pytest.raises(UnpackError, match="more than 5000 files"):
            unpack(tmp_path / "list.zip", tmp_path / "out")

    assert peak_memory(refuse) < 1 << 20


def test_the_size_limit_applies_to_all_files_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 100)
    with zipfile.ZipFile(tmp_path / "list.zip", "w") as archive:
        for number in range(9):
            archive.writestr(f"{number}.txt", f"{number}.a.example\n")
    with pytest.raises(UnpackError, match="unpacks to more"):
        unpack(tmp_path / "list.zip", tmp_path / "out")


def squidguard(folder: Path) -> Path:
    """Make a folder like UT1's, with an alias, an exact copy, an allowing category and expressions."""
    root = folder / "blacklists"
    for name, domains, usage in (("adult", "a.example\n", "black\n"), ("kids", "kids.example\n", "white\n")):
        (root / name).mkdir(parents=True)
        (root / name / "domains").write_text(domains)
        (root / name / "urls").write_text(f"host.example/{name}\n")
        (root / name / "usage").write_text(usage)
    (root / "adult" / "expressions").write_text("(^|/)xxx[0-9]+\\.html$\n")
    (root / "porn").symlink_to("adult")
    (root / "adult" / "very_restrictive_expression").write_text("sex\n")
    (root / "global_usage").write_text("NAME: adult\n")
    return root


def test_a_squidguard_folder(tmp_path: Path) -> None:
    catalogue, report = compiled(tmp_path, squidguard(tmp_path))
    (reported,) = report.sources
    assert (reported.format, reported.names, reported.url_rules, reported.ignored) == (
        "squidguard",
        1,
        2,
        {"aliases": 1, "files that are no lists": 1},
    )
    assert {problem.message for problem in report.problems} == {
        "kids/domains is for allowing, by its `usage`: left out",
        "kids/urls is for allowing, by its `usage`: left out",
    }
    assert locate(catalogue, "www.a.example", "adult") == Origin("list: adult/domains", 1, "a.example")
    found = catalogue.match_url("http://host.example/adult/1")
    assert found is not None
    assert found.origin == Origin("list: adult/urls", 1, "host.example/adult")
    found = catalogue.match_url("http://any.example/xxx12.html")
    assert found is not None
    assert found.origin.source == "list: adult/expressions"
    assert catalogue.match_url("http://host.example/kids") is None


def test_a_squidguard_archive_counts_aliases_once(tmp_path: Path) -> None:
    root = squidguard(tmp_path)
    with tarfile.open(tmp_path / "blacklists.tar.gz", "w:gz") as archive:
        archive.add(root, "blacklists")
    _, report = compiled(tmp_path, tmp_path / "blacklists.tar.gz")
    reported = report.sources[0]
    assert (reported.names, reported.url_rules, reported.ignored) == (
        1,
        2,
        {"aliases": 1, "files that are no lists": 1},
    )


def test_good_categories_take_allowlists(tmp_path: Path) -> None:
    catalogue, report = compiled(tmp_path, squidguard(tmp_path) / "kids", "kids")
    assert report.problems == ()
    assert catalogue.names_of(catalogue.host_mask("kids.example")) == ("kids",)


def test_v2fly_includes(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("include:a @ads\ninclude:b @-cn\ninclude:missing\ninclude:../passwd\nroot.example\n")
    (tmp_path / "a").write_text("include:root\na-ads.example @ads\na.example\n")
    (tmp_path / "b").write_text("b.example\nb-cn.example @cn\nfull:exact.example\n")
    catalogue, report = compiled(tmp_path, tmp_path / "root", "social")
    known = [
        host
        for host in ("root", "a-ads", "a", "b", "b-cn", "exact", "www.exact")
        if catalogue.host_mask(f"{host}.example")
    ]
    assert known == ["root", "a-ads", "b", "exact"]
    assert [problem.message for problem in report.problems] == [
        "includes ../passwd, which is not there",
        "includes missing, which is not there",
    ]
    assert locate(catalogue, "a-ads.example", "social") == Origin("list: a", 2, "a-ads.example @ads")


def test_controld(tmp_path: Path) -> None:
    (tmp_path / "folder.json").write_text(
        '{"group": {"group": "x"}, "rules": [{"PK": "a.example", "action": {"do": 0, "status": 1}},{"PK":'
        ' "*.good.a.example", "action": {"do": 1, "status": 1}}, {"PK": "off.example", "action": {"do": 0, "status":'
        " 0}}]}"
    )
    catalogue, report = compiled(tmp_path, tmp_path / "folder.json")
    assert report.problems == ()
    assert [bool(catalogue.host_mask(host)) for host in ("a.example", "good.a.example", "off.example")] == [
        True,
        False,
        False,
    ]


@settings(max_examples=60)
@given(
    start=st.sampled_from(
        [b"", b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh9", b"PK\x03\x04", b"\xff\xfe", b'{"group"', b"include:x\n", TAR_HEADER]
    ),
    rest=st.binary(max_size=200),
)
def test_any_file_unpacks_or_is_damaged(tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes) -> None:
    folder = tmp_path_factory.mktemp("unpack")
    (folder / "list").write_bytes(start + rest)
    with contextlib.suppress(UnpackError):
        unpack(folder / "list", folder / "out")
