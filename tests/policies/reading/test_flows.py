"""`network.flows`: built-in flows by name, and flows of one's own."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from hedgerow.codec import decode, encode
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Policy
from hedgerow.policies.network import Flow
from hedgerow.policies.reading.flows import default_flows, flow_table
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.text.data_files import read_data


def flows(text: str) -> tuple[Flow, ...]:
    return parse_policy(f"network: {{{text}}}\n".encode(), None).network.flows


def test_default_and_built_in_flows() -> None:
    table = flow_table()
    assert flows("") == flows("flows: [calls, push, games]") == table["calls"] + table["push"] + table["games"]
    assert default_flows() == ("calls", "push", "games")
    assert flows("flows: []") == ()
    assert flows("flows: Direct-Calls") == table["direct-calls"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("udp 19132-19133", Flow("udp", ((19132, 19133),))),
        (
            "TCP 25565, 25575 to 203.0.113.7 2001:db8::/32",
            Flow("tcp", ((25565, 25565), (25575, 25575)), (ip_network("203.0.113.7"), ip_network("2001:db8::/32"))),
        ),
        (
            "udp 1 - 2 to 203.0.113.0/24, 198.51.100.1",
            Flow("udp", ((1, 2),), (ip_network("203.0.113.0/24"), ip_network("198.51.100.1"))),
        ),
    ],
)
def test_own_flows(text: str, expected: Flow) -> None:
    assert flows(f"flows: ['{text}']") == (expected,)


def test_flows_survive_the_codec() -> None:
    policy = parse_policy(b"network: {flows: [calls, tcp 22 to 203.0.113.7]}\n", None)
    assert decode(Policy, encode(policy)) == policy


def test_each_built_in_flow_has_a_source_and_few_are_open_to_any_address() -> None:
    for name, entry in read_data("flows.yaml").items():
        for flow, read in zip(entry["flows"], flow_table()[name], strict=True):
            assert flow["source"].startswith("https://")
            assert all(1 <= first <= last <= 65535 for first, last in read.ports)
            assert len(read.to) == len(flow.get("to", ()))
            is_open = not read.to and not read.begins_with_stun
            assert not is_open or (name == "games" and read.services), "anything could pass there"
            assert name not in ("calls", "games") or read.services, "a child without any of them needs it for nothing"
            assert set(read.services) <= set(Services.load().by_id)
