"""How the human verbs say stop, pause and start without locking a later file out, pure.

``spec.runState`` has a manager of its own, ``setpoint-run-state``. *stop* and *pause* force the field to their value. *start*
releases it where what then remains is Running (the default, or another manager's Running): the field has no owner but the
file's, and applying the file meets no conflict. Where something else would remain (a file that says Stopped), *start*
forces Running.

Call it so: read the object, send the returned request to ``Store.apply`` (or the API's ``POST apply`` with its manager,
force and object), and on Conflict read again and repeat: the request names the revision that it was made for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from state.apply import apply
from state.listkeys import list_keys
from state.objects import Object
from state.store import Apply

MANAGER = "setpoint-run-state"
DEFAULT = "Running"

RunState = Literal["Running", "Stopped", "Paused"]


def request(live: Object, want: RunState, *, annotations: Mapping[str, str] | None = None) -> Apply:
    """The apply that makes ``live`` be declared ``want``. ``annotations`` (such as ``setpoint.dev/stop-options``) belong to
    the same manager, and go with the next request that does not name them."""
    meta = {name: live["metadata"][name] for name in ("namespace", "name", "uid", "resourceVersion")}
    if annotations:
        meta["annotations"] = dict(annotations)
    released: Object = {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": meta}
    if want == DEFAULT and _remaining(live, released) == DEFAULT:
        return Apply(released, MANAGER, force=True)
    return Apply({**released, "spec": {"runState": want}}, MANAGER, force=True)


def _remaining(live: Object, released: Object) -> str:
    """The declared run state once our manager has let go. A field that nobody holds goes, and defaulting brings Running;
    a value that no manager owns at all stays as it is."""
    left = apply(live, released, manager=MANAGER, now="", keys=list_keys(live["kind"]), force=True).object
    return str(left.get("spec", {}).get("runState") or DEFAULT)
