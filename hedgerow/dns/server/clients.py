"""The clients of a worker: their rules, limits and answers, and the client ids of encrypted DNS.

A client id makes a device known wherever it asks from, so it is as good as a password: whoever knows it gets that
device's answers. It does not count from an address whose device the policy names, or an adult's id would open a child's
own device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from typing import Final

from hedgerow.client_classes import ClassedClient, address_key, named_client, outside_client, unnamed_client
from hedgerow.dns.answer_cache import Clocks
from hedgerow.dns.cache import CacheEntry
from hedgerow.dns.server.rate_limits import RateLimiter, TokenBucket, rate_limit_key
from hedgerow.dns.server.reports import AnswerLog, AnswerReports, Client, Observe
from hedgerow.policies.ruleset import Ruleset

CLIENT_ID_PREFIX: Final = "id:"
MAC_PREFIX: Final = "mac:"
FORWARDER_PREFIX: Final = "forwarder:"
"""Prefixes of the keys of clients that are not found by address. No address begins with them.

They are for a client id (`@` and its address follow), for the MAC address that a forwarder passes on, and for a
forwarder that asks for itself.
"""

_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PATH: Final = "/dns-query"


def client_id_from_sni(server_name: str | None, own_name: str | None) -> str | None:
    """Return the client id in front of our own name in the SNI, or None.

    >>> (client_id_from_sni("Mia-Phone.dns.home.example", "dns.home.example"),
    ...  client_id_from_sni("dns.home.example", "dns.home.example"))
    ('mia-phone', None)
    """
    if server_name is None or own_name is None:
        return None
    label, dot, rest = server_name.lower().rstrip(".").partition(".")
    return label if dot and rest == own_name and _ID.fullmatch(label) else None


def client_id_from_path(path: str) -> tuple[bool, str | None]:
    """Return whether a path is for DNS, and its client id. A malformed id makes the path unknown.

    >>> (client_id_from_path("/dns-query"), client_id_from_path("/dns-query/mia-phone"), client_id_from_path("/dns-query/a/b"),
    ... client_id_from_path("/"))
    ((True, None), (True, 'mia-phone'), (False, None), (False, None))
    """  # noqa: E501
    if path in (_PATH, f"{_PATH}/"):
        return True, None
    head, slash, text = path.rpartition("/")
    client_id = text.lower()
    return (True, client_id) if slash and head == _PATH and _ID.fullmatch(client_id) else (False, None)


MAX_CLIENTS: Final = 16_384
MAX_PROVEN: Final = 1024  # addresses and networks from which a client id was used lately
# an address may pass to another device, which is noticed after this time at the latest
CLIENT_ENTRY_SECONDS: Final = 10.0


type ClientLookup = Callable[[str], Client | None]
type ClientKey = int | str | bytes
"""What a listener finds in a datagram or about a connection to tell clients apart."""


class ClientEntry(AnswerLog):
    """A client as the hot path needs it: the prefix of its cache keys, its bucket, and the log of its answers.

    `admitted` are the cached answers whose addresses the gateway admits; None: any. `classed` is the client as limits
    see it.
    """

    __slots__ = ("address", "admitted", "bucket", "classed", "key", "prefix")

    def __init__(self, key: ClientKey, address: str, client: Client, prefix: bytes, bucket: TokenBucket) -> None:
        super().__init__(client)
        self.key, self.address = key, address
        self.bucket = bucket
        device = client.device
        self.classed: ClassedClient = (
            named_client(rate_limit_key(address, device), device)
            if client.is_named
            else unnamed_client(address, device)
        )
        self.admitted: set[CacheEntry] | None = None if client.source is None else set()
        self.prefix = prefix


class Clients:
    """The clients of one worker. The hot path reads `known` directly.

    A ruleset is never used past its `until`: listeners call `forget_expired` before they look up clients.
    """

    def __init__(
        self,
        find_client: ClientLookup,
        prefix_of: Callable[[Ruleset], bytes],
        observe: Observe,
        counters: dict[tuple[str, ...], float],
        clocks: Clocks,
    ) -> None:
        self.limits = RateLimiter()
        self.known: dict[ClientKey, ClientEntry] = {}
        self.find_client = find_client
        self.reports = AnswerReports(observe, counters)
        self._prefix_of, self._clocks = prefix_of, clocks
        self._boundary = float("inf")  # on the wall clock: the first `until` of all known clients
        self._stale_at = clocks.steady() + CLIENT_ENTRY_SECONDS

    def forget_expired(self, now: float) -> None:
        """Forget all clients when a ruleset has ended or the look-ups are old. `now` is on the steady clock."""
        if now >= self._stale_at or self._clocks.wall() >= self._boundary:
            self.forget()

    def find_again(self, client: ClientEntry) -> ClientEntry | None:
        """Return the current entry of a client that was found some time ago."""
        self.forget_expired(self._clocks.steady())
        return self.known.get(client.key) or self.find(client.key, client.address)

    def find(self, key: ClientKey, address: str) -> ClientEntry | None:
        """Look up the client at `address` and keep it under `key`.

        None for an unknown one, which is not kept: there may be any number.
        """
        client = self.find_client(address.partition("%")[0])
        if client is None:
            return None
        if len(self.known) >= MAX_CLIENTS:
            self.forget()
        until = client.ruleset.until
        if until is not None:
            self._boundary = min(self._boundary, until)
        client_entry = self.known[key] = ClientEntry(
            key,
            address,
            client,
            self._prefix_of(client.ruleset),
            self.limits.bucket(address, client.device, is_named=client.is_named),
        )
        return client_entry

    def record_answer(self, client: ClientEntry, key: bytes, entry: CacheEntry) -> None:
        """Count an answer that was not in the cache."""
        if self.known.get(client.key) is client:
            self.reports.add(client, key, entry)
        else:  # it was forgotten meanwhile, and nobody would look into its log
            self.reports.report_at_once(client.client, key, entry)

    def forget(self) -> None:
        """Look up all clients again. Their answers are set aside to be reported."""
        self.reports.set_aside(self.known.values())
        self.known.clear()
        self._boundary = float("inf")
        self._stale_at = self._clocks.steady() + CLIENT_ENTRY_SECONDS

    def flush(self) -> None:
        """Report all answers since the last report."""
        self.reports.set_aside(self.known.values())
        while self.reports.report_some():
            pass

    def begin_report(self) -> None:
        """Set aside the answers since the last report, unless some of that are still unreported."""
        if self.reports.is_done:
            self.reports.set_aside(self.known.values())
        else:
            self.reports.add_up_all(self.known.values())


class ConnectingClients:
    """The clients of connections that begin, whose id, if they have one, is not known yet.

    `find` returns the client with a key, and `forwarders` the addresses of the policy's forwarders.
    """

    def __init__(self, find: Callable[[str], ClientEntry | None], forwarders: Callable[[], Container[str]]) -> None:
        self._find, self._forwarders = find, forwarders
        # keys of clients with an id, by the address or network from which they asked last
        self._proven: dict[str, str] = {}

    def note_proven(self, key: str, address: str) -> None:
        """Remember that a client with an id, found by `key`, asks from an address.

        Its next connections count for it from the beginning.
        """
        if len(self._proven) >= MAX_PROVEN:
            del self._proven[next(iter(self._proven))]
        self._proven[address_key(address)] = key

    def find(self, address: str) -> ClientEntry | None:
        """Return the client that opens a connection from an address; None for one that may not ask without an id."""
        client = self._find(address)
        if self._proven and (client is None or not client.client.is_named):
            key = self._proven.get(address_key(address))
            client = client if key is None else self._find(key) or client
        return client

    def class_of(self, address: str) -> ClassedClient:
        """Return the client as limits see it. A forwarder is named by the policy, whoever asks through it."""
        if address.partition("%")[0] in self._forwarders():
            return named_client(address)
        client = self.find(address)
        return outside_client(address) if client is None else client.classed
