"""What this host lacks, exactly (``setpoint doctor``, and the agent's check at its start).

Each check is a row: ``name``, ``ok``, ``found`` (what is there), ``need`` (what would be right), ``severity`` of a miss:
``error`` (nothing runs), ``warning`` (a feature or a limit will not hold), ``info`` (nice to know).
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypedDict

from setpoint.drivers import host, libc

Severity = Literal["error", "warning", "info"]

MIN_KERNEL = (5, 6)  # openat2
MIN_PYTHON = (3, 11)
MIN_CONTAINERD = (1, 6)
MIN_RUNC = (1, 1)
MIN_FREE_BYTES = 1 << 30
MIN_FREE_INODES = 50_000
MIN_NOFILE = 65_536
PROGRAM_LIMIT_S = 5.0

NEEDED_CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "MKNOD",
    "NET_ADMIN",
    "SETGID",
    "SETUID",
    "SYS_ADMIN",
    "SYS_CHROOT",
)
NEEDED_CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
PACKAGES = ("setpoint", "controllers", "state")
IMPORTS = (
    "aiohttp",
    "cryptography",
    "google.protobuf",
    "grpc",
    "orjson",
    "pydantic",
    "pyroute2",
    "sqlalchemy",
    "structlog",
    "yaml",
)


class Check(TypedDict):
    name: str
    ok: bool
    found: str
    need: str
    severity: Severity


def checks(data_dir: Path, run_dir: Path, *, private_containerd: bool = True) -> list[Check]:
    """All checks in a fixed order; runs ``containerd --version`` and the like, so it may take a second. Leaves nothing behind.

    ``private_containerd``: the agent is to start its own, so that the program must be there.
    """
    rows = [_linux(), _kernel(), _python(), _packages(), _imports(), _root()]
    if rows[0]["ok"] and rows[5]["ok"]:
        rows += [_capabilities(), _overlayfs(data_dir), _tmpfs(), _network_namespaces()]
    rows += [_seccomp(), _cgroups(), _controllers(), _runtime(), _containerd(private_containerd), _shim(private_containerd)]
    rows += [_disk("disk", data_dir), _disk("run folder", run_dir, MIN_FREE_BYTES >> 4), _open_files()]
    return [*rows, _init(), _apparmor(), _systemd()]


def _check(name: str, ok: bool, found: str, need: str, severity: Severity = "error") -> Check:
    return Check(name=name, ok=ok, found=found, need=need, severity=severity)


def _linux() -> Check:
    system = platform.system()
    return _check("Linux", system == "Linux", system, "Linux")


def _kernel() -> Check:
    release = os.uname().release
    return _check("kernel", host.kernel_version(release) >= MIN_KERNEL, release, _at_least("Linux", MIN_KERNEL))


def _python() -> Check:
    return _check("Python", sys.version_info >= MIN_PYTHON, platform.python_version(), _at_least("Python", MIN_PYTHON))


def _packages() -> Check:
    """The three packages have generic names: a foreign ``state`` or ``controllers`` beside ours would be imported instead."""
    parents: dict[str, str] = {}
    for name in PACKAGES:
        try:
            file = importlib.import_module(name).__file__
        except ImportError as exc:
            return _check("packages", False, str(exc), "an isolated installation (pipx, or a virtual environment of its own)")
        parents[name] = str(Path(file).resolve().parent.parent) if file else "nowhere"
    same = len(set(parents.values())) == 1
    found = parents["setpoint"] if same else ", ".join(f"{name} in {place}" for name, place in parents.items())
    return _check("packages", same, found, f"{', '.join(PACKAGES)} in one place: install it isolated")


def _imports() -> Check:
    missing = [name for name in IMPORTS if not _importable(name)]
    return _check("libraries", not missing, f"missing: {', '.join(missing)}" if missing else "all there", ", ".join(IMPORTS))


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def _root() -> Check:
    uid = os.geteuid()
    return _check("root", uid == 0, f"uid {uid}", "uid 0: run it as root (sudo)")


def _capabilities() -> Check:
    missing = [name for name in NEEDED_CAPABILITIES if f"CAP_{name}" not in host.bounding_capabilities()]
    found = f"missing: {', '.join(missing)}" if missing else "all there"
    return _check("capabilities", not missing, found, ", ".join(NEEDED_CAPABILITIES))


def _overlayfs(data_dir: Path) -> Check:
    need = f"overlayfs that can be mounted on the file system of {data_dir}"
    with tempfile.TemporaryDirectory(dir=_existing(data_dir), prefix=".setpoint-doctor-") as trial:
        error = _try_in_own_mounts(lambda: _mount_overlay(Path(trial)))
    return _check("overlayfs", not error, error or "can be mounted", need)


def _mount_overlay(trial: Path) -> None:
    layers = {name: trial / name for name in ("lower", "upper", "work", "merged")}
    for folder in layers.values():
        folder.mkdir()
    options = f"lowerdir={layers['lower']},upperdir={layers['upper']},workdir={layers['work']}"
    libc.mount("overlay", str(layers["merged"]), "overlay", options=options)
    libc.unmount(str(layers["merged"]))


def _tmpfs() -> Check:
    with tempfile.TemporaryDirectory(prefix=".setpoint-doctor-") as trial:
        error = _try_in_own_mounts(lambda: libc.mount("tmpfs", trial, "tmpfs", options="size=64k"))
    return _check("tmpfs", not error, error or "can be mounted", "tmpfs, for secrets and shared memory")


def _network_namespaces() -> Check:
    error = _try_in_thread(lambda: libc.unshare(libc.CLONE_NEWNET))
    return _check("network namespaces", not error, error or "can be made", "CONFIG_NET_NS, and the right to use it")


def _try_in_own_mounts(job: Callable[[], None]) -> str:
    def trial() -> None:
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount("", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
        job()

    return _try_in_thread(trial)


def _try_in_thread(job: Callable[[], None]) -> str:
    """Why ``job`` fails, or nothing. Its thread is thrown away, and with it whatever namespace it went to."""
    errors: list[str] = []

    def trial() -> None:
        try:
            job()
        except OSError as exc:
            errors.append(exc.strerror or str(exc))

    thread = threading.Thread(target=trial, daemon=True)
    thread.start()
    thread.join(PROGRAM_LIMIT_S)
    return "no answer from the kernel" if thread.is_alive() else "".join(errors)


def _seccomp() -> Check:
    found = Path("/proc/sys/kernel/seccomp/actions_avail").exists()
    return _check("seccomp", found, "there" if found else "not in this kernel", "CONFIG_SECCOMP_FILTER", "warning")


def _cgroups() -> Check:
    found = Path("/sys/fs/cgroup/cgroup.controllers").exists() or any(Path("/sys/fs/cgroup").glob("*/cgroup.procs"))
    text = f"version {host.cgroup_version()}" if found else "nothing mounted at /sys/fs/cgroup"
    return _check("cgroups", found, text, "cgroup version 2 (or 1) mounted at /sys/fs/cgroup")


def _controllers() -> Check:
    there = host.cgroup_controllers()
    missing = [name for name in NEEDED_CONTROLLERS if name not in there]
    found = ", ".join(sorted(there)) or "none"
    if missing:
        found += f"; missing: {', '.join(missing)}"
    return _check(
        "cgroup controllers", not missing, found, f"{', '.join(NEEDED_CONTROLLERS)}, else such limits are refused", "warning"
    )


def _runtime() -> Check:
    found = [text for name in ("runc", "crun") if (text := _version(name))]
    good = _number(_version("runc")) >= MIN_RUNC or bool(_version("crun"))
    return _check("OCI runtime", good, ", ".join(found) or "none on PATH", f"{_at_least('runc', MIN_RUNC)}, or crun")


def _containerd(private: bool) -> Check:
    found = _version("containerd")
    severity: Severity = "error" if private else "info"
    good = _number(found) >= MIN_CONTAINERD
    return _check("containerd", good, found or "not on PATH", _at_least("containerd", MIN_CONTAINERD), severity)


def _shim(private: bool) -> Check:
    found = shutil.which("containerd-shim-runc-v2")
    severity: Severity = "error" if private else "info"
    return _check("containerd shim", found is not None, found or "not on PATH", "containerd-shim-runc-v2 on PATH", severity)


def _disk(name: str, folder: Path, need_bytes: int = MIN_FREE_BYTES) -> Check:
    place = _existing(folder)
    info = os.statvfs(place)
    free = info.f_bavail * info.f_frsize
    # File systems without a fixed number of inodes tell none at all.
    inodes_ok = info.f_files == 0 or info.f_favail >= MIN_FREE_INODES
    found = f"{free >> 20} MiB and {info.f_favail} inodes free at {place}"
    need = f"{need_bytes >> 20} MiB and {MIN_FREE_INODES} inodes free"
    return _check(name, free >= need_bytes and inodes_ok, found, need, "warning")


def _open_files() -> Check:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    found = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    good = hard == resource.RLIM_INFINITY or hard >= MIN_NOFILE
    return _check("open files", good, f"hard limit {found}", f"hard limit of {MIN_NOFILE} or more (ulimit -Hn)", "warning")


def _init() -> Check:
    found = host.init_program()
    return _check("init", bool(found), found or "none", "tini or catatonit (static), for containers with init: true", "info")


def _apparmor() -> Check:
    found = host.has_apparmor()
    return _check("AppArmor", found, "enabled" if found else "not enabled", "a kernel with AppArmor, for its profiles", "info")


def _systemd() -> Check:
    found = host.has_systemd()
    return _check("systemd", found, "PID 1" if found else "not PID 1", "systemd, for setpoint install", "info")


def _version(program: str) -> str:
    """``runc 1.1.5``; empty when the program is not there or does not run."""
    path = shutil.which(program)
    if path is None:
        return ""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=PROGRAM_LIMIT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    # containerd: "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1"; runc: "runc version 1.1.5+ds1"
    number = re.search(r"(?<![\d.])\d+\.\d+(\.\d+)?", done.stdout)
    return f"{program} {number.group()}" if number else ""


def _number(found: str) -> tuple[int, ...]:
    return tuple(int(part) for part in found.partition(" ")[2].split(".") if part)


def _at_least(name: str, version: tuple[int, int]) -> str:
    return f"{name} {version[0]}.{version[1]} or newer"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in _upwards(folder.absolute()) if place.is_dir())


def _upwards(folder: Path) -> Iterator[Path]:
    yield folder
    yield from folder.parents
