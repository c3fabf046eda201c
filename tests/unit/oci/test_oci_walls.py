"""What holds the process in: capabilities, seccomp, masks, namespaces, AppArmor, sysctls."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.container.oci import build
from controllers.container.oci.capabilities import DEFAULT, KNOWN
from controllers.container.oci.seccomp import ARCHITECTURES, default_filter
from controllers.container.oci.seccomp_profile import ALWAYS, BY_CAPABILITY
from state.errors import Invalid, NotFound

ALL = frozenset(KNOWN)


def caps(*names: str) -> frozenset[str]:
    return frozenset(f"CAP_{name}" for name in names)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        pytest.param({}, DEFAULT, id="Docker's fourteen"),
        pytest.param({"add": ["NET_ADMIN"]}, DEFAULT | caps("NET_ADMIN"), id="add"),
        pytest.param({"add": ["cap_net_admin"]}, DEFAULT | caps("NET_ADMIN"), id="prefix and case"),
        pytest.param({"drop": ["CHOWN", "CAP_KILL"]}, DEFAULT - caps("CHOWN", "KILL"), id="drop"),
        pytest.param({"drop": ["ALL"]}, frozenset(), id="drop all"),
        pytest.param({"drop": ["ALL"], "add": ["CHOWN"]}, caps("CHOWN"), id="exactly"),
        pytest.param({"add": ["ALL"]}, ALL, id="add all"),
        pytest.param({"add": ["ALL"], "drop": ["SYS_ADMIN"]}, ALL - caps("SYS_ADMIN"), id="all but one"),
        pytest.param({"add": ["CHOWN"], "drop": ["CHOWN"]}, DEFAULT - caps("CHOWN"), id="drop wins over add"),
    ],
)
def test_capabilities(declare: Any, declared: dict[str, Any], expected: frozenset[str]) -> None:
    sets = build(declare({"securityContext": {"capabilities": declared}}))["process"]["capabilities"]
    assert sets["bounding"] == sets["effective"] == sets["permitted"] == [name for name in KNOWN if name in expected]
    assert sets["inheritable"] == sets["ambient"] == []


def test_there_are_fourteen() -> None:
    assert len(DEFAULT) == 14
    assert KNOWN.index("CAP_SYS_ADMIN") == 21
    assert KNOWN.index("CAP_CHECKPOINT_RESTORE") == 40


def test_another_user_gets_the_bounding_set_only(declare: Any) -> None:
    sets = build(declare({"securityContext": {"runAsUser": 5}}))["process"]["capabilities"]
    assert set(sets["bounding"]) == DEFAULT
    assert sets["effective"] == sets["permitted"] == []


def test_the_host_bounds_what_is_granted(declare: Any, node: Any) -> None:
    small = node(capabilities=frozenset({"CAP_CHOWN", "KILL"}))
    assert build(declare(host=small))["process"]["capabilities"]["bounding"] == ["CAP_CHOWN", "CAP_KILL"]
    privileged = build(declare({"securityContext": {"privileged": True}}, host=small))
    assert privileged["process"]["capabilities"]["bounding"] == ["CAP_CHOWN", "CAP_KILL"]
    with pytest.raises(Invalid, match="cannot grant CAP_NET_ADMIN"):
        build(declare({"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}, host=small))


def test_an_unknown_capability_is_named(declare: Any) -> None:
    with pytest.raises(Invalid, match="NET_AMDIN"):
        build(declare({"securityContext": {"capabilities": {"drop": ["NET_AMDIN"]}}}))


def allowed(profile: dict[str, Any]) -> set[str]:
    """Names allowed whatever their arguments."""
    rules = profile["syscalls"]
    return {name for r in rules if r["action"] == "SCMP_ACT_ALLOW" and "args" not in r for name in r["names"]}


def arguments(profile: dict[str, Any], name: str) -> list[tuple[int, int, str]]:
    rules = [r for r in profile["syscalls"] if name in r["names"] and "args" in r]
    return [(a["index"], a["value"], a["op"]) for r in rules for a in r["args"]]


@pytest.mark.parametrize(
    ("machine", "architectures"),
    [("x86_64", "X86_64 X86"), ("amd64", "X86_64 X86"), ("aarch64", "AARCH64 ARM"), ("arm64", "AARCH64 ARM")],
)
def test_seccomp_knows_the_machine(machine: str, architectures: str) -> None:
    profile = default_filter(machine, DEFAULT, (6, 1))
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert profile["defaultErrnoRet"] == 1
    assert profile["architectures"] == [f"SCMP_ARCH_{name}" for name in architectures.split()]
    assert ("arch_prctl" in allowed(profile)) == (architectures.startswith("X86"))
    assert ("sync_file_range2" in allowed(profile)) == (architectures.startswith("AARCH"))


def test_seccomp_on_an_unknown_machine_is_refused(declare: Any, node: Any) -> None:
    with pytest.raises(Invalid, match="use Unconfined"):
        build(declare(host=node(architecture="riscv64")))
    assert (
        "seccomp"
        not in build(
            declare({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, host=node(architecture="riscv64"))
        )["linux"]
    )


def test_seccomp_denies_what_opens_the_host() -> None:
    profile = default_filter("x86_64", DEFAULT, (6, 1))
    names = allowed(profile)
    dangerous = "mount umount2 unshare setns clone clone3 bpf perf_event_open keyctl add_key request_key io_uring_setup"
    dangerous += " io_uring_enter userfaultfd kexec_load swapon reboot init_module open_by_handle_at syslog settimeofday iopl"
    dangerous += " quotactl personality socket"
    assert not names & set(dangerous.split())
    assert len(ALWAYS) >= 350
    assert {"chroot", "execve", "openat2", "futex_waitv", "statx", "ptrace"} <= names


def test_seccomp_looks_at_arguments() -> None:
    profile = default_filter("x86_64", DEFAULT, (6, 1))
    assert arguments(profile, "clone") == [(0, 0x7E020000, "SCMP_CMP_MASKED_EQ")]
    assert [value for _, value, _ in arguments(profile, "personality")] == [0, 8, 0x20000, 0x20008, 0xFFFFFFFF]
    assert arguments(profile, "socket") == [(0, 38, "SCMP_CMP_LT"), (0, 39, "SCMP_CMP_EQ"), (0, 40, "SCMP_CMP_GT")]
    clone3 = next(r for r in profile["syscalls"] if r["names"] == ["clone3"])
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


@pytest.mark.parametrize("capability", sorted(BY_CAPABILITY))
def test_a_capability_unlocks_its_calls(capability: str) -> None:
    without = allowed(default_filter("x86_64", frozenset(), (6, 1)))
    with_it = allowed(default_filter("x86_64", frozenset({capability}), (6, 1)))
    assert set(BY_CAPABILITY[capability]) <= with_it
    assert not (with_it - without) - set(BY_CAPABILITY[capability])


def test_sys_admin_may_clone_anything() -> None:
    profile = default_filter("x86_64", frozenset({"CAP_SYS_ADMIN"}), (6, 1))
    assert {"clone", "clone3"} <= allowed(profile)
    assert not any(r["action"] == "SCMP_ACT_ERRNO" for r in profile["syscalls"])


def test_ptrace_needs_a_kernel_that_filters_tracees() -> None:
    assert "ptrace" not in allowed(default_filter("x86_64", DEFAULT, (4, 7)))
    assert "ptrace" in allowed(default_filter("x86_64", DEFAULT, (4, 8)))


@pytest.mark.parametrize(
    ("security", "filtered"),
    [
        ({}, True),
        ({"seccompProfile": {"type": "RuntimeDefault"}}, True),
        ({"seccompProfile": {"type": "Unconfined"}}, False),
        ({"privileged": True}, False),
        ({"privileged": True, "seccompProfile": {"type": "RuntimeDefault"}}, True),
    ],
)
def test_which_containers_are_filtered(declare: Any, security: dict[str, Any], filtered: bool) -> None:
    assert ("seccomp" in build(declare({"securityContext": security}))["linux"]) == filtered


def test_a_local_profile_is_taken_or_awaited(declare: Any) -> None:
    spec = {"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}}}
    profile = {"defaultAction": "SCMP_ACT_ALLOW"}
    assert build(declare(spec, seccomp_profile=profile))["linux"]["seccomp"] == profile
    with pytest.raises(NotFound) as caught:
        build(declare(spec))
    assert (caught.value.kind, caught.value.name) == ("SeccompProfile", "p.json")


def test_architectures_are_those_of_the_issue() -> None:
    assert set(ARCHITECTURES) == {"x86_64", "aarch64"}


@pytest.mark.parametrize(
    ("security", "walls"),
    [({}, True), ({"procMount": "Default"}, True), ({"procMount": "Unmasked"}, False), ({"privileged": True}, False)],
)
def test_masked_and_read_only_paths(declare: Any, security: dict[str, Any], walls: bool) -> None:
    linux = build(declare({"securityContext": security}))["linux"]
    assert ("/proc/kcore" in linux.get("maskedPaths", [])) == walls
    assert ("/proc/sys" in linux.get("readonlyPaths", [])) == walls


def test_thermal_throttle_of_each_cpu_is_masked(declare: Any, node: Any) -> None:
    masked = build(declare(host=node(cpus=3)))["linux"]["maskedPaths"]
    assert [path for path in masked if "thermal" in path][-1] == "/sys/devices/system/cpu/cpu2/thermal_throttle"


@pytest.mark.parametrize(
    ("spec", "facts", "expected"),
    [
        pytest.param({}, {}, "mount uts pid ipc network", id="v1 keeps the host's cgroup view"),
        pytest.param({}, {"cgroup": 2}, "mount uts pid ipc network cgroup", id="v2 has its own"),
        pytest.param({"hostNetwork": True}, {}, "mount uts pid ipc", id="host network"),
        pytest.param({"hostPID": True, "hostIPC": True}, {}, "mount uts network", id="host pid and ipc"),
        pytest.param(
            {"securityContext": {"privileged": True}}, {"cgroup": 2}, "mount uts pid ipc network cgroup", id="privileged"
        ),
    ],
)
def test_namespaces(declare: Any, node: Any, spec: dict[str, Any], facts: dict[str, Any], expected: str) -> None:
    made = build(declare(spec, host=node(**facts)))["linux"]["namespaces"]
    assert [n["type"] for n in made] == expected.split()
    assert [n["path"] for n in made if "path" in n] == ([] if spec.get("hostNetwork") else ["/run/setpoint/netns/1"])


def test_a_missing_network_namespace_is_never_the_hosts(declare: Any) -> None:
    from controllers.container.ports import Sandbox

    with pytest.raises(Invalid, match="no network namespace"):
        build(declare(sandbox=Sandbox("u", "")))


@pytest.mark.parametrize(
    ("declared", "facts", "profile"),
    [
        (None, {}, None),
        (None, {"apparmor": True}, None),
        (None, {"apparmor": True, "extra": {"apparmor_profiles": ["setpoint-default"]}}, "setpoint-default"),
        ({"type": "Unconfined"}, {"apparmor": True, "extra": {"apparmor_profiles": ["setpoint-default"]}}, None),
        (
            {"type": "Localhost", "localhostProfile": "mine"},
            {"apparmor": True, "extra": {"apparmor_profiles": ["mine"]}},
            "mine",
        ),
    ],
)
def test_apparmor(declare: Any, node: Any, declared: Any, facts: dict[str, Any], profile: str | None) -> None:
    spec = {"securityContext": {"appArmorProfile": declared}} if declared else {}
    assert build(declare(spec, host=node(**facts)))["process"].get("apparmorProfile") == profile


def test_apparmor_that_is_not_there(declare: Any, node: Any) -> None:
    spec = {"securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": "mine"}}}
    with pytest.raises(Invalid, match="no AppArmor"):
        build(declare(spec))
    with pytest.raises(NotFound):
        build(declare(spec, host=node(apparmor=True)))


INJECTED = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, INJECTED),
        ({"hostNetwork": True}, {}),
        ({"sysctls": [{"name": "net.core.somaxconn", "value": "512"}]}, {**INJECTED, "net.core.somaxconn": "512"}),
        (
            {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "1024"}]},
            {**INJECTED, "net.ipv4.ip_unprivileged_port_start": "1024"},
        ),
        (
            {
                "hostNetwork": True,
                "sysctls": [{"name": "kernel.shmmax", "value": "1"}, {"name": "fs/mqueue/msg_max", "value": "2"}],
            },
            {"kernel.shmmax": "1", "fs.mqueue.msg_max": "2"},
        ),
    ],
)
def test_sysctls(declare: Any, spec: dict[str, Any], expected: dict[str, str]) -> None:
    assert build(declare(spec))["linux"].get("sysctl", {}) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"sysctls": [{"name": "vm.swappiness", "value": "1"}]}, "whole host"),
        ({"sysctls": [{"name": "kernel.panic", "value": "1"}]}, "whole host"),
        ({"hostNetwork": True, "sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}, "spec.hostNetwork is true"),
        ({"hostIPC": True, "sysctls": [{"name": "kernel.msgmax", "value": "1"}]}, "spec.hostIPC is true"),
    ],
)
def test_sysctls_of_the_host_are_refused(declare: Any, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        build(declare(spec))
    assert caught.value.causes[0].field == "spec.sysctls[0].name"
