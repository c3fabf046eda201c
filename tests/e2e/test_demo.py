"""``make demo``: the story is told to its end, and whoever ends it early finds nothing of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from setpoint.drivers.containerd import leftovers

pytestmark = [pytest.mark.containerd, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = re.compile(r"/tmp/setpoint-demo-[0-9a-f]+")


@dataclass
class Demo:
    """A run, seen from outside: its output, and the ids of the containers that it made."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    @property
    def text(self) -> str:
        return "".join(self.lines)

    @property
    def base(self) -> str:
        found = FOLDER.search(self.text)
        return found[0] if found else ""

    def read(self, until: str = "") -> None:
        """Output up to a line with ``until``, or all of it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if self.base:
                self.ids |= {shim.id for shim in leftovers.shims("setpoint", f"{self.base}/run/containerd/containerd.sock")}
            if until and until in line:
                return

    def left(self) -> list[str]:
        """What is found on this machine that names the run's folder or its containers."""
        folder = [self.base] if Path(self.base).exists() else []
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if self.base in line]
        groups = [path for path, _, _ in os.walk("/sys/fs/cgroup") if any(id in path for id in self.ids)]
        notes = [str(path) for id in self.ids for path in leftovers.RUNC_ROOT.glob(f"*/{id}")]
        return folder + list(_processes(self.base)) + mounts + groups + notes


def _processes(name: str) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if name.encode() in told:
                yield f"process {entry.name}: {told[:200]!r}"


@pytest.fixture
def demo() -> Iterator[Demo]:
    process = subprocess.Popen(
        [sys.executable, "examples/demo.py"],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    run = Demo(process)
    try:
        yield run
    finally:
        if process.poll() is None:
            process.terminate()
            run.read()
            process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def test_the_story_is_told_to_its_end(demo: Demo) -> None:
    demo.read()
    assert demo.process.wait(10) == 0, demo.text
    beats = [
        "ok: the agent is ready",
        "ok: the node has the image busybox:stable",
        "ok: the job failed twice, was run again, and worked",
        "ok: what is declared Stopped does not run",
        "ok: the counter runs again",
        "ok: nothing was lost",
        "error: cannot reach the agent",
        "ok: all four processes live, and the clock's log grows",
        "ok: clock has the pid that it had",
        "ok: counter has the pid that it had",
        "ok: modest has the pid that it had",
        "ok: farewell ended while nobody looked, and its exit code is known: 42",
        "ok: no process, mount or control group is left",
    ]
    at = [demo.text.find(beat) for beat in beats]
    assert -1 not in at, f"{beats[at.index(-1)]}\n{demo.text}"
    assert at == sorted(at)
    assert "\033" not in demo.text, "no colour where there is no terminal"
    assert len(demo.ids) >= 4
    assert demo.left() == []


@pytest.mark.parametrize(
    ("point", "number"),
    [
        ("$ setpoint agent", signal.SIGINT),
        ("$ setpoint apply", signal.SIGTERM),
        ("$ setpoint why", signal.SIGINT),
        ("Nobody is there to be asked", signal.SIGINT),
    ],
)
def test_whoever_ends_it_early_finds_nothing_of_it(demo: Demo, point: str, number: signal.Signals) -> None:
    demo.read(until=point)
    # A terminal tells the whole foreground group.
    os.killpg(demo.process.pid, number) if number == signal.SIGINT else demo.process.send_signal(number)
    demo.read()
    assert demo.process.wait(60) == 130, demo.text
    assert "is gone." in demo.text
    assert demo.left() == []
