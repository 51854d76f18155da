"""All suites against one program."""

from __future__ import annotations

from collections.abc import Iterator

from http_conformance.outcome import Outcome
from small_internet.whole import SmallInternet

from dns_conformance.aliases import CORP, run_aliases
from dns_conformance.messages import run_messages
from dns_conformance.servers import stand
from dns_conformance.streams import run_http2, run_streams
from dns_conformance.validation import SIGNED, run_validation

ZONES = {"corp": CORP, "signed": SIGNED, "forged": SIGNED}


def run_all(name: str, net: SmallInternet) -> Iterator[Outcome]:
    """Run every suite against the resolver of this name: Hedgerow or Unbound. Needs knotd and unbound."""
    with stand(name, net, ZONES) as running:
        yield from run_messages(running.resolver)
        yield from run_streams(running.resolver)
        yield from run_http2(running.resolver)
        yield from run_aliases(running.resolver)
        yield from run_validation(running)
