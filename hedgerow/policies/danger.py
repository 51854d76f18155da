"""Dangerous openings: services, topics and hosts that are opened only after somebody was asked whether they mean it."""

from __future__ import annotations

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.names import parse_host
from hedgerow.policies.host_facts import Services
from hedgerow.policies.targets import ILLEGAL

_TOPIC_OF_GROUP = {"vpn": "bypass"}  # other groups of services have the name of their topic


def dangers_of(subject: str, catalogue: Catalogue, *, for_child: bool) -> tuple[str, ...]:
    """Return the dangerous categories of what a service, topic, host or URL opens, and none for any other text.

    `illegal` is not among them: nothing opens it.
    """
    service = Services.load().by_id.get(subject)
    topics = {category.name: category for category in builtin_categories() if category.name != ILLEGAL}
    if service is not None:
        names: tuple[str, ...] = (_TOPIC_OF_GROUP.get(service.group, service.group),)
    elif subject in topics:
        names = (subject,)
    else:
        host = parse_host((subject.partition("://")[2] or subject).partition("/")[0].strip())
        names = catalogue.names_of(catalogue.host_mask(host)) if host is not None else ()
    return tuple(name for name in names if name in topics and topics[name].is_dangerous(for_child=for_child))
