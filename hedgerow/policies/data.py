"""Reads the data files that lie beside this package's code."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml

# libyaml, where PyYAML was built with it, reads them ten times as fast, and every process does at its start.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_data(name: str) -> Any:
    """The content of a YAML file of the package, such as `lifelines.yaml`."""
    return yaml.load(files("hedgerow.policies").joinpath(name).read_bytes(), Loader=_Loader)  # noqa: S506  (a safe loader)


def names_in(folder: str) -> tuple[str, ...]:
    """The names, without `.yaml`, of the data files in a folder of the package."""
    found = (entry.name for entry in files("hedgerow.policies").joinpath(folder).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))
