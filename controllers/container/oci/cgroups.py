"""Where the container's cgroup is. Source: runc ``docs/systemd.md`` for the ``slice:prefix:name`` form."""

from __future__ import annotations

from controllers.container.oci.inputs import SpecInputs, clean_path, invalid

PARENT = "/setpoint"
SLICE = "setpoint.slice"
PREFIX = "setpoint"


def cgroups_path(inputs: SpecInputs) -> str:
    """``linux.cgroupsPath``: ``/setpoint/ID`` with cgroupfs, ``setpoint.slice:setpoint:ID`` (a scope) with systemd."""
    parent = str(inputs.spec.get("cgroupParent") or "")
    if not inputs.host.systemd_cgroup:
        if ".." in parent.split("/"):
            raise invalid("spec.cgroupParent", f"{parent!r} must not contain ..")
        return f"{clean_path('/' + parent.lstrip('/')) if parent else PARENT}".rstrip("/") + f"/{inputs.id}"
    unit = parent or SLICE
    if "/" in unit or not unit.endswith(".slice") or unit == ".slice":
        raise invalid("spec.cgroupParent", f"{parent!r} is no slice; with systemd write for example {SLICE}")
    return f"{unit}:{PREFIX}:{inputs.id}"
