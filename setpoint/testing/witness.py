"""A runtime that watches whoever uses it, and says at the instant of each call what it must never be asked to do.

    no exit is lost        a stopped task is reaped only when its end is on record
    one at a time          nothing is launched while another revision of the uid has a live process
    aimed deletes          a record is removed only of a revision that nobody speaks for, or of a uid with a tombstone
    patient                no launch is sent more than a handful of signals
    labelled               what is made carries uid and revision, and its id is made of them

What it gets wrong: it reads the ledger, so it knows what the loop says that it remembers, not what it should remember.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from controllers.container.memory import Memory, load
from controllers.container.ports import Exit, Instance, NewInstance, Stdio
from controllers.engine.ports import Clock
from setpoint.testing.fake_runtime import FakeRuntime, Task
from state.ledger import CONTAINERS, TOMBSTONES, Ledger

LIST_S = 0.02
"""How long a listing is on its way: what it tells is that old when it arrives."""


MOST_SIGNALS = 12


class Witness(FakeRuntime):
    """``wrong`` holds every broken oath, in words; to be empty at the end of a run."""

    def __init__(self, clock: Clock, ledger: Ledger, *, engine: str, forgets_on_restart: bool = False) -> None:
        super().__init__(clock, engine=engine, forgets_on_restart=forgets_on_restart)
        self.wrong: list[str] = []
        self.launches: Counter[str] = Counter()
        """Launches that came to be, by id."""
        self.deaths: Counter[str] = Counter()
        """Processes that ended otherwise than by a signal through this port, by uid without dashes."""
        self.changes = 0
        """Calls that change something."""
        self._ledger = ledger
        self._asked: set[str] = set()
        self._signals: Counter[str] = Counter()
        """Of the present launch, by id."""

    async def create(self, new: NewInstance) -> None:
        self.changes += 1
        if new.id != f"{new.uid.replace('-', '')}-{new.revision}" or not (new.namespace and new.name):
            self.wrong.append(f"created {new.id} as revision {new.revision} of {new.namespace}/{new.name} {new.uid}")
        await super().create(new)

    async def launch(self, id: str, stdio: Stdio) -> int:
        self.changes += 1
        mine = id.partition("-")[0]
        others = [i for i, task in self.tasks.items() if i != id and i.startswith(mine) and task.exit is None]
        memory = self._memory(id)
        meant = memory is not None and memory.launched is not None and memory.launched.revision == _revision(id)
        if others and meant:  # a call in doubt that arrives late is not meant any more; it is ended, like any stranger
            self.wrong.append(f"launched {id} while {others} runs")
        pid = await super().launch(id, stdio)
        self.launches[id] += 1
        self._asked.discard(id)
        self._signals.pop(id, None)
        return pid

    async def signal(self, id: str, signal: int, *, everyone: bool = False) -> None:
        self.changes += 1
        memory = self._memory(id)
        self._signals[id] += 1
        if self._signals[id] == MOST_SIGNALS:
            self.wrong.append(f"asked {id} to end {MOST_SIGNALS} times")
        if memory is not None and memory.stopping is not None:
            self._asked.add(id)  # else a call that comes too late: it meets another process than the one it was meant for
        await super().signal(id, signal, everyone=everyone)

    async def reap(self, id: str, *, force: bool = False) -> Exit | None:
        self.changes += 1
        task = self.tasks.get(id)
        memory = self._memory(id)
        launched = memory.launched if memory else None
        if task is not None and task.state == "STOPPED" and launched is not None and launched.revision == _revision(id):
            self.wrong.append(f"reaped {id} before its exit was on record")
        self._asked.add(id)
        return await super().reap(id, force=force)

    async def remove(self, id: str) -> None:
        self.changes += 1
        memory = self._memory(id)
        if memory is not None and not self._buried(id) and memory.current and memory.current.number == _revision(id):
            self.wrong.append(f"removed {id}, which is the current revision")
        await super().remove(id)

    async def list(self) -> Sequence[Instance]:
        told = await super().list()
        await self._clock.sleep(LIST_S)
        return told

    def kill_shim(self, id: str, *, orphan: bool = False) -> None:
        if self.tasks[id].exit is None and id not in self._asked:
            self.deaths[id.partition("-")[0]] += 1
        super().kill_shim(id, orphan=orphan)

    def _end(self, id: str, task: Task, code: int) -> None:
        if task.exit is None and id not in self._asked:
            self.deaths[id.partition("-")[0]] += 1
        super()._end(id, task, code)

    def _memory(self, id: str) -> Memory | None:
        for uid, doc in self._ledger.list(CONTAINERS).items():
            if uid.replace("-", "") == id.partition("-")[0]:
                return load(doc)
        return None

    def _buried(self, id: str) -> bool:
        return any(uid.replace("-", "") == id.partition("-")[0] for uid in self._ledger.list(TOMBSTONES))


def _revision(id: str) -> int:
    return int(id.rpartition("-")[2])
