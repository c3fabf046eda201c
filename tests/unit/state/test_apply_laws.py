"""Server-side apply by laws, over generated objects and managers."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from state.apply import apply, managers_of
from state.errors import Conflict
from state.fieldset import leaves, with_parents
from state.listkeys import SET, by, tree
from state.objects import Object

KEYS = tree({"spec.env": by("name"), "spec.tags": SET, "spec.nested.items": by("key")})
NAMES = ("a", "b", "c", "d")

scalars = st.sampled_from(["x", "y", 1, True, False])
env = st.dictionaries(st.sampled_from(NAMES), scalars, max_size=3).map(
    lambda d: [{"name": name, "value": value} for name, value in d.items()]
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "image": scalars,
        "tty": scalars,
        "env": env,
        "tags": st.lists(st.sampled_from(NAMES), max_size=3, unique=True),
        "command": st.lists(scalars, max_size=2),
        "nested": st.fixed_dictionaries(
            {},
            optional={"deep": scalars, "empty": st.just({}), "items": env.map(lambda e: [{"key": i["name"], **i} for i in e])},
        ),
    },
)
managers = st.sampled_from(["one", "two", "three"])
steps = st.lists(st.tuples(managers, specs), min_size=1, max_size=5)
law = settings(max_examples=60, deadline=None, derandomize=True)


def obj(spec: Object) -> Object:
    return {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x"}, "spec": spec}


def put(live: Object | None, spec: Object, manager: str, *, force: bool = True, now: str = "t") -> Object:
    return apply(live, obj(spec), manager=manager, now=now, keys=KEYS, force=force).object


def played(script: list[tuple[str, Object]]) -> Object:
    live: Object | None = None
    for manager, spec in script:
        live = put(live, spec, manager)
    assert live is not None
    return live


def canonical(value: Any) -> Any:
    """Without the order of fields and of keyed lists, which the order of writers decides."""
    if isinstance(value, dict):
        return {name: canonical(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return sorted((canonical(item) for item in value), key=repr)
    return value


@law
@given(steps)
def test_applying_twice_changes_nothing(script: list[tuple[str, Object]]) -> None:
    live = played(script)
    manager, spec = script[-1]
    assert put(live, spec, manager, force=False, now="later") == live


@law
@given(steps, managers, specs)
def test_the_inputs_are_not_changed(script: list[tuple[str, Object]], manager: str, spec: Object) -> None:
    live = played(script)
    before = copy.deepcopy((live, spec))
    put(live, spec, manager)
    assert (live, spec) == before


@law
@given(specs, specs)
def test_the_order_of_two_who_agree_does_not_matter(one: Object, two: Object) -> None:
    try:
        first = put(put(None, one, "one"), two, "two", force=False)
        second = put(put(None, two, "two"), one, "one", force=False)
    except Conflict:
        return
    assert canonical(first) == canonical(second)


@law
@given(steps)
def test_everybody_owns_only_what_is_there(script: list[tuple[str, Object]]) -> None:
    live = played(script)
    there = with_parents(leaves(live, KEYS))
    for manager in managers_of(live):
        assert manager.fields
        assert manager.fields <= there


@law
@given(steps)
def test_nothing_stays_that_nobody_owns(script: list[tuple[str, Object]]) -> None:
    live = played(script)
    owned = {path for manager in managers_of(live) for path in manager.fields}
    there = {path for path in leaves(live, KEYS) if path[0] == "f:spec" and path != ("f:spec",)}
    assert there - with_parents(owned) == set()


@law
@given(steps, managers, specs)
def test_a_manager_that_leaves_takes_only_its_own_along(script: list[tuple[str, Object]], manager: str, spec: Object) -> None:
    others = [step for step in script if step[0] != manager]
    if not others:
        return
    live = played(others)
    try:
        joined = put(live, spec, manager, force=False)
    except Conflict:
        return
    left = put(joined, {}, manager)
    assert canonical(left.get("spec", {})) == canonical(live.get("spec", {}))
    assert {m.name for m in managers_of(left)} - {manager} == {m.name for m in managers_of(live)} - {manager}


@law
@given(steps, managers, specs)
def test_the_applied_values_are_the_values(script: list[tuple[str, Object]], manager: str, spec: Object) -> None:
    live = put(played(script), spec, manager)
    there = leaves(live, KEYS)
    for path, value in leaves(obj(spec), KEYS).items():
        if path[0] == "f:spec" and value not in ({}, []):
            assert there[path] == value


@law
@given(steps, managers, specs)
def test_a_conflict_or_nothing_taken(script: list[tuple[str, Object]], manager: str, spec: Object) -> None:
    live = played(script)
    before = {m.name: m.fields for m in managers_of(live)}
    try:
        after = put(live, spec, manager, force=False)
    except Conflict:
        assert put(live, spec, manager) != live
        return
    values = leaves(live, KEYS)
    there = leaves(after, KEYS)
    for other in managers_of(after):
        if other.name != manager:
            assert all(there[p] == values[p] for p in other.fields if p in values and values[p] not in ({}, []))
            assert other.fields <= before[other.name]
