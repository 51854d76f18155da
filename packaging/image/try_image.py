"""Boot a built image in QEMU without KVM, and look at it from outside: `python packaging/image/try_image.py IMAGE`.

With --write, what was seen goes to bench/results/image.md. Needs qemu-system-x86, qemu-utils, mtools and ssh, and
Debian's archive for the tablet's wpa_supplicant. It listens at 127.0.0.1 only, and the machine reaches nothing outside.
"""

from __future__ import annotations

import argparse
import base64
import http.cookiejar
import os
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PATIENCE_S = 5400
MEMORY_MB = 900
PASSWORD = "correct horse battery"


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for[Found](
    look: Callable[[], Found | None], what: str, patience: float = PATIENCE_S, pause: float = 1
) -> Found:
    """Return what `look` finds, as soon as it finds something. Ends the program after `patience` seconds.

    A look by SSH takes seconds of the emulated processor: give those a longer pause.
    """
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = look()
        if found is not None and found is not False:
            return found
        time.sleep(pause)
    raise TimeoutError(what)


@dataclass
class Machine:
    """The machine with a disk. `seconds` has what took how long since it was switched on, by its name."""

    disk: Path
    firmware: str = ""
    web: int = field(default_factory=free_port)
    dns: int = field(default_factory=free_port)
    ssh: int = field(default_factory=free_port)
    on_at: float = 0.0

    @property
    def serial(self) -> Path:
        return self.disk.with_suffix(".serial")

    @contextmanager
    def switched_on(self) -> Iterator[None]:
        """Power inside the block; the plug is pulled at its end (SIGKILL)."""
        ports = ((self.web, 80), (self.dns, 53), (self.ssh, 22))
        forwards = ",".join(f"hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in ports)
        command = [
            *(
                "nice",
                "-n",
                "15",
                "qemu-system-x86_64",
                "-accel",
                "tcg",
                "-cpu",
                "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt",
            ),
            *("-smp", "1", "-m", str(MEMORY_MB), "-display", "none", "-no-reboot", "-serial", f"file:{self.serial}"),
            *("-drive", f"file={self.disk},format=qcow2,if=virtio,cache=writeback"),
            *(
                "-netdev",
                f"user,id=net0,restrict=on,guestfwd=tcp:10.0.2.100:2222-cmd:echo hello,{forwards}",
                "-device",
                "virtio-net-pci,netdev=net0",
            ),
            *("-device", "virtio-rng-pci"),
            *(("-bios", self.firmware) if self.firmware else ()),
        ]
        self.on_at = time.monotonic()
        process = subprocess.Popen(command)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def since(self) -> int:
        return round(time.monotonic() - self.on_at)

    def text(self) -> str:
        return self.serial.read_text(encoding="utf-8", errors="replace") if self.serial.exists() else ""

    def setup_code(self) -> str | None:
        found = re.findall(r"setup code:\s+(\S+)", self.text())
        return found[-1] if found else None

    def get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web}{path}", timeout=60) as answer:
                return str(answer.read().decode())
        except (OSError, urllib.error.URLError):
            return None

    def answer_of(self, name: str) -> bytes | None:
        """Return the answer to a query for addresses of a name over TCP, or None without one."""
        labels = b"".join(struct.pack("B", len(label)) + label.encode() for label in name.split("."))
        query = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"
        try:
            with socket.create_connection(("127.0.0.1", self.dns), timeout=60) as connection:
                connection.sendall(struct.pack("!H", len(query)) + query)
                answer = connection.recv(4096)
        except OSError:
            return None
        return answer or None

    def run(self, command: str, *, check: bool = True, patience: float = 1800) -> str:
        """Run a command inside as root, by the preset's key."""
        options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
        words = ["ssh", "-i", str(self.disk.parent / "key"), "-p", str(self.ssh), *options, "root@127.0.0.1", command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=patience, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def is_reached(self) -> bool | None:
        try:
            return (self.run("true", check=False) == "" and self.run("echo yes", check=False).strip() == "yes") or None
        except subprocess.TimeoutExpired:
            return None

    def copy_in(self, file: Path, place: str) -> None:
        """Copy a file into the running machine."""
        encoded = base64.b64encode(file.read_bytes()).decode()
        options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
        words = [
            "ssh",
            "-i",
            str(self.disk.parent / "key"),
            "-p",
            str(self.ssh),
            *options,
            "root@127.0.0.1",
            f"base64 -d >{place}",
        ]
        subprocess.run(words, input=encoded, text=True, check=True, timeout=1800)


@dataclass
class Results:
    """The rows of the table in the results."""

    rows: list[tuple[str, str]] = field(default_factory=list)

    def note(self, what: str, seconds: object) -> None:
        self.rows.append((what, str(seconds)))
        print(f"{what}: {seconds}", flush=True)

    def check(self, what: str, found: object) -> None:
        """Note that something holds, or end the program."""
        if not found:
            raise AssertionError(what)
        self.note(what, "yes")


def is_blocked(answer: bytes | None) -> bool | None:
    """Return True for an answer with the address 0.0.0.0 or without any, None without an answer."""
    if answer is None:
        return None
    return (b"\0\x04\0\0\0\0" in answer or answer[5] & 0x0F == 3) or None


def send_form(machine: Machine, opener: urllib.request.OpenerDirector, path: str, **fields: str) -> str:
    """Send a form of the pages as a browser does, and return the address that the answer leads to."""
    here = f"http://127.0.0.1:{machine.web}"
    request = urllib.request.Request(
        f"{here}{path}", urllib.parse.urlencode(fields).encode(), {"Origin": here, "Sec-Fetch-Site": "same-origin"}
    )
    with opener.open(request, timeout=120) as answer:
        return str(answer.geturl())


def browser() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))


