"""Secrets on a screen: lengths instead of values, unless asked, and then with a trace of who asked."""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from state.clock import rfc3339
from state.objects import Object
from state.resources.types import by_kind

if TYPE_CHECKING:
    from setpoint.client import Client


def redacted(obj: Object, *, digest: bool = False) -> Object:
    """A Secret without its values. ``digest``: two different values look different, still without telling them."""
    if obj.get("kind") != "Secret" or not obj.get("data"):
        return obj
    return {**obj, "data": {key: _shown(value, digest) for key, value in obj["data"].items()}}


def _shown(value: str, digest: bool) -> str:
    raw = base64.b64decode(value)
    mark = f", {hashlib.blake2b(raw, key=_KEY, digest_size=4).hexdigest()}" if digest else ""
    return f"<redacted: {len(raw)} bytes{mark}>"


_KEY = os.urandom(32)
"""Of this process: a short value cannot be found by trying, and no digest is worth keeping."""


def record_reveal(client: Client, secret: Object) -> None:
    """An Event that says who looked. Raises what the API says: what cannot be recorded is not shown."""
    meta, kind = secret["metadata"], by_kind("Event")
    assert kind is not None
    now = rfc3339(datetime.now(UTC))
    event: Object = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name'][:200]}.{uuid.uuid4().hex[:16]}", "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Secret",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
        "reason": "Revealed",
        "message": f"values were shown by setpoint get --reveal to {_who()}",
        "type": "Normal",
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": "setpoint-cli", "host": os.uname().nodename},
    }
    client.create(kind, event, manager="setpoint-cli")


def _who() -> str:
    import pwd

    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "?"
    behind = os.environ.get("SUDO_USER", "")
    return f"{name} (uid {uid}{f', sudo from {behind}' if behind and behind.isprintable() else ''})"
