"""The way to a PostgreSQL server: its certificate, and PgBouncer in between."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from lab.spaces import connect, spaces
from postgres_server import PostgresServer, binaries, running_server
from small_internet.running import wait_until

from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.batch import Batch
from hedgerow.journal.database import describe_journal, open_journal
from hedgerow.journal.personal_data import DataSubject, PersonalDataStore
from hedgerow.journal.reader import DecisionFilter, JournalReader
from hedgerow.journal.store import StoreAddress, UnreachableStoreError
from hedgerow.policies.model import DeviceId, Grant, Observation, Reason, RequestKind, Verdict

NOW = 1_780_000_000.0


def write_certificate(folder: Path, name: str) -> Path:
    """Write a certificate for a name, signed by itself, and its key, for a server in `folder`.

    Returns the certificate's path.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    valid = (now - timedelta(1), now + timedelta(1))
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), *valid)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    (folder / "server.crt").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.key").write_bytes(key.private_bytes(*private))
    (folder / "server.key").chmod(0o600)
    owner = folder.stat()
    for file in ("server.crt", "server.key"):
        shutil.chown(folder / file, owner.st_uid, owner.st_gid)
    return folder / "server.crt"


def test_the_certificate_must_be_valid_and_for_the_name(tmp_path: Path) -> None:
    with running_server() as server:
        authority = tmp_path / "ca.pem"
        shutil.copy(write_certificate(server.folder / "data", "db.example"), authority)
        server.execute("ALTER SYSTEM SET ssl = on")
        server.execute("SELECT pg_reload_conf()")
        database = server.database()

        def address(host: str, query: str = "") -> StoreAddress:
            return StoreAddress(f"postgresql://hedgerow@{host}:{server.port}/{database}?hostaddr=127.0.0.1{query}")

        facts = describe_journal(address("db.example", f"&sslrootcert={authority}"))
        assert str(facts["tls"]).startswith("TLS")
        with pytest.raises(UnreachableStoreError, match=r"write the name of the certificate into the URL"):
            open_journal(address("other.example", f"&sslrootcert={authority}"))
        with pytest.raises(UnreachableStoreError, match=r"sslrootcert=/etc/hedgerow"):
            open_journal(address("db.example"))


@pytest.fixture
def pooled(postgres: PostgresServer, tmp_path: Path) -> Iterator[StoreAddress]:
    """An empty journal behind PgBouncer, which gives each transaction any of two connections."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("needs PgBouncer (Debian's package pgbouncer)")
    database = postgres.database()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = postgres.folder / f"pooler-{database}"
    folder.mkdir(mode=0o755)
    (folder / "users").write_text('"hedgerow" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{database} = host=127.0.0.1"
        f" port={postgres.port}\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\n"
        f"unix_socket_dir=\nauth_type=trust\nauth_file={folder}/users\npool_mode=transaction\n"
        f"default_pool_size=2\nmax_client_conn=50\n"
        "server_round_robin=1\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, folder / "pgbouncer.ini"], stdout=log, stderr=log, user=postgres.user)
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as trying:
                if trying.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)  # nothing tells that it listens
        yield StoreAddress(f"postgresql://hedgerow@127.0.0.1:{port}/{database}")
    finally:
        process.terminate()
        process.wait()
        postgres.drop(database)


def test_everything_works_through_a_pooler(pooled: StoreAddress) -> None:
    tablet = DeviceId("tablet")
    with closing(open_journal(pooled)) as store:
        block = (RequestKind.DNS, Verdict.BLOCK, Reason.CATEGORY, "adult")
        for number in range(1, 21):  # more often than psycopg and libpq wait before they would prepare a statement
            batch = [
                Observation(NOW + number, tablet, "mia", "child-8-12", *block, f"{each}.{number}.example")
                for each in range(50)
            ]
            assert Batch(batch, writer="control", number=number).write(store) == 50
        reader = JournalReader(store)
        assert len(reader.decisions(DecisionFilter(host="7.example"), limit=1000).rows) == 50
        GrantStore(store, clock=lambda: NOW).give(Grant("g", "chess.example", "ana", NOW, None, tablet))
        assert [grant.id for grant in reader.grants(NOW)] == ["g"]
        personal = PersonalDataStore(store, clock=lambda: NOW)
        mia = DataSubject("mia", frozenset({"tablet"}))
        assert len([row for piece in personal.pieces(mia) for row in piece if row["kept"] == "decisions"]) == 1000
        assert personal.erase(mia, NOW, frozenset()).rows["decisions"] == 1000


_VANISHING = """
import sys, time
from hedgerow.journal.database import open_journal
from hedgerow.journal.store import StoreAddress
from hedgerow.journal.tables import pauses
store = open_journal(StoreAddress(sys.argv[1]))
with store.begin() as connection:
    connection.execute(store.insert(pauses).values(id="p", actor="ana", note="", starts=0))
    print("ready", flush=True)
    time.sleep(300)
"""


@pytest.mark.root
def test_a_node_that_vanishes_in_a_transaction_keeps_no_locks(tmp_path: Path) -> None:
    programs = binaries()
    if programs is None or shutil.which("nft", path="/usr/sbin") is None or shutil.which("ip") is None:
        pytest.skip("needs PostgreSQL, nft and ip")
    folder = Path(tempfile.mkdtemp(prefix="hedgerow-pg-"))
    with spaces("db", "node") as (there, node):
        connect(there, "eth0", node, "eth0")
        there.ip("address", "add", "192.168.51.1/24", "dev", "eth0")
        node.ip("address", "add", "192.168.51.2/24", "dev", "eth0")
        server = PostgresServer(folder, programs, {"listen_addresses": "*"}, space=there.name)
        try:
            server.create()
            with (folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write("host all hedgerow 192.168.51.0/24 trust\n")
            server.start()
            server.execute("CREATE ROLE hedgerow LOGIN")
            url = f"postgresql://hedgerow@192.168.51.1:{server.port}/{server.database()}?sslmode=disable"
            vanishing = node.start(sys.executable, "-P", "-c", _VANISHING, url)
            assert vanishing.stdout
            assert vanishing.stdout.readline() == "ready\n"
            sessions = "SELECT 1 FROM pg_stat_activity WHERE usename = 'hedgerow'"
            assert server.execute(sessions)
            drop = "type filter hook {} priority 0; drop;"
            cut = (
                f"table inet cut {{\nchain in {{ {drop.format('input')} }}\nchain out {{ {drop.format('output')}"
                " }\n}\n"
            )
            assert node.run("nft", "-f", "-", text=cut).returncode == 0
            wait_until(lambda: not server.execute(sessions), 60, "its session ends")
        finally:
            server.stop(signal.SIGINT)
            shutil.rmtree(folder)
