"""The host as the Container slice and the Node object see it: facts read once a minute, programs looked up when asked."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from controllers.container.ports import HostFacts
from controllers.engine.ports import Clock
from setpoint import __version__
from setpoint.drivers.host import host_facts

RECURSIVE_READ_ONLY = (5, 12)
"""The first kernel with mount_setattr(2), which makes a whole tree read-only."""
FACTS_S = 60.0
"""How old facts may be: a hostname or a resolver changes rarely, and a start must not wait for a dozen files."""


class ThisHost:
    """Implements ``Host``."""

    def __init__(self, clock: Clock, folders: Sequence[Path]) -> None:
        """``folders``: our own; a hostPath through which they are seen must not hand their mounts to a container."""
        self._clock = clock
        self._roots = tuple(str(folder) for folder in folders)
        self.boot_id = clock.boot_id
        self._facts: HostFacts | None = None
        self._read_at = 0.0

    def facts(self) -> HostFacts:
        now = self._clock.monotonic()
        if self._facts is None or now - self._read_at > FACTS_S:
            self._facts, self._read_at = self._read(), now
        return self._facts

    def _read(self) -> HostFacts:
        facts = host_facts()
        extra = {**facts.extra, "mount_roots": self._roots, "recursive_read_only": facts.kernel >= RECURSIVE_READ_ONLY}
        return replace(facts, extra=extra)

    def runtime(self, name: str) -> str:
        return shutil.which(name) or ""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Implements ``Facts`` of the Node slice."""

    host: ThisHost
    engine_id: str

    def describe(self) -> Mapping[str, object]:
        facts = self.host.facts()
        return {
            "engineID": self.engine_id,
            "nodeInfo": {
                "agentVersion": __version__,
                "architecture": facts.architecture,
                "kernelVersion": str(facts.extra.get("kernel_release", "")),
                "osImage": str(facts.extra.get("os", "")),
                "cgroupVersion": facts.cgroup,
                "cgroupDriver": "systemd" if facts.systemd_cgroup else "cgroupfs",
                "bootID": self.host.boot_id,
            },
            "capacity": {"cpu": str(facts.cpus), "memory": str(facts.memory_bytes)},
        }
