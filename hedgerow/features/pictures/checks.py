"""The doctor's findings about pictures."""

from __future__ import annotations

from collections.abc import Iterator

from hedgerow.app.doctor.findings import Finding, Health, Installation, good_finding
from hedgerow.features.pictures import scanner
from hedgerow.policies.effective_users import are_scored
from hedgerow.policies.model import Policy


def check_pictures(installation: Installation) -> Iterator[Finding]:
    """Check that pictures can be judged, if the policy asks for it."""
    return picture_findings(installation.policy)


def picture_findings(policy: Policy | None) -> Iterator[Finding]:
    """Yield a finding about the extra `pictures` if a policy needs it."""
    if policy is not None and are_scored(policy, scanner.KEY):
        missing = Finding("pictures", Health.BAD, f"picture_scan is on, but {scanner.MISSING}", scanner.INSTALL)
        yield good_finding("pictures", "can be judged on inspected devices") if scanner.is_installed() else missing
