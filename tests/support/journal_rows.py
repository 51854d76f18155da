"""Rows in every table of a journal, written as the product writes them."""

from __future__ import annotations

from hedgerow.journal.access_store import AccessCode, CodeStore, GrantStore
from hedgerow.journal.accounts import AccountRow, AccountStore, TokenRow, WebSessionRow
from hedgerow.journal.authorities import AuthorityStore
from hedgerow.journal.batch import Batch
from hedgerow.journal.messages import DeviceSeen, ProtectionSeen
from hedgerow.journal.outbox import Outbox
from hedgerow.journal.policy_history import PolicyHistory, PolicyVersion, PolicyVersions
from hedgerow.journal.recorder import Recorder, SystemEvent
from hedgerow.journal.remembered_sites import RememberedSiteStore
from hedgerow.journal.rule_versions import RuleVersions
from hedgerow.journal.store import Store
from hedgerow.journal.tables import (
    agreements,
    counter_entries,
    goals,
    growing_up,
    legal_stages,
    members,
    rule_changes,
    rules_told,
    site_groups,
    site_status,
    staff,
    statements,
    vouchers,
    wishes,
)
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import AccessRequest, DeviceId, Grant, Observation, Reason, RequestKind, Session, Verdict
from hedgerow.policies.time_model import ActiveMinute, Bonus

NOW = 1_780_000_000.0
TABLET = DeviceId("tablet")


def fill(store: Store) -> None:
    """Write at least one row to each table.

    Devices and people have the same names at every site, as they may in families.
    """
    site, clock = store.site, lambda: NOW
    recorder = Recorder(store, clock=clock)
    block = (RequestKind.DNS, Verdict.BLOCK, Reason.CATEGORY, "adult")
    recorder.add(
        Observation(NOW, TABLET, "mia", "child-8-12", *block, f"{number}.{site}.example") for number in range(3)
    )
    recorder.add([AccessRequest(NOW, TABLET, "mia", "same.example"), SystemEvent(NOW, "restart", "mia", site)])
    recorder.add([DeviceSeen(NOW, TABLET, "192.168.1.9", None, "mia", "child-8-12", site)])
    recorder.add([ProtectionSeen(NOW, TABLET, Protection.DNS)])
    recorder.flush()
    grants, usage = GrantStore(store, clock=clock), UsageStore(store, clock=clock)
    grants.give(Grant(f"g-{site}", "same.example", "ana", NOW, NOW + 60, TABLET))
    grants.pause("ana", person="mia")
    usage.add([ActiveMinute(int(NOW // 60), "person:mia", "")])
    usage.give(Bonus(f"b-{site}", "person:mia", "", 5, "ana", NOW))
    usage.start_session(Session(f"s-{site}", TABLET, "ana", NOW))
    CodeStore(store, clock=clock).add(
        AccessCode(f"c-{site}", "ana", NOW, NOW + 60, person="mia", subject="same.example"), "123456"
    )
    voucher = {"digest": f"of-{site}", "band": "child", "minutes": 60, "actor": "ana"}
    store.execute(store.insert(vouchers).values(**voucher, made_at=NOW, expires=NOW + 60))
    texts = dict.fromkeys(("seat", "session", "kind", "currency", "note"), "")
    numbers = {"minutes": 0, "count": 1, "due": 0, "taken": 0}
    entry = {"at": NOW, "actor": "ana", "action": "print", **texts, **numbers}
    store.execute(store.insert(counter_entries).values(entry))
    store.execute(store.insert(staff).values(name="Ana", role="staff", created_at=NOW, pin="hash"))
    member = {"number": 1, "name": "Mia", "balance": 0, "currency": "EUR"}
    store.execute(store.insert(members).values(**member, created_at=NOW))
    wish = {"person": "mia", "device": TABLET, "kind": "minutes", "subject": "", "minutes": 10, "asked": 1}
    wish |= {"given": 0, "note": "", "state": "open", "why": "", "at": NOW, "last_at": NOW}
    store.execute(store.insert(wishes).values(wish))
    announced = {"announced": "teen-13-15", "announced_at": NOW, "takes_effect": NOW + 30 * 86_400}
    store.execute(
        store.insert(growing_up).values(person="mia", born="2013-07", profile="child-8-12", **announced, erased_at=0.0)
    )
    said: dict[str, object] = {"promises": "[]", "parent": "ana", "months": 3}
    said |= dict.fromkeys(("child_terms", "parent_terms", "words"), "")
    said |= dict.fromkeys(("version", "agreed_round", "child_round", "parent_round", "reminded"), 1)
    said |= dict.fromkeys(("child_at", "parent_at", "agreed_at", "look_at"), NOW)
    store.execute(store.insert(agreements).values(person="mia", **said))
    told = {"person": "mia", "rules": "{}", "privacy": "category", "raised": "", "raised_at": 0.0, "begins_at": 0.0}
    store.execute(store.insert(rules_told).values(told))
    change = {"person": "mia", "at": NOW, "before": "{}", "after": "{}", "reason": ""}
    store.execute(store.insert(rule_changes).values(change))
    legal = {"basis": "AU 2013-07", "closed": "social", "announced": "-", "unseen": 0.0, "seen_at": NOW}
    store.execute(store.insert(legal_stages).values(person="mia", **legal, announced_at=NOW, takes_effect=NOW + 60))
    goal = {"person": "mia", "at": NOW, "subject": "", "minutes": 60, "starts": 0, "ends": 0}
    store.execute(store.insert(goals).values(goal))
    Outbox(store, clock=clock).put("dad", "request", "tablet same.example", site)
    PolicyHistory(store).add(NOW, "ana", site, {}, {})
    PolicyVersions(store).add(PolicyVersion(0, NOW, "ana", site, "node", 0, {"hedgerow.yaml": site}))
    AuthorityStore(store).add(NOW, "AA:BB", "sealed")
    store.execute(store.insert(site_groups).values(group_name="north"))
    store.execute(store.insert(site_status).values(node="node", at=NOW, state="{}"))
    RuleVersions(store).record(NOW, "p", "l", {}, ())
    stated = {"number": 1, "digest": "d", "previous": "", "body": "{}", "signature": "s", "received_at": NOW}
    store.execute(store.insert(statements).values(stated))
    RememberedSiteStore(store, clock=clock).remember("films.example", "adult")
    Batch([], writer="control", number=1, minutes=[ActiveMinute(int(NOW // 60), "person:mia", "")]).write(store)
    people = AccountStore(store)
    people.add_account(AccountRow("ana", "admin", "hash", NOW))
    people.add_session(WebSessionRow(f"w-{site}", "ana", "192.168.1.9", "Firefox", NOW, NOW))
    people.add_token(TokenRow(f"t-{site}", "script", "read", "ana", NOW))
