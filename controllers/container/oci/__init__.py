"""The OCI runtime specification (1.0.2) of a container, built from its declaration: pure, one module per concern.

``build(inputs)`` is the whole document; ``live_resources(spec, host)`` is the part that may change under a running task;
``exec_process`` is the process of an exec; ``revision_hash`` tells whether a change needs a new container.

Errors name the declaration's field: Invalid for what can never work with this image on this host, NotFound (``kind``, ``name``)
for what must arrive first.
"""

from controllers.container.oci.document import build
from controllers.container.oci.execution import exec_process
from controllers.container.oci.inputs import Paths, SpecInputs, Volumes, image_volumes
from controllers.container.oci.resources import live_resources
from controllers.container.oci.revision import live_hash, revision_fields, revision_hash

__all__ = [
    "Paths",
    "SpecInputs",
    "Volumes",
    "build",
    "exec_process",
    "image_volumes",
    "live_hash",
    "live_resources",
    "revision_fields",
    "revision_hash",
]
