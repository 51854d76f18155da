"""Daily statements of a café, in a chain that somebody independent can check.

A statement counts one day of UTC, and names no guest, device, address or site that was visited. It is signed with the
site's key (Ed25519, RFC 8032) as JSON with sorted keys and without spaces, and holds the digest of the statement before
it (SHA-256). In a PostgreSQL store the roles of sites can only add statements, the server notes when each arrived, and
the machine that owns the store signs a receipt for it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hedgerow.app.signing_keys import SigningKey, canonical, fingerprint, is_signed
from hedgerow.codec import decode
from hedgerow.policies.time_model import ActiveMinute

FILTERING = "site:filter"
"""The account under which the minutes are counted in which the filter was on."""
GRACE_S = 120.0
"""Seconds after a day until its statement: what happened in it is written by then."""
MAX_LINE = 64 * 1024
_LATE_S = 2 * 86400.0
_LATE_DAYS = 2
_EPOCH = date(1970, 1, 1)
_DAY_S, _DAY_MINUTES = 86400, 1440


@dataclass(frozen=True, slots=True)
class CounterDay:
    """The counter's entries that a statement covers: those from the number `first` to `last`, none if it is less.

    `digest` is that of the entry `last`, which holds those of all before it. `due` and `taken` are the sums of these
    entries by currency.
    """

    first: int
    last: int
    digest: str
    due: dict[str, int]
    taken: dict[str, int]


@dataclass(frozen=True, slots=True)
class Statement:
    """One day of UTC, as a site states it.

    `previous` is the digest of the statement before it, empty in the first. `key` is the fingerprint of the key that
    signs. `sessions` and `blocks` are counted by kind and by category, else reason. `adults_opened_by` and
    `adult_vouchers_by` count by number of the member of staff. `filter_on` are ranges of minutes, such as
    `00:00-24:00`. `list_age_hours` and `coverage` are as of `made_at`; the age is None if no list was fetched, and in a
    statement that was made later than the day after. `policies` are the hashes of all policies of the day, `conduct` is
    that of the code of conduct (SHA-256), empty without one. `counter` is None in statements of format 1, which earlier
    versions have made.
    """

    site: str
    number: int
    previous: str
    key: str
    day: str
    made_at: str
    sessions: dict[str, int]
    adults_opened_by: dict[str, int]
    adult_vouchers_by: dict[str, int]
    blocks: dict[str, int]
    filter_on: list[str]
    list_age_hours: int | None
    coverage: dict[str, str]
    policies: list[str]
    conduct: str
    format: int = 1
    counter: CounterDay | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The fields that are signed. A statement of format 1 does not have the counter's entries."""
        found = asdict(self)
        if self.counter is None:
            del found["counter"]
        return found

    @property
    def text(self) -> str:
        """The text that is signed."""
        return canonical(self.facts)

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests that the next statement may contain: of all of this one and, as an older Hedgerow makes it, of
        what that can read. The signature covers all of it.
        """
        return (digest_of(self.text), *([digest_of(replace(self, counter=None).text)] if self.counter else []))

    @property
    def minutes_off(self) -> int:
        """The minutes of the day in which the filter was off or Hedgerow did not run.

        Raises ValueError for malformed ranges.
        """
        return _DAY_MINUTES - sum(
            _minute(last) - _minute(first) for first, _, last in (each.partition("-") for each in self.filter_on)
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """The instant at which a statement reached the store, by its server's clock, signed by the key of the store's
    owner.
    """

    at: int
    key: str
    signature: str

    def text(self, site: str, number: int, digest: str) -> str:
        """Return the text that is signed."""
        return canonical({"at": self.at, "digest": digest, "key": self.key, "number": number, "site": site})


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A statement with its signature (base64) and, if the store's owner has signed one, its receipt."""

    statement: Statement
    signature: str
    receipt: Receipt | None = None

    @property
    def line(self) -> str:
        """The statement as one line of a file."""
        return canonical(asdict(self) | {"statement": self.statement.facts})


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _day_of(made_at: str) -> date:
    return date.fromisoformat(made_at[:10])


def _end_of(stated: Statement) -> datetime:
    return datetime.fromisoformat(stated.day).replace(tzinfo=UTC) + timedelta(days=1)


def minute_ranges(bits: int) -> list[str]:
    """Return the minutes of a day whose bits are set as ranges.

    >>> minute_ranges(0b1110011 << 1433)
    ['23:53-23:55', '23:57-24:00']
    """
    found: list[list[int]] = []
    for minute in range(_DAY_MINUTES):
        if bits >> minute & 1:
            if found and found[-1][1] == minute:
                found[-1][1] = minute + 1
            else:
                found.append([minute, minute + 1])
    return ["-".join(f"{at // 60:02}:{at % 60:02}" for at in pair) for pair in found]


