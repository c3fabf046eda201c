"""Images from a registry into the content store: ``image pull`` and the pulls of the loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from controllers.engine.ports import Clock, Random
from setpoint.drivers.containerd.images import Descriptor, ImageStore
from setpoint.drivers.images.credentials import choose
from setpoint.drivers.images.documents import check_image, descriptor, manifest_parts
from setpoint.drivers.images.registry import STALL_LIMIT_S, Manifest, Registry
from setpoint.drivers.images.tags import tag
from state.errors import Busy, InDoubt, Invalid, StateError, Unavailable
from state.objects import Object
from state.references import Reference, normalise, parse

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""``progress(status, done_bytes, total_bytes)``; status is ``Resolving``, ``Pulling`` or ``Unpacking``, total 0 = not known."""

LAYERS_AT_ONCE = 3
ATTEMPTS = 6
FIRST_WAIT_S = 1.0
MAX_WAIT_S = 30.0
MAX_INDEX_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a pull bears with a registry. ``first_wait_s`` doubles with every failure in a row, with jitter."""

    attempts: int = ATTEMPTS
    first_wait_s: float = FIRST_WAIT_S
    stall_s: float = STALL_LIMIT_S


class Puller:
    """Pulls images. Layers that are there are not fetched again, half-fetched ones are gone on with, also after a crash."""

    def __init__(self, store: ImageStore, clock: Clock, chance: Random, patience: Patience = Patience()) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance
        self._patience = patience
        self._at_once = asyncio.Semaphore(LAYERS_AT_ONCE)
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def pull(self, reference: str, credentials: Sequence[Object] = (), progress: Progress | None = None) -> str:
        """The image is here, unpacked and named afterwards; returns the digest of what the reference stands for.

        Raises: Invalid, NotFound, Denied: trying again will not help by itself. Busy, Unavailable: it may.
        """
        wanted = parse(reference)
        async with self._alone(f"pull-{normalise(reference)}"):
            return await self._pull(wanted, credentials, _Meter(progress or _no_progress))

    async def _pull(self, wanted: Reference, credentials: Sequence[Object], meter: _Meter) -> str:
        meter.tell("Resolving")
        name = normalise(str(wanted))
        async with (
            self._store.leased(f"pull-{hashlib.sha256(name.encode()).hexdigest()[:32]}") as held,
            Registry(wanted, choose(wanted.domain, credentials), stall_s=self._patience.stall_s) as registry,
        ):
            root, manifest = await self._manifests(held, registry, wanted)
            await self._content(held, registry, manifest, meter)
            meter.tell("Unpacking")
            await held.unpack(root.digest)
            await tag(held, name, Descriptor(root.digest, root.media_type, len(root.content)))
        return root.digest

    async def _manifests(self, held: ImageStore, registry: Registry, wanted: Reference) -> tuple[Manifest, Manifest]:
        """What the reference stands for, and the manifest in it for this host; both are stored."""
        root = found = await self._patiently(lambda: registry.manifest(wanted.digest or wanted.tag))
        await held.put_bytes(root.content)
        for _ in range(MAX_INDEX_DEPTH):
            entries = found.document.get("manifests")
            if entries is None:
                return root, found
            if not isinstance(entries, list):
                raise Invalid(f"index {found.digest} has no list of manifests")
            for number, entry in enumerate(entries):
                descriptor(entry, f"index {found.digest} manifests[{number}]")
            child = held.choose(found.digest, entries)
            found = await self._patiently(lambda child=child: registry.manifest(child))  # type: ignore[misc]
            await held.put_bytes(found.content)
        raise Invalid(f"{wanted}: indexes nested too deep")

    async def _content(self, held: ImageStore, registry: Registry, manifest: Manifest, meter: _Meter) -> None:
        config, layers = manifest_parts(manifest.document, f"manifest {manifest.digest}")
        distinct = list({layer.digest: layer for layer in layers}.values())
        meter.total = sum(layer.size for layer in (config, *distinct))
        meter.tell("Pulling")
        await self._fetch(held, registry, config, meter)
        check_image(manifest.document, await held.document(config.digest), f"manifest {manifest.digest}")
        try:
            async with asyncio.TaskGroup() as group:
                for layer in distinct:
                    group.create_task(self._layer(held, registry, layer, meter))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _layer(self, held: ImageStore, registry: Registry, layer: Descriptor, meter: _Meter) -> None:
        async with self._at_once:
            await self._fetch(held, registry, layer, meter)

    async def _fetch(self, held: ImageStore, registry: Registry, blob: Descriptor, meter: _Meter) -> None:
        """One blob, verified by containerd. Two pulls that need the same one do not write it at the same time."""
        async with self._alone(blob.digest):
            await self._fetch_alone(held, registry, blob, meter)

    @contextlib.asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """Only one block of a name at a time; who comes later waits."""
        lock, waiting = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks.pop(name)
            if waiting > 1:
                self._locks[name] = (lock, waiting - 1)

    async def _fetch_alone(self, held: ImageStore, registry: Registry, blob: Descriptor, meter: _Meter) -> None:
        key = f"setpoint-pull-{blob.digest}"
        failures, resumed = 0, False
        while True:
            offset = await self._begin(held, key, blob)
            resumed = resumed or offset > 0
            meter.at(blob.digest, offset)
            try:
                chunks = meter.count(blob.digest, registry.blob(blob.digest, blob.size, offset))
                await held.write(key, blob.digest, blob.size, chunks, offset=offset)
            except (Busy, InDoubt, Unavailable) as exc:
                failures = 1 if await held.offset(key) > offset else failures + 1
                if failures >= self._patience.attempts:
                    raise
                await self._wait(failures, exc)
            except Invalid:
                # What an earlier, broken connection left may be at fault: once more from the start.
                if not resumed:
                    raise
                resumed = False
                await held.abort(key)
            else:
                meter.at(blob.digest, blob.size)
                return

    async def _begin(self, held: ImageStore, key: str, blob: Descriptor) -> int:
        """Where to go on; the whole size when nothing is to be fetched."""
        offset = await held.begin(key, blob.digest, blob.size)
        if offset <= blob.size:
            return offset
        await held.abort(key)
        return await held.begin(key, blob.digest, blob.size)

    async def _patiently(self, job: Callable[[], Awaitable[T]]) -> T:
        failures = 0
        while True:
            try:
                return await job()
            except (Busy, Unavailable) as exc:
                failures += 1
                if failures >= self._patience.attempts:
                    raise
                await self._wait(failures, exc)

    async def _wait(self, failures: int, exc: StateError) -> None:
        own = min(MAX_WAIT_S, self._patience.first_wait_s * 2 ** (failures - 1)) * self._chance.uniform(0.5, 1.0)
        await self._clock.sleep(max(own, exc.retry_after_s))


class _Meter:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done: dict[str, int] = {}
        self._status = ""
        self.total = 0

    def tell(self, status: str = "") -> None:
        self._status = status or self._status
        self._progress(self._status, sum(self._done.values()), self.total)

    def at(self, digest: str, size: int) -> None:
        self._done[digest] = size
        self.tell()

    async def count(self, digest: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async with contextlib.aclosing(chunks) as open_chunks:  # type: ignore[type-var]
            async for chunk in open_chunks:
                self.at(digest, self._done[digest] + len(chunk))
                yield chunk


def _no_progress(_status: str, _done: int, _total: int) -> None:
    pass
