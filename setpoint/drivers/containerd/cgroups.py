"""What the kernel's control groups tell of a container: who lives in it, and who was killed for memory.

The group is named in the container's own spec, so what is found there is provably that container's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from state.objects import Object

ROOT = Path("/sys/fs/cgroup")


def folders(spec: Object, root: Path = ROOT) -> list[Path]:
    """Where the group of a spec lies: one folder per v1 hierarchy that has it, or the one of v2."""
    named = str((spec.get("linux") or {}).get("cgroupsPath") or "")
    relative = _relative(named)
    tops: list[str] = []
    if not relative or ".." in relative.split("/"):
        return []
    # Plain os calls: this is asked for every container that ended by SIGKILL.
    if os.path.exists(f"{root}/cgroup.controllers"):
        tops = [str(root)]
    else:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(root) as entries:
            tops = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    return [Path(folder) for top in tops if os.path.isdir(folder := f"{top}/{relative}")]


def _relative(named: str) -> str:
    """``/a/b`` as it is; systemd's ``slice:prefix:name`` as ``a.slice/a-b.slice/prefix-name.scope`` (systemd.slice(5))."""
    if named.count(":") != 2:
        return named.strip("/")
    top, prefix, name = named.split(":")
    parts, path = top.removesuffix(".slice").split("-"), []
    for count in range(1, len(parts) + 1):
        path.append("-".join(parts[:count]) + ".slice")
    return "/".join([*path, f"{prefix}-{name}.scope" if prefix else name])


def processes(found: list[Path]) -> set[int]:
    """Every pid in these groups and the groups below them."""
    pids: set[int] = set()
    for folder in found:
        for below in _tree(folder):
            with contextlib.suppress(OSError):
                pids.update(int(line) for line in (below / "cgroup.procs").read_text().split())
    pids.discard(0)  # a process of another pid namespace that this one cannot see
    return pids


def remove(found: list[Path]) -> None:
    """The groups are gone, unless somebody still lives in them."""
    for folder in found:
        for below in reversed(list(_tree(folder))):
            with contextlib.suppress(OSError):
                below.rmdir()


def thaw(found: list[Path]) -> None:
    """Frozen processes can run again, and so can die."""
    for folder in found:
        for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):  # v1, v2
            if (folder / name).exists():
                with contextlib.suppress(OSError):
                    (folder / name).write_text(value)


def oom_kills(found: list[Path]) -> int:
    """How many processes the kernel killed in these groups for want of memory."""
    kills = 0
    for folder in found:
        for name in ("memory.events", "memory.oom_control"):  # v2, v1 (since Linux 4.13)
            path = f"{folder}/{name}"
            if not os.path.exists(path):
                continue
            with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
                lines = [line.split() for line in file]
                kills += sum(int(value) for key, value in lines if key == "oom_kill")
    return kills


def _tree(folder: Path) -> Iterator[Path]:
    for path, _, _ in os.walk(folder):
        yield Path(path)
