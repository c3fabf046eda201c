"""What the document is built from, all of it resolved beforehand: nothing here reads a file or a store."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field

from controllers.container.ports import HostFacts, ImageInfo, Sandbox
from state.errors import Cause, Invalid, NotFound
from state.objects import Object

Volumes = Mapping[str, str]
"""Volume name -> path on the host."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where on the host the prepared things are; empty = not prepared.

    ``volumes``: by volume name (image volumes by the name that :func:`image_volumes` gives); a hostPath needs no entry.
    ``sub_paths``: by mountPath, the path that a subPath was safely resolved to.
    ``shm`` empty: a tmpfs of its own for /dev/shm, made by the runtime.
    """

    volumes: Volumes = field(default_factory=dict)
    sub_paths: Mapping[str, str] = field(default_factory=dict)
    hosts: str = ""
    hostname: str = ""
    resolv_conf: str = ""
    shm: str = ""


@dataclass(frozen=True, slots=True)
class SpecInputs:
    """One container's declaration with everything it refers to.

    ``id`` is the containerd id, ``uid`` the object's; ``spec`` the Container's spec as plain JSON.
    ``config_maps``/``secrets``: name -> key -> decoded value, those that exist.
    ``seccomp_profile``: the document that ``seccompProfile.localhostProfile`` names, None if it is not there.
    """

    uid: str
    id: str
    namespace: str
    name: str
    spec: Object
    image: ImageInfo
    host: HostFacts
    sandbox: Sandbox
    paths: Paths = field(default_factory=Paths)
    config_maps: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    seccomp_profile: Object | None = None

    @property
    def security(self) -> Object:
        return security_of(self.spec)

    @property
    def privileged(self) -> bool:
        return bool(self.security.get("privileged"))

    @property
    def hostname(self) -> str:
        """As core/v1: the declared one, the node's with the host's network, else the object's name."""
        if declared := self.spec.get("hostname"):
            return str(declared)
        return self.host.hostname if self.spec.get("hostNetwork") else self.name


def security_of(spec: Object) -> Object:
    return spec.get("securityContext") or {}


def image_config(image: ImageInfo) -> Object:
    """The ``config`` part of the image's document, with the fields that speak of execution."""
    return image.config.get("config") or {}


def image_volumes(spec: Object, image: ImageInfo) -> dict[str, str]:
    """Volume name -> path, for each VOLUME of the image that no volumeMount covers. The caller keeps an emptyDir per name."""
    taken = {clean_path(mount.get("mountPath", "")) for mount in spec.get("volumeMounts") or ()}
    wanted = sorted({clean_path(path) for path in image_config(image).get("Volumes") or {}} - taken - {"/", ""})
    return {f"image-{hashlib.sha256(path.encode()).hexdigest()[:12]}": path for path in wanted}


def clean_path(path: str) -> str:
    """Normal form of a path inside the container: no doubled or trailing slashes, no ``.``; empty stays empty."""
    if not path:
        return ""
    return posixpath.normpath("/" + path.lstrip("/")) if path.startswith("/") else posixpath.normpath(path)


def invalid(field: str, message: str, reason: str = "FieldValueInvalid") -> Invalid:
    """One wrong field, relative to the object's root (``spec.…``)."""
    return Invalid(f"{field}: {message}", causes=(Cause(field, message, reason),), kind="Container")


def awaited(kind: str, name: str, field: str, message: str = "") -> NotFound:
    """Something that must arrive before the container can start."""
    text = message or f"{kind} {name} does not exist yet"
    return NotFound(text, kind=kind, name=name, causes=(Cause(field, text, "FieldValueNotFound"),))
