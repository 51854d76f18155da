"""`hedgerow up`: read the policy, choose the addresses, claim the ports and supervise the processes."""

from __future__ import annotations

import functools
import inspect
import os
import socket
import ssl
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from hedgerow.app.commands.options import PolicyOption, StateOption, fail, find_policy, print_problems, state_directory
from hedgerow.app.listening import KeptSockets
from hedgerow.app.logs import start_logs
from hedgerow.app.settings import STORE_URL, WILDCARD_HOSTS, Endpoint, Settings, can_bind_low_ports, parse_endpoint
from hedgerow.app.snapshot import FILE_NAME as SNAPSHOT_FILE
from hedgerow.app.snapshot import Snapshot
from hedgerow.app.startup import StartError, open_sockets, prepare_process, prepare_run, usable_memory
from hedgerow.app.supervisor import supervise
from hedgerow.app.zygote import fork_zygote
from hedgerow.network.own_addresses import lan_address, own_addresses
from hedgerow.policies.model import Policy
from hedgerow.policies.network import BlockedAnswer, NetworkSettings
from hedgerow.policies.reading.load import PolicyError, load_policy
from hedgerow.policies.text.addresses import split_password, store_url_mistake
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS

DEFAULT_PORTS = {"dns": (53, 5300), "proxy": (3128, 3128), "web": (8053, 8053)}
"""The port with the right to use ports below 1024, and the port without."""


