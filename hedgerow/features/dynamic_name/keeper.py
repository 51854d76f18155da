"""The client of dynamic DNS: it tells a provider this line's addresses when they have changed (the protocol dyndns2).

Sources: the answers and rules of dyndns2 as its clients and providers document them (ddclient, inadyn, No-IP). An
address is sent when it has changed or was sent almost a month ago. After a refusal, nothing is sent until the name, the
user or the password differs. After `911`, the next try is half an hour later.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from hedgerow.backoff import pause_after
from hedgerow.blocklists.outgoing_guard import OutgoingGuard
from hedgerow.dashboards.notices import Notice, localized
from hedgerow.dashboards.words.languages import message
from hedgerow.features.contract import ControlService, Core
from hedgerow.features.dynamic_name.settings import DynamicName
from hedgerow.files import error_text, write_atomically
from hedgerow.network.own_addresses import outgoing_addresses
from hedgerow.policies.notices import NoticeTopic
from hedgerow.policies.text.addresses import IpAddress, parse_ip
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.ddns")

PASSWORD_NAME, _RECORD_NAME = "ddns-password", "ddns.json"  # in the state directory
LOOK_EVERY_S = 30.0
"""Seconds between two looks at this machine's addresses."""
SEEN_EVERY_S = 300.0
"""Seconds between two questions to `seen_by`."""
AGAIN_AFTER_S = 25 * 86400.0
"""Seconds after which an address is sent again: providers drop names that are silent for a month."""
_FIRST_RETRY_S, _LONGEST_RETRY_S, _BROKEN_S = 60.0, 3600.0, 1800.0
_TIMEOUT_S, _MAX_OCTETS = 20.0, 4096

_ACCEPTED = frozenset({"good", "nochg"})
_REFUSED = {
    "badauth": "it does not accept the user name or the password",
    "!donator": "it wants a paid account for this",
    "notfqdn": "it does not take this name",
    "nohost": "it has no such name for this user",
    "!yours": "the name belongs to another user",
    "numhost": "it wants one name only",
    "abuse": "it has closed the name because of too many updates",
    "badagent": "it does not accept this client",
}


@dataclass(frozen=True, slots=True)
class DynamicRecord:
    """The last exchange with the provider. `of` identifies the settings and the password with which it was had.

    `problem` is one sentence, empty if the provider has accepted the addresses. `is_final`: another try would be
    refused, too.
    """

    of: str = ""
    host: str = ""
    addresses: tuple[str, ...] = ()
    when: float = 0.0
    problem: str = ""
    is_final: bool = False

    @classmethod
    def load(cls, state: Path) -> DynamicRecord:
        """Return the record in the state directory, or an empty one."""
        try:
            values = json.loads((state / _RECORD_NAME).read_bytes())
            return cls(**{**values, "addresses": tuple(values["addresses"])})
        except (OSError, ValueError, KeyError, TypeError):
            return cls()


class ProviderError(Exception):
    """The provider did not accept the addresses. The message is one clause.

    `is_final` as in `DynamicRecord`; `wait_s` is the least time in seconds before another try.
    """

    def __init__(self, text: str, *, is_final: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.is_final, self.wait_s = is_final, wait_s


class DynamicNameKeeper:
    """The name of the policy in force, kept at this line's addresses."""

    def __init__(
        self,
        wanted: Callable[[], DynamicName | None],
        *,
        state: Path,
        enqueue: Callable[[list[Notice]], None],
        addresses: Callable[[], Iterable[str]] = outgoing_addresses,
        local: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """`local` returns the policy's own names and networks."""
        self._wanted, self._state, self._password = wanted, state, state / PASSWORD_NAME
        self._enqueue, self._addresses, self._local = enqueue, addresses, local
        self._record = DynamicRecord.load(state)
        self._next_try = self._seen_at = 0.0
        self._failures = 0  # in a row
        self._seen: IpAddress | None = None

    async def run(self) -> None:
        """Keep the name until cancelled."""
        while True:
            wanted = self._wanted()
            if wanted is not None:
                await self.step(wanted, time.time())
            await next_tick(LOOK_EVERY_S)

    async def step(self, name: DynamicName, now: float) -> None:
        """Tell the provider this line's addresses if that is due."""
        try:
            password = self._read_password() if name.user else ""
        except (OSError, UnicodeError) as error:
            why = error_text(error) if isinstance(error, OSError) else "it is no text"
            self._put(
                DynamicRecord(host=name.host, when=now, problem=f"can't read {self._password}: {why}", is_final=True)
            )
            return
        of, last = hashlib.sha256(repr((name, password)).encode()).hexdigest(), self._record
        if last.of == of and (last.is_final or now < self._next_try):
            return
        try:
            addresses = await self._public_addresses(name, now)
            if (
                last.of == of
                and last.addresses == addresses
                and not last.problem
                and 0 <= now - last.when < AGAIN_AFTER_S
            ):
                return
            await tell_provider(name, password, addresses, self._local())
        except ProviderError as error:
            self._failures += 1
            pause = pause_after(self._failures, first=_FIRST_RETRY_S, longest=_LONGEST_RETRY_S)
            self._next_try = now + max(error.wait_s, pause)
            self._put(
                DynamicRecord(of, name.host, last.addresses if last.of == of else (), now, str(error), error.is_final)
            )
        else:
            self._next_try, self._failures = now, 0
            log.info("%s leads to %s now", name.host, " and ".join(addresses))
            self._put(DynamicRecord(of, name.host, addresses, now))

    async def _public_addresses(self, name: DynamicName, now: float) -> tuple[str, ...]:
        """Return the addresses at which the internet can reach this line. Raises `ProviderError` if there are none."""
        own = [address for address in map(ip_address, self._addresses()) if address.is_global]
        if name.seen_by and not any(address.version == 4 for address in own):
            if self._seen is None or now - self._seen_at > SEEN_EVERY_S:
                self._seen, self._seen_at = await ask_for_address(name.seen_by, self._local()), now
            own.append(self._seen)
        if not own:
            raise ProviderError("this machine has no public address; behind another router, add `seen_by`")
        return tuple(str(address) for address in sorted(own, key=lambda each: each.version))

    def _read_password(self) -> str:
        return self._password.read_text(encoding="utf-8").strip()

    def _put(self, record: DynamicRecord) -> None:
        """Keep a record; tell and log a problem once."""
        is_news = record.problem != self._record.problem
        if record.problem and is_news:
            log.warning("%s can't be kept at this line's address: %s", record.host, record.problem)
        if record.is_final and is_news:
            text = message(
                "%(name)s no longer follows the address of your line: devices may not find home. "
                "`hedgerow doctor` says why."
            )
            self._enqueue([Notice(NoticeTopic.TROUBLE, f"ddns {record.host}", localized(text, name=record.host))])
        self._record = record
        try:
            write_atomically(self._state / _RECORD_NAME, json.dumps(asdict(record)).encode())
        except OSError as error:
            log.warning("Can't write %s: %s", _RECORD_NAME, error_text(error))


def update_url(name: DynamicName, addresses: Iterable[str]) -> str:
    """Return the URL that tells the provider these addresses. Parameters without a value are left out.

    >>> name = DynamicName("home.example", "https://dyn.example/update?hostname={host}&myip={ipv4}&myipv6={ipv6}")
    >>> update_url(name, ["203.0.113.7"])
    'https://dyn.example/update?hostname=home.example&myip=203.0.113.7'
    """
    by_version = {ip_address(address).version: address for address in addresses}
    values = {
        "host": name.host,
        "ipv4": by_version.get(4, ""),
        "ipv6": by_version.get(6, ""),
        "addresses": ",".join(by_version.values()),
    }
    url = urlsplit(name.url)
    pairs = [(key, _filled(value, values)) for key, value in parse_qsl(url.query, keep_blank_values=True)]
    query = urlencode([(key, value) for key, value in pairs if value], safe=":,")
    return urlunsplit(url._replace(path=_filled(url.path, values), query=query))


def _filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], text)


