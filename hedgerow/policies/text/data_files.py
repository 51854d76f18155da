"""Reads the data files that lie beside this package's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parents[1]  # not importlib.resources: that brings zipfile and more into every worker

# libyaml, where PyYAML was built with it, reads them ten times as fast, and every process does at its start.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_data(name: str) -> Any:
    """The content of a YAML file of the package, such as `lifelines.yaml`."""
    return yaml.load((_FOLDER / name).read_bytes(), Loader=_Loader)  # noqa: S506  (a safe loader)


def names_in(folder: str) -> tuple[str, ...]:
    """The names, without `.yaml`, of the data files in a folder of the package."""
    found = (entry.name for entry in (_FOLDER / folder).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))
