"""Background fetches under a manual clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from setpoint.drivers.images.fetches import FIRST_WAIT_S, FORGET_S, Fetches
from setpoint.drivers.images.pulling import Progress
from setpoint.testing.clock import ManualClock
from state.errors import Busy, Denied, NotFound, Unavailable
from state.objects import Object

NAME = "quay.io/a/b:1"


class Middle:
    """Chance that always takes the middle."""

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


class Script:
    """Pulls by a list: an exception is raised, "" succeeds, an Event is waited for first. The last one goes on for ever."""

    def __init__(self, *steps: Exception | str | asyncio.Event) -> None:
        self._steps = list(steps)
        self.at: list[float] = []
        self.credentials: list[Sequence[Object]] = []
        self.clock = ManualClock()
        self.ended: list[str] = []
        self.fetches = Fetches(self.pull, self.clock, Middle(), self.ended.append)
        self.progress: Progress = lambda *_seen: None

    async def pull(self, reference: str, credentials: Sequence[Object], progress: Progress) -> str:
        assert reference == NAME
        self.at.append(self.clock.monotonic())
        self.credentials.append(credentials)
        self.progress = progress
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        if isinstance(step, asyncio.Event):
            await step.wait()
        if isinstance(step, Exception):
            raise step
        return "sha256:x"

    def ask(self, credentials: Sequence[Object] = ()) -> None:
        self.fetches.ask(NAME, credentials)


@pytest.fixture
async def scripts() -> AsyncIterator[list[Script]]:
    made: list[Script] = []
    yield made
    for script in made:
        await script.fetches.close()


async def test_success_is_told_and_forgotten(scripts: list[Script]) -> None:
    script = Script("")
    script.ask()
    await script.clock.settle()
    assert (script.ended, script.fetches.trouble(NAME)) == ([NAME], "")


async def test_one_at_a_time(scripts: list[Script]) -> None:
    gate = asyncio.Event()
    scripts.append(script := Script(gate))
    for _ in range(5):
        script.ask()
        await script.clock.settle()
    assert len(script.at) == 1
    gate.set()
    await script.clock.settle()
    assert script.ended == [NAME]


async def test_failures_are_told_and_tried_again_with_back_off(scripts: list[Script]) -> None:
    scripts.append(script := Script(NotFound("no such tag"), Denied("who are you"), Unavailable("away"), ""))
    script.ask()
    await script.clock.settle()
    assert script.fetches.trouble(NAME) == f"ErrImagePull: {NAME}: no such tag"
    await script.clock.run(FIRST_WAIT_S)
    assert script.fetches.trouble(NAME) == f"ErrImagePull: {NAME}: who are you"
    await script.clock.run(2 * FIRST_WAIT_S)
    await script.clock.run(4 * FIRST_WAIT_S)
    assert script.fetches.trouble(NAME) == ""
    assert script.ended == [NAME] * 4
    assert [round(at - script.at[0]) for at in script.at] == [0, 10, 30, 70]


async def test_errors_that_nobody_foresaw_are_failures_too(scripts: list[Script]) -> None:
    scripts.append(script := Script(KeyError("layers"), ""))
    script.ask()
    await script.clock.settle()
    assert script.fetches.trouble(NAME) == f"ErrImagePull: {NAME}: KeyError('layers')"
    await script.clock.run(FIRST_WAIT_S)
    assert script.fetches.trouble(NAME) == ""


async def test_asking_again_does_not_hurry(scripts: list[Script]) -> None:
    scripts.append(script := Script(NotFound("none")))
    for _ in range(5):
        script.ask()
        await script.clock.run(1)
    assert len(script.at) == 1


async def test_a_registry_may_ask_for_more_time(scripts: list[Script]) -> None:
    scripts.append(script := Script(Busy("slow down", retry_after_s=100), ""))
    script.ask()
    await script.clock.settle()
    await script.clock.run(99)
    assert len(script.at) == 1
    await script.clock.run(2)
    assert len(script.at) == 2


async def test_new_credentials_are_tried_at_once(scripts: list[Script]) -> None:
    scripts.append(script := Script(Denied("who are you"), ""))
    script.ask()
    await script.clock.settle()
    script.ask([{"username": "me"}])
    await script.clock.settle()
    assert script.credentials == [(), ({"username": "me"},)]
    assert script.fetches.trouble(NAME) == ""


async def test_when_nobody_asks_any_more_it_ends(scripts: list[Script]) -> None:
    scripts.append(script := Script(NotFound("none")))
    script.ask()
    for _ in range(20):
        await script.clock.run(FORGET_S / 10)
    tries = len(script.at)
    assert script.fetches.trouble(NAME) == ""
    await script.clock.run(FORGET_S * 3)
    assert len(script.at) == tries
    script.ask()
    await script.clock.settle()
    assert len(script.at) == tries + 1


async def test_progress_is_told_in_steps(scripts: list[Script]) -> None:
    scripts.append(script := Script(asyncio.Event()))
    script.ask()
    await script.clock.settle()
    told = []
    for status, done, total in (
        ("Resolving", 0, 0),
        ("Pulling", 0, 0),
        ("Pulling", 19, 100),
        ("Pulling", 1 << 20, 2 << 20),
        ("Unpacking", 9, 9),
    ):
        script.progress(status, done, total)
        told.append(script.fetches.trouble(NAME))
    assert told == [
        f"Resolving {NAME}",
        f"Pulling {NAME}",
        f"Pulling {NAME}, 10 % of 0 KiB",
        f"Pulling {NAME}, 50 % of 2.0 MiB",
        f"Unpacking {NAME}",
    ]


async def test_what_came_by_another_way_is_waited_for_no_more(scripts: list[Script]) -> None:
    scripts.append(script := Script(NotFound("none")))
    script.ask()
    await script.clock.settle()
    script.fetches.arrived(NAME)
    script.fetches.arrived(NAME)
    assert script.fetches.trouble(NAME) == ""
    await script.clock.run(FORGET_S)
    assert len(script.at) == 1


async def test_close_ends_what_is_under_way(scripts: list[Script]) -> None:
    script = Script(asyncio.Event())
    script.ask()
    await script.clock.settle()
    await script.fetches.close()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("fetch")] == []
