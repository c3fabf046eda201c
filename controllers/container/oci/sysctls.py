"""Kernel parameters that belong to the container's own namespaces. Source: namespaces(7), proc(5)."""

from __future__ import annotations

from controllers.container.oci.inputs import SpecInputs, invalid
from state.resources.limits import is_ipc_sysctl, is_net_sysctl

INJECTED = {
    # with a network of its own no port is anybody else's, and ping needs no capability
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}


def sysctls(inputs: SpecInputs) -> dict[str, str]:
    """``linux.sysctl``. Invalid for one that is not namespaced, or whose namespace is the host's."""
    result = {} if inputs.spec.get("hostNetwork") else dict(INJECTED)
    for index, entry in enumerate(inputs.spec.get("sysctls") or ()):
        field = f"spec.sysctls[{index}].name"
        name = str(entry.get("name", "")).replace("/", ".")
        if is_net_sysctl(name):
            _own(inputs, "hostNetwork", name, field)
        elif is_ipc_sysctl(name):
            _own(inputs, "hostIPC", name, field)
        else:
            raise invalid(field, f"{name!r} is not namespaced: it would change the whole host")
        result[name] = str(entry.get("value", ""))
    return result


def _own(inputs: SpecInputs, switch: str, name: str, field: str) -> None:
    if inputs.spec.get(switch):
        raise invalid(field, f"{name!r} would change the host, because spec.{switch} is true")
