"""The settings of a run: addresses, directories and counts, fixed by `hedgerow up` and read by every process."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import logging
import os
import shutil
import socket
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hedgerow import port_binder
from hedgerow.codec import decode, encode
from hedgerow.files import error_text, write_atomically
from hedgerow.policies.text.addresses import DEFAULT_SITE

_LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
WILDCARD_HOSTS = tuple(_LOOPBACKS)
"""Hosts that mean every address of this machine. `::` takes no IPv4: each socket is of one family."""
log = logging.getLogger("hedgerow.supervisor")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port to listen on; port 0 asks for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_everywhere(self) -> bool:
        """True if it stands for every address of this machine."""
        return self.host in WILDCARD_HOSTS

    @property
    def from_here(self) -> Endpoint:
        """The address by which programs on this machine reach this endpoint.

        >>> str(Endpoint("0.0.0.0", 8053).from_here), str(Endpoint("::", 8053).from_here)
        ('127.0.0.1:8053', '[::1]:8053')
        """
        return Endpoint(_LOOPBACKS.get(self.host, self.host), self.port)

    def every_family(self) -> tuple[Endpoint, ...]:
        """The endpoints to bind: `0.0.0.0` means every address of the machine, of both families."""
        if self.host != "0.0.0.0":  # noqa: S104
            return (self,)
        return (self, Endpoint("::", self.port)) if has_ipv6() else (self,)

    def bind(self, kind: socket.SocketKind) -> socket.socket:
        """Return a socket that is bound here, of one family and without SO_REUSEPORT. Raises OSError."""
        from hedgerow.sockets import open_socket  # imported late: the signer does without asyncio

        return open_socket(self.host, self.port, kind, reuse_port=False)


def has_ipv6() -> bool:
    """Return True if this machine has any IPv6 address, the loopback's included."""
    try:
        return bool(Path("/proc/self/net/if_inet6").read_text(encoding="ascii").strip())
    except OSError:
        return False


def parse_endpoint(text: str) -> Endpoint:
    """Parse `ADDR:PORT` or `[ADDR]:PORT`. Raises ValueError with a plain sentence.

    >>> parse_endpoint("[::1]:53")
    Endpoint(host='::1', port=53)
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"'{text}' is not ADDRESS:PORT, such as 127.0.0.1:5300 or [::1]:5300")
    try:
        return Endpoint(str(ipaddress.ip_address(host.strip("[]"))), int(port))
    except ValueError:
        raise ValueError(f"'{host}' in '{text}' is not an IP address") from None


def can_bind_low_ports() -> bool:
    """Return True if this process may listen on ports below 1024: as root, by CAP_NET_BIND_SERVICE (capabilities(7)),
    or by a helper.
    """
    if port_binder.is_available():
        return True
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
        return bool(int(effective.split()[1], 16) >> 10 & 1)
    except (OSError, StopIteration, ValueError):
        return os.geteuid() == 0


def default_state() -> Path:
    """The state directory of a run that names none."""
    if os.geteuid() == 0:
        return Path("/var/lib/hedgerow")
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "hedgerow"


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory limits of a run.

    `cache_octets` is for the answers in the resolver of a gate or an inspector. A DNS worker has a 32nd of the
    machine's memory, within `dns_cache_octets`. An inspector is replaced once it has grown by `inspector_growth` bytes.
    With `one_list_job`, lists are not compiled while others are fetched. With `loads_pages_early`, control loads the
    pages some seconds after the start, else with the first request.
    """

    cache_octets: int
    dns_cache_octets: tuple[int, int]
    inspector_growth: int
    one_list_job: bool
    loads_pages_early: bool


FOOTPRINTS = {
    "standard": Footprint(20 << 20, (32 << 20, 256 << 20), 150 << 20, False, True),
    "small": Footprint(3 << 20, (3 << 20, 3 << 20), 40 << 20, True, False),
}
_DNS_CACHE_SHARE = 32

JOURNAL_NAME, STORE_PASSWORD = "journal.sqlite", "store-password"
STORE_URL, STORE_AUTHORITY = "store-url", "store-ca.pem"
"""The store's address for this machine alone, and the certificate of its server."""


