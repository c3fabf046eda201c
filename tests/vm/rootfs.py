"""A bootable Debian with the product in it: built once, kept under ``.cache/vm`` by what went into it.

Three layers, each with a key of its own, so that a change of the code builds only the last (seconds):
Debian's packages (root file system, kernel, initrd), the product's dependencies (a virtual environment), and the product (an
image of that environment with the product's wheel in it, which the machine mounts at /opt/setpoint).

Needs root and the packages of ``tools/parts.sh vm``. Nothing is built inside the emulator, and the running host is not
changed: what needs the guest's own Python happens by chroot in a mount namespace that ends with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Builder = Callable[[Path], None]
"""Fills the folder of a layer."""

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "vm"
SUITE = "bookworm"
PYTHON = "3.11"
"""The interpreter of ``SUITE``: the dependencies' wheels are fetched for it, whatever the host runs."""
PACKAGES = (
    "systemd systemd-sysv dbus udev kmod procps login passwd e2fsprogs python3 python3-venv busybox-static "
    "containerd runc crun nftables iptables iproute2 apparmor apparmor-utils linux-image-cloud-amd64 initramfs-tools"
)
IMAGE_BYTES = 4 << 30
KEPT = 2
"""How many of each layer stay in the cache: the present one and the one before."""

# What no test looks at and what only costs time at boot: AppArmor works, but profiles of programs that are not run are not
# loaded. Debian's own containerd rests: the product brings up its own.
MASKED = (
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer "
    "systemd-tmpfiles-clean.timer containerd.service getty@tty1.service serial-getty@ttyS0.service "
    "apparmor.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-update-utmp-runlevel.service"
)

JOB_UNIT = """\
[Unit]
Description=What the test wants done in this boot
RequiresMountsFor=/mnt/in /mnt/out /opt/setpoint
[Service]
Type=exec
Environment=PYTHONDONTWRITEBYTECODE=1 PATH=/opt/setpoint/bin:/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=/bin/sh -c 'exec /opt/setpoint/bin/python /mnt/in/job.py >/dev/ttyS1 2>&1'
TimeoutStartSec=infinity
[Install]
WantedBy=multi-user.target
"""

# The emulator is 20 to 30 times slower than the host: patience that is right for hardware is not for it.
MANAGER = "[Manager]\nDefaultTimeoutStartSec=600s\nDefaultDeviceTimeoutSec=600s\n"

FSTAB = """\
LABEL=root / ext4 rw,noatime 0 0
LABEL=setpoint /opt/setpoint ext4 ro,noatime 0 0
LABEL=in /mnt/in ext4 ro,noatime 0 0
LABEL=out /mnt/out ext4 rw,noatime 0 0
"""

FILES = {
    "etc/fstab": FSTAB,
    "etc/hostname": "guest\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 guest\n",
    # Without one every boot would be a first boot, with presets applied and questions asked.
    "etc/machine-id": "5e790145e790145e790145e790145e79\n",
    "etc/systemd/system.conf.d/slow.conf": MANAGER,
    "etc/systemd/system/job.service": JOB_UNIT,
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
}


class BuildFailed(RuntimeError):
    """The message ends with the last lines of what was said."""


@dataclass(frozen=True, slots=True)
class Image:
    """What a machine boots from. ``root`` is copied for each machine, ``product`` is shared and read-only."""

    root: Path
    product: Path
    kernel: Path
    initrd: Path


def build() -> Image:
    """The image for the code as it lies in the work tree. Raises BuildFailed."""
    _require("mmdebstrap", "mkfs.ext4", "unshare", "chroot")
    if os.geteuid() != 0:
        raise BuildFailed("building a root file system needs root")
    with _locked():
        key = _key(_build_debian, SUITE, PACKAGES, MASKED, IMAGE_BYTES, *FILES.items())
        debian = _layer("debian", key, _build_debian)
        key = _key(_build_needs, debian.name, PYTHON, (REPOSITORY / "constraints.txt").read_text())
        needs = _layer("needs", key, lambda folder: _build_needs(folder, debian / "root"))
        key = _key(_build_product, needs.name, *_sources())
        product = _layer("product", key, lambda folder: _build_product(folder, needs, debian / "root"))
    return Image(debian / "root.img", product / "product.img", debian / "vmlinuz", debian / "initrd.img")


# layers


