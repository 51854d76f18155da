"""The action that replaces a policy file with mistakes by the text whose rules are in force."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.actions.action import Caller, CommandOf, FormOf, action
from hedgerow.dashboards.control import Control, InvalidInput
from hedgerow.dashboards.edits.policy_editor import PolicyEditor
from hedgerow.dashboards.scopes import AccessScope
from hedgerow.journal.rule_versions import RuleVersions


class PolicyOperations(Protocol):
    """The parts of the pages that the action uses."""

    control: Control
    editor: PolicyEditor

    @property
    def rule_versions(self) -> RuleVersions: ...


def kept_texts(versions: RuleVersions) -> dict[Path, str]:
    """Return the texts of the policy files whose rules are in force, by path; none if they are not kept.

    A file with mistakes makes no version, so the newest one is in force. Waits for the disk.
    """
    newest = versions.newest()
    version = versions.version(newest) if newest is not None else None
    return {Path(path).absolute(): text for path, text in version.files.items()} if version is not None else {}


@action(
    "POST",
    "/policy/last-rules",
    access=AccessScope.MANAGE,
    form=FormOf("/changes/last-rules"),
    command=CommandOf(lambda: "The policy file has the rules again that are in force."),
)
async def return_to_last_rules(core: PolicyOperations, caller: Caller) -> None:
    """Replace a policy file that has mistakes by the text whose rules are in force.

    What it was before stays among the changes.
    """
    if not core.control.status().policy_problems:
        raise InvalidInput("The policy file has no mistakes.")
    texts = await run_in_threadpool(kept_texts, core.rule_versions)
    if core.editor.path.absolute() not in texts:
        raise InvalidInput("The text of the rules in force is not kept: correct the file, or restore it from a backup.")
    folder = core.editor.path.parent

    def last(now: Mapping[str, str]) -> dict[str, str]:
        return {name: texts.get((folder / name).absolute(), text) for name, text in now.items()}

    if (
        await core.editor.rewrite(
            caller.principal, "The rules in force, in the place of a file with mistakes", last, sure=True
        )
        is None
    ):
        raise InvalidInput("The file has this text already, so something else is wrong with it.")
