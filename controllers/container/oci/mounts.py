"""What is mounted: the kernel's file systems, our files, and the volumes in order of depth.

Source: OCI ``config.md`` and ``config-linux.md`` (default file systems), containerd's default spec, core/v1 ``VolumeMount``.
"""

from __future__ import annotations

import posixpath

from controllers.container.oci import quantity
from controllers.container.oci.inputs import SpecInputs, awaited, clean_path, image_volumes, invalid
from controllers.container.oci.process import INIT_TARGET
from state.objects import Object
from state.resources.fields import in_proc

SHM_SIZE = "64Mi"
_ALWAYS_READ_ONLY = frozenset({"configMap", "secret", "projected", "downwardAPI"})
_PROPAGATION = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}
_PROC_FILES = frozenset(
    f"/proc/{name}" for name in ["cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev"]
)


def mounts(inputs: SpecInputs) -> list[Object]:
    """``mounts``: parents before children, at equal depth the kernel's file systems before everything else, so that a volume at
    /dev or /sys still gets what belongs below. A volume replaces one of ours at the same path."""
    volumes = _volume_mounts(inputs)
    taken = {mount["destination"] for mount in volumes}
    ours = [mount for mount in _kernel(inputs) + _files(inputs) if mount["destination"] not in taken]
    others = sorted(volumes + _image_volumes(inputs), key=lambda mount: str(mount["destination"]))
    return sorted(ours + others, key=lambda mount: str(mount["destination"]).count("/"))


def root_propagation(mounted: list[Object]) -> str:
    """``linux.rootfsPropagation``: as wide as the widest mount needs; empty = the runtime's default."""
    options = {option for mount in mounted for option in mount.get("options", ())}
    return "rshared" if "rshared" in options else "rslave" if "rslave" in options else ""


def _kernel(inputs: SpecInputs) -> list[Object]:
    access = "rw" if inputs.privileged else "ro"
    hard = ["nosuid", "noexec", "nodev"]
    result: list[Object] = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": list(hard)},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        _shm(inputs),
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": list(hard)},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*hard, access]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*hard, "relatime", access]},
    ]
    return result


def _shm(inputs: SpecInputs) -> Object:
    if inputs.spec.get("hostIPC"):
        return _bind("/dev/shm", "/dev/shm", ["rprivate", "rw"])  # noqa: S108  the kernel's name, not a file of ours
    if inputs.paths.shm:
        return _bind("/dev/shm", inputs.paths.shm, ["rprivate", "rw", "nosuid", "noexec", "nodev"])  # noqa: S108
    size = quantity.whole(inputs.spec.get("shmSize") or SHM_SIZE, "spec.shmSize")
    return {
        "destination": "/dev/shm",  # noqa: S108
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", f"size={size}"],
    }


def _files(inputs: SpecInputs) -> list[Object]:
    paths = inputs.paths
    ours = (("/etc/hosts", paths.hosts), ("/etc/hostname", paths.hostname), ("/etc/resolv.conf", paths.resolv_conf))
    result = [_bind(target, source, ["rprivate", "rw"]) for target, source in ours if source]
    if inputs.spec.get("init"):
        if not inputs.host.init_path:
            raise awaited("HostProgram", "init", "spec.init", "this host has no static init (tini or catatonit) for init: true")
        result.append(_bind(INIT_TARGET, inputs.host.init_path, ["rprivate", "ro"]))
    return result


def _volume_mounts(inputs: SpecInputs) -> list[Object]:
    volumes = {volume.get("name"): volume for volume in inputs.spec.get("volumes") or ()}
    result: dict[str, Object] = {}
    for index, mount in enumerate(inputs.spec.get("volumeMounts") or ()):
        field = f"spec.volumeMounts[{index}]"
        target = _target(mount, field)
        if target in result:
            raise invalid(f"{field}.mountPath", f"{target} is mounted twice", "FieldValueDuplicate")
        volume = volumes.get(mount.get("name"))
        if volume is None:
            raise invalid(f"{field}.name", f"no volume is called {mount.get('name')!r} in spec.volumes", "FieldValueNotFound")
        source = _source(inputs, volume, mount, field)
        options = [_propagation(inputs, volume, mount, source, field), _access(inputs, volume, mount, field)]
        result[target] = _bind(target, source, options)
    return list(result.values())


