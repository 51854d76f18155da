"""The layout's promises: links at the root that nothing imports by, and tools that run without the root on
their path.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINKS = ("blocklists", "policies", "dns", "proxy", "dashboards")


@pytest.mark.parametrize("name", LINKS)
def test_the_signposts_are_relative_links_into_the_package(name: str) -> None:
    link = ROOT / name
    assert link.is_symlink()
    assert link.readlink() == Path("hedgerow", name)
    assert (link / "__init__.py").exists()


def test_the_root_is_on_nobodys_path() -> None:
    assert str(ROOT) not in sys.path
    assert "" not in sys.path


@pytest.mark.parametrize("name", ["dns", "proxy"])
def test_a_dependency_can_have_that_name(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)


def test_the_lock_names_no_host() -> None:
    for lock in ("requirements.lock", "scripts/uv.lock"):
        text = (ROOT / lock).read_text(encoding="utf-8")
        assert "://" not in text
        assert "--hash=sha256:" in text


def test_imports_point_downward() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


OWN_CONNECTIONS = {
    "app/commands/options.py": "control, over its Unix socket",
    "app/doctor/checks.py": "errors of control's client",
    "app/doctor/probes.py": "this machine's own ports",
    "app/ipc.py": "control, over its Unix socket",
    "app/control/notices/sender.py": "a process whose connections are judged by a hook",
    "blocklists/downloader.py": "types only",
    "blocklists/outgoing.py": "the client",
    "blocklists/outgoing_guard.py": "the environment's proxies, read only",
    "features/cafe/seat_agent.py": "Hedgerow, from a seat: the program runs there, without this package",
    "features/connecting/checks.py": "errors of control's client",
    "features/joining/protocol.py": "another machine, which an admin names by an invitation",
    "features/log_shipping/event_log.py": "syslog servers, which only an admin names",
    "features/openid/provider.py": "a transport with the client's guard",
}
"""Modules that may use an HTTP client or a socket of their own, and for what."""


def test_requests_to_others_are_made_by_the_guarded_client() -> None:
    means = re.compile(
        r"^\s*(?:import|from) (?:httpx|requests|http\.client|urllib\.request|aiohttp|apprise|pywebpush|smtplib)\b"
        r"|socket\.create_connection",
        re.MULTILINE,
    )
    package = ROOT / "hedgerow"
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if means.search(path.read_text(encoding="utf-8"))
    }
    assert found == OWN_CONNECTIONS.keys(), "use hedgerow.blocklists.outgoing, or say here why not"


def test_every_dependency_is_used() -> None:
    """A library that nothing imports is a risk that nobody runs for anything."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # FastAPI's, for forms
    names = {re.split(r"[\[><=;]", each)[0].strip() for each in project["dependencies"]} - {"python-multipart"}
    modules = {
        "argon2-cffi": "argon2",
        "google-re2": "re2",
        "marisa-trie": "marisa_trie",
        "prometheus-client": "prometheus_client",
    }
    modules |= {
        "python-dateutil": "dateutil",
        "py-vapid": "py_vapid",
        "pydantic-core": "pydantic_core",
        "annotated-types": "annotated_types",
    }
    modules |= {
        "pyahocorasick": "ahocorasick",
        "pyyaml": "yaml",
        "ruamel-yaml": "ruamel",
        "backports-zstd": "backports",
    }
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "hedgerow").rglob("*.py")]
    imported = set(re.findall(r"^\s*(?:from|import) ([a-z_0-9]+)", "\n".join(texts), re.MULTILINE))
    assert {modules.get(name, name) for name in names} <= imported


def test_every_library_that_is_imported_is_declared() -> None:
    """One that another library happens to bring would be missing when that one no longer needs it."""
    done = subprocess.run(
        [Path(sys.executable).with_name("deptry"), "hedgerow"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
