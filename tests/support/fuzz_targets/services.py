"""What scripts and services send to the control process: bodies of the API, backups."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import pkgutil
import tarfile
import tempfile
from pathlib import Path

from pydantic import ValidationError

from fuzz_targets.target import FuzzTarget, Shape
from hedgerow.app.backup import JOURNAL, POLICY, BackupError, files_elsewhere, restore
from hedgerow.dashboards import api
from hedgerow.dashboards.api.schema import StrictModel
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.push import parse_subscription, push_endpoint
from hedgerow.journal.database import open_journal


def _models() -> tuple[type[StrictModel], ...]:
    for module in pkgutil.iter_modules(api.__path__, f"{api.__name__}."):
        importlib.import_module(module.name)
    return tuple(StrictModel.__subclasses__())


_MODELS = _models()


def api_body(data: bytes) -> None:
    """Read a body as each model of the API, and word the errors."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):  # which FastAPI answers with 400
        return
    for model in _MODELS:
        try:
            model.model_validate(value)
        except ValidationError as error:
            error.errors(include_input=False, include_url=False)


def push_subscription(data: bytes) -> None:
    endpoint, p256dh, auth, mailbox, *_ = [*data.decode("utf-8", "replace").split("\n"), "", "", "", ""]
    push_endpoint(endpoint)
    push_endpoint(f"webpush://{p256dh}")
    subscription = parse_subscription(endpoint, p256dh, auth, mailbox)
    assert push_endpoint(subscription.address) == endpoint


def backup(data: bytes) -> None:
    """Restore a backup, compressed or not yet."""
    with tempfile.TemporaryDirectory() as folder:
        file, state, policy = Path(folder, "backup"), Path(folder, "state"), Path(folder, "etc", "hedgerow.yaml")
        file.write_bytes(data if data.startswith(b"\x1f\x8b") else gzip.compress(data, 1))
        restore(file, state, policy)
        files_elsewhere(file)


def _backup() -> bytes:
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=out, mode="w:gz") as tar:
        journal = Path(folder, JOURNAL)
        open_journal(journal).close()
        tar.add(journal, JOURNAL)
        for name in (POLICY, "beside-policy/lists/own.txt", "ca/ca.pem"):
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = 9, {"comment": "x" * 50}
            tar.addfile(member, io.BytesIO(b"people: {"))
    return out.getvalue()


_DEEP = (
    Shape(b'{"name":', b"[", b""),
    Shape(b"", b'{"name":', b""),
    Shape(b'{"name":', b"9", b"}"),
    Shape(b'{"a":1', b',"k":1', b"}", True),
)

TARGETS: dict[str, FuzzTarget] = {
    "api-body": FuzzTarget(
        api_body,
        (
            (
                b'{"name": "mia", "age": 9, "minutes": 15, "password": "long enough", "scopes": ["read"], "mac":'
                b' "00:00:5e:00:53:01"}'
            ),
            (
                b'{"person": "mia", "device": null, "what": ["games"], "days": ["mon"], "from": "20:00", "until": 1e3,'
                b' "duration": "hour"}'
            ),
        ),
        grown=_DEEP,
    ),
    "push-subscription": FuzzTarget(
        push_subscription,
        (b"https://push.example/x\n" + b"A" * 86 + b"A\n" + b"A" * 22 + b"\nana@mail.example",),
        (InvalidInput,),
    ),
    "backup": FuzzTarget(backup, (_backup(), gzip.decompress(_backup())), (BackupError,)),
}
"""The targets by name."""
