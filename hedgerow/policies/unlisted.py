"""Unknown hosts: those in no list, of no service, and not among the names that ship with Hedgerow. Pure.

Anybody can set up a tunnel under such a name. Its certificate is all that a filter without the CA can look at, so the
gate does, once.

- A certificate that the site signed itself, or that is for another name, is what browsers warn of too: no ordinary site
  has one.
- A certificate of an authority that nobody trusts may just lack an intermediate one, which some sites forget and
  browsers fetch. It does not count, except where the authority's own certificate is shown, or where no log has had the
  certificate, as of all public authorities: then it is somebody's own.
- A certificate that no browser takes for other reasons (for mail, signed by a server's) has no ordinary site either.
- A fresh certificate alone says nothing: Let's Encrypt renews them every two months, so that one site in twenty has one
  that is younger than three days. It counts under a name of dynamic DNS only, where it means that a server at
  somebody's home was set up this week.
- A server that asks for a password as proxies do (407) is a proxy. No web site sends that.
- A server that cannot be looked at may just be slow. It stays closed where new sites are closed too.
- A server of a device that keeps dozens of looks busy stays closed until there is time for it: the others may only be
  there to hide it.
- A server that completes the handshake and then answers no request is not a web site. It stays closed to children whose
  pages are read strictly.
- A site that carries nearly all that a device sends and gets, both ways and for minutes, is used as a tunnel.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import assert_never

from hedgerow.blocklists.canaries import is_canary_site
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.categories import is_good
from hedgerow.blocklists.names import (
    is_address,
    is_beneath,
    is_local_name,
    is_public_suffix,
    registered_domain,
)
from hedgerow.blocklists.recognition.name_model import Recognition
from hedgerow.blocklists.recognition.name_parts import is_sensitive
from hedgerow.blocklists.recognition.recogniser import Recogniser, is_institution, is_judged
from hedgerow.blocklists.rules import Origin
from hedgerow.blocklists.sources import essential_hosts, popular_hosts
from hedgerow.policies.content import LENIENT_LIMIT, TUNNEL_TRAFFIC, ContentRules
from hedgerow.policies.host_facts import HostFactIndex, background_hosts, parents_of
from hedgerow.policies.mirrored_sites import CUSTOMERS_DOMAINS, spells_numbers
from hedgerow.policies.model import Decision, Privacy, Reason, Verdict
from hedgerow.policies.remembered import BY_PAGE, remembered_as
from hedgerow.policies.rule_index import BYPASS, MIRRORS
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.sites_seen import NEW_DOMAINS, can_be_new, origin_of_registration, site_of
from hedgerow.policies.targets import HELP_FIRST

DYNAMIC_DNS = "dynamic-dns"
_NUMBERED_DOMAINS = CUSTOMERS_DOMAINS | {"nvidiagrid.net"}
"""Well-known domains whose names with numbers may lead to anybody's machine."""

_OWNERS_ONLY = frozenset({"googleapis.com"})
"""Public suffixes under which no customer has a server of their own."""

_ANYBODYS = frozenset({("programming-machines",), ("small-apps",), ("wildcard-dns",)})
"""Services beneath whose domains anybody has a server within a minute: the provider is known, its customers are not."""

UNTRUSTED_CERTIFICATE = "certificate"
"""`what` of a RECOGNISED decision about a certificate."""


class CertificateFlaw(StrEnum):
    """The finding about an unlisted host's server."""

    NONE = ""
    SELF_SIGNED = "self-signed"
    OWN_AUTHORITY = "own-authority"
    OTHER_NAME = "other-name"
    FRESH = "fresh"
    PROXY = "proxy"
    UNSEEN = "unseen"
    SILENT = "silent"
    CROWDED = "crowded"
    TUNNEL = "tunnel"


