"""Metrics of the machine. Each has a label, so that there is no series for what the machine has no sensor for."""

from __future__ import annotations

from hedgerow.dashboards.metrics import Metric, gauge
from hedgerow.features.machine.readings import Readings

TEMPERATURE = "hedgerow_machine_temperature_celsius"
TROUBLE = "hedgerow_machine_trouble"
MEMORY = "hedgerow_machine_memory_bytes"
DISK_ERRORS = "hedgerow_machine_disk_errors"

METRICS: tuple[Metric, ...] = (
    gauge(TEMPERATURE, "Highest temperature of the machine's processor.", "part"),
    gauge(TROUBLE, "1 while the machine has this trouble: undervoltage, throttled or read_only.", "cause"),
    gauge(MEMORY, "The machine's memory, in all and left for programs.", "state"),
    gauge(DISK_ERRORS, "Errors that the kernel has noted on all disks.", "type"),
)


def values_of(found: Readings) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the values of each metric by its label."""
    values: dict[str, dict[str, float | None]] = {
        TEMPERATURE: {"processor": found.celsius},
        TROUBLE: {
            "undervoltage": found.undervoltage,
            "throttled": found.throttled,
            "read_only": found.is_read_only,
        },
        MEMORY: {"total": found.memory_total, "available": found.memory_available},
        DISK_ERRORS: {"ext4": found.disk_errors},
    }
    return {
        name: {(label,): float(value) for label, value in row.items() if value is not None}
        for name, row in values.items()
    }
