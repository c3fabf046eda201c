"""Resources, rlimits, devices, cgroup paths."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.container.oci import build, live_resources
from controllers.container.oci.resources import resources, shares
from state.errors import Invalid, NotFound

MI = 1 << 20


def limits_of(declare: Any, declared: dict[str, Any], **facts: Any) -> dict[str, Any]:
    inputs = declare({"resources": declared})
    return resources(inputs.spec, facts.get("host", inputs.host))


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        pytest.param({}, {"pids": {"limit": 16384}}, id="pids only"),
        pytest.param(
            {"limits": {"memory": "64Mi"}}, {"memory": {"limit": 64 * MI, "swap": 64 * MI}}, id="no swap beyond memory"
        ),
        pytest.param(
            {"limits": {"memory": "64Mi"}, "linux": {"memorySwap": "96Mi"}},
            {"memory": {"limit": 64 * MI, "swap": 96 * MI}},
            id="some swap",
        ),
        pytest.param(
            {"limits": {"memory": 67108864}, "linux": {"memorySwap": -1}},
            {"memory": {"limit": 64 * MI, "swap": -1}},
            id="any swap",
        ),
        pytest.param({"requests": {"memory": "32Mi"}}, {"memory": {"reservation": 32 * MI}}, id="reservation"),
        pytest.param({"limits": {"cpu": "500m"}}, {"cpu": {"period": 100000, "quota": 50000, "shares": 512}}, id="half a cpu"),
        pytest.param(
            {"limits": {"cpu": "1m"}}, {"cpu": {"period": 100000, "quota": 1000, "shares": 2}}, id="the kernel's least"
        ),
        pytest.param(
            {"limits": {"cpu": 2}, "requests": {"cpu": "0.25"}},
            {"cpu": {"period": 100000, "quota": 200000, "shares": 256}},
            id="both",
        ),
        pytest.param({"requests": {"cpu": "100m"}}, {"cpu": {"shares": 102}}, id="shares only"),
        pytest.param({"limits": {"pids": 100}}, {"pids": {"limit": 100}}, id="pids"),
        pytest.param({"limits": {"pids": -1}}, {"pids": {"limit": -1}}, id="no pids limit"),
        pytest.param({"linux": {"cpuset": "0-1"}}, {"cpu": {"cpus": "0-1"}}, id="cpuset"),
        pytest.param(
            {"linux": {"cpuset": {"cpus": "0", "mems": "0"}}}, {"cpu": {"cpus": "0", "mems": "0"}}, id="cpuset with mems"
        ),
        pytest.param({"linux": {"blkio": {"weight": 300}}}, {"blockIO": {"weight": 300}}, id="blkio"),
        pytest.param(
            {"linux": {"hugepages": {"2Mi": "64Mi"}}},
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 64 * MI}]},
            id="hugepages",
        ),
        pytest.param(
            {"limits": {"hugepages-1Gi": "2Gi"}}, {"hugepageLimits": [{"pageSize": "1GB", "limit": 2 << 30}]}, id="core/v1's"
        ),
    ],
)
def test_resources(declare: Any, declared: dict[str, Any], expected: dict[str, Any]) -> None:
    assert limits_of(declare, declared) == {"pids": {"limit": 16384}, **expected}


@pytest.mark.parametrize(
    ("declared", "field", "message"),
    [
        ({"limits": {"memory": "lots"}}, "spec.resources.limits.memory", "must be a number"),
        (
            {"limits": {"memory": "64Mi"}, "requests": {"memory": "65Mi"}},
            "spec.resources.requests.memory",
            "above limits.memory",
        ),
        (
            {"limits": {"memory": "64Mi"}, "linux": {"memorySwap": "63Mi"}},
            "spec.resources.linux.memorySwap",
            "below limits.memory",
        ),
        ({"linux": {"memorySwap": "63Mi"}}, "spec.resources.linux.memorySwap", "needs limits.memory"),
        ({"linux": {"blkio": {"weight": 5}}}, "spec.resources.linux.blkio.weight", "out of range"),
        ({"linux": {"hugepages": {"12": "64Mi"}}}, "spec.resources.linux.hugepages", "not the size of a huge page"),
    ],
)
def test_wrong_resources_are_named(declare: Any, declared: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        limits_of(declare, declared)
    assert caught.value.causes[0].field == field


@pytest.mark.parametrize(
    ("declared", "field"),
    [
        ({"limits": {"memory": "64Mi"}}, "spec.resources.limits.memory"),
        ({"limits": {"cpu": 1}}, "spec.resources.limits.cpu"),
        ({"limits": {"pids": 1}}, "spec.resources.limits.pids"),
        ({"linux": {"cpuset": "0"}}, "spec.resources.linux.cpuset"),
        ({"linux": {"blkio": {"weight": 100}}}, "spec.resources.linux.blkio.weight"),
        ({"linux": {"hugepages": {"2Mi": "2Mi"}}}, "spec.resources.linux.hugepages"),
    ],
)
def test_a_limit_that_could_not_be_kept_is_refused(declare: Any, node: Any, declared: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid, match="cgroup controller") as caught:
        limits_of(declare, declared, host=node(controllers=frozenset({"freezer"})))
    assert caught.value.causes[0].field == field


def test_wishes_without_a_controller_are_left_out(declare: Any, node: Any) -> None:
    poor = node(controllers=frozenset({"freezer"}))
    assert limits_of(declare, {"requests": {"cpu": "1", "memory": "32Mi"}}, host=poor) == {}


def test_a_host_that_does_not_account_swap(declare: Any, node: Any) -> None:
    host = node(extra={"swap_accounting": False})
    assert limits_of(declare, {"limits": {"memory": "64Mi"}}, host=host)["memory"] == {"limit": 64 * MI}
    with pytest.raises(Invalid, match="account swap"):
        limits_of(declare, {"limits": {"memory": "64Mi"}, "linux": {"memorySwap": "65Mi"}}, host=host)


@pytest.mark.parametrize(
    ("millicores", "expected"), [(0, 2), (1, 2), (2, 2), (3, 3), (100, 102), (1000, 1024), (10**6, 262144)]
)
def test_shares(millicores: int, expected: int) -> None:
    assert shares(millicores) == expected


@pytest.mark.parametrize("cgroup", [1, 2])
def test_live_resources_take_limits_away_in_numbers(node: Any, cgroup: int) -> None:
    live = live_resources({}, node(cgroup=cgroup))
    assert live["cpu"] == {"shares": 1024, "period": 100000, "quota": -1}
    assert live["pids"] == {"limit": 16384}
    assert live["memory"] == {"limit": -1, "swap": -1} | ({"reservation": -1} if cgroup == 1 else {})
    assert live.get("unified") == (None if cgroup == 1 else {"memory.low": "0"})


def test_live_resources_of_declared_ones_are_the_same(node: Any) -> None:
    spec = {
        "resources": {
            "limits": {"memory": "64Mi", "cpu": 1, "pids": 9},
            "requests": {"memory": "8Mi"},
            "linux": {"cpuset": "1"},
        }
    }
    assert live_resources(spec, node()) == resources(spec, node())
    assert live_resources({}, node(controllers=frozenset({"freezer"}))) == {}


@pytest.mark.parametrize(
    ("entry", "soft", "hard"),
    [
        ({"name": "nofile", "soft": 10, "hard": 20}, 10, 20),
        ({"name": "RLIMIT_NOFILE", "soft": 10}, 10, 10),
        ({"name": "nofile", "hard": 20}, 20, 20),
        ({"name": "nofile", "soft": 1, "hard": -1}, 1, 2**64 - 1),
        ({"name": "nofile", "soft": "unlimited", "hard": "unlimited"}, 2**64 - 1, 2**64 - 1),
    ],
)
def test_rlimits(declare: Any, entry: dict[str, Any], soft: int, hard: int) -> None:
    process = build(declare({"ulimits": [entry]}))["process"]
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard}]


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"name": "files", "soft": 1}, "spec.ulimits[0].name"),
        ({"name": "nofile", "soft": 2, "hard": 1}, "spec.ulimits[0].soft"),
        ({"name": "nofile", "soft": -2}, "spec.ulimits[0].soft"),
        ({"name": "nofile"}, "spec.ulimits[0].soft"),
    ],
)
def test_wrong_rlimits_are_named(declare: Any, entry: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        build(declare({"ulimits": [entry]}))
    assert caught.value.causes[0].field == field


NULL = {"path": "/dev/kvm", "type": "c", "major": 10, "minor": 232, "fileMode": 0o660, "uid": 0, "gid": 36}


def test_devices_are_denied_but_for_the_usual_ones(declare: Any) -> None:
    rules = build(declare())["linux"]["resources"]["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert {(r["major"], r.get("minor")) for r in rules[1:]} == {
        (1, 3),
        (1, 5),
        (1, 7),
        (1, 8),
        (1, 9),
        (5, 0),
        (5, 1),
        (5, 2),
        (136, None),
    }
    assert "devices" not in build(declare())["linux"]


def test_privileged_has_all_devices_of_the_host(declare: Any, node: Any) -> None:
    linux = build(declare({"securityContext": {"privileged": True}}, host=node(extra={"devices": [NULL]})))["linux"]
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert linux["devices"] == [NULL]


def test_a_declared_device(declare: Any, node: Any) -> None:
    spec = {"devices": [{"hostPath": "/dev/kvm", "containerPath": "/dev/vm", "permissions": "rw"}]}
    linux = build(declare(spec, host=node(extra={"devices": [NULL]})))["linux"]
    assert linux["devices"] == [{**NULL, "path": "/dev/vm"}]
    assert linux["resources"]["devices"][-1] == {"allow": True, "type": "c", "major": 10, "minor": 232, "access": "rw"}
    with pytest.raises(NotFound) as caught:
        build(declare(spec))
    assert (caught.value.kind, caught.value.name) == ("Device", "/dev/kvm")
    wrong = {"devices": [{"hostPath": "/dev/kvm", "permissions": "rx"}]}
    with pytest.raises(Invalid):
        build(declare(wrong, host=node(extra={"devices": [NULL]})))


ID = "11111111222233334444555555555555-1"


@pytest.mark.parametrize(
    ("systemd", "parent", "expected"),
    [
        (False, None, f"/setpoint/{ID}"),
        (False, "/mine/", f"/mine/{ID}"),
        (False, "mine/deeper", f"/mine/deeper/{ID}"),
        (True, None, f"setpoint.slice:setpoint:{ID}"),
        (True, "mine.slice", f"mine.slice:setpoint:{ID}"),
    ],
)
def test_cgroups_path(declare: Any, node: Any, systemd: bool, parent: str | None, expected: str) -> None:
    spec = {"cgroupParent": parent} if parent else {}
    assert build(declare(spec, host=node(systemd_cgroup=systemd)))["linux"]["cgroupsPath"] == expected


@pytest.mark.parametrize(("systemd", "parent"), [(True, "/mine"), (True, ".slice"), (True, "mine"), (False, "/a/../b")])
def test_wrong_cgroup_parents_are_named(declare: Any, node: Any, systemd: bool, parent: str) -> None:
    with pytest.raises(Invalid) as caught:
        build(declare({"cgroupParent": parent}, host=node(systemd_cgroup=systemd)))
    assert caught.value.causes[0].field == "spec.cgroupParent"