def suspicion_of(ruleset: Ruleset, catalogue: Catalogue, host: str, flaw: str, mask: int) -> str:
    """Return what an unlisted host looks like, by the finding about its server; empty if nothing follows from that."""
    match CertificateFlaw(flaw):
        case (
            CertificateFlaw.SELF_SIGNED
            | CertificateFlaw.OWN_AUTHORITY
            | CertificateFlaw.OTHER_NAME
            | CertificateFlaw.CROWDED
        ):
            return UNTRUSTED_CERTIFICATE
        case CertificateFlaw.PROXY:
            return BYPASS
        case CertificateFlaw.TUNNEL:
            return "" if is_institution(host) or not is_examined(ruleset, catalogue, host) else TUNNEL_TRAFFIC
        case CertificateFlaw.SILENT if 0 < (ruleset.content.page_limit or 0) < LENIENT_LIMIT:
            return UNTRUSTED_CERTIFICATE
        case CertificateFlaw.FRESH:
            return DYNAMIC_DNS if mask & catalogue.mask_of([DYNAMIC_DNS]) else ""
        case CertificateFlaw.UNSEEN | CertificateFlaw.SILENT:
            rule = ruleset.rules.categories.get(NEW_DOMAINS) if is_unlisted(ruleset, catalogue, host) else None
            return "" if rule is None or rule.allow else UNTRUSTED_CERTIFICATE
        case CertificateFlaw.NONE:
            return ""
        case other:
            assert_never(other)


def may_be_remembered(facts: HostFactIndex, catalogue: Catalogue, host: str) -> bool:
    """Return whether a host may be remembered for its pages: one that nobody knows, and under which others have no
    sites.
    """
    if is_local_name(host) or is_public_suffix(host) or is_institution(host) or host in Recogniser.load().well_known:
        return False
    return is_unknown(facts, catalogue, host)


def is_examined(ruleset: Ruleset, catalogue: Catalogue, host: str) -> bool:
    """Return whether the server of a host is examined: nothing is known of the host, or anybody can rent its like."""
    return is_rented(host) or is_unlisted(ruleset, catalogue, host)


def needs_consent(ruleset: Ruleset, catalogue: Catalogue, host: str) -> bool:
    """Return whether somebody in charge must agree before a host passes unread that is inspected here.

    A device alone decides it for known hosts only: whoever refuses a certificate may have set up the server too.
    """
    return bool(ruleset.rules.bypass) and not is_institution(host) and is_examined(ruleset, catalogue, host)


def is_rented(host: str) -> bool:
    """Return whether a name is one that a provider gives its customers' machines, under a well-known name or by number.

    >>> is_rented("ec2-45-55-20-21.compute-1.amazonaws.com"), is_rented("files.s3.amazonaws.com")
    (True, True)
    >>> is_rented("aws.amazon.com"), is_rented("www.google.com")
    (False, False)
    """
    above = registered_domain(host).partition(".")[2]
    is_customers = is_beneath(above, _shipped_names()) and above not in _OWNERS_ONLY and not is_institution(host)
    return is_customers or (is_beneath(host, _NUMBERED_DOMAINS) and spells_numbers(host))


def is_unlisted(ruleset: Ruleset, catalogue: Catalogue, host: str) -> bool:
    """Return whether nothing is known of a host, by the facts of a ruleset; see `is_unknown`."""
    return is_unknown(ruleset.host_facts, catalogue, host)


def is_unknown(facts: HostFactIndex, catalogue: Catalogue, host: str) -> bool:
    """Return whether nothing is known of a host.

    A name of dynamic DNS counts: the list knows the provider, not who uses it. So do the customers' names of services
    such as `small-apps`.
    """
    if is_address(host) or catalogue.host_mask(host) & ~catalogue.mask_of([DYNAMIC_DNS, MIRRORS]):
        return False
    if facts.engines.engine_of(host) is not None or is_beneath(host, _shipped_names()) or host in facts.by_host:
        return False
    above = [facts.by_host[domain] for domain in parents_of(host) if domain in facts.by_host]
    return all(each.services in _ANYBODYS for each in above)  # not a service's own, a helpline's, a bank's


def blocked_by_pages(ruleset: Ruleset, catalogue: Catalogue, host: str, mask: int) -> Decision | None:
    """Return the block of a site whose pages turned out to be of a topic that is closed.

    Sites that a list calls good stay open, and so do canaries, and sites that are not of this topic by a correction.
    """
    for site in remembered_as(ruleset.remembered, host):
        rule = ruleset.rules.categories.get(site.topic)
        if rule is None or rule.allow or any(is_good(name) for name in catalogue.names_of(mask)):
            continue
        if is_canary_site(host) or catalogue.hosts.lifted(host) & catalogue.mask_of([site.topic]):
            continue
        origin = Origin(BY_PAGE, text=site.date)
        return Decision(Verdict.BLOCK, Reason.RECOGNISED, site.topic, origin, rule.until, note=rule.target.note)
    return None


