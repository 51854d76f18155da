"""The doctor's check of the name that follows the line's address."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator

from hedgerow.app.doctor.findings import Finding, Health, Installation, good_finding
from hedgerow.app.settings import Settings
from hedgerow.app.workers.upstreams import open_policy_upstreams
from hedgerow.dns.upstreams.factory import BootstrapResolver
from hedgerow.dns.upstreams.upstream import UpstreamError
from hedgerow.features.dynamic_name.keeper import DynamicRecord
from hedgerow.features.dynamic_name.settings import DynamicName
from hedgerow.policies.network import NetworkSettings

_SETTLES_S = 600.0
"""Seconds that a provider may take until resolvers give the new address."""


def check_dynamic_name(installation: Installation) -> Iterator[Finding]:
    """Check that the provider of dynamic DNS has accepted this line's addresses, and that the name leads to them."""
    settings, policy = installation.settings, installation.policy
    wanted = policy.settings(DynamicName) if policy is not None else None
    if settings is None or policy is None or wanted is None:
        return
    name, record = wanted.host, DynamicRecord.load(installation.state)
    found = () if record.problem else asyncio.run(_addresses_of(name, policy.network, settings))
    yield name_finding(name, record, found, time.time())


def name_finding(name: str, record: DynamicRecord, found: Collection[str], now: float) -> Finding:
    """Report on a name that leads to the addresses `found` while the provider was told what is in the record."""
    told = " and ".join(record.addresses)
    if record.host != name:
        return Finding(
            "dynamic DNS", Health.UNSURE, f"{name}: nothing has been sent yet", "wait a minute, and see the log"
        )
    if record.problem:
        places = "network.ddns in the policy, and the password in ddns-password in the state directory"
        mend = f"{places}; see docs/features/dynamic_name.md"
        return Finding(
            "dynamic DNS", Health.BAD if record.is_final else Health.UNSURE, f"{name}: {record.problem}", mend
        )
    if set(found) & set(record.addresses):
        return good_finding("dynamic DNS", f"{name} leads to {told}")
    mend = "see the name in your account at the provider" if now - record.when > _SETTLES_S else "wait a few minutes"
    return Finding(
        "dynamic DNS", Health.UNSURE, f"{name} leads to {' and '.join(found) or 'no address'}, not to {told}", mend
    )


async def _addresses_of(name: str, network: NetworkSettings, settings: Settings) -> tuple[str, ...]:
    """Return the addresses of a name on the internet, empty if it has none."""
    upstreams = open_policy_upstreams(network, settings)
    try:
        return await BootstrapResolver(upstreams)(name)
    except UpstreamError:
        return ()
    finally:
        await upstreams.close()