def day_text(day: int) -> str:
    """Return a day, numbered from the epoch, as YYYY-MM-DD."""
    return f"{_EPOCH + timedelta(days=day)}"


class StatementKey(SigningKey):
    """The private key of a site, or of the store's owner."""

    def number_of(self, name: str) -> str:
        """Return the number of a member of staff: six digits that only the private key can lead back to a name."""
        made = hmac.digest(self.seed, b"staff " + name.encode(), "sha256")
        return f"{int.from_bytes(made[:8]) % 1_000_000:06}"


@dataclass(frozen=True, slots=True)
class ChainReport:
    """The result of a check.

    `problems` are what must not be; `gaps` are days without a statement, `notes` what is to be known. `is_early`: the
    day up to which there should be statements is not over yet, so there can't be one of it.
    """

    statements: tuple[Statement, ...]
    problems: tuple[str, ...]
    gaps: tuple[str, ...]
    notes: tuple[str, ...]
    receipts: int
    is_early: bool = False


def verify_chain(
    lines: Iterable[bytes | str],
    keys: Iterable[Ed25519PublicKey],
    store_keys: Iterable[Ed25519PublicKey] = (),
    earlier: Sequence[bytes] = (),
    today: str = "",
    expected: str = "",
) -> ChainReport:
    """Check a chain from its first statement on. Before the end of the first day, it has none, and that is not a
    problem.

    Arguments:
        store_keys: keys of the store's owner; if there are any, statements need their receipts.
        earlier: the lines of a file from before, which this one has to begin with.
        today: the day as YYYY-MM-DD, to say how far back the last statement lies.
        expected: a day as YYYY-MM-DD that the chain has to reach, and to have a statement of. If it is not over
            `today`, the chain has to reach the day before yesterday, since the statement of yesterday is made a while
            after its end.
    """
    known = {fingerprint(key): key for key in keys}
    receivers = {fingerprint(key): key for key in store_keys}
    found: list[SignedStatement] = []
    problems: list[str] = []
    counter: CounterDay | None = None
    for number, line in enumerate(lines, 1):
        try:
            signed = _parse(line)
        except ValueError as error:
            problems.append(f"line {number} is no statement: {error}")
            continue
        problems += _link_problems(signed, found[-1].statement if found else None, counter, known)
        counter = signed.statement.counter or counter
        found.append(signed)
    problems += _prefix_problems(found, earlier)
    received, more = _check_receipts(found, receivers)
    stated = tuple(each.statement for each in found)
    more += [
        f"statement {each.number} ({each.day}) is of a day that is not over, or the clock here is behind"
        for each in stated
        if today and each.day >= today
    ]
    notes, is_early = [*_notes(found, today)], bool(today) and expected >= today
    if is_early:
        notes.append(f"there is no statement of {expected} yet: it is made at {_made_at(expected)}")
    missing = _missing(stated, expected, f"{_day_of(today) - timedelta(days=2)}" if is_early else "")
    return ChainReport(stated, (*problems, *more, *missing), _gaps(stated), tuple(notes), received, is_early)


def _missing(stated: Sequence[Statement], expected: str, reached: str) -> Iterable[str]:
    """Yield what is missing if there has to be a statement of the day `expected`, or the last has to be of `reached`
    at least.
    """
    if not expected or (reached and not stated):
        return
    if not stated:
        yield f"there is no statement: those until {expected} are missing"
    elif (until := reached or expected) > stated[-1].day:
        yield f"the chain ends at {stated[-1].day}: the statements until {until} are missing"
    elif not reached and all(each.day != expected for each in stated):
        yield f"the statement of {expected} is missing"


def _made_at(day: str) -> str:
    """Return the instant at which the statement of a day is made."""
    end = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1, seconds=GRACE_S)
    return f"{end:%H:%M} UTC on {end:%Y-%m-%d}"


def _parse(line: bytes | str) -> SignedStatement:
    """Read one line. Raises ValueError for anything that this version would not have written."""
    data = line.encode() if isinstance(line, str) else line
    if len(data) > MAX_LINE:
        raise ValueError("it is too long")
    signed = decode(SignedStatement, data)
    if signed.line.encode() != data.rstrip(b"\r\n"):
        raise ValueError("it is not as Hedgerow writes it, or a newer Hedgerow wrote it")
    date.fromisoformat(signed.statement.day)
    if datetime.fromisoformat(signed.statement.made_at).tzinfo is None:
        raise ValueError("it says no instant at which it was made")
    if not 0 <= signed.statement.minutes_off <= _DAY_MINUTES:
        raise ValueError("its minutes are more than a day has")
    return signed


