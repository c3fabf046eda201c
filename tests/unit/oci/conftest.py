"""A declaration's surroundings, so that each test names only what it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from controllers.container.oci import Paths, SpecInputs
from controllers.container.ports import HostFacts, ImageInfo, Sandbox

Make = Callable[..., SpecInputs]

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# a comment
broken line
web:x:1000:1001:Web:/home/web:/bin/sh
nohome:x:1002:1002::
1234:x:77:77::/numeric:/bin/sh
"""
GROUP = "root:x:0:\nweb:x:1001:\nlogs:x:2000:other,web\nvideo:x:44:web\nbad\n"


def host(**over: Any) -> HostFacts:
    facts: dict[str, Any] = {
        "cgroup": 1,
        "systemd_cgroup": False,
        "cpus": 2,
        "memory_bytes": 2 << 30,
        "kernel": (6, 1),
        "architecture": "x86_64",
        "hostname": "node-a",
        "apparmor": False,
        "capabilities": frozenset(),
        "controllers": frozenset({"memory", "cpu", "pids", "cpuset", "blkio", "io", "hugetlb"}),
    }
    return HostFacts(**(facts | over))


def image(config: dict[str, Any] | None = None) -> ImageInfo:
    default = {"Cmd": ["serve"], "Env": ["PATH=/app:/bin", "FROM=image"]}
    return ImageInfo(
        "demo:1", "sha256:" + "0" * 64, "sha256:1", {"config": default if config is None else config}, PASSWD, GROUP
    )


def make(spec: dict[str, Any] | None = None, **over: Any) -> SpecInputs:
    known: dict[str, Any] = {
        "uid": "11111111-2222-3333-4444-555555555555",
        "id": "11111111222233334444555555555555-1",
        "namespace": "default",
        "name": "web",
        "image": image(),
        "host": host(),
        "sandbox": Sandbox("11111111-2222-3333-4444-555555555555", "/run/setpoint/netns/1"),
        "paths": Paths(hosts="/d/hosts", hostname="/d/hostname", resolv_conf="/d/resolv.conf", shm="/r/shm"),
    }
    return SpecInputs(spec={"image": "demo:1", **(spec or {})}, **(known | over))


@pytest.fixture
def declare() -> Make:
    """``declare(spec, **fields of SpecInputs)``."""
    return make


@pytest.fixture
def node() -> Callable[..., HostFacts]:
    """``node(**fields of HostFacts)``."""
    return host


@pytest.fixture
def picture() -> Callable[..., ImageInfo]:
    """``picture(config)``: an image with that ``config`` part."""
    return image
