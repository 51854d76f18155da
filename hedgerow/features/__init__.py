"""Optional capabilities, one folder each, and `FEATURES`, the only place that names them.

A feature's own package is data, and functions that import the rest when it is wanted, so that this table is cheap to
read. `app` goes through it, and so does the schema of the policy file, which has the keys of all features. Otherwise
the core imports no feature, and a feature imports no other one unless its `needs` name it.

Deliberately absent: discovery, and registration at import.
"""

from __future__ import annotations

from hedgerow.features import (
    advice,
    agreement,
    away,
    cafe,
    chores,
    connecting,
    dynamic_name,
    growing_up,
    home_assistant,
    invitations,
    joining,
    last_rules,
    log_shipping,
    machine,
    ntfy,
    openid,
    organisation,
    pictures,
    quic,
    quiet_hour,
    radius,
    registration_age,
    reported_leases,
    self_check,
    statements,
    telegram,
    tethering,
    undo,
    wifi,
    wishes,
)
from hedgerow.features.contract import Feature

FEATURES: tuple[Feature, ...] = (
    connecting.FEATURE,
    chores.FEATURE,
    growing_up.FEATURE,
    agreement.FEATURE,
    log_shipping.FEATURE,
    radius.FEATURE,
    reported_leases.FEATURE,
    home_assistant.FEATURE,
    registration_age.FEATURE,
    pictures.FEATURE,
    dynamic_name.FEATURE,
    away.FEATURE,
    wifi.FEATURE,
    quic.FEATURE,
    openid.FEATURE,
    invitations.FEATURE,
    last_rules.FEATURE,
    undo.FEATURE,
    wishes.FEATURE,
    advice.FEATURE,
    quiet_hour.FEATURE,
    ntfy.FEATURE,
    telegram.FEATURE,
    tethering.FEATURE,
    self_check.FEATURE,
    machine.FEATURE,
    cafe.FEATURE,
    statements.FEATURE,
    organisation.FEATURE,
    joining.FEATURE,
)
"""All features, in the order in which their cards and services appear."""