def _link_problems(
    signed: SignedStatement,
    before: Statement | None,
    last: CounterDay | None,
    keys: Mapping[str, Ed25519PublicKey],
) -> Iterable[str]:
    """Yield what is wrong with a statement and its place after the one before it, and after the last counter's day."""
    stated = signed.statement
    name = f"statement {stated.number} ({stated.day})"
    key = keys.get(stated.key)
    if key is None:
        yield f"{name} is signed with another key, {stated.key}"
    elif not is_signed(stated.text, signed.signature, key):
        yield f"{name} is not signed as it stands: it was changed, or another key signed it"
    number, digests = (before.number, before.digests) if before is not None else (0, ("",))
    if stated.counter is not None:  # it was made by a version that reads all of the one before
        digests = digests[:1]
    if stated.number != number + 1:
        yield (
            f"{name} follows statement {number}"
            if before is not None
            else f"{name} comes first: those before it are missing"
        )
    elif stated.previous not in digests:
        yield f"{name} was not made after this statement {number}"
    if datetime.fromisoformat(stated.made_at) < _end_of(stated):
        yield f"{name} was made before its day was over"
    if before is not None and stated.site != before.site:
        yield f"{name} is of another site, {stated.site}"
    if before is not None and stated.day <= before.day:
        yield f"{name} is of a day that comes before {before.day}"
    counter = stated.counter
    if counter is not None and last is not None and counter.first != last.last + 1:
        yield f"{name} begins with entry {counter.first} of the counter, after entry {last.last}"


def _prefix_problems(found: Sequence[SignedStatement], earlier: Sequence[bytes]) -> Iterable[str]:
    for place, line in enumerate(earlier):
        known = _parse(line)
        if place >= len(found) or found[place].statement.text != known.statement.text:
            name = f"statement {known.statement.number} ({known.statement.day})"
            yield f"{name} was another one, or was there, in the earlier file"
            return


def _check_receipts(found: Sequence[SignedStatement], keys: Mapping[str, Ed25519PublicKey]) -> tuple[int, list[str]]:
    """Return the number of good receipts and the problems. The newest statements may not have theirs yet."""
    good: list[int] = []
    problems = []
    for signed in found if keys else ():
        stated, receipt = signed.statement, signed.receipt
        if receipt is None:
            continue
        key = keys.get(receipt.key)
        if key is not None and is_signed(
            receipt.text(stated.site, stated.number, digest_of(stated.text)), receipt.signature, key
        ):
            good.append(stated.number)
            if receipt.at < _end_of(stated).timestamp():
                problems.append(f"statement {stated.number} ({stated.day}) was at the store before its day was over")
        else:
            problems.append(f"the receipt of statement {stated.number} ({stated.day}) is not the store's")
    missing = (
        [each.statement for each in found if each.receipt is None and each.statement.number < max(good, default=0)]
        if keys
        else []
    )
    problems += [f"statement {each.number} ({each.day}) has no receipt of the store" for each in missing]
    if keys and found and not good:
        problems.append("no statement has a receipt of the store")
    return len(good), problems


def _gaps(stated: Sequence[Statement]) -> tuple[str, ...]:
    days = [date.fromisoformat(each.day) for each in stated]
    pairs = [(one + timedelta(days=1), other - timedelta(days=1)) for one, other in pairwise(days)]
    return tuple(f"{first}" if first == last else f"{first} to {last}" for first, last in pairs if first <= last)


def _notes(found: Sequence[SignedStatement], today: str) -> Iterable[str]:
    for signed in found:
        stated = signed.statement
        end = _end_of(stated).timestamp()
        if signed.receipt is not None and signed.receipt.at - end > _LATE_S:
            days = int((signed.receipt.at - end) // _DAY_S)
            yield f"the statement of {stated.day} reached the store {days} days after its day"
    for one, other in pairwise(found):
        if one.statement.key != other.statement.key:
            yield f"from {other.statement.day} on, the key {other.statement.key} signs"
        if one.statement.counter is not None and other.statement.counter is None:
            yield f"from {other.statement.day} on, an older Hedgerow made statements without the counter's entries"
    for signed in found:
        stated = signed.statement
        if (late := (_day_of(stated.made_at) - date.fromisoformat(stated.day)).days - 1) > _LATE_DAYS:
            yield f"the statement of {stated.day} was made {late} days after its day"
    if found and today and (late := (date.fromisoformat(today) - date.fromisoformat(found[-1].statement.day)).days) > 1:
        yield f"the last statement is of {found[-1].statement.day}, {late} days ago"


def filtering_minute(minute: int) -> ActiveMinute:
    """Return what is recorded for a minute in which the filter was on."""
    return ActiveMinute(minute, FILTERING, "")
