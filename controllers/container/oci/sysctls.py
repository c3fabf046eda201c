"""Kernel parameters that belong to the container's own namespaces. Source: namespaces(7), proc(5)."""

from __future__ import annotations

from controllers.container.oci.inputs import SpecInputs, invalid

INJECTED = {
    # with a network of its own no port is anybody else's, and ping needs no capability
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}
_IPC_NAMES = "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced"
_IPC = frozenset(f"kernel.{name}" for name in _IPC_NAMES.split())


def sysctls(inputs: SpecInputs) -> dict[str, str]:
    """``linux.sysctl``. Invalid for one that is not namespaced, or whose namespace is the host's."""
    result = {} if inputs.spec.get("hostNetwork") else dict(INJECTED)
    for index, entry in enumerate(inputs.spec.get("sysctls") or ()):
        field = f"spec.sysctls[{index}].name"
        name = str(entry.get("name", "")).replace("/", ".")
        if name.startswith("net."):
            _own(inputs, "hostNetwork", name, field)
        elif name in _IPC or name.startswith("fs.mqueue."):
            _own(inputs, "hostIPC", name, field)
        elif name not in ("kernel.hostname", "kernel.domainname"):
            raise invalid(field, f"{name!r} is not namespaced: it would change the whole host; set it on the host")
        else:
            raise invalid(field, f"{name!r} is set by spec.hostname")
        result[name] = str(entry.get("value", ""))
    return result


def _own(inputs: SpecInputs, switch: str, name: str, field: str) -> None:
    if inputs.spec.get(switch):
        raise invalid(field, f"{name!r} would change the host, because spec.{switch} is true")
