"""An agent that kills itself with SIGKILL at one call through a port.

``python -m setpoint.testing.dying_agent SITE WHEN ABOUT CONFIG DATA_DIR RUN_DIR``: SITE is ``port.method`` or
``port.method#n`` for the n-th such call, WHEN ``before`` or ``after``, ABOUT a uid: calls about other objects do not count.
The product has no hook for it: the ports are wrapped where the assembly bundles them.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
from pathlib import Path
from typing import Any

from controllers.container.bundle import Ports
from setpoint import assembly
from setpoint.agent import run
from setpoint.settings import load

PORTS = ("store", "ledger", "runtime", "images", "sandboxes", "files", "logs")


class Deadly:
    """Stands for a port; the chosen call is its process's last."""

    def __init__(self, port: str, obj: Any, fuse: Fuse) -> None:
        self._port, self._obj, self._fuse = port, obj, fuse

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._obj, name)
        if not inspect.iscoroutinefunction(value) or f"{self._port}.{name}" != self._fuse.site:
            return value

        async def call(*args: Any, **kwargs: Any) -> Any:
            last = self._fuse.burns(repr(args) + repr(kwargs))
            if last and self._fuse.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            answer = await value(*args, **kwargs)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return call


class Fuse:
    """Counts the calls of one site that speak of one object."""

    def __init__(self, site: str, when: str, about: str) -> None:
        self.site, _, number = site.partition("#")
        self.when, self._about, self._left = when, about, int(number or 1)

    def burns(self, arguments: str) -> bool:
        if self.site.startswith("images."):
            self._left -= 1  # an image is asked for by its name
            return self._left == 0
        if self._about and self._about not in arguments and self._about.replace("-", "") not in arguments:
            return False
        self._left -= 1
        return self._left == 0


def main() -> None:
    site, when, about, config, data_dir, run_dir = sys.argv[1:]
    fuse = Fuse(site, when, about)

    def deadly(**ports: Any) -> Ports:
        return Ports(**{name: Deadly(name, obj, fuse) if name in PORTS else obj for name, obj in ports.items()})

    assembly.Ports = deadly  # type: ignore[attr-defined,assignment]
    asyncio.run(run(load(Path(config), {"data_dir": data_dir, "run_dir": run_dir})))


if __name__ == "__main__":
    main()
