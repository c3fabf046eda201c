"""Keeps the Node object of this agent: made if missing, its status as the host is now. The spec belongs to people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from controllers.engine.ports import Clock
from controllers.engine.result import DONE, Result
from state.clock import rfc3339
from state.errors import AlreadyExists, NotFound
from state.objects import API_VERSION, Key, Object
from state.store import Store

MANAGER = "setpoint-agent"


class Facts(Protocol):
    """What the agent knows of itself and its host."""

    def describe(self) -> Mapping[str, object]:
        """The Node's status but for conditions: engineID, versions, cgroup driver, capacity. Stable while nothing changes."""


class NodeReconciler:
    """One key: this node's own."""

    kind = "Node"

    def __init__(self, store: Store, facts: Facts, name: str, obey: Callable[[Object], None], clock: Clock) -> None:
        """``obey`` is told the spec: what of it the agent acts upon takes effect at once."""
        self._store, self._facts, self._name, self._obey, self._clock = store, facts, name, obey, clock

    @property
    def key(self) -> Key:
        return Key("Node", "", self._name)

    async def keys(self) -> Sequence[tuple[Key, int]]:
        return [(self.key, 0)]

    async def reconcile(self, key: Key) -> Result:
        if key != self.key:
            return DONE
        try:
            obj = (await self._store.get(key)).object
        except NotFound:
            obj = await self._make()
        self._obey(obj.get("spec") or {})
        status = obj.get("status") or {}
        wanted: Object = {**self._facts.describe(), "conditions": [ready(status.get("conditions") or (), self._clock)]}
        if {name: status.get(name) for name in wanted} != wanted:
            await self._store.patch(key, {"status": wanted}, manager=MANAGER, subresource="status")
        return DONE

    async def _make(self) -> Object:
        new: Object = {"apiVersion": API_VERSION, "kind": "Node", "metadata": {"name": self._name}, "spec": {}}
        try:
            return (await self._store.create(new, manager=MANAGER)).object
        except AlreadyExists:
            return (await self._store.get(self.key)).object


def ready(before: Sequence[Object], clock: Clock) -> Object:
    """The condition Ready: the agent looks after this node. It says so itself, so that it can only be True while it lives."""
    for was in before:
        if was.get("type") == "Ready" and was.get("status") == "True":
            return was
    since = rfc3339(clock.now())
    message = "the agent keeps this node as declared"
    return {"type": "Ready", "status": "True", "reason": "AgentReady", "message": message, "lastTransitionTime": since}
