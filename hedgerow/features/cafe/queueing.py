"""The queueing discipline that keeps what seats receive to their bandwidth (HTB, tc-htb(8)), set by netlink.

It takes the place of the kernel's default only, and of none that somebody has chosen. It needs CAP_NET_ADMIN. Imported
only if there is a gateway, for the weight of pyroute2.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from hedgerow.features.cafe.bandwidth import QDISC

_ROOT = 0xFFFFFFFF
_PACKET_BYTES, _MIN_PACKETS, _QUEUE_S = 1_500, 20, 0.2
"""Packets that may wait where the kernel has no fq_codel: what passes in `_QUEUE_S` seconds, and some at least."""


class QueueingError(Exception):
    """The bandwidth cannot be limited. The message is one plain sentence."""


def limit_interface(name: str, rates: Mapping[int, int]) -> None:
    """Give an interface these classes, in bit/s by number, and no others. What has no class is not delayed.

    Raises `QueueingError`.
    """
    try:
        with IPRoute() as netlink:
            (index,) = netlink.link_lookup(ifname=name) or (0,)
            if not index:
                return  # it has not appeared yet
            handle, kind = _root(netlink, index)
            if handle not in (0, QDISC):
                raise QueueingError(
                    f"{name} has a queueing discipline of somebody's own ({kind}), "
                    "so that no seat's bandwidth is limited."
                )
            if handle != QDISC:
                netlink.tc("add", "htb", index, QDISC, default=0)
            present = {
                each["handle"] & 0xFFFF for each in netlink.get_classes(index) if each["handle"] >> 16 == QDISC >> 16
            }
            for number, rate in rates.items():
                _set_class(netlink, index, number, rate, is_new=number not in present)
            for number in present - rates.keys():
                # Without the kind: pyroute2 would add options to the request, and it can't encode those of a removal.
                netlink.tc("del-class", index=index, handle=QDISC | number)
    except NetlinkError as error:
        raise QueueingError(f"The bandwidth of seats at {name} can't be limited: {error}.") from error


def is_limited(name: str) -> bool:
    """Return True if our queueing discipline is in place."""
    with IPRoute() as netlink:
        (index,) = netlink.link_lookup(ifname=name) or (0,)
        return not index or _root(netlink, index)[0] == QDISC


def free_interface(name: str) -> None:
    """Remove our queueing discipline if there is one, which brings the kernel's default back."""
    with contextlib.suppress(NetlinkError), IPRoute() as netlink:
        (index,) = netlink.link_lookup(ifname=name) or (0,)
        if index and _root(netlink, index)[0] == QDISC:
            netlink.tc("del", "htb", index, QDISC, parent=_ROOT)


def _root(netlink: Any, index: int) -> tuple[int, str]:
    """Return the handle and the kind of an interface's queueing discipline. A default one has the handle 0."""
    found = (
        (each["handle"], each.get_attr("TCA_KIND")) for each in netlink.get_qdiscs(index) if each["parent"] == _ROOT
    )
    return next(found, (0, "none"))


def _set_class(netlink: Any, index: int, number: int, rate: int, *, is_new: bool) -> None:
    octets = rate // 8
    command = "add-class" if is_new else "change-class"
    netlink.tc(command, "htb", index, QDISC | number, parent=QDISC, rate=octets, ceil=octets, quantum=2 * _PACKET_BYTES)
    if not is_new:
        return
    try:
        netlink.tc("add", "fq_codel", index, 0, parent=QDISC | number)
    except NetlinkError:  # the kernel has none
        packets = max(_MIN_PACKETS, int(octets * _QUEUE_S / _PACKET_BYTES))
        netlink.tc("add", "pfifo", index, 0, parent=QDISC | number, limit=packets)
