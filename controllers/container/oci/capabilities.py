"""Linux capabilities: Docker's 14 by default, changed by ``add`` and ``drop``.

Source: capabilities(7), ``linux/capability.h``.
"""

from __future__ import annotations

from collections.abc import Iterable

from controllers.container.oci.inputs import SpecInputs, invalid
from controllers.container.ports import HostFacts
from state.objects import Object

_BY_BIT = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST
NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE
SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
KNOWN = tuple(f"CAP_{name}" for name in _BY_BIT.split())
"""In the kernel's order: the position is the bit."""

_DOCKER = """
CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE
"""
DEFAULT = frozenset(f"CAP_{name}" for name in _DOCKER.split())


def available(host: HostFacts | None) -> frozenset[str]:
    """What this host can grant; everything known when it does not say."""
    told = frozenset(_spelled(name) for name in host.capabilities) if host else frozenset()
    return frozenset(KNOWN) & told if told else frozenset(KNOWN)


def granted(inputs: SpecInputs) -> frozenset[str]:
    """``(default or ALL) + add - drop``; ``drop: [ALL]`` with ``add`` is exactly ``add``. Privileged: all that the host has."""
    can = available(inputs.host)
    if inputs.privileged:
        return can
    declared = inputs.security.get("capabilities") or {}
    add = _names(declared.get("add") or (), "spec.securityContext.capabilities.add")
    drop = _names(declared.get("drop") or (), "spec.securityContext.capabilities.drop")
    for name in sorted(add - {"ALL"}):
        if name not in can:
            raise invalid("spec.securityContext.capabilities.add", f"this host cannot grant {name}")
    everything = frozenset(KNOWN) if "ALL" in add else frozenset()
    if "ALL" in drop:
        return (everything | add) & can
    return (((everything or DEFAULT) | add) - drop) & can


def to_oci(names: Iterable[str], uid: int) -> Object:
    """``process.capabilities``. A user other than root gets the bounding set only, as execve would leave it: so its file
    permissions count already when the runtime executes the command. Inheritable and ambient stay empty."""
    ordered = [name for name in KNOWN if name in set(names)]
    if uid != 0:
        return {"bounding": ordered, "effective": [], "permitted": [], "inheritable": [], "ambient": []}
    return {"bounding": ordered, "effective": ordered, "permitted": ordered, "inheritable": [], "ambient": []}


def _names(values: Iterable[object], field: str) -> frozenset[str]:
    result = set()
    for value in values:
        name = _spelled(str(value))
        if name != "ALL" and name not in KNOWN:
            raise invalid(field, f"unknown capability {value!r}; write for example NET_ADMIN", "FieldValueNotSupported")
        result.add(name)
    return frozenset(result)


def _spelled(name: str) -> str:
    upper = name.strip().upper()
    if upper in ("ALL", "CAP_ALL"):
        return "ALL"
    return upper if upper.startswith("CAP_") else f"CAP_{upper}"
