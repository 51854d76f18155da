"""The files that every process of a run reads at its start, kept so that damaged ones can be written again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from hedgerow.app.files import error_text, write_atomically
from hedgerow.app.settings import Settings
from hedgerow.codec import decode

log = logging.getLogger("hedgerow.supervisor")


class RunFiles:
    """Settings and handover key of a run. Control may change the settings, so the last good ones are kept."""

    def __init__(self, settings: Settings) -> None:
        self._is_good: Mapping[Path, Callable[[bytes], bool]] = {
            settings.run / "settings.json": _are_settings,
            settings.pass_key: lambda key: self._kept.get(settings.pass_key, key) == key,
        }
        self._kept: dict[Path, bytes] = {}

    def check(self) -> None:
        """Keep the files as they are if they are good, and write them again if they are not."""
        for path, is_good in self._is_good.items():
            try:
                content = path.read_bytes()
            except OSError:
                content = b""
            if content and is_good(content):
                self._kept[path] = content
            elif path in self._kept:
                self._write_again(path)

    def _write_again(self, path: Path) -> None:
        try:
            write_atomically(path, self._kept[path])
        except OSError as error:
            log.error("%s is damaged and can't be written again: %s", path, error_text(error))
        else:
            log.error("%s was damaged or removed: it is written again", path)


def _are_settings(content: bytes) -> bool:
    try:
        return bool(decode(Settings, content).state)
    except ValueError:
        return False