def _layer(name: str, key: str, make: Builder) -> Path:
    """The folder of a layer, made if it is not there; a half-made one is never seen under its name."""
    folder = CACHE / f"{name}-{key}"
    if not folder.exists():
        fresh = CACHE / f"{name}-{key}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        make(fresh)
        fresh.rename(folder)
    os.utime(folder)
    others = sorted(CACHE.glob(f"{name}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in others[KEPT:]:
        shutil.rmtree(old)
    return folder


def _build_debian(folder: Path) -> None:
    root = folder / "root"
    options = {"Acquire::Check-Valid-Until": "false", "APT::Install-Recommends": "false", **_proxies()}
    argv = ["mmdebstrap", "--variant=minbase", "--mode=root", f"--include={','.join(PACKAGES.split())}"]
    argv += [f'--aptopt={name} "{value}"' for name, value in options.items()]
    # Said before the kernel is installed: an initrd of all modules takes long to make and to load.
    settings = 'mkdir -p "$1/etc/initramfs-tools/conf.d" && echo MODULES=list >"$1/etc/initramfs-tools/conf.d/small"'
    _run([*argv, f"--essential-hook={settings}", SUITE, str(root), *_mirrors()])
    for place in ("opt/setpoint", "mnt/in", "mnt/out", "mnt/wheels", "var/log/journal"):
        (root / place).mkdir(parents=True, exist_ok=True)
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    units = root / "etc/systemd/system"
    for unit in MASKED.split():
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    (units / "multi-user.target.wants").mkdir(exist_ok=True)
    (units / "multi-user.target.wants/job.service").symlink_to("../job.service")
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    _chroot(root, {}, "update-initramfs", "-u")
    for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd.img", "initrd.img-*")):
        shutil.copy(next((root / "boot").glob(pattern)), folder / name)
    make_ext4(folder / "root.img", "root", root, IMAGE_BYTES)


def _build_needs(folder: Path, root: Path) -> None:
    """A virtual environment of the guest's Python with the pinned dependencies, at the path that it has in the guest."""
    wheels, place = folder / "wheels", folder / "environment"
    wheels.mkdir()
    place.mkdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    what = ["--no-deps", "--only-binary=:all:", "--python-version", PYTHON, "--require-hashes"]
    _run([*pip, "download", *what, "-r", str(REPOSITORY / "constraints.txt"), "-d", str(wheels)])
    binds = {place: "/opt/setpoint", wheels: "/mnt/wheels"}
    _chroot(root, binds, "python3", "-m", "venv", "/opt/setpoint")
    _install(root, binds, sorted(wheels.glob("*.whl")))


def _build_product(folder: Path, needs: Path, root: Path) -> None:
    wheels, place = folder / "wheels", folder / "environment"
    wheels.mkdir()
    shutil.copytree(needs / "environment", place, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(REPOSITORY)])
    _install(root, {place: "/opt/setpoint", wheels: "/mnt/wheels"}, sorted(wheels.glob("*.whl")))
    used = sum(path.lstat().st_blocks * 512 for path in place.rglob("*"))
    make_ext4(folder / "product.img", "setpoint", place, used * 5 // 4 + (32 << 20))
    shutil.rmtree(place)


def _install(root: Path, binds: Mapping[Path, str], wheels: Sequence[Path]) -> None:
    paths = [f"/mnt/wheels/{wheel.name}" for wheel in wheels]
    pip = ["/opt/setpoint/bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index"]
    _chroot(root, binds, *pip, "--no-deps", "--no-cache-dir", *paths)


# parts


def make_ext4(path: Path, label: str, content: Path, size: int) -> None:
    """A sparse image of ``size`` bytes (rounded up to MiB) that holds the tree ``content``."""
    with path.open("wb") as file:
        file.truncate((size + (1 << 20) - 1) >> 20 << 20)
    extended = "lazy_itable_init=0,lazy_journal_init=1"
    _run(["mkfs.ext4", "-q", "-F", "-L", label, "-E", extended, "-d", str(content), str(path)])


def _chroot(root: Path, binds: Mapping[Path, str], *argv: str) -> None:
    """Runs a program of ``root`` with folders of ours in it. The mounts are seen by nobody else and end with it."""
    mounts = "".join(f"mount --bind '{source}' '{root}{target}'; " for source, target in binds.items())
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
    script = f"{mounts}exec chroot '{root}' \"$@\""
    _run(["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", *argv], environment)


def _mirrors() -> list[str]:
    """Where this host gets its Debian from, as one-line sources for ``SUITE``."""
    apt = Path("/etc/apt")
    # Debian's own files first: other archives have suites of the same names.
    files = [apt / "sources.list", apt / "sources.list.d/debian.sources", *sorted(apt.glob("sources.list.d/*"))]
    found = [source for file in files if file.is_file() for source in _sources_of(file.read_text())]

    def first(suite: str, ending: str) -> str:
        """Another release's host has the same mirror, under the usual name."""
        exact = (address for address, suites in found if suite in suites)
        alike = (address for address, _ in found if address.rstrip("/").endswith(ending))
        return next(exact, "") or next(alike, "")

    main, security = first(SUITE, "/debian"), first(f"{SUITE}-security", "/debian-security")
    if not main:
        raise BuildFailed("no Debian mirror in /etc/apt/sources.list*: there is nowhere to get the packages from")
    return [f"deb {main} {SUITE} main", *([f"deb {security} {SUITE}-security main"] if security else [])]


def _sources_of(text: str) -> Iterator[tuple[str, list[str]]]:
    """(address, suites) of a file in either form of sources.list(5)."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for address, suite in re.findall(r"^deb\s+(?:\[.*?\]\s+)?(\S+)\s+(\S+)", lines, re.MULTILINE):
        yield address, [suite]
    for stanza in lines.split("\n\n"):
        fields = dict(re.findall(r"^(URIs|Suites):\s*(.+)$", stanza, re.MULTILINE))
        for address in fields.get("URIs", "").split():
            yield address, fields.get("Suites", "").split()


def _proxies() -> dict[str, str]:
    said = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    return dict(re.findall(r'^(Acquire::https?::Proxy) "(.+)";$', said, re.MULTILINE))


def _sources() -> Iterator[tuple[str, bytes]]:
    """What goes into the wheel."""
    for name in ("pyproject.toml", "README.md"):
        yield name, (REPOSITORY / name).read_bytes()
    for package in ("setpoint", "controllers", "state"):
        for path in sorted((REPOSITORY / package).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                yield str(path.relative_to(REPOSITORY)), path.read_bytes()


def _key(builder: Callable[..., None], *inputs: object) -> str:
    """Of what goes in and of how it is made."""
    digest = hashlib.sha256(inspect.getsource(builder).encode())
    for each in inputs:
        digest.update(repr(each).encode())
    return digest.hexdigest()[:12]


@contextmanager
def _locked() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _require(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise BuildFailed(f"not installed: {', '.join(missing)}; tools/parts.sh vm brings them")


def _run(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise BuildFailed(f"{' '.join(argv[:4])} ... ended with {done.returncode}:\n{said}")
