"""What a store promises: apply."""

from __future__ import annotations

import pytest

from setpoint.testing.store_contract.objects import (
    CONTAINERS,
    NO_UID,
    apply_one,
    configmap,
    container,
    key,
    meta,
    namespace,
    owners,
    secret,
    set_status,
)
from state.errors import BadRequest, Conflict, Invalid, NotFound, StateError
from state.objects import FINALIZER
from state.store import Apply, Store


class ApplyContract:
    """apply"""

    async def test_apply_creates(self, store: Store) -> None:
        [done] = await store.apply([Apply(container(), "setpoint")])
        assert done.outcome == "created"
        assert FINALIZER in meta(done.stored)["finalizers"]
        assert await store.get(key(container())) == done.stored
        [entry] = meta(done.stored)["managedFields"]
        assert (entry["manager"], entry["operation"]) == ("setpoint", "Apply")

    async def test_apply_again_is_unchanged(self, store: Store) -> None:
        made = await apply_one(store, container())
        [done] = await store.apply([Apply(container(), "setpoint")])
        assert done.outcome == "unchanged"
        assert done.stored == made

    async def test_apply_configures(self, store: Store) -> None:
        await apply_one(store, container())
        [done] = await store.apply([Apply(container(image="debian"), "setpoint")])
        assert done.outcome == "configured"
        assert done.stored.object["spec"]["image"] == "debian"
        assert meta(done.stored)["generation"] == 2

    async def test_a_field_no_longer_applied_goes(self, store: Store) -> None:
        await apply_one(store, configmap(a="1", b="2"))
        assert (await apply_one(store, configmap(a="1"))).object["data"] == {"a": "1"}

    async def test_unless_somebody_else_owns_it(self, store: Store) -> None:
        await apply_one(store, configmap(a="1", b="2"), "one")
        await apply_one(store, configmap(b="2"), "two")
        left = await apply_one(store, configmap(a="1"), "one")
        assert left.object["data"] == {"a": "1", "b": "2"}
        assert owners(left, "data.b") == {"two"}

    async def test_a_dropped_field_falls_back_to_its_default(self, store: Store) -> None:
        await apply_one(store, container(runState="Stopped"))
        assert (await apply_one(store, container())).object["spec"]["runState"] == "Running"

    async def test_other_fields_stay(self, store: Store) -> None:
        await apply_one(store, configmap(a="1"), "one")
        assert (await apply_one(store, configmap(b="2"), "two")).object["data"] == {"a": "1", "b": "2"}

    async def test_status_stays(self, store: Store) -> None:
        await apply_one(store, container())
        await set_status(store, container(), phase="Running")
        assert (await apply_one(store, container(image="debian"))).object["status"] == {"phase": "Running"}

    async def test_a_conflict_names_the_owner_and_the_field(self, store: Store) -> None:
        await apply_one(store, container(), "one")
        with pytest.raises(Conflict) as failure:
            await apply_one(store, container(image="debian"), "two")
        [cause] = failure.value.causes
        assert cause.field == ".spec.image"
        assert cause.reason == "FieldManagerConflict"
        assert '"one"' in cause.message
        assert (await store.get(key(container()))).object["spec"]["image"] == "busybox"

    async def test_the_same_value_is_no_conflict(self, store: Store) -> None:
        await apply_one(store, container(), "one")
        assert owners(await apply_one(store, container(), "two"), "spec.image") == {"one", "two"}

    async def test_a_conflict_with_an_update(self, store: Store) -> None:
        await apply_one(store, configmap(a="1"))
        await store.patch(key(configmap()), {"data": {"a": "2"}}, manager="kubectl-edit")
        with pytest.raises(Conflict, match="kubectl-edit"):
            await apply_one(store, configmap(a="1"))

    async def test_force_takes_over(self, store: Store) -> None:
        await apply_one(store, container(), "one")
        taken = await apply_one(store, container(image="debian"), "two", force=True)
        assert taken.object["spec"]["image"] == "debian"
        assert owners(taken, "spec.image") == {"two"}

    async def test_take_from_takes_over_and_tells(self, store: Store) -> None:
        await apply_one(store, container(runState="Running"))
        await apply_one(store, container(runState="Stopped"), "setpoint-run-state", force=True)
        request = Apply(container(runState="Running"), "setpoint", take_from=frozenset({"setpoint-run-state"}))
        [done] = await store.apply([request])
        assert done.stored.object["spec"]["runState"] == "Running"
        assert (".spec.runState", "setpoint-run-state") in done.taken

    async def test_take_from_is_only_for_those_named(self, store: Store) -> None:
        await apply_one(store, container(), "one")
        with pytest.raises(Conflict):
            await apply_one(store, container(image="debian"), "two", take_from=frozenset({"three"}))

    async def test_list_items_are_merged_by_key(self, store: Store) -> None:
        await apply_one(store, container(env=[{"name": "A", "value": "1"}]), "one")
        merged = await apply_one(store, container(env=[{"name": "B", "value": "2"}]), "two")
        assert {item["name"] for item in merged.object["spec"]["env"]} == {"A", "B"}
        left = await apply_one(store, container(), "one")
        assert [item["name"] for item in left.object["spec"]["env"]] == ["B"]

    async def test_a_conflict_inside_a_list(self, store: Store) -> None:
        await apply_one(store, container(env=[{"name": "A", "value": "1"}]), "one")
        with pytest.raises(Conflict) as failure:
            await apply_one(store, container(env=[{"name": "A", "value": "2"}]), "two")
        assert [cause.field for cause in failure.value.causes] == ['.spec.env[name="A"].value']

    async def test_other_lists_are_replaced_whole(self, store: Store) -> None:
        await apply_one(store, container(command=["a", "b"]))
        assert (await apply_one(store, container(command=["c"]))).object["spec"]["command"] == ["c"]

    async def test_labels_of_two_managers(self, store: Store) -> None:
        await apply_one(store, configmap(labels={"a": "1"}), "one")
        both = await apply_one(store, configmap(labels={"b": "2"}), "two")
        assert meta(both)["labels"] == {"a": "1", "b": "2"}
        assert meta(await apply_one(store, configmap(), "one"))["labels"] == {"b": "2"}

    async def test_a_manager_is_needed(self, store: Store) -> None:
        with pytest.raises(Invalid):
            await apply_one(store, container(), "")

    async def test_managed_fields_cannot_be_applied(self, store: Store) -> None:
        obj = container()
        obj["metadata"]["managedFields"] = [{"manager": "x"}]
        with pytest.raises(BadRequest):
            await apply_one(store, obj)

    async def test_a_revision_that_is_named_must_be_the_present_one(self, store: Store) -> None:
        made = await apply_one(store, configmap(a="1"))
        obj = configmap(a="2")
        obj["metadata"]["resourceVersion"] = str(made.revision)
        await apply_one(store, obj)
        with pytest.raises(Conflict):
            await apply_one(store, obj)

    async def test_a_uid_that_is_named_must_be_there(self, store: Store) -> None:
        obj = configmap()
        obj["metadata"]["uid"] = NO_UID
        with pytest.raises(Conflict):
            await apply_one(store, obj)

    async def test_several_objects_in_order(self, store: Store) -> None:
        inside = configmap("inside")
        inside["metadata"]["namespace"] = "team"
        done = await store.apply([Apply(namespace("team"), "setpoint"), Apply(inside, "setpoint")])
        assert [each.outcome for each in done] == ["created", "created"]

    async def test_an_invalid_one_is_named(self, store: Store) -> None:
        requests = [
            Apply(container("good"), "setpoint"),
            Apply(container("bad", runState="Flying"), "setpoint"),
            Apply(container("worse", restartPolicy="Perhaps"), "setpoint"),
        ]
        with pytest.raises(Invalid) as failure:
            await store.apply(requests)
        fields = [cause.field for cause in failure.value.causes]
        assert any("bad" in field and "runState" in field for field in fields)
        assert any("worse" in field and "restartPolicy" in field for field in fields)

    async def test_all_or_nothing(self, store: Store) -> None:
        with pytest.raises(StateError):
            await store.apply([Apply(container("good"), "x"), Apply(container("bad", runState="Flying"), "x")])
        assert (await store.list(CONTAINERS)).items == ()

    async def test_a_dry_run_applies_nothing(self, store: Store) -> None:
        [done] = await store.apply([Apply(container(), "setpoint")], dry_run=True)
        assert done.outcome == "created"
        with pytest.raises(NotFound):
            await store.get(key(container()))

    async def test_a_missing_namespace(self, store: Store) -> None:
        obj = container()
        obj["metadata"]["namespace"] = "nowhere"
        with pytest.raises(NotFound, match="nowhere"):
            await apply_one(store, obj)

    async def test_string_data_applied_and_dropped(self, store: Store) -> None:
        await apply_one(store, secret(a="1", b="2"))
        assert set((await apply_one(store, secret(a="1"))).object["data"]) == {"a"}

    async def test_an_empty_apply_releases(self, store: Store) -> None:
        await apply_one(store, container(), "file")
        await apply_one(store, container(runState="Stopped"), "verb", force=True)
        bare = container()
        del bare["spec"]
        released = await apply_one(store, bare, "verb")
        assert released.object["spec"]["runState"] == "Running"
        assert owners(released, "spec") == {"file"}
