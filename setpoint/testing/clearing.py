"""Takes away what real parts of a test left behind: processes by pid, mounts and files by folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path

from setpoint.drivers import libc
from setpoint.drivers.containerd.leftovers import descendants
from setpoint.drivers.paths import mounts_below


def kill_tree(pid: int) -> None:
    """SIGKILL to every process below ``pid``, then to itself."""
    for each in (*descendants(pid), pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def remove_folder(folder: Path) -> None:
    """Nothing is mounted in it any more, and it is gone."""
    for point in mounts_below(str(folder)):
        with contextlib.suppress(OSError):
            libc.unmount(point)
    shutil.rmtree(folder, ignore_errors=True)
