"""What of this host shapes a container's spec (``controllers.container.ports.HostFacts``), read from its files.

Every function takes the root to read below, so that tests can lay out a host of another kind.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from controllers.container.ports import HostFacts

ROOT = Path("/")

# capability.h, by bit.
CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]

# The names that images carry (Go's GOARCH) for what uname tells.
ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv6l": "arm",
    "armv7l": "arm",
    "i386": "386",
    "i686": "386",
    "loongarch64": "loong64",
}

# Where distributions put an init for containers; Docker's is a tini under another name.
INIT_PROGRAMS = (
    "usr/bin/tini-static",
    "usr/bin/catatonit",
    "usr/libexec/podman/catatonit",
    "usr/libexec/catatonit/catatonit",
    "usr/bin/docker-init",
    "usr/libexec/docker/docker-init",
    "usr/sbin/docker-init",
    "usr/bin/tini",
    "sbin/tini",
)

_STUB = "127.0.0.53"
_PT_INTERP = 3


def host_facts(root: Path = ROOT) -> HostFacts:
    """Reads all of it anew; some milliseconds. Limits and kernel are this process' own whatever ``root`` is."""
    machine = os.uname()
    version = cgroup_version(root)
    return HostFacts(
        cgroup=version,
        systemd_cgroup=version == 2 and has_systemd(root),
        cpus=os.cpu_count() or 1,
        memory_bytes=memory_bytes(root),
        kernel=kernel_version(machine.release),
        architecture=ARCHITECTURES.get(machine.machine, machine.machine),
        hostname=machine.nodename,
        apparmor=has_apparmor(root),
        capabilities=bounding_capabilities(root),
        init_path=init_program(root),
        resolv_conf=resolv_conf(root),
        hosts=_text(root / "etc/hosts"),
        controllers=cgroup_controllers(root),
        extra={
            "apparmor_profiles": apparmor_profiles(root),
            "machine": machine.machine,
            "kernel_release": machine.release,
            "os": os_name(root),
        },
    )


def cgroup_version(root: Path = ROOT) -> int:
    """2 where the unified hierarchy is mounted at its place; hybrid hosts run their containers on version 1."""
    return 2 if (root / "sys/fs/cgroup/cgroup.controllers").exists() else 1


def cgroup_controllers(root: Path = ROOT) -> frozenset[str]:
    """Controllers that can be limited, by their own names (``blkio`` is ``io`` in version 2)."""
    mounted = root / "sys/fs/cgroup"
    if cgroup_version(root) == 2:
        return frozenset(_text(mounted / "cgroup.controllers").split())
    enabled = {fields[0] for fields in _rows(root / "proc/cgroups") if len(fields) == 4 and fields[3] == "1"}
    return frozenset(name for name in enabled if (mounted / name / "cgroup.procs").exists())


def has_systemd(root: Path = ROOT) -> bool:
    """Whether systemd is PID 1 (sd_booted(3))."""
    return (root / "run/systemd/system").is_dir()


def bounding_capabilities(root: Path = ROOT) -> frozenset[str]:
    """What a process of ours may hand on at most: the bounding set, with names. Unknown bits are left out."""
    for fields in _rows(root / "proc/self/status"):
        if fields and fields[0] == "CapBnd:":
            bits = int(fields[1], 16)
            return frozenset(f"CAP_{name}" for bit, name in enumerate(CAPABILITIES) if bits >> bit & 1)
    return frozenset()


def memory_bytes(root: Path = ROOT) -> int:
    for fields in _rows(root / "proc/meminfo"):
        if fields and fields[0] == "MemTotal:":
            return int(fields[1]) * 1024
    return 0


def kernel_version(release: str) -> tuple[int, int]:
    """``6.1.0-18-amd64`` is (6, 1)."""
    numbers = release.replace("-", ".").split(".")
    major, minor = (int(number) if number.isdigit() else 0 for number in [*numbers, "", ""][:2])
    return major, minor


def os_name(root: Path = ROOT) -> str:
    """``PRETTY_NAME`` of os-release(5)."""
    for line in _text(root / "etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip("\"'")
    return ""


def has_apparmor(root: Path = ROOT) -> bool:
    return _text(root / "sys/module/apparmor/parameters/enabled").startswith("Y")


def apparmor_profiles(root: Path = ROOT) -> frozenset[str]:
    """Names of the loaded profiles; each row is ``name (mode)``."""
    rows = _text(root / "sys/kernel/security/apparmor/profiles").splitlines()
    return frozenset(row.rpartition(" (")[0] for row in rows if " (" in row)


def resolv_conf(root: Path = ROOT) -> str:
    """The host's resolv.conf; that of its uplinks where it names only systemd-resolved's stub, which no container reaches."""
    text = _text(root / "etc/resolv.conf")
    if list(_nameservers(text)) == [_STUB]:
        return _text(root / "run/systemd/resolve/resolv.conf") or text
    return text


def init_program(root: Path = ROOT) -> str:
    """Path of an init that runs in any image; empty: there is none. A dynamic one would need the image's own libraries."""
    for candidate in INIT_PROGRAMS:
        if os.access(root / candidate, os.X_OK) and is_static_program(root / candidate):
            return f"/{candidate}"
    return ""


def is_static_program(path: Path) -> bool:
    """Whether it is an ELF program that asks for no interpreter (elf(5))."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
            if head[:4] != b"\x7fELF" or len(head) < 64:
                return False
            order = "<" if head[5] == 1 else ">"
            wide = head[4] == 2
            offset = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)[0]
            size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
            file.seek(offset)
            table = file.read(size * count)
    except (OSError, ValueError, OverflowError):  # the latter two: an offset beyond any file
        return False
    kinds = (struct.unpack_from(order + "I", table, at)[0] for at in range(0, len(table) - 3, size or 1))
    return len(table) == size * count and _PT_INTERP not in kinds


def _nameservers(text: str) -> Iterator[str]:
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0] == "nameserver":
            yield fields[1]


def _rows(path: Path) -> Iterator[list[str]]:
    for line in _text(path).splitlines():
        yield line.split()


def _text(path: Path) -> str:
    """What the file says; empty when it cannot be read, as on a host without the feature."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
