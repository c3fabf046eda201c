"""Built documents, run for real: ``runc run`` on a busybox root, and what the process then sees of itself."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import stat
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from controllers.container.oci import Paths, SpecInputs, build, exec_process, image_volumes, live_resources
from controllers.container.oci.capabilities import DEFAULT, KNOWN
from controllers.container.ports import HostFacts, ImageInfo, Sandbox

pytestmark = pytest.mark.kernel

BUSYBOX = Path("/bin/busybox")
APPLETS = "sh cat id ls echo mount sleep hostname unshare touch env pwd chroot true dmesg readlink"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/home/web:/bin/sh\n"
GROUP = "root:x:0:\nweb:x:1000:\nlogs:x:2000:web\n"
IMAGE = ImageInfo("busybox", "sha256:0", "0", {"config": {"Cmd": ["sh"], "Env": ["FROM=image"]}}, PASSWD, GROUP)
V1 = Path("/sys/fs/cgroup/memory")


def _bounding() -> frozenset[str]:
    bits = int(_status(Path("/proc/self/status").read_text())["CapBnd"], 16)
    return frozenset(name for bit, name in enumerate(KNOWN) if bits >> bit & 1)


def _status(text: str) -> dict[str, str]:
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines()) if value}


@dataclass
class Runc:
    """runc with a root, bundles and a cgroup parent of this test's own."""

    folder: Path
    parent: str
    netns: Path

    @property
    def host(self) -> HostFacts:
        return HostFacts(
            cgroup=1 if V1.is_dir() else 2,
            systemd_cgroup=False,
            cpus=os.cpu_count() or 1,
            memory_bytes=1 << 30,
            kernel=(6, 1),
            architecture=os.uname().machine,
            hostname="node",
            apparmor=False,
            capabilities=_bounding(),
            extra={"swap_accounting": (V1 / "memory.memsw.limit_in_bytes").exists()},
        )

    def inputs(self, spec: dict[str, Any], **over: Any) -> SpecInputs:
        id = f"t{uuid.uuid4().hex[:12]}"
        known: dict[str, Any] = {"host": self.host, "paths": Paths(), "image": IMAGE} | over
        spec = {"image": "busybox", "cgroupParent": self.parent, **spec}
        return SpecInputs(id, id, "default", "web", spec, sandbox=Sandbox(id, str(self.netns)), **known)

    def bundle(self, document: dict[str, Any], id: str) -> Path:
        bundle = self.folder / id
        root = bundle / "rootfs"
        for name in ("bin", "etc", "tmp", "home/web", "root", "var/log"):
            (root / name).mkdir(parents=True)
        shutil.copy(BUSYBOX, root / "bin/busybox")
        for name in APPLETS.split():
            (root / "bin" / name).symlink_to("busybox")
        (root / "etc/passwd").write_text(PASSWD)
        (root / "etc/group").write_text(GROUP)
        (bundle / "config.json").write_text(json.dumps(document))
        return bundle

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["runc", "--root", str(self.folder / "state"), *words],
            capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, spec: dict[str, Any], **over: Any) -> str:
        inputs = self.inputs(spec, **over)
        done = self("run", "--bundle", str(self.bundle(build(inputs), inputs.id)), inputs.id)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shell(self, script: str, spec: dict[str, Any] | None = None, **over: Any) -> str:
        """The output of a script whose own exit code does not matter."""
        return self.run({**(spec or {}), "command": ["sh", "-c"], "args": [script + "\ntrue"]}, **over)


@pytest.fixture
def runc(tmp_path: Path) -> Iterator[Runc]:
    if os.geteuid() != 0 or shutil.which("runc") is None or not BUSYBOX.exists():
        pytest.skip("needs root, runc and busybox-static")
    netns = tmp_path / "netns"
    netns.touch()
    libc = ctypes.CDLL(None, use_errno=True)
    pinned = subprocess.run(["unshare", f"--net={netns}", "true"], capture_output=True, text=True, check=False)
    assert pinned.returncode == 0, pinned.stderr
    parent = f"/setpoint-test-{uuid.uuid4().hex[:8]}"
    tool = Runc(tmp_path, parent, netns)
    try:
        yield tool
    finally:
        for entry in json.loads(tool("list", "--format", "json").stdout or "[]") or []:
            tool("delete", "--force", entry["id"])
        libc.umount2(str(netns).encode(), 2)
        for group in Path("/sys/fs/cgroup").glob(f"*{parent}"):
            group.rmdir()


