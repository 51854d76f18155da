"""A process that has imported what `hedgerow` imports, and forks one that goes on as the command for each request.

Run as `python -P fork_server.py up|commands DESCRIPTOR`. What it has imported for `up` is what `hedgerow up` itself has
imported when it forks its zygote, so that the confined processes have no module that they would lack in use, and
what only control imports.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

_REQUEST_OCTETS = 200_000
_PR_SET_NAME = 15
_CLONE_NEWNS, _CLONE_NEWNET, _MS_BIND, _MS_PRIVATE_BELOW = 0x20000, 0x40000000, 0x1000, 0x44000
_FURTHER = ("argon2", "httpcore", "httpx", "hedgerow.app.snapshot", "hedgerow.app.signing_keys")
"""Modules that commands import when they run."""


_IN_FILTERING_PROCESSES = {"pictures", "away"}
"""Features whose pages import what filtering processes import too: a scanner, and profiles for Apple's devices."""


def _parts_of_features() -> Iterator[str]:
    """Yield the names of the modules in which features have their pages, calls of the API, actions and metrics."""
    for part in ("pages", "api", "actions", "metrics"):
        for file in sorted((Path(__file__).parents[3] / "hedgerow/features").glob(f"*/{part}.py")):
            if file.parent.name not in _IN_FILTERING_PROCESSES:
                yield f"hedgerow.features.{file.parent.name}.{part}"


OF_CONTROL = (
    "sqlalchemy.dialects.sqlite",
    "uvicorn.protocols.http.h11_impl",
    "fastapi",
    "prometheus_client",
    "pyotp",
    "hedgerow.app.control.process",
    "hedgerow.dashboards.app",
    *_parts_of_features(),
    "anyio._backends._asyncio",
    "pydantic.v1",
    "uvicorn.lifespan.off",
)
"""What control imports when it runs, which takes half of the CPU time of a start.

The filtering processes never import one of these, or what these import, when they run: a test looks for it.
"""


def preload(kind: str) -> None:
    from hedgerow.app.cli import make_cli

    if kind == "commands":
        make_cli()
        for name in _FURTHER:
            __import__(name)
        return
    from hedgerow.app.zygote import preload_all

    make_cli("up")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # as `fork_zygote` does
    preload_all(lambda: None)
    for name in OF_CONTROL:
        __import__(name)


def serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork a process per request. Returns the request in each of them, and None here once nobody asks any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_OCTETS, 4)
        if not message:
            return None
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _report(*descriptors)
            return dict(json.loads(message))
        for number in descriptors:
            os.close(number)


def _report(status: int, *standard: int) -> None:
    """Fork once more. The parent reports the child's process id and how it ended. Returns in the child."""
    pid = os.fork()
    if pid:
        for number in standard:
            os.close(number)
        os.write(status, pid.to_bytes(4))
        _, ended = os.waitpid(pid, 0)
        try:
            os.write(status, os.waitstatus_to_exitcode(ended).to_bytes(4, signed=True))
        finally:
            os._exit(0)
    for place, number in enumerate(standard):
        os.dup2(number, place)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)


def become(request: dict[str, Any]) -> None:
    """Enter what the command would be started in: its directory, environment, name, and its network and files in the
    laboratory.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if request["network"]:
        network = os.open(request["network"], os.O_RDONLY)
        os.setns(network, _CLONE_NEWNET)
        os.close(network)
    if request["files"]:
        os.unshare(_CLONE_NEWNS)
        mounts = [("none", "/", _MS_PRIVATE_BELOW), *((file, place, _MS_BIND) for file, place in request["files"])]
        for source, place, flags in mounts:
            if libc.mount(os.fsencode(source), os.fsencode(place), None, flags, None):
                raise OSError(ctypes.get_errno(), place)
    if not request["has_capabilities"]:
        from hedgerow.confinement import keep_capabilities

        keep_capabilities(())
    for number in (signal.SIGHUP, signal.SIGQUIT):  # ignored where the tests run without a terminal
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background; Python's own otherwise
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    libc.prctl(_PR_SET_NAME, b"hedgerow", 0, 0, 0)
    sys.argv[:] = request["words"]
    gc.enable()


def run_to_the_end() -> NoReturn:
    """Run the command and end this process as Python would, but without freeing its memory, which is shared until it is
    written to.
    """
    from hedgerow.app import cli

    status: object = 1
    try:
        cli.main()
    except SystemExit as ended:
        status = ended.code or 0
    except BaseException:
        traceback.print_exc()
    if not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def main() -> None:
    _, kind, descriptor = sys.argv
    preload(kind)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(descriptor)) as requests:
        request = serve(requests)
    if request is None:
        return
    become(request)
    run_to_the_end()


if __name__ == "__main__":
    main()
