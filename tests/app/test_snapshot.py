"""Snapshots as workers open them: new, unchanged, damaged, or without their lists."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.app.control.lists.updater import prepare_generation
from hedgerow.app.control.snapshots.delivery import SnapshotFiles
from hedgerow.app.snapshot import FILE_NAME, Snapshot, SnapshotCodec, SnapshotWatch, load_newest
from hedgerow.codec import encode
from hedgerow.policies.decide import decide
from hedgerow.policies.model import DeviceId, Grant, Pause, Request, RequestKind
from hedgerow.policies.reading.load import parse_policy

POLICY = b"""
people:
  mia: {age: 9, devices: [tablet], bedtime: "20:30-07:00", block: [roblox, "youtube.com/shorts"]}
devices:
  tablet: {ip: ["127.0.0.2", "fd00::2"], mac: "aa:bb:cc:dd:ee:ff"}
"""


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(prepare_generation(parse_policy(b"", None), tmp_path_factory.mktemp("lists")))


def make(generation: Path, serial: int = 1) -> Snapshot:
    grant = Grant("g1", "scratch.mit.edu", "ana", 1000.0, 2000.5, DeviceId("tablet"))
    return Snapshot(
        serial,
        1000.0,
        parse_policy(POLICY, Path("/etc/hedgerow.yaml")),
        generation,
        (grant,),
        (Pause("p1", "ana", 5.0),),
    )


def test_a_snapshot_survives_its_file(tmp_path: Path, generation: Path) -> None:
    snapshot = make(generation)
    snapshot.save(tmp_path)
    assert Snapshot.load(tmp_path) == snapshot
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_new_snapshot_is_seen_once(tmp_path: Path, generation: Path) -> None:
    watch = SnapshotWatch(tmp_path)
    assert watch.open_if_new() is None
    for serial in (1, 2):
        make(generation, serial).save(tmp_path)
        view = watch.open_if_new()
        assert view is not None
        assert view.snapshot.serial == serial
        assert view.catalogue.host_mask("www.tiktok.com")
        assert watch.open_if_new() is None


def test_a_grant_leaves_policy_and_lists_as_they_were_opened(tmp_path: Path, generation: Path) -> None:
    """With 20,000 devices they take seconds."""
    files, watch, first = SnapshotFiles(tmp_path, tmp_path / "server-name"), SnapshotWatch(tmp_path), make(generation)
    files.save(first)
    before = watch.open_if_new()
    files.save(replace(first, serial=2, grants=()))
    after = watch.open_if_new()
    assert before is not None
    assert after is not None
    assert (len(before.rulesets.grants), after.rulesets.grants) == (1, ())
    assert after.policy is before.policy
    assert after.catalogue is before.catalogue
    assert after.rulesets.devices is before.rulesets.devices
    files.save(
        replace(first, serial=3, policy=parse_policy(b"", Path("/etc/hedgerow.yaml")), names={"127.0.0.2": "tv"})
    )
    changed = watch.open_if_new()
    assert changed is not None
    assert changed.policy.people == {}
    assert changed.rulesets.devices is not after.rulesets.devices


def test_a_codec_reads_what_is_saved_and_saves_what_it_reads(generation: Path) -> None:
    snapshot, codec = make(generation), SnapshotCodec()
    assert codec.encode(snapshot) == encode(snapshot)
    assert codec.decode(encode(snapshot)) == SnapshotCodec().decode(codec.encode(snapshot)) == snapshot


def test_an_unused_snapshot_is_freed_at_once_with_its_lists(tmp_path: Path, generation: Path) -> None:
    make(generation).save(tmp_path)
    view = SnapshotWatch(tmp_path).open_if_new()
    assert view is not None
    device = view.rulesets.devices.find("127.0.0.2", None)
    assert device is not None
    ruleset = view.rulesets.ruleset(device, 1500.0)
    for host in ("www.youtube.com", "scratch.mit.edu", "www.tiktok.com"):
        decide(ruleset, view.catalogue, Request(device.id, RequestKind.HTTP, host, url=f"https://{host}/shorts/1"))
    lists = weakref.ref(view.catalogue)
    gc.collect()
    gc.disable()  # the collector comes by seldom, and never to what was there when a process began to serve
    try:
        del view, ruleset
        assert lists() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"serial": 1}'])
def test_a_torn_snapshot_leaves_the_one_in_force(tmp_path: Path, generation: Path, content: bytes) -> None:
    make(generation).save(tmp_path)
    watch = SnapshotWatch(tmp_path)
    assert watch.open_if_new() is not None
    (tmp_path / FILE_NAME).write_bytes(content)
    assert watch.open_if_new() is None
    make(generation, 3).save(tmp_path)
    view = watch.open_if_new()
    assert view is not None
    assert view.snapshot.serial == 3


@pytest.mark.parametrize("change", ["none", "unknown field", "missing field"])
def test_a_snapshot_of_another_version_is_refused(tmp_path: Path, generation: Path, change: str) -> None:
    make(generation).save(tmp_path)
    fields = json.loads((tmp_path / FILE_NAME).read_bytes())
    network = fields["policy"]["network"]
    match change:
        case "unknown field":
            network["renamed"] = network["lan"]
        case "missing field":
            del network["lan"]
    (tmp_path / FILE_NAME).write_text(json.dumps(fields, separators=(",", ":"), ensure_ascii=False), encoding="utf-8")
    if change == "none":
        assert Snapshot.load(tmp_path) == make(generation)
        return
    with pytest.raises(ValueError, match="not a snapshot of this version"):
        Snapshot.load(tmp_path)


def test_missing_lists_leave_the_snapshot_in_force(tmp_path: Path, generation: Path) -> None:
    watch = SnapshotWatch(tmp_path)
    make(generation).save(tmp_path)
    assert watch.open_if_new() is not None
    make(generation / "gone", 2).save(tmp_path)
    assert watch.open_if_new() is None


@pytest.mark.parametrize("damage", [{}, {"sources": 5}, {"categories": None}, {"hosts": [1]}])
def test_lists_of_another_format_leave_the_snapshot_in_force(
    tmp_path: Path, generation: Path, damage: dict[str, object]
) -> None:
    watch = SnapshotWatch(tmp_path)
    make(generation).save(tmp_path)
    assert watch.open_if_new() is not None
    other = tmp_path / "other"
    shutil.copytree(generation, other)
    meta = json.loads((other / "meta.json").read_text())
    kept = meta if damage else {"layout": meta["layout"]}
    (other / "meta.json").write_text(json.dumps(kept | damage))
    make(other, 2).save(tmp_path)
    assert watch.open_if_new() is None


def test_the_copy_in_memory_is_in_force_while_the_disk_has_an_older_or_damaged_one(
    tmp_path: Path, generation: Path
) -> None:
    disk, memory = tmp_path / "disk", tmp_path / "memory"
    disk.mkdir()
    memory.mkdir()
    watch = SnapshotWatch(disk, memory)
    make(generation, 1).save(disk)
    view = watch.open_if_new()
    assert view is not None
    make(generation, 2).save(memory)
    view = watch.open_if_new()
    assert view is not None
    assert view.snapshot.serial == 2
    make(generation, 2).save(disk)
    assert watch.open_if_new() is None, "it is in force already"
    (disk / FILE_NAME).write_bytes(b"damaged")
    assert watch.open_if_new() is None
    view = SnapshotWatch(disk, memory).open_if_new()
    assert view is not None, "a process that starts uses the copy"
    assert view.snapshot.serial == 2


@pytest.mark.root
def test_a_copy_of_another_user_is_not_used(tmp_path: Path, generation: Path) -> None:
    disk, memory = tmp_path / "disk", tmp_path / "memory"
    disk.mkdir()
    memory.mkdir()
    make(generation, 1).save(disk)
    make(generation, 2).save(memory)
    os.chown(memory / FILE_NAME, 12345, 12345)
    assert load_newest((disk, memory)).serial == 1
