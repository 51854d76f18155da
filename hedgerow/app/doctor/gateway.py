"""The check that the gateway is in place, and redirects what it should."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hedgerow.app.doctor.findings import REDIRECT_PAGES, Finding, Health, Installation, good_finding
from hedgerow.app.gateway.config import GatewayConfig
from hedgerow.app.gateway.controller import is_unmodified, pages_port
from hedgerow.app.settings import Settings
from hedgerow.network import gateway as nftables
from hedgerow.network import interfaces


def check_gateway(installation: Installation) -> Iterator[Finding]:
    try:
        config = GatewayConfig.load(installation.state)
        if config is None:
            text = (
                "not configured: a child who changes the DNS setting of a device bypasses the filter, unless your"
                " router prevents it"
            )
            yield Finding(
                "gateway", Health.UNSURE, text, "on the machine that is the devices' router: hedgerow gateway apply"
            )
            return
        table = nftables.installed_table()
        if table is None or not is_unmodified(installation.state, table):
            text = (
                "configured, but not in place"
                if table is None
                else "in place, but something else has changed its rules"
            )
            yield Finding("gateway", Health.BAD, text, "hedgerow gateway apply")
            return
    except nftables.GatewayError as error:
        yield Finding("gateway", Health.UNSURE, str(error), "run hedgerow doctor as root")
        return
    if interfaces.uplink_bridges() & set(config.lan):
        blind = [family for family, looks in interfaces.bridge_filtering().items() if not looks]
        if blind:
            text = f"in place, but {' and '.join(blind)} that crosses the bridge is not filtered"
            yield Finding("gateway", Health.BAD, text, interfaces.BRIDGE_FILTERING_COMMANDS)
            return
        idle = []
    else:
        idle = [family for family, ip_forwarding in interfaces.ip_forwarding().items() if not ip_forwarding]
    yield gateway_finding(config, installation.settings, idle)


def gateway_finding(config: GatewayConfig, settings: Settings | None, idle: Sequence[str]) -> Finding:
    """Report a gateway that is in place. `idle` are the families (IPv4, IPv6) that this machine does not forward."""
    if idle:
        mend = (
            "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1, unless devices have another router for it"
        )
        return Finding(
            "gateway", Health.UNSURE, f"in place, but this machine does not forward {' and '.join(idle)}", mend
        )
    place = f"in place on {', '.join(config.lan)}"
    if settings is not None and pages_port(settings) is None:
        text = f"{place}, but only devices that use Hedgerow as their proxy send it web traffic"
        return Finding("gateway", Health.UNSURE, text, REDIRECT_PAGES)
    return good_finding("gateway", f"{place}{', strict' if config.strict else ''}")
