"""What a store promises: update, patch, and the status subresource."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from setpoint.testing.store_contract.objects import (
    NO_UID,
    configmap,
    container,
    key,
    meta,
    owners,
    set_status,
)
from state.errors import BadRequest, Conflict, Invalid, NotFound, StateError
from state.objects import Object, Stored
from state.store import Preconditions, Store


class UpdateContract:
    """update and the status subresource"""

    async def test_update_replaces(self, store: Store) -> None:
        made = (await store.create(configmap(a="1", b="2"), manager="m")).object
        made["data"] = {"a": "3"}
        updated = await store.update(made, manager="m")
        assert updated.object["data"] == {"a": "3"}
        assert (await store.get(updated.key)) == updated

    async def test_update_of_nothing(self, store: Store) -> None:
        with pytest.raises(NotFound):
            await store.update(container(), manager="m")

    async def test_a_stale_revision_conflicts(self, store: Store) -> None:
        made = (await store.create(configmap(a="1"), manager="m")).object
        await store.patch(key(made), {"data": {"a": "2"}}, manager="m")
        made["data"]["a"] = "3"
        with pytest.raises(Conflict):
            await store.update(made, manager="m")
        assert (await store.get(key(made))).object["data"] == {"a": "2"}

    async def test_another_uid_conflicts(self, store: Store) -> None:
        made = (await store.create(configmap(), manager="m")).object
        made["metadata"] |= {"uid": NO_UID}
        with pytest.raises(Conflict):
            await store.update(made, manager="m")

    async def test_the_store_keeps_its_own_metadata(self, store: Store) -> None:
        made = (await store.create(container(), manager="m")).object
        changed = {**made, "metadata": {**made["metadata"], "generation": 99, "creationTimestamp": None}}
        changed["metadata"]["labels"] = {"a": "b"}
        written = meta(await store.update(changed, manager="m"))
        assert written["generation"] == 1
        assert written["creationTimestamp"] == made["metadata"]["creationTimestamp"]
        assert written["uid"] == made["metadata"]["uid"]

    async def test_a_changed_spec_raises_the_generation(self, store: Store) -> None:
        made = (await store.create(container(), manager="m")).object
        made["spec"]["image"] = "debian"
        assert meta(await store.update(made, manager="m"))["generation"] == 2

    async def test_changed_metadata_does_not(self, store: Store) -> None:
        made = (await store.create(container(), manager="m")).object
        made["metadata"]["annotations"] = {"a": "b"}
        updated = await store.update(made, manager="m")
        assert meta(updated)["generation"] == 1
        assert updated.revision > int(made["metadata"]["resourceVersion"])

    async def test_an_update_that_changes_nothing(self, store: Store) -> None:
        made = await store.create(container(), manager="m")
        assert await store.update(made.object, manager="m") == made

    async def test_update_ignores_status(self, store: Store) -> None:
        await store.create(container(), manager="m")
        seen = await set_status(store, container(), phase="Running")
        changed = seen.object
        changed["status"] = {"phase": "Exited"}
        changed["spec"]["image"] = "debian"
        updated = (await store.update(changed, manager="m")).object
        assert updated["status"] == {"phase": "Running"}
        assert updated["spec"]["image"] == "debian"

    async def test_status_ignores_the_rest(self, store: Store) -> None:
        made = (await store.create(container(), manager="m")).object
        made["status"] = {"phase": "Running"}
        made["spec"]["image"] = "debian"
        made["metadata"]["labels"] = {"a": "b"}
        updated = (await store.update(made, manager="setpoint-agent", subresource="status")).object
        assert updated["status"] == {"phase": "Running"}
        assert updated["spec"]["image"] == "busybox"
        assert "labels" not in updated["metadata"]

    async def test_status_raises_the_revision_but_not_the_generation(self, store: Store) -> None:
        made = await store.create(container(), manager="m")
        seen = await set_status(store, container(), phase="Running")
        assert seen.revision > made.revision
        assert meta(seen)["generation"] == 1

    async def test_the_same_status_again_is_no_write(self, store: Store) -> None:
        await store.create(container(), manager="m")
        first = await set_status(store, container(), phase="Running", pid=7)
        assert await set_status(store, container(), phase="Running", pid=7) == first

    async def test_a_status_of_a_kind_without_one(self, store: Store) -> None:
        await store.create(configmap(), manager="m")
        with pytest.raises(StateError):
            await store.patch(key(configmap()), {"status": {"x": 1}}, manager="m", subresource="status")

    @pytest.mark.parametrize("manager", ["m", "setpoint-agent"])
    async def test_a_status_that_is_none(self, store: Store, manager: str) -> None:
        made = await store.create(container(), manager="m")
        with pytest.raises((BadRequest, Invalid)):
            await store.patch(made.key, {"status": 5}, manager=manager, subresource="status")
        assert await store.get(made.key) == made

    @pytest.mark.parametrize("entries", [5, ["x"]])
    async def test_managed_fields_that_are_none(self, store: Store, entries: Any) -> None:
        made = await store.create(container(), manager="m")
        patch = {"metadata": {"managedFields": entries}}
        with pytest.raises((BadRequest, Invalid)):
            await store.patch(made.key, patch, manager="setpoint-agent")
        with pytest.raises((BadRequest, Invalid)):
            await store.patch(made.key, patch, manager="setpoint-agent", subresource="status")

    async def test_the_agents_status_is_tracked_under_the_subresource(self, store: Store) -> None:
        await store.create(container(), manager="m")
        entries = meta(await set_status(store, container(), phase="Running"))["managedFields"]
        mine = [entry for entry in entries if entry["manager"] == "setpoint-agent"]
        assert [entry["subresource"] for entry in mine] == ["status"]

    async def test_an_invalid_update_changes_nothing(self, store: Store) -> None:
        made = await store.create(container(), manager="m")
        changed = made.object
        changed["spec"]["runState"] = "Flying"
        with pytest.raises(StateError):
            await store.update(changed, manager="m")
        assert await store.get(made.key) == made

    async def test_a_dry_run_updates_nothing(self, store: Store) -> None:
        made = await store.create(container(), manager="m")
        changed = made.object
        changed["spec"]["image"] = "debian"
        assert (await store.update(changed, manager="m", dry_run=True)).object["spec"]["image"] == "debian"
        assert await store.get(made.key) == made

    async def test_update_takes_ownership_of_what_it_changed(self, store: Store) -> None:
        made = (await store.create(configmap(a="1", b="1"), manager="one")).object
        made["data"]["a"] = "2"
        updated = await store.update(made, manager="two")
        assert owners(updated, "data.a") == {"two"}
        assert owners(updated, "data.b") == {"one"}

    async def test_managed_fields_given_by_a_client_replace(self, store: Store) -> None:
        made = (await store.create(configmap(a="1"), manager="one")).object
        made["metadata"]["managedFields"][0]["manager"] = "renamed"
        assert owners(await store.update(made, manager="two"), "data.a") == {"renamed"}

    async def test_concurrent_updates_of_one_revision_have_one_winner(self, store: Store) -> None:
        made = (await store.create(configmap(), manager="m")).object
        tries = [{**made, "data": {"by": str(number)}} for number in range(10)]
        results = await asyncio.gather(*(store.update(each, manager="m") for each in tries), return_exceptions=True)
        won = [each for each in results if isinstance(each, Stored)]
        assert len(won) == 1
        assert sum(isinstance(each, Conflict) for each in results) == 9
        assert (await store.get(key(made))) == won[0]


class PatchContract:
    """patch"""

    async def test_merge_patch(self, store: Store) -> None:
        await store.create(configmap(a="1", b="2"), manager="m")
        patched = await store.patch(key(configmap()), {"data": {"a": None, "c": "3"}}, manager="m")
        assert patched.object["data"] == {"b": "2", "c": "3"}

    async def test_patch_of_nothing(self, store: Store) -> None:
        with pytest.raises(NotFound):
            await store.patch(key(configmap()), {"data": {}}, manager="m")

    async def test_a_patch_that_changes_nothing(self, store: Store) -> None:
        made = await store.create(configmap(a="1"), manager="m")
        assert await store.patch(made.key, {"data": {"a": "1"}}, manager="m") == made
        assert await store.patch(made.key, {}, manager="other") == made

    async def test_a_merge_patch_that_names_a_revision(self, store: Store) -> None:
        made = await store.create(configmap(a="1"), manager="m")
        patch = {"metadata": {"resourceVersion": str(made.revision)}, "data": {"a": "2"}}
        await store.patch(made.key, patch, manager="m")
        with pytest.raises(Conflict):
            await store.patch(made.key, {**patch, "data": {"a": "3"}}, manager="m")

    async def test_preconditions(self, store: Store) -> None:
        made = await store.create(configmap(a="1"), manager="m")
        for wrong in (Preconditions(uid=NO_UID), Preconditions(revision=made.revision + 1000)):
            with pytest.raises(Conflict):
                await store.patch(made.key, {"data": {"a": "2"}}, manager="m", preconditions=wrong)
        right = Preconditions(uid=made.uid, revision=made.revision)
        await store.patch(made.key, {"data": {"a": "2"}}, manager="m", preconditions=right)

    async def test_json_patch(self, store: Store) -> None:
        await store.create(configmap(a="1", b="2"), manager="m")
        operations: list[Object] = [
            {"op": "test", "path": "/data/a", "value": "1"},
            {"op": "replace", "path": "/data/a", "value": "9"},
            {"op": "remove", "path": "/data/b"},
            {"op": "add", "path": "/data/x~1y", "value": "slash"},
        ]
        with pytest.raises(Invalid):
            await store.patch(key(configmap()), operations, type="json", manager="m")
        operations[3]["path"] = "/data/x.y"
        patched = await store.patch(key(configmap()), operations, type="json", manager="m")
        assert patched.object["data"] == {"a": "9", "x.y": "slash"}

    async def test_a_failed_json_test_changes_nothing(self, store: Store) -> None:
        made = await store.create(configmap(a="1"), manager="m")
        operations: list[Object] = [
            {"op": "replace", "path": "/data/a", "value": "2"},
            {"op": "test", "path": "/metadata/resourceVersion", "value": "0"},
        ]
        with pytest.raises(Invalid):
            await store.patch(made.key, operations, type="json", manager="m")
        assert await store.get(made.key) == made

    @pytest.mark.parametrize(
        "operation",
        [
            {"op": "remove", "path": "/data/none"},
            {"op": "replace", "path": "/data/none", "value": "x"},
            {"op": "add", "path": "/none/below", "value": "x"},
            {"op": "add", "path": "/data/a/below", "value": "x"},
            {"op": "fly", "path": "/data"},
            {"op": "add"},
            {"op": "copy", "from": 5, "path": "/data/b"},
        ],
        ids=str,
    )
    async def test_json_patches_that_do_not_fit(self, store: Store, operation: Object) -> None:
        await store.create(configmap(a="1"), manager="m")
        with pytest.raises((Invalid, BadRequest)):
            await store.patch(key(configmap()), [operation], type="json", manager="m")

    async def test_a_patch_cannot_rename(self, store: Store) -> None:
        await store.create(configmap(), manager="m")
        with pytest.raises((Invalid, BadRequest)):
            await store.patch(key(configmap()), {"metadata": {"name": "other"}}, manager="m")

    async def test_a_patch_cannot_change_the_kind(self, store: Store) -> None:
        await store.create(configmap(), manager="m")
        with pytest.raises((Invalid, BadRequest)):
            await store.patch(key(configmap()), {"kind": "Secret"}, manager="m")

    async def test_concurrent_patches_all_count(self, store: Store) -> None:
        await store.create(configmap(), manager="m")
        patches = [{"data": {f"k{number}": "x"}} for number in range(10)]
        await asyncio.gather(*(store.patch(key(configmap()), each, manager="m") for each in patches))
        assert len((await store.get(key(configmap()))).object["data"]) == 10

    async def test_a_dry_run_patches_nothing(self, store: Store) -> None:
        made = await store.create(configmap(a="1"), manager="m")
        rehearsed = await store.patch(made.key, {"data": {"a": "2"}}, manager="m", dry_run=True)
        assert rehearsed.object["data"] == {"a": "2"}
        assert await store.get(made.key) == made
