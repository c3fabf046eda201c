"""What is measured. Each function runs its engines interleaved, in an order that turns every round."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

from bench.ours import Setpoint
from bench.peers import Ctr, Dockerd
from bench.processes import eventually
from bench.table import Row, ratios

WARM_UP = 2
"""Rounds that are run and not counted."""
SETTLE_S = 0.05
AFTER_START_S = 1.0
MANY = 100
RAN_S = 11.0
"""A run this long resets the back-off of both engines."""
MILLI = 1000.0

Measured = dict[str, list[float]]


def timed(work: Callable[..., object], *args: object) -> float:
    began = time.perf_counter()
    work(*args)
    return time.perf_counter() - began


def turning(names: Sequence[str], rounds: int) -> Iterator[tuple[int, Sequence[str]]]:
    """Round and order: A B C, B C A, C A B ..."""
    for number in range(rounds):
        shift = number % len(names)
        yield number, (*names[shift:], *names[:shift])


def shown(measured: Measured, scale: float = MILLI, unit: str = "ms") -> str:
    return ", ".join(f"{name} {statistics.median(values) * scale:.1f}" for name, values in measured.items()) + f" {unit}"


def one_start(ours: Setpoint, dockerd: Dockerd, ctr: Ctr, n: int) -> list[Row]:
    engines = {each.name: each for each in (ours, dockerd, ctr)}
    measured: Measured = {name: [] for name in engines}
    for number, order in turning(tuple(engines), n + WARM_UP):
        for name in order:
            engine = engines[name]
            container = f"one-{number}"
            time.sleep(SETTLE_S)  # what the engine before is still tidying up is not charged to this one
            took = timed(engine.start, container)
            engine.remove(container)
            if number >= WARM_UP:
                measured[name].append(took)
    mine = measured[ours.name]
    note = shown(measured)
    return [
        Row(
            "start/dockerd",
            "one start / dockerd create + start",
            "x",
            0.75,
            ratios(mine, measured[dockerd.name]),
            note,
            measured,
        ),
        Row("start/ctr", "one start / ctr run -d", "x", 0.95, ratios(mine, measured[ctr.name]), raw={}),
    ]


def hundred(ours: Setpoint, dockerd: Dockerd, n: int) -> list[Row]:
    engines: dict[str, Setpoint | Dockerd] = {each.name: each for each in (ours, dockerd)}
    starts: Measured = {name: [] for name in engines}
    removals: Measured = {name: [] for name in engines}
    for number, order in turning(tuple(engines), n):
        names = [f"many-{number}-{i}" for i in range(MANY)]
        for name in order:
            engine = engines[name]
            starts[name].append(timed(engine.start_all, names))
            removals[name].append(timed(engine.remove_all, names))
    up, down = ratios(starts[ours.name], starts[dockerd.name]), ratios(removals[ours.name], removals[dockerd.name])
    return [
        Row("hundred", "100 from one apply until all run / dockerd, 8 threads", "x", 0.75, up, shown(starts, 1, "s"), starts),
        Row("removal", "their removal until gone / dockerd, 8 threads", "x", 0.75, down, shown(removals, 1, "s"), removals),
    ]


def healed(ours: Setpoint, dockerd: Dockerd, n: int) -> list[Row]:
    """All grow old together; then one after the other is killed from outside, ours and theirs in turns."""
    names = [f"heal-{i}" for i in range(n + 1)]
    ours.start_all(names)
    dockerd.start_all(names, restart="always")
    time.sleep(RAN_S)
    measured: Measured = {ours.name: [], dockerd.name: []}
    for number, order in turning(tuple(measured), n + 1):
        for name in order:
            took = _heal_ours(ours, names[number]) if name == ours.name else _heal_theirs(dockerd, names[number])
            if number:
                measured[name].append(took)
    ours.remove_all(names)
    dockerd.remove_all(names)
    found = ratios(measured[ours.name], measured[dockerd.name])
    title = "killed after 10 s -> runs again / dockerd --restart always"
    return [Row("healed", title, "x", 0.5, found, shown(measured), measured)]


def _heal_ours(ours: Setpoint, name: str) -> float:
    pid = ours.running()[name]
    assert ours.watch is not None
    ours.watch.drain()

    def heal() -> None:
        os.kill(pid, signal.SIGKILL)
        ours.until_running({name}, not_pid=pid)

    return timed(heal)


def _heal_theirs(dockerd: Dockerd, name: str) -> float:
    pid = dockerd.init(name)
    assert dockerd.stream is not None
    dockerd.stream.drain()

    def heal() -> None:
        os.kill(pid, signal.SIGKILL)
        dockerd.until_started(name)

    took = timed(heal)
    assert dockerd.init(name) != pid
    return took


def restarted(ours: Setpoint, dockerd: Dockerd, n: int) -> list[Row]:
    """Both engines with 100 running are killed and started, in turns; none of the containers may notice."""
    names = [f"kept-{i}" for i in range(MANY)]
    ours.start_all(names)
    dockerd.start_all(names)
    before = ours.running()
    measured: Measured = {ours.name: [], dockerd.name: []}
    for number, order in turning(tuple(measured), n + 1):
        for name in order:
            time.sleep(AFTER_START_S)
            took = _restart_ours(ours) if name == ours.name else _restart_theirs(dockerd)
            if number:
                measured[name].append(took)
    if ours.running() != before:
        raise AssertionError("a container did not survive the agent")
    ours.follow()
    ours.remove_all(names)
    dockerd.remove_all(names)
    found = ratios(measured[ours.name], measured[dockerd.name])
    title = "agent killed, 100 run -> started, all listed / live restore"
    return [Row("restarted", title, "x", 1.0, found, shown(measured, 1, "s"), measured)]


def _restart_ours(ours: Setpoint) -> float:
    ours.kill()
    return ours.launch(MANY)


def _restart_theirs(dockerd: Dockerd) -> float:
    dockerd.kill()
    began = time.perf_counter()
    dockerd.launch()
    eventually(lambda: len(dockerd.running()) >= MANY, within_s=60, what=lambda: "dockerd lists all")
    return time.perf_counter() - began
