"""The shape of hostile cases, and the builders that keep a twin one edit away from its sibling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from state.objects import Object

CONTAINER: Final = "setpoint.dev/v1alpha1"


@dataclass(frozen=True, slots=True)
class Hostile:
    """``field`` and ``fragment``: of one of the error's causes. ``reason``: of the Status."""

    name: str
    object: Object
    twin: Object
    field: str
    fragment: str
    reason: str = "Invalid"


@dataclass(frozen=True, slots=True)
class HostileText:
    """A file that cannot be read into objects; ``fragment`` is part of the message, which names the line."""

    name: str
    text: bytes
    twin: bytes
    fragment: str


def container(meta: Object | None = None, **spec: Any) -> Object:
    """A minimal Container with these fields of spec; None takes a field away."""
    whole = {"image": "docker.io/library/busybox:1.36", **spec}
    return {
        "apiVersion": CONTAINER,
        "kind": "Container",
        "metadata": {"name": "web", "namespace": "default", **(meta or {})},
        "spec": {key: value for key, value in whole.items() if value is not None},
    }


def data_object(kind: str, **fields: Any) -> Object:
    """A Secret or ConfigMap."""
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "conf", "namespace": "default"}, **fields}


def spec_case(name: str, field: str, fragment: str, bad: Object, good: Object, reason: str = "Invalid") -> Hostile:
    return Hostile(name, container(**bad), container(**good), field, fragment, reason)


def meta_case(name: str, field: str, fragment: str, bad: Object, good: Object) -> Hostile:
    return Hostile(name, container(bad), container(good), field, fragment)


def foreign_word(word: str, value: object, fragment: str, good: Object) -> Hostile:
    """A word of another tool in spec."""
    return spec_case(f"foreign word {word}", f"spec.{word}", fragment, {word: value}, good, "BadRequest")


def not_yet(name: str, value: object) -> Hostile:
    return spec_case(f"not yet {name}", f"spec.{name}", "not supported yet", {name: value}, {})


def with_volume(source: Object) -> Object:
    return {"volumes": [{"name": "data", **source}], "volumeMounts": [{"name": "data", "mountPath": "/data"}]}


def with_mount(**mount: Any) -> Object:
    return {"volumes": [{"name": "data", "emptyDir": {}}], "volumeMounts": [{"name": "data", "mountPath": "/data", **mount}]}


def with_security(**fields: Any) -> Object:
    return {"securityContext": fields}


def with_limits(**fields: Any) -> Object:
    return {"resources": {"limits": fields}}
