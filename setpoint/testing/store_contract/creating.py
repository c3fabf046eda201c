"""What a store promises: create."""

from __future__ import annotations

import pytest

from setpoint.testing.store_contract.objects import (
    configmap,
    container,
    key,
    meta,
    namespace,
    owners,
    secret,
)
from state.errors import AlreadyExists, BadRequest, Invalid, NotFound, StateError
from state.objects import FINALIZER, Key
from state.store import Store


class CreateContract:
    """create"""

    async def test_a_created_object_can_be_read(self, store: Store) -> None:
        made = await store.create(container(), manager="m")
        assert await store.get(key(container())) == made

    async def test_create_fills_in_the_metadata(self, store: Store) -> None:
        made = await store.create(container(), manager="m")
        written = meta(made)
        assert len(written["uid"]) == 36
        assert made.uid == written["uid"]
        assert written["generation"] == 1
        assert written["resourceVersion"] == str(made.revision)
        assert written["creationTimestamp"].endswith("Z")
        assert made.revision > 0

    async def test_a_container_has_its_finalizer_from_the_start(self, store: Store) -> None:
        assert FINALIZER in meta(await store.create(container(), manager="m"))["finalizers"]

    async def test_a_finalizer_is_not_doubled(self, store: Store) -> None:
        obj = container()
        obj["metadata"]["finalizers"] = [FINALIZER, "example.com/x"]
        assert meta(await store.create(obj, manager="m"))["finalizers"] == [FINALIZER, "example.com/x"]

    async def test_other_kinds_have_none(self, store: Store) -> None:
        assert "finalizers" not in meta(await store.create(configmap(), manager="m"))

    async def test_create_does_not_change_what_it_was_given(self, store: Store) -> None:
        obj = container()
        await store.create(obj, manager="m")
        assert obj == container()

    async def test_create_drops_status(self, store: Store) -> None:
        made = await store.create(container() | {"status": {"phase": "Running"}}, manager="m")
        assert "phase" not in made.object.get("status", {})

    async def test_defaults_are_stored(self, store: Store) -> None:
        assert (await store.create(container(), manager="m")).object["spec"]["runState"] == "Running"

    async def test_a_taken_name_is_refused(self, store: Store) -> None:
        await store.create(container(), manager="m")
        with pytest.raises(AlreadyExists):
            await store.create(container(), manager="m")

    async def test_the_same_name_in_another_kind_is_free(self, store: Store) -> None:
        await store.create(container("x"), manager="m")
        await store.create(configmap("x"), manager="m")

    async def test_a_missing_namespace_is_named(self, store: Store) -> None:
        obj = container()
        obj["metadata"]["namespace"] = "nowhere"
        with pytest.raises(NotFound, match="nowhere"):
            await store.create(obj, manager="m")

    async def test_a_revision_cannot_be_chosen(self, store: Store) -> None:
        obj = container()
        obj["metadata"]["resourceVersion"] = "7"
        with pytest.raises(BadRequest):
            await store.create(obj, manager="m")

    async def test_generate_name(self, store: Store) -> None:
        obj = configmap()
        del obj["metadata"]["name"]
        obj["metadata"]["generateName"] = "conf-"
        first, second = await store.create(obj, manager="m"), await store.create(obj, manager="m")
        assert first.key.name != second.key.name
        assert first.key.name.startswith("conf-")
        assert len(first.key.name) == len("conf-") + 5

    async def test_a_name_is_needed(self, store: Store) -> None:
        obj = container()
        del obj["metadata"]["name"]
        with pytest.raises(StateError) as failure:
            await store.create(obj, manager="m")
        assert failure.value.code == 422

    @pytest.mark.parametrize("name", ["UPPER", "under_score", "-dash", "a" * 300])
    async def test_bad_names_are_refused(self, store: Store, name: str) -> None:
        with pytest.raises(Invalid):
            await store.create(container(name), manager="m")

    async def test_an_invalid_object_leaves_nothing(self, store: Store) -> None:
        with pytest.raises(StateError):
            await store.create(container(runState="Flying"), manager="m")
        with pytest.raises(NotFound):
            await store.get(key(container()))

    async def test_an_unknown_kind_is_refused(self, store: Store) -> None:
        with pytest.raises(BadRequest):
            await store.create(container() | {"kind": "Spaceship"}, manager="m")

    async def test_a_cluster_scoped_kind_lives_in_no_namespace(self, store: Store) -> None:
        made = await store.create(namespace("team"), manager="m")
        assert made.key == Key("Namespace", "", "team")

    async def test_owner_references_are_checked(self, store: Store) -> None:
        obj = configmap()
        obj["metadata"]["ownerReferences"] = [{"kind": "Container", "name": "x"}]
        with pytest.raises(Invalid) as failure:
            await store.create(obj, manager="m")
        assert any("ownerReferences" in cause.field for cause in failure.value.causes)

    async def test_a_dry_run_creates_nothing(self, store: Store) -> None:
        rehearsed = await store.create(container(), manager="m", dry_run=True)
        assert rehearsed.object["spec"]["runState"] == "Running"
        with pytest.raises(NotFound):
            await store.get(key(container()))

    async def test_a_dry_run_tells_errors(self, store: Store) -> None:
        await store.create(container(), manager="m")
        with pytest.raises(AlreadyExists):
            await store.create(container(), manager="m", dry_run=True)

    async def test_string_data_is_stored_as_data(self, store: Store) -> None:
        made = await store.create(secret(user="anna"), manager="m")
        assert made.object["data"] == {"user": "YW5uYQ=="}
        assert "stringData" not in made.object

    async def test_create_tracks_its_manager(self, store: Store) -> None:
        assert owners(await store.create(container(), manager="m"), "spec.image") == {"m"}

    async def test_revisions_grow(self, store: Store) -> None:
        made = [await store.create(configmap(f"c{n}"), manager="m") for n in range(3)]
        assert made[0].revision < made[1].revision < made[2].revision
