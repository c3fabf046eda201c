"""Archives into the content store: ``image load``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import IO

from setpoint.drivers.containerd.images import Descriptor, ImageStore
from setpoint.drivers.images.archive import Archive, ArchivedImage, Blob
from setpoint.drivers.images.spool import Spool
from setpoint.drivers.images.tags import tag
from setpoint.drivers.threads import DriverThread

UNNAMED = "localhost/unnamed"


class Loader:
    """Stores what an archive holds. Nothing stays behind when it fails: names are given last."""

    def __init__(self, store: ImageStore, spool: Spool, thread: DriverThread) -> None:
        self._store = store
        self._spool = spool
        self._thread = thread

    async def load(self, stream: AsyncIterator[bytes]) -> Sequence[str]:
        """The names that now stand for the archive's images; one without a name gets ``localhost/unnamed:<digest>``.

        Raises: Invalid when it is no image archive, or when bytes and digests do not agree.
        """
        file = await self._spool.fill(stream)
        try:
            return await self._load_file(file)
        finally:
            file.close()

    async def _load_file(self, file: IO[bytes]) -> Sequence[str]:
        archive = await self._thread.run(Archive, file)
        images = await self._thread.run(archive.images)
        given: list[str] = []
        async with self._store.leased() as held:
            for image in images:
                for blob in image.blobs:
                    await self._store_blob(held, archive, blob)
                await held.unpack(image.digest)
            for image in images:
                target = Descriptor(image.digest, image.media_type, image.size)
                for name in image.names or (_unnamed(image),):
                    await tag(held, name, target)
                    given.append(name)
        return given

    async def _store_blob(self, held: ImageStore, archive: Archive, blob: Blob) -> None:
        ref_key = f"setpoint-load-{blob.digest}"
        await held.abort(ref_key)
        offset = await held.begin(ref_key, blob.digest, blob.size)
        await held.write(ref_key, blob.digest, blob.size, self._chunks(archive.chunks(blob, offset)), offset=offset)

    async def _chunks(self, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        while chunk := await self._thread.run(next, pieces, b""):
            yield chunk


def _unnamed(image: ArchivedImage) -> str:
    return f"{UNNAMED}:{image.digest.partition(':')[2][:12]}"
