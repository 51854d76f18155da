"""Reading of the signed bundle that the `network` section names. Mistakes become problems of the tree."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

from hedgerow.policies.network import BundleSource
from hedgerow.policies.reading.schema import RawBundle
from hedgerow.policies.text.addresses import site_name_mistake
from hedgerow.policies.text.yaml_tree import YamlTree

_KEY_BYTES = 32


def read_bundle(raw: RawBundle | None, tree: YamlTree) -> BundleSource | None:
    """Read the place of the signed bundle."""
    if raw is None:
        return None
    if not _is_address(raw.url):
        tree.add_problem(
            ("network", "bundle", "url"),
            f"'{raw.url}' is not the address of a bundle, such as https://office.example/bundle.json",
        )
    if not _is_key(raw.key):
        tree.add_problem(
            ("network", "bundle", "key"),
            f"'{raw.key}' is not a key: copy the one that `hedgerow organisation bundle` prints",
        )
    if raw.group and (mistake := site_name_mistake(raw.group)):
        tree.add_problem(("network", "bundle", "group"), mistake)
    return BundleSource(raw.url, raw.key, raw.group, raw.lists)


def _is_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        return (
            url.scheme in ("http", "https")
            and bool(url.hostname)
            and not url.username
            and not url.fragment
            and url.port != 0
        )
    except ValueError:
        return False


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == _KEY_BYTES
    except ValueError:
        return False
