"""Which changes of a declaration need a new container: the hash of the fields that cannot change live.

Equal meaning, equal hash: the order of keys, of names in lists that are sets, an absent field and its default, ``1000m`` and
``1``, ``nginx`` and ``docker.io/library/nginx:latest``. The image's digest is not part of it: it moves by policy, not by
declaration.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controllers.container.oci import quantity
from controllers.container.oci.inputs import clean_path
from controllers.container.oci.resources import PIDS
from state.errors import Invalid
from state.objects import Object
from state.references import normalise

_OURS = """
runState restartPolicy restart autoRemove updateStrategy terminationGracePeriodSeconds stopSignal priority logging
imagePullPolicy imagePullSecrets nodeName nodeSelector tolerations
"""
LIVE = frozenset(_OURS.split())
"""Fields of the spec that the loop obeys without touching the process."""

_LIVE_LIMITS = ("memory", "cpu", "pids")
_LIVE_LINUX = ("memorySwap",)
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a value becomes canonical. ``default``: dropped when equal to it (and when null). ``key``: the items are a set or
    a map by that field (``""``: plain values), so their order means nothing. ``keep_empty``: presence itself says something."""

    default: Any = _ABSENT
    fields: Mapping[str, _Rule] = field(default_factory=dict)
    items: _Rule | None = None
    key: str | None = None
    convert: Callable[[Any], Any] | None = None
    keep_empty: bool = False


def _by(name: str, **fields: _Rule) -> _Rule:
    return _Rule(items=_Rule(fields=fields), key=name)


def _capability(value: object) -> str:
    name = str(value).upper()
    return name if name in ("ALL", "CAP_ALL") else f"CAP_{name.removeprefix('CAP_')}"


def _reference(value: object) -> object:
    try:
        return normalise(str(value))
    except Invalid:
        return value


_FALSE, _QUANTITY = _Rule(default=False), _Rule(convert=quantity.canonical)
_SET_OF_WORDS = _Rule(key="")
_PATH = _Rule(convert=lambda value: clean_path(str(value)))
_REFERENCE = _Rule(fields={"optional": _FALSE, "onChange": _Rule(default="None")})
_SOURCE_FILES = {
    "defaultMode": _Rule(default=0o644),
    "optional": _FALSE,
    "items": _by("key"),
    "onChange": _Rule(default="None"),
}
_PROBE = _Rule(keep_empty=True)

