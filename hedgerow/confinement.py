"""Confinement of a process by itself: its files (Landlock), its capabilities and its system calls (seccomp).

A process calls `confine` before it meets untrusted input, and before it starts threads. Nothing takes the limits back,
and its children inherit them. Each part works without root. A part that the kernel lacks is reported and skipped.

Sources: landlock(7), capabilities(7), seccomp(2), and the kernel's linux/landlock.h, linux/filter.h and linux/audit.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path


class Capability(IntEnum):
    """Numbers of linux/capability.h."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    FOWNER = 3
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    NET_BIND_SERVICE = 10
    NET_ADMIN = 12


class Sockets(StrEnum):
    """The new sockets that a process may open.

    A connected pair is always permitted. `CONFINED` excludes Unix stream sockets: over these, services such as D-Bus, a
    container engine or our own command line's socket take orders from every process of a user.
    """

    ANY = "any"
    CONFINED = "confined"
    NONE = "none"


class Limit(StrEnum):
    """A part of the confinement, named as people know it."""

    FILES = "Landlock"
    CALLS = "seccomp"


LACKING_TEXT = "the processes that parse what strangers send are not kept from the other files of their user."


@dataclass(frozen=True, slots=True)
class Confinement:
    """The privileges that a process keeps.

    - `read`: files, and directories with everything below them, that it may read; programs there may be executed.
    - `write`: the same, to change, create and remove as well.
    - `capabilities`: those that it keeps if it has them.
    - `may_listen`: it may bind TCP ports (Landlock 4).
    - `may_signal`: it may send signals to the processes that it starts, and before Landlock 6 to all of its user.

    Paths that do not exist are skipped.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    capabilities: frozenset[Capability] = frozenset()
    sockets: Sockets = Sockets.CONFINED
    may_listen: bool = False
    may_signal: bool = False


class ConfinementError(OSError):
    """A limit that the kernel offers could not be set."""


def confine(rules: Confinement) -> tuple[Limit, ...]:
    """Confine this process for the rest of its life.

    Returns the limits that the kernel lacks. Raises ConfinementError.
    """
    if len(os.listdir("/proc/self/task")) != 1:
        raise ConfinementError(errno.EBUSY, "other threads would stay without limits")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold secrets and browsing
    keep_capabilities(rules.capabilities)
    forbid_new_privileges()
    missing = [] if _restrict_files(rules) else [Limit.FILES]
    if not _filter_calls(rules):
        missing.append(Limit.CALLS)
    return tuple(missing)


def missing_limits() -> tuple[Limit, ...]:
    """Return the limits that this kernel lacks."""
    missing = [Limit.FILES] if landlock_version() == 0 else []
    if _machine() is None or not _has_seccomp():
        missing.append(Limit.CALLS)
    return tuple(missing)


def code_paths() -> tuple[Path, ...]:
    """Return the paths that any Python program of this installation reads: libraries, time zones, trusted CAs, the
    kernel's files.

    The system's secrets, such as `/etc/shadow`, are not among them.
    """
    package = Path(__file__).parent
    ours: tuple[str | Path, ...] = (
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        Path(sys.executable).resolve().parent,
        package,
    )
    on_path = (entry for entry in sys.path if entry and Path(entry) != package.parent)
    system = (
        *(f"/{name}" for name in ("usr", "lib", "lib32", "lib64", "bin", "sbin", "proc")),
        "/sys/devices/system/cpu",
    )
    devices = (f"/dev/{name}" for name in ("null", "zero", "random", "urandom"))
    settings = (*(f"/etc/{name}" for name in _ETC), *_RESOLVER_FOLDERS)
    trusted = (os.environ[name] for name in _TRUST_VARIABLES if os.environ.get(name))
    everything: tuple[str | Path, ...] = (*ours, *on_path, *system, *devices, *settings, *trusted)
    return tuple(dict.fromkeys(map(Path, everything)))


_ETC = (
    *(
        "resolv.conf",
        "hosts",
        "host.conf",
        "gai.conf",
        "nsswitch.conf",
        "services",
        "protocols",
        "passwd",
        "group",
        "localtime",
    ),
    *(
        "mime.types",
        "ssl/certs",
        "ssl/openssl.cnf",
        "ca-certificates",
        "pki/tls",
        "pki/ca-trust",
        "ld.so.cache",
        "ld.so.preload",
    ),
)
_TRUST_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_RESOLVER_FOLDERS = ("/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf")


def without(paths: Iterable[Path], secret: Path) -> Iterator[Path]:
    """Yield `paths`, resolved; instead of a directory with `secret` in it, everything else in there."""
    secret = secret.resolve()
    for path in paths:
        try:
            path = path.resolve(strict=True)
            if path.is_relative_to(secret):
                continue
            if secret.is_relative_to(path):
                yield from without(path.iterdir(), secret)
            else:
                yield path
        except OSError:
            continue


# Capabilities.

_LAST_CAPABILITY = 63
_CAPABILITY_VERSION = 0x20080522


def keep_capabilities(kept: Iterable[Capability]) -> None:
    """Drop every capability but `kept`, for this process and the programs that it executes. Raises ConfinementError."""
    mask = sum(1 << capability for capability in set(kept))
    for number in range(_LAST_CAPABILITY + 1):
        if not mask >> number & 1:
            with contextlib.suppress(ConfinementError):  # without CAP_SETPCAP, or past the kernel's last capability
                _prctl(_PR_CAPBSET_DROP, number)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    data = ctypes.create_string_buffer(24)
    _check(_libc().capget(header, data), "capget")
    before = struct.unpack("=6I", data.raw[:24])
    sets = tuple(word & (mask >> (32 * (at // 3)) & 0xFFFFFFFF) for at, word in enumerate(before))
    if sets == before:
        return  # a service manager may forbid the call to a process that has nothing to give up
    # The ambient set shrinks with the inheritable one.
    _check(_libc().capset(header, ctypes.create_string_buffer(struct.pack("=6I", *sets), 24)), "capset")


# Files.

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_DEVICES = 1 << 6 | 1 << 11  # MAKE_CHAR, MAKE_BLOCK
# by version of Landlock
_HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_BIND_TCP = 1 << 0
_SCOPED = 1 << 0 | 1 << 1  # abstract Unix sockets, and signals to others
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1


def landlock_version() -> int:
    """Return the version of Landlock that the kernel offers; 0 if none, or if it is disabled."""
    version: int = _libc().syscall(_CREATE_RULESET, None, 0, 1)
    return max(0, version)


def _restrict_files(rules: Confinement) -> bool:
    """Permit the files of `rules` alone. Returns False if the kernel cannot."""
    version = landlock_version()
    if version == 0:
        return False
    handled = _HANDLED[min(version, 5)]
    attributes = struct.pack("=QQQ", handled, 0 if rules.may_listen else _BIND_TCP, _SCOPED)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _check(_libc().syscall(_CREATE_RULESET, attributes, size, 0), "landlock_create_ruleset")
    try:
        for paths, access in (
            (rules.read, _READ),
            ((*rules.write, Path("/dev/null")), handled & ~_DEVICES & ~_EXECUTE),
        ):
            for path in paths:
                _permit(ruleset, path, access & handled)
        _check(_libc().syscall(_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    finally:
        os.close(ruleset)
    return True


def _permit(ruleset: int, path: Path, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= _OF_FILES
        _check(
            _libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", access, descriptor), 0),
            "landlock_add_rule",
        )
    finally:
        os.close(descriptor)


# System calls.


@dataclass(frozen=True, slots=True)
class _Machine:
    """Numbers of an architecture: its identifier in linux/audit.h, and its system calls.

    `of_itself` are calls that name a process, which must be the caller (0). `priority` is the one that names it after a
    kind (also 0). `signals` are those that send one to a process named first, `queued` those that choose its contents
    too, or name a thread alone. `controls` are fcntl and ioctl, which can name a process that gets signals for a file.
    """

    audit: int
    socket: int
    clone: int
    denied: tuple[int, ...]
    of_itself: tuple[int, ...]
    priority: int
    signals: tuple[int, ...]
    queued: tuple[int, ...]
    controls: tuple[int, ...]


_IO_URING_SETUP, _CLONE3 = 425, 435
_SAME_EVERYWHERE = (_IO_URING_SETUP, 438, 440, 448)  # and pidfd_getfd, process_madvise, process_mrelease
# ptrace, process_vm_readv, process_vm_writev, unshare, setns, bpf, perf_event_open, userfaultfd, add_key, request_key,
# keyctl, kcmp, migrate_pages, move_pages, ioprio_set
_DENIED_GENERIC = (117, 270, 271, 97, 268, 280, 241, 282, 217, 218, 219, 272, 238, 239, 30)
_DENIED_X86 = (101, 310, 311, 272, 308, 321, 298, 323, 248, 249, 250, 312, 256, 279, 251)
_DENIED_ARM = (26, 376, 377, 337, 375, 386, 364, 388, 309, 310, 311, 378, 400, 344, 314)
# prlimit64, sched_setaffinity, sched_setscheduler, sched_setparam, sched_setattr; setpriority; kill, tgkill;
# tkill, rt_sigqueueinfo, rt_tgsigqueueinfo; fcntl, ioctl
_OTHERS_GENERIC = ((261, 122, 119, 118, 274), 140, (129, 131), (130, 138, 240), (25, 29))
_OTHERS_X86 = ((302, 203, 144, 142, 314), 141, (62, 234), (200, 129, 297), (72, 16))
_OTHERS_ARM = ((369, 241, 156, 154, 380), 97, (37, 268), (238, 178, 363), (55, 221, 54))
_MACHINES = {
    "x86_64": _Machine(0xC000003E, 41, 56, _DENIED_X86, *_OTHERS_X86),
    "aarch64": _Machine(0xC00000B7, 198, 220, _DENIED_GENERIC, *_OTHERS_GENERIC),
    "riscv64": _Machine(0xC00000F3, 198, 220, _DENIED_GENERIC, *_OTHERS_GENERIC),
    "armv7l": _Machine(0x40000028, 281, 120, _DENIED_ARM, *_OTHERS_ARM),
}
_PIDFD_SEND_SIGNAL = 424
_OWNERS = (8, 15, 0x8901, 0x8902)  # F_SETOWN, F_SETOWN_EX, FIOSETOWN, SIOCSPGRP
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
_STREAM = 1
_NAMESPACES = 0x7E02_0000  # CLONE_NEW*: in a user namespace, a process has all capabilities
_X32 = 0x4000_0000

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45  # BPF_JMP|K with JEQ, JGE, JSET
_ALLOW, _ERRNO = 0x7FFF_0000, 0x0005_0000
_FILTER_MODE = 2  # SECCOMP_MODE_FILTER
# offsets in struct seccomp_data, of the low halves on little-endian machines
_NUMBER, _ARCH, _FIRST, _SECOND = 0, 4, 16, 24

type _Instruction = tuple[int, int, int, int]
"""Code, instructions to skip if true, and if false, operand."""


def _has_seccomp() -> bool:
    """Return True if the kernel takes filters. It then complains about the address of this one, which is invalid."""
    try:
        _prctl(_PR_SET_SECCOMP, _FILTER_MODE, 0)
    except ConfinementError as error:
        return error.errno == errno.EFAULT
    return True


def _filter_calls(rules: Confinement) -> bool:
    """Install the filter of system calls. Returns False if the kernel or the architecture cannot."""
    machine = _machine()
    if machine is None:
        return False
    program = b"".join(struct.pack("=HBBI", *each) for each in _program(machine, rules))
    instructions = ctypes.create_string_buffer(program, len(program))
    count = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions)))
    try:
        _prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.addressof(count))
    except ConfinementError as error:
        if error.errno in (errno.EINVAL, errno.ENOSYS):
            return False
        raise
    return True


def _machine() -> _Machine | None:
    is_narrow, name = sys.maxsize < 2**32, os.uname().machine
    if is_narrow and name == "aarch64":
        name = "armv7l"  # a 32-bit system on a 64-bit kernel
    return _MACHINES.get(name) if is_narrow == (name == "armv7l") else None


def _program(machine: _Machine, rules: Confinement) -> list[_Instruction]:
    refuse, unknown = (_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)
    program: list[_Instruction] = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, machine.audit), refuse, (_LOAD, 0, 0, _NUMBER)]
    program += [(_AT_LEAST, 0, 1, _X32), refuse]
    signals = () if rules.may_signal else (_PIDFD_SEND_SIGNAL, *machine.queued)
    # with io_uring, a process makes system calls that no filter sees
    for number in (*machine.denied, *_SAME_EVERYWHERE, *signals):
        program += [(_EQUAL, 0, 1, number), refuse]
    for number in machine.of_itself:
        program += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _FIRST), (_EQUAL, 1, 0, 0), refuse, (_LOAD, 0, 0, _NUMBER)]
    program += [(_EQUAL, 0, 6, machine.priority), (_LOAD, 0, 0, _FIRST), (_EQUAL, 0, 2, 0)]
    program += [(_LOAD, 0, 0, _SECOND), (_EQUAL, 1, 0, 0), refuse, (_LOAD, 0, 0, _NUMBER)]
    for number in () if rules.may_signal else machine.signals:
        program += [
            (_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, _FIRST),
            (_EQUAL, 1, 0, os.getpid()),
            refuse,
            (_LOAD, 0, 0, _NUMBER),
        ]
    last = len(_OWNERS) - 1
    owners: list[_Instruction] = [(_EQUAL, last - at, 0 if at < last else 1, each) for at, each in enumerate(_OWNERS)]
    for number in machine.controls:
        program += [
            (_EQUAL, 0, len(owners) + 3, number),
            (_LOAD, 0, 0, _SECOND),
            *owners,
            refuse,
            (_LOAD, 0, 0, _NUMBER),
        ]
    program += [(_EQUAL, 0, 1, _CLONE3), unknown]  # its flags are in memory; the C library then uses clone
    program += [(_EQUAL, 0, 3, machine.clone), (_LOAD, 0, 0, _FIRST), (_ANY_BIT, 0, 1, _NAMESPACES), refuse]
    program += [(_LOAD, 0, 0, _NUMBER)]
    match rules.sockets:
        case Sockets.NONE:
            program += [(_EQUAL, 0, 1, machine.socket), refuse]
        case Sockets.CONFINED:
            families: list[_Instruction] = [
                (_EQUAL, len(_FAMILIES) - at, 0, family) for at, family in enumerate(_FAMILIES)
            ]
            body = [
                (_LOAD, 0, 0, _FIRST),
                *families,
                refuse,
                (_EQUAL, 0, 4, 1),
                (_LOAD, 0, 0, _SECOND),
                (_AND, 0, 0, 0xF),
            ]
            program += [(_EQUAL, 0, len(body) + 2, machine.socket), *body, (_EQUAL, 0, 1, _STREAM), refuse]
        case Sockets.ANY:
            pass
    return [*program, (_RETURN, 0, 0, _ALLOW)]


# The C library.

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 4, 22, 24
_PR_SET_NAME, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 15, 36, 38


def forbid_inspection() -> None:
    """Keep other processes of the same user from reading this one's memory (PR_SET_DUMPABLE), unless they have
    CAP_SYS_PTRACE.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def forbid_new_privileges() -> None:
    """Keep this process, and the programs that it executes, from gaining privileges by set-user-ID files
    (PR_SET_NO_NEW_PRIVS).
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def adopt_orphans() -> None:
    """Become the parent of each descendant whose parent ends (PR_SET_CHILD_SUBREAPER), and have them reaped by the
    program that follows.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Have this process killed when its parent ends (PR_SET_PDEATHSIG)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def name_process(role: str) -> None:
    """Have `ps -o comm` and `top` show this process as hedgerow-ROLE, cut off after 15 octets (PR_SET_NAME).

    A process cannot write /proc/self/comm where its program has file capabilities, as in a container: the file belongs
    to root then.
    """
    name = ctypes.create_string_buffer(f"hedgerow-{role}".encode("ascii")[:15])
    _prctl(_PR_SET_NAME, ctypes.addressof(name))


def _prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc().prctl(option, *words), f"prctl({option})")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise ConfinementError(code, f"{what}: {os.strerror(code)}")
    return result