async def tell_provider(name: DynamicName, password: str, addresses: Iterable[str], local: Collection[str]) -> None:
    """Tell the provider the addresses. `local` are the policy's own names and networks. Raises `ProviderError`."""
    status, text = await _get(update_url(name, addresses), (name.user, password) if name.user else None, local)
    word, _, rest = text.strip().partition(" ")
    answer = "badauth" if status in (401, 403) and word.lower() not in _REFUSED else word.lower()
    if answer == "good" and rest.strip() == "127.0.0.1":
        answer = "badagent"
    if answer in _REFUSED:
        raise ProviderError(f"{_REFUSED[answer]} (“{answer}”)", is_final=True)
    if answer not in _ACCEPTED:
        shown = re.sub(r"[^ -~]", " ", text.strip())[:80]
        raise ProviderError(
            f"the provider answered “{shown}” (status {status})", wait_s=_BROKEN_S if answer == "911" else 0.0
        )


async def ask_for_address(url: str, local: Collection[str]) -> IpAddress:
    """Return the IPv4 address that a page shows. Raises `ProviderError`."""
    _, text = await _get(url, None, local)
    found = (parse_ip(part) for part in re.findall(r"(?<!\d)\d++\.\d++\.\d++\.\d++", text))
    address = next((each for each in found if each is not None and each.is_global), None)
    if address is None:
        raise ProviderError(f"{urlsplit(url).hostname} shows no public IPv4 address")
    return address


async def _get(url: str, auth: tuple[str, str] | None, local: Collection[str]) -> tuple[int, str]:
    """Return the status of a response and the beginning of its text. Raises `ProviderError`."""
    try:
        return await asyncio.to_thread(_get_in_thread, url, auth, local)
    except (ValueError, OSError) as error:
        raise ProviderError(f"{urlsplit(url).hostname} can't be reached: {error}") from None


def _get_in_thread(url: str, auth: tuple[str, str] | None, local: Collection[str]) -> tuple[int, str]:
    from hedgerow.blocklists.outgoing import open_url  # only where a policy has such a name, for its memory

    credentials = base64.b64encode(":".join(auth).encode()).decode() if auth else ""
    headers = {"Authorization": f"Basic {credentials}"} if auth else {}
    with open_url(url, _TIMEOUT_S, OutgoingGuard(local=local), headers=headers, redirects=0) as response:
        body = next(response.iter_raw(_MAX_OCTETS), b"")
        return response.status_code, body.decode(errors="replace")


def keeper_service(core: Core) -> ControlService:
    """Return the service that keeps the name at this line's addresses."""
    keeper = DynamicNameKeeper(
        lambda: core.snapshots.policy.settings(DynamicName),
        state=core.settings.state,
        enqueue=core.notify,
        local=lambda: core.snapshots.policy.network.own_places,
    )
    return ControlService(name="dynamic name", area=Area.CONNECTIONS, run=keeper.run)
