"""A web proxy at the border of a network: tinyproxy, which looks up names by a file of its own."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from small_internet.running import wait_until

PASSWORD = "a-secret-of-the-office"

type Start = Callable[[Sequence[str]], subprocess.Popen[bytes]]


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """A running proxy. `url` has the user name and the password that it wants, if any."""

    url: str
    _log: Path

    def asked(self) -> list[str]:
        """Return the first lines of the requests so far."""
        return re.findall(r"Request \(file descriptor \d+\): (.*) HTTP/1", self._log.read_text(errors="replace"))


@contextlib.contextmanager
def forward_proxy(
    folder: Path,
    address: str,
    port: int,
    names: Mapping[str, str],
    *,
    wants_password: bool = False,
    start: Start = subprocess.Popen,
) -> Iterator[ForwardProxy]:
    """Run a proxy that knows these `names` with their addresses. Needs root. `start` starts a program."""
    hosts, settings, log = (folder / f"proxy-{port}.{kind}" for kind in ("hosts", "conf", "log"))
    hosts.write_text("".join(f"{where} {name}\n" for name, where in {"localhost": "127.0.0.1", **names}.items()))
    log.touch()
    lines = [f"Port {port}", f"Listen {address}", "Timeout 60", f'LogFile "{log}"', "LogLevel Info"]
    settings.write_text("\n".join([*lines, *([f"BasicAuth office {PASSWORD}"] if wants_password else [])]) + "\n")
    bound = 'mount --bind "$0" /etc/hosts && exec "$@"'
    process = start(["unshare", "--mount", "sh", "-c", bound, str(hosts), "tinyproxy", "-d", "-c", str(settings)])
    try:
        wait_until(lambda: "Starting main loop" in log.read_text(), 20, "the proxy serves")
        user = f"office:{PASSWORD}@" if wants_password else ""
        yield ForwardProxy(f"http://{user}{address}:{port}", log)
    finally:
        process.terminate()
        process.wait()
