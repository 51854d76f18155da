"""Reading of the MQTT broker of a policy file."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from hedgerow.policies.host_facts import Services
from hedgerow.policies.network import Broker, BrokerRights
from hedgerow.policies.reading.schema import RawBroker
from hedgerow.policies.text.locales import LANGUAGES
from hedgerow.policies.text.suggestions import suggest
from hedgerow.policies.text.yaml_tree import YamlTree

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_PATH = ("network", "mqtt")


def read_broker(raw: RawBroker | None, tree: YamlTree) -> Broker | None:
    """Read the broker; mistakes become problems of the tree."""
    if raw is None:
        return None
    known = Services.load().by_id
    for index, service in enumerate(raw.services):
        if service not in known:
            tree.add_problem((*_PATH, "services", index), f"unknown service '{service}'.{suggest(service, known)}")
    if raw.language not in LANGUAGES:
        tree.add_problem((*_PATH, "language"), f"unknown language '{raw.language}'. Languages: {', '.join(LANGUAGES)}.")
    if re.fullmatch("[a-z0-9_-]{1,40}", raw.home) is None:
        tree.add_problem((*_PATH, "home"), f"'{raw.home}' may contain small letters, digits, - and _ only")
    if raw.ca and not raw.ca.startswith("/"):
        tree.add_problem((*_PATH, "ca"), f"'{raw.ca}' is not an absolute path")
    try:
        url = urlsplit(raw.broker)
        host, port = url.hostname, url.port
    except ValueError:
        host, port, url = None, None, urlsplit("")
    if url.password:
        tree.add_problem(
            (*_PATH, "broker"), "the broker's address contains a password: put it into the file mqtt-password of the state directory"
        )
        return None
    if url.scheme not in _PORTS or not host or url.path.strip("/") or url.query or url.username:
        tree.add_problem((*_PATH, "broker"), f"'{raw.broker}' is not the address of a broker, such as mqtts://broker.lan")
        return None
    return Broker(
        host, port or _PORTS[url.scheme], url.scheme == "mqtts", raw.user, raw.may or BrokerRights.OPERATE, tuple(raw.services),
        raw.home, raw.language, raw.ca,
    )  # fmt: skip