def is_worth_noting(ruleset: Ruleset, catalogue: Catalogue, host: str) -> bool:
    """Return whether it matters when this network first asked for a host: it is one of the internet, and nobody knows
    it.
    """
    if not can_be_new(host) or not is_judged(host) or is_local_name(host) or host in Recogniser.load().well_known:
        return False
    return is_unlisted(ruleset, catalogue, host)


def blocked_as_new(ruleset: Ruleset, catalogue: Catalogue, host: str) -> Decision | None:
    """Return the block of a site that is new to this network and that nobody else knows either, if new sites are
    closed.
    """
    rule, sites = ruleset.rules.categories.get(NEW_DOMAINS), ruleset.sites
    if (
        rule is None
        or rule.allow
        or sites is None
        or not sites.is_new(host)
        or not is_worth_noting(ruleset, catalogue, host)
    ):
        return None
    registered = sites.registered_on(host)
    origin = rule.target.origin if registered is None else origin_of_registration(registered)
    return Decision(Verdict.BLOCK, Reason.RECOGNISED, NEW_DOMAINS, origin, rule.until, note=rule.target.note)


def site_to_ask_about(ruleset: Ruleset, catalogue: Catalogue, host: str, decision: Decision) -> str:
    """Return the site of a host that is closed as new, for the question when it was registered; empty if nobody may
    learn of it.

    Nobody is asked about what is open, listed, a hoster's or known already, about names that tell something of people
    or their health, or for somebody whose sites are not even recorded here.
    """
    sites = ruleset.sites
    if decision.what != NEW_DOMAINS or decision.reason is not Reason.RECOGNISED or sites is None:
        return ""
    site = site_of(host)
    if ruleset.privacy not in (Privacy.FULL, Privacy.DOMAIN) or catalogue.host_mask(host) or is_public_suffix(site):
        return ""
    return "" if is_sensitive(site) or sites.registered_on(site) is not None else site


def recognised_by_name(ruleset: Ruleset, catalogue: Catalogue, host: str) -> Recognition | None:
    """Return what an unlisted host looks like by its name, if that is blocked here and sure enough to be blocked or
    marked.

    An exception in a list of the category says that the host is not of it. So a list of corrections is just a list.
    """
    if not ruleset.content.judges_names:
        return None
    found = [each for each in Recogniser.load().recognitions(host) if _counts(ruleset, each)]
    if not found or is_canary_site(host) or not is_unlisted(ruleset, catalogue, host):
        return None
    lifted = catalogue.hosts.lifted(host)
    found = [each for each in found if not lifted & catalogue.mask_of([each.category])]
    return max(found, key=lambda each: ruleset.content.blocks_name(each.confidence), default=None)


def _counts(ruleset: Ruleset, found: Recognition) -> bool:
    """Return whether what a name looks like is closed here, and sure enough."""
    rule = ruleset.rules.categories.get(found.category)
    return rule is not None and not rule.allow and is_sure_enough(ruleset.content, found)


def is_sure_enough(content: ContentRules, found: Recognition) -> bool:
    """Return whether a name is blocked or marked for what it looks like, where that is closed.

    A mark about a topic that people need help with would tell on them, and keep nothing from them.
    """
    is_marked = content.marks_name(found.confidence) and found.category not in HELP_FIRST
    return is_marked or content.blocks_name(found.confidence)


def blocked_by_name(ruleset: Ruleset, catalogue: Catalogue, host: str) -> Decision | None:
    """Return the block, or the mark, of a host whose name alone looks like those of a category that is closed."""
    found = recognised_by_name(ruleset, catalogue, host)
    if found is None:
        return None
    rule = ruleset.rules.categories[found.category]
    verdict = Verdict.BLOCK if ruleset.content.blocks_name(found.confidence) else Verdict.ALLOW
    return Decision(verdict, Reason.RECOGNISED, found.category, rule.target.origin, rule.until, note=rule.target.note)


@cache
def _shipped_names() -> frozenset[str]:
    return frozenset(popular_hosts() | essential_hosts() | background_hosts().keys())
