"""The part of admission that knows which node it is on: in the standalone home every Container belongs to that one. Pure."""

from __future__ import annotations

from collections.abc import Callable

from state.errors import Cause, Invalid
from state.objects import Object
from state.resources.admission import admit
from state.resources.fields import INVALID
from state.resources.problems import shown

Admission = Callable[..., Object]
"""As :func:`state.resources.admission.admit` is called."""


def admit_on(node: str) -> Admission:
    """``spec.nodeName`` is set to ``node`` where it is not told; another node's name is refused, for nobody would run it.
    What is stored under a former name of this node keeps it."""

    def admit_here(obj: Object, old: Object | None = None, *, strict: bool = True) -> Object:
        was = ((old or {}).get("spec") or {}).get("nodeName")
        here = was or node
        admitted = admit(_placed(obj, here), old, strict=strict)
        if admitted.get("kind") == "Container" and (told := admitted["spec"]["nodeName"]) != here:
            name = admitted["metadata"]["name"]
            cause = Cause("spec.nodeName", f"Invalid value: {shown(told)}: there is one node here, {shown(here)}", INVALID)
            raise Invalid(f'Container.setpoint.dev "{name}" is invalid: {cause}', causes=[cause], kind="Container", name=name)
        return admitted

    return admit_here


def _placed(obj: Object, node: str) -> Object:
    """The object with its node's name; as it is when it has one, or no readable spec."""
    spec = obj.get("spec") if obj.get("kind") == "Container" else None
    if not isinstance(spec, dict) or spec.get("nodeName") is not None:
        return obj
    return {**obj, "spec": {**spec, "nodeName": node}}
