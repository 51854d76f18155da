"""Train the model that recognises sites by their names, from the public lists of `recogniser.yaml`.

    pip install numpy scipy
    python tools/train_recogniser.py --to hedgerow/blocklists/recognition/data NAME=PATH…

Each source of the manifest is given as a file or folder. The same sources give the same bytes: names are sorted,
nothing is drawn by chance, and sums are made by one thread. A logistic regression per category learns from pieces of
names, in these steps:

1. Hosts of the adult and gambling lists are examples, at most three of each registered domain. Other hosts are
   counter-examples: of the popular ones the well-known ones, and three quarters of the others and of the machines. A
   name that a single adult list has, and that is also well known, harmless or an advertiser's, is neither.
2. Popular lists contain some adult and gambling sites. A first model is trained twice, and what it takes for such is
   left out. To the rest are added names that machines of popular sites might have.
3. Pieces of three to nine characters are counted. The most telling ones become features, and those of these that move
   scores most are kept.
4. A tenth of the registered domains, chosen by their checksum, is held back and gives the calibration.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")  # sums in one order

import msgspec
import numpy as np
from double_array import double_array
from recogniser_sources import NamedHost, Role, TrainingList, is_taken, load_manifest, read_sources
from scipy import sparse
from scipy.optimize import minimize

from hedgerow.blocklists.names import registered_domain
from hedgerow.blocklists.recognition import name_model
from hedgerow.blocklists.recognition.name_model import MAX_WEIGHT, PACK_BITS, Calibration, ModelMeta, TrainingSource
from hedgerow.blocklists.recognition.name_parts import shape_of, text_of
from hedgerow.blocklists.recognition.piece_table import MAX_PIECE, MIN_PIECE
from hedgerow.blocklists.recognition.recogniser import is_institution

type Array = Any
"""An array of numpy, which is not installed where types are checked."""

SUSPECTS_FILE: Final = "suspects.txt"
"""Popular names that were left out as probably adult or gambling, for reading. It does not ship."""
HELD_BACK: Final = 10
"""One of so many registered domains is held back for the calibration."""
_MAX_HOSTS: Final = 3
_MIN_COUNT: Final = 5
_CANDIDATES: Final = 560_000
_FEATURES: Final = 260_000
_TRUSTED_WEIGHT: Final = 8.0
_HARMLESS_WEIGHT: Final = 8.0
"""Weight of each counter-example in the last training, since a false alarm is worse than a miss, and scores far from
even odds count.
"""
_FIRST_PENALTY, _PENALTY = 0.05, 1.0
_SUSPECT: Final = 0.0
"""Logarithm of the odds from which a popular name or a machine is left out as probably adult or gambling."""
_FITTED_SHARE: Final = 0.05
"""Share of a category among the names on which a calibration is fitted."""
_ASSUMED_SHARES: Final = {Role.ADULT: 0.0225, Role.GAMBLING: 0.055}
"""Share of a category among unlisted names that confidence assumes."""
_FLOOR_CONFIDENCE: Final = 0.5
_INVENTED: Final = (Role.COMPOSED, Role.MIRRORS)
_ORDER: Final = (Role.TRUSTED, Role.ADULT, Role.GAMBLING, Role.HARMLESS, Role.POPULAR, Role.MACHINES, *_INVENTED)
"""The role of a domain is the first of these that a source gives it. Names that are invented and real count as real."""


@dataclass(frozen=True)
class Examples:
    """Names with the role of each; `groups` are the checksums of their registered domains."""

    hosts: list[str]
    roles: list[Role]
    groups: Array

    @property
    def held_back(self) -> Array:
        return np.asarray(self.groups % HELD_BACK == 0)

    def having(self, *roles: Role) -> Array:
        return np.array([role in roles for role in self.roles])

    def only(self, mask: Array) -> Examples:
        places = np.flatnonzero(mask)
        return Examples([self.hosts[n] for n in places], [self.roles[n] for n in places], self.groups[places])


def gather(names: Mapping[TrainingList, Sequence[NamedHost]]) -> Examples:
    """Return the examples of all sources in alphabetical order. A domain has one role."""
    disputed = _disputed(names)
    role_of: dict[str, Role] = {}
    hosts: dict[str, set[str]] = defaultdict(set)
    taught = {source: found for source, found in names.items() if source.role in _ORDER}
    real = {
        registered_domain(each.host)
        for source, found in taught.items()
        if source.role not in _INVENTED
        for each in found
    }
    for source, found in sorted(taught.items(), key=lambda each: _ORDER.index(each[0].role)):
        for each in found:
            domain = registered_domain(each.host)
            if source.role in _INVENTED and domain in real:
                continue
            if (each.rank > source.rank or source.is_sampled) and not is_taken(domain):
                continue
            if domain in disputed and source.role is not Role.TRUSTED:
                continue
            if role_of.setdefault(domain, source.role) is source.role:
                hosts[domain].add(each.host)
    chosen = sorted(
        (host, role_of[domain], domain) for domain, several in hosts.items() for host in sorted(several)[:_MAX_HOSTS]
    )
    groups = np.array([crc32(domain.encode()) for _host, _role, domain in chosen], dtype=np.int64)
    return Examples([host for host, _role, _domain in chosen], [role for _host, role, _domain in chosen], groups)


_MACHINE_WORDS: Final = (
    "cdn",
    "media",
    "static",
    "content",
    "images",
    "img",
    "thumbs",
    "video",
    "files",
    "traffic",
    "ads",
    "stream",
    "assets",
    "proxy",
    "offers",
    "track",
    "click",
    "host",
    "cloud",
    "app",
)
"""Words in the names of delivery networks and advertisers, which adult lists have too, and lists of popular pages have
not.
"""


def with_machine_names(examples: Examples) -> Examples:
    """Add the names that machines of a sixth of the popular sites might have, such as `somesitecdn.com`."""
    hosts, groups = list(examples.hosts), list(examples.groups)
    for host, role, group in zip(examples.hosts, examples.roles, examples.groups, strict=True):
        if role is Role.POPULAR and (group >> 12) % 6 == 0:
            label = registered_domain(host).partition(".")[0]
            word = _MACHINE_WORDS[(group >> 16) % len(_MACHINE_WORDS)]
            hosts.append(f"{label}{'-' if group & 1 else ''}{word}.{'net' if group & 2 else 'com'}")
            groups.append(group)
    added = len(hosts) - len(examples.hosts)
    return Examples(hosts, [*examples.roles, *[Role.COMPOSED] * added], np.array(groups))


_FIELD_ENDS: Final = ("com", "net", "org", "info")


def with_field_names(examples: Examples) -> Examples:
    """Add the names of institutions under ordinary top-level domains, such as `milfordct.com` for `milfordct.gov`.

    Their own registries, under which nothing is judged, would explain away all that their names have in common.
    """
    hosts, groups = list(examples.hosts), list(examples.groups)
    for host, role, group in zip(examples.hosts, examples.roles, examples.groups, strict=True):
        label = registered_domain(host).partition(".")[0]
        if (
            role in (Role.TRUSTED, Role.POPULAR, Role.HARMLESS)
            and len(label) >= _SHORTEST_FIELD_NAME
            and is_institution(host)
        ):
            hosts.append(f"{label}.{_FIELD_ENDS[group >> 12 & 3]}")
            groups.append(group)
    added = len(hosts) - len(examples.hosts)
    return Examples(hosts, [*examples.roles, *[Role.COMPOSED] * added], np.array(groups))


_SHORTEST_FIELD_NAME: Final = 5


def _disputed(names: Mapping[TrainingList, Sequence[NamedHost]]) -> set[str]:
    """Return the domains that one adult list alone has, and a list of well-known, harmless or advertisers'
    names too.
    """
    lists = Counter(
        domain
        for source, found in names.items()
        if source.role is Role.ADULT
        for domain in {registered_domain(each.host) for each in found}
    )
    others = (
        registered_domain(each.host)
        for source, found in names.items()
        if source.role in (Role.HARMLESS, Role.MACHINES, Role.POPULAR)
        for each in found
        if each.rank <= source.rank
    )
    return {domain for domain in others if lists[domain] == 1}


class Texts:
    """The texts of names and their shapes in one array of bytes, with the hashes of their pieces.

    `sizes` are those of the texts alone.
    """

    def __init__(self, hosts: Iterable[str], *, with_shapes: bool = True) -> None:
        judged = [text_of(host) for host in hosts]
        texts = [(text + shape_of(text) if with_shapes else text).encode() for text in judged]
        self.sizes = np.array([len(text) for text in judged])
        self.octets = np.frombuffer(b"".join(texts), dtype=np.uint8)
        self.rows = np.repeat(np.arange(len(texts), dtype=np.int32), [len(text) for text in texts])

    def pieces(self) -> Iterable[tuple[int, Array, Array, Array]]:
        """Yield for each length the hash, the row and the place of each piece of that length."""
        octets = self.octets.astype(np.uint64)
        hashes = octets.copy()
        for length in range(2, MAX_PIECE + 1):
            hashes = hashes[:-1] * np.uint64(0x9E3779B97F4A7C15) + octets[length - 1 :] + np.uint64(length)
            if length >= MIN_PIECE:
                places = np.flatnonzero(self.rows[: len(hashes)] == self.rows[length - 1 :])
                yield length, hashes[places], self.rows[places], places

    def piece(self, place: int, length: int) -> str:
        return str(self.octets[place : place + length].tobytes(), "ascii")


@dataclass(frozen=True)
class Features:
    """Pieces by their hashes, in ascending order for each length."""

    hashes: dict[int, Array]
    offsets: dict[int, int]
    pieces: list[str]

    def matrix(self, texts: Texts) -> sparse.csr_matrix:
        """Return a row per text, with the number of times that it contains each piece, divided as the model divides
        scores.
        """
        rows, columns = [], []
        for length, hashes, row, _place in texts.pieces():
            known = self.hashes[length]
            found = np.atleast_1d(np.searchsorted(known, hashes))
            hit = (
                np.flatnonzero(known[np.minimum(found, len(known) - 1)] == hashes)
                if len(known)
                else np.empty(0, np.int64)
            )
            rows.append(row[hit])
            columns.append((found[hit] + self.offsets[length]).astype(np.int32))
        row, column = np.concatenate(rows), np.concatenate(columns)
        values = 1 / np.sqrt(texts.sizes[row])
        return sparse.csr_matrix((values, (row, column)), shape=(len(texts.sizes), len(self.pieces)))

    def only(self, mask: Array) -> Features:
        """Return the features of which `mask` is true."""
        hashes, offsets = {}, {}
        pieces: list[str] = []
        for length, known in self.hashes.items():
            kept = np.flatnonzero(mask[self.offsets[length] : self.offsets[length] + len(known)])
            hashes[length], offsets[length] = known[kept], len(pieces)
            pieces += [self.pieces[self.offsets[length] + n] for n in kept]
        return Features(hashes, offsets, pieces)


def candidates(texts: Texts, classes: Array) -> Features:
    """Return the most telling pieces. `classes` has 0 for a harmless text, 1 for an adult and 2 for a gambling one."""
    found: list[tuple[int, Array, Array, Array]] = []
    sizes = np.bincount(classes, minlength=3).astype(float)
    for length, hashes, rows, places in texts.pieces():
        unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        counts = np.stack([np.bincount(inverse, weights=classes[rows] == n, minlength=len(unique)) for n in range(3)])
        shares = (counts + 0.5) / sizes[:, None]
        pooled = counts + 0.5
        telling = np.max(
            [np.abs(np.log(shares[n] / shares[0])) / np.sqrt(1 / pooled[n] + 1 / pooled[0]) for n in (1, 2)], axis=0
        )
        kept = np.flatnonzero(counts.sum(axis=0) >= _MIN_COUNT)
        found.append((length, unique[kept], places[first[kept]], telling[kept]))
    every = np.concatenate([each[3] for each in found])
    least = np.partition(every, -_CANDIDATES)[-_CANDIDATES] if len(every) > _CANDIDATES else 0.0
    chosen, offsets = {}, {}
    pieces: list[str] = []
    for length, unique, places, telling in found:
        kept = np.flatnonzero(telling >= least)
        chosen[length], offsets[length] = unique[kept], len(pieces)
        pieces += [texts.piece(int(place), length) for place in places[kept]]
    return Features(chosen, offsets, pieces)


type Model = tuple[Array, float]
"""The weights of the features, and the bias."""


def fit(
    matrix: sparse.csr_matrix, target: Array, weights: Array, penalty: float, rounds: int, start: Model | None = None
) -> Model:
    """Return a logistic regression, with the square of the weights as the penalty.

    `start` is where the search begins.
    """
    transposed = matrix.T.tocsr()
    signs = np.where(target, 1.0, -1.0)

    def loss(point: Array) -> tuple[float, Array]:
        margin = signs * (matrix @ point[:-1] + point[-1])
        losses = np.logaddexp(0.0, -margin)
        slope = -signs * weights / (1 + np.exp(np.clip(margin, -500, 500)))
        gradient = np.empty_like(point)
        gradient[:-1] = transposed @ slope + penalty * point[:-1]
        gradient[-1] = slope.sum()
        return float((weights * losses).sum() + penalty / 2 * (point[:-1] ** 2).sum()), gradient

    begin = np.zeros(matrix.shape[1] + 1) if start is None else np.append(*start)
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": rounds, "maxcor": 10})
    return found.x[:-1], float(found.x[-1])


_SHAPED: Final = re.compile("[#A-Z]")
"""What pieces of shapes have, which do not count for adult names."""
_LABELS: Final = ((Role.ADULT,), (Role.GAMBLING, Role.MIRRORS))
"""The roles of the examples of each category."""


def train_both(
    features: Features,
    texts: Texts,
    examples: Examples,
    rounds: int,
    starts: Sequence[Model] = (),
    *,
    is_last: bool = False,
) -> list[Model]:
    """Train a model per category on what is not held back, from `starts` on.

    Examples of the other category take no part.
    """
    matrix = features.matrix(texts)
    models = []
    for label, other, start in zip(_LABELS, _LABELS[::-1], starts or (None, None), strict=True):
        rows = np.flatnonzero(~examples.held_back & ~examples.having(*other))
        target = examples.having(*label)[rows]
        weights = np.where(examples.having(Role.TRUSTED), _TRUSTED_WEIGHT, 1.0)[rows] * np.where(
            target | (not is_last), 1.0, _HARMLESS_WEIGHT
        )
        columns = np.flatnonzero([label is not _LABELS[0] or not _SHAPED.search(piece) for piece in features.pieces])
        fitted = fit(
            matrix[rows][:, columns],
            target,
            weights,
            _PENALTY if is_last else _FIRST_PENALTY,
            rounds,
            (start[0][columns], start[1]) if start is not None else None,
        )
        spread = np.zeros(len(features.pieces))
        spread[columns] = fitted[0]
        models.append((spread, fitted[1]))
    return models


def cleaned(examples: Examples, texts: Texts, features: Features, models: Sequence[Model]) -> Array:
    """Return which examples are kept: all but the popular names that a first model takes for adult or gambling."""
    matrix = features.matrix(texts)
    suspect = np.zeros(len(examples.hosts), dtype=bool)
    for weights, bias in models:
        suspect |= np.asarray(matrix @ weights + bias > _SUSPECT)
    return ~(suspect & examples.having(Role.POPULAR, Role.MACHINES))


def calibrate(scores: Array, target: Array, scale: float, assumed: float) -> Calibration:
    """Fit the line from scores to odds on names that were held back, and move it to the share of the category that is
    assumed.
    """
    share = target.mean()
    weights = np.where(target, _FITTED_SHARE / share, (1 - _FITTED_SHARE) / (1 - share))
    slopes, fitted = fit(sparse.csr_matrix(scores[:, None] / scale), target, weights, 1e-9, 200)
    slope, moved = (
        round(float(slopes[0]) / scale, 8),
        math.log(assumed / (1 - assumed)) - math.log(_FITTED_SHARE / (1 - _FITTED_SHARE)),
    )
    offset = round(round(fitted, 6) + moved, 6)
    return Calibration(
        slope, offset, round((math.log(_FLOOR_CONFIDENCE / (1 - _FLOOR_CONFIDENCE)) - offset) / slope, 4)
    )


def quantise(weights: Array) -> tuple[Array, float]:
    """Return weights as whole numbers from -1000 to 1000, and the number by which they were multiplied."""
    scale = MAX_WEIGHT / float(np.abs(weights).max())
    return np.rint(weights * scale).astype(np.int32), scale


def well_known_names(names: Mapping[TrainingList, Sequence[NamedHost]], suspects: set[str]) -> Array:
    """Return the sorted checksums of well-known registered domains.

    Names on adult and gambling lists and `suspects` are not among them.
    """
    listed = {
        registered_domain(each.host)
        for source, found in names.items()
        if source.role in (Role.ADULT, Role.GAMBLING)
        for each in found
    }
    known = set()
    for source, found in names.items():
        if source.role in (Role.TRUSTED, Role.KNOWN):
            trusted = {registered_domain(each.host) for each in found}
            known |= {domain for domain in trusted if not source.is_sampled or is_taken(domain)}
        elif source.role in (Role.POPULAR, Role.HARMLESS):
            popular = {registered_domain(each.host) for each in found if each.rank <= source.rank}
            known |= popular - listed - (suspects if source.role is Role.POPULAR else set())
    judged = (domain for domain in known if not is_institution(domain))
    return np.unique(np.array([crc32(domain.encode()) for domain in judged], dtype=np.uint32))


def train(
    names: Mapping[TrainingList, Sequence[NamedHost]], sources: tuple[TrainingSource, ...], folder: Path
) -> ModelMeta:
    """Train the model and write its files."""
    examples = with_field_names(gather(names))
    say(f"{len(examples.hosts)} names: " + ", ".join(f"{int(examples.having(role).sum())} {role}" for role in Role))
    texts = Texts(examples.hosts)
    classes = np.select([examples.having(*label) for label in _LABELS], [1, 2], 0)
    features = candidates(texts, classes)
    say(f"{len(features.pieces)} candidates")
    suspects: set[str] = set()
    models: list[Model] = []
    for rounds in (30, 40):
        models = train_both(features, texts, examples, rounds, models)
        kept = cleaned(examples, texts, features, models)
        suspects |= {registered_domain(examples.hosts[n]) for n in np.flatnonzero(~kept)}
        examples = examples.only(kept)
        texts = Texts(examples.hosts)
        say(f"left out {int((~kept).sum())} names that are probably adult or gambling")
    examples = with_machine_names(examples)
    texts = Texts(examples.hosts)
    occurrences = np.asarray(features.matrix(texts).getnnz(axis=0))
    moving = np.max([np.abs(weights) for weights, _bias in models], axis=0) * np.sqrt(occurrences)
    chosen = moving >= np.partition(moving, -_FEATURES)[-_FEATURES] if len(moving) > _FEATURES else moving > 0
    features = features.only(chosen)
    models = train_both(
        features, texts, examples, 100, [(weights[chosen], bias) for weights, bias in models], is_last=True
    )
    quantised = [quantise(weights) for weights, _bias in models]
    matrix = features.matrix(texts)
    calibrations = []
    for (weights, scale), label, other in zip(quantised, _LABELS, _LABELS[::-1], strict=True):
        rows = np.flatnonzero(examples.held_back & ~examples.having(*other, Role.MIRRORS))
        scores, target = np.asarray(matrix[rows] @ weights), examples.having(*label)[rows]
        calibrations.append(calibrate(scores, target, scale, _ASSUMED_SHARES[label[0]]))
    known = well_known_names(names, suspects)
    categories = (Role.ADULT.value, Role.GAMBLING.value)
    packed = (quantised[0][0] + (quantised[1][0] << PACK_BITS)).tolist()
    table = double_array({piece.encode(): weight for piece, weight in zip(features.pieces, packed, strict=True)})
    meta = ModelMeta(
        categories, (calibrations[0], calibrations[1]), len(features.pieces), len(table) // 8, len(known), sources
    )
    write(folder, meta, table, known)
    (folder / SUSPECTS_FILE).write_text("".join(f"{each}\n" for each in sorted(suspects)), encoding="ascii")
    return meta


def write(folder: Path, meta: ModelMeta, table: bytes, known: Array) -> None:
    """Write the files of the model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name_model.PIECES_FILE).write_bytes(table)
    (folder / name_model.WELL_KNOWN_FILE).write_bytes(known.astype("<u4").tobytes())
    (folder / name_model.META_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(meta), indent=1) + b"\n")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the recognition of names.")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="folder for the model")
    parser.add_argument(
        "--other-versions", action="store_true", help="accept sources of other versions than the manifest's"
    )
    parser.add_argument(
        "paths", nargs="+", metavar="NAME=PATH", help="a source of the manifest, and its file or folder"
    )
    arguments = parser.parse_args()
    paths = dict(each.partition("=")[::2] for each in arguments.paths)
    read = read_sources(load_manifest(), paths, other_versions=arguments.other_versions)
    names = {source: found for source, (found, _checksum) in read.items()}
    described = [
        TrainingSource(source.name, source.role.value, source.url, source.licence, checksum, len(found))
        for source, (found, checksum) in read.items()
    ]
    meta = train(names, tuple(described), arguments.to)
    say(f"{meta.features} features, {meta.well_known} well-known names")
    return 0


if __name__ == "__main__":
    sys.exit(main())
