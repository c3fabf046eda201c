"""A machine in qemu: boot, do a job, and end by itself, or by a power cut.

What a boot is to do is a Python file that lies on its input disk as ``job.py`` and runs as root in the guest, by the product's
own interpreter. It tells what it sees in JSON lines (see ``guest.py``) and leaves files on its output disk; the host judges.
The emulator is software: everything in the guest takes 20 to 30 times as long as here: no duration that is seen in
there says anything about the product.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.vm.rootfs import BuildFailed, Image, make_ext4

HERE = Path(__file__).resolve().parent
DISK_BYTES = 64 << 20
POLL_S = 0.1
PATIENCE_S = 600.0
UNWANTED = "kvm,kvm_amd,kvm_intel,powernow_k8,acpi_cpufreq"
"""Modules that udev would load for the processor that is emulated, and that patch a running kernel for nothing."""

Facts = dict[str, Any]


class Machine:
    """A root disk, kept from boot to boot."""

    def __init__(self, image: Image, folder: Path, *, memory_mib: int = 2048, cpus: int = 2) -> None:
        self.folder = folder
        self._image = image
        self._size = (memory_mib, cpus)
        self._boots = 0
        self._root = folder / "root.img"
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(image.root), str(self._root)], check=True)

    def boot(self, job: Path, files: Mapping[str, Path] | None = None) -> Boot:
        """Power on. ``files``: what else lies on the input disk, name -> file here."""
        self._boots += 1
        folder = self.folder / f"boot{self._boots}"
        inputs, outputs = folder / "in", folder / "out"
        inputs.mkdir(parents=True)
        outputs.mkdir()
        for name, source in {"job.py": job, "guest.py": HERE / "guest.py", **(files or {})}.items():
            shutil.copy(source, inputs / name)
        make_ext4(folder / "in.img", "in", inputs, DISK_BYTES)
        make_ext4(folder / "out.img", "out", outputs, DISK_BYTES)
        return Boot(self._arguments(folder), folder)

    def _arguments(self, folder: Path) -> list[str]:
        memory, cpus = self._size
        argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "q35"]
        # Never KVM: where it is nested it may be there and not work, and a machine is to be the same everywhere.
        # A plain processor: what the emulator does for the newest extensions is slower, and once a guest of such a one hung.
        argv += ["-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", str(cpus), "-m", str(memory)]
        argv += ["-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd)]
        argv += ["-append", f"root=/dev/vda rw console=ttyS0 quiet panic=5 sysrq_always_enabled module_blacklist={UNWANTED}"]
        argv += ["-monitor", f"unix:{folder / 'monitor'},server=on,wait=off"]
        disks = [(self._root, ""), (self._image.product, ",readonly=on"), (folder / "in.img", ",readonly=on")]
        for path, more in [*disks, (folder / "out.img", "")]:
            argv += ["-drive", f"file={path},format=raw,if=virtio{more}"]
        argv += ["-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"]
        for name in ("console", "job"):
            argv += ["-serial", f"file:{folder / name}"]
        return argv


class Boot:
    """One span of power. As a context manager it never leaves the machine running."""

    def __init__(self, argv: list[str], folder: Path) -> None:
        if shutil.which(argv[0]) is None:
            raise BuildFailed(f"not installed: {argv[0]}; tools/parts.sh vm brings it")
        self.folder = folder
        self.began = time.monotonic()
        self.seconds = 0.0
        self._read = 0
        self._told: list[Facts] = []
        with (folder / "qemu").open("wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def __enter__(self) -> Boot:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def until(self, said: str, within_s: float = PATIENCE_S) -> Facts:
        """What the job told first under this name. AssertionError when it failed, the machine ended, or time is up."""
        return self.until_times(said, 1, within_s)

    def all(self, said: str) -> list[Facts]:
        """What the job told so far under this name."""
        self._listen()
        return [facts for facts in self._told if facts["said"] == said]

    def until_times(self, said: str, times: int, within_s: float = PATIENCE_S) -> Facts:
        """The same, of what is told often."""
        deadline = time.monotonic() + within_s
        while True:
            running = self._process.poll() is None
            if len(found := self.all(said)) >= times:
                return found[times - 1]
            for facts in self.all("failed"):
                raise AssertionError(f"the job failed, waiting for {said!r}:\n{facts['why']}\n{self.tail()}")
            if not running or time.monotonic() > deadline:
                how = f"{said!r} was not told within {self._age():.0f} s" if running else f"the machine ended before {said!r}"
                self._ask_the_kernel()
                raise AssertionError(f"{how}; told: {[facts['said'] for facts in self._told]}\n{self.tail()}")
            time.sleep(POLL_S)

    def off(self, within_s: float = PATIENCE_S) -> None:
        """Waits until the guest has ended by itself: powered off, or rebooted, which ends the emulator too."""
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._ask_the_kernel()
            raise AssertionError(f"still on after {self._age():.0f} s\n{self.tail()}") from None
        self.seconds = self._age()

    def cut(self) -> None:
        """Power off, this instant: the guest's memory is gone. What it had written is on the disk."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            self.seconds = self._age()

    def output(self, name: str) -> str:
        """A file that the job left on the output disk; only once the machine is off."""
        argv = ["debugfs", "-R", f"cat /{name}", str(self.folder / "out.img")]
        return subprocess.run(argv, check=True, capture_output=True, text=True, errors="replace").stdout

    def tail(self, lines: int = 80) -> str:
        """The end of what the machine said on its three outputs."""
        parts = []
        for name in ("qemu", "console", "job"):
            path = self.folder / name
            text = path.read_text(errors="replace").replace("\r", "") if path.exists() else ""
            parts.append(f"--- {name}\n" + "\n".join(line[:2000] for line in text.splitlines()[-lines:]))
        return "\n".join(parts)

    def _ask_the_kernel(self) -> None:
        """On the console: what each processor does, and which tasks are stuck, for a guest that has gone silent."""
        if self._process.poll() is not None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self.folder / "monitor"))
            for key in ("8", "l", "w"):
                monitor.sendall(f"sendkey alt-sysrq-{key}\n".encode())
                time.sleep(2.0)

    def _age(self) -> float:
        return time.monotonic() - self.began

    def _listen(self) -> None:
        path = self.folder / "job"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole, newline, _ = text.rpartition(b"\n")
        self._read += len(whole) + len(newline)
        for line in whole.splitlines():
            if line.startswith(b'{"said"'):
                self._told.append({**json.loads(line), "after_s": round(self._age(), 1)})
