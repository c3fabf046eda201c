"""Server-side apply by examples: ownership, merging, conflicts, tracking."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from state.apply import apply, managers_of, track, track_status
from state.errors import BadRequest, Conflict, Invalid
from state.listkeys import SET, by, tree
from state.objects import Object

KEYS = tree(
    {
        "spec.env": by("name"),
        "spec.volumes": by("name"),
        "spec.volumes.items": by("key"),
        "spec.ports": by("containerPort", "protocol", protocol="TCP"),
        "metadata.finalizers": SET,
    }
)


def obj(_meta: Object | None = None, /, **spec: Any) -> Object:
    return {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x", **(_meta or {})}, "spec": spec}


def put(live: Object | None, config: Object, manager: str = "a", *, now: str = "t", **more: Any) -> Object:
    return apply(live, config, manager=manager, now=now, keys=KEYS, **more).object


def spec(found: Object) -> Object:
    result: Object = found.get("spec", {})
    return result


def fields(found: Object, manager: str) -> Any:
    return next((e["fieldsV1"] for e in found["metadata"].get("managedFields", ()) if e["manager"] == manager), None)


def env(**values: str) -> list[Object]:
    return [{"name": name, "value": value} for name, value in values.items()]


def test_the_first_apply_owns_what_it_names() -> None:
    made = put(None, obj(image="x"))
    assert spec(made) == {"image": "x"}
    assert fields(made, "a") == {"f:spec": {"f:image": {}}}


def test_identity_and_status_are_nobodys() -> None:
    made = put(None, obj({"labels": {"l": "1"}, "uid": "u", "generation": 3}) | {"status": {"p": 1}})
    assert fields(made, "a") == {"f:metadata": {"f:labels": {"f:l": {}}}, "f:spec": {}}


def test_nothing_that_came_in_is_changed() -> None:
    live = put(put(None, obj(env=env(A="1"), image="x")), obj(env=env(B="2")), "b")
    config = obj(env=env(A="9", B="3"))
    before = copy.deepcopy((live, config))
    put(live, config, "c", force=True)
    assert (live, config) == before


def test_nothing_that_comes_out_is_shared() -> None:
    config = obj(deep={"list": [{"x": 1}]})
    made = put(None, config)
    spec(made)["deep"]["list"][0]["x"] = 2
    assert config == obj(deep={"list": [{"x": 1}]})


def test_null_names_nothing() -> None:
    made = put(put(None, obj(image="x"), "b"), obj(image=None, tty=True))
    assert spec(made) == {"image": "x", "tty": True}
    assert fields(made, "a") == {"f:spec": {"f:tty": {}}}


def test_a_dropped_field_goes() -> None:
    assert spec(put(put(None, obj(image="x", tty=True)), obj(image="x"))) == {"image": "x"}


def test_a_map_goes_with_its_last_field() -> None:
    assert put(put(None, obj({"labels": {"l": "1"}})), obj())["metadata"].get("labels") is None


def test_an_owned_empty_map_stays() -> None:
    made = put(put(None, obj(emptyDir={"size": 1})), obj(emptyDir={}))
    assert spec(made) == {"emptyDir": {}}
    assert fields(made, "a") == {"f:spec": {"f:emptyDir": {}}}


def test_an_empty_map_takes_nothing_away() -> None:
    made = put(put(None, obj({"labels": {"l": "1"}}), "b"), obj({"labels": {}}))
    assert made["metadata"]["labels"] == {"l": "1"}


def test_a_dropped_item_goes() -> None:
    assert spec(put(put(None, obj(env=env(A="1", B="2"))), obj(env=env(B="2")))) == {"env": env(B="2")}


def test_a_list_goes_with_its_last_item() -> None:
    assert spec(put(put(None, obj(image="x", env=env(A="1"))), obj(image="x"))) == {"image": "x"}


def test_a_dropped_item_stays_if_another_owns_it() -> None:
    both = put(put(None, obj(env=env(A="1"))), obj(env=env(A="1")), "b")
    assert spec(put(both, obj())) == {"env": env(A="1")}


def test_a_dropped_item_that_another_changed_keeps_its_key() -> None:
    live = put(None, obj(env=env(A="1")))
    edited = track(live, {**live, "spec": {"env": env(A="2")}}, manager="edit", now="t", keys=KEYS)
    assert spec(put(edited, obj())) == {"env": env(A="2")}


def test_items_nest() -> None:
    volume = {"name": "v", "items": [{"key": "k", "path": "p"}]}
    live = put(put(None, obj(volumes=[volume])), obj(volumes=[{"name": "v", "items": [{"key": "q", "path": "r"}]}]), "b")
    assert spec(live)["volumes"] == [{"name": "v", "items": [{"key": "k", "path": "p"}, {"key": "q", "path": "r"}]}]
    left = put(live, obj(volumes=[{"name": "v"}]))
    assert spec(left)["volumes"] == [{"name": "v", "items": [{"key": "q", "path": "r"}]}]


def test_the_applied_order_wins() -> None:
    live = put(None, obj(env=env(A="1", B="2", C="3")))
    assert [e["name"] for e in spec(put(live, obj(env=env(C="3", A="1", B="2"))))["env"]] == ["C", "A", "B"]


def test_items_of_others_keep_their_place() -> None:
    live = put(put(None, obj(env=env(A="1", B="2"))), obj(env=env(X="0")), "b")
    assert {e["name"] for e in spec(put(live, obj(env=env(B="2", A="1"))))["env"]} == {"A", "B", "X"}


def test_sets_are_united() -> None:
    live = put(put(None, obj({"finalizers": ["a/x"]})), obj({"finalizers": ["b/y"]}), "b")
    assert live["metadata"]["finalizers"] == ["a/x", "b/y"] or live["metadata"]["finalizers"] == ["b/y", "a/x"]
    assert put(live, obj())["metadata"]["finalizers"] == ["b/y"]


def test_a_default_of_a_key_is_the_same_item() -> None:
    live = put(None, obj(ports=[{"containerPort": 80, "protocol": "TCP"}]))
    assert spec(put(live, obj(ports=[{"containerPort": 80}]), "b"))["ports"] == [{"containerPort": 80, "protocol": "TCP"}]


def test_a_list_that_cannot_be_keyed_is_replaced() -> None:
    twice = [{"containerPort": 80, "hostPort": 1}, {"containerPort": 80, "hostPort": 2}]
    live = put(None, obj(ports=twice))
    assert fields(live, "a") == {"f:spec": {"f:ports": {}}}
    assert spec(put(live, obj(ports=twice[:1])))["ports"] == twice[:1]
    back = put(put(live, obj(ports=twice[:1])), obj(ports=twice))
    assert spec(back)["ports"] == twice


def test_replacing_anothers_keyed_list_whole_is_a_conflict() -> None:
    live = put(None, obj(env=env(A="1")))
    with pytest.raises(Conflict) as failure:
        put(live, obj(env=[{"name": "A"}, {"name": "A"}]), "b")
    assert all(cause.field.startswith(".spec.env") for cause in failure.value.causes)


def test_a_value_that_becomes_a_map_is_a_conflict() -> None:
    with pytest.raises(Conflict):
        put(put(None, obj(x="scalar")), obj(x={"y": 1}), "b")
    with pytest.raises(Conflict):
        put(put(None, obj(x={"y": 1})), obj(x="scalar"), "b")


def test_a_conflict_as_kubernetes_words_it() -> None:
    live = put(None, obj(image="x"), "one")
    with pytest.raises(Conflict) as failure:
        put(live, obj(image="y"), "two")
    assert failure.value.message == 'Apply failed with 1 conflict: conflict with "one" using g/v1: .spec.image'
    assert failure.value.to_status()["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one" using g/v1', "field": ".spec.image"}
    ]


def test_a_conflict_with_an_update_tells_when() -> None:
    live = put(None, obj(image="x"))
    edited = track(live, {**live, "spec": {"image": "y"}}, manager="edit", now="2026-01-02T03:04:05Z", keys=KEYS)
    with pytest.raises(Conflict, match='"edit" using g/v1 at 2026-01-02T03:04:05Z'):
        put(edited, obj(image="x"))


def test_all_conflicts_at_once() -> None:
    live = put(put(None, obj(image="x"), "one"), obj(tty=True), "two")
    with pytest.raises(Conflict, match="2 conflicts") as failure:
        put(live, obj(image="y", tty=False), "three")
    assert {cause.field for cause in failure.value.causes} == {".spec.image", ".spec.tty"}


def test_true_is_not_one() -> None:
    with pytest.raises(Conflict):
        put(put(None, obj(x=1)), obj(x=True), "b")


def test_a_default_that_admission_adds_is_nobodys() -> None:
    def admit(merged: Object) -> Object:
        return {**merged, "spec": {"pull": "Always", **merged["spec"]}}

    live = put(None, obj(image="x"), admit=admit)
    assert spec(live) == {"pull": "Always", "image": "x"}
    assert fields(live, "a") == {"f:spec": {"f:image": {}}}
    named = put(live, obj(pull="Never"), "b", admit=admit)
    assert fields(named, "b") == {"f:spec": {"f:pull": {}}}
    assert spec(put(named, obj(), "b", admit=admit)) == {"pull": "Always", "image": "x"}


def test_another_spelling_of_the_same_value_is_no_conflict() -> None:
    def admit(merged: Object) -> Object:
        return {**merged, "spec": {"size": merged["spec"]["size"].replace("1024Ki", "1Mi")}}

    live = put(None, obj(size="1Mi"), admit=admit)
    assert spec(put(live, obj(size="1024Ki"), "b", admit=admit)) == {"size": "1Mi"}


def test_force_takes_only_what_changes() -> None:
    live = put(None, obj(image="x", tty=True), "one")
    taken = put(live, obj(image="y", tty=True), "two", force=True)
    assert fields(taken, "one") == {"f:spec": {"f:tty": {}}}
    assert fields(taken, "two") == {"f:spec": {"f:image": {}, "f:tty": {}}}


def test_a_manager_without_fields_is_gone() -> None:
    taken = put(put(None, obj(image="x"), "one"), obj(image="y"), "two", force=True)
    assert fields(taken, "one") is None


def test_what_was_taken_is_told() -> None:
    live = put(None, obj(image="x", tty=True), "one")
    outcome = apply(live, obj(image="y", tty=True), manager="two", now="t", keys=KEYS, take_from={"one"})
    assert outcome.taken == ((".spec.image", "one"),)


def test_managed_fields_cannot_be_applied() -> None:
    with pytest.raises(BadRequest):
        put(None, obj({"managedFields": [{}]}))


def test_a_manager_is_needed() -> None:
    with pytest.raises(Invalid):
        put(None, obj(), "")


def test_the_time_moves_only_with_a_change() -> None:
    first = put(None, obj(image="x"), now="t1")
    again = put(first, obj(image="x"), now="t2")
    assert again == first
    changed = put(again, obj(image="y"), now="t3")
    assert changed["metadata"]["managedFields"][0]["time"] == "t3"


def test_managed_fields_that_cannot_be_read() -> None:
    live = put(None, obj(image="x"))
    live["metadata"]["managedFields"][0]["fieldsV1"] = {"nonsense": 1}
    with pytest.raises(Invalid) as failure:
        managers_of(live)
    assert failure.value.causes[0].field == "metadata.managedFields[0]"


class TestTracking:
    def edit(self, live: Object, manager: str = "edit", now: str = "t", **spec_: Any) -> Object:
        return track(live, {**live, "spec": spec_}, manager=manager, now=now, keys=KEYS)

    def test_a_create_owns_what_was_sent(self) -> None:
        sent, admitted = obj(image="x"), obj(image="x", pull="Always")
        made = track(None, admitted, manager="m", now="t", keys=KEYS, sent=sent)
        assert fields(made, "m") == {"f:spec": {"f:image": {}}}
        assert made["metadata"]["managedFields"][0]["operation"] == "Update"

    def test_a_change_moves_the_field(self) -> None:
        live = self.edit(put(None, obj(image="x", tty=True), "one"), image="y", tty=True)
        assert fields(live, "one") == {"f:spec": {"f:tty": {}}}
        assert fields(live, "edit") == {"f:spec": {"f:image": {}}}

    def test_a_removal_ends_ownership(self) -> None:
        live = self.edit(put(None, obj(image="x", tty=True), "one"), image="x")
        assert fields(live, "one") == {"f:spec": {"f:image": {}}}
        assert fields(live, "edit") is None

    def test_no_change_no_entry(self) -> None:
        live = put(None, obj(image="x"))
        assert self.edit(live, image="x") == live

    def test_the_same_manager_may_apply_and_update(self) -> None:
        live = self.edit(put(None, obj(image="x"), "one"), "one", image="x", tty=True)
        kinds = [(e["manager"], e["operation"]) for e in live["metadata"]["managedFields"]]
        assert kinds == [("one", "Apply"), ("one", "Update")]

    def test_apply_after_an_update_of_the_same_name_conflicts_with_it(self) -> None:
        live = self.edit(put(None, obj(image="x"), "one"), "one", image="y")
        with pytest.raises(Conflict):
            put(live, obj(image="x"), "one")

    def test_status_is_tracked_apart(self) -> None:
        live = put(None, obj(image="x"))
        new = {**live, "status": {"phase": "Up"}}
        seen = track(live, new, manager="agent", now="t", keys=KEYS, subresource="status")
        entry = seen["metadata"]["managedFields"][1]
        assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:phase": {}}})

    def test_the_agents_entry_is_fixed(self) -> None:
        live = put(None, obj(image="x"))
        once = track_status({**live, "status": {"a": 1}}, manager="agent", now="t1")
        twice = track_status({**once, "status": {"b": 2}}, manager="agent", now="t2")
        assert once["metadata"] == twice["metadata"]
        assert put(twice, obj(image="x"))["metadata"] == twice["metadata"]

    def test_the_time_tells_the_last_change(self) -> None:
        once = self.edit(put(None, obj(image="x"), "one"), now="t1", image="y")
        twice = self.edit(once, now="t2", image="z")
        assert twice["metadata"]["managedFields"][-1]["time"] == "t2"
        assert self.edit(twice, now="t3", image="z") == twice