class _Place:
    """A path below the state directory, as an attribute of `Settings`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, settings: Settings, _owner: type[Settings]) -> Path:
        return settings.state / self._name


class _RunPlace(_Place):
    """A path below the directory of the run."""

    def __get__(self, settings: Settings, _owner: type[Settings]) -> Path:
        return settings.run / self._name


@dataclass(frozen=True, slots=True)
class Settings:
    """One run. `policy` None means the built-in default policy; ports are the real ones, never 0."""

    state: Path
    policy: Path | None
    dns: Endpoint
    proxy: Endpoint
    web: Endpoint
    workers: int = 1
    log_level: str = "info"
    log_json: bool = False
    upstream_ca: Path | None = None
    inspectors: int = 1
    profile: str = "standard"
    encrypted: dict[str, Endpoint] = field(default_factory=dict)  # by the names of `ENCRYPTED_TRANSPORTS`
    page: tuple[Endpoint, ...] = ()  # of the block page, to which blocked names lead if the policy says so
    run_folder: Path | None = None  # the directory of `run` if the state directory can't be written
    problem: str = ""  # the reason, as one sentence
    transparent: Endpoint | None = None  # target of web connections that the network redirects
    memory: int = 0  # octets that all processes together may use; 0: unknown
    keeps_gateway: bool = True  # False: `hedgerow gateway run` does, in a service of its own
    store: str = ""  # URL of a PostgreSQL database, without a password; empty: `journal`
    site: str = DEFAULT_SITE  # the site of our rows in the store
    has_identities: bool = False  # the signer has a user id of its own
    has_jobs_identity: bool = False  # those that judge pictures or send notices do
    log_folder: Path | None = None  # the directory of the files of `log_to`, if it is not `logs` in the state directory

    @property
    def listeners(self) -> dict[str, Endpoint]:
        """The addresses to listen on, by the names of `LISTENERS`."""
        transparent = {"transparent": self.transparent} if self.transparent else {}
        return {"dns": self.dns, "proxy": self.proxy, "web": self.web, **self.encrypted, **transparent}

    @property
    def page_addresses(self) -> tuple[str, ...]:
        """The addresses at which this run serves the block page for HTTP and for HTTPS."""
        hosts = dict.fromkeys(place.host for place in self.page)
        return tuple(host for host in hosts if {place.port for place in self.page if place.host == host} >= {80, 443})

    @property
    def logs(self) -> Path:
        """The directory of the files that `network.log_to` names. No other file is written by the policy's word."""
        return self.log_folder or self.state / "logs"

    @property
    def footprint(self) -> Footprint:
        return FOOTPRINTS[self.profile]

    @property
    def dns_cache_octets(self) -> int:
        """The size of a DNS worker's caches.

        >>> from dataclasses import replace
        >>> here = Settings(Path(), None, *[Endpoint("127.0.0.1", 1)] * 3, memory=2 << 30)
        >>> here.dns_cache_octets >> 20, replace(here, profile="small").dns_cache_octets >> 20
        (64, 3)
        """
        least, most = self.footprint.dns_cache_octets
        return min(max(self.memory // _DNS_CACHE_SHARE, least), most)

    @property
    def run(self) -> Path:
        """Files that live no longer than the run: sockets, keys, process ids."""
        return self.run_folder or self.state / "run"

    journal = _Place(JOURNAL_NAME)
    """The file of the journal, unless there is a `store`."""
    store_password = _Place(STORE_PASSWORD)
    """The password of the store's role, for those who keep it in a file."""
    spool = _Place("spool")
    """Events that wait while the store is away."""
    gateway_file = _Place("gateway.json")
    """The configuration of the gateway; without it, Hedgerow never touches nftables."""
    tunnel_secrets = _Place("tunnel/secrets")
    """This machine's keys of the tunnel home."""
    statement_key = _Place("statements/key.pem")
    """The key with which a café signs its statements."""
    published = _Place("published")
    """The directory that control publishes to. Of the state directory, workers can read this and the lists only."""
    resolv_conf = _Place("published/resolv.conf")
    """A copy of the system's resolver settings, for workers that can't read a file that replaced the original."""
    refused = _Place("refused")
    """The directory in which inspectors may write."""
    pass_through = _Place("refused/pass-through")
    """Hosts for which devices refused our certificate; survives restarts."""
    authority = _Place("ca")
    calendars = _Place("calendars")
    """Copies of the holiday calendars that the policy gives by URL."""
    admin_token = _Place("admin-token")
    """The token of scripts on this machine, replaced at each start."""
    notices = _Place("notices")
    """Addresses of the receivers of notices, one file each."""

    control_socket = _RunPlace("control.sock")
    """The socket of pages and API for the command line."""
    event_socket = _RunPlace("events.sock")
    gateway_socket = _RunPlace("gateway.sock")
    """The socket on which the gateway's process admits destinations for DNS workers."""
    pages_socket = _RunPlace("pages.sock")
    """The socket on which the pages take requests that the gates relay."""
    inspector_sockets = _RunPlace("inspect")
    """The directory in which inspectors may create sockets."""
    signer_socket = _RunPlace("signer.sock")
    """The socket on which the signer issues certificates to inspectors."""
    server_name = _RunPlace("names/server-name")
    """The policy's name of our pages, for the signer, which reads no snapshot."""
    pass_key = _RunPlace("pass.key")
    dns_certificate = _RunPlace("dns/dns.pem")
    """Certificate and key of encrypted DNS, if our own CA issued them."""
    workers_file = _RunPlace("workers.json")

    @property
    def workers_files(self) -> tuple[Path, Path]:
        """The copy in memory of the list of processes, which is there while the disk does not take the list, and the
        list itself.
        """
        return memory_folder(self.state) / self.workers_file.name, self.workers_file

    def inspector_socket(self, index: int) -> Path:
        """The socket on which one inspector takes connections from the gates."""
        return self.inspector_sockets / f"{index}.sock"

    def save(self) -> None:
        write_atomically(self.run / "settings.json", encode(self))

    @staticmethod
    def load(state: Path) -> Settings:
        """Read the settings of the run on this state directory. Raises OSError if there was none."""
        memory = memory_folder(state)
        folder = memory if _is_trusted(memory, state) else state / "run"
        return decode(Settings, (folder / "settings.json").read_bytes())


def memory_folder(state: Path) -> Path:
    """The directory in memory for the files of a run whose state directory can't be written."""
    return Path("/dev/shm") / f"hedgerow-{hashlib.sha256(os.fsencode(os.path.realpath(state))).hexdigest()[:16]}"  # noqa: S108 (owner is checked)


def make_memory_folder(state: Path) -> Path:
    """Create the directory in memory. Raises OSError, also if another user made it."""
    folder = memory_folder(state)
    folder.mkdir(mode=0o700, exist_ok=True)
    if _owner_of(folder) != os.geteuid():
        raise PermissionError(errno.EACCES, "it belongs to another user", str(folder))
    return folder


def remove_memory_folder(state: Path) -> None:
    """Remove the directory in memory if it is ours."""
    folder = memory_folder(state)
    if _owner_of(folder) == os.geteuid():
        shutil.rmtree(folder, ignore_errors=True)


def _is_trusted(folder: Path, state: Path) -> bool:
    """Return True if Hedgerow made a directory in memory, where any user could have made one of that name."""
    owner = _owner_of(folder)
    return owner is not None and owner in {os.geteuid(), _owner_of(state)} and (folder / "settings.json").exists()


def _owner_of(folder: Path) -> int | None:
    """The owner of a directory; None if there is none, or another kind of file."""
    try:
        status = folder.lstat()
    except OSError:
        return None
    return status.st_uid if stat.S_ISDIR(status.st_mode) else None


class RunFiles:
    """Settings and handover key of a run, which every process reads at its start: damaged ones are written again.

    Control may change the settings, so the last good ones are kept.
    """

    def __init__(self, settings: Settings) -> None:
        self._is_good: Mapping[Path, Callable[[bytes], bool]] = {
            settings.run / "settings.json": _are_settings,
            settings.pass_key: lambda key: self._kept.get(settings.pass_key, key) == key,
        }
        self._kept: dict[Path, bytes] = {}

    def check(self) -> None:
        """Remember the content of good files, and restore damaged ones."""
        for path, is_good in self._is_good.items():
            try:
                content = path.read_bytes()
            except OSError:
                content = b""
            if content and is_good(content):
                self._kept[path] = content
            elif path in self._kept:
                self._write_again(path)

    def _write_again(self, path: Path) -> None:
        try:
            write_atomically(path, self._kept[path])
        except OSError as error:
            log.error("%s is damaged and can't be written again: %s", path, error_text(error))
        else:
            log.error("%s was damaged or removed: it is written again", path)


def _are_settings(content: bytes) -> bool:
    try:
        return bool(decode(Settings, content).state)
    except ValueError:
        return False
