"""The contract of :class:`state.store.Store`, as tests. Every store passes all of it, unchanged.

Use: subclass the classes below in a test module, and give them a fixture ``store`` that yields a fresh, open store whose
namespace ``default`` exists. Nothing here knows where objects are kept. A container in these tests stays as it was declared:
no reconciler may run beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from state.errors import AlreadyExists, BadRequest, Conflict, Denied, Gone, Invalid, NotFound, StateError
from state.objects import FINALIZER, Key, Object, Stored
from state.store import Apply, DeleteOptions, Preconditions, Selection, Store, WatchEvent

DEADLINE_S = 10.0
CONTAINERS = Selection("Container", "default")
CONFIGMAPS = Selection("ConfigMap", "default")
NO_UID = "00000000-0000-4000-8000-000000000000"


def _object(api_version: str, kind: str, name: str, labels: dict[str, str] | None) -> Object:
    found: Object = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}}
    if labels:
        found["metadata"]["labels"] = dict(labels)
    return found


def container(name: str = "web", *, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    """The least Container."""
    return _object("setpoint.dev/v1alpha1", "Container", name, labels) | {"spec": {"image": "busybox", **spec}}


def configmap(name: str = "conf", *, labels: dict[str, str] | None = None, **data: str) -> Object:
    """A ConfigMap: no finalizer, no status."""
    return _object("v1", "ConfigMap", name, labels) | {"data": dict(data)}


def secret(name: str = "pass", **data: str) -> Object:
    """A Secret with plain ``stringData``."""
    return _object("v1", "Secret", name, None) | {"stringData": dict(data)}


def namespace(name: str) -> Object:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def key(obj: Object) -> Key:
    """Its key."""
    return Key(obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def meta(stored: Stored) -> Object:
    """Its metadata."""
    found: Object = stored.object["metadata"]
    return found


def owners(stored: Stored, path: str) -> set[str]:
    """Who owns a dotted field, by ``managedFields``."""
    found = set()
    for entry in meta(stored).get("managedFields", ()):
        node = entry["fieldsV1"]
        for name in path.split("."):
            node = node.get("f:" + name) if node is not None else None
        if node is not None:
            found.add(entry["manager"])
    return found


async def apply_one(store: Store, obj: Object, manager: str = "setpoint", **more: Any) -> Stored:
    """One object, applied."""
    return (await store.apply([Apply(obj, manager, **more)]))[0].stored


async def set_status(store: Store, obj: Object, **status: Any) -> Stored:
    """Its status, written as the agent does."""
    return await store.patch(key(obj), {"status": status}, manager="setpoint-agent", subresource="status")


async def release(store: Store, obj: Object) -> Stored:
    """Lets a deletion go through."""
    return await store.patch(key(obj), {"metadata": {"finalizers": None}}, manager="setpoint-agent")


class Watching:
    """A watch under a deadline."""

    def __init__(self, events: AsyncIterator[WatchEvent]) -> None:
        self._events = events

    async def next(self) -> WatchEvent:
        """The next event, bookmarks left out unless they end the beginning."""
        while True:
            event = await asyncio.wait_for(anext(self._events), DEADLINE_S)
            if event.type != "BOOKMARK" or event.initial_end:
                return event

    async def take(self, count: int) -> list[tuple[str, str]]:
        """(type, name) of the next events."""
        return [told(await self.next()) for _ in range(count)]


def told(event: WatchEvent) -> tuple[str, str]:
    """What it tells, in short."""
    return event.type, event.stored.key.name if event.stored else ""


@asynccontextmanager
async def watching(store: Store, select: Selection, **options: Any) -> AsyncIterator[Watching]:
    """A watch that is closed behind itself."""
    events: Any = store.watch(select, **options)
    async with aclosing(events):
        yield Watching(events)


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


class ReadContract:
    """get and list"""

    async def test_get_of_nothing(self, store: Store) -> None:
        with pytest.raises(NotFound) as failure:
            await store.get(Key("Container", "default", "nobody"))
        assert failure.value.name == "nobody"

    async def test_the_default_namespace_is_there(self, store: Store) -> None:
        assert (await store.get(Key("Namespace", "", "default"))).object["status"]["phase"] == "Active"

    async def test_an_empty_list_has_a_revision(self, store: Store) -> None:
        listing = await store.list(CONTAINERS)
        assert listing.items == ()
        assert listing.revision > 0
        assert listing.next == ""

    async def test_a_list_is_in_key_order(self, store: Store) -> None:
        for name in ("b", "c", "a"):
            await store.create(container(name), manager="m")
        assert [item.key.name for item in (await store.list(CONTAINERS)).items] == ["a", "b", "c"]

    async def test_a_list_sees_every_acknowledged_write(self, store: Store) -> None:
        made = await store.create(container(), manager="m")
        listing = await store.list(CONTAINERS)
        assert listing.items == (made,)
        assert listing.revision >= made.revision

    async def test_a_list_of_one_namespace(self, store: Store) -> None:
        await store.create(namespace("other"), manager="m")
        there = configmap("there")
        there["metadata"]["namespace"] = "other"
        await store.create(there, manager="m")
        await store.create(configmap("here"), manager="m")
        listing = await store.list(Selection("ConfigMap", "other"))
        assert [item.key.name for item in listing.items] == ["there"]

    async def test_a_list_of_all_namespaces(self, store: Store) -> None:
        await store.create(namespace("other"), manager="m")
        there = configmap("a")
        there["metadata"]["namespace"] = "other"
        await store.create(there, manager="m")
        await store.create(configmap("b"), manager="m")
        found = [item.key[1:] for item in (await store.list(Selection("ConfigMap"))).items]
        assert [place for place in found if place in [("default", "b"), ("other", "a")]] == [("default", "b"), ("other", "a")]

    @pytest.mark.parametrize(
        ("selector", "expected"),
        [
            ("app=web", "a c"),
            ("app==web", "a c"),
            ("app!=web", "b d"),
            ("app", "a b c"),
            ("!app", "d"),
            ("app in (web, db)", "a b c"),
            ("app notin (web)", "b d"),
            ("app=web,tier=front", "a"),
            ("app=nope", ""),
        ],
    )
    async def test_label_selectors(self, store: Store, selector: str, expected: str) -> None:
        for name, labels in {
            "a": {"app": "web", "tier": "front"},
            "b": {"app": "db"},
            "c": {"app": "web"},
            "d": {},
        }.items():
            await store.create(configmap(name, labels=labels), manager="m")
        listing = await store.list(Selection("ConfigMap", "default", labels=selector))
        assert [i.key.name for i in listing.items if len(i.key.name) == 1] == expected.split()

    @pytest.mark.parametrize("selector", ["a in", "=", "a=b=c", "a in (b", "a b"])
    async def test_a_selector_that_cannot_be_read(self, store: Store, selector: str) -> None:
        with pytest.raises(BadRequest):
            await store.list(Selection("ConfigMap", "default", labels=selector))

    async def test_a_field_selector_by_name(self, store: Store) -> None:
        for name in ("a", "b"):
            await store.create(container(name), manager="m")
        listing = await store.list(Selection("Container", "default", fields="metadata.name=b"))
        assert [item.key.name for item in listing.items] == ["b"]

    async def test_a_field_selector_of_the_kind(self, store: Store) -> None:
        for name in ("a", "b"):
            await store.create(container(name), manager="m")
        await set_status(store, container("a"), phase="Running")
        running = await store.list(Selection("Container", "default", fields="status.phase=Running"))
        others = await store.list(Selection("Container", "default", fields="status.phase!=Running"))
        assert [item.key.name for item in running.items] == ["a"]
        assert [item.key.name for item in others.items] == ["b"]

    async def test_other_field_selectors_are_refused(self, store: Store) -> None:
        with pytest.raises(BadRequest, match=r"spec\.image"):
            await store.list(Selection("Container", "default", fields="spec.image=x"))

    async def test_pages(self, store: Store) -> None:
        for number in range(5):
            await store.create(container(f"c{number}"), manager="m")
        names, page, revisions = [], "", set()
        while True:
            listing = await store.list(CONTAINERS, limit=2, page=page)
            names += [item.key.name for item in listing.items]
            revisions.add(listing.revision)
            page = listing.next
            if not page:
                break
        assert names == ["c0", "c1", "c2", "c3", "c4"]
        assert len(revisions) == 1

    async def test_pages_are_of_one_snapshot_or_gone(self, store: Store) -> None:
        for number in range(4):
            await store.create(container(f"c{number}"), manager="m")
        first = await store.list(CONTAINERS, limit=2)
        await store.create(container("c00"), manager="m")
        await store.patch(Key("Container", "default", "c3"), {"metadata": {"labels": {"x": "y"}}}, manager="m")
        try:
            second = await store.list(CONTAINERS, limit=2, page=first.next)
        except Gone:
            return
        assert second.revision == first.revision
        assert [item.key.name for item in second.items] == ["c2", "c3"]
        assert "labels" not in meta(second.items[1])

    async def test_a_page_that_cannot_be_read(self, store: Store) -> None:
        with pytest.raises((BadRequest, Gone)):
            await store.list(CONTAINERS, limit=2, page="nonsense!")

    async def test_the_body_is_the_object(self, store: Store) -> None:
        made = await store.create(container(), manager="m")
        first = made.object
        first["spec"]["image"] = "changed"
        assert made.object["spec"]["image"] == "busybox"


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


class WatchContract:
    """watch"""

    async def test_the_present_state_then_changes(self, store: Store) -> None:
        await store.create(container("a"), manager="m")
        async with watching(store, CONTAINERS) as watch:
            assert await watch.take(1) == [("ADDED", "a")]
            await store.create(container("b"), manager="m")
            await set_status(store, container("a"), phase="Running")
            assert await watch.take(2) == [("ADDED", "b"), ("MODIFIED", "a")]

    async def test_an_event_carries_the_object(self, store: Store) -> None:
        async with watching(store, CONFIGMAPS, initial=True) as watch:
            while (await watch.next()).type != "BOOKMARK":
                pass
            made = await store.create(configmap(a="1"), manager="m")
            event = await watch.next()
            assert event.stored == made
            assert event.revision == made.revision

    async def test_the_end_of_the_beginning(self, store: Store) -> None:
        await store.create(container("a"), manager="m")
        async with watching(store, CONTAINERS, initial=True) as watch:
            assert told(await watch.next()) == ("ADDED", "a")
            mark = await watch.next()
            assert (mark.type, mark.initial_end, mark.stored) == ("BOOKMARK", True, None)
            assert mark.revision > 0

    async def test_from_a_list(self, store: Store) -> None:
        await store.create(container("a"), manager="m")
        revision = (await store.list(CONTAINERS)).revision
        await store.create(container("b"), manager="m")
        async with watching(store, CONTAINERS, since=revision) as watch:
            assert await watch.take(1) == [("ADDED", "b")]

    async def test_from_an_object(self, store: Store) -> None:
        made = await store.create(container("a"), manager="m")
        await set_status(store, container("a"), phase="Running")
        async with watching(store, CONTAINERS, since=made.revision) as watch:
            assert await watch.take(1) == [("MODIFIED", "a")]

    async def test_a_deletion(self, store: Store) -> None:
        made = await store.create(configmap("a"), manager="m")
        async with watching(store, CONFIGMAPS, since=made.revision) as watch:
            await store.delete(made.key)
            event = await watch.next()
            assert told(event) == ("DELETED", "a")
            assert event.revision > made.revision
            assert event.stored is not None
            assert meta(event.stored)["resourceVersion"] == str(event.revision)

    async def test_the_way_of_a_finalizer(self, store: Store) -> None:
        made = await store.create(container("a"), manager="m")
        async with watching(store, CONTAINERS, since=made.revision) as watch:
            await store.delete(made.key)
            await release(store, container("a"))
            assert await watch.take(2) == [("MODIFIED", "a"), ("DELETED", "a")]

    async def test_no_change_no_event(self, store: Store) -> None:
        made = await store.create(configmap("a", x="1"), manager="m")
        async with watching(store, CONFIGMAPS, since=made.revision) as watch:
            await store.update(made.object, manager="m")
            await store.patch(made.key, {"data": {"x": "1"}}, manager="m")
            await store.create(configmap("sentinel"), manager="m")
            assert await watch.take(1) == [("ADDED", "sentinel")]

    async def test_a_dry_run_tells_nobody(self, store: Store) -> None:
        made = await store.create(configmap("a"), manager="m")
        async with watching(store, CONFIGMAPS, since=made.revision) as watch:
            await store.patch(made.key, {"data": {"x": "1"}}, manager="m", dry_run=True)
            await store.delete(made.key, dry_run=True)
            await store.create(configmap("sentinel"), manager="m")
            assert await watch.take(1) == [("ADDED", "sentinel")]

    async def test_a_refused_write_tells_nobody(self, store: Store) -> None:
        made = await store.create(container("a"), manager="m")
        async with watching(store, CONTAINERS, since=made.revision) as watch:
            with pytest.raises(StateError):
                await store.patch(made.key, {"spec": {"runState": "Flying"}}, manager="m")
            await store.create(container("sentinel"), manager="m")
            assert await watch.take(1) == [("ADDED", "sentinel")]

    async def test_other_kinds_are_not_told(self, store: Store) -> None:
        made = await store.create(configmap("a"), manager="m")
        async with watching(store, CONFIGMAPS, since=made.revision) as watch:
            await store.create(container("x"), manager="m")
            await store.create(configmap("b"), manager="m")
            assert await watch.take(1) == [("ADDED", "b")]

    async def test_other_namespaces_are_not_told(self, store: Store) -> None:
        await store.create(namespace("other"), manager="m")
        made = await store.create(configmap("a"), manager="m")
        there = configmap("there")
        there["metadata"]["namespace"] = "other"
        async with watching(store, CONFIGMAPS, since=made.revision) as watch:
            await store.create(there, manager="m")
            await store.create(configmap("b"), manager="m")
            assert await watch.take(1) == [("ADDED", "b")]

    async def test_entering_and_leaving_a_selection(self, store: Store) -> None:
        made = await store.create(configmap("a", labels={"app": "db"}), manager="m")
        chosen = Selection("ConfigMap", "default", labels="app=web")
        async with watching(store, chosen, since=made.revision) as watch:
            for label in ("web", "db"):
                await store.patch(made.key, {"metadata": {"labels": {"app": label}}}, manager="m")
            assert await watch.take(2) == [("ADDED", "a"), ("DELETED", "a")]

    async def test_staying_in_and_dying_in_a_selection(self, store: Store) -> None:
        made = await store.create(configmap("a", labels={"app": "web"}), manager="m")
        chosen = Selection("ConfigMap", "default", labels="app=web")
        async with watching(store, chosen, since=made.revision) as watch:
            await store.patch(made.key, {"data": {"x": "1"}}, manager="m")
            await store.delete(made.key)
            assert await watch.take(2) == [("MODIFIED", "a"), ("DELETED", "a")]

    async def test_dying_outside_is_not_told(self, store: Store) -> None:
        made = await store.create(configmap("a"), manager="m")
        chosen = Selection("ConfigMap", "default", labels="app=web")
        async with watching(store, chosen, since=made.revision) as watch:
            await store.delete(made.key)
            await store.create(configmap("b", labels={"app": "web"}), manager="m")
            assert await watch.take(1) == [("ADDED", "b")]

    async def test_a_field_selection(self, store: Store) -> None:
        made = await store.create(container("a"), manager="m")
        chosen = Selection("Container", "default", fields="status.phase=Running")
        async with watching(store, chosen, since=made.revision) as watch:
            for phase in ("Running", "Exited"):
                await set_status(store, container("a"), phase=phase)
            assert await watch.take(2) == [("ADDED", "a"), ("DELETED", "a")]

    async def test_the_future_is_gone(self, store: Store) -> None:
        revision = (await store.list(CONTAINERS)).revision
        with pytest.raises(Gone):
            async with watching(store, CONTAINERS, since=revision + 1_000_000) as watch:
                await watch.next()

    async def test_a_bad_selector(self, store: Store) -> None:
        with pytest.raises(BadRequest):
            async with watching(store, Selection("Container", fields="spec.image=x")) as watch:
                await watch.next()

    async def test_two_watchers_see_the_same(self, store: Store) -> None:
        made = await store.create(configmap("a"), manager="m")
        async with watching(store, CONFIGMAPS, since=made.revision) as one, watching(store, CONFIGMAPS) as two:
            while told(await two.next()) != ("ADDED", "a"):
                pass
            await store.delete(made.key)
            assert await one.take(1) == await two.take(1) == [("DELETED", "a")]

    async def test_each_once_and_in_order_under_churn(self, store: Store) -> None:
        revision = (await store.list(CONFIGMAPS)).revision

        async def churn(number: int) -> None:
            obj = configmap(f"c{number}")
            await store.create(obj, manager="m")
            for value in range(5):
                await store.patch(key(obj), {"data": {"x": str(value)}}, manager="m")
            await store.delete(key(obj))

        async with watching(store, CONFIGMAPS, since=revision) as watch:
            writers = asyncio.gather(*(churn(number) for number in range(10)))
            events = [await watch.next() for _ in range(70)]
            await writers
        revisions = [event.revision for event in events]
        assert revisions == sorted(set(revisions))
        for number in range(10):
            mine = [event.type for event in events if event.stored and event.stored.key.name == f"c{number}"]
            assert mine == ["ADDED", *["MODIFIED"] * 5, "DELETED"]

    async def test_a_slow_watcher_misses_nothing(self, store: Store) -> None:
        made = await store.create(configmap("a"), manager="m")
        async with watching(store, CONFIGMAPS, since=made.revision) as watch:
            for value in range(50):
                await store.patch(made.key, {"data": {"x": str(value)}}, manager="m")
            seen = [(await watch.next()).stored for _ in range(50)]
        assert [each.object["data"]["x"] for each in seen if each] == [str(value) for value in range(50)]

    async def test_atomic_applies_are_told_one_by_one(self, store: Store) -> None:
        revision = (await store.list(CONTAINERS)).revision
        await store.apply([Apply(container("a"), "x"), Apply(container("b"), "x")])
        async with watching(store, CONTAINERS, since=revision) as watch:
            assert await watch.take(2) == [("ADDED", "a"), ("ADDED", "b")]


class StoreContract(CreateContract, ReadContract, UpdateContract, PatchContract, DeleteContract, ApplyContract, WatchContract):
    """All of it."""
