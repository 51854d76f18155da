"""`hedgerow invite` and `hedgerow join`: a second machine for the same network, set up from one line."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, urlencode, urlsplit

import typer

from hedgerow import __version__
from hedgerow.app.commands.options import JsonOption, StateOption, fail, print_result, state_directory
from hedgerow.app.commands.store import owned_store, store_of_last_run
from hedgerow.app.control.shared_policy import SharedVersion, check_names, local_names, shared_names
from hedgerow.app.settings import STORE_AUTHORITY, STORE_PASSWORD, STORE_URL, Settings
from hedgerow.app.signing_keys import SigningKey
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.policy_editor import CheckedPolicy, PolicyEditor
from hedgerow.features.joining.protocol import (
    Host,
    Invitation,
    JoinError,
    Membership,
    accepted,
    fetch_store_certificate,
)
from hedgerow.files import FolderLock, chown_to_owner, error_text, make_private_folder, write_atomically
from hedgerow.journal.database import open_journal
from hedgerow.journal.policy_history import PolicyHistory, PolicyVersion, PolicyVersions
from hedgerow.journal.postgresql_rights import grant_site, make_role, may_make_roles, revoke_site, role_for
from hedgerow.journal.store import JournalError, Store, StoreAddress
from hedgerow.network.own_addresses import lan_address, own_addresses
from hedgerow.policies.network import NetworkSettings
from hedgerow.policies.reading.load import PolicyError, load_policy
from hedgerow.policies.text.addresses import with_user
from hedgerow.proxy.certificate_authority import CA_FILE, CertificateAuthorityError, load_ca

_ASIDE = ".before-join"


def invite(
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="This machine's address for the other one (default: that in the network)."
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to wait at (default: a free one).")] = 0,
    minutes: Annotated[float, typer.Option(min=0.01, max=60, help="How long to wait.")] = 10,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a second machine part of this network: print the line to run there, and wait until it has run."""
    folder = state_directory(state)
    url = store_of_last_run(folder)
    settings = Settings.load(folder)
    if settings.policy is None or not settings.policy.exists():
        fail("There is no policy file to share yet: make one first, on the pages or by hand.")
    here = address or lan_address(own_addresses(), _network(settings.policy))
    if here is None:
        fail("This machine has no address in the network: name one with --address.")
    try:
        with owned_store(url, folder) as (store, place):
            version = _first_version(store, settings.policy, folder)
            with store.connect() as connection:
                if not may_make_roles(connection):
                    fail(
                        "The role of the store may make no others: run as PostgreSQL's administrator ALTER ROLE …"
                        " CREATEROLE."
                    )
            target, certificate = _store_for_others(place.url, here)
            host = Host(here, port)
            line = f"hedgerow join {host.invitation}"
            print_result(
                as_json, {"command": line}, "Run this on the other machine, as root or Hedgerow's user:", "", line, ""
            )
            sys.stdout.flush()  # somebody waits for it
            with _new_role(store, settings.site) as (role, password):

                def make() -> Membership:
                    pem = (settings.authority / CA_FILE).read_text(encoding="ascii")
                    return Membership(
                        __version__,
                        settings.site,
                        with_user(target, role),
                        password,
                        certificate,
                        pem,
                        version.id,
                        dict(version.files),
                        SigningKey.load_or_make(settings.statement_key).pem.decode(),
                    )

                other = host.serve(make, minutes * 60)
    except JoinError as error:
        fail(f"{error}.", 1)
    except OSError as error:
        fail(f"No machine can be invited: {error_text(error)}.", 1)
    print_result(as_json, {"joined": other, "role": role}, f"{other} has joined, as the role {role} of the store.")


