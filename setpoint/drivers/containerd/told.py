"""What was told once and a look no longer shows: processes killed for memory, exits of tasks that are gone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controllers.container.ports import Exit


@dataclass(slots=True)
class _Heard:
    pid: int
    exit: Exit


class Told:
    """Kept per containerd id from one launch to the next. In memory only: what was not heard is Unknown, not guessed."""

    def __init__(self) -> None:
        self._oom: set[str] = set()
        self._heard: dict[str, _Heard] = {}
        self._reaped: dict[str, int] = {}

    def launched(self, id: str) -> None:
        """A new task: what was told of the one before is over."""
        self._oom.discard(id)
        self._heard.pop(id, None)

    def forget(self, id: str) -> None:
        """The record is gone."""
        self.launched(id)
        self._reaped.pop(id, None)

    def reaping(self, id: str, pid: int, exit: Exit | None) -> None:
        """We are about to delete the task with this pid. Should the reply be lost, its exit is still known here."""
        self._reaped[id] = pid
        if exit is not None:
            self._heard[id] = _Heard(pid, exit)

    def reaped(self, id: str) -> None:
        """It is deleted, and the exit handed over."""
        self._heard.pop(id, None)

    def killed_for_memory(self, id: str) -> None:
        self._oom.add(id)

    def exited(self, id: str, pid: int, exit: Exit) -> Exit | None:
        """An exit event. Returns the exit as it may be shown once the task is not there; None when we reaped it ourselves.

        Not true: containerd publishes the same event with a number of its own (137 at the time of looking) for a task whose
        shim died. Unless it is the second for one pid: then containerd made up the second, and a live shim told the first.
        """
        if self._reaped.get(id) == pid:
            return None
        before = self._heard.get(id)
        if before is not None and before.pid == pid:
            before.exit = replace(before.exit, true=True)
            return before.exit
        self._heard[id] = _Heard(pid, replace(exit, oom=id in self._oom))
        return self._heard[id].exit

    def oom(self, id: str) -> bool:
        return id in self._oom

    def exit(self, id: str) -> Exit | None:
        """What is known of the end of a task that is not there any more."""
        heard = self._heard.get(id)
        return None if heard is None else heard.exit
