"""Announcements of the supervisor about a run: to systemd, on standard output, at the terminal, and in place of the
pages.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from hedgerow.app.settings import Endpoint, Settings
from hedgerow.policies.network import PRIVATE_RANGES

_DESCRIPTORS_S = 1.0
"""Seconds for which a file descriptor waits for a service manager that is behind. States never wait."""


def notify_systemd(state: str, descriptors: Sequence[int] = ()) -> bool:
    """Send lines of sd_notify(3), and file descriptors, if systemd or another service manager asked for it.

    Returns False if not sent.
    """
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return False
    address = "\0" + place[1:] if place.startswith("@") else place
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.settimeout(_DESCRIPTORS_S if descriptors else 0)
            if descriptors:
                notify.connect(address)  # send_fds ignores its own parameter for it
                socket.send_fds(notify, [state.encode()], descriptors)
            else:
                notify.sendto(state.encode(), address)
    except OSError:
        return False
    return True


async def show_welcome(settings: Settings) -> None:
    """Show addresses, QR code and setup code on the terminal. They are never logged.

    Killed if cancelled.
    """
    command = (sys.executable, "-P", "-m", "hedgerow.app.cli", "setup", "--state", str(settings.state))
    welcome = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
    try:
        await welcome.wait()
    except asyncio.CancelledError:
        welcome.kill()
        await welcome.wait()
        raise


def ready_lines(settings: Settings, addresses: Sequence[str], problems: Sequence[str] = ()) -> list[str]:
    """The ready line, whose web address opens in a browser on this machine, and one with the addresses for other
    devices, if any.

    `addresses` are this machine's own; those outside the ranges of home networks are not shown. If not everything
    serves, `problems` say so, and the first line is another. A problem is a line.
    """
    if problems:
        limited = (
            f"hedgerow filters with limits dns={settings.dns} proxy={settings.proxy} "
            f"web=http://{settings.web.from_here}"
        )
        return [limited, *filter(None, [settings.problem]), *problems]
    optional = {"transparent": settings.transparent} if settings.transparent else {}
    others = "".join(f" {name}={place}" for name, place in (optional | settings.encrypted).items())
    ready = f"hedgerow ready dns={settings.dns} proxy={settings.proxy} web=http://{settings.web.from_here}{others}"
    own = [ip_address(address) for address in addresses] if settings.web.is_everywhere else []
    versions = {ip_address(place.host).version for place in settings.web.every_family()}
    near = sorted(
        (each for each in own if not each.is_loopback and each.version in versions and _is_of_a_home(each)),
        key=_family_order,
    )
    urls = [f"http://{Endpoint(str(address), settings.web.port)}" for address in near]
    return [ready, *([f"from other devices: {' '.join(urls)}"] if urls else []), *filter(None, [settings.problem])]


def _is_of_a_home(address: IPv4Address | IPv6Address) -> bool:
    """Return False for addresses that `is_private` counts in, such as those of a provider's laboratory."""
    return any(address in network for network in PRIVATE_RANGES)


def _family_order(address: IPv4Address | IPv6Address) -> tuple[int, int]:
    return address.version, int(address)


class TroubleProcess:
    """The process that serves an explanation in place of control's pages (`trouble_page`)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None

    async def show(self, descriptors: Sequence[int]) -> None:
        """Start the process on control's listening sockets, unless it runs."""
        if not descriptors or (self._process is not None and self._process.returncode is None):
            return
        self._process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-P",
                "-m",
                "hedgerow.app.trouble_page",
                str(self._settings.state),
                ",".join(map(str, descriptors)),
            ),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=descriptors,
            process_group=0,
        )

    async def hide(self) -> None:
        """End the process if it runs."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
