"""Which parts of /proc and /sys are hidden or read-only inside. Facts: the defaults of Docker and containerd."""

from __future__ import annotations

from controllers.container.oci.inputs import SpecInputs

MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def masked(inputs: SpecInputs) -> list[str]:
    """``linux.maskedPaths``: mounted over with nothing."""
    if _bare(inputs):
        return []
    return [*MASKED, *(f"/sys/devices/system/cpu/cpu{n}/thermal_throttle" for n in range(inputs.host.cpus))]


def read_only(inputs: SpecInputs) -> list[str]:
    """``linux.readonlyPaths``."""
    return [] if _bare(inputs) else list(READ_ONLY)


def _bare(inputs: SpecInputs) -> bool:
    return inputs.privileged or inputs.security.get("procMount") == "Unmasked"
