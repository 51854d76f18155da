"""The supervisor's record of the heartbeats of its children, and of their silence.

Silence is counted in ticks of the supervisor's loop, since any clock jumps when a machine sleeps. Time for which a
process waited for a processor does not count: on a busy machine, a process that works is late, and to kill it would cut
its connections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hedgerow.app.children import ChildProcess


@dataclass(frozen=True, slots=True)
class ProcessorUse:
    """Seconds for which a process ran, and for which it was ready to run but waited for a processor.

    `is_runnable` is True while it runs or waits for a processor or a disk.
    """

    ran_s: float
    waited_s: float
    is_runnable: bool


def read_processor_use(pid: int) -> ProcessorUse | None:
    """Return the use by the main thread of a process, whose loop sends the heartbeats. None if the kernel doesn't tell
    (`schedstat` in proc(5) needs CONFIG_SCHED_INFO).
    """
    folder = Path("/proc", str(pid))
    try:
        ran, waited, _ = (folder / "schedstat").read_text(encoding="ascii").split()
        status = (folder / "stat").read_text(encoding="ascii", errors="replace")
    except (OSError, ValueError):
        return None
    return ProcessorUse(int(ran) / 1e9, int(waited) / 1e9, status.rpartition(")")[2].split()[0] in "RD")


@dataclass(slots=True)
class _Silence:
    ticks: int = 0  # since the last message
    excused_s: float = 0.0
    last: ProcessorUse | None = None

    def excuse(self, now: ProcessorUse | None, interval_s: float) -> None:
        """Excuse the time since the last call, a tick ago, for which the process waited for a processor.

        The kernel adds a wait to its account once that is over. Until then, a process that got no processor at all is
        known by not having run although it could.
        """
        last, self.last = self.last, now
        if last is None or now is None:
            return
        starves = now.is_runnable and now.ran_s == last.ran_s
        waited = interval_s if starves else now.waited_s - last.waited_s
        self.excused_s += min(waited, interval_s)


class Heartbeats:
    """The silence of each watched process, in ticks of `interval_s` seconds.

    `processor_use` returns that of a process id.
    """

    def __init__(
        self, interval_s: float, processor_use: Callable[[int], ProcessorUse | None] = read_processor_use
    ) -> None:
        self._interval_s, self._processor_use = interval_s, processor_use
        self._silences: dict[ChildProcess, _Silence] = {}

    def watch(self, process: ChildProcess) -> None:
        """Watch a process from now on."""
        self._silences[process] = _Silence()

    def receive(self, process: ChildProcess) -> None:
        """Take a message of a process for a sign of life, unless it is no longer watched."""
        if process in self._silences:
            self._silences[process] = _Silence()

    def forget(self, process: ChildProcess) -> None:
        """Watch a process no longer."""
        self._silences.pop(process, None)

    def restart(self) -> None:
        """Count from the beginning, since this process was itself late."""
        for process in self._silences:
            self._silences[process] = _Silence()

    def is_silent(self, process: ChildProcess, patience_s: float) -> bool:
        """Count a tick. Return True if a watched process was silent for longer than its patience.

        Call it once per process and tick.
        """
        silence = self._silences.get(process)
        if silence is None or process.returncode is not None:
            return False
        silence.ticks += 1
        if silence.ticks > 1:  # a heartbeat is missing; until then, nothing is read
            silence.excuse(self._processor_use(process.pid), self._interval_s)
        return silence.ticks * self._interval_s - silence.excused_s > patience_s
