"""A linear model for topics other than adult and gambling: drugs, hate, violence and the like. It is like `name_model`.

These topics are rarer, and harmless names have their words too: help, recovery, news, history and research. Such names
are never judged (`topic_parts`). `topics.json` has a calibration of each topic. Pure, apart from opening the files.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import msgspec

from hedgerow.blocklists.recognition.name_model import (
    SIZES,
    Calibration,
    Recognition,
    TrainingSource,
    cached_recognition,
    strongest_parts,
)
from hedgerow.blocklists.recognition.name_parts import without_ambiguous
from hedgerow.blocklists.recognition.topic_parts import has_clear_part
from hedgerow.blocklists.recognition.topic_table import TopicTable

TOPIC_META_FILE: Final = "topics.json"
TOPIC_PIECES_FILE: Final = "topics.bin"


class TopicMeta(msgspec.Struct, frozen=True):
    """The contents of `topics.json`. `topics` are categories; each has a calibration in the same place."""

    topics: tuple[str, ...]
    calibrations: tuple[Calibration, ...]
    features: int
    slots: int
    sources: tuple[TrainingSource, ...]


class TopicModel:
    """The model, opened from a folder. Raises OSError, or ValueError for files that do not belong together."""

    def __init__(self, folder: Path) -> None:
        self.meta = msgspec.json.decode((folder / TOPIC_META_FILE).read_bytes(), type=TopicMeta)
        self._pieces = TopicTable(folder / TOPIC_PIECES_FILE)
        if len(self._pieces) != self.meta.slots:
            raise ValueError(f"{folder}: {len(self._pieces)} slots of topics in place of {self.meta.slots}")
        self._lowest = min(each.floor for each in self.meta.calibrations)

    def judge_text(self, text: str) -> Recognition | None:
        """Return the topic that the text of a name (`text_of`) looks like. The caller checks `is_open_topic`.

        A word of ordinary sites, such as `girls` or `love`, counts only in addition to a clear part.
        """
        found = self._judge_text(text)
        if found is None or has_clear_part(text, found.category) or (plain := without_ambiguous(text)) == text:
            return found
        rest = self._judge_text(plain)
        return rest if rest is None or rest.confidence < found.confidence else found

    def _judge_text(self, text: str) -> Recognition | None:
        sums, size = self._pieces.add_up(text), SIZES[len(text)]
        if max(sums) < self._lowest * size:  # most names
            return None
        odds, topic = max(
            (each.slope * total / size + each.offset, topic)
            for topic, each, total in zip(self.meta.topics, self.meta.calibrations, sums, strict=False)
        )
        return cached_recognition(topic, math.floor(100 / (1 + math.exp(-odds)))) if odds >= 0 else None

    def strongest_parts(self, text: str, topic: str) -> tuple[str, ...]:
        """Return the parts of the text of a name that weigh most for a topic, the strongest first."""
        return strongest_parts(text, self._pieces.weights_in(text, self.meta.topics.index(topic)))
