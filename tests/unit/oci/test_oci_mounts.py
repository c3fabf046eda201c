"""Mounts: the kernel's, our files, volumes, their order and their conflicts."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.container.oci import Paths, build, image_volumes
from controllers.container.oci.inputs import clean_path
from state.errors import Invalid, NotFound

HOST = {"name": "h", "hostPath": {"path": "/srv/data"}}
CONF = {"name": "c", "configMap": {"name": "c"}}
PATHS = Paths(volumes={"c": "/d/c", "e": "/d/e", "s": "/r/s"}, sub_paths={"/sub": "/d/e/inner"}, hosts="/d/hosts")


def mount_of(document: dict[str, Any], target: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [m for m in document["mounts"] if m["destination"] == target]
    assert len(found) == 1, target
    return found[0]


def bound(volumes: list[dict[str, Any]], *mounts: dict[str, Any]) -> dict[str, Any]:
    return {"volumes": volumes, "volumeMounts": list(mounts)}


def test_the_base(declare: Any) -> None:
    document = build(declare())
    assert [m["destination"] for m in document["mounts"]] == [
        "/proc", "/dev", "/sys",
        "/dev/pts", "/dev/shm", "/dev/mqueue", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
        "/sys/fs/cgroup",
    ]  # fmt: skip
    assert "ro" in mount_of(document, "/sys")["options"]
    assert "ro" in mount_of(document, "/sys/fs/cgroup")["options"]
    assert mount_of(document, "/etc/hosts") == {
        "destination": "/etc/hosts", "type": "bind", "source": "/d/hosts", "options": ["rbind", "rprivate", "rw"],
    }  # fmt: skip


def test_privileged_writes_to_sys(declare: Any) -> None:
    document = build(declare({"securityContext": {"privileged": True}}))
    assert "rw" in mount_of(document, "/sys")["options"]
    assert "rw" in mount_of(document, "/sys/fs/cgroup")["options"]


@pytest.mark.parametrize(
    ("spec", "paths", "kind", "source", "option"),
    [
        ({}, Paths(shm="/r/shm"), "bind", "/r/shm", "noexec"),
        ({}, Paths(), "tmpfs", "shm", "size=67108864"),
        ({"shmSize": "1Gi"}, Paths(), "tmpfs", "shm", "size=1073741824"),
        ({"hostIPC": True}, Paths(shm="/r/shm"), "bind", "/dev/shm", "rbind"),
    ],
)
def test_shared_memory(declare: Any, spec: dict[str, Any], paths: Paths, kind: str, source: str, option: str) -> None:
    mount = mount_of(build(declare(spec, paths=paths)), "/dev/shm")
    assert (mount["type"], mount["source"]) == (kind, source)
    assert option in mount["options"]


@pytest.mark.parametrize(
    ("volume", "mount", "source", "options"),
    [
        pytest.param(HOST, {}, "/srv/data", ["rprivate", "rw"], id="hostPath"),
        pytest.param(HOST, {"readOnly": True}, "/srv/data", ["rprivate", "ro"], id="read-only"),
        pytest.param(HOST, {"mountPropagation": "HostToContainer"}, "/srv/data", ["rslave", "rw"], id="slave"),
        pytest.param(HOST, {"mountPropagation": "Bidirectional"}, "/srv/data", ["rshared", "rw"], id="shared"),
        pytest.param({"name": "e", "emptyDir": {}}, {}, "/d/e", ["rprivate", "rw"], id="emptyDir"),
        pytest.param(CONF, {}, "/d/c", ["rprivate", "ro"], id="configMap is never written to"),
        pytest.param(
            {"name": "s", "secret": {"secretName": "s"}}, {"readOnly": False}, "/r/s", ["rprivate", "ro"], id="nor a secret"
        ),
        pytest.param(
            {"name": "e", "emptyDir": {}},
            {"mountPath": "/sub", "subPath": "inner"},
            "/d/e/inner",
            ["rprivate", "rw"],
            id="subPath",
        ),
    ],
)
def test_volumes(declare: Any, volume: dict[str, Any], mount: dict[str, Any], source: str, options: list[str]) -> None:
    target = mount.get("mountPath", "/data")
    spec = bound([volume], {"name": volume["name"], "mountPath": target, **mount})
    assert mount_of(build(declare(spec, paths=PATHS)), target) == {
        "destination": target, "type": "bind", "source": source, "options": ["rbind", *options],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("able", "wish", "option"),
    [
        (True, None, "rro"),
        (True, "IfPossible", "rro"),
        (True, "Disabled", "ro"),
        (True, "Enabled", "rro"),
        (False, "IfPossible", "ro"),
    ],
)
def test_read_only_is_recursive_where_it_can_be(declare: Any, node: Any, able: bool, wish: str | None, option: str) -> None:
    mount = {"name": "h", "mountPath": "/x", "readOnly": True} | ({"recursiveReadOnly": wish} if wish else {})
    document = build(declare(bound([HOST], mount), host=node(extra={"recursive_read_only": able})))
    assert mount_of(document, "/x")["options"][-1] == option


def test_recursive_read_only_that_cannot_be_is_refused(declare: Any) -> None:
    mount = {"name": "h", "mountPath": "/x", "readOnly": True, "recursiveReadOnly": "Enabled"}
    with pytest.raises(Invalid, match="recursively"):
        build(declare(bound([HOST], mount)))


@pytest.mark.parametrize(
    ("propagations", "expected"),
    [(["None"], None), (["None", "HostToContainer"], "rslave"), (["HostToContainer", "Bidirectional"], "rshared")],
)
def test_the_root_propagates_as_far_as_needed(declare: Any, propagations: list[str], expected: str | None) -> None:
    mounts = [{"name": "h", "mountPath": f"/m{i}", "mountPropagation": p} for i, p in enumerate(propagations)]
    assert build(declare(bound([HOST], *mounts)))["linux"].get("rootfsPropagation") == expected


@pytest.mark.parametrize(
    ("path", "option"),
    [
        ("/", "rslave"),
        ("/var", "rslave"),
        ("/var/lib/setpoint", "rslave"),
        ("/var/lib/setpoint/logs", "rslave"),
        ("/var/lib/setpoint2", "rprivate"),
        ("/srv", "rprivate"),
    ],
)
def test_a_folder_that_holds_our_mounts_is_a_slave(declare: Any, node: Any, path: str, option: str) -> None:
    spec = bound([{"name": "h", "hostPath": {"path": path}}], {"name": "h", "mountPath": "/x"})
    document = build(declare(spec, host=node(extra={"mount_roots": ["/var/lib/setpoint"]})))
    assert mount_of(document, "/x")["options"][1] == option


def test_parents_are_mounted_before_children(declare: Any) -> None:
    paths = ["/a/b/c", "/a", "/z", "/a/b", "/etc", "/dev", "/sys"]
    spec = bound([HOST], *({"name": "h", "mountPath": path} for path in paths))
    order = [m["destination"] for m in build(declare(spec))["mounts"]]
    positions = {path: order.index(path) for path in order}
    for parent in order:
        for child in order:
            if child.startswith(parent + "/"):
                assert positions[parent] < positions[child], (parent, child)


@pytest.mark.parametrize("target", ["/etc/hosts", "/dev/shm", "/sys", "/etc//resolv.conf/"])
def test_a_volume_replaces_one_of_ours(declare: Any, target: str) -> None:
    document = build(declare(bound([HOST], {"name": "h", "mountPath": target})))
    assert mount_of(document, clean_path(target))["source"] == "/srv/data"


def test_image_volumes_are_bound_where_nothing_else_is(declare: Any, picture: Any) -> None:
    image = picture({"Cmd": ["x"], "Volumes": {"/data/": {}, "/taken": {}, "/": {}}})
    spec = bound([HOST], {"name": "h", "mountPath": "/taken"})
    wanted = image_volumes(spec, image)
    assert list(wanted.values()) == ["/data"]
    (name,) = wanted
    document = build(declare(spec, image=image, paths=Paths(volumes={name: "/d/anon"})))
    assert mount_of(document, "/data")["source"] == "/d/anon"
    with pytest.raises(NotFound):
        build(declare(spec, image=image))


def test_names_of_image_volumes_do_not_move(picture: Any) -> None:
    one = image_volumes({}, picture({"Volumes": {"/b": {}}}))
    two = image_volumes({}, picture({"Volumes": {"/a": {}, "/b/": {}}}))
    assert one.items() <= two.items()


@pytest.mark.parametrize(
    ("mount", "field", "message"),
    [
        ({"name": "h", "mountPath": "data"}, "mountPath", "not absolute; write for example /data"),
        ({"name": "h", "mountPath": "/"}, "mountPath", "root itself"),
        ({"name": "h", "mountPath": "/x/.."}, "mountPath", "root itself"),
        ({"name": "h", "mountPath": "/proc"}, "mountPath", "refuses mounts in /proc"),
        ({"name": "h", "mountPath": "/proc/sys/net"}, "mountPath", "refuses mounts in /proc"),
        ({"name": "nope", "mountPath": "/x"}, "name", "no volume is called 'nope'"),
        ({"name": "h", "mountPath": "/x", "mountPropagation": "Some"}, "mountPropagation", "one of"),
    ],
)
def test_wrong_mounts_are_named(declare: Any, mount: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        build(declare(bound([HOST], mount)))
    assert caught.value.causes[0].field == f"spec.volumeMounts[0].{field}"


def test_twice_at_one_path_is_a_conflict(declare: Any) -> None:
    with pytest.raises(Invalid, match="/x is mounted twice"):
        build(declare(bound([HOST], {"name": "h", "mountPath": "/x"}, {"name": "h", "mountPath": "/x/"})))


def test_files_below_proc_that_lxcfs_replaces(declare: Any) -> None:
    assert mount_of(build(declare(bound([HOST], {"name": "h", "mountPath": "/proc/meminfo"}))), "/proc/meminfo")


@pytest.mark.parametrize(
    ("volume", "mount"),
    [({"name": "x", "emptyDir": {}}, {}), (CONF, {"mountPath": "/nosub", "subPath": "k"})],
    ids=["volume not made", "subPath not there"],
)
def test_what_is_not_prepared_is_awaited(declare: Any, volume: dict[str, Any], mount: dict[str, Any]) -> None:
    with pytest.raises(NotFound) as caught:
        build(declare(bound([volume], {"name": volume["name"], "mountPath": "/x", **mount}), paths=PATHS))
    assert caught.value.kind == "Volume"