_ENV = _Rule(
    items=_Rule(
        fields={
            "value": _Rule(default=""),
            "valueFrom": _Rule(
                fields={
                    "configMapKeyRef": _REFERENCE,
                    "secretKeyRef": _REFERENCE,
                    "fieldRef": _Rule(fields={"apiVersion": _Rule(default="v1")}),
                    "resourceFieldRef": _Rule(
                        fields={"divisor": _Rule(default=quantity.canonical(1), convert=quantity.canonical)}
                    ),
                }
            ),
        }
    )
)
_ENV_FROM = _Rule(items=_Rule(fields={"prefix": _Rule(default=""), "configMapRef": _REFERENCE, "secretRef": _REFERENCE}))
_VOLUMES = _by(
    "name",
    hostPath=_Rule(fields={"type": _Rule(default=""), "onLost": _Rule(default="Stop"), "requireMountPoint": _FALSE}),
    emptyDir=_Rule(fields={"medium": _Rule(default=""), "sizeLimit": _QUANTITY}, keep_empty=True),
    configMap=_Rule(fields=_SOURCE_FILES),
    secret=_Rule(fields=_SOURCE_FILES),
    projected=_Rule(fields={"defaultMode": _Rule(default=0o644)}),
)
_VOLUME_MOUNTS = _by(
    "mountPath",
    mountPath=_PATH,
    readOnly=_FALSE,
    recursiveReadOnly=_Rule(default="IfPossible"),
    mountPropagation=_Rule(default="None"),
    subPath=_Rule(default=""),
    subPathExpr=_Rule(default=""),
)
_SECURITY = _Rule(
    fields={
        "privileged": _FALSE,
        "allowPrivilegeEscalation": _Rule(default=True),
        "readOnlyRootFilesystem": _FALSE,
        "runAsNonRoot": _FALSE,
        "procMount": _Rule(default="Default"),
        "supplementalGroups": _SET_OF_WORDS,
        "supplementalGroupsPolicy": _Rule(default="Merge"),
        "fsGroupChangePolicy": _Rule(default="Always"),
        "capabilities": _Rule(
            fields={
                "add": _Rule(items=_Rule(convert=_capability), key=""),
                "drop": _Rule(items=_Rule(convert=_capability), key=""),
            }
        ),
    }
)
_RESOURCES = _Rule(
    fields={
        "limits": _Rule(items=_QUANTITY),
        "requests": _Rule(items=_QUANTITY),
        "linux": _Rule(fields={"hugepages": _Rule(items=_QUANTITY), "oomScoreAdj": _Rule(default=0)}),
    }
)
_SPEC = _Rule(
    fields={
        "image": _Rule(convert=_reference),
        "env": _ENV,
        "envFrom": _ENV_FROM,
        "workingDir": _Rule(default=""),
        "ports": _Rule(items=_Rule(fields={"protocol": _Rule(default="TCP")}), key="containerPort"),
        "volumes": _VOLUMES,
        "volumeMounts": _VOLUME_MOUNTS,
        "securityContext": _SECURITY,
        "resources": _RESOURCES,
        "hostname": _Rule(default=""),
        "hostNetwork": _FALSE,
        "hostPID": _FALSE,
        "hostIPC": _FALSE,
        "hostUsers": _Rule(default=True),
        "dnsPolicy": _Rule(default="Default"),
        "tty": _FALSE,
        "stdin": _FALSE,
        "stdinOnce": _FALSE,
        "init": _FALSE,
        "runtime": _Rule(default="runc"),
        "shmSize": _Rule(default=quantity.canonical("64Mi"), convert=quantity.canonical),
        "cgroupParent": _Rule(default=""),
        "devices": _by("containerPath", permissions=_Rule(default="rwm")),
        "ulimits": _by("name"),
        "sysctls": _by("name"),
        "startupProbe": _PROBE,
        "readinessProbe": _PROBE,
        "livenessProbe": _PROBE,
        "lifecycle": _PROBE,
    }
)
_LIVE_RULES = _Rule(
    fields={
        "resources": _Rule(
            fields={
                "limits": _Rule(
                    fields={"pids": _Rule(default=quantity.canonical(PIDS), convert=quantity.canonical)}, items=_QUANTITY
                ),
                "requests": _Rule(items=_QUANTITY),
                "linux": _Rule(fields={"memorySwap": _QUANTITY}),
            }
        ),
        "logging": _Rule(
            fields={
                "maxSize": _Rule(default=quantity.canonical("10Mi"), convert=quantity.canonical),
                "maxFiles": _Rule(default=5),
            }
        ),
    }
)


def revision_fields(spec: Object) -> Object:
    """The part of ``spec`` that cannot change live, in canonical form. A value that makes no sense stays as it is."""
    rest = {name: value for name, value in spec.items() if name not in LIVE}
    if isinstance(rest.get("resources"), dict):
        rest["resources"] = _without_live(rest["resources"])
    rest = _inherited(rest)
    canonical = _canonical(rest, _SPEC)
    return canonical if isinstance(canonical, dict) else {}


def revision_hash(spec: Object) -> str:
    """64 hex digits, equal for specs between which a running container need not be replaced."""
    return _digest(revision_fields(spec))