class MachineSize(StrEnum):
    STANDARD = "standard"
    SMALL = "small"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _with_transport_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each encrypted DNS transport.

    Its parameter `encrypted` receives those that were used.
    """

    @functools.wraps(command)
    def run(**options: Any) -> None:
        addresses = {name: options.pop(name) for name in ENCRYPTED_TRANSPORTS}
        command(**options, encrypted={name: address for name, address in addresses.items() if address is not None})

    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if parameter.name != "encrypted":
            parameters.append(parameter)
            continue
        for transport in ENCRYPTED_TRANSPORTS.values():
            option = typer.Option(metavar="ADDR:PORT", help=f"Address of {transport.title} (default: off).")
            annotation = Annotated[str | None, option]
            parameters.append(inspect.Parameter(transport.name, parameter.kind, default=None, annotation=annotation))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


WorkersOption = Annotated[
    int, typer.Option(min=1, max=64, help="Number of processes for DNS, and as many for the proxy.")
]
InspectorsOption = Annotated[int, typer.Option(min=1, max=64, help="Number of processes that inspect pages.")]
ProfileOption = Annotated[
    MachineSize, typer.Option(help="`small` for machines with little memory: one process of each kind, small caches.")
]
LogLevelOption = Annotated[LogLevel, typer.Option(help="The lowest level that is logged to standard error.")]
LogJsonOption = Annotated[bool, typer.Option("--log-json", help="Log one JSON object per line.")]
DnsOption = Annotated[str | None, typer.Option(metavar="ADDR:PORT", help="Address of DNS.")]
ProxyOption = Annotated[str | None, typer.Option(metavar="ADDR:PORT", help="Address of the proxy.")]
WebOption = Annotated[str | None, typer.Option(metavar="ADDR:PORT", help="Address of the web pages.")]
TransparentOption = Annotated[
    str | None,
    typer.Option(metavar="ADDR:PORT", help="Address to which the network redirects web connections (default: off)."),
]
StoreUrlOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="PostgreSQL database for what is recorded (default: HEDGEROW_STORE, network.store, or a file).",
    ),
]
LogFolderOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The directory of the files that `network.log_to` names (default: logs in the state directory).",
    ),
]
UpstreamCaOption = Annotated[
    Path | None,
    typer.Option(help="A file of CAs to trust for web sites and encrypted resolvers, besides the system's."),
]
GatewayOption = Annotated[
    bool,
    typer.Option("--gateway/--no-gateway", help="Keep the gateway in place, or leave that to `hedgerow gateway run`."),
]


@_with_transport_options
def up(
    policy: PolicyOption = None,
    state: StateOption = None,
    dns: DnsOption = None,
    proxy: ProxyOption = None,
    web: WebOption = None,
    transparent: TransparentOption = None,
    encrypted: dict[str, str] | None = None,
    workers: WorkersOption = 1,
    inspectors: InspectorsOption = 1,
    profile: ProfileOption = MachineSize.STANDARD,
    log_level: LogLevelOption = LogLevel.INFO,
    log_json: LogJsonOption = False,
    store: StoreUrlOption = None,
    logs: LogFolderOption = None,
    upstream_ca: UpstreamCaOption = None,
    gateway: GatewayOption = True,
) -> None:
    """Run the filter until it is stopped. It reloads the policy file when that changes, and on SIGHUP."""
    state, policy = state_directory(state), find_policy(policy)
    start_logs("supervisor", log_level.value, log_json)
    os.umask(0o077)
    if policy is not None and not policy.exists() and not (state / SNAPSHOT_FILE).exists():  # not one that was lost
        policy.write_text("# The policy of this network, which the pages and you write.\n", encoding="utf-8")
        print(f"{policy} is new: the guide on the web pages fills it.", file=sys.stderr)
    network = _policy_in_force(policy, state).network
    listen = network.listen | (encrypted or {})
    if profile is MachineSize.SMALL and max(workers, inspectors) > 1:
        fail("--profile small runs one process of each kind: leave out --workers and --inspectors, or the profile.")
    database = _store(store, state, network)

    def settings() -> Settings:
        """Return the settings. Raises StartError and ValueError."""
        own_dns = _endpoint("dns", dns or listen.get("dns"))
        return Settings(
            state=state,
            policy=policy,
            workers=workers,
            inspectors=inspectors,
            profile=profile.value,
            memory=usable_memory(),
            keeps_gateway=gateway,
            log_level=log_level.value,
            log_json=log_json,
            upstream_ca=_authorities(upstream_ca) if upstream_ca else None,
            transparent=parse_endpoint(found) if (found := transparent or listen.get("transparent")) else None,
            encrypted={name: parse_endpoint(listen[name]) for name in ENCRYPTED_TRANSPORTS if listen.get(name)},
            page=_page_places(network, own_dns),
            store=database,
            site=network.site,
            log_folder=logs.absolute() if logs else None,
            dns=own_dns,
            proxy=_endpoint("proxy", proxy or listen.get("proxy")),
            web=_endpoint("web", web or listen.get("web")),
        )

    _run(settings, fork_zygote(state, log_level.value, log_json))


def _run(make_settings: Callable[[], Settings], zygote: tuple[int, socket.socket]) -> NoReturn:
    """Claim the ports and supervise the processes, until this one ends.

    The zygote was forked before there are keys, locks and sockets that it could inherit.
    """
    try:
        kept = KeptSockets.from_systemd()
        settings, _lock = prepare_run(make_settings(), kept)  # this process holds the lock until its end
        sockets = open_sockets(settings, kept)
        kept.close()
    except (StartError, ValueError) as error:
        zygote[1].close()  # the zygote ends when its socket closes
        fail(str(error))
    prepare_process(settings.state)
    status = supervise(settings, sockets, zygote)
    sys.stdout.flush()
    os._exit(status)  # Python would write to all the memory that it frees, and so copy it


def _store(option: str | None, state: Path, network: NetworkSettings) -> str:
    """Return the URL of the store, without a password.

    One in the environment may have it, and passes it on as libpq expects it.
    """
    url = option
    if url is None:
        own = state / STORE_URL  # written by `hedgerow join`
        joined = own.read_text(encoding="utf-8").strip() if own.exists() else ""
        url, password = split_password(os.environ.pop("HEDGEROW_STORE", joined or network.store))
        if password:
            os.environ["PGPASSWORD"] = password
    if url and (mistake := store_url_mistake(url)):
        fail(f"The URL of the store {mistake}.")
    return url


def _endpoint(name: str, text: str | None) -> Endpoint:
    """The configured endpoint or the default one. Raises ValueError."""
    if text is not None:
        return parse_endpoint(text)
    privileged, otherwise = DEFAULT_PORTS[name]
    return Endpoint("0.0.0.0", privileged if can_bind_low_ports() else otherwise)  # noqa: S104 (clients outside the LAN are refused)


def _page_places(network: NetworkSettings, dns: Endpoint) -> tuple[Endpoint, ...]:
    """The addresses of the block page, for HTTP and HTTPS: those of the policy, or this machine's in the network.

    A machine that is the resolver of its network takes the ports even if names do not lead to the page yet: the guide
    and the settings can then switch it on. With `wpad`, browsers also find the proxy at port 80 of this machine's
    address.
    """
    own = lan_address(own_addresses(), network)
    here = (own,) if own is not None else ()
    places = [Endpoint(address, 80) for address in here] if network.wpad else []
    resolver, is_resolver = network.resolver, dns.port == DEFAULT_PORTS["dns"][0] and dns.host in (own, *WILDCARD_HOSTS)
    if resolver.blocked_answer is BlockedAnswer.PAGE or (resolver.reserves_page and is_resolver):
        places += [Endpoint(address, port) for address in resolver.block_page or here for port in (80, 443)]
    return tuple(dict.fromkeys(places))


def _authorities(path: Path) -> Path:
    """Check the file of `--upstream-ca` in both ways in which it is loaded. Raises ValueError if it has no certificates
    that all of them take.
    """
    try:
        if "-----BEGIN TRUSTED CERTIFICATE-----" in (text := path.read_text("ascii", "ignore")):
            raise ValueError(
                f"{path} can't be used as --upstream-ca: it has a certificate of the kind TRUSTED CERTIFICATE, which "
                "only OpenSSL reads. Convert each with: openssl x509 -in FILE -out NEW_FILE"
            )
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path, cadata=text)
    except OSError as error:
        raise ValueError(f"{path} can't be used as --upstream-ca: {error.strerror or error}.") from None
    return path.absolute()


def _policy_in_force(path: Path | None, state: Path) -> Policy:
    """The file's policy or, if it has mistakes, the last one in force. Ends the command if there is neither."""
    try:
        return load_policy(path)
    except PolicyError as error:
        print_problems(error.problems)
        try:
            last = Snapshot.in_force(state).policy
        except (OSError, ValueError):
            if error.usable is not None:
                print(f"{path} has mistakes: nothing is written to these places of log_to.", file=sys.stderr)
                return error.usable
            fail(f"{path} has mistakes, and there is no earlier policy to use. Nothing was started.")
        if last.path != (str(path) if path else None):
            fail(f"{path} has mistakes. Nothing was started.")
        print(f"{path} has mistakes: the last good policy stays in force.", file=sys.stderr)
        return last
