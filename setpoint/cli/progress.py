"""Progress of long work: a bar on a terminal, a line per step elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, cast

from setpoint.cli.printing import note


class Progress:
    """Shows the newest step. Nothing is left on the terminal after its end."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._step = ""

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            # Slow to import: only where somebody looks.
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, step: str, done: int, total: int) -> None:
        """``total`` 0: not known."""
        if self._bar is None:
            if step != self._step:
                note(step)
        elif self._task is None:
            self._task = self._bar.add_task(step, completed=done, total=total or None)
        else:
            self._bar.update(self._task, description=step, completed=done, total=total or None)
        self._step = step


class Reading:
    """A binary file that tells how much of it was read."""

    def __init__(self, file: IO[bytes], tell: Callable[[int], None]) -> None:
        self._file, self._tell, self._done = file, tell, 0

    def read(self, amount: int = -1) -> bytes:
        data = self._file.read(amount)
        self._done += len(data)
        self._tell(self._done)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    @classmethod
    def of(cls, file: IO[bytes], tell: Callable[[int], None]) -> IO[bytes]:
        return cast("IO[bytes]", cls(file, tell))
