"""Draw the state table of the proxy's gate as a Mermaid diagram, in place of the one between the markers of a document.

Run `python tools/state_diagram.py docs/proxy.md`. A test checks that the document is up to date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from hedgerow.proxy.gate.commands import TRANSITIONS, State

_BEGIN, _END = "<!-- generated from proxy/gate/commands.py: begin -->", "<!-- end -->"
_STARTS = {State.PROXY_REQUEST: "explicit", State.DETECTING: "redirected"}


def state_diagram() -> str:
    """The table in Mermaid. `Close` is left out: it leads from every state to the end."""
    lines = ["stateDiagram-v2", *(f"    [*] --> {state.name}: {label}" for state, label in _STARTS.items())]
    for state, row in TRANSITIONS.items():
        lines.append(f"    {state.name}: {state.value}")
        targets = dict.fromkeys(row.values())
        for target in targets:
            commands = [
                command.__name__
                for command, follower in row.items()
                if follower is target and command.__name__ != "Close"
            ]
            if commands:
                lines.append(f"    {state.name} --> {target.name}: {', '.join(commands)}")
        if set(row.values()) <= {State.CLOSED}:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join(lines) + "\n"


def with_diagram(document: str) -> str:
    """The document with the diagram of now."""
    block = f"{_BEGIN}\n```mermaid\n{state_diagram()}```\n{_END}"
    replaced, count = re.subn(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", lambda _: block, document, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"the document must hold one pair of {_BEGIN} and {_END}")
    return replaced


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(with_diagram(path.read_text(encoding="utf-8")), encoding="utf-8")
