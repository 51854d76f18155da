"""A process that forks list jobs for a test, as the zygote does for control.

A program for each job would import for most of its time.

Run as `python -P list_job_server.py DESCRIPTOR`. The descriptor is that of a socket which takes requests of
`jobs.fork_job`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def list_job_server() -> Iterator[socket.socket]:
    """Run a server. Yields the socket that `ListUpdater` takes as its `zygote`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [sys.executable, "-P", __file__, str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(words, pass_fds=[theirs.fileno()])
    with ours:
        yield ours
    process.wait()


def _serve(requests: socket.socket) -> None:
    """Fork a job for each request, until nobody can make one any more."""
    from hedgerow.app.control.lists.list_jobs import serve_job
    from hedgerow.blocklists import downloader as downloader  # a fetch job imports it, and it imports most

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    gc.freeze()
    while True:
        what, descriptors, _, _ = socket.recv_fds(requests, 100, 1)
        if not what:
            return
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                serve_job(what.decode(), socket.socket(fileno=descriptors[0]))
            finally:
                os._exit(0)
        os.close(descriptors[0])


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        _serve(connection)
