"""Every hostile declaration, sent to the socket: its own named error, and a store of which not a byte has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from setpoint.testing.hostile import HOSTILE, Hostile
from state.objects import Key

APPLY = "/setpoint/v1/apply"
NS = "/api/v1/namespaces/default"
OTHER_WORDS = {
    # What JSON cannot carry is refused as a body, before there is a field to name; a huge number arrives as a fraction.
    "NaN": "not JSON",
    "not UTF-8": "not JSON",
    "beyond 64 bits": "spec.priority: must be an integer",
    # The rules of writing (which name, in which namespace) come before those of the kind.
    "empty name": "metadata.name",
    "owner without uid": "metadata.ownerReferences[0].uid",
    "path as namespace": "not found",
    "namespace in a namespace": "no namespace",
    "too deep": "nested deeper than 64 levels",
}
"""Over the socket these are refused earlier, and so in other words than admission's."""

SENT = [case for case in HOSTILE if case.name != "status is a text"]
"""All but a bad status: as a subresource it is left out by every write to the object, good or bad."""


def on_disk(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock" and "shm" not in path.name}


async def everything(api: Any) -> str:
    paths = ("/api/v1/secrets", "/api/v1/configmaps", "/api/v1/namespaces", "/apis/setpoint.dev/v1alpha1/containers")
    return "\n".join([(await api("GET", path)).text for path in paths])


def complaints(case: Hostile, answer: Any) -> list[str]:
    """What is wrong with the refusal."""
    if answer.code not in (400, 404, 413, 422):
        return [f"{case.name}: answered {answer.code}: {answer.text[:200]}"]
    status = answer.json
    if case.name in OTHER_WORDS:
        return [] if OTHER_WORDS[case.name] in answer.text else [f"{case.name}: {answer.text[:300]}"]
    causes = status.get("details", {}).get("causes", [])
    named = any(cause["field"] == case.field and case.fragment in cause["message"] for cause in causes)
    wrong = [] if named else [f"{case.name}: {case.field} {case.fragment!r} is not in {causes or status['message']}"]
    if status["reason"] != case.reason:
        wrong.append(f"{case.name}: reason {status['reason']}, not {case.reason}")
    return wrong


async def forget(api: Any, obj: dict[str, Any]) -> None:
    """Takes the twin away, as if the node had released it."""
    key = Key(obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
    stored = await api.store.delete(key)
    if stored.object["metadata"].get("finalizers"):
        await api.store.patch(key, {"metadata": {"finalizers": None}}, manager="test")


async def test_each_is_refused_by_name_and_changes_nothing_and_its_twin_is_taken(api: Any, tmp_path: Path) -> None:
    await api.container("bystander")
    wrong: list[str] = []
    for case in SENT:
        before, bytes_before = await everything(api), on_disk(tmp_path)
        answer = await api("POST", APPLY, json.dumps({"objects": [case.object]}).encode())
        wrong += complaints(case, answer)
        if await everything(api) != before or on_disk(tmp_path) != bytes_before:
            wrong.append(f"{case.name}: something changed")
        twin = await api("POST", APPLY, json.dumps({"objects": [case.twin], "createNamespaces": True}).encode())
        if twin.code != 200:
            wrong.append(f"{case.name}: the twin was answered {twin.code}: {twin.text[:300]}")
            continue
        await forget(api, twin.json["results"][-1]["object"])
    assert not wrong, "\n".join(wrong)
    assert len(SENT) >= 30


async def test_one_bad_object_among_good_ones_stores_none(api: Any) -> None:
    good = [case.twin for case in HOSTILE[:1]]
    for case in SENT:
        if case.name in OTHER_WORDS or case.object.get("metadata", {}).get("name") != "web":
            continue
        other = {**good[0], "metadata": {**good[0]["metadata"], "name": "first"}}
        answer = await api("POST", APPLY, json.dumps({"objects": [other, case.object]}).encode())
        assert answer.code in (400, 422), (case.name, answer.text[:200])
    assert json.loads((await everything(api)).splitlines()[-1])["items"] == []
