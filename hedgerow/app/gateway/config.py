"""The gateway's configuration, `gateway.json` in the state directory. Light enough for every process to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from hedgerow.codec import decode, encode
from hedgerow.files import write_atomically
from hedgerow.network.own_addresses import addresses_on, own_addresses


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """The options of `hedgerow gateway apply`. `lan` are names of interfaces."""

    lan: Annotated[tuple[str, ...], Meta(min_length=1)]
    strict: bool = False
    allow_ipsec: bool = False
    allow_ssh: bool = False
    any_destination: bool = False

    def save(self, state: Path) -> None:
        write_atomically(config_file(state), encode(self), 0o644)  # written by root, read by the service

    @staticmethod
    def load(state: Path) -> GatewayConfig | None:
        """Return None if no gateway is configured. Raises OSError or ValueError if the file can't be read."""
        try:
            return decode(GatewayConfig, config_file(state).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(
                f"{config_file(state)} can't be read: configure it again with hedgerow gateway apply --lan"
            ) from error


def config_file(state: Path) -> Path:
    return state / "gateway.json"


def addresses_for_devices(state: Path) -> list[str]:
    """Return this machine's addresses: with a gateway, only those on the devices' side of it."""
    try:
        config = GatewayConfig.load(state)
    except (OSError, ValueError):
        config = None  # the gateway's own process and the doctor report it
    return (addresses_on(config.lan) if config is not None else []) or own_addresses()
