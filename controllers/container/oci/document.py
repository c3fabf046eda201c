"""The whole document, put together from its concerns."""

from __future__ import annotations

from controllers.container.oci import (
    cgroups,
    devices,
    mounts,
    namespaces,
    paths,
    process,
    resources,
    seccomp,
    sysctls,
    user,
)
from controllers.container.oci.inputs import SpecInputs
from state.objects import Object

VERSION = "1.0.2"


def build(inputs: SpecInputs) -> Object:
    """The OCI runtime specification of this container, ready to be JSON. Same inputs, same document.

    Raises Invalid: the declaration cannot work with this image on this host. NotFound: ``kind`` and ``name`` must arrive first.
    """
    mounted = mounts.mounts(inputs)
    return {
        "ociVersion": VERSION,
        "process": process.process(inputs, user.identity(inputs)),
        "root": {"path": "rootfs", "readonly": bool(inputs.security.get("readOnlyRootFilesystem"))},
        "hostname": inputs.hostname,
        "mounts": mounted,
        "annotations": {
            "setpoint.dev/namespace": inputs.namespace,
            "setpoint.dev/name": inputs.name,
            "setpoint.dev/uid": inputs.uid,
        },
        "linux": _linux(inputs, mounted),
    }


def _linux(inputs: SpecInputs, mounted: list[Object]) -> Object:
    limits = resources.resources(inputs.spec, inputs.host)
    optional: Object = {
        "sysctl": sysctls.sysctls(inputs),
        "seccomp": seccomp.filter_of(inputs),
        "devices": devices.nodes(inputs),
        "maskedPaths": paths.masked(inputs),
        "readonlyPaths": paths.read_only(inputs),
        "rootfsPropagation": mounts.root_propagation(mounted),
    }
    return {
        "namespaces": namespaces.namespaces(inputs),
        "cgroupsPath": cgroups.cgroups_path(inputs),
        "resources": {"devices": devices.rules(inputs), **limits},
        **{key: value for key, value in optional.items() if value},
    }
