"""The process's environment: defaults, then the image's, then ``envFrom``, then ``env``; and core/v1's ``$(VAR)``.

Source: kubelet's ``makeEnvironmentVariables`` and ``third_party/forked/golang/expansion`` for what a reference may see:
names declared before it in the container (``envFrom`` included), never the image's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from controllers.container.oci import quantity
from controllers.container.oci.inputs import SpecInputs, awaited, image_config, invalid
from state.objects import Object

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\))")
_NAME = re.compile(r"^[^=\x00-\x1f\x7f]+$")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``$(NAME)`` becomes its value, an unknown one stays as typed, ``$$`` becomes ``$`` (so ``$$(NAME)`` is ``$(NAME)``)."""

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$" if name is None else variables.get(name, match.group(0))

    return _REFERENCE.sub(replace, text)


def declared(inputs: SpecInputs) -> dict[str, str]:
    """What the declaration adds: ``envFrom`` in order, then ``env`` in order; later wins. Command and args see these."""
    variables: dict[str, str] = {}
    for index, source in enumerate(inputs.spec.get("envFrom") or ()):
        variables.update(_from_source(inputs, source, f"spec.envFrom[{index}]"))
    for index, entry in enumerate(inputs.spec.get("env") or ()):
        value = _value(inputs, entry, variables, f"spec.env[{index}]")
        if value is not None:
            variables[entry["name"]] = value
    return variables


def environment(inputs: SpecInputs, own: Mapping[str, str], home: str) -> list[str]:
    """``process.env`` in a stable order. ``own`` is :func:`declared`."""
    merged = {"PATH": DEFAULT_PATH, "HOSTNAME": inputs.hostname}
    if inputs.spec.get("tty"):
        merged["TERM"] = "xterm"
    merged |= pairs(image_config(inputs.image).get("Env") or ())
    merged |= own
    merged.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in merged.items()]


def pairs(lines: object) -> dict[str, str]:
    """``NAME=value`` lines as a mapping; lines without a name are left out."""
    result: dict[str, str] = {}
    for line in lines if isinstance(lines, list | tuple) else ():
        name, _, value = str(line).partition("=")
        if name:
            result[name] = value
    return result


def _from_source(inputs: SpecInputs, source: Object, field: str) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    for ref_name, kind, known in (
        ("configMapRef", "ConfigMap", inputs.config_maps),
        ("secretRef", "Secret", inputs.secrets),
    ):
        ref = source.get(ref_name)
        if not ref:
            continue
        data = known.get(ref.get("name", ""))
        if data is None:
            if ref.get("optional"):
                return {}
            raise awaited(kind, ref.get("name", ""), f"{field}.{ref_name}.name")
        # core/v1 skips keys that cannot be names of variables instead of failing the container
        return {prefix + key: _text(value) for key, value in sorted(data.items()) if _NAME.match(prefix + key)}
    return {}


def _value(inputs: SpecInputs, entry: Object, before: Mapping[str, str], field: str) -> str | None:
    """None = leave it out (an optional reference to nothing)."""
    if entry.get("value"):
        return expand(str(entry["value"]), before)
    source = entry.get("valueFrom")
    if not source:
        return ""
    if ref := source.get("configMapKeyRef"):
        return _key(ref, "ConfigMap", inputs.config_maps, f"{field}.valueFrom.configMapKeyRef")
    if ref := source.get("secretKeyRef"):
        return _key(ref, "Secret", inputs.secrets, f"{field}.valueFrom.secretKeyRef")
    if ref := source.get("fieldRef"):
        return _field(inputs, ref.get("fieldPath", ""), f"{field}.valueFrom.fieldRef.fieldPath")
    if ref := source.get("resourceFieldRef"):
        return _resource(inputs, ref, f"{field}.valueFrom.resourceFieldRef")
    raise invalid(f"{field}.valueFrom", "names no source; use configMapKeyRef, secretKeyRef, fieldRef or resourceFieldRef")


def _key(ref: Object, kind: str, known: Mapping[str, Mapping[str, bytes]], field: str) -> str | None:
    name, key = ref.get("name", ""), ref.get("key", "")
    data = known.get(name)
    if data is not None and key in data:
        return _text(data[key])
    if ref.get("optional"):
        return None
    if data is None:
        raise awaited(kind, name, f"{field}.name")
    raise awaited(kind, f"{name}/{key}", f"{field}.key", f"{kind} {name} has no key {key!r} yet")


def _field(inputs: SpecInputs, path: str, field: str) -> str:
    simple = {
        "metadata.name": inputs.name,
        "metadata.namespace": inputs.namespace,
        "metadata.uid": inputs.uid,
        "spec.nodeName": inputs.spec.get("nodeName") or inputs.host.hostname,
    }
    if path in simple:
        return str(simple[path])
    match = re.match(r"^metadata\.(labels|annotations)\['(.+)'\]$", path)
    if match is None:
        raise invalid(
            field,
            f"{path!r} cannot be read; known are {', '.join(simple)}, metadata.labels['KEY'], metadata.annotations['KEY']",
        )
    return (inputs.labels if match.group(1) == "labels" else inputs.annotations).get(match.group(2), "")


def _resource(inputs: SpecInputs, ref: Object, field: str) -> str:
    """core/v1: a limit that is not set reads as what the node has; divided by ``divisor`` and rounded up."""
    group, _, name = str(ref.get("resource", "")).partition(".")
    if group not in ("limits", "requests") or name not in ("cpu", "memory", "pids"):
        raise invalid(f"{field}.resource", f"{ref.get('resource')!r} is unknown; write limits.memory or requests.cpu")
    resources = inputs.spec.get("resources") or {}
    node = {"cpu": inputs.host.cpus, "memory": inputs.host.memory_bytes, "pids": 0}
    fallback = node[name] if group == "limits" else 0
    amount = quantity.parse((resources.get(group) or {}).get(name, fallback), f"spec.resources.{group}.{name}")
    divisor = quantity.parse(ref.get("divisor") or 1, f"{field}.divisor").nanos or quantity.parse(1, field).nanos
    return str(-(-amount.nanos // divisor))


def _text(value: bytes) -> str:
    """Environment is bytes to the kernel and text to JSON: what is not UTF-8 is replaced rather than refused."""
    return value.decode("utf-8", "replace")