def prepare(image: Path, folder: Path) -> Path:
    """Return a disk with a preset file, as somebody flashes it to a disk of 4 GB."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    raw = folder / "raw.img"
    shutil.copyfile(image, raw)
    key = (folder / "key.pub").read_text(encoding="ascii").strip()
    preset = folder / "hedgerow.txt"
    preset.write_text(
        f"# Prepared\r\ncountry = gb\r\nwifi = Children\r\nhostname = attic\r\nadmin-key = {key}\r\n", encoding="utf-8"
    )
    subprocess.run(["mcopy", "-i", f"{raw}@@1M", str(preset), "::/hedgerow.txt"], check=True)
    disk = folder / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-q", "-O", "qcow2", str(raw), str(disk)], check=True)
    subprocess.run(["qemu-img", "resize", "-q", str(disk), "4G"], check=True)
    raw.unlink()
    return disk


def wait_for_service(machine: Machine, results: Results, boot: str) -> None:
    """Wait until the guide and the resolver answer, and note the seconds since power-on."""
    wait_for(lambda: machine.answer_of("www.tiktok.com"), "a DNS answer")
    results.note(f"{boot}: seconds to the first DNS answer", machine.since())
    wait_for(lambda: machine.get("/healthz"), "the pages")
    wait_for(lambda: machine.get("/start") or machine.get("/sign-in"), "the guide")
    results.note(f"{boot}: seconds to the guide", machine.since())
    results.check(
        f"{boot}: a site that is blocked for children is blocked",
        wait_for(lambda: is_blocked(machine.answer_of("www.tiktok.com")), "a blocked name"),
    )


def first_boot(machine: Machine, results: Results) -> None:
    """Boot a fresh disk, use its Wi-Fi, set the first password by the code on the screen, and pull the plug at once."""
    with machine.switched_on():
        wait_for_service(machine, results, "first boot")
        code = wait_for(machine.setup_code, "the setup code")
        results.note("first boot: seconds to the setup code on screen and serial port", machine.since())
        wait_for(machine.is_reached, "SSH", pause=15)
        look_inside(machine, results)
        from_the_wifi(machine, results)
        here = browser()
        led_to = send_form(
            machine, here, "/start/password", name="ana", password=PASSWORD, code=code, zone="Europe/London"
        )
        results.check("the guide takes the first password", "/start/" in led_to)
    results.note("the plug is pulled", "at once after that")


def look_inside(machine: Machine, results: Results) -> None:
    run = machine.run
    results.check(
        "the preset: host name, country, Wi-Fi",
        run("hostname").strip() == "attic" and "country: GB" in run("cat /etc/hedgerow/hedgerow.yaml"),
    )
    results.check(
        "the system is read-only below, with memory over it",
        "squashfs ro" in run("awk '{ print $3, $4 }' /proc/mounts | tr , ' '"),
    )
    size = int(run("df --output=size -BM /state | tail -n 1").strip().rstrip("M"))
    results.note("the state partition has grown to, MB (of a disk with 4096)", size)
    results.check("the state partition has taken the disk", size > 2000)
    failed = run("systemctl --failed --no-legend --plain | cut -d' ' -f1").split()
    results.check(f"no unit has failed {failed or ''}".strip(), not failed)
    used = run("free -m | awk '/^Mem/ { print $3 }'").strip()
    results.note(f"memory in use, MB (of {MEMORY_MB})", used)


def from_the_wifi(machine: Machine, results: Results) -> None:
    """Join the Wi-Fi with a second simulated radio in a network namespace: the child's tablet."""
    run = machine.run
    began = time.monotonic()
    for package in sorted((machine.disk.parent).glob("*.deb")):
        machine.copy_in(package, "/tmp/station.deb")
        run("dpkg-deb -x /tmp/station.deb /")
    machine.copy_in(HERE / "tablet.py", "/tmp/tablet.py")
    run(
        "modprobe mac80211_hwsim radios=2 && ip netns add tablet && iw phy phy1 set netns name tablet"
        " && ip -n tablet link set lo up"
    )
    state = 'python3 -c \'import json; print(json.load(open("/run/hedgerow-wifi/report.json"))["state"])\''
    wait_for(lambda: run(state, check=False).strip() in {"open", "offline"} or None, "an open Wi-Fi", pause=15)
    results.note("seconds from the radio's appearance to the open Wi-Fi", round(time.monotonic() - began))
    shown = run("hedgerow wifi show")
    password = re.findall(r"password:\s+(\S+)", shown)[0]
    tablet = "ip netns exec tablet python3 /tmp/tablet.py"
    began = time.monotonic()
    said = run(f"{tablet} join Children {password}")
    results.note("seconds from the tablet's first try to its address by DHCP", round(time.monotonic() - began))
    results.note("the tablet's address", said.split()[-1])
    for what in ("blocked-name", "blocked-name-elsewhere", "blocked-page", "parents-network", "other-port"):
        results.check(TRIALS[what], run(f"{tablet} {what}").strip() == "good")
    results.check(
        "this machine itself reaches the parents' network, which the tablet does not",
        run("python3 /tmp/tablet.py reach 10.0.2.100 2222").strip() == "reached",
    )
    results.check(
        "names of the tablet's network are in no DNS answer to parents, who are answered as before",
        is_blocked(machine.answer_of("www.tiktok.com")),
    )
    run("systemctl stop hedgerow")
    results.check(
        "without the filter, the tablet has nothing: no name and no page", run(f"{tablet} nothing").strip() == "good"
    )
    run("systemctl start hedgerow", patience=1800)
    run("systemctl stop hedgerow-wifi")
    results.check("without its service, there is no Wi-Fi", run(f"{tablet} no-wifi").strip() == "good")
    run("systemctl start hedgerow-wifi", patience=1800)
    (machine.disk.parent / "password").write_text(password, encoding="ascii")


