"""Names of images on the node."""

from __future__ import annotations

from setpoint.drivers.containerd.images import Descriptor, ImageStore
from state.errors import NotFound
from state.references import parse


async def tag(store: ImageStore, reference: str, target: Descriptor) -> None:
    """``reference`` stands for ``target`` afterwards. What it stood for before keeps the name ``repository@digest``, since
    containers may be pinned to it."""
    try:
        before = (await store.get(reference)).target
    except NotFound:
        before = None
    if before is not None and before.digest != target.digest:
        await store.put(str(parse(reference).with_digest(before.digest)), before)
    await store.put(reference, target)
