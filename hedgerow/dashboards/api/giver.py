"""Who gives, answers or changes something by the API: the name of the token or the account, for the journal."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request


def _giver(request: Request) -> str:
    return str(request.state.visitor.name)


type Giver = Annotated[str, Depends(_giver)]
