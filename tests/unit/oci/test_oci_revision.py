"""Laws of the revision's hash: equal meaning, equal hash; live fields do not count; anything else does."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.container.oci import Paths, build, live_hash, revision_fields, revision_hash
from controllers.container.oci.revision import LIVE

FULL: dict[str, Any] = {
    "image": "busybox",
    "command": ["sh", "-c"],
    "args": ["true"],
    "env": [
        {"name": "B", "value": "1"},
        {"name": "A", "value": "$(B)"},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ],
    "envFrom": [{"configMapRef": {"name": "cm"}}],
    "volumes": [
        {"name": "h", "hostPath": {"path": "/srv"}},
        {"name": "e", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
        {"name": "c", "configMap": {"name": "cm", "items": [{"key": "a", "path": "a"}, {"key": "b", "path": "b"}]}},
    ],
    "volumeMounts": [
        {"name": "h", "mountPath": "/h", "readOnly": True},
        {"name": "e", "mountPath": "/e"},
        {"name": "c", "mountPath": "/c"},
    ],
    "securityContext": {
        "runAsUser": 5,
        "supplementalGroups": [3, 1],
        "capabilities": {"add": ["NET_ADMIN", "SYS_TIME"], "drop": ["KILL"]},
    },
    "resources": {"limits": {"memory": "64Mi", "cpu": "1", "pids": 100}, "requests": {"cpu": "500m"}},
    "ulimits": [{"name": "nofile", "soft": 10, "hard": 10}, {"name": "core", "soft": 0, "hard": 0}],
    "sysctls": [{"name": "net.core.somaxconn", "value": "9"}, {"name": "net.ipv4.ip_forward", "value": "1"}],
    "shmSize": "64Mi",
    "hostname": "box",
}


def changed(path: str, value: Any, base: dict[str, Any] | None = None) -> dict[str, Any]:
    """``FULL`` with the value at a dotted path replaced; ``...`` removes it."""
    spec = copy.deepcopy(FULL if base is None else base)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    at: Any = spec
    for part in parents:
        at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return spec


SAME = [
    ("image", "docker.io/library/busybox:latest"),
    ("shmSize", 67108864),
    ("shmSize", "65536Ki"),
    ("shmSize", ...),
    ("volumes.1.emptyDir.sizeLimit", "67108864"),
    ("volumes.0.hostPath.type", ""),
    ("volumes.2.configMap.defaultMode", 0o644),
    ("volumes.2.configMap.optional", False),
    ("volumeMounts.1.readOnly", False),
    ("volumeMounts.1.mountPropagation", "None"),
    ("volumeMounts.1.mountPath", "/e/"),
    ("volumeMounts.1.subPath", ""),
    ("securityContext.privileged", False),
    ("securityContext.allowPrivilegeEscalation", True),
    ("securityContext.readOnlyRootFilesystem", False),
    ("securityContext.procMount", "Default"),
    ("securityContext.seccompProfile", {"type": "RuntimeDefault"}),
    ("securityContext.capabilities.add", ["CAP_SYS_TIME", "NET_ADMIN"]),
    ("securityContext.supplementalGroups", [1, 3, 3]),
    ("env.2.valueFrom.secretKeyRef.optional", False),
    ("envFrom.0.prefix", ""),
    ("ulimits.0", {"name": "nofile", "soft": 10}),
    ("tty", False),
    ("stdin", False),
    ("init", False),
    ("runtime", "runc"),
    ("hostNetwork", False),
    ("hostPID", None),
    ("hostUsers", True),
    ("dnsPolicy", "Default"),
    ("ports", []),
    ("workingDir", ""),
    ("resources.limits.memory", "128Mi"),
    ("resources.limits.cpu", "2"),
    ("resources.limits.pids", ...),
    ("resources.requests", ...),
    ("resources.requests.memory", "32Mi"),
    ("resources.linux.memorySwap", "128Mi"),
    ("resources.linux.oomScoreAdj", 0),
    ("resources", ...),
]
OTHER = [
    ("image", "busybox:1.36"),
    ("command", ["sh"]),
    ("command", ["-c", "sh"]),
    ("args", ...),
    ("args", ["true", ""]),
    ("env.0.value", "2"),
    ("env", list(reversed(FULL["env"]))),
    ("envFrom", ...),
    ("volumes.0.hostPath.path", "/srv2"),
    ("volumes.1.emptyDir.medium", ""),
    ("volumes.1.emptyDir.sizeLimit", "65Mi"),
    ("volumes.2.configMap.defaultMode", 0o600),
    ("volumeMounts.0.readOnly", False),
    ("volumeMounts.1.mountPath", "/f"),
    ("securityContext.runAsUser", 0),
    ("securityContext.runAsUser", ...),
    ("securityContext.privileged", True),
    ("securityContext.allowPrivilegeEscalation", False),
    ("securityContext.seccompProfile", {"type": "Unconfined"}),
    ("securityContext.capabilities.drop", ...),
    ("resources.linux.oomScoreAdj", 5),
    ("resources.linux.cpuset", "0"),
    ("ulimits.0.soft", 9),
    ("sysctls.0.value", "10"),
    ("shmSize", "65Mi"),
    ("hostname", "other"),
    ("tty", True),
    ("init", True),
    ("hostNetwork", True),
    ("cgroupParent", "/x"),
]


@pytest.mark.parametrize(("path", "value"), SAME, ids=[f"{path}={value}" for path, value in SAME])
def test_equal_meaning_is_no_new_revision(path: str, value: Any) -> None:
    assert revision_hash(changed(path, value)) == revision_hash(FULL)


@pytest.mark.parametrize(("path", "value"), OTHER, ids=[f"{path}={value}" for path, value in OTHER])
def test_another_meaning_is(path: str, value: Any) -> None:
    assert revision_hash(changed(path, value)) != revision_hash(FULL)


def test_all_the_other_meanings_differ_from_each_other() -> None:
    hashes = {revision_hash(changed(path, value)) for path, value in OTHER}
    assert len(hashes) == len(OTHER)


@pytest.mark.parametrize("name", sorted(LIVE))
def test_live_fields_do_not_count(name: str) -> None:
    assert revision_hash({**FULL, name: {"anything": ["at", "all"]}}) == revision_hash(FULL)


def test_a_new_cpuset_is_written_live_but_one_cannot_be_taken_back() -> None:
    one, other = changed("resources.linux.cpuset", "0"), changed("resources.linux.cpuset", "1")
    assert revision_hash(one) == revision_hash(other) != revision_hash(FULL)
    assert live_hash(one) != live_hash(other)


def test_an_empty_probe_and_an_empty_volume_say_something() -> None:
    assert revision_hash({**FULL, "readinessProbe": {}}) != revision_hash(FULL)
    with_disk = {"image": "a", "volumes": [{"name": "e", "emptyDir": {}}]}
    assert revision_fields(with_disk)["volumes"] == [{"name": "e", "emptyDir": {}}]
    assert revision_hash(with_disk) == revision_hash({"image": "a", "volumes": [{"name": "e", "emptyDir": {"medium": ""}}]})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {"limits": {"pids": 16384}}, True),
        ({}, {"limits": {}, "requests": None}, True),
        ({"limits": {"cpu": "1000m"}}, {"limits": {"cpu": 1}, "requests": {"cpu": "1"}}, True),
        ({"limits": {"memory": "64Mi"}}, {"limits": {"memory": 67108864}}, True),
        ({"limits": {"memory": "64Mi"}}, {"limits": {"memory": "64M"}}, False),
        ({"limits": {"cpu": 1}}, {"limits": {"cpu": 1}, "requests": {"cpu": "500m"}}, False),
        ({}, {"limits": {"pids": 5}}, False),
        ({}, {"linux": {"memorySwap": -1}}, False),
        ({}, {"linux": {"oomScoreAdj": 5}}, True),
    ],
)
def test_live_hash(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    assert (live_hash({"image": "a", "resources": one}) == live_hash({"image": "b", "resources": other})) == same


def test_live_hash_sees_the_log(declare: Any) -> None:
    assert live_hash({"logging": {"maxSize": "10Mi", "maxFiles": 5}}) == live_hash({})
    assert live_hash({"logging": {"maxSize": "20Mi"}}) != live_hash({})


def test_declarations_that_no_admission_saw_have_a_hash_too() -> None:
    for odd in (
        {},
        {"image": None},
        {"image": "UPPER//"},
        {"resources": "no"},
        {"env": "no"},
        {"shmSize": "x"},
        {"ulimits": None},
    ):
        assert len(revision_hash(odd)) == 64


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.dictionaries(
    st.sampled_from(sorted({*FULL, *LIVE, "tty", "init", "dnsConfig", "hostAliases"})), json_values, max_size=6
)
KEYED = ("volumes", "volumeMounts", "ulimits", "sysctls")


def shuffled(value: Any, rng: random.Random, name: str = "") -> Any:
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: shuffled(value[key], rng, key) for key in keys}
    if isinstance(value, list):
        items = [shuffled(item, rng) for item in value]
        if name in (*KEYED, "add", "drop", "supplementalGroups"):
            rng.shuffle(items)
        return items
    return value


@given(st.integers(0, 2**32))
def test_order_that_means_nothing_changes_nothing(seed: int) -> None:
    assert revision_hash(shuffled(FULL, random.Random(seed))) == revision_hash(FULL)


@given(st.lists(st.sampled_from(SAME), max_size=5, unique_by=lambda change: change[0].split(".")[0]))
def test_any_mix_of_equal_meanings_is_equal(changes: list[tuple[str, Any]]) -> None:
    spec = copy.deepcopy(FULL)
    for path, value in changes:
        spec = changed(path, value, spec)
    assert revision_hash(spec) == revision_hash(FULL)


@settings(max_examples=100)
@given(fields)
def test_it_is_total_stable_and_canonical(spec: dict[str, Any]) -> None:
    before = copy.deepcopy(spec)
    fields_ = revision_fields(spec)
    assert spec == before
    assert not LIVE & fields_.keys()
    assert revision_hash(spec) == revision_hash(shuffled(spec, random.Random(0)))
    assert revision_hash({**spec, **dict.fromkeys(LIVE)}) == revision_hash(spec)


@pytest.mark.parametrize(("path", "value"), SAME, ids=[f"{path}={value}" for path, value in SAME])
def test_an_equal_hash_is_an_equal_document(declare: Any, path: str, value: Any) -> None:
    """Soundness against the builder: what is no new revision changes nothing but what is applied live."""
    assert _document(declare, changed(path, value)) == _document(declare, FULL)


def _document(declare: Any, spec: dict[str, Any]) -> dict[str, Any]:
    paths = Paths(volumes={"e": "/d/e", "c": "/d/c"})
    refs = {"config_maps": {"cm": {"X": b"x"}}, "secrets": {"s": {"k": b"v"}}}
    document = build(declare(spec, paths=paths, **refs))
    del document["linux"]["resources"]
    return document
