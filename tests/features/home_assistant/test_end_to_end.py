"""Home Assistant's side of a home, by a real Mosquitto over TLS: discovery, states, commands, and a broker that
misbehaves.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from small_internet import SmallInternet
from small_internet.authority import Authority
from small_internet.clients import curl, kdig
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
CHILD = "127.0.0.6"

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="needs Debian's mosquitto")

# What Home Assistant's own schemas of MQTT discovery (components/mqtt/schemas.py and the platforms beside it) ask of
# each message.
REQUIRED = {"device", "origin", "components"}
SHARED = {"availability_topic", "state_topic"}
NEEDS_COMMANDS = {"switch", "button"}
DEVICE_CLASSES = {"duration", "timestamp", "problem"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@dataclass
class Broker:
    """A Mosquitto that knows Hedgerow and Home Assistant by their passwords."""

    folder: Path
    authority: Authority
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        leaf, passwords, config = (
            self.authority.leaf("localhost"),
            self.folder / "passwords",
            self.folder / "mosquitto.conf",
        )
        for name in ("hedgerow", "homeassistant"):
            subprocess.run(
                ["mosquitto_passwd", *(["-b"] if passwords.exists() else ["-c", "-b"]), passwords, name, f"{name}-pw"],
                check=True,
            )
        passwords.chmod(0o644)  # it may drop to a user of its own
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\ncertfile"
            f" {leaf.certificate}\nkeyfile {leaf.key}\nuser root\nlog_type none\n"
        )
        self.process = subprocess.Popen([MOSQUITTO, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, 10, "the broker")

    def _answers(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None


class HomeAssistant:
    """A client that keeps the last message of each topic, as Home Assistant does."""

    def __init__(self, broker: Broker) -> None:
        self.last: dict[str, bytes] = {}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set("homeassistant", "homeassistant-pw")
        self._client.tls_set(str(broker.authority.root))
        self._client.on_message = lambda _client, _data, message: self.last.__setitem__(
            message.topic, bytes(message.payload)
        )
        self._client.on_connect = lambda client, *_: client.subscribe([("homeassistant/#", 1), ("hedgerow/#", 1)])
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("localhost", broker.port)
        self._client.loop_start()

    def json(self, topic: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.last.get(topic, b"") or b"{}")
        return found

    def send(self, topic: str, payload: str, *, retain: bool = False) -> None:
        self._client.publish(f"hedgerow/{topic}/set", payload, 1, retain).wait_for_publish(10)

    def wait(self, is_so: Callable[[], Any], what: str) -> None:
        wait_until(is_so, 20, what)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker(folder, Authority(folder))
    broker.start()
    yield broker
    broker.stop()


@contextmanager
def home(net: SmallInternet, broker: Broker, password: str = "hedgerow-pw", may: str = "manage") -> Iterator[Hedgerow]:
    policy = (
        f"{network_section(net)}  mqtt: {{broker: 'mqtts://localhost:{broker.port}', user: hedgerow, may: {may},"
        f" services: [tiktok], ca: {broker.authority.root}}}\npeople:\n  mia: {{age: 9, budget: 1h, bedtime:"
        " '23:58-23:59', devices: [tablet], block: [first.example, second.example]}\n  ana: {age: 41}\ndevices:"
        f" {{tablet: {{ip: {CHILD}}}}}\n"
    )

    def prepare(directory: Path) -> None:
        (directory / "state").mkdir(mode=0o700, exist_ok=True)
        file = directory / "state" / "mqtt-password"
        file.write_text(password)
        file.chmod(0o600)

    with running_hedgerow(policy, prepare=prepare) as running:
        yield running


def is_open(running: Hedgerow, name: str = "www.shop.example") -> bool:
    answer = kdig(running.dns, name, source=CHILD)
    return answer is not None and answer.data("A") != ["0.0.0.0"]


def test_a_child_is_found_shown_and_controlled(whole_internet: SmallInternet, broker: Broker) -> None:
    assistant = HomeAssistant(broker)
    try:
        # A command that somebody let the broker keep would otherwise hold at each start.
        assistant.send("mia/internet", "OFF", retain=True)
        with home(whole_internet, broker) as running:
            state = "hedgerow/mia/state"
            assistant.wait(lambda: assistant.json(state) and assistant.json("hedgerow/home/state"), "the first states")
            assert assistant.last["hedgerow/status"] == b"online"
            assert assistant.json(state)["internet"] == "ON"
            assert assistant.json(state)["minutes_left"] == 60
            assistant.wait(lambda: assistant.json("hedgerow/home/state")["problem"] == "OFF", "a home that has started")
            configs = {topic: assistant.json(topic) for topic in assistant.last if topic.startswith("homeassistant/")}
            assert set(configs) == {
                "homeassistant/device/hedgerow_home/config",
                "homeassistant/device/hedgerow_mia/config",
            }
            for config in configs.values():
                check_discovery(config, assistant)

            assistant.send("mia/internet", "OFF")
            assistant.wait(lambda: assistant.json(state)["internet"] == "OFF", "the pause")
            wait_until(lambda: not is_open(running), 10, "the pause at the resolver")
            assistant.send("mia/internet", "ON")
            assistant.wait(lambda: assistant.json(state)["internet"] == "ON", "the end of the pause")
            assistant.send("mia/more_time", "PRESS")
            assistant.wait(lambda: assistant.json(state)["minutes_left"] == 75, "fifteen more minutes")
            assistant.send("mia/service_tiktok", "ON")
            assistant.wait(lambda: assistant.json(state)["service_tiktok"] == "ON", "the switch")
            wait_until(lambda: is_open(running, "www.tiktok.com"), 10, "the switch at the resolver")
            for junk in ("OFFLINE", "", "\0", "x" * 5000):
                assistant.send("mia/internet", junk)
            assistant.send("nobody/internet", "OFF")
            assistant.send("mia/../../internet", "OFF")
            assistant.send("mia/more_time", "PRESS")
            assistant.wait(lambda: assistant.json(state)["minutes_left"] == 90, "fifteen more minutes after the junk")
            assert assistant.json(state)["internet"] == "ON"

            broker.stop()
            assert is_open(running)
            broker.start()
            assistant.wait(lambda: assistant.last.get("hedgerow/status") == b"online", "the broker again")
        assistant.wait(lambda: assistant.last["hedgerow/status"] == b"offline", "the end")
    finally:
        assistant.close()


def test_an_answer_is_for_the_request_that_was_shown(whole_internet: SmallInternet, broker: Broker) -> None:
    assistant, state = HomeAssistant(broker), "hedgerow/mia/state"
    try:
        with home(whole_internet, broker) as running:

            def ask(site: str) -> str:
                """Ask as the child, and return what the button sends once the request is shown."""
                options = ("-H", f"Origin: {running.web}", "-d", f"site={site}", "-d", "note=")
                assert curl(f"{running.web}/device/ask", source=CHILD, options=options).status == 303
                assistant.wait(
                    lambda: str(assistant.json(state).get("request")).startswith(site), f"the request for {site}"
                )
                number = assistant.json(state)["request_number"]
                assistant.wait(lambda: buttons() == {str(number)}, "the buttons for it")
                return str(number)

            def buttons() -> set[str]:
                parts = assistant.json("homeassistant/device/hedgerow_mia/config")["components"]
                return {parts[name]["payload_press"] for name in ("allow", "deny")}

            assistant.wait(lambda: assistant.json(state) and buttons() == {"none"}, "buttons without a request")
            first = ask("first.example")
            second = ask("second.example")
            for pressed in ("PRESS", "none", "99", first):  # the last one by somebody who still saw the first request
                assistant.send("mia/allow", pressed)
            wait_until(lambda: is_open(running, "first.example"), 20, "the first site")
            assert not is_open(running, "second.example")
            assert assistant.json(state)["request_number"] == int(second)
            assistant.send("mia/deny", second)
            assistant.wait(lambda: assistant.json(state)["request"] is None and buttons() == {"none"}, "no request")
            assert not is_open(running, "second.example")
    finally:
        assistant.close()


def check_discovery(config: dict[str, Any], assistant: HomeAssistant) -> None:
    assert config.keys() == REQUIRED | SHARED
    assert config["device"]["identifiers"]
    assert config["origin"]["name"]
    assert config["state_topic"] in assistant.last
    assert config["availability_topic"] == "hedgerow/status"
    ids = [part["unique_id"] for part in config["components"].values()]
    assert len(set(ids)) == len(ids) > 3
    for what, part in config["components"].items():
        assert part["platform"] in {"switch", "sensor", "binary_sensor", "button"}
        assert ("command_topic" in part) == (part["platform"] in NEEDS_COMMANDS)
        assert part.get("device_class", "duration") in DEVICE_CLASSES
        if part["platform"] != "button":
            assert what in assistant.json(config["state_topic"])


def test_a_wrong_password_is_said_once_and_a_broker_that_may_only_read_changes_nothing(
    whole_internet: SmallInternet, broker: Broker
) -> None:
    assistant = HomeAssistant(broker)
    try:
        with home(whole_internet, broker, password="wrong-pw", may="read") as running:
            wait_until(lambda: "broker localhost can't be used" in running.stderr, 20, "the problem in the log")
            assert is_open(running)
            (running.state / "mqtt-password").write_text("hedgerow-pw")
            assistant.wait(lambda: assistant.json("hedgerow/mia/state"), "the first state")
            assistant.wait(lambda: assistant.json("homeassistant/device/hedgerow_mia/config"), "the device")
            assert running.stderr.count("can't be used") == 1
            assert "wrong-pw" not in running.stderr
            parts = assistant.json("homeassistant/device/hedgerow_mia/config")["components"]
            assert {part["platform"] for part in parts.values()} == {"sensor", "binary_sensor"}
            assistant.send("mia/internet", "OFF")
            wait_until(lambda: "not a command" in running.stderr, 20, "the refusal in the log")
            assert is_open(running)
    finally:
        assistant.close()
