"""References, the files of a sandbox, and what a launch needs: checked, made, refreshed."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controllers.container.bundle import Ports
from controllers.container.declare import declare
from controllers.container.identity import hostname, hosts, resolv_conf
from controllers.container.model import Desired
from controllers.container.preparing import Missing, check, prepare, refresh
from controllers.container.references import gather, references, required
from setpoint.testing.clock import EPOCH
from setpoint.testing.simulated_node import FACTS, SimulatedNode, container
from state.store import Apply, DeleteOptions

ENV = [
    {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "k"}}},
    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "cert", "key": "k", "optional": True}}},
]
FILES: dict[str, Any] = {
    "volumes": [
        {"name": "c", "configMap": {"name": "conf"}},
        {"name": "s", "secret": {"secretName": "cert", "optional": True}},
        {"name": "e", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ],
    "volumeMounts": [{"name": n, "mountPath": f"/{n}"} for n in "cse"],
}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[SimulatedNode]:
    made = await SimulatedNode.make(tmp_path)
    yield made
    await made.close()


def ports(node: SimulatedNode) -> Ports:
    return node.ports(None)


def want(**spec: Any) -> Desired:
    obj = container("web", **spec)
    obj["metadata"] |= {"uid": "00000000-0000-4000-8000-0000000000aa", "generation": 1}
    return declare(obj, EPOCH)


async def put(node: SimulatedNode, kind: str, name: str, **data: str) -> None:
    obj = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}, "data": data}
    await node.store.apply([Apply(obj, "test", force=True)])


async def missing(node: SimulatedNode, desired: Desired, **more: Any) -> tuple[str, str]:
    with pytest.raises(Missing) as error:
        await check(ports(node), desired, image=True, **more)
    return error.value.waiting.reason, error.value.waiting.message


def test_who_is_referred_to() -> None:
    spec = {"env": ENV, "envFrom": [{"secretRef": {"name": "all"}}, {"configMapRef": {"name": "x", "optional": True}}], **FILES}
    in_env, in_volumes = references(spec)
    assert in_env == {("ConfigMap", "conf"), ("Secret", "cert"), ("Secret", "all"), ("ConfigMap", "x")}
    assert in_volumes == {("ConfigMap", "conf"), ("Secret", "cert")}
    assert required(spec) == {("ConfigMap", "conf"), ("Secret", "all")}
    assert references({}) == (frozenset(), frozenset())


async def test_what_they_hold_and_at_which_version(node: SimulatedNode) -> None:
    await put(node, "ConfigMap", "conf", k="v")
    spec = {"env": ENV, **FILES}
    first = await gather(node.store, "default", spec)
    assert first.config_maps == {"conf": {"k": b"v"}}
    assert first.secrets == {}
    assert await gather(node.store, "default", spec) == first
    await put(node, "Secret", "cert", k=base64.b64encode(b"\0x").decode())
    second = await gather(node.store, "default", spec)
    assert second.secrets == {"cert": {"k": b"\0x"}}
    assert second.env != first.env
    assert second.files != first.files
    other = await gather(node.store, "default", FILES)
    assert (other.env, other.files) == ("", second.files)


@pytest.mark.parametrize(
    ("spec", "reason", "named"),
    [
        ({"image": "registry.example/none:1"}, "ImageNotFound", "registry.example/none:1"),
        ({"image": "none:1", "imagePullPolicy": "Never"}, "ImageNotFound", "imagePullPolicy is Never"),
        ({"runtime": "kata"}, "RuntimeNotFound", '"kata"'),
        ({"volumes": [{"name": "d", "hostPath": {"path": "/none"}}]}, "HostPathNotFound", "/none"),
        ({"volumes": [{"name": "d", "hostPath": {"path": "/file", "type": "Directory"}}]}, "HostPathType", "is a File"),
        ({"volumes": [{"name": "d", "hostPath": {"path": "/file", "type": "DirectoryOrCreate"}}]}, "HostPathType", "is a File"),
        ({"volumes": [{"name": "d", "hostPath": {"path": "/hung"}}]}, "HostPathUnavailable", "/hung"),
        ({"volumes": [{"name": "d", "configMap": {"name": "no"}}]}, "ConfigMapNotFound", "ConfigMap no"),
        ({"volumes": [{"name": "d", "secret": {"secretName": "no"}}]}, "SecretNotFound", "Secret no"),
        (
            {"volumes": [{"name": "d", "configMap": {"name": "conf", "items": [{"key": "z", "path": "z"}]}}]},
            "ConfigMapKeyNotFound",
            "no key z",
        ),
        ({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "k"}}}]}, "ConfigMapNotFound", "no"),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k"}}}]}, "SecretNotFound", "no"),
        ({"envFrom": [{"configMapRef": {"name": "no"}}]}, "ConfigMapNotFound", "no"),
    ],
)
async def test_what_is_missing_is_named(node: SimulatedNode, spec: dict[str, Any], reason: str, named: str) -> None:
    await put(node, "ConfigMap", "conf", k="v")
    node.files.host["/file"] = "File"
    node.files.hung.add("/hung")
    told = await missing(node, want(**spec))
    assert told[0] == reason
    assert named in told[1]


async def test_a_plan_fetches_and_makes_nothing(node: SimulatedNode) -> None:
    desired = want(
        image="none:1",
        imagePullPolicy="Always",
        volumes=[{"name": "d", "hostPath": {"path": "/new", "type": "DirectoryOrCreate"}}],
    )
    await missing(node, desired, look_only=True)
    assert (node.images.fetched, node.files.host, node.files.writes) == ([], {}, 0)
    await missing(node, desired)
    assert node.images.fetched == ["docker.io/library/none:1"]
    assert node.files.host == {"/new": "Directory"}


async def test_all_there_is_resolved(node: SimulatedNode) -> None:
    await put(node, "ConfigMap", "conf", k="v")
    found = await check(ports(node), want(env=ENV, **FILES), image=True)
    assert found is not None
    assert await check(ports(node), want(image="none:1"), image=False) is None, "a relaunch needs no image"


async def test_prepared_is_all_that_the_process_finds(node: SimulatedNode) -> None:
    await put(node, "ConfigMap", "conf", k="v")
    desired = want(**FILES)
    made = await prepare(ports(node), desired, None)
    assert made.sandbox.netns
    assert node.files.tree(desired.uid, "tree", "c") == {"k": (b"v", 0o644)}
    assert node.files.tree(desired.uid, "volatile", "s") == {}
    assert node.files.emptydir(desired.uid, "e") == "Memory"
    assert node.files.file(desired.uid, "hostname") == (b"web\n", 0o644)
    assert node.files.shm_size(desired.uid) == 64 << 20
    writes = node.files.writes
    await prepare(ports(node), desired, None)
    assert node.files.writes == writes, "again changes nothing"
    host = await prepare(ports(node), replace(desired, host_network=True), None)
    assert host.sandbox.netns == ""


async def test_files_follow_a_change_and_outlive_their_source(node: SimulatedNode) -> None:
    await put(node, "ConfigMap", "conf", k="v")
    desired = want(**FILES)
    await prepare(ports(node), desired, None)
    await put(node, "ConfigMap", "conf", k="w")
    changed = await refresh(ports(node), desired)
    assert node.files.tree(desired.uid, "tree", "c") == {"k": (b"w", 0o644)}
    listing = await node.store.get(desired.key._replace(kind="ConfigMap", name="conf"))
    await node.store.delete(listing.key, DeleteOptions())
    assert await refresh(ports(node), desired) != changed
    assert node.files.tree(desired.uid, "tree", "c") == {"k": (b"w", 0o644)}, "who uses it runs on"


async def test_items_and_modes(node: SimulatedNode) -> None:
    await put(node, "ConfigMap", "conf", k="v", other="o")
    source = {
        "name": "conf",
        "defaultMode": 0o600,
        "items": [{"key": "k", "path": "a/b"}, {"key": "other", "path": "o", "mode": 0o444}],
    }
    desired = want(volumes=[{"name": "c", "configMap": source}])
    await prepare(ports(node), desired, None)
    assert node.files.tree(desired.uid, "tree", "c") == {"a/b": (b"v", 0o600), "o": (b"o", 0o444)}


def test_hostname() -> None:
    assert hostname(want(), FACTS) == "web"
    assert hostname(want(hostname="x"), FACTS) == "x"
    assert hostname(want(hostNetwork=True), FACTS) == "node"


def test_hosts() -> None:
    text = hosts(want(hostAliases=[{"ip": "192.0.2.7", "hostnames": ["a", "b"]}]), FACTS)
    assert "127.0.0.1\tlocalhost\n" in text
    assert "\tweb\n" in text
    assert text.endswith("192.0.2.7\ta b\n")
    assert hosts(want(hostNetwork=True), replace(FACTS, hosts="the host's\n")) == "the host's\n"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, "nameserver 192.0.2.1\nsearch a\noptions ndots:1 rotate\n"),
        ({"dnsPolicy": "None"}, ""),
        (
            {"dnsConfig": {"nameservers": ["192.0.2.2"], "searches": ["a", "b"], "options": [{"name": "ndots", "value": "5"}]}},
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch a b\noptions rotate ndots:5\n",
        ),
        (
            {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.2"], "options": [{"name": "edns0"}]}},
            "nameserver 192.0.2.2\noptions edns0\n",
        ),
    ],
)
def test_resolv_conf(spec: dict[str, Any], text: str) -> None:
    facts = replace(FACTS, resolv_conf="nameserver 192.0.2.1\nsearch a\noptions ndots:1 rotate\n")
    assert resolv_conf(want(**spec), facts) == text
