"""The README's commands are typed by nobody but this test, as they stand there, in a folder of their own."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from setpoint.drivers.containerd import leftovers

pytestmark = [pytest.mark.containerd, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
BY_HAND = re.compile(r"<!-- by hand.*?-->(.*?)<!-- end -->", re.DOTALL)
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
INSTALLS = ("make ", "tools/parts.sh ")


def blocks() -> list[str]:
    found = BY_HAND.search((ROOT / "README.md").read_text())
    assert found is not None
    return BLOCK.findall(found[1])


@pytest.fixture
def folder() -> Iterator[Path]:
    """What stands for /tmp/try. Whatever the script left running there is ended."""
    base = Path(f"/tmp/sp-readme-{secrets.token_hex(3)}")
    yield base
    for shim in leftovers.shims("setpoint", str(base / "run/containerd/containerd.sock")):
        for pid in (*leftovers.descendants(shim.pid), shim.pid):
            leftovers.kill(pid, lambda: True)
    for pid in processes(base):
        leftovers.kill(pid, lambda: True)
    for point in reversed(mounts(base)):
        subprocess.run(["umount", "-l", point], check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", str(base)], check=False)


def processes(base: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                argv = (entry / "cmdline").read_text()
            except OSError:
                continue
            if str(base) in argv:
                found.append(int(entry.name))
    return found


def mounts(base: Path) -> list[str]:
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return sorted(point for point in points if point.startswith(f"{base}/"))


def test_what_is_said_by_hand_works_as_it_stands(folder: Path) -> None:
    lines = "".join(blocks()).splitlines()
    script = "set -e\n" + "\n".join(line for line in lines if not line.startswith(INSTALLS))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script.replace("/tmp/try", str(folder))],
        cwd=ROOT, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    told = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    for beat in ("container/counter created", "counting on from 0;", "counter is Running", "exit code 137, signal 9"):
        assert beat in done.stdout, told
    assert re.search(r"^counter +True +Running +1 ", done.stdout, re.MULTILINE), told
    assert re.search(r"counting on from [1-9]", done.stdout), told
    assert "container/modest configured" in done.stdout, told
    assert "container/counter deleted" in done.stdout, told
    assert not processes(folder)
    assert not folder.exists()
