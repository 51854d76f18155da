"""Each long-running task of each process fails once: the log, *Today*, the doctor and the metrics tell it, and it runs
again.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import failing_tasks
import pytest
import yaml
from failing_tasks import ROLES, SharedOrders
from small_internet.running import Hedgerow, hedgerow_command, running_hedgerow, wait_until

from hedgerow.app.gateway.config import GatewayConfig
from hedgerow.features import FEATURES

pytestmark = [pytest.mark.root, pytest.mark.provokes_traceback]

PATIENCE = 60.0
OF_FEATURES = [
    yaml.safe_load(file.read_text()) for file in sorted(Path(__file__).parents[1].glob("features/*/keys.yaml"))
]
"""For each feature keys with which it is in use, and the tasks that then run."""
POLICY = {
    "network": {
        **{
            "timezone": "UTC",
            "lists": "starter",
            "lan": ["192.168.77.0/24", "127.0.0.0/8"],
            "upstream": ["127.0.0.77"],
        },
        **{"server_name": "filter.example"},
        **{key: value for each in OF_FEATURES for key, value in each["policy"].get("network", {}).items()},
    },
    "people": {"mia": {"age": 9}, "ida": {"born": "2016-05"}},
    **{key: value for each in OF_FEATURES for key, value in each["policy"].items() if key not in ("network", "people")},
}
NETWORK = (
    "ip link set lo up && ip link add lan type veth peer name far && ip link set far up"
    " && ip addr add 192.168.77.1/24 dev lan && ip link set lan up"
)
OF_ONE_START = {"announcement", "store", "authority"}
"""Tasks that end by themselves: the last two have nothing to do without other machines."""

EXPECTED = {
    "supervisor": {
        "watchdog",
        *(f"supervising {slot}-0" for slot in ("zygote", "control", "signer", "inspector", "dns", "gate", "gateway")),
    },
    "dns": {"heartbeats", "reports", "neighbours", "snapshots", "counters", "system", "admissions", "certificates"},
    "gate": {"heartbeats", "reports", "neighbours", "snapshots", "counters", "system"},
    "inspector": {"heartbeats", "reports", "neighbours", "snapshots", "counters", "system", "inspection", "renewal"},
    "gateway": {
        *(
            "heartbeats",
            "snapshots",
            "table",
            "admissions",
            "socket",
            "owners",
            "reports",
            "traffic",
            "counters",
            "addresses",
        ),
        *(f"feature {feature.name}" for feature in FEATURES if feature.gateway_services is not None),
        *(task for each in OF_FEATURES for task in each.get("gateway_tasks", ())),
    },
    "control": {
        *(
            "heartbeats",
            "pages",
            "messages",
            "connections",
            "journal",
            "journal check",
            "neighbours",
            "policy",
            "snapshots",
        ),
        *("snapshot check", "compiling", "downloads", "new sites", "expiry", "warnings", "calendars", "backups"),
        *("shared policy", "processes", "certificates", "resolv.conf", "safe search", "notices"),
        *("status", "discovery"),
        *(f"feature {feature.name}" for feature in FEATURES),
        *(task for each in OF_FEATURES for task in each.get("tasks", ())),
        "leases",  # of what an earlier run was told
    },
}


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("orders") / "orders"


@pytest.fixture(scope="module")
def house(orders: Path) -> Iterator[Hedgerow]:
    """A Hedgerow that is a gateway in a network of its own, which the test reaches by the socket in its state
    directory.
    """
    if shutil.which("unshare") is None or shutil.which("nft", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("unshare and nft are not installed")
    enter = ("unshare", "--net", "sh", "-c", f'{NETWORK} && exec "$@"', "sh")
    program = (*enter, sys.executable, "-P", failing_tasks.__file__, str(orders))

    def configure(folder: Path) -> None:
        (folder / "state").mkdir(mode=0o700)
        GatewayConfig(("lan",)).save(folder / "state")
        (folder / "state" / "leases.json").write_text("[]")

    folders = os.pathsep.join(sys.path)
    options = ("--dot", "127.0.0.1:0")
    with running_hedgerow(
        json.dumps(POLICY),
        program=program,
        prepare=configure,
        options=options,
        environment={**os.environ, "PYTHONPATH": folders},
    ) as running:
        wait_until(
            lambda: set(SharedOrders(orders).tasks("gateway")) == EXPECTED["gateway"],
            PATIENCE,
            "the gateway's process runs",
        )
        yield running


class LocalConnection(http.client.HTTPConnection):
    """A connection to control over its Unix socket."""

    def __init__(self, house: Hedgerow) -> None:
        super().__init__("localhost", timeout=30)
        self._path = str(house.state / "run" / "control.sock")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def get(house: Hedgerow, path: str) -> str:
    """Return what control answers to a program on this machine; nothing while its pages are started again."""
    with (
        contextlib.closing(LocalConnection(house)) as connection,
        contextlib.suppress(OSError, http.client.HTTPException),
    ):
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    return ""


def has_failed_once_and_runs(house: Hedgerow, role: str, name: str) -> bool:
    """Return True if the metrics count one failure of a task, and none since it runs again."""
    metrics, labels = get(house, "/metrics"), f'{{process="{role}",task="{re.escape(name)}"}}'
    total = re.search(rf"^hedgerow_task_failures_total{labels} (\S+)", metrics, re.MULTILINE)
    in_a_row = re.search(rf"^hedgerow_tasks_failing{labels} (\S+)", metrics, re.MULTILINE)
    return total is not None and float(total[1]) == 1 and (in_a_row is None or float(in_a_row[1]) == 0)


@pytest.mark.parametrize("role", ROLES)
def test_every_task_of_a_process_that_fails_is_told_and_runs_again(role: str, house: Hedgerow, orders: Path) -> None:
    shared = SharedOrders(orders)
    assert set(shared.tasks(role)) - OF_ONE_START == EXPECTED[role]
    for name in sorted(EXPECTED[role]):
        reason = f"BrokenPart: {name} of {role} was told to fail"
        shared.order(role, name)
        wait_until(lambda: reason in house.stderr, PATIENCE, f"{role}/{name} is in the log")  # noqa: B023
        wait_until(lambda: has_failed_once_and_runs(house, role, name), PATIENCE, f"{role}/{name} runs again")  # noqa: B023
        wait_until(lambda: reason in get(house, "/"), PATIENCE, f"{role}/{name} is on Today")  # noqa: B023
        shared.order(role, name)
        wait_until(lambda: not shared.is_waiting, PATIENCE, f"{role}/{name} really runs again, since it fails again")
    doctor = hedgerow_command("doctor", "--state", str(house.state), "--json").stdout
    assert [name for name in EXPECTED[role] if f"BrokenPart: {name} of {role} was told to fail" not in doctor] == []
