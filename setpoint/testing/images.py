"""Small images for tests, made from the host's static busybox: no registry, no builder."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from state.objects import Object

REFERENCE = "docker.io/library/busybox:test"

_APPLETS = """
sh cat cp chmod chown date dd echo env expr false grep head hostname id ip kill ln ls mkdir mount mv nc nslookup printf ps
pwd readlink rm sed seq sleep sort stat stty sync tail tee test timeout touch tr true tty umount uname wc wget whoami yes
"""

PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\napp:x:1000:1000:app:/home/app:/bin/sh\n"
GROUP = "root:x:0:\nnogroup:x:65534:\napp:x:1000:\nstaff:x:50:app\n"

_FOLDERS = ("bin", "dev", "etc", "home", "home/app", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "var")
_OCI = "application/vnd.oci.image"


@dataclass(frozen=True, slots=True)
class SmallImage:
    """A one-layer image in memory. ``config``: the ``config`` part of the OCI image config (Cmd, Env, User ...)."""

    layer: bytes
    config: Object
    reference: str = REFERENCE
    architecture: str = field(default_factory=lambda: {"aarch64": "arm64"}.get(platform.machine(), "amd64"))

    @property
    def config_bytes(self) -> bytes:
        document = {
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [digest(self.layer)]},
            "history": [],
        }
        return json.dumps(document).encode()

    @property
    def manifest_bytes(self) -> bytes:
        document = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": descriptor(self.config_bytes, f"{_OCI}.config.v1+json"),
            "layers": [descriptor(self.layer, f"{_OCI}.layer.v1.tar")],
        }
        return json.dumps(document).encode()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(data: bytes, media_type: str) -> Object:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def busybox(
    reference: str = REFERENCE,
    config: Mapping[str, object] | None = None,
    files: Mapping[str, bytes | tuple[bytes, int]] | None = None,
) -> SmallImage:
    """busybox with a passwd and a group file. ``files``: relative path -> content, or (content, mode).

    Raises FileNotFoundError when the host has no busybox.
    """
    merged: Object = {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["sh"], **(config or {})}
    return SmallImage(_layer(files or {}), merged, reference)


def _layer(files: Mapping[str, bytes | tuple[bytes, int]]) -> bytes:
    program = shutil.which("busybox")
    if program is None:
        raise FileNotFoundError("busybox (Debian: busybox-static) is not installed")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder in _FOLDERS:
            _add(tar, folder, mode=0o1777 if folder == "tmp" else 0o755, kind=tarfile.DIRTYPE)
        _add(tar, "bin/busybox", Path(program).read_bytes(), 0o755)
        for applet in _APPLETS.split():
            _add(tar, f"bin/{applet}", kind=tarfile.SYMTYPE, target="busybox")
        _add(tar, "etc/passwd", PASSWD.encode())
        _add(tar, "etc/group", GROUP.encode())
        for path, given in sorted(files.items()):
            content, mode = given if isinstance(given, tuple) else (given, 0o644)
            _add(tar, path.strip("/"), content, mode)
    return buffer.getvalue()


def _add(
    tar: tarfile.TarFile, path: str, content: bytes = b"", mode: int = 0o644, kind: bytes = tarfile.REGTYPE, target: str = ""
) -> None:
    entry = tarfile.TarInfo(path)
    entry.mode, entry.type, entry.linkname, entry.size = mode, kind, target, len(content)
    tar.addfile(entry, io.BytesIO(content))


def busybox_archive(
    path: Path,
    *,
    reference: str = REFERENCE,
    config: Mapping[str, object] | None = None,
    files: Mapping[str, bytes | tuple[bytes, int]] | None = None,
    layout: Literal["docker", "oci"] = "docker",
) -> Path:
    """A tar that ``docker load``, ``ctr images import`` and ``setpoint image load`` read; returns its path."""
    image = busybox(reference, config, files)
    entries = _docker_archive(image) if layout == "docker" else _oci_layout(image)
    with tarfile.open(path, "w") as tar:
        for name, content in entries.items():
            _add(tar, name, content)
    return path


def _docker_archive(image: SmallImage) -> dict[str, bytes]:
    config_name = f"{digest(image.config_bytes).removeprefix('sha256:')}.json"
    short = image.reference.removeprefix("docker.io/library/")
    listing = [{"Config": config_name, "RepoTags": [short], "Layers": ["layer/layer.tar"]}]
    return {config_name: image.config_bytes, "layer/layer.tar": image.layer, "manifest.json": json.dumps(listing).encode()}


def _oci_layout(image: SmallImage) -> dict[str, bytes]:
    entry = descriptor(image.manifest_bytes, f"{_OCI}.manifest.v1+json")
    entry["annotations"] = {
        "io.containerd.image.name": image.reference,
        "org.opencontainers.image.ref.name": image.reference.rsplit(":", 1)[-1],
    }
    index = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": [entry]}
    blobs = {f"blobs/sha256/{digest(b)[7:]}": b for b in (image.layer, image.config_bytes, image.manifest_bytes)}
    return {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode(), **blobs}