def join(
    line: Annotated[
        str, typer.Argument(metavar="LINE", help="What `hedgerow invite` has printed on the first machine.")
    ],
    policy: Annotated[Path, typer.Option(metavar="FILE", help="Where to put the policy file.")] = Path("hedgerow.yaml"),
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set this machine up as another one of a network that has Hedgerow: the same policy, certificate authority and
    store.
    """
    folder, policy = state_directory(state), policy.absolute()
    lock = FolderLock(make_private_folder(folder))
    if lock.acquire() is not None:
        fail(f"Hedgerow is running on {folder}: stop it first.")
    try:
        with accepted(Invitation.parse(line)) as membership:
            _set_up(membership, folder, policy)
    except (JoinError, JournalError, CertificateAuthorityError, ValueError) as error:
        fail(f"{str(error).rstrip('.')}. Nothing was joined.", 1)
    except OSError as error:
        fail(f"This machine can't be set up: {error_text(error)}.", 1)
    finally:
        lock.release()
    facts = {"site": membership.site, "store": membership.store, "policy": str(policy), "version": membership.version}
    start = f"Start it with: hedgerow up --policy {policy} --state {folder}"
    print_result(as_json, facts, f"This machine belongs to the site {membership.site}. {start}")


def _set_up(membership: Membership, state: Path, policy: Path) -> None:
    """Write all that was received, once the store has answered.

    Raises JoinError, JournalError, OSError and ValueError.
    """
    if membership.software != __version__:
        raise JoinError(
            f"The other machine has Hedgerow {membership.software}, and this one {__version__}: install the same"
            " version"
        )
    check_names(membership.files)
    url = membership.store
    if membership.store_authority:
        write_atomically(state / STORE_AUTHORITY, membership.store_authority.encode())
        url = _with_query(url, sslmode="verify-ca", sslrootcert=str(state / STORE_AUTHORITY))
    write_atomically(state / STORE_PASSWORD, membership.password.encode())
    open_journal(StoreAddress(url, state / STORE_PASSWORD, membership.site)).dispose()
    authority = make_private_folder(state / "ca")
    _replace(authority / CA_FILE, membership.authority)
    chown_to_owner(state, [authority])
    load_ca(authority)
    if membership.statement_key:
        key = state / "statements" / "key.pem"
        make_private_folder(key.parent)
        _replace(key, membership.statement_key)
        chown_to_owner(state, [key.parent])
    for name, text in local_names(membership.files, policy.name).items():
        (policy.parent / name).parent.mkdir(parents=True, exist_ok=True)
        _replace(policy.parent / name, text)
    SharedVersion(membership.version, membership.files).save(state)
    write_atomically(state / STORE_URL, url.encode())


def _replace(file: Path, text: str) -> None:
    """Write a file. Another text that was in it is kept next to it."""
    if file.exists() and file.read_text(encoding="utf-8") != text:
        file.replace(file.with_name(f"{file.name}{_ASIDE}"))
    write_atomically(file, text.encode())


def _network(policy: Path) -> NetworkSettings:
    try:
        return load_policy(policy).network
    except PolicyError:
        fail(f"{policy} has mistakes: run hedgerow check {policy}")


def _first_version(store: Store, policy: Path, state: Path) -> PolicyVersion:
    """Return the newest version of the policy in the store.

    If there is none, the file becomes the first, and this node shares it.
    """
    versions = PolicyVersions(store)
    newest = versions.newest()
    if newest is None:
        try:
            texts = asyncio.run(PolicyEditor(policy, PolicyHistory(store), _nothing).texts())
        except InvalidInput as error:
            fail(str(error))
        files = shared_names(texts, policy.name)
        try:
            check_names(files)
        except ValueError as error:
            fail(f"The policy can't be shared: {error}.")
        first = PolicyVersion(0, time.time(), "invite", "", socket.gethostname(), 0, files)
        versions.add(first)
        newest = versions.newest()
        assert newest is not None
    if SharedVersion.load(state) is None:
        SharedVersion(newest.id, dict(newest.files)).save(state)
    return newest


async def _nothing(_path: Path, _checked: CheckedPolicy) -> None:
    """Put nothing in force, since only the texts are read."""


@contextlib.contextmanager
def _new_role(store: Store, site: str) -> Iterator[tuple[str, str]]:
    """Make a role for one more node of the site, and take its rights again if the block fails."""
    password = secrets.token_urlsafe(24)
    with store.begin() as connection:
        role = role_for(connection, site, secrets.token_hex(3))
        make_role(connection, role, password)
        grant_site(connection, role, site, may_manage=True)
    try:
        yield role, password
    except BaseException:
        revoke_site(store.engine, role)
        raise


def _store_for_others(url: str, address: str) -> tuple[str, str]:
    """Return the URL by which another machine reaches the store, and the certificate of a server on this machine; empty
    if not needed.
    """
    if not StoreAddress(url).is_local:
        return url, ""
    parts, query = urlsplit(url), dict(parse_qsl(urlsplit(url).query))
    port = parts.port or int(query.get("port", 5432))
    host = f"[{address}]" if ":" in address else address
    there = parts._replace(netloc=f"{host}:{port}", query=_without(parts.query, "host", "hostaddr", "port")).geturl()
    is_loopback = address.startswith("127.") or address == "::1"
    return there, "" if is_loopback else fetch_store_certificate(address, port)


def _without(query: str, *names: str) -> str:
    return urlencode([(name, value) for name, value in parse_qsl(query) if name not in names])


def _with_query(url: str, **more: str) -> str:
    parts = urlsplit(url)
    return parts._replace(query=urlencode(parse_qsl(_without(parts.query, *more)) + list(more.items()))).geturl()