def live_fields(spec: Object) -> Object:
    """The part that is applied to a running task and its log, in canonical form: limits and ``logging``."""
    resources = spec.get("resources") or {}
    limits = _only(resources.get("limits"), _LIVE_LIMITS)
    requests = _only(resources.get("requests"), _LIVE_LIMITS)
    if "cpu" in limits:
        requests.setdefault("cpu", limits["cpu"])
    live = {
        "resources": {"limits": limits, "requests": requests, "linux": _only(resources.get("linux"), (*_LIVE_LINUX, "cpuset"))},
        "logging": spec.get("logging"),
    }
    canonical = _canonical(live, _LIVE_RULES)
    return canonical if isinstance(canonical, dict) else {}


def live_hash(spec: Object) -> str:
    """64 hex digits, equal for specs between which nothing need be applied to a running task."""
    return _digest(live_fields(spec))


def _digest(fields: Object) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _only(values: object, names: Iterable[str]) -> Object:
    return {name: values[name] for name in names if values.get(name) is not None} if isinstance(values, dict) else {}


def _without_live(resources: Object) -> Object:
    result: Object = {}
    for group, values in resources.items():
        if group in ("limits", "requests") and isinstance(values, dict):
            result[group] = {name: value for name, value in values.items() if name not in _LIVE_LIMITS}
        elif group == "linux" and isinstance(values, dict):
            result[group] = {name: value for name, value in values.items() if name not in _LIVE_LINUX}
            if values.get("cpuset"):
                # a new value is written live; that there is one cannot be taken back, as cgroup v1 has no empty cpuset
                result[group]["cpuset"] = _parts_of_cpuset(values["cpuset"])
        else:
            result[group] = values
    return result


def _parts_of_cpuset(cpuset: object) -> list[str]:
    return sorted(name for name, value in cpuset.items() if value) if isinstance(cpuset, dict) else ["cpus"]


def _inherited(spec: Object) -> Object:
    """Defaults that depend on a neighbour: a device's path, a ulimit's one number, the filter."""
    result = dict(spec)
    for name, fill in (("devices", _device), ("ulimits", _ulimit)):
        if isinstance(spec.get(name), list):
            result[name] = [fill(entry) if isinstance(entry, dict) else entry for entry in spec[name]]
    security = spec.get("securityContext")
    if isinstance(security, dict):
        default = "Unconfined" if security.get("privileged") else "RuntimeDefault"
        if security.get("seccompProfile") == {"type": default}:
            result["securityContext"] = {name: value for name, value in security.items() if name != "seccompProfile"}
    return result


def _device(entry: Object) -> Object:
    return {"containerPath": entry.get("hostPath"), **entry}


def _ulimit(entry: Object) -> Object:
    return {**entry, "soft": entry.get("soft", entry.get("hard")), "hard": entry.get("hard", entry.get("soft"))}


def _canonical(value: Any, rule: _Rule) -> Any:
    """The canonical form, or the marker for absent."""
    if value is None:
        return _ABSENT
    if isinstance(value, dict):
        parts = {name: _canonical(part, rule.fields.get(name) or rule.items or _Rule()) for name, part in value.items()}
        value = {name: part for name, part in parts.items() if part is not _ABSENT}
    elif isinstance(value, list):
        value = _items(value, rule)
    elif rule.convert is not None:
        value = rule.convert(value)
    if value == rule.default and type(value) is type(rule.default):
        return _ABSENT
    return _ABSENT if value in ({}, []) and not rule.keep_empty else value


def _items(values: list[Any], rule: _Rule) -> list[Any]:
    items = [_canonical(item, rule.items or _Rule(keep_empty=True)) for item in values]
    kept = [item for item in items if item is not _ABSENT]
    if rule.key is None:
        return kept
    kept.sort(
        key=lambda item: (_sort_text(item.get(rule.key) if rule.key and isinstance(item, dict) else item), _sort_text(item))
    )
    return [item for index, item in enumerate(kept) if rule.key or index == 0 or item != kept[index - 1]]


def _sort_text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)
