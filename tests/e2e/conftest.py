"""The family's Hedgerow, shared by all read-only tests."""

from __future__ import annotations

import pytest
from shared_servers import shared_servers
from small_internet import SmallInternet
from small_internet.family import LISTS, family_policy
from small_internet.running import Hedgerow, running_hedgerow


@pytest.fixture(scope="module")
def family(whole_internet: SmallInternet) -> Hedgerow:
    """A running Hedgerow with two workers a role. For tests that change nothing about it."""
    policy, authority = family_policy(whole_internet), whole_internet.authority.root
    server = running_hedgerow(policy, lists=LISTS, workers=2, upstream_authority=authority)
    return shared_servers.running("family", server)