def test_a_default_process_is_confined(runc: Runc) -> None:
    status = _status(runc.run({"command": ["cat", "/proc/self/status"]}))
    want = sum(1 << KNOWN.index(name) for name in DEFAULT & _bounding())
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "0"
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == int(status["CapPrm"], 16) == want
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["Umask"] == "0022"


def test_seccomp_refuses_what_is_not_named(runc: Runc) -> None:
    out = runc.shell("unshare -m true 2>&1; unshare -U true 2>&1; chroot / true && echo chroot-fine; dmesg 2>&1 | cat")
    assert out.count("Operation not permitted") == 3
    assert "chroot-fine" in out


def test_every_capability_with_the_filter_on(runc: Runc) -> None:
    spec = {"securityContext": {"capabilities": {"add": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}}
    out = runc.shell("cat /proc/self/status; unshare -m mount -t tmpfs none /tmp && echo mounted", spec)
    status = _status(out)
    assert status["Seccomp"] == "2"
    assert int(status["CapEff"], 16) == sum(1 << KNOWN.index(name) for name in _bounding())
    assert "mounted" in out


def test_the_hosts_namespaces_and_a_shared_memory_folder(runc: Runc, tmp_path: Path) -> None:
    def links(of: str) -> list[str]:
        return [os.readlink(f"{of}/{name}") for name in ("net", "pid", "ipc")]

    script = "cd /proc/self/ns; for n in net pid ipc; do readlink $n; done"
    shared = runc.shell(script, {"hostNetwork": True, "hostPID": True, "hostIPC": True}).split()
    assert shared == links("/proc/self/ns")
    (tmp_path / "shm").mkdir()
    own = runc.shell(script + "; touch /dev/shm/made", paths=Paths(shm=str(tmp_path / "shm"))).split()
    assert not set(own) & set(links("/proc/self/ns"))
    assert (tmp_path / "shm/made").exists()


def test_read_only_reaches_what_is_mounted_below(runc: Runc, tmp_path: Path) -> None:
    below = tmp_path / "tree/below"
    below.mkdir(parents=True)
    spec = {
        "volumes": [{"name": "t", "hostPath": {"path": str(tmp_path / "tree")}}],
        "volumeMounts": [{"name": "t", "mountPath": "/t", "readOnly": True}],
    }
    subprocess.run(["mount", "-t", "tmpfs", "below", str(below)], check=True)
    try:
        host = replace(runc.host, extra={**runc.host.extra, "recursive_read_only": True})
        assert "Read-only file system" in runc.shell("touch /t/below/x 2>&1", spec, host=host)
        assert "Read-only file system" not in runc.shell("touch /t/below/x 2>&1", spec)
    finally:
        subprocess.run(["umount", str(below)], check=True)


def test_a_folder_over_dev_keeps_what_belongs_below(runc: Runc, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    os.mknod(tmp_path / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    spec = {
        "volumes": [{"name": "d", "hostPath": {"path": str(tmp_path / "dev")}}],
        "volumeMounts": [{"name": "d", "mountPath": "/dev"}],
    }
    out = runc.shell("while read a b c d; do echo $b; done < /proc/mounts", spec).split()
    assert [path for path in out if path.startswith("/dev")][:3] == ["/dev", "/dev/pts", "/dev/shm"]


def test_user_groups_home_and_directory(runc: Runc) -> None:
    spec = {"securityContext": {"user": "web", "supplementalGroups": [3000]}, "workingDir": "/made/here"}
    out = runc.shell(
        "id -u; id -g; id -G; echo $HOME; pwd; cat /proc/self/status | while read a b; do [ $a = CapEff: ] && echo $b; done",
        spec,
    )
    uid, gid, groups, home, cwd, effective = out.split("\n")[:6]
    assert (uid, gid, set(groups.split())) == ("1000", "1000", {"1000", "2000", "3000"})
    assert (home, cwd, int(effective, 16)) == ("/home/web", "/made/here", 0)


def test_environment_and_arguments(runc: Runc) -> None:
    spec = {
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)2"},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}],
        "command": ["echo"],
        "args": ["$(B)", "$(NONE)", "$$(A)", "$(P_X)", "$(C)"],
    }
    out = runc.run(spec, config_maps={"cm": {"X": b"x"}}, secrets={"s": {"k": b"hidden"}})
    assert out == "12 $(NONE) $(A) x hidden\n"


def test_no_new_privileges_and_dropped_capabilities(runc: Runc) -> None:
    spec = {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}}
    status = _status(runc.run({**spec, "command": ["cat", "/proc/self/status"]}))
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == 1


def test_masked_and_read_only_paths(runc: Runc) -> None:
    out = runc.shell(
        "cat /proc/kcore | cat; ls /sys/firmware; echo 1 2>&1 > /proc/sys/kernel/domainname; touch /sys/fs/cgroup/x 2>&1", {}
    )
    assert "Read-only file system" in out
    inputs = runc.inputs({"command": ["touch", "/x"], "securityContext": {"readOnlyRootFilesystem": True}})
    done = runc("run", "--bundle", str(runc.bundle(build(inputs), inputs.id)), inputs.id)
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr + done.stdout


def test_mounts(runc: Runc, tmp_path: Path) -> None:
    for name in ("data", "conf", "image-volume"):
        (tmp_path / name).mkdir()
    (tmp_path / "conf/key").write_text("value\n")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    image = ImageInfo("busybox", "sha256:0", "0", {"config": {"Volumes": {"/var/log": {}}}}, PASSWD, GROUP)
    spec = {
        "volumes": [
            {"name": "data", "hostPath": {"path": str(tmp_path / "data")}},
            {"name": "conf", "configMap": {"name": "conf"}},
        ],
        "volumeMounts": [
            {"name": "conf", "mountPath": "/data/inside/conf"},
            {"name": "data", "mountPath": "/data/"},
            {"name": "data", "mountPath": "/ro", "readOnly": True},
        ],
        "shmSize": "1Mi",
    }
    (name,) = image_volumes(spec, image)
    paths = Paths(volumes={"conf": str(tmp_path / "conf"), name: str(tmp_path / "image-volume")}, hosts=str(tmp_path / "hosts"))
    script = (
        "cat /data/inside/conf/key /etc/hosts; touch /data/made /var/log/made; touch /ro/no /data/inside/conf/no 2>&1;"
        "cat /proc/mounts | while read a b c d e; do [ $b = /dev/shm ] && echo shm $d; done"
    )
    out = runc.shell(script, spec, image=image, paths=paths)
    assert out.startswith("value\n127.0.0.1 localhost\n")
    assert out.count("Read-only file system") == 2
    assert "size=1024k" in out
    assert (tmp_path / "data/made").exists()
    assert (tmp_path / "image-volume/made").exists()


def test_namespaces_hostname_and_sysctls(runc: Runc) -> None:
    spec = {
        "hostname": "box",
        "sysctls": [{"name": "net.ipv4.ip_forward", "value": "1"}, {"name": "kernel.msgmax", "value": "9000"}],
    }
    out = runc.shell(
        "hostname; echo $HOSTNAME $$$$;cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start net/ipv4/ip_forward kernel/msgmax",
        spec,
    )
    assert out.split() == ["box", "box", "1", "0", "1", "9000"]


def test_rlimits(runc: Runc) -> None:
    spec = {"ulimits": [{"name": "nofile", "soft": 64, "hard": 128}, {"name": "core", "soft": 0}]}
    limits = runc.run({**spec, "command": ["cat", "/proc/self/limits"]})
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")] == [["64", "128"]]
    assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core file size")] == [["0", "0"]]


def test_privileged_has_no_walls(runc: Runc) -> None:
    out = runc.shell(
        "cat /proc/self/status; mount -t tmpfs none /tmp && touch /proc/sys/kernel/x 2>&1",
        {"securityContext": {"privileged": True}},
    )
    status = _status(out)
    assert status["Seccomp"] == "0"
    assert int(status["CapEff"], 16) == sum(1 << KNOWN.index(name) for name in _bounding())
    assert "Read-only" not in out


@pytest.mark.skipif(not V1.is_dir(), reason="reads cgroup v1 files")
def test_limits_on_cgroup_v1_and_live_change(runc: Runc) -> None:
    spec: dict[str, Any] = {
        "command": ["sleep", "60"],
        "resources": {"limits": {"memory": "64Mi", "cpu": "500m", "pids": 50}, "requests": {"memory": "32Mi", "cpu": "250m"}},
    }
    inputs = runc.inputs(spec)
    bundle = runc.bundle(build(inputs), inputs.id)
    null = subprocess.DEVNULL
    started = subprocess.run(
        ["runc", "--root", str(runc.folder / "state"), "run", "--detach", "--bundle", str(bundle), inputs.id],
        stdin=null, stdout=null, stderr=null, timeout=30, check=False,
    )  # fmt: skip
    assert started.returncode == 0

    def read(controller: str, name: str) -> int:
        return int(Path(f"/sys/fs/cgroup/{controller}{runc.parent}/{inputs.id}/{name}").read_text())

    assert read("memory", "memory.limit_in_bytes") == 64 << 20
    assert read("memory", "memory.soft_limit_in_bytes") == 32 << 20
    if runc.host.extra["swap_accounting"]:
        assert read("memory", "memory.memsw.limit_in_bytes") == 64 << 20
    assert (read("cpu", "cpu.cfs_quota_us"), read("cpu", "cpu.cfs_period_us"), read("cpu", "cpu.shares")) == (
        50_000,
        100_000,
        256,
    )
    assert read("pids", "pids.max") == 50

    def update(resources: dict[str, Any]) -> None:
        file = runc.folder / "update.json"
        file.write_text(json.dumps(live_resources({"resources": resources}, runc.host)))
        done = runc("update", "--resources", str(file), inputs.id)
        assert done.returncode == 0, done.stderr

    update({"limits": {"memory": "128Mi", "cpu": 1}})
    assert read("memory", "memory.limit_in_bytes") == 128 << 20
    assert (read("cpu", "cpu.cfs_quota_us"), read("cpu", "cpu.shares"), read("pids", "pids.max")) == (100_000, 1024, 16_384)
    update({})
    assert read("memory", "memory.limit_in_bytes") > 1 << 50
    assert (read("cpu", "cpu.cfs_quota_us"), read("cpu", "cpu.shares")) == (-1, 1024)
    update({"limits": {"memory": "32Mi"}})
    assert read("memory", "memory.limit_in_bytes") == 32 << 20

    process = exec_process(build(inputs), IMAGE, command=["sh", "-c", "id -u; echo $HOME $X"], user="web", env={"X": "y"})
    (runc.folder / "process.json").write_text(json.dumps(process))
    done = runc("exec", "--process", str(runc.folder / "process.json"), inputs.id)
    assert done.stdout.split() == ["1000", "/home/web", "y"], done.stderr


def test_init_is_process_one(runc: Runc, tmp_path: Path) -> None:
    init = tmp_path / "init"
    init.write_text('#!/bin/sh\nshift\necho "init $$ starts $1"\n"$@"\n')
    init.chmod(0o755)
    out = runc.run({"init": True, "command": ["sh", "-c", "echo child $PPID"]}, host=replace(runc.host, init_path=str(init)))
    assert out.split("\n")[:2] == ["init 1 starts sh", "child 1"]
