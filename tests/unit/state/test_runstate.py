"""stop, pause and start leave a later file its field."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from state.apply import apply, managers_of, track
from state.errors import Conflict
from state.listkeys import list_keys
from state.objects import Object
from state.runstate import MANAGER, RunState, request

KEYS = list_keys("Container")


def file(**spec: Any) -> Object:
    meta = {"namespace": "default", "name": "web"}
    return {"apiVersion": "setpoint.dev/v1alpha1", "kind": "Container", "metadata": meta, "spec": {"image": "x", **spec}}


class World:
    """One stored container, admission that defaults runState, and whoever writes."""

    def __init__(self) -> None:
        self.live: Object | None = None
        self._revisions = itertools.count(1)

    def admit(self, merged: Object) -> Object:
        meta = {**merged["metadata"], "uid": "u", "resourceVersion": str(next(self._revisions))}
        return {**merged, "metadata": meta, "spec": {"runState": "Running", **merged.get("spec", {})}}

    def apply(
        self, obj: Object, manager: str = "setpoint", *, force: bool = False, take_from: frozenset[str] = frozenset()
    ) -> None:
        done = apply(self.live, obj, manager=manager, now="t", keys=KEYS, force=force, take_from=take_from, admit=self.admit)
        self.live = done.object

    def say(self, want: RunState, **annotations: str) -> None:
        assert self.live is not None
        asked = request(self.live, want, annotations=annotations)
        self.apply(asked.object, asked.manager, force=asked.force)

    @property
    def state(self) -> str:
        assert self.live is not None
        found: str = self.live["spec"]["runState"]
        return found

    @property
    def owners(self) -> set[str]:
        assert self.live is not None
        return {m.name for m in managers_of(self.live) if ("f:spec", "f:runState") in m.fields}


@pytest.fixture
def world() -> World:
    return World()


def test_stop_and_start_where_the_file_names_nothing(world: World) -> None:
    world.apply(file())
    world.say("Stopped")
    assert (world.state, world.owners) == ("Stopped", {MANAGER})
    world.say("Running")
    assert (world.state, world.owners) == ("Running", set())
    world.apply(file())
    world.apply(file(runState="Stopped"))
    assert world.state == "Stopped"


def test_a_file_that_names_nothing_leaves_it_stopped(world: World) -> None:
    world.apply(file())
    world.say("Stopped")
    world.apply(file(tty=True))
    assert world.state == "Stopped"


def test_stop_and_start_where_the_file_says_running(world: World) -> None:
    world.apply(file(runState="Running"))
    world.say("Stopped")
    assert (world.state, world.owners) == ("Stopped", {MANAGER})
    world.say("Running")
    assert world.state == "Running"
    assert MANAGER not in world.owners
    world.apply(file(runState="Running"))
    assert (world.state, world.owners) == ("Running", {"setpoint"})


def test_the_file_takes_a_stopped_one_back(world: World) -> None:
    world.apply(file(runState="Running"))
    world.say("Stopped")
    with pytest.raises(Conflict):
        world.apply(file(runState="Running"))
    world.apply(file(runState="Running"), take_from=frozenset({MANAGER}))
    assert (world.state, world.owners) == ("Running", {"setpoint"})


def test_start_against_a_file_that_says_stopped(world: World) -> None:
    world.apply(file(runState="Stopped"))
    world.say("Running")
    assert (world.state, world.owners) == ("Running", {MANAGER})


def test_stop_and_start_against_a_file_that_says_stopped(world: World) -> None:
    world.apply(file(runState="Stopped"))
    world.say("Stopped")
    assert world.owners == {"setpoint", MANAGER}
    world.say("Running")
    assert (world.state, world.owners) == ("Running", {MANAGER})


def test_start_where_nobody_owns_a_stopped_one(world: World) -> None:
    world.apply(file(runState="Stopped"))
    assert world.live is not None
    world.live["metadata"].pop("managedFields")
    world.say("Running")
    assert world.state == "Running"


def test_start_where_an_editor_stopped_it(world: World) -> None:
    world.apply(file())
    assert world.live is not None
    edited = {**world.live, "spec": {**world.live["spec"], "runState": "Stopped"}}
    world.live = track(world.live, edited, manager="kubectl-edit", now="t", keys=KEYS)
    world.say("Running")
    assert (world.state, world.owners) == ("Running", {MANAGER})


def test_start_of_a_running_one_changes_nothing(world: World) -> None:
    world.apply(file())
    assert world.live is not None
    before = world.live["spec"]
    world.say("Running")
    assert world.live["spec"] == before
    assert world.owners == set()


def test_pause_and_resume(world: World) -> None:
    world.apply(file(runState="Running"))
    world.say("Paused")
    assert world.state == "Paused"
    world.say("Stopped")
    assert world.state == "Stopped"
    world.say("Running")
    assert (world.state, world.owners) == ("Running", set())


def test_the_options_go_with_the_next_request(world: World) -> None:
    world.apply(file())
    world.say("Stopped", **{"setpoint.dev/stop-options": "{}"})
    assert world.live is not None
    assert world.live["metadata"]["annotations"] == {"setpoint.dev/stop-options": "{}"}
    world.say("Running")
    assert "annotations" not in world.live["metadata"]


def test_the_request_names_the_revision_it_was_made_for(world: World) -> None:
    world.apply(file())
    assert world.live is not None
    assert request(world.live, "Stopped").object["metadata"]["resourceVersion"] == world.live["metadata"]["resourceVersion"]