def _image_volumes(inputs: SpecInputs) -> list[Object]:
    result = []
    for name, path in image_volumes(inputs.spec, inputs.image).items():
        source = inputs.paths.volumes.get(name)
        if not source:
            raise awaited("Volume", name, "spec.image", f"the folder for the image's VOLUME {path} is not made yet")
        result.append(_bind(path, source, ["rprivate", "rw"]))
    return result


def _target(mount: Object, field: str) -> str:
    path = str(mount.get("mountPath", ""))
    if not path.startswith("/"):
        raise invalid(f"{field}.mountPath", f"{path!r} is not absolute; write for example /{path}")
    target = clean_path(path)
    if target == "/":
        raise invalid(f"{field}.mountPath", "the root itself cannot be mounted over")
    if in_proc(target):
        raise invalid(f"{field}.mountPath", f"{target}: the runtime refuses mounts in /proc")
    return target


def _source(inputs: SpecInputs, volume: Object, mount: Object, field: str) -> str:
    name = str(volume.get("name"))
    if mount.get("subPath") or mount.get("subPathExpr"):
        resolved = inputs.paths.sub_paths.get(mount["mountPath"])
        if not resolved:
            sub = mount.get("subPath") or mount.get("subPathExpr")
            raise awaited("Volume", f"{name}/{sub}", f"{field}.subPath", f"volume {name} has no {sub} yet")
        return resolved
    path = inputs.paths.volumes.get(name) or (volume.get("hostPath") or {}).get("path")
    if not path:
        raise awaited("Volume", name, f"{field}.name", f"volume {name} is not prepared yet")
    return str(path)


def _propagation(inputs: SpecInputs, volume: Object, mount: Object, source: str, field: str) -> str:
    declared = str(mount.get("mountPropagation") or "None")
    if declared not in _PROPAGATION:
        raise invalid(f"{field}.mountPropagation", f"{declared!r}: one of {', '.join(_PROPAGATION)}", "FieldValueNotSupported")
    if declared == "None" and "hostPath" in volume and _holds_ours(inputs, source):
        # else the container would pin the mounts that we make and remove below that folder
        return "rslave"
    return _PROPAGATION[declared]


def _holds_ours(inputs: SpecInputs, source: str) -> bool:
    """Whether our own mounts (below ``HostFacts.extra["mount_roots"]``) are seen through a bind of ``source``."""
    path = posixpath.normpath(source)
    roots = [posixpath.normpath(root) for root in inputs.host.extra.get("mount_roots") or ()]
    return any(path in ("/", root) or root.startswith(path + "/") or path.startswith(root + "/") for root in roots)


def _access(inputs: SpecInputs, volume: Object, mount: Object, field: str) -> str:
    """``rro`` makes what is mounted below read-only too, where kernel (5.12) and runtime (runc 1.1 with mount_setattr) can."""
    if not mount.get("readOnly") and not _ALWAYS_READ_ONLY & volume.keys():
        return "rw"
    able = bool(inputs.host.extra.get("recursive_read_only"))
    wish = mount.get("recursiveReadOnly")
    if wish == "Enabled" and not able:
        raise invalid(f"{field}.recursiveReadOnly", "this host's kernel or runtime cannot make mounts recursively read-only")
    return "rro" if able and wish != "Disabled" else "ro"


def _bind(target: str, source: str, options: list[str]) -> Object:
    return {"destination": target, "type": "bind", "source": source, "options": ["rbind", *options]}
