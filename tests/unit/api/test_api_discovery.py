"""Discovery and tables, in the forms that clients ask for."""

from __future__ import annotations

from typing import Any

import pytest

from setpoint.ages import human_duration
from setpoint.api.table import at, negotiate

NS = "/apis/setpoint.dev/v1alpha1/namespaces/default/containers"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
OLD_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api", "APIVersions"),
        ("/api/v1", "APIResourceList"),
        ("/apis", "APIGroupList"),
        ("/apis/setpoint.dev", "APIGroup"),
        ("/apis/setpoint.dev/v1alpha1", "APIResourceList"),
    ],
)
async def test_legacy_discovery(api: Any, path: str, kind: str, slash: str) -> None:
    assert (await api("GET", path + slash)).json["kind"] == kind


async def test_resources_say_what_they_are(api: Any) -> None:
    rows = {row["name"]: row for row in (await api("GET", "/apis/setpoint.dev/v1alpha1")).json["resources"]}
    assert rows["containers"]["kind"] == "Container"
    assert rows["containers"]["namespaced"] is True
    assert rows["containers"]["shortNames"] == ["ctr"]
    assert {"watch", "list", "patch"} <= set(rows["containers"]["verbs"])
    assert {"containers/status", "containers/log", "containers/exec"} <= set(rows)
    assert rows["images"]["namespaced"] is False
    core = {row["name"] for row in (await api("GET", "/api/v1")).json["resources"]}
    assert {"namespaces", "secrets", "configmaps", "events"} <= core
    assert "secrets/status" not in core


@pytest.mark.parametrize("path", ["/api", "/apis"])
async def test_aggregated_discovery_only_for_who_asks_for_v2(api: Any, path: str) -> None:
    new = await api("GET", path, headers={"Accept": AGGREGATED})
    assert new.headers["Content-Type"] == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert new.json["kind"] == "APIGroupDiscoveryList"
    assert new.json["items"][0]["versions"][0]["resources"]
    old = await api("GET", path, headers={"Accept": OLD_AGGREGATED})
    assert old.json["kind"] in ("APIVersions", "APIGroupList")


async def test_version(api: Any) -> None:
    version = (await api("GET", "/version")).json
    assert version["major"] == "1"
    assert version["gitVersion"].startswith("v1.")
    assert version["setpoint"]


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        pytest.param("", "", id="none"),
        pytest.param("*/*", "", id="any"),
        pytest.param("application/json", "", id="json"),
        pytest.param(TABLE, "Table", id="table"),
        pytest.param("application/json, application/json;as=Table;v=v1;g=meta.k8s.io", "", id="json-first"),
        pytest.param("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", "", id="other-version"),
        pytest.param("application/vnd.kubernetes.protobuf,application/json", "", id="protobuf-first"),
        pytest.param(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "PartialObjectMetadataList", id="meta"
        ),
    ],
)
def test_negotiation(accept: str, form: str) -> None:
    assert negotiate(accept) == form


async def test_a_table_has_the_columns_of_the_kind(api: Any) -> None:
    await api.container("web")
    table = (await api("GET", NS, headers={"Accept": TABLE})).json
    names = [column["name"] for column in table["columnDefinitions"]]
    assert names[:5] == ["Name", "Ready", "Phase", "Restarts", "Image"]
    assert names[-1] == "Age"
    row = table["rows"][0]
    assert row["cells"][0] == "web"
    assert row["cells"][-1] == "0s"
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert int(table["metadata"]["resourceVersion"]) > 0


@pytest.mark.parametrize(("include", "kind"), [("Object", "Container"), ("Metadata", "PartialObjectMetadata")])
async def test_a_table_carries_what_was_asked_for(api: Any, include: str, kind: str) -> None:
    await api.container("web")
    for path in (NS, NS + "/web"):
        table = (await api("GET", f"{path}?includeObject={include}", headers={"Accept": TABLE})).json
        assert table["rows"][0]["object"]["kind"] == kind
    bare = (await api("GET", NS + "?includeObject=None", headers={"Accept": TABLE})).json
    assert bare["rows"][0]["object"] is None


async def test_partial_metadata(api: Any) -> None:
    await api.container("web")
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    listing = (await api("GET", NS, headers={"Accept": accept})).json
    assert listing["kind"] == "PartialObjectMetadataList"
    assert listing["items"][0]["metadata"]["name"] == "web"
    assert "spec" not in listing["items"][0]
    one = (await api("GET", NS + "/web", headers={"Accept": accept.replace("MetadataList", "Metadata")})).json
    assert one["kind"] == "PartialObjectMetadata"


DOCUMENT = {"a": {"b": 1, "c": [{"type": "X", "s": "no"}, {"type": "Ready", "s": "yes"}], "d.e": 2}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".a.b", 1),
        (".a.c[0].s", "no"),
        (".a.c[-1].s", "yes"),
        (".a.c[9].s", None),
        ('.a.c[?(@.type=="Ready")].s', "yes"),
        ('.a.c[?(@.type=="None")].s', None),
        (".a['d.e']", 2),
        (".x.y.z", None),
        (".a.b.c", None),
    ],
)
def test_paths(path: str, value: object) -> None:
    assert at(DOCUMENT, path) == value


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (330, "5m30s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600 + 120, "3h2m"),
        (8 * 3600, "8h"),
        (48 * 3600, "2d"),
        (2 * 86400 + 4 * 3600, "2d4h"),
        (8 * 86400, "8d"),
        (400 * 86400, "400d"),
        (3 * 365 * 86400, "3y0d"),
    ],
)
def test_ages(seconds: int, text: str) -> None:
    assert human_duration(seconds) == text
