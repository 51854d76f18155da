"""Commands for devices away from home, and the test from outside, which needs neither WireGuard nor rights."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from hedgerow.app.commands.doctor import report
from hedgerow.app.commands.options import (
    JsonOption,
    StateOption,
    call_api,
    call_api_bytes,
    fail,
    print_json,
    print_result,
)
from hedgerow.app.commands.setup import terminal_qr
from hedgerow.app.doctor.findings import Finding, Health, good_finding
from hedgerow.features.away.files import AwayFile, TunnelFile
from hedgerow.features.away.handshake import Handshake, TunnelFileKeys, parse_tunnel_file

HomeWifi = Annotated[
    list[str] | None,
    typer.Option("--home-wifi", metavar="NAME", help="A Wi-Fi network in which an Apple device does not use it."),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="The output file (default: standard output).")]


class TunnelFormat(StrEnum):
    """Forms of a device's end of the tunnel."""

    WG_QUICK = "wg-quick"
    QR = "qr"
    APPLE = "apple"


app = typer.Typer(help="Let devices keep their rules away from home.", no_args_is_help=True)


@app.command()
def dns(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="A device of the policy that has a client_id.")],
    form: Annotated[
        AwayFile,
        typer.Option("--for", help="The system: a profile, policies for a browser, or a script for Windows 11."),
    ] = AwayFile.APPLE,
    home_wifi: HomeWifi = None,
    out: Out = None,
    state: StateOption = None,
) -> None:
    """Write a file by which a device asks Hedgerow over encrypted DNS everywhere.

    It has the device's id: hand it to nobody else.
    """
    _write(
        call_api_bytes(state, f"/devices/{quote(device, safe='')}/away/{form.value}", home_wifi=home_wifi or []), out
    )


@app.command()
def add(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="A device of the policy.")],
    form: Annotated[
        TunnelFormat,
        typer.Option(
            "--format", help="A file for WireGuard, its QR code, or a profile for WireGuard on Apple's systems."
        ),
    ] = TunnelFormat.WG_QUICK,
    only_dns: Annotated[
        bool,
        typer.Option(
            "--only-dns/--all-traffic", help="Send names and the block page through the tunnel only, not all traffic."
        ),
    ] = False,
    home_wifi: HomeWifi = None,
    out: Out = None,
    state: StateOption = None,
) -> None:
    """Give a device its end of the tunnel home, or a new key for it.

    The device's key is printed once and kept nowhere else.
    """
    wanted = TunnelFile.WG_QUICK if form is TunnelFormat.QR else TunnelFile(form.value)
    body = {"format": wanted.value, "only_dns": only_dns, "home_wifi": home_wifi or []}
    data = call_api_bytes(state, f"/devices/{quote(device, safe='')}/tunnel", "POST", **body)
    _write(terminal_qr(data.decode()).encode() if form is TunnelFormat.QR else data, out)


@app.command()
def remove(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="A device that has an end of the tunnel.")],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a device's end of the tunnel home away, at once."""
    call_api(state, "DELETE", f"/devices/{quote(device, safe='')}/tunnel")
    print_result(as_json, {"device": device, "tunnel": None}, f"{device} has no tunnel home any more.")


@app.command("list")
def list_(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the devices with an end of the tunnel home, with the time of their last handshake and their bytes."""
    found = call_api(state, "GET", "/tunnels")
    if as_json:
        print_json(found)
        return
    for each in found:
        seen = (
            f"{datetime.fromtimestamp(each['handshake']):%Y-%m-%d %H:%M:%S}"
            if each["handshake"]
            else "no handshake yet"
        )
        print(
            f"{each['device']}: {', '.join(each['addresses'])}; {seen}; {each['received']} bytes in, {each['sent']} out"
        )


@app.command("try")
def try_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `away add` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Try a device's file from another machine, outside: does home answer?

    It changes nothing, and needs no WireGuard and no rights.
    """
    try:
        end = parse_tunnel_file(file.read_text(encoding="utf-8"))
    except OSError as error:
        fail(f"Can't read {file}: {error.strerror}.")
    except ValueError as error:
        fail(f"{file} is no file of `hedgerow away add`: {error}.")
    report(list(try_from_outside(end)), as_json=as_json)


def _write(data: bytes, out: Path | None) -> None:
    try:
        if out is None:
            sys.stdout.buffer.write(data)
        else:
            out.touch(0o600)
            out.write_bytes(data)
    except OSError as error:
        fail(f"Can't write {out or 'the file'}: {error.strerror}.")


_TRIES, _WAIT_S = 3, 2.0
_MEND = (
    "let UDP packets to this port in at the router; see docs/features/away.md for carrier-grade NAT; "
    "make a new file if the device got another since"
)


def try_from_outside(end: TunnelFileKeys) -> Iterator[Finding]:
    """Try each address of the endpoint: home must answer the device's key there."""
    try:
        found = socket.getaddrinfo(end.host, end.port, type=socket.SOCK_DGRAM)
    except OSError as error:
        yield Finding(
            end.host,
            Health.BAD,
            f"the name leads nowhere: {error.strerror}",
            "see your account at the provider of dynamic DNS",
        )
        return
    for family, _, _, _, place in dict.fromkeys(found):
        address, began = str(place[0]), time.monotonic()
        if _is_answered(end, family, place):
            yield good_finding(
                address, f"home answers at UDP port {end.port} after {(time.monotonic() - began) * 1000:.0f} ms"
            )
        else:
            yield Finding(address, Health.BAD, f"no answer at UDP port {end.port}", _MEND)


def _is_answered(end: TunnelFileKeys, family: int, place: tuple[object, ...]) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        for _ in range(_TRIES):
            handshake, deadline = Handshake(end), time.monotonic() + _WAIT_S
            try:
                client.connect(place)
                client.send(handshake.initiation(time.time()))
                while (left := deadline - time.monotonic()) > 0:
                    client.settimeout(left)
                    if handshake.is_answer(client.recv(2048)):
                        return True
            except OSError:  # no answer in time, or a router's refusal
                time.sleep(max(deadline - time.monotonic(), 0))
    return False
