"""What a store promises: get and list."""

from __future__ import annotations

import pytest

from setpoint.testing.store_contract.objects import (
    CONTAINERS,
    configmap,
    container,
    meta,
    namespace,
    set_status,
)
from state.errors import BadRequest, Gone, NotFound
from state.objects import Key
from state.store import Selection, Store


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
