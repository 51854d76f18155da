"""A running Hedgerow, the devices of two children, and the simulated apps on them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
from simulated_apps import Reach, SimulatedApp, app, by_dns, serve, usual_hosts
from small_internet import SmallInternet
from small_internet.clients import HttpAnswer, curl, kdig_addresses
from small_internet.fast_time import WallClock
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import load_policy

PATIENCE = 60.0
PHONE, NEW_DEVICE, BENS_PHONE = "127.0.0.21", "127.0.0.24", "127.0.0.25"
OPEN_SITE = "files.example"
APPS = ("roblox", "minecraft", "tiktok", "reddit", "youtube")
_HOSTS_OF_AN_APP = 4
_PEOPLE = """
people:
  Mia: {age: 15, privacy: domain, devices: [tablet], block: [roblox, minecraft, reddit], allow: [tiktok, youtube]}
  Tom: {age: 15, privacy: domain, devices: [laptop], block: [roblox, minecraft, reddit], allow: [tiktok, youtube]}
  Ben: {age: 43}
devices:
  tablet: {ip: 127.0.0.22}
  laptop: {ip: 127.0.0.23, trusts_ca: true}
  own-phone: {ip: 127.0.0.21, profile: adult}
"""
_RECORDS = "  records:\n    reset-{number}.example: 127.0.0.99\n"


@dataclass(frozen=True, slots=True)
class Child:
    """A child and its device. With `has_certificate`, that one uses the proxy and trusts the certificate."""

    name: str
    device: str
    address: str
    has_certificate: bool = False


DNS_ONLY = Child("Mia", "tablet", "127.0.0.22")
WITH_CERTIFICATE = Child("Tom", "laptop", "127.0.0.23", has_certificate=True)
BOTH = (DNS_ONLY, WITH_CERTIFICATE)


def real_app(id: str) -> SimulatedApp:
    """Return the app with the first of its real hosts, its CDN among them."""
    return app(id, usual_hosts()[id][:_HOSTS_OF_AN_APP])


@dataclass
class Home:
    """A home. `password` is that of the parent, whose account is `owner`."""

    running: Hedgerow
    internet: SmallInternet
    clock: WallClock
    password: str = "four words and more"
    _resets: Iterator[int] = field(default_factory=count)

    @property
    def policy(self) -> Policy:
        return load_policy(self.running.policy_path)

    def reset(self, changes: Mapping[str, str] = MappingProxyType({})) -> None:
        """Begin anew with the family's rules, in which texts are replaced, and wait until they hold."""
        for path, rows in self.api("GET", "/grants").items():
            for row in rows:
                if path == "grants":
                    self.api("DELETE", f"/grants/{row['id']}")
                else:
                    self.api("POST", "/resume", person=row["person"], device=row["device"])
        number = next(self._resets)
        text = network_section(self.internet) + _RECORDS.format(number=number) + _PEOPLE
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        self.running.edit_policy(text)
        wait_until(lambda: self.addresses(PHONE, f"reset-{number}.example") == ["127.0.0.99"], PATIENCE, "the rules")

    def api(self, method: str, path: str, **body: object) -> Any:
        """Call the API as a script of the admin."""
        token = (self.running.state / "admin-token").read_text().strip()
        answer = httpx.request(
            method,
            f"{self.running.web}/api/v1{path}",
            json=body or None,
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=PATIENCE,
            verify=False,
        )
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    @contextmanager
    def browser(self, address: str) -> Iterator[httpx.Client]:
        """A browser on a device, without cookies."""
        transport = httpx.HTTPTransport(local_address=address, verify=False)
        headers = {"origin": self.running.web, "accept": "text/html", "accept-language": "en"}
        with httpx.Client(
            base_url=self.running.web, transport=transport, trust_env=False, timeout=PATIENCE, headers=headers
        ) as client:
            yield client

    def own_page(self, child: Child) -> str:
        """Return what a child's own page says."""
        with self.browser(child.address) as browser:
            return browser.get("/device").text

    def addresses(self, source: str, host: str) -> list[str]:
        return kdig_addresses(self.running.dns, host, source=source)

    @cached_property
    def authorities(self) -> Path:
        """What the laptop trusts: the authority of the sites, and the one of Hedgerow."""
        both = self.running.directory / "trusted.pem"
        both.write_text(self.internet.authority.root.read_text() + self.running.authority.read_text())
        return both

    def fetch(
        self, child: Child, host: str, path: str = "/", *, scheme: str = "https", ca: Path | None = None
    ) -> HttpAnswer:
        """Fetch a page with the child's browser, which uses the proxy."""
        url = self.internet.url(host, path, scheme)
        return curl(url, proxy=self.running.proxy, source=child.address, ca=ca or self.authorities)

    def reach(self, child: Child) -> Reach:
        if not child.has_certificate:
            return by_dns(self.running.dns, child.address)
        return lambda host: self.fetch(child, host).status == 200

    def is_open(self, child: Child, host: str) -> bool:
        return self.reach(child)(host)

    def await_open(self, child: Child, *ids: str) -> None:
        """Wait until apps, or hosts, work on the child's device."""
        for each in map(_app_or_host, ids):
            wait_until(partial(each.works, self.reach(child)), PATIENCE, f"{each.id} works for {child.name}")

    def await_closed(self, child: Child, *ids: str) -> None:
        for each in map(_app_or_host, ids):
            wait_until(partial(each.is_stopped, self.reach(child)), PATIENCE, f"{each.id} is closed for {child.name}")

    def run(self, *words: str) -> str:
        done = self.running.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _app_or_host(id: str) -> SimulatedApp:
    return SimulatedApp(id, (id,)) if "." in id else real_app(id)


@contextmanager
def running_home(internet: SmallInternet, folder: Path) -> Iterator[Home]:
    """Run Hedgerow with a clock that can be set, and let both children's devices use it once."""
    for id in APPS:
        serve(internet, real_app(id))
    clock = WallClock(folder, time.time())
    policy = network_section(internet) + _PEOPLE
    with running_hedgerow(policy, upstream_authority=internet.authority.root, environment=clock.environment) as running:
        home = Home(running, internet, clock)
        assert running.cookies
        home.await_open(DNS_ONLY, OPEN_SITE)
        home.await_open(WITH_CERTIFICATE, OPEN_SITE)
        home.addresses(WITH_CERTIFICATE.address, OPEN_SITE)
        yield home
