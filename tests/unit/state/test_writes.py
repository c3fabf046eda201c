"""The write rules for one object, pure."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from state import writes
from state.errors import BadRequest, Conflict, Invalid
from state.objects import FINALIZER, Object
from state.resources.types import ResourceType, by_kind
from state.store import DeleteOptions, Preconditions

OWNER = {"apiVersion": "v1", "kind": "K", "name": "n"}
UID = "11111111-2222-4333-8444-555555555555"


def rules(kind: str) -> ResourceType:
    found = by_kind(kind)
    assert found
    return found


def stored(**meta: Any) -> Object:
    whole = {"name": "x", "namespace": "default", "uid": UID, "resourceVersion": "5", "generation": 1, "creationTimestamp": "t"}
    return {
        "apiVersion": "setpoint.dev/v1alpha1",
        "kind": "Container",
        "metadata": {**whole, **meta},
        "spec": {"image": "a"},
        "status": {"phase": "Up"},
    }


def test_suffix_is_five_of_kubernetes_letters() -> None:
    suffix = writes.suffix(UID)
    assert len(suffix) == 5
    assert set(suffix) <= set("bcdfghjklmnpqrstvwxz2456789")


def test_a_long_generated_name_is_cut() -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "y" * 80}}
    assert len(writes.created(obj, rules("ConfigMap"), uid=UID, now="t")["metadata"]["name"]) == 63


def test_a_namespace_is_filled_in() -> None:
    assert (
        writes.incoming({"kind": "ConfigMap", "metadata": {"name": "x"}}, rules("ConfigMap"))["metadata"]["namespace"]
        == "default"
    )


def test_a_namespace_is_refused() -> None:
    with pytest.raises(BadRequest, match="no namespace"):
        writes.incoming({"kind": "Node", "metadata": {"name": "x", "namespace": "y"}}, rules("Node"))


def test_core_kinds_may_leave_the_version_out() -> None:
    assert writes.incoming({"kind": "Event", "metadata": {"name": "x"}}, rules("Event"))["apiVersion"] == "v1"
    assert "apiVersion" not in writes.incoming({"kind": "Container", "metadata": {"name": "x"}}, rules("Container"))


@pytest.mark.parametrize("meta", ["x", [], 3], ids=repr)
def test_metadata_must_be_an_object(meta: Any) -> None:
    with pytest.raises(BadRequest):
        writes.incoming({"kind": "Container", "metadata": meta}, rules("Container"))


@pytest.mark.parametrize("name", ["name", "namespace", "uid", "resourceVersion"])
def test_names_must_be_text(name: str) -> None:
    with pytest.raises(BadRequest, match=name):
        writes.incoming({"kind": "Container", "metadata": {name: {"x": 1}}}, rules("Container"))


def test_incoming_is_a_copy() -> None:
    obj = stored()
    new = writes.incoming(obj, rules("Container"))
    new["spec"]["image"] = "b"
    assert obj == stored()


def test_string_data_wins_over_data() -> None:
    sent = {"kind": "Secret", "metadata": {"name": "x"}, "data": {"a": "eA==", "b": "eA=="}, "stringData": {"a": "y"}}
    assert writes.incoming(sent, rules("Secret"))["data"] == {"a": "eQ==", "b": "eA=="}


@pytest.mark.parametrize("finalizers", ["x", [1], ["bad name"], {"a": 1}], ids=repr)
def test_bad_finalizers(finalizers: Any) -> None:
    obj = {"kind": "Container", "metadata": {"name": "x", "finalizers": finalizers}}
    with pytest.raises(Invalid):
        writes.created(obj, rules("Container"), uid=UID, now="t")


@pytest.mark.parametrize(
    ("references", "field"),
    [
        ("x", "metadata.ownerReferences"),
        (["x"], "metadata.ownerReferences[0]"),
        ([{"apiVersion": "v1", "kind": "K", "name": "n"}], "metadata.ownerReferences[0].uid"),
        ([{"apiVersion": "v1", "kind": "K", "name": "n", "uid": UID}], "metadata.ownerReferences[0].uid"),
        (
            [{"apiVersion": "v1", "kind": "K", "name": "n", "uid": "o", "namespace": "z"}],
            "metadata.ownerReferences[0].namespace",
        ),
        (
            [{"apiVersion": "v1", "kind": "K", "name": "n", "uid": u, "controller": True} for u in ("o", "p")],
            "metadata.ownerReferences",
        ),
    ],
    ids=str,
)
def test_bad_owner_references(references: Any, field: str) -> None:
    obj = {"kind": "ConfigMap", "metadata": {"name": "x", "ownerReferences": references}}
    with pytest.raises(Invalid) as failure:
        writes.created(obj, rules("ConfigMap"), uid=UID, now="t")
    assert field in [cause.field for cause in failure.value.causes]


def test_created_sheds_what_is_the_stores() -> None:
    obj = stored(deletionTimestamp="t", selfLink="x")
    del obj["metadata"]["resourceVersion"]
    made = writes.created(obj, rules("Container"), uid="new", now="now")
    assert made["metadata"] == {
        "name": "x",
        "namespace": "default",
        "uid": "new",
        "creationTimestamp": "now",
        "generation": 1,
        "finalizers": [FINALIZER],
    }
    assert "status" not in made


def test_replaced_carries_what_is_the_stores() -> None:
    old = stored(deletionTimestamp="t")
    new = {**stored(), "metadata": {"name": "x", "namespace": "default", "labels": {"a": "b"}}, "spec": {"image": "b"}}
    result = writes.replaced(old, new, rules("Container"))
    assert result["metadata"] == {**old["metadata"], "labels": {"a": "b"}}
    assert (result["spec"], result["status"]) == ({"image": "b"}, {"phase": "Up"})


@pytest.mark.parametrize(
    ("given", "expected"), [(None, ["old"]), ([], None), ([{}], None), ([{"manager": "n"}], [{"manager": "n"}])]
)
def test_managed_fields_given_or_not(given: Any, expected: Any) -> None:
    old = stored(managedFields=["old"])
    new = stored()
    if given is not None:
        new["metadata"]["managedFields"] = given
    try:
        result = writes.replaced(old, new, rules("Container"))
    except Invalid:
        assert given is None
        return
    assert result["metadata"].get("managedFields") == expected


@pytest.mark.parametrize(
    ("change", "generation"),
    [
        ({"spec": {"image": "b"}}, 2),
        ({"extra": 1}, 2),
        ({"status": {"phase": "Down"}}, 1),
        ({}, 1),
    ],
    ids=str,
)
def test_generation(change: Object, generation: int) -> None:
    new = writes.with_generation(stored(), {**stored(), **change}, rules("Container"))
    assert new["metadata"]["generation"] == generation


def test_deletion_begins_once() -> None:
    held = stored(finalizers=["a/b"])
    first = writes.deleting(held, DeleteOptions(), now="t1")
    assert (first["metadata"]["deletionTimestamp"], first["metadata"]["generation"]) == ("t1", 2)
    assert writes.deleting(first, DeleteOptions(), now="t2") == first
    assert not writes.finished(first)
    assert writes.finished({"metadata": {**first["metadata"], "finalizers": []}})


def test_the_propagation_holds_it() -> None:
    held = writes.deleting(stored(), DeleteOptions(), now="t", finalizer=writes.FOREGROUND)
    assert held["metadata"]["finalizers"] == ["foregroundDeletion"]


def test_preconditions() -> None:
    writes.check_preconditions(stored(), None)
    writes.check_preconditions(stored(), Preconditions(UID, 5))
    for wrong in (Preconditions("other"), Preconditions(revision=4)):
        with pytest.raises(Conflict):
            writes.check_preconditions(stored(), wrong)


def test_times_of_managed_fields_are_no_change() -> None:
    old, new = (stored(managedFields=[{"manager": "m", "time": time}]) for time in ("t1", "t2"))
    assert writes.same(old, new)
    assert not writes.same(old, stored(managedFields=[{"manager": "n", "time": "t1"}]))


# RFC 7386, appendix A
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
    ids=str,
)
def test_merge_patch(target: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy((target, patch))
    assert writes.merge_patch(target, patch) == result
    assert (target, patch) == before


# after RFC 6902, appendix A
@pytest.mark.parametrize(
    ("target", "operations", "result"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": [2]}], {"a": [1, [2]]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2]}),
        ({"a": 1, "b": 2}, [{"op": "remove", "path": "/b"}], {"a": 1}),
        ({"a": [1, 2, 3]}, [{"op": "remove", "path": "/a/1"}], {"a": [1, 3]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": 2}], {"a": 2}),
        ({"a": [1, 2]}, [{"op": "replace", "path": "/a/0", "value": 3}], {"a": [3, 2]}),
        ({"a": {"x": 1}, "b": {}}, [{"op": "move", "from": "/a/x", "path": "/b/y"}], {"a": {}, "b": {"y": 1}}),
        ({"a": [1, 2, 3]}, [{"op": "move", "from": "/a/0", "path": "/a/2"}], {"a": [2, 3, 1]}),
        ({"a": {"x": 1}}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": {"x": 1}, "b": {"x": 1}}),
        ({"a": "x"}, [{"op": "test", "path": "/a", "value": "x"}], {"a": "x"}),
        ({"": 1}, [{"op": "test", "path": "/", "value": 1}], {"": 1}),
        ({"a/b": 1, "m~n": 2}, [{"op": "remove", "path": "/a~1b"}, {"op": "test", "path": "/m~0n", "value": 2}], {"m~n": 2}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
        ({"a": None}, [{"op": "test", "path": "/a", "value": None}], {"a": None}),
    ],
    ids=str,
)
def test_json_patch(target: Any, operations: Any, result: Any) -> None:
    before = copy.deepcopy((target, operations))
    assert writes.json_patch(target, operations) == result
    assert (target, operations) == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/a", "value": True},
        {"op": "add", "path": "/x/y", "value": 1},
        {"op": "add", "path": "/l/9", "value": 1},
        {"op": "add", "path": "/l/01", "value": 1},
        {"op": "add", "path": "/l/-1", "value": 1},
        {"op": "add", "path": "/b"},
        {"op": "remove", "path": "/l/-"},
        {"op": "remove", "path": "/none"},
        {"op": "move", "from": "/o", "path": "/o/inner"},
        {"op": "copy", "path": "/b"},
        {"op": "remove", "path": ""},
        {"op": "add", "path": "noslash", "value": 1},
        {"op": "replace", "path": "", "value": []},
    ],
    ids=str,
)
def test_json_patches_that_do_not_fit(operation: Object) -> None:
    with pytest.raises(Invalid):
        writes.json_patch({"a": 1, "l": [1], "o": {}}, [operation])


@pytest.mark.parametrize("operations", [{}, [1], [{"op": "add"}], [{"op": "fly", "path": "/a"}]], ids=str)
def test_json_patches_that_cannot_be_read(operations: Any) -> None:
    with pytest.raises(BadRequest):
        writes.json_patch({"a": 1}, operations)
