"""The family's Hedgerow, shared by all read-only tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from small_internet import SmallInternet
from small_internet.family import LISTS, family_policy
from small_internet.running import Hedgerow, running_hedgerow


@pytest.fixture(scope="session")
def family(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    """A running Hedgerow with two workers a role. For tests that change nothing about it."""
    policy = family_policy(whole_internet)
    with running_hedgerow(policy, lists=LISTS, workers=2, upstream_authority=whole_internet.authority.root) as running:
        yield running
