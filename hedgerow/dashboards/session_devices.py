"""The devices that sessions are bound to, and notices about a session that another device used."""

from __future__ import annotations

from collections.abc import Collection

from hedgerow.dashboards.accounts import DAY_S
from hedgerow.dashboards.guard import LOCAL_PEERS
from hedgerow.dashboards.notices import Notice, localized
from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.policy_index import address_key
from hedgerow.dashboards.words.languages import message
from hedgerow.journal.accounts import WebSessionRow
from hedgerow.policies.identity import Grade
from hedgerow.policies.notices import NoticeTopic

_MOST_TOLD = 100
"""Notices in a day about sessions on other devices."""


class SessionDevices:
    """Identities of the devices of sessions."""

    def __init__(self, context: PageContext) -> None:
        self._context = context
        self._told: dict[tuple[str, str], float] = {}

    def keys(self, address: str) -> Collection[str]:
        """Return the MAC addresses of a device that is recognised by one, and its name if it has a tunnel home, or else
        its address and its name, which may be new.
        """
        control = self._context.control
        device = control.device_at(address)
        if device is None or address in LOCAL_PEERS:
            return {"localhost" if address in LOCAL_PEERS else address}
        known = control.policy().devices.get(device.device)
        if device.grade < Grade.MAC_AND_ADDRESS:
            return {address, address_key(device.device)}
        if known is not None and known.macs and known.tunnel is None:
            return known.macs
        return {device.device, *(known.macs if known is not None else ())}  # its tunnel may be all, one day

    def is_recognised(self, address: str) -> bool:
        """Return whether the device at an address is known by its MAC address or tunnel."""
        device = self._context.control.device_at(address)
        return device is not None and device.grade >= Grade.MAC_AND_ADDRESS

    def tell_foreign(self, session: WebSessionRow, address: str) -> None:
        """Tell of a session on another device, once a day for each: an open page asks again and again."""
        now, which = self._context.clock(), (session.id, address)
        self._told = {each: when for each, when in self._told.items() if now - when < DAY_S}
        if which in self._told or len(self._told) >= _MOST_TOLD:
            return
        self._told[which] = now
        device = self._context.control.device_at(address)
        text = message(
            "The session of %(name)s was used on another device (%(device)s), and refused there. If that was not you:"
            " somebody can read what you send over HTTP. Sign out, and sign in by HTTPS."
        )
        where = localized(text, name=session.account, device=address if device is None else device.device)
        self._context.notices.enqueue([Notice(NoticeTopic.BYPASS, f"session {session.id}", where)])
