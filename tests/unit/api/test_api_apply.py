"""``POST /setpoint/v1/apply``: atomic, with sets that prune, and a crash between apply and prune."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from setpoint.api.applysets import LABEL, ApplyCall, ApplySets
from setpoint.api.kinds import Kinds
from state.errors import Conflict, Unavailable
from state.objects import Key
from state.store import DeleteOptions, Selection

APPLY = "/setpoint/v1/apply"
NS = "/apis/setpoint.dev/v1alpha1/namespaces/default/containers"


def config(name: str, value: str = "1", **meta: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **meta}, "data": {"v": value}}


def container(name: str, image: str = "docker.io/library/busybox:1", **spec: Any) -> dict[str, Any]:
    meta = {"name": name}
    return {"apiVersion": "setpoint.dev/v1alpha1", "kind": "Container", "metadata": meta, "spec": {"image": image, **spec}}


async def apply(api: Any, *objects: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    answer = await api("POST", APPLY, {"objects": list(objects), **options})
    assert answer.code == 200, answer.text
    return [(result["outcome"], result["object"]["metadata"]["name"]) for result in answer.json["results"]]


async def names(store: Any) -> list[str]:
    listing = await store.list(Selection("ConfigMap"))
    return [stored.key.name for stored in listing.items]


async def test_outcomes_come_in_order(api: Any) -> None:
    assert await apply(api, config("b"), config("a")) == [("created", "b"), ("created", "a")]
    assert await apply(api, config("b", "2"), config("a")) == [("configured", "b"), ("unchanged", "a")]


async def test_all_or_nothing(api: Any) -> None:
    wrong = container("x", imagee="typo")
    answer = await api("POST", APPLY, {"objects": [config("a"), wrong]})
    assert answer.code in (400, 422)
    assert "imagee" in answer.text
    assert await names(api.store) == []


async def test_fields_of_the_human_verbs_are_taken_over_and_told(api: Any) -> None:
    await apply(api, container("web"))
    stop = await api(
        "PATCH",
        NS + "/web?fieldManager=setpoint-run-state",
        {"spec": {"runState": "Stopped"}},
        type="application/merge-patch+json",
    )
    assert stop.json["spec"]["runState"] == "Stopped"
    assert await apply(api, container("web")) == [("unchanged", "web")]
    assert (await api("GET", NS + "/web")).json["spec"]["runState"] == "Stopped"
    answer = await api("POST", APPLY, {"objects": [container("web", runState="Running")]})
    assert answer.json["results"][0]["taken"] == [[".spec.runState", "setpoint-run-state"]]


async def test_fields_of_others_are_a_conflict_unless_forced(api: Any) -> None:
    await apply(api, config("a"), manager="other")
    refused = await api("POST", APPLY, {"objects": [config("a", "2")]})
    assert (refused.code, refused.json["reason"]) == (409, "Conflict")
    assert await apply(api, config("a", "2"), force=True) == [("configured", "a")]
    named = await api("POST", APPLY, {"objects": [config("a", "3")], "manager": "third", "takeFrom": ["other", "setpoint"]})
    assert named.code == 200


async def test_dry_run_tells_and_stores_nothing(api: Any) -> None:
    await apply(api, config("a"), config("b"), applySet={"name": "s"})
    told = await apply(api, config("a", "2"), config("c"), applySet={"name": "s", "prune": True}, dryRun=True)
    assert told == [("configured", "a"), ("created", "c"), ("pruned", "b")]
    assert await names(api.store) == ["a", "b"]


async def test_a_missing_namespace_is_named_or_made(api: Any) -> None:
    lost = config("a", namespace="new")
    answer = await api("POST", APPLY, {"objects": [lost]})
    assert (answer.code, "new" in answer.json["message"]) == (404, True)
    assert await apply(api, lost, createNamespaces=True) == [("created", "new"), ("created", "a")]
    assert await apply(api, lost, createNamespaces=True) == [("unchanged", "a")]


async def test_prune_deletes_members_that_are_no_longer_listed(api: Any) -> None:
    await apply(api, config("bystander"))
    await apply(api, config("a"), config("b"), container("web"), applySet={"name": "shop"})
    done = await apply(api, config("a"), applySet={"name": "shop", "prune": True})
    assert done[0] == ("unchanged", "a")
    assert sorted(done[1:]) == [("pruned", "b"), ("pruned", "web")]
    assert await names(api.store) == ["a", "bystander"]
    assert ("pruned", "a") in await apply(api, applySet={"name": "shop", "prune": True})


async def test_without_prune_nothing_goes(api: Any) -> None:
    await apply(api, config("a"), config("b"), applySet={"name": "shop"})
    await apply(api, config("a"), applySet={"name": "shop"})
    assert await names(api.store) == ["a", "b"]


async def test_one_set_cannot_take_another_s_member(api: Any) -> None:
    await apply(api, config("a"), applySet={"name": "one"})
    answer = await api("POST", APPLY, {"objects": [config("a")], "applySet": {"name": "two", "prune": True}})
    assert (answer.code, "'one'" in answer.json["message"]) == (409, True)


async def test_applied_without_its_set_an_object_leaves_it_and_lives_on(api: Any) -> None:
    await apply(api, config("a"), config("b"), applySet={"name": "one"})
    assert await apply(api, config("a")) == [("configured", "a")]
    await apply(api, applySet={"name": "one", "prune": True})
    assert await names(api.store) == ["a"]


async def test_namespaces_are_never_pruned(api: Any) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mine"}}
    await apply(api, namespace, applySet={"name": "s"})
    await apply(api, config("a"), applySet={"name": "s", "prune": True})
    assert (await api("GET", "/api/v1/namespaces/mine")).code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param({"objects": {}}, "objects", id="objects-no-list"),
        pytest.param({"objects": [3]}, "objects[0]", id="object-a-number"),
        pytest.param({"objects": [], "froce": True}, "froce", id="unknown-field"),
        pytest.param({"objects": [], "force": "yes"}, "force", id="force-no-boolean"),
        pytest.param({"objects": [], "applySet": {"name": "A_b"}}, "applySet.name", id="bad-set-name"),
        pytest.param({"objects": [], "applySet": {"prune": True}}, "applySet.name", id="set-without-name"),
        pytest.param({"objects": [], "takeFrom": "x"}, "takeFrom", id="take-from-no-list"),
        pytest.param({"objects": [config("a"), config("a")]}, "twice", id="twins"),
        pytest.param({"objects": [config("a"), config("a", namespace="default")]}, "twice", id="twins-by-default"),
    ],
)
async def test_a_request_that_cannot_be_read(api: Any, body: dict[str, Any], said: str) -> None:
    answer = await api("POST", APPLY, body)
    assert answer.code == 400, answer.text
    assert said in answer.json["message"]
    assert await names(api.store) == []


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"kind": "ConfigMap"},
        {"kind": ["ConfigMap"], "apiVersion": "v1", "metadata": {"name": "a"}},
        {"kind": "ConfigMap", "apiVersion": "v1", "metadata": "a"},
        {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": ["a"]}},
        {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "namespace": [1]}},
        {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "labels": 3}},
        {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}},
    ],
)
async def test_shapeless_objects_are_refused_by_the_store_in_words(api: Any, odd: dict[str, Any]) -> None:
    options = {"applySet": {"name": "s", "prune": True}, "createNamespaces": True}
    answer = await api("POST", APPLY, {"objects": [odd], **options})
    assert answer.code in (400, 404, 422), answer.text


async def test_a_list_is_unpacked(api: Any) -> None:
    listing = {"apiVersion": "v1", "kind": "List", "items": [config("a"), config("b")]}
    assert await apply(api, listing) == [("created", "a"), ("created", "b")]


class Interrupted:
    """A store whose deletes fail, as for a client whose agent died between apply and prune."""

    def __init__(self, store: Any, failures: Sequence[Exception]) -> None:
        self._store = store
        self._failures = list(failures)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def delete(self, key: Key, options: DeleteOptions = DeleteOptions(), *, dry_run: bool = False) -> Any:
        if self._failures:
            raise self._failures.pop(0)
        return await self._store.delete(key, options, dry_run=dry_run)


async def test_a_prune_that_was_cut_off_is_finished_by_the_next_apply(store: Any) -> None:
    first = ApplyCall((config("a"), config("b"), config("c")), set_name="s")
    then = ApplyCall((config("a", "2"),), set_name="s", prune=True)
    await ApplySets(store, Kinds()).apply(first)
    with pytest.raises(Unavailable):
        await ApplySets(Interrupted(store, [Unavailable("gone")]), Kinds()).apply(then)
    assert await names(store) == ["a", "b", "c"]
    results = await ApplySets(store, Kinds()).apply(then)
    assert [(r["outcome"], r["object"]["metadata"]["name"]) for r in results] == [
        ("unchanged", "a"),
        ("pruned", "b"),
        ("pruned", "c"),
    ]
    assert await names(store) == ["a"]


async def test_a_member_that_is_written_to_meanwhile_is_looked_at_again(store: Any) -> None:
    await ApplySets(store, Kinds()).apply(ApplyCall((config("b"),), set_name="s"))
    racing = Interrupted(store, [Conflict("changed"), Conflict("changed")])
    results = await ApplySets(racing, Kinds()).apply(ApplyCall((), set_name="s", prune=True))
    assert [r["outcome"] for r in results] == ["pruned"]


async def test_a_member_that_left_meanwhile_is_spared(store: Any) -> None:
    await ApplySets(store, Kinds()).apply(ApplyCall((config("b"),), set_name="s"))

    class Leaving(Interrupted):
        async def delete(self, key: Key, options: DeleteOptions = DeleteOptions(), *, dry_run: bool = False) -> Any:
            await store.patch(key, {"metadata": {"labels": {LABEL: None}}}, manager="me")
            return await store.delete(key, options, dry_run=dry_run)

    results = await ApplySets(Leaving(store, []), Kinds()).apply(ApplyCall((), set_name="s", prune=True))
    assert results == []
    assert await names(store) == ["b"]


async def test_a_member_that_never_holds_still_is_said(store: Any) -> None:
    await ApplySets(store, Kinds()).apply(ApplyCall((config("b"),), set_name="s"))
    racing = Interrupted(store, [Conflict("changed")] * 9)
    with pytest.raises(Conflict, match="apply again"):
        await ApplySets(racing, Kinds()).apply(ApplyCall((), set_name="s", prune=True))
