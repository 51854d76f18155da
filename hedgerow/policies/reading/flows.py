"""Reading of `network.flows`: names of the table in `flows.yaml`, and custom flows such as
`udp 19132-19133 to 203.0.113.7`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any, Final

from hedgerow.policies.network import Flow
from hedgerow.policies.text.addresses import parse_network
from hedgerow.policies.text.data_files import read_data
from hedgerow.policies.text.suggestions import suggest
from hedgerow.policies.text.yaml_tree import KeyPath, YamlTree

_OWN: Final = re.compile(r"(tcp|udp) +([0-9, -]+?)(?: +to +(\S.*))?", re.IGNORECASE)
_EXAMPLE: Final = "such as 'udp 19132-19133' or 'tcp 25565 to 203.0.113.7'"


@cache
def flow_table() -> dict[str, tuple[Flow, ...]]:
    """Return the built-in flows by name."""
    return {name: tuple(map(_built_in, entry["flows"])) for name, entry in read_data("flows.yaml").items()}


@cache
def default_flows() -> tuple[str, ...]:
    """Return the names of the built-in flows that are allowed unless the policy says otherwise."""
    return tuple(name for name, entry in read_data("flows.yaml").items() if entry["default"])


def read_flows(tree: YamlTree, path: KeyPath, texts: list[str] | None) -> tuple[Flow, ...]:
    """Read the flows; None means the default ones. Mistakes become problems of the tree."""
    found: list[Flow] = []
    for index, text in enumerate(default_flows() if texts is None else texts):
        known = flow_table().get(text.strip().lower())
        own = None if known else _parse_own(text)
        if known:
            found += known
        elif isinstance(own, Flow):
            found.append(own)
        else:
            hint = "" if " " in text.strip() else suggest(text, flow_table())
            problem = (
                own
                or f"'{text}' is neither a protocol with ports, {_EXAMPLE}, nor one of {', '.join(flow_table())}.{hint}"
            )
            tree.add_problem((*path, index), problem)
    return tuple(found)


def _parse_own(text: str) -> Flow | str | None:
    """Return the flow, the mistake in it, or None if the text is not a flow.

    >>> _parse_own("UDP 19132-19133, 25565").ports
    ((19132, 19133), (25565, 25565))
    """
    match = _OWN.fullmatch(text.strip())
    if match is None:
        return None
    protocol, ports, to = match.groups()
    wanted = [word for word in re.split(r"[\s,]+", to or "") if word]
    flow = _flow(protocol, ports.split(","), wanted)
    if len(flow.ports) <= ports.count(","):
        return f"'{ports.strip()}' are not ports from 1 to 65535, {_EXAMPLE}"
    wrong = next((word for word in wanted if parse_network(word) is None), None)
    return flow if wrong is None else f"'{wrong}' is not an IP address or network"


def _flow(protocol: str, ports: Iterable[str], networks: Iterable[str], *, begins_with_stun: bool = False) -> Flow:
    """Return a flow of those ports and networks that are right."""
    return Flow(
        protocol.lower(),
        tuple(each for text in ports if (each := _port_range(text)) is not None),
        tuple(network for text in networks if (network := parse_network(text)) is not None),
        begins_with_stun,
    )


def _port_range(text: str) -> tuple[int, int] | None:
    first, _, last = text.strip().partition("-")
    if not first.strip().isdigit() or (last and not last.strip().isdigit()):
        return None
    low, high = int(first), int(last or first)
    return (low, high) if 1 <= low <= high <= 65535 else None


def _built_in(entry: dict[str, Any]) -> Flow:
    read = _flow(
        entry["protocol"], map(str, entry["ports"]), entry.get("to", ()), begins_with_stun=entry.get("stun", False)
    )
    return replace(read, services=tuple(entry.get("services", ())))
