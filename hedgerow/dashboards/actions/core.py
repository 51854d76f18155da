"""The actions of the core."""

from __future__ import annotations

from hedgerow.dashboards.actions.access import ACCESS_ACTIONS
from hedgerow.dashboards.actions.accounts import ACCOUNT_ACTIONS
from hedgerow.dashboards.actions.action import Action
from hedgerow.dashboards.actions.codes import CODE_ACTIONS
from hedgerow.dashboards.actions.sessions import SESSION_ACTIONS

CORE_ACTIONS: tuple[Action, ...] = (*ACCESS_ACTIONS, *SESSION_ACTIONS, *CODE_ACTIONS, *ACCOUNT_ACTIONS)
