"""Which namespaces the container gets, and which are the host's. Source: namespaces(7), OCI ``config-linux.md``."""

from __future__ import annotations

from controllers.container.oci.inputs import SpecInputs, invalid
from state.objects import Object


def namespaces(inputs: SpecInputs) -> list[Object]:
    """``linux.namespaces``: a type that is left out is the host's. UTS is always its own: a hostname may be declared."""
    spec = inputs.spec
    result: list[Object] = [{"type": "mount"}, {"type": "uts"}]
    if not spec.get("hostPID"):
        result.append({"type": "pid"})
    if not spec.get("hostIPC"):
        result.append({"type": "ipc"})
    if not spec.get("hostNetwork"):
        if not inputs.sandbox.netns:
            raise invalid("spec.hostNetwork", "is false, and there is no network namespace to join")
        result.append({"type": "network", "path": inputs.sandbox.netns})
    if inputs.host.cgroup == 2:
        # v1 keeps the host's view, as Docker does: the mounts are read-only and bound to the container's own groups anyway
        result.append({"type": "cgroup"})
    return result
