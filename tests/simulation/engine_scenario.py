"""A busy engine, for runs that must come out the same in any process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from controllers.engine.engine import Engine
from controllers.engine.result import AGAIN, DONE, Result
from setpoint.testing.clock import SeededRandom, SimClock
from setpoint.testing.scripted import RememberingLog, ScriptedReconciler, Step, Takes
from state.errors import InDoubt, Invalid, Unavailable
from state.objects import Key


def busy_engine(seed: int) -> Callable[[], Coroutine[Any, Any, list[tuple[float, Key]]]]:
    """40 keys of two kinds with every outcome, random events, ten virtual minutes; answers the passes made."""

    async def main() -> list[tuple[float, Key]]:
        clock, random = SimClock(), SeededRandom(seed)

        def step(key: Key, number: int) -> Step:
            steps: tuple[Step, ...] = (
                DONE,
                AGAIN,
                Result(timedelta(seconds=7)),
                Takes(timedelta(seconds=random.uniform(0, 3))),
                Unavailable("away"),
                InDoubt("late"),
                Invalid("bad"),
            )
            return steps[int(random.uniform(0, len(steps)))]

        things, others = ScriptedReconciler(clock, step), ScriptedReconciler(clock, step, "Other")
        engine = Engine(
            clock=clock, random=SeededRandom(seed + 1), log=RememberingLog(), concurrency=4, deadline=timedelta(seconds=2)
        )
        keys = {kind: [Key(kind, "default", f"k{i}") for i in range(20)] for kind in ("Thing", "Other")}

        def lister(kind: str) -> Callable[[], Coroutine[Any, Any, list[tuple[Key, int]]]]:
            async def listing() -> list[tuple[Key, int]]:
                await clock.sleep(0.1)
                return [(key, i % 3) for i, key in enumerate(keys[kind])]

            return listing

        for reconciler in (things, others):
            engine.add(reconciler, keys=lister(reconciler.kind), resync=timedelta(seconds=60))
        running = asyncio.get_running_loop().create_task(engine.run(), name="engine")
        for _ in range(300):
            await clock.sleep(random.uniform(0, 4))
            kind = "Thing" if random.uniform(0, 1) < 0.5 else "Other"
            engine.enqueue(keys[kind][int(random.uniform(0, 20))], priority=int(random.uniform(0, 3)))
        await engine.stop()
        await running
        assert not things.overlaps
        assert not others.overlaps
        return things.passes + others.passes

    return main
