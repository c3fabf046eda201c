"""Device nodes and the device cgroup. Source: OCI ``config-linux.md`` (default devices), Linux ``devices.txt``."""

from __future__ import annotations

from controllers.container.oci.inputs import SpecInputs, awaited, clean_path, invalid
from state.objects import Object

_CHARACTER = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
    "console": (5, 1),
    "ptmx": (5, 2),
}
_PTS_MAJOR = 136


def rules(inputs: SpecInputs) -> list[Object]:
    """``linux.resources.devices``: nothing, then the few that every program expects, then the declared ones."""
    if inputs.privileged:
        return [{"allow": True, "access": "rwm"}]
    result: list[Object] = [{"allow": False, "access": "rwm"}]
    result += [
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"} for major, minor in _CHARACTER.values()
    ]
    result.append({"allow": True, "type": "c", "major": _PTS_MAJOR, "access": "rwm"})
    for node, access in _declared(inputs):
        result.append({"allow": True, "type": node["type"], "major": node["major"], "minor": node["minor"], "access": access})
    return result


def nodes(inputs: SpecInputs) -> list[Object]:
    """``linux.devices``: what the runtime makes beside its own defaults. Privileged: every device of the host
    (``HostFacts.extra["devices"]``: ``{path, type, major, minor, fileMode, uid, gid}``)."""
    found = {}
    if inputs.privileged:
        found = {node["path"]: dict(node) for node in _host(inputs).values()}
    for node, _ in _declared(inputs):
        found[node["path"]] = node
    return [found[path] for path in sorted(found)]


def _declared(inputs: SpecInputs) -> list[tuple[Object, str]]:
    result = []
    for index, entry in enumerate(inputs.spec.get("devices") or ()):
        field = f"spec.devices[{index}]"
        path = clean_path(str(entry.get("hostPath", "")))
        known = _host(inputs).get(path)
        if known is None:
            raise awaited("Device", path, f"{field}.hostPath", f"device {path} is not on this host")
        access = str(entry.get("permissions") or "rwm")
        if not set(access) <= set("rwm"):
            raise invalid(f"{field}.permissions", f"{access!r}: only the letters r, w and m")
        result.append(({**known, "path": clean_path(str(entry.get("containerPath") or path))}, access))
    return result


def _host(inputs: SpecInputs) -> dict[str, Object]:
    return {node["path"]: node for node in inputs.host.extra.get("devices") or ()}
