"""Facts of hosts of several kinds, laid out as files."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from setpoint.drivers import host


def _lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def _program(path: Path, *kinds: int, wide: bool = True) -> None:
    """An ELF file with program headers of these kinds."""
    head = bytearray(64)
    head[:6] = b"\x7fELF" + bytes([2 if wide else 1, 1])
    size = 56 if wide else 32
    struct.pack_into("<Q" if wide else "<I", head, 32 if wide else 28, 64)
    struct.pack_into("<HH", head, 54 if wide else 42, size, len(kinds))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(head) + b"".join(struct.pack("<I", kind).ljust(size, b"\0") for kind in kinds))
    path.chmod(0o755)


V1 = {
    "proc/cgroups": "#subsys_name\thierarchy\tnum\tenabled\nmemory\t4\t25\t1\ncpu\t1\t2\t1\npids\t8\t2\t0\nnet_cls\t0\t2\t1\n",
    "sys/fs/cgroup/memory/cgroup.procs": "",
    "sys/fs/cgroup/cpu/cgroup.procs": "",
    "sys/fs/cgroup/pids/cgroup.procs": "",
    "sys/fs/cgroup/unified/cgroup.controllers": "hugetlb",
}


def test_hybrid_hosts_count_as_version_1(tmp_path: Path) -> None:
    _lay(tmp_path, {**V1, "run/systemd/system/x": ""})
    facts = host.host_facts(tmp_path)
    assert facts.cgroup == 1
    assert facts.controllers == {"memory", "cpu"}
    assert not facts.systemd_cgroup


@pytest.mark.parametrize("systemd", [True, False])
def test_version_2_uses_systemd_where_it_runs(tmp_path: Path, systemd: bool) -> None:
    _lay(tmp_path, {"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n"})
    if systemd:
        _lay(tmp_path, {"run/systemd/system/x": ""})
    facts = host.host_facts(tmp_path)
    assert facts.cgroup == 2
    assert facts.controllers == {"cpuset", "cpu", "io", "memory", "pids"}
    assert facts.systemd_cgroup is systemd


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("0000000000000000", set()),
        ("0000000000000001", {"CAP_CHOWN"}),
        ("0000010000000000", {"CAP_CHECKPOINT_RESTORE"}),
        ("8000000000200000", {"CAP_SYS_ADMIN"}),
    ],
)
def test_bounding_set_by_name(tmp_path: Path, bits: str, expected: set[str]) -> None:
    _lay(tmp_path, {"proc/self/status": f"Name:\tx\nCapEff:\tffffffffffffffff\nCapBnd:\t{bits}\n"})
    assert host.bounding_capabilities(tmp_path) == expected


def test_all_capabilities_of_the_kernel_are_known() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert len(host.CAPABILITIES) > last


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("6.1.0-18-amd64", (6, 1)),
        ("5.15", (5, 15)),
        ("6.18.44-fc", (6, 18)),
        ("7", (7, 0)),
        ("odd", (0, 0)),
        ("6.1-rc1", (6, 1)),
    ],
)
def test_kernel_version(release: str, expected: tuple[int, int]) -> None:
    assert host.kernel_version(release) == expected


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("nameserver 127.0.0.53\noptions edns0\nsearch lan\n", True),
        ("# stub\n  nameserver   127.0.0.53\n", True),
        ("nameserver 127.0.0.53\nnameserver 1.1.1.1\n", False),
        ("nameserver 10.0.0.1\n", False),
        ("#nameserver 127.0.0.53\n", False),
        ("", False),
    ],
)
def test_the_stub_of_resolved_is_replaced(tmp_path: Path, text: str, replaced: bool) -> None:
    real = "nameserver 192.168.1.1\n"
    _lay(tmp_path, {"etc/resolv.conf": text, "run/systemd/resolve/resolv.conf": real})
    assert host.resolv_conf(tmp_path) == (real if replaced else text)


def test_the_stub_stays_without_a_replacement(tmp_path: Path) -> None:
    _lay(tmp_path, {"etc/resolv.conf": "nameserver 127.0.0.53\n"})
    assert host.resolv_conf(tmp_path) == "nameserver 127.0.0.53\n"


@pytest.mark.parametrize("wide", [True, False])
def test_only_a_static_init_will_do(tmp_path: Path, wide: bool) -> None:
    _program(tmp_path / "usr/bin/tini", 1, 3, wide=wide)
    assert host.init_program(tmp_path) == ""
    _program(tmp_path / "usr/bin/catatonit", 1, 1, wide=wide)
    assert host.init_program(tmp_path) == "/usr/bin/catatonit"
    _program(tmp_path / "usr/bin/tini-static", 1, wide=wide)
    assert host.init_program(tmp_path) == "/usr/bin/tini-static"
    (tmp_path / "usr/bin/tini-static").chmod(0o644)
    assert host.init_program(tmp_path) == "/usr/bin/catatonit"


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 58])
def test_what_is_no_program_is_not_static(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert not host.is_static_program(tmp_path / "x")
    assert not host.is_static_program(tmp_path / "missing")


def test_apparmor(tmp_path: Path) -> None:
    assert not host.host_facts(tmp_path).apparmor
    profiles = "docker-default (enforce)\n/usr/bin/man (x) (complain)\n"
    _lay(tmp_path, {"sys/module/apparmor/parameters/enabled": "Y\n", "sys/kernel/security/apparmor/profiles": profiles})
    facts = host.host_facts(tmp_path)
    assert facts.apparmor
    assert facts.extra["apparmor_profiles"] == {"docker-default", "/usr/bin/man (x)"}


def test_an_empty_root_gives_empty_facts(tmp_path: Path) -> None:
    facts = host.host_facts(tmp_path)
    assert (facts.memory_bytes, facts.hosts, facts.resolv_conf, facts.init_path, facts.capabilities) == (
        0,
        "",
        "",
        "",
        frozenset(),
    )


def test_this_host() -> None:
    facts = host.host_facts()
    assert facts.memory_bytes > 64 << 20
    assert facts.cpus >= 1
    assert facts.kernel >= (5, 6)
    assert facts.architecture in {"amd64", "arm64", "arm", "386", "ppc64le", "riscv64", "s390x", "loong64"}
    assert facts.hostname
