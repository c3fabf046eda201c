"""Objects over HTTP: codes, bodies and what the store holds afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest

from state.objects import Key

NS = "/apis/setpoint.dev/v1alpha1/namespaces/default/containers"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


def container(name: str = "web", image: str = "docker.io/library/busybox:1", **meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "setpoint.dev/v1alpha1",
        "kind": "Container",
        "metadata": {"name": name, **meta},
        "spec": {"image": image},
    }


async def test_create_answers_201_with_the_object_and_get_serves_the_same_bytes(api: Any) -> None:
    made = await api("POST", NS, container())
    assert made.code == 201
    meta = made.json["metadata"]
    assert meta["uid"]
    assert meta["namespace"] == "default"
    assert meta["generation"] == 1
    seen = await api("GET", NS + "/web")
    assert seen.code == 200
    assert seen.text == made.text == (await api.store.get(Key("Container", "default", "web"))).body.decode()


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason"),
    [
        pytest.param("GET", NS + "/no", None, 404, "NotFound", id="get-missing"),
        pytest.param("GET", "/apis/setpoint.dev/v1alpha1/nothing", None, 404, "NotFound", id="unknown-resource"),
        pytest.param("GET", "/apis/other.dev/v1", None, 404, "NotFound", id="unknown-group"),
        pytest.param("POST", "/apis/setpoint.dev/v1alpha1/containers", container(), 405, "MethodNotAllowed", id="no-namespace"),
        pytest.param("POST", NS, b"{", 400, "BadRequest", id="not-json"),
        pytest.param("POST", NS, b'{"a":1,"a":2}', 400, "BadRequest", id="duplicate-key"),
        pytest.param("POST", NS, b"[]", 400, "BadRequest", id="a-list"),
        pytest.param("POST", NS, b"[" * 5000 + b"]" * 5000, 400, "BadRequest", id="deep"),
        pytest.param("POST", NS, b'{"x": NaN}', 400, "BadRequest", id="nan"),
        pytest.param("POST", NS, b'"\xff"', 400, "BadRequest", id="not-utf-8"),
        pytest.param("POST", NS, b"", 400, "BadRequest", id="empty"),
        pytest.param("POST", NS, {**container(), "kind": "Pod"}, 400, "BadRequest", id="other-kind"),
        pytest.param("POST", NS, {"metadata": {"name": "x"}, "spec": {}}, 400, "BadRequest", id="no-kind"),
        pytest.param("POST", NS, {**container(), "metadata": 3}, 400, "BadRequest", id="metadata-a-number"),
        pytest.param("POST", NS, container(namespace="other"), 400, "BadRequest", id="other-namespace"),
        pytest.param("POST", NS.replace("default", "no"), container(), 404, "NotFound", id="missing-namespace"),
        pytest.param("POST", NS, container("web"), 409, "AlreadyExists", id="taken"),
        pytest.param("PUT", NS + "/web", container("other", resourceVersion="1"), 400, "BadRequest", id="other-name"),
        pytest.param("PUT", NS + "/web", container("web"), 422, "Invalid", id="put-without-version"),
        pytest.param("PUT", NS + "/web", container("web", resourceVersion="1"), 409, "Conflict", id="put-stale"),
        pytest.param("PUT", NS + "/no", container("no", resourceVersion="1"), 404, "NotFound", id="put-missing"),
        pytest.param("DELETE", NS + "/no", None, 404, "NotFound", id="delete-missing"),
        pytest.param("DELETE", NS + "/web", {"propagationPolicy": "Sometimes"}, 400, "BadRequest", id="bad-propagation"),
        pytest.param("DELETE", NS + "/web", {"gracePeriodSeconds": "x"}, 400, "BadRequest", id="bad-grace"),
        pytest.param("DELETE", NS + "/web", {"preconditions": {"uid": "other"}}, 409, "Conflict", id="other-uid"),
        pytest.param("GET", NS + "?labelSelector=a%20in", None, 400, "BadRequest", id="bad-selector"),
        pytest.param("GET", NS + "?fieldSelector=spec.image%3Dx", None, 400, "BadRequest", id="field-not-selectable"),
        pytest.param("GET", NS + "?limit=many", None, 400, "BadRequest", id="bad-limit"),
        pytest.param("GET", NS + "?resourceVersion=999999", None, 410, "Expired", id="version-of-another-store"),
        pytest.param("GET", NS + "?resourceVersion=x", None, 400, "BadRequest", id="version-no-number"),
        pytest.param("POST", NS + "?dryRun=Some", container("dry"), 400, "BadRequest", id="bad-dry-run"),
        pytest.param("PUT", "/version", None, 405, "MethodNotAllowed", id="method"),
    ],
)
async def test_refusals_are_status_objects_and_change_nothing(
    api: Any, method: str, path: str, body: Any, code: int, reason: str
) -> None:
    await api.container()
    before = (await api("GET", NS)).text
    answer = await api(method, path, body)
    assert (answer.code, answer.json["kind"], answer.json["reason"]) == (code, "Status", reason), answer.text
    assert answer.json["code"] == code
    assert answer.headers["Content-Type"].startswith("application/json")
    assert (await api("GET", NS)).text == before


@pytest.mark.parametrize(
    ("type", "body", "code"),
    [
        pytest.param("application/strategic-merge-patch+json", {"spec": {}}, 415, id="strategic"),
        pytest.param("text/plain", {"spec": {}}, 415, id="text"),
        pytest.param(MERGE, [1], 400, id="merge-a-list"),
        pytest.param("application/json-patch+json", {"spec": {}}, 400, id="json-patch-an-object"),
        pytest.param(
            "application/json-patch+json", [{"op": "test", "path": "/spec/image", "value": "x"}], 422, id="test-fails"
        ),
        pytest.param(MERGE, {"spec": {"image": 3}}, 422, id="invalid"),
        pytest.param(MERGE, {"metadata": {"resourceVersion": "1"}}, 409, id="merge-stale"),
        pytest.param(APPLY, container(), 422, id="apply-without-manager"),
    ],
)
async def test_patches_that_are_refused(api: Any, type: str, body: Any, code: int) -> None:
    made = await api.container()
    answer = await api("PATCH", NS + "/web", body, type=type)
    assert answer.code == code, answer.text
    assert (await api("GET", NS + "/web")).json == made


async def test_merge_and_json_patch_change_the_object(api: Any) -> None:
    await api.container()
    merged = await api("PATCH", NS + "/web", {"metadata": {"labels": {"a": "b"}}}, type=MERGE)
    assert merged.json["metadata"]["labels"] == {"a": "b"}
    operations = [{"op": "replace", "path": "/metadata/labels/a", "value": "c"}]
    patched = await api("PATCH", NS + "/web", operations, type="application/json-patch+json")
    assert patched.json["metadata"]["labels"] == {"a": "c"}


async def test_a_patch_that_changes_nothing_keeps_the_revision(api: Any) -> None:
    made = await api.container()
    answer = await api("PATCH", NS + "/web", {"spec": {"image": made["spec"]["image"]}}, type=MERGE)
    assert answer.json["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_status_has_a_path_of_its_own(api: Any) -> None:
    await api.container()
    status = {"status": {"phase": "Running"}, "spec": {"image": "ignored"}}
    answer = await api("PATCH", NS + "/web/status?fieldManager=setpoint-agent", status, type=MERGE)
    assert answer.code == 200, answer.text
    assert answer.json["status"]["phase"] == "Running"
    assert answer.json["spec"]["image"].endswith("busybox:1")
    assert (await api("GET", NS + "/web/status")).json == answer.json
    plain = await api("PATCH", NS + "/web", {"status": {"phase": "Exited"}}, type=MERGE)
    assert plain.json["status"]["phase"] == "Running"
    put = answer.json | {"status": {"phase": "Paused"}}
    replaced = await api("PUT", NS + "/web/status", put)
    assert replaced.json["status"]["phase"] == "Paused"


async def test_apply_creates_then_configures_and_meets_conflicts(api: Any) -> None:
    first = await api("PATCH", NS + "/web?fieldManager=a", container(), type=APPLY)
    assert first.code == 201, first.text
    again = await api("PATCH", NS + "/web?fieldManager=a", container(), type=APPLY)
    assert again.code == 200
    assert again.text == first.text
    other = await api("PATCH", NS + "/web?fieldManager=b", container(image="docker.io/library/busybox:2"), type=APPLY)
    assert other.code == 409
    assert other.json["details"]["causes"][0]["reason"] == "FieldManagerConflict"
    forced = await api(
        "PATCH", NS + "/web?fieldManager=b&force=True", container(image="docker.io/library/busybox:2"), type=APPLY
    )
    assert forced.json["spec"]["image"].endswith(":2")


async def test_apply_takes_yaml_but_no_aliases(api: Any) -> None:
    text = b"apiVersion: setpoint.dev/v1alpha1\nkind: Container\nmetadata:\n  name: web\nspec:\n  image: busybox\n"
    answer = await api("PATCH", NS + "/web?fieldManager=a", text, type=APPLY)
    assert answer.code == 201, answer.text
    bomb = b"a: &a [x, x]\nb: &b [*a, *a]\nmetadata: {name: web}\n"
    refused = await api("PATCH", NS + "/web?fieldManager=a", bomb, type=APPLY)
    assert (refused.code, "aliases" in refused.json["message"]) == (400, True)
    twice = await api("PATCH", NS + "/web?fieldManager=a", text + b"spec: {}\n", type=APPLY)
    assert (twice.code, "duplicate" in twice.json["message"]) == (400, True)


async def test_unknown_fields_are_refused_whatever_field_validation_says(api: Any) -> None:
    wrong = container()
    wrong["spec"]["imagee"] = "x"
    for query in ("", "?fieldValidation=Ignore", "?fieldValidation=Warn", "?fieldValidation=Strict"):
        answer = await api("POST", NS + query, wrong)
        assert answer.code in (400, 422), answer.text
        assert "imagee" in answer.text


async def test_dry_run_shows_and_stores_nothing(api: Any) -> None:
    answer = await api("POST", NS + "?dryRun=All", container())
    assert answer.code == 201
    assert "resourceVersion" not in answer.json["metadata"]
    assert (await api("GET", NS + "/web")).code == 404
    await api.container()
    await api("DELETE", NS + "/web?dryRun=All")
    await api("DELETE", NS + "/web", {"dryRun": ["All"]})
    assert "deletionTimestamp" not in (await api("GET", NS + "/web")).json["metadata"]


async def test_generate_name(api: Any) -> None:
    obj = container()
    obj["metadata"] = {"generateName": "web-"}
    names = {(await api("POST", NS, obj)).json["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("web-") and len(name) == 9 for name in names)


async def test_delete_holds_containers_until_the_node_released_them(api: Any) -> None:
    await api.container()
    answer = await api("DELETE", NS + "/web", {"gracePeriodSeconds": 3, "propagationPolicy": "Background"})
    meta = answer.json["metadata"]
    assert answer.code == 200
    assert meta["deletionTimestamp"]
    assert json.loads(meta["annotations"]["setpoint.dev/delete-options"]) == {"gracePeriodSeconds": 3}


async def test_delete_of_what_nothing_holds_answers_success(api: Any) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    made = await api("POST", path, {"metadata": {"name": "c"}, "data": {"a": "b"}})
    assert made.json["kind"] == "ConfigMap"
    answer = await api("DELETE", path + "/c")
    assert answer.json["status"] == "Success"
    assert answer.json["details"] == {"name": "c", "kind": "configmaps", "group": "", "uid": made.json["metadata"]["uid"]}


async def test_delete_collection_takes_what_the_selector_takes(api: Any) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        await api("POST", path, {"metadata": {"name": name, "labels": {"l": label}}})
    gone = await api("DELETE", path + "?labelSelector=l%3Dx")
    assert [item["metadata"]["name"] for item in gone.json["items"]] == ["a", "b"]
    left = (await api("GET", path)).json["items"]
    assert [item["metadata"]["name"] for item in left] == ["c"]


async def test_list_pages_and_spans_namespaces(api: Any) -> None:
    await api("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
    for name in ("a", "b", "c"):
        await api.container(name)
    await api("POST", NS.replace("default", "other"), container("d"))
    whole = (await api("GET", "/apis/setpoint.dev/v1alpha1/containers")).json
    assert (whole["kind"], whole["apiVersion"]) == ("ContainerList", "setpoint.dev/v1alpha1")
    assert [item["metadata"]["name"] for item in whole["items"]] == ["a", "b", "c", "d"]
    assert int(whole["metadata"]["resourceVersion"]) > 0
    first = (await api("GET", NS + "?limit=2")).json
    assert [item["metadata"]["name"] for item in first["items"]] == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 1
    rest = (await api("GET", NS + "?limit=2&continue=" + first["metadata"]["continue"])).json
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c"]
    assert "continue" not in rest["metadata"]


async def test_core_kinds_get_their_kind_from_the_path(api: Any) -> None:
    event = {
        "metadata": {"generateName": "web."},
        "involvedObject": {"kind": "Container", "name": "web", "namespace": "default"},
        "reason": "Started",
        "message": "started",
        "type": "Normal",
        "firstTimestamp": "2026-01-01T00:00:00.123456+00:00",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    path = "/api/v1/namespaces/default/events"
    made = await api("POST", path, event)
    assert made.code == 201, made.text
    found = (await api("GET", path + "?fieldSelector=involvedObject.name%3Dweb,involvedObject.kind%3DContainer")).json
    assert len(found["items"]) == 1
    assert (await api("GET", path + "?fieldSelector=involvedObject.name%3Dno")).json["items"] == []


async def test_a_secret_is_served_whole_to_who_may_ask(api: Any) -> None:
    path = "/api/v1/namespaces/default/secrets"
    made = await api("POST", path, {"metadata": {"name": "s"}, "stringData": {"k": "hunter2"}})
    assert made.code == 201, made.text
    assert (await api("GET", path + "/s")).json["data"] == {"k": "aHVudGVyMg=="}


async def test_namespace_paths_are_not_taken_for_collections(api: Any) -> None:
    answer = await api("GET", "/api/v1/namespaces/default")
    assert answer.json["kind"] == "Namespace"
    assert (await api("GET", "/api/v1/namespaces/default/status")).code == 200