TRIALS = {
    "blocked-name": "on the tablet: a blocked site has no address",
    "blocked-name-elsewhere": "on the tablet: another resolver gives none either",
    "blocked-page": "on the tablet: the block page shows for its address",
    "parents-network": "on the tablet: the parents' network can't be reached",
    "other-port": "on the tablet: an address without a name can't be reached",
}


def second_boot(machine: Machine, results: Results) -> None:
    """Boot after the cut: what was confirmed is there, and the Wi-Fi has the same name and password."""
    with machine.switched_on():
        wait_for_service(machine, results, "after the cut")
        led_to = send_form(machine, browser(), "/sign-in", name="ana", password=PASSWORD)
        results.check("after the cut: the password that was confirmed signs in", "/sign-in" not in led_to)
        wait_for(machine.is_reached, "SSH", pause=15)
        before = (machine.disk.parent / "password").read_text(encoding="ascii")
        results.check("after the cut: the Wi-Fi has the same password", before in machine.run("hedgerow wifi show"))


def cut_at_random(machine: Machine, results: Results, rounds: int) -> None:
    """Pull the plug at random moments of the start, and see that the last boot has all that was confirmed."""
    moments = []
    for _ in range(rounds):
        with machine.switched_on():
            moments.append(5 + secrets.randbelow(120))
            time.sleep(moments[-1])
    with machine.switched_on():
        wait_for_service(machine, results, f"after {rounds} cuts at random moments ({', '.join(map(str, moments))} s)")
        led_to = send_form(machine, browser(), "/sign-in", name="ana", password=PASSWORD)
        results.check("after these cuts: the password signs in", "/sign-in" not in led_to)


def tablet_packages(ready: Path | None, folder: Path) -> None:
    """Put the packages of the tablet's Wi-Fi client into a folder."""
    if ready is not None:
        for package in ready.glob("*.deb"):
            shutil.copy(package, folder)
        return
    words = ["apt-get", "-q", "download", "wpasupplicant", "libpcsclite1"]
    subprocess.run(words, cwd=folder, check=True, stdout=sys.stderr)


def write(results: Results, image: Path, commit: str) -> None:
    rows = "\n".join(f"| {what} | {seconds} |" for what, seconds in results.rows)
    megabytes, packed = (file.stat().st_size // 1_000_000 for file in (image, image.with_suffix(".qcow2")))
    (ROOT / "bench/results/image.md").write_text(
        f"""# The box, as tried by `make try-image`

In **emulation**: QEMU without KVM on one of two busy processors, with {MEMORY_MB} MB of memory and radios of
mac80211_hwsim. A machine of its own is several times faster. No real radio, card or board was tried. The image has
{megabytes} MB unpacked, the compressed disk {packed} MB. Commit {commit}.

| what | seconds, or seen |
|---|---:|
{rows}
""",
        encoding="utf-8",
    )


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("image", type=Path)
    arguments.add_argument("--cuts", type=int, default=3)
    arguments.add_argument("--firmware", default="", help="OVMF's file, to boot by UEFI instead of BIOS")
    arguments.add_argument(
        "--packages", type=Path, help="a folder with the tablet's packages, instead of Debian's archive"
    )
    arguments.add_argument("--write", action="store_true")
    chosen = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))  # the machine ends, too
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    results = Results()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = Path(name)
        tablet_packages(chosen.packages, folder)
        machine = Machine(prepare(chosen.image, folder), chosen.firmware)
        try:
            first_boot(machine, results)
            second_boot(machine, results)
            if chosen.cuts:
                cut_at_random(machine, results, chosen.cuts)
        except Exception:
            print(machine.text()[-6000:], file=sys.stderr)
            raise
    if chosen.write:
        write(results, chosen.image, commit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
