"""Commands over MQTT."""

from __future__ import annotations

from fuzz_targets.target import FuzzTarget

from hedgerow.features.home_assistant.payloads import Topics

_TOPICS = Topics("hedgerow", ("mia", "José"))


def mqtt_command(data: bytes) -> None:
    topic, _, payload = data.partition(b"\n")
    command = _TOPICS.command(topic.decode("utf-8", "replace"), payload)
    assert command is None or command.child in {"mia", "José"}


TARGETS: dict[str, FuzzTarget] = {
    "mqtt-command": FuzzTarget(mqtt_command, (b"hedgerow/mia/internet/set\nOFF", b"hedgerow/jos_/allow/set\n17")),
}
