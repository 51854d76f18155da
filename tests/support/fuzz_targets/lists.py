"""Block lists and their archives."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
import zipfile
from pathlib import Path

from fuzz_targets.target import FuzzTarget, Shape
from hedgerow.blocklists import archives, formats
from hedgerow.blocklists.decompression import UnpackError
from hedgerow.blocklists.names import parse_host


def list_lines(data: bytes) -> None:
    lines = data.decode("utf-8", "replace").splitlines()
    formats.detect(lines)
    for name in (*(known.name for known in formats.FORMATS), "urls", "expressions"):
        known = formats.format_named(name)
        assert known is not None
        parsed = known.parse(lines, 1, "fuzz")
        assert all(parse_host(host) == host for host in parsed.hosts), (name, parsed.hosts)


def list_archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        packed, text = Path(folder, "packed"), Path(folder, "text")
        packed.write_bytes(data)
        archives.unpack(packed, text)
        assert text.stat().st_size <= archives.MIN_CHECKED_BYTES + archives.MAX_RATIO * len(data)


def host_name(data: bytes) -> None:
    host = parse_host(data.decode("utf-8", "replace"))
    assert host is None or parse_host(host) == host


def zip_archive() -> bytes:
    """Return an archive that is an office document and a list."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            '<Types><Default ContentType="application/vnd.ms-word.document.macroEnabled.main+xml"/></Types>',
        )
        archive.writestr("adult/domains", "a.example\n")
    return out.getvalue()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        content = b"a.example\nb.example\n"
        member = tarfile.TarInfo("adult/domains")
        member.size, member.pax_headers = len(content), {"comment": "x" * 50}
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


_LISTS = (
    b"# hosts\n0.0.0.0 a.example\n127.0.0.1 b.example c.example\n",
    (
        b"[Adblock Plus 2.0]\n||a.example^$third-party,domain=b.example\n@@||c.example/x*y|\n/ads[0-9]+/$dnstype=A\n"
        b"||d.example^$dnsrewrite=NOERROR;A;1.2.3.4\n"
    ),
    b"address=/a.example/0.0.0.0\nserver=/b.example/\nlocal=/c.example/\n",
    b'local-zone: "a.example" always_nxdomain\nlocal-data: "b.example A 0.0.0.0"\n',
    (
        b"$TTL 60\n@ SOA localhost. root.localhost. 1 1 1 1 1\na.example CNAME .\n*.b.example CNAME"
        b" .\n32.4.3.2.1.rpz-ip CNAME .\n"
    ),
    b"full:a.example @ads\nregexp:^b[0-9]+\\.example$\nkeyword:casino\ninclude:other\n",
    b"1.2.3.4\n10.0.0.0/8\n2001:db8::/32\n1.1.1.1-1.1.1.9\n",
    b"*.a.example\nb.example\n(^|\\.)c\\.example$\n",
)


TARGETS: dict[str, FuzzTarget] = {
    "list-lines": FuzzTarget(
        list_lines,
        _LISTS,
        grown=(
            Shape(b"a.example", b" ", b"x"),
            Shape(b"127.0.0.1", b" b", b""),
            Shape(b"||", b"*", b"!"),
            Shape(b"", b":", b" !"),
            Shape(b"a", b"$a=", b",!"),
            Shape(b"a", b"(", b""),
            Shape(b"local-data: 'a A", b" ", b"x"),
        ),
    ),
    "list-archive": FuzzTarget(list_archive, (zip_archive(), _tar(), gzip.compress(_LISTS[0])), (UnpackError,)),
    "host-name": FuzzTarget(
        host_name, (b"WWW.b\xc3\xbccher.example.", b"xn--bcher-kva.example", b"[2001:db8::1]", b"192.0.2.1")
    ),
}
