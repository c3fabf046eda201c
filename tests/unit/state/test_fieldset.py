"""Paths and their fieldsV1 form."""

from __future__ import annotations

from typing import Any

import pytest

from state.fieldset import ITEM, decode, encode, item_key, leaves, shown
from state.listkeys import ATOMIC, SET, by, list_keys, tree

KEYS = tree({"spec.env": by("name"), "spec.ports": by("containerPort", "protocol", protocol="TCP"), "spec.tags": SET})


def test_leaves_of_a_map() -> None:
    assert leaves({"a": {"b": 1, "c": "x"}}, ATOMIC) == {("f:a", "f:b"): 1, ("f:a", "f:c"): "x"}


def test_leaves_of_empty_things() -> None:
    assert leaves({"a": {}, "b": [], "c": None}, ATOMIC) == {("f:a",): {}, ("f:b",): [], ("f:c",): None}


def test_an_atomic_list_is_one_leaf() -> None:
    assert leaves({"a": [{"b": 1}]}, ATOMIC) == {("f:a",): [{"b": 1}]}


def test_a_keyed_list() -> None:
    env = ("f:spec", "f:env", 'k:{"name":"A"}')
    assert leaves({"spec": {"env": [{"name": "A", "value": "1"}]}}, KEYS) == {
        env: ITEM,
        (*env, "f:name"): "A",
        (*env, "f:value"): "1",
    }


def test_a_set() -> None:
    assert set(leaves({"spec": {"tags": ["x", "y"]}}, KEYS)) == {
        ("f:spec", "f:tags", 'v:"x"'),
        ("f:spec", "f:tags", 'v:"y"'),
    }


def test_a_key_with_a_default() -> None:
    assert item_key({"containerPort": 80}, KEYS.child("spec").child("ports")) == 'k:{"containerPort":80,"protocol":"TCP"}'


@pytest.mark.parametrize(
    "env",
    [
        pytest.param([{"name": "A"}, {"name": "A"}], id="doubled"),
        pytest.param([{"value": "1"}], id="no key"),
        pytest.param(["A"], id="no object"),
        pytest.param([{"name": ["A"]}], id="key is no scalar"),
    ],
)
def test_a_list_that_cannot_be_keyed_is_atomic(env: list[Any]) -> None:
    assert leaves({"spec": {"env": env}}, KEYS) == {("f:spec", "f:env"): env}


def test_fields_v1_as_kubernetes_writes_it() -> None:
    obj = {"spec": {"image": "x", "env": [{"name": "A", "value": "1"}]}}
    written: Any = {"f:spec": {"f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}}, "f:image": {}}}
    assert encode(leaves(obj, KEYS)) == written
    assert decode(written) == leaves(obj, KEYS).keys()


@pytest.mark.parametrize("fields", [{"x:y": {}}, {"f:a": 1}, {"f:a": []}, {"spec": {}}], ids=str)
def test_what_is_no_fields_v1(fields: Any) -> None:
    with pytest.raises(ValueError, match="fieldsV1"):
        decode(fields)


def test_paths_are_shown_as_kubernetes_shows_them() -> None:
    assert shown(("f:spec", "f:env", 'k:{"name":"A"}', "f:value")) == '.spec.env[name="A"].value'
    assert shown(("f:metadata", "f:finalizers", 'v:"a/b"')) == '.metadata.finalizers[="a/b"]'


def test_the_tables_of_the_kinds() -> None:
    container = list_keys("Container")
    assert container.child("spec").child("env").keys == ("name",)
    assert container.child("spec").child("volumeMounts").keys == ("mountPath",)
    assert container.child("spec").child("command") == ATOMIC
    assert container.child("metadata").child("finalizers") == SET
    assert list_keys("ConfigMap").child("metadata").child("ownerReferences").keys == ("uid",)
    assert list_keys("Nothing") == tree({})
