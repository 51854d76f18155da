"""Train the model that recognises topics by names, from the public lists of `recogniser_topics.yaml`.

    pip install numpy scipy
    python tools/train_topics.py --to hedgerow/blocklists/recognition/data NAME=PATH…

It is the sibling of `train_recogniser.py`, which documents the method, for topics of which there are few names. The
same sources give the same bytes. What differs:

1. Most names of a topic are composed of words (`recogniser_topics.txt`), and weigh less than names of lists. So do
   harmless names, of words that mean something else beside others (`recogniser_topic_words.txt`).
2. Names of lists that are names of help, or that are well known, are no examples. A first model, which knows nothing of
   noisy lists, leaves out those of their names that look like nothing, and popular names that look like a topic.
3. Only pieces that names of a topic have are features, without those that end in a top-level domain.
4. A topic's confidence assumes the share that `recogniser_topics.yaml` gives it, which was chosen on names that were
   held back, so that each topic has its own threshold.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")  # sums in one order

import msgspec
import numpy as np
from double_array import topic_array
from recogniser_sources import NamedHost, TopicList, is_taken, load_topics, read_sources
from scipy import sparse
from train_recogniser import HELD_BACK, Array, Features, Model, Texts, fit, say

from hedgerow.blocklists.canaries import Canaries, is_held_out
from hedgerow.blocklists.names import registered_domain
from hedgerow.blocklists.recognition.name_model import Calibration, TrainingSource
from hedgerow.blocklists.recognition.recogniser import DATA, WellKnownNames, is_institution
from hedgerow.blocklists.recognition.topic_model import TOPIC_META_FILE, TOPIC_PIECES_FILE, TopicMeta
from hedgerow.blocklists.recognition.topic_parts import is_harmless_topic
from hedgerow.blocklists.recognition.topic_table import MAX_TOPIC_WEIGHT, TOPICS, pack_topics

_MIN_COUNT: Final = 4
_CANDIDATES: Final = 150_000
_FEATURES: Final = 44_000
_COMPOSED_WEIGHT: Final = 0.25
_HARMLESS_WEIGHT: Final = 6.0
_FIRST_PENALTY, _PENALTY = 0.1, 0.6
_FITTED_SHARE: Final = 0.05
_FLOOR_CONFIDENCE: Final = 0.5
_SUSPECT: Final = 0.0
HARMLESS: Final = "harmless"


@dataclass(frozen=True)
class TopicExamples:
    """Names with the number of the topic of each, 0 for harmless ones; `groups` are checksums of their domains."""

    hosts: list[str]
    topics: Array
    groups: Array
    composed: Array
    popular: Array
    noisy: Array

    @property
    def held_back(self) -> Array:
        return np.asarray(self.groups % HELD_BACK == 0)

    def only(self, mask: Array) -> TopicExamples:
        hosts = [self.hosts[n] for n in np.flatnonzero(mask)]
        return TopicExamples(
            hosts, self.topics[mask], self.groups[mask], self.composed[mask], self.popular[mask], self.noisy[mask]
        )


def gather(names: Mapping[TopicList, Sequence[NamedHost]], topics: Sequence[str]) -> TopicExamples:
    """Return the examples of all sources in alphabetical order. A domain belongs to its first source."""
    well_known, canaries = WellKnownNames(DATA / "well-known.bin"), Canaries.load()
    source_of: dict[str, TopicList] = {}
    hosts: dict[str, set[str]] = defaultdict(set)
    for source, found in names.items():
        for each in found:
            domain = registered_domain(each.host)
            is_left_out = (each.rank > source.rank or source.is_sampled) and not is_taken(domain)
            is_help = source.topic != HARMLESS and (
                is_harmless_topic(each.host)
                or (not source.is_composed and (each.host in well_known or is_institution(each.host)))
            )
            is_for_measuring = is_held_out(domain) and bool(canaries.topic_of_site(domain))
            if is_left_out or is_help or is_for_measuring:
                continue
            if source_of.setdefault(domain, source) is source and len(hosts[domain]) < _MAX_HOSTS:
                hosts[domain].add(each.host)
    chosen = sorted((host, domain) for domain, several in hosts.items() for host in several)
    sources = [source_of[domain] for _host, domain in chosen]
    return TopicExamples(
        [host for host, _domain in chosen],
        np.array([0 if each.topic == HARMLESS else 1 + topics.index(each.topic) for each in sources]),
        np.array([crc32(domain.encode()) for _host, domain in chosen], dtype=np.int64),
        np.array([each.is_composed for each in sources]),
        np.array([each.topic == HARMLESS and bool(each.rank) for each in sources]),
        np.array([each.is_noisy for each in sources]),
    )


_MAX_HOSTS: Final = 3


def candidates(texts: Texts, topics: Array) -> Features:
    """Return the pieces that tell most, of those that names of a topic have."""
    number = int(topics.max()) + 1
    sizes = np.maximum(np.bincount(topics, minlength=number), 1).astype(float)
    found: list[tuple[int, Array, Array, Array]] = []
    for length, hashes, rows, places in texts.pieces():
        of_topics = topics[rows] > 0
        known, first = np.unique(hashes[of_topics], return_index=True)
        at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
        hit = known[at] == hashes
        counts = np.stack(
            [np.bincount(at[hit & (topics[rows] == n)], minlength=len(known)) for n in range(number)]
        ).astype(float)
        shares, pooled = (counts + 0.5) / sizes[:, None], counts + 0.5
        telling = np.max(
            [np.log(shares[n] / shares[0]) / np.sqrt(1 / pooled[n] + 1 / pooled[0]) for n in range(1, number)], axis=0
        )
        places_of = places[of_topics][first]
        is_kept = (counts[1:].sum(axis=0) >= _MIN_COUNT) & ~_ends_in_suffix(texts, places_of, length)
        kept = np.flatnonzero(is_kept)
        found.append((length, known[kept], places_of[kept], telling[kept]))
    every = np.concatenate([each[3] for each in found])
    least = np.partition(every, -_CANDIDATES)[-_CANDIDATES] if len(every) > _CANDIDATES else -math.inf
    chosen, offsets = {}, {}
    pieces: list[str] = []
    for length, known, places, telling in found:
        kept = np.flatnonzero(telling >= least)
        chosen[length], offsets[length] = known[kept], len(pieces)
        pieces += [texts.piece(int(place), length) for place in places[kept]]
    return Features(chosen, offsets, pieces)


def _ends_in_suffix(texts: Texts, places: Array, length: int) -> Array:
    """Return which pieces have a dot after their first character: noisy lists would teach top-level domains."""
    return np.array([b"." in texts.octets[place + 1 : place + length].tobytes() for place in places], dtype=bool)


def train_all(
    matrix: Array, examples: TopicExamples, number: int, rounds: int, starts: Sequence[Model] = ()
) -> list[Model]:
    """Train a model for each topic on what is not held back, from `starts` on. Names of other topics take no part, nor
    do those of noisy lists where there are no `starts`.
    """
    is_last = rounds > _FIRST_ROUNDS
    models = []
    for topic in range(1, number + 1):
        is_taught = (examples.topics == topic) & (bool(starts) | ~examples.noisy)
        rows = np.flatnonzero(~examples.held_back & (is_taught | (examples.topics == 0)))
        target = examples.topics[rows] == topic
        weights = np.where(examples.composed[rows], _COMPOSED_WEIGHT, 1.0) * np.where(
            target | (not is_last), 1.0, _HARMLESS_WEIGHT
        )
        start = starts[topic - 1] if starts else None
        models.append(fit(matrix[rows], target, weights, _PENALTY if is_last else _FIRST_PENALTY, rounds, start))
        say(f"topic {topic}: {int(target.sum())} names")
    return models


_FIRST_ROUNDS: Final = 30


def kept_examples(examples: TopicExamples, matrix: Array, models: Sequence[Model]) -> Array:
    """Return which examples a first model leaves in: popular names that look like a topic may be of it, and names of a
    noisy list that do not look like it teach nothing.
    """
    kept = np.ones(len(examples.hosts), dtype=bool)
    for topic, (weights, bias) in enumerate(models, 1):
        odds = np.asarray(matrix @ weights + bias)
        kept &= ~((odds > _SUSPECT) & examples.popular)
        kept &= ~((odds < _SUSPECT) & examples.noisy & (examples.topics == topic))
    return kept


def calibrate(scores: Array, target: Array, scale: float, assumed: float) -> Calibration:
    """Fit the line from scores to odds on names that were held back, and move it to the share that is assumed."""
    share = target.mean()
    weights = np.where(target, _FITTED_SHARE / share, (1 - _FITTED_SHARE) / (1 - share))
    slopes, fitted = fit(sparse.csr_matrix(scores[:, None] / scale), target, weights, 1e-9, 200)
    moved = math.log(assumed / (1 - assumed)) - math.log(_FITTED_SHARE / (1 - _FITTED_SHARE))
    slope, offset = round(float(slopes[0]) / scale, 8), round(round(fitted, 6) + moved, 6)
    floor = (math.log(_FLOOR_CONFIDENCE / (1 - _FLOOR_CONFIDENCE)) - offset) / slope
    return Calibration(slope, offset, round(floor, 4))


def train(
    names: Mapping[TopicList, Sequence[NamedHost]],
    shares: Mapping[str, float],
    sources: tuple[TrainingSource, ...],
    folder: Path,
) -> TopicMeta:
    """Train the model and write its files. `shares` has the assumed share of each topic."""
    topics = list(shares)
    examples = gather(names, topics)
    say(f"{len(examples.hosts)} names, {np.bincount(examples.topics).tolist()} of them by topic")
    texts = Texts(examples.hosts, with_shapes=False)
    features = candidates(texts, examples.topics)
    say(f"{len(features.pieces)} candidates")
    matrix, models = features.matrix(texts), list[Model]()
    for _ in range(2):
        models = train_all(matrix, examples, len(topics), _FIRST_ROUNDS, models)
        kept = kept_examples(examples, matrix, models)
        examples, matrix = examples.only(kept), matrix[np.flatnonzero(kept)]
        say(f"left out {int((~kept).sum())} names")
    occurrences = np.sqrt(np.asarray(matrix.getnnz(axis=0)))
    moving = np.max([np.abs(weights) for weights, _bias in models], axis=0) * occurrences
    chosen = moving >= np.partition(moving, -_FEATURES)[-_FEATURES] if len(moving) > _FEATURES else moving > 0
    features, matrix = features.only(chosen), matrix[:, np.flatnonzero(chosen)]
    models = train_all(matrix, examples, len(topics), 100, [(weights[chosen], bias) for weights, bias in models])
    quantised, calibrations = [], []
    for topic, (weights, _bias) in enumerate(models, 1):
        scale = MAX_TOPIC_WEIGHT / float(np.abs(weights).max())
        quantised.append(np.rint(weights * scale).astype(np.int64))
        rows = np.flatnonzero(examples.held_back & ((examples.topics == topic) | (examples.topics == 0)))
        scores, target = np.asarray(matrix[rows] @ quantised[-1]), examples.topics[rows] == topic
        calibrations.append(calibrate(scores, target, scale, shares[topics[topic - 1]]))
    rest = [np.zeros(len(features.pieces), dtype=np.int64)] * (TOPICS - len(topics))
    weights_of = np.stack([*quantised, *rest], axis=1).tolist()
    table = topic_array(
        {
            piece.encode(): pack_topics(tuple(weights))
            for piece, weights in zip(features.pieces, weights_of, strict=True)
            if any(weights)
        }
    )
    meta = TopicMeta(tuple(topics), tuple(calibrations), len(features.pieces), len(table) // 20, sources)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOPIC_PIECES_FILE).write_bytes(table)
    (folder / TOPIC_META_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(meta), indent=1) + b"\n")
    return meta


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the recognition of topics by names.")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="folder for the model")
    parser.add_argument(
        "--other-versions", action="store_true", help="accept sources of other versions than the manifest's"
    )
    parser.add_argument(
        "paths", nargs="+", metavar="NAME=PATH", help="a source of the manifest, and its file or folder"
    )
    arguments = parser.parse_args()
    paths: dict[str, Any] = dict(each.partition("=")[::2] for each in arguments.paths)
    shares, lists = load_topics()
    read = read_sources(lists, paths, other_versions=arguments.other_versions)
    described = tuple(
        TrainingSource(source.name, source.topic, source.url, source.licence, checksum, len(found))
        for source, (found, checksum) in read.items()
    )
    meta = train({source: found for source, (found, _checksum) in read.items()}, shares, described, arguments.to)
    say(f"{meta.features} features, {meta.slots} slots")
    return 0


if __name__ == "__main__":
    sys.exit(main())
