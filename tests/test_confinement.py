"""Confinement of a process by itself, tried by a program that is confined as an inspector, a scanner or a
list job is.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from hedgerow.confinement import _MACHINES, Confinement, Sockets, _program, landlock_version, missing_limits, without

needs_kernel = pytest.mark.skipif(bool(missing_limits()), reason="the kernel lacks Landlock or seccomp")

ATTACKER = """
import ctypes, errno, json, os, socket, sys
from pathlib import Path
from hedgerow.app.privileges import confine_worker, confine_job
from hedgerow.app.settings import Settings, parse_endpoint
from hedgerow.policies.reading.load import load_policy

role, state, victim = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
place = parse_endpoint("127.0.0.1:0")
if role == "job":
    confine_job([], [state / "lists"], state)
else:
    confine_worker(role, Settings(state, None, place, place, place), load_policy(None), state / "generations" / "1")

def attempt(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def connect(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(path)

def vm_read():
    if ctypes.CDLL(None, use_errno=True).process_vm_readv(victim, None, 0, None, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")

secrets = ["ca/hedgerow-ca.pem", "journal.sqlite", "admin-token", "notices/1", "run/settings.json", "ca"]
results = {name: attempt(lambda: os.open(state / name, os.O_RDONLY)) for name in secrets}
results |= {
    "write the key": attempt(lambda: os.open(state / "ca/hedgerow-ca.pem", os.O_WRONLY)),
    "replace the journal": attempt(lambda: os.rename(state / "published/snapshot.json", state / "journal.sqlite")),
    "link the key": attempt(lambda: os.link(state / "ca/hedgerow-ca.pem", state / "refused/key")),
    "remove the token": attempt(lambda: os.unlink(state / "admin-token")),
    "write a snapshot": attempt(lambda: os.open(state / "published/snapshot.json", os.O_WRONLY)),
    "the user's files": attempt(lambda: os.listdir(Path.home())),
    "passwords": attempt(lambda: os.open("/etc/shadow", os.O_RDONLY)),
    "orders to services": attempt(lambda: connect(str(state / "run/control.sock"))),
    "memory": attempt(lambda: os.open(f"/proc/{victim}/mem", os.O_RDONLY)),
    "memory by system call": attempt(vm_read),
    "environment": attempt(lambda: Path(f"/proc/{victim}/environ").read_bytes()),
    "kill": attempt(lambda: os.kill(victim, 9)),
    "namespace": attempt(lambda: os.unshare(os.CLONE_NEWUSER)),
    "capture packets": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "read the snapshot": attempt(lambda: (state / "published/snapshot.json").read_bytes()),
    "read lists": attempt(lambda: (state / "generations/1/hosts").read_bytes()),
    "write refusals": attempt(lambda: (state / "refused/pass-through").write_text("x")),
    "write a list": attempt(lambda: (state / "lists/new").write_text("x")),
    "connect to origins": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
}
status = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\\t" in line)
results["status"] = [status[name].strip() for name in ("NoNewPrivs", "CapEff", "CapPrm", "CapBnd", "CapAmb", "Seccomp")]
print(json.dumps(results))
"""
PERMITTED = {
    "inspector": {"read the snapshot", "read lists", "write refusals", "connect to origins"},
    "gate": {"read the snapshot", "read lists", "connect to origins"},
    "dns": {"read the snapshot", "read lists", "connect to origins"},
    "job": {"write a list", "connect to origins"},
}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with a file in each place."""
    names = (
        "ca/hedgerow-ca.pem",
        "journal.sqlite",
        "admin-token",
        "notices/1",
        "run/settings.json",
        "published/snapshot.json",
    )
    for name in (*names, "generations/1/hosts", "lists/old", "refused/pass-through", "run/inspect/x", "run/dns/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


@needs_kernel
@pytest.mark.parametrize("role", PERMITTED)
def test_a_taken_over_worker_reaches_no_secret(state: Path, role: str) -> None:
    with subprocess.Popen([sys.executable, "-P", "-c", "input()"], stdin=subprocess.PIPE) as victim:
        words = [sys.executable, "-P", "-c", ATTACKER, role, str(state), str(victim.pid)]
        results = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        assert victim.poll() is None
        victim.kill()
    no_new, *capabilities, filtered = results.pop("status")
    assert {name for name, outcome in results.items() if outcome == "done"} == PERMITTED[role]
    assert set(results.values()) <= {"done", "EPERM", "EACCES", "EXDEV"}, (
        "refused, and not because something was missing"
    )
    assert (no_new, filtered) == ("1", "2")
    assert {int(each, 16) for each in capabilities} == {0}
    assert (state / "journal.sqlite").read_text() == (state / "admin-token").read_text() == "x"


MEDDLER = """
import ctypes, errno, fcntl, json, os, platform, resource, signal, socket, struct, sys
from pathlib import Path
from hedgerow.app.privileges import confine_job, confine_signer, confine_worker
from hedgerow.confinement import end_with_parent
from hedgerow.app.settings import Settings, parse_endpoint
from hedgerow.policies.reading.load import load_policy

role, state, victim = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
x86 = platform.machine() == "x86_64"
handle = os.pidfd_open(victim)
place = parse_endpoint("127.0.0.1:0")
settings = Settings(state, None, place, place, place)
if role == "job":
    confine_job([], [state / "lists"], state)
elif role == "signer":
    confine_signer(settings)
else:
    confine_worker(role, settings, load_policy(None), state / "generations" / "1")
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *words):
    if libc.syscall(number, *(each if isinstance(each, bytes) else ctypes.c_long(each) for each in words)) < 0:
        raise OSError(ctypes.get_errno(), "")

def attempt(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def write(name, text):
    Path(f"/proc/{victim}/{name}").write_text(text)

parameter = os.sched_param(0)
attributes = struct.pack("IIQiIQQQ", 48, 0, 0, 5, 0, 0, 0, 0)
second = struct.pack("QQ", 1, 1)
child = os.fork()  # in the same domain of Landlock, so seccomp alone keeps signals from it
if child == 0:
    end_with_parent()
    os.close(1)
    signal.pause()
file = os.open("/dev/null", os.O_RDONLY)
ours, theirs = socket.socketpair()
print(json.dumps({
    "its own limits": attempt(lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))),
    "its own priority": attempt(lambda: os.nice(1)),
    "its own processors": attempt(lambda: os.sched_setaffinity(0, os.sched_getaffinity(0))),
    "a signal to itself": attempt(lambda: os.kill(os.getpid(), 0) or signal.raise_signal(0)),
    "signal for a file": attempt(lambda: fcntl.fcntl(file, fcntl.F_SETOWN, child)),
    "signal for a file, to a thread": attempt(lambda: fcntl.fcntl(file, 15, struct.pack("ii", 1, child))),
    "signal for a socket": attempt(lambda: fcntl.ioctl(ours, 0x8901, struct.pack("i", child))),
    "signal for a socket, to a group": attempt(lambda: fcntl.ioctl(ours, 0x8902, struct.pack("i", child))),
    "child's queue": attempt(lambda: call(129 if x86 else 138, child, 18, struct.pack("iii116x", 18, 0, -1))),
    "child's thread": attempt(lambda: call(234 if x86 else 131, child, child, 18)),
    "child's thread alone": attempt(lambda: call(200 if x86 else 130, child, 18)),
    "child by descriptor": attempt(lambda: signal.pidfd_send_signal(os.pidfd_open(child), 18)),
    "limits": attempt(lambda: resource.prlimit(victim, resource.RLIMIT_CPU, (1, 1))),
    "limits, with more bits": attempt(lambda: call(302 if x86 else 261, victim | 1 << 32, 0, second, 0)),
    "processors": attempt(lambda: os.sched_setaffinity(victim, {0})),
    "scheduler": attempt(lambda: os.sched_setscheduler(victim, os.SCHED_IDLE, parameter)),
    "scheduler's parameter": attempt(lambda: os.sched_setparam(victim, parameter)),
    "scheduler's attributes": attempt(lambda: call(314 if x86 else 274, victim, attributes, 0)),
    "priority": attempt(lambda: os.setpriority(os.PRIO_PROCESS, victim, 19)),
    "priority of its group": attempt(lambda: os.setpriority(os.PRIO_PGRP, os.getpgid(victim), 19)),
    "priority of its user": attempt(lambda: os.setpriority(os.PRIO_USER, 0, 19)),
    "disk priority": attempt(lambda: call(251 if x86 else 30, 1, victim, 3 << 13)),
    "pages to another node": attempt(lambda: call(256 if x86 else 238, victim, 64, second, second)),
    "pages moved": attempt(lambda: call(279 if x86 else 239, victim, 0, 0, 0, 0, 0)),
    "comparison": attempt(lambda: call(312 if x86 else 272, os.getpid(), victim, 0, 1, 1)),
    "advice about memory": attempt(lambda: call(440, handle, 0, 0, 21, 0)),
    "release of memory": attempt(lambda: call(448, handle, 0)),
    "descriptor": attempt(lambda: call(438, handle, 0, 0)),
    "signal": attempt(lambda: os.kill(victim, signal.SIGKILL)),
    "signal to a thread": attempt(lambda: call(234 if x86 else 131, victim, victim, 9)),
    "signal by descriptor": attempt(lambda: signal.pidfd_send_signal(handle, signal.SIGKILL)),
    "signal with a value": attempt(lambda: call(129 if x86 else 138, victim, 9, struct.pack("iii116x", 9, 0, -1))),
    "memory killer": attempt(lambda: write("oom_score_adj", "1000")),
    "timer": attempt(lambda: write("timerslack_ns", "1000000000")),
    "name": attempt(lambda: write("comm", "x")),
    "memory": attempt(lambda: write("mem", "x")),
    "its child": attempt(lambda: os.kill(child, signal.SIGKILL)),
}), flush=True)
"""


VICTIM = """
from hedgerow.confinement import keep_capabilities
keep_capabilities(())  # as control has under systemd: whoever lacks none of another's may change more of it
print("ready", flush=True)
input()
"""


def state_of(pid: int) -> tuple[object, ...]:
    """Return the processors, the priority and the limit of CPU time of a process."""
    return os.sched_getaffinity(pid), os.getpriority(os.PRIO_PROCESS, pid), resource.prlimit(pid, resource.RLIMIT_CPU)


@needs_kernel
@pytest.mark.skipif(landlock_version() < 6, reason="before Linux 6.12, nothing limits an inspector's signals")
@pytest.mark.parametrize("role", ["dns", "gate", "inspector", "signer", "job"])
def test_a_taken_over_worker_changes_no_other_process(state: Path, role: str) -> None:
    if platform.machine() not in {"x86_64", "aarch64", "riscv64"}:
        pytest.skip("numbers of other machines' system calls")
    with subprocess.Popen(
        [sys.executable, "-P", "-c", VICTIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as victim:
        assert victim.stdout is not None
        victim.stdout.readline()
        before = state_of(victim.pid)
        words = [sys.executable, "-P", "-c", MEDDLER, role, str(state), str(victim.pid)]
        results = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        after = state_of(victim.pid)
        assert victim.poll() is None
        victim.kill()
    permitted = {"its own limits", "its own priority", "its own processors", "a signal to itself"}
    if role == "inspector":  # which ends its scanners
        permitted |= {"its child", "child's queue", "child's thread", "child's thread alone", "child by descriptor"}
    assert {name for name, outcome in results.items() if outcome == "done"} == permitted
    assert set(results.values()) <= {"done", "EPERM", "EACCES"}, results
    assert before == after


def outcome(program: list[tuple[int, int, int, int]], machine: int, number: int, *words: int) -> int:
    """Run a filter of seccomp(2), as the kernel does, and return what it returns."""
    values, at = {0: number, 4: machine} | {16 + 8 * place: word & 0xFFFFFFFF for place, word in enumerate(words)}, 0
    loaded = 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        match code:
            case 0x20:
                loaded = values[operand]
            case 0x54:
                loaded &= operand
            case 0x06:
                return operand
            case _:
                is_so = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}[code]
                at += if_true if is_so else if_false


@pytest.mark.parametrize("name", _MACHINES)
def test_the_filter_of_each_architecture_is_about_others_only(name: str) -> None:
    """The numbers of the calls are those of the kernel's tables (arch/*/syscall*.tbl)."""
    names = ("prlimit64", "setpriority", "kill", "tgkill", "tkill", "fcntl", "ioctl", "read", "kcmp")
    x86, arm = (302, 141, 62, 234, 200, 72, 16, 0, 312), (369, 97, 37, 268, 238, 221, 54, 3, 378)
    generic = (261, 140, 129, 131, 130, 25, 29, 63, 272)
    numbers = {"x86_64": x86, "armv7l": arm}.get(name, generic)
    calls = dict(zip(names, numbers, strict=True))
    machine, own = _MACHINES[name], os.getpid()
    for sockets in Sockets:
        for may_signal in (False, True):
            program = _program(machine, Confinement(sockets=sockets, may_signal=may_signal))

            def passes(call: str, *words: int) -> bool:
                return outcome(program, machine.audit, calls[call], *words, 0, 0) == 0x7FFF0000  # noqa: B023 (called here only)

            assert passes("read")
            assert not passes("kcmp")
            assert (passes("prlimit64", 0), passes("prlimit64", own + 1)) == (True, False)
            assert [passes("setpriority", *words) for words in ((0, 0), (0, own + 1), (1, 0), (2, 0))] == [
                True,
                False,
                False,
                False,
            ]
            assert (passes("kill", own, 15), passes("tgkill", own, 7, 6)) == (True, True)
            assert {passes("kill", own + 1, 9), passes("tgkill", own + 1, 7, 9), passes("tkill", 7, 9)} == {may_signal}
            assert [passes("fcntl", 3, command) for command in (1, 4, 8, 15)] == [True, True, False, False]
            assert [passes("ioctl", 3, command) for command in (0x541B, 0x8901, 0x8902)] == [True, False, False]


RESOLVER = """
import sys
from pathlib import Path
from hedgerow.app import resolv_conf
from hedgerow.confinement import Confinement, code_paths, confine
folder = Path(sys.argv[1])
resolv_conf.RESOLV_CONFS = (folder / "resolv.conf", folder / "absent")
print(resolv_conf.system_resolv_conf(folder / "published" / "resolv.conf"))
confine(Confinement((*code_paths(), folder / "resolv.conf", folder / "published")))
for _ in sys.stdin:
    print(resolv_conf.system_resolv_conf(folder / "published" / "resolv.conf"), flush=True)
"""


@needs_kernel
def test_a_worker_follows_resolver_settings_in_a_file_that_replaces_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1")
    words = [sys.executable, "-P", "-c", RESOLVER, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stdout.readline() == "nameserver 192.0.2.1\n"
        (tmp_path / "new").write_text("nameserver 192.0.2.2")
        (tmp_path / "new").replace(tmp_path / "resolv.conf")
        (tmp_path / "published" / "resolv.conf").write_text("nameserver 192.0.2.2")  # by control
        print("again", file=worker.stdin, flush=True)
        assert worker.stdout.readline() == "nameserver 192.0.2.2\n"
        worker.stdin.close()


@needs_kernel
def test_a_process_with_threads_is_not_half_confined() -> None:
    program = (
        "import threading, time; threading.Thread(target=time.sleep, args=(1,), daemon=True).start()\n"
        "from hedgerow.confinement import Confinement, ConfinementError, confine\n"
        "try:\n    confine(Confinement())\nexcept ConfinementError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert "other threads would stay without limits" in done.stdout


def test_everything_but_a_directory(tmp_path: Path) -> None:
    for name in ("home/state/ca", "home/code/lib", "home/notes", "other"):
        (tmp_path / name).mkdir(parents=True)
    secret = tmp_path / "home" / "state"
    found = without([tmp_path / "home", tmp_path / "other", secret, secret / "ca", tmp_path / "gone"], secret)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in found) == ["home/code", "home/notes", "other"]
