"""What the doctor finds."""

from __future__ import annotations

import os
import resource
import sys
import types
from pathlib import Path

import pytest

from setpoint.drivers import doctor


def _by_name(rows: list[doctor.Check]) -> dict[str, doctor.Check]:
    return {row["name"]: row for row in rows}


def test_every_row_is_complete_and_named_once(tmp_path: Path) -> None:
    rows = doctor.checks(tmp_path / "not" / "there", tmp_path)
    assert len(_by_name(rows)) == len(rows) >= 15
    for row in rows:
        assert row["found"]
        assert row["need"]
        assert row["severity"] in {"error", "warning", "info"}
    assert os.listdir(tmp_path) == []


def test_this_interpreter_passes(tmp_path: Path) -> None:
    rows = _by_name(doctor.checks(tmp_path, tmp_path))
    assert all(rows[name]["ok"] for name in ("Linux", "kernel", "Python", "packages", "libraries"))


def _put_program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("program", "says", "check", "ok", "found"),
    [
        ("runc", "runc version 1.1.5+ds1", "OCI runtime", True, "runc 1.1.5"),
        ("runc", "runc version 1.0.3", "OCI runtime", False, "runc 1.0.3"),
        ("crun", "crun version 1.8.1", "OCI runtime", True, "crun 1.8.1"),
        ("containerd", "containerd github.com/containerd/containerd v2.4.2 abc", "containerd", True, "containerd 2.4.2"),
        ("containerd", "containerd github.com/containerd/containerd 1.6.20~ds1 x", "containerd", True, "containerd 1.6.20"),
        ("containerd", "containerd github.com/containerd/containerd 1.4.13 x", "containerd", False, "containerd 1.4.13"),
        ("containerd", "garbage", "containerd", False, "not on PATH"),
        ("other", "", "OCI runtime", False, "none on PATH"),
    ],
)
def test_programs_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, says: str, check: str, ok: bool, found: str
) -> None:
    _put_program(tmp_path, program, f"echo '{says}'")
    monkeypatch.setenv("PATH", str(tmp_path))
    row = _by_name(doctor.checks(tmp_path, tmp_path))[check]
    assert (row["ok"], row["found"]) == (ok, found)


def test_a_program_that_fails_counts_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _put_program(tmp_path, "runc", "sleep 60")
    monkeypatch.setattr(doctor, "PROGRAM_LIMIT_S", 0.05)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert doctor._version("runc") == ""


def test_an_external_containerd_needs_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    rows = _by_name(doctor.checks(tmp_path, tmp_path, private_containerd=False))
    assert (rows["containerd"]["ok"], rows["containerd"]["severity"]) == (False, "info")


def test_packages_of_somebody_else_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = types.ModuleType("state")
    foreign.__file__ = str(tmp_path / "state" / "__init__.py")
    monkeypatch.setitem(sys.modules, "state", foreign)
    row = doctor._packages()
    assert not row["ok"]
    assert f"state in {tmp_path}" in row["found"]


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MIN_FREE_INODES", 1 << 60)
    row = doctor._disk("disk", tmp_path / "deep" / "er")
    assert not row["ok"] or os.statvfs(tmp_path).f_files == 0
    assert str(tmp_path) in row["found"]


@pytest.mark.parametrize(("hard", "ok"), [(1024, False), (65_536, True), (resource.RLIM_INFINITY, True)])
def test_open_files(monkeypatch: pytest.MonkeyPatch, hard: int, ok: bool) -> None:
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda _which: (1024, hard))
    assert doctor._open_files()["ok"] is ok


def test_without_root_the_kernel_is_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    rows = _by_name(doctor.checks(tmp_path, tmp_path))
    assert not rows["root"]["ok"]
    assert "overlayfs" not in rows


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_kernel_is_tried_for_real(tmp_path: Path) -> None:
    rows = _by_name(doctor.checks(tmp_path, tmp_path))
    assert all(rows[name]["ok"] for name in ("overlayfs", "tmpfs", "network namespaces", "capabilities"))
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert doctor._try_in_own_mounts(lambda: doctor.libc.mount("x", "/", "no-such-fs")) == "No such device"
