"""Whole documents for hosts that this one is not. ``SETPOINT_UPDATE_GOLDEN=1`` writes them anew: read the diff.

A seccomp filter is kept once, in a file named by its content, and referred to by that name.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from controllers.container.oci import Paths, build, image_volumes

GOLDEN = Path(__file__).parent / "golden"
UPDATE = bool(os.environ.get("SETPOINT_UPDATE_GOLDEN"))
KVM = {"path": "/dev/kvm", "type": "c", "major": 10, "minor": 232, "fileMode": 0o660, "uid": 0, "gid": 36}

HOSTS: dict[str, dict[str, Any]] = {
    "v1-cgroupfs": {"cgroup": 1, "systemd_cgroup": False, "extra": {"devices": [KVM]}},
    "v2-systemd": {
        "cgroup": 2,
        "systemd_cgroup": True,
        "apparmor": True,
        "extra": {
            "devices": [KVM],
            "recursive_read_only": True,
            "apparmor_profiles": ["setpoint-default"],
            "mount_roots": ["/var/lib/setpoint", "/run/setpoint"],
        },
    },
    "arm64": {"cgroup": 2, "systemd_cgroup": True, "architecture": "aarch64", "cpus": 4, "extra": {"devices": [KVM]}},
}

VOLUMES = [
    {"name": "data", "hostPath": {"path": "/srv/data", "type": "Directory"}},
    {"name": "root", "hostPath": {"path": "/var/lib"}},
    {"name": "scratch", "emptyDir": {}},
    {"name": "fast", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
    {"name": "conf", "configMap": {"name": "conf"}},
    {"name": "keys", "secret": {"secretName": "keys"}},
]
DECLARATIONS: dict[str, dict[str, Any]] = {
    "minimal": {},
    "words": {
        "command": ["/bin/$(MODE)"],
        "args": ["--token", "$(TOKEN)", "$$(MODE)"],
        "workingDir": "/srv/",
        "env": [
            {"name": "MODE", "value": "serve"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
            {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}},
        ],
        "envFrom": [{"prefix": "CONF_", "configMapRef": {"name": "conf"}}],
    },
    "named-user": {"securityContext": {"user": "web:logs"}},
    "numeric-user": {
        "securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "supplementalGroups": [4000], "runAsNonRoot": True}
    },
    "hardened": {
        "securityContext": {
            "runAsUser": 65534,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    },
    "capabilities": {"securityContext": {"capabilities": {"add": ["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"], "drop": ["MKNOD"]}}},
    "privileged": {"securityContext": {"privileged": True}, "hostPID": True},
    "unmasked": {"securityContext": {"procMount": "Unmasked", "seccompProfile": {"type": "Unconfined"}}},
    "host-network": {"hostNetwork": True},
    "host-everything": {"hostNetwork": True, "hostPID": True, "hostIPC": True, "hostname": "named"},
    "limits": {
        "resources": {
            "limits": {"memory": "256Mi", "cpu": "1500m", "pids": 200},
            "requests": {"memory": "128Mi", "cpu": "250m"},
            "linux": {"memorySwap": "512Mi", "cpuset": "0-1", "oomScoreAdj": 100},
        }
    },
    "exotic-limits": {"resources": {"linux": {"blkio": {"weight": 300}, "hugepages": {"2Mi": "64Mi"}}}},
    "volumes": {
        "volumes": VOLUMES,
        "volumeMounts": [
            {"name": "keys", "mountPath": "/data/deep/keys", "readOnly": True},
            {"name": "data", "mountPath": "/data"},
            {"name": "root", "mountPath": "/host", "readOnly": True},
            {"name": "scratch", "mountPath": "/tmp", "mountPropagation": "HostToContainer"},
            {"name": "fast", "mountPath": "/fast"},
            {"name": "conf", "mountPath": "/etc/app"},
            {"name": "conf", "mountPath": "/etc/app.ini", "subPath": "app.ini"},
        ],
    },
    "terminal-and-init": {"tty": True, "stdin": True, "init": True, "hostname": "box"},
    "ulimits-and-sysctls": {
        "ulimits": [{"name": "nofile", "soft": 1024, "hard": 4096}, {"name": "memlock", "soft": -1}],
        "sysctls": [{"name": "net.core.somaxconn", "value": "1024"}, {"name": "kernel.shmmax", "value": "1000000"}],
        "shmSize": "256Mi",
    },
    "device": {"devices": [{"hostPath": "/dev/kvm", "permissions": "rw"}]},
    "image-volumes": {"image": "with-volumes"},
}
CASES = [(name, on) for name in DECLARATIONS for on in HOSTS]


def document_of(declare: Any, node: Any, picture: Any, name: str, on: str) -> dict[str, Any]:
    spec = DECLARATIONS[name]
    config: dict[str, Any] = {
        "Entrypoint": ["/entry"],
        "Cmd": ["serve"],
        "User": "web",
        "Env": ["PATH=/app:/bin"],
        "WorkingDir": "/app",
    }
    if name == "image-volumes":
        config |= {"Volumes": {"/var/lib/app": {}, "/cache/": {}}}
    image = picture(config)
    prepared = {"scratch": "/d/scratch", "fast": "/r/fast", "conf": "/d/conf", "keys": "/r/keys"}
    prepared |= {volume: f"/d/{volume}" for volume in image_volumes(spec, image)}
    files = {"hosts": "/d/hosts", "hostname": "/d/hostname", "resolv_conf": "/d/resolv.conf"}
    shm = "" if name == "ulimits-and-sysctls" else "/r/shm"
    return build(
        declare(
            spec,
            image=image,
            host=node(init_path="/usr/bin/tini", **HOSTS[on]),
            paths=Paths(volumes=prepared, sub_paths={"/etc/app.ini": "/d/conf/app.ini"}, shm=shm, **files),
            config_maps={"conf": {"LEVEL": b"debug"}},
            secrets={"keys": {"token": b"hunter2"}},
        )
    )


def settled(file: Path, content: object) -> object:
    """What the golden file says; written first when asked for."""
    if UPDATE:
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n")
    return json.loads(file.read_text())


@pytest.mark.parametrize(("name", "on"), CASES, ids=[f"{name}-{on}" for name, on in CASES])
def test_golden(declare: Any, node: Any, picture: Any, name: str, on: str) -> None:
    document = document_of(declare, node, picture, name, on)
    profile = document["linux"].get("seccomp")
    if profile is not None:
        digest = hashlib.sha256(json.dumps(profile, sort_keys=True).encode()).hexdigest()[:12]
        file = f"seccomp-{digest}.json"
        assert settled(GOLDEN / file, profile) == profile
        document["linux"]["seccomp"] = file
    assert settled(GOLDEN / f"{name}.{on}.json", document) == document


def test_no_golden_file_is_left_over() -> None:
    wanted = {f"{name}.{on}.json" for name, on in CASES}
    used = {json.loads((GOLDEN / file).read_text())["linux"].get("seccomp") for file in wanted} - {None}
    assert {file.name for file in GOLDEN.iterdir()} == wanted | used


def test_a_document_is_the_same_every_time(declare: Any, node: Any, picture: Any) -> None:
    one = [json.dumps(document_of(declare, node, picture, *case)) for case in CASES]
    two = [json.dumps(document_of(declare, node, picture, *case)) for case in CASES]
    assert one == two
