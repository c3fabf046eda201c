"""The node's images, for the API; and who uses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from controllers.container.memory import load
from setpoint.api.operations import ImageRow, PullProgress
from setpoint.drivers.images.node import NodeImages
from state.errors import Unavailable
from state.ledger import CONTAINERS, Ledger
from state.objects import Object

CONTAINERD_PATIENCE_S = 15.0
"""An agent that has just started serves before its containerd does: a load waits for it, rather than fail."""
_POLL_S = 0.1


def users(ledger: Ledger, reference: str, digest: str) -> Sequence[str]:
    """``namespace/name`` of the Containers with a revision made from this image. The digest decides: a tag may have moved."""
    found = []
    for doc in ledger.list(CONTAINERS).values():
        memory = load(doc)
        revisions = [r for r in (memory.current, memory.previous) if r is not None]
        if any(r.digest == digest or (not r.digest and r.image == reference) for r in revisions):
            found.append(f"{memory.namespace}/{memory.name}")
    return sorted(found)


class ImageActs:
    """Implements ``ImageOperations``."""

    def __init__(self, images: NodeImages) -> None:
        self._images = images

    async def list(self) -> Sequence[ImageRow]:
        rows = await self._images.list()
        return [ImageRow(r.reference, r.digest, r.size_bytes, r.created_at, r.used_by) for r in rows]

    async def load(self, archive: AsyncIterator[bytes]) -> Sequence[str]:
        await self._containerd()
        return await self._images.load(archive)

    async def _containerd(self) -> None:
        """It answers. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        until = loop.time() + CONTAINERD_PATIENCE_S
        while True:
            try:
                await self._images.list()
                return
            except Unavailable as error:
                if loop.time() > until:
                    raise Unavailable(f"containerd does not answer: {error.message}") from error
            await asyncio.sleep(_POLL_S)

    async def remove(self, reference: str) -> None:
        await self._images.remove(reference)

    async def pull(self, reference: str, credentials: Object | None) -> AsyncIterator[PullProgress]:
        """Progress as it comes; whoever leaves ends the pull."""
        queue: asyncio.Queue[PullProgress] = asyncio.Queue()
        work = asyncio.ensure_future(
            self._images.pull(
                reference,
                (credentials,) if credentials else (),
                lambda status, done, total: queue.put_nowait(PullProgress(status, done, total)),
            )
        )
        try:
            while not work.done() or not queue.empty():
                waiter = asyncio.ensure_future(queue.get())
                await asyncio.wait({waiter, work}, return_when=asyncio.FIRST_COMPLETED)
                if waiter.done():
                    yield waiter.result()
                else:
                    waiter.cancel()
            yield PullProgress("done", reference=reference, digest=await work)
        finally:
            work.cancel()
