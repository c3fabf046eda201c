"""The ConfigMaps and Secrets that a Container refers to: which, what is in them now, and at which version."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from state.errors import NotFound
from state.objects import Key, Object
from state.store import StoreReader

Data = Mapping[str, Mapping[str, bytes]]
"""Object name -> key -> value."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the references of one Container hold. ``env`` and ``files`` digest (name, revision) of those used there."""

    config_maps: Data = field(default_factory=dict)
    secrets: Data = field(default_factory=dict)
    env: str = ""
    files: str = ""

    def has(self, kind: str, name: str) -> bool:
        return name in (self.secrets if kind == "Secret" else self.config_maps)


def references(spec: Object) -> tuple[frozenset[tuple[str, str]], frozenset[tuple[str, str]]]:
    """((kind, name) used by the environment, (kind, name) used by volumes)."""
    return frozenset(_in_env(spec)), frozenset(_in_volumes(spec))


def required(spec: Object) -> frozenset[tuple[str, str]]:
    """(kind, name) of those that are not marked optional, at one place at least."""
    found = [
        *(("ConfigMap", s["configMapRef"]) for s in spec.get("envFrom") or () if "configMapRef" in s),
        *(("Secret", s["secretRef"]) for s in spec.get("envFrom") or () if "secretRef" in s),
    ]
    for entry in spec.get("env") or ():
        source = entry.get("valueFrom") or {}
        found += [(kind, source[ref]) for kind, ref in _KEY_REFS if ref in source]
    for volume in spec.get("volumes") or ():
        found += [(kind, volume[ref]) for kind, ref in _VOLUME_REFS if ref in volume]
    return frozenset((kind, ref.get("name") or ref.get("secretName", "")) for kind, ref in found if not ref.get("optional"))


_KEY_REFS = (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef"))
_VOLUME_REFS = (("ConfigMap", "configMap"), ("Secret", "secret"))


async def gather(store: StoreReader, namespace: str, spec: Object) -> Gathered:
    """Reads them all; those that do not exist are left out, the caller knows which are optional."""
    in_env, in_volumes = references(spec)
    if not in_env and not in_volumes:
        return Gathered()
    found: dict[str, dict[str, Mapping[str, bytes]]] = {"ConfigMap": {}, "Secret": {}}
    versions: dict[tuple[str, str], int] = {}
    for kind, name in sorted(in_env | in_volumes):
        try:
            stored = await store.get(Key(kind, namespace, name))
        except NotFound:
            continue
        found[kind][name] = _data(stored.object)
        versions[kind, name] = stored.revision
    return Gathered(found["ConfigMap"], found["Secret"], env=_digest(in_env, versions), files=_digest(in_volumes, versions))


def _in_env(spec: Object) -> Iterator[tuple[str, str]]:
    for source in spec.get("envFrom") or ():
        if "configMapRef" in source:
            yield "ConfigMap", source["configMapRef"].get("name", "")
        if "secretRef" in source:
            yield "Secret", source["secretRef"].get("name", "")
    for entry in spec.get("env") or ():
        source = entry.get("valueFrom") or {}
        if "configMapKeyRef" in source:
            yield "ConfigMap", source["configMapKeyRef"].get("name", "")
        if "secretKeyRef" in source:
            yield "Secret", source["secretKeyRef"].get("name", "")


def _in_volumes(spec: Object) -> Iterator[tuple[str, str]]:
    for volume in spec.get("volumes") or ():
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"].get("name", "")
        if "secret" in volume:
            yield "Secret", volume["secret"].get("secretName", "")


def _data(obj: Object) -> Mapping[str, bytes]:
    if obj.get("kind") == "Secret":
        return {key: base64.b64decode(value or "") for key, value in (obj.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    binary = {key: base64.b64decode(value or "") for key, value in (obj.get("binaryData") or {}).items()}
    return {**plain, **binary}


def _digest(used: frozenset[tuple[str, str]], versions: Mapping[tuple[str, str], int]) -> str:
    if not used:
        return ""
    text = ";".join(f"{kind}/{name}@{versions.get((kind, name), 0)}" for kind, name in sorted(used))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
