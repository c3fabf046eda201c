"""What a store promises: delete, finalizers and namespaces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from setpoint.testing.store_contract.objects import (
    DEADLINE_S,
    NO_UID,
    configmap,
    container,
    key,
    meta,
    namespace,
    release,
    set_status,
)
from state.errors import Conflict, Denied, Invalid, NotFound, StateError
from state.objects import FINALIZER, Key, Stored
from state.store import DeleteOptions, Preconditions, Store


class DeleteContract:
    """delete, finalizers and namespaces"""

    async def test_without_finalizers_it_is_gone(self, store: Store) -> None:
        await store.create(configmap(), manager="m")
        await store.delete(key(configmap()))
        with pytest.raises(NotFound):
            await store.get(key(configmap()))

    async def test_delete_of_nothing(self, store: Store) -> None:
        with pytest.raises(NotFound):
            await store.delete(key(configmap()))

    async def test_a_finalizer_holds_it(self, store: Store) -> None:
        made = await store.create(container(), manager="m")
        held = await store.delete(made.key)
        assert meta(held)["deletionTimestamp"].endswith("Z")
        assert meta(held)["generation"] == 2
        assert await store.get(made.key) == held

    async def test_deleting_again_changes_nothing(self, store: Store) -> None:
        await store.create(container(), manager="m")
        held = await store.delete(key(container()))
        assert await store.delete(key(container())) == held

    async def test_the_last_finalizer_lets_it_go(self, store: Store) -> None:
        await store.create(container(), manager="m")
        await store.delete(key(container()))
        await release(store, container())
        with pytest.raises(NotFound):
            await store.get(key(container()))

    async def test_one_of_two_finalizers_does_not(self, store: Store) -> None:
        obj = container()
        obj["metadata"]["finalizers"] = [FINALIZER, "example.com/x"]
        await store.create(obj, manager="m")
        await store.delete(key(obj))
        await store.patch(key(obj), {"metadata": {"finalizers": ["example.com/x"]}}, manager="m")
        assert meta(await store.get(key(obj)))["finalizers"] == ["example.com/x"]

    async def test_no_new_finalizers_while_deleting(self, store: Store) -> None:
        await store.create(container(), manager="m")
        await store.delete(key(container()))
        with pytest.raises(Invalid):
            await store.patch(key(container()), {"metadata": {"finalizers": [FINALIZER, "a.b/c"]}}, manager="m")

    async def test_a_deletion_cannot_be_taken_back(self, store: Store) -> None:
        await store.create(container(), manager="m")
        held = await store.delete(key(container()))
        try:
            await store.patch(held.key, {"metadata": {"deletionTimestamp": None}}, manager="m")
        except StateError:
            return
        assert meta(await store.get(held.key))["deletionTimestamp"] == meta(held)["deletionTimestamp"]

    async def test_status_can_be_written_while_deleting(self, store: Store) -> None:
        await store.create(container(), manager="m")
        await store.delete(key(container()))
        assert (await set_status(store, container(), phase="Removing")).object["status"]["phase"] == "Removing"

    async def test_delete_preconditions(self, store: Store) -> None:
        made = await store.create(configmap(), manager="m")
        for wrong in (Preconditions(uid=NO_UID), Preconditions(revision=made.revision + 1000)):
            with pytest.raises(Conflict):
                await store.delete(made.key, DeleteOptions(wrong))
        await store.delete(made.key, DeleteOptions(Preconditions(made.uid, made.revision)))

    async def test_the_options_are_stored_with_the_request(self, store: Store) -> None:
        await store.create(container(), manager="m")
        held = await store.delete(key(container()), DeleteOptions(options={"gracePeriodSeconds": 3}))
        assert meta(held)["annotations"]["setpoint.dev/delete-options"] == '{"gracePeriodSeconds":3}'

    async def test_later_options_replace(self, store: Store) -> None:
        await store.create(container(), manager="m")
        await store.delete(key(container()), DeleteOptions(options={"gracePeriodSeconds": 30}))
        held = await store.delete(key(container()), DeleteOptions(options={"gracePeriodSeconds": 0}))
        assert meta(held)["annotations"]["setpoint.dev/delete-options"] == '{"gracePeriodSeconds":0}'

    async def test_a_dry_run_deletes_nothing(self, store: Store) -> None:
        made = await store.create(configmap(), manager="m")
        await store.delete(made.key, dry_run=True)
        assert await store.get(made.key) == made

    async def test_a_name_can_be_used_again(self, store: Store) -> None:
        first = await store.create(configmap(), manager="m")
        await store.delete(first.key)
        second = await store.create(configmap(), manager="m")
        assert second.uid != first.uid
        assert second.revision > first.revision

    async def test_the_default_namespace_stays(self, store: Store) -> None:
        with pytest.raises(Denied):
            await store.delete(Key("Namespace", "", "default"))

    async def test_an_empty_namespace_goes(self, store: Store) -> None:
        await store.create(namespace("team"), manager="m")
        await store.delete(Key("Namespace", "", "team"))
        await self._gone(store, Key("Namespace", "", "team"))

    async def test_a_namespace_goes_with_what_is_in_it(self, store: Store) -> None:
        await store.create(namespace("team"), manager="m")
        held, free = container("held"), configmap("free")
        for obj in (held, free):
            obj["metadata"]["namespace"] = "team"
            await store.create(obj, manager="m")
        terminating = await store.delete(Key("Namespace", "", "team"))
        assert terminating.object["status"]["phase"] == "Terminating"
        await self._gone(store, key(free))
        await self._until(store, key(held), lambda stored: "deletionTimestamp" in meta(stored))
        late = configmap("late")
        late["metadata"]["namespace"] = "team"
        with pytest.raises(Denied):
            await store.create(late, manager="m")
        await release(store, held)
        await self._gone(store, Key("Namespace", "", "team"))

    async def _gone(self, store: Store, key: Key) -> None:
        with pytest.raises(NotFound):
            await self._until(store, key, lambda _: False)

    async def _until(self, store: Store, key: Key, holds: Callable[[Stored], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not holds(await store.get(key)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
