"""The node's images (``controllers.container.ports.Images``), and what the API offers about them."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from controllers.container.ports import ImageInfo
from controllers.engine.ports import Clock, Random
from setpoint.drivers.containerd.images import ImageRecord, ImageStore, chain_ids
from setpoint.drivers.images.documents import diff_ids
from setpoint.drivers.images.fetches import Fetches
from setpoint.drivers.images.loading import Loader
from setpoint.drivers.images.pulling import Patience, Progress, Puller
from setpoint.drivers.images.refreshing import Refresher
from setpoint.drivers.images.rootfs import RootFiles
from setpoint.drivers.images.spool import Spool
from setpoint.drivers.threads import DriverThread
from state.errors import Conflict, Invalid, NotFound, StateError
from state.objects import Object
from state.references import normalise, parse

CACHED_IMAGES = 256


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One reference that the node holds. ``size_bytes``: its packed content here. ``created_at`` (of the name): RFC 3339."""

    reference: str
    digest: str
    size_bytes: int
    created_at: str
    used_by: tuple[str, ...] = ()


UsedBy = Callable[[str, str], Sequence[str]]
"""``used_by(reference, digest)``: the ``namespace/name`` of the Containers that need it."""


def _nobody(_reference: str, _digest: str) -> Sequence[str]:
    return ()


def _no_change(_reference: str) -> None:
    pass


@dataclass(slots=True)
class Hooks:
    """What the node's images need to know of, and tell to, the rest. ``changed(reference)``: a name came or went, or a fetch
    ended; whoever waits for it looks again."""

    used_by: UsedBy = _nobody
    changed: Callable[[str], None] = _no_change


@dataclass(frozen=True, slots=True)
class _Known:
    """What is read of an image once, by digest."""

    chain_id: str
    config: Object = field(repr=False)


class NodeImages:
    """Resolves, fetches, loads, lists and removes images of one containerd namespace."""

    def __init__(
        self,
        store: ImageStore,
        run_dir: Path,
        data_dir: Path,
        clock: Clock,
        chance: Random,
        *,
        hooks: Hooks | None = None,
        patience: Patience = Patience(),
    ) -> None:
        self._store = store
        self.hooks = hooks or Hooks()
        self._thread = DriverThread("archives")
        self._files = RootFiles(store, run_dir / "view")
        self._loader = Loader(store, Spool(data_dir / "spool", self._thread), self._thread)
        self._puller = Puller(store, clock, chance, patience)
        self._fetches = Fetches(self._puller.pull, clock, chance, lambda name: self.hooks.changed(name))
        self._refresher = Refresher(self._puller.pull, self._present, clock)
        self._known: OrderedDict[str, _Known] = OrderedDict()

    # -- the port

    async def resolve(self, reference: str) -> ImageInfo:
        """Raises: NotFound, Invalid for a bad name or an image of another platform, Unavailable."""
        name = normalise(reference)
        record = await self._record(name)
        known = await self._look(record)
        passwd, group = await self._files.accounts(known.chain_id) if known.chain_id else ("", "")
        return ImageInfo(name, record.target.digest, known.chain_id, known.config, passwd, group)

    async def refresh(self, reference: str, credentials: Sequence[Object] = ()) -> bool:
        try:
            return await self._refresher.refresh(normalise(reference), credentials)
        except StateError:
            return False

    def fetch(self, reference: str, credentials: Sequence[Object] = ()) -> None:
        with contextlib.suppress(Invalid):
            self._fetches.ask(normalise(reference), credentials)

    def trouble(self, reference: str) -> str:
        try:
            return self._fetches.trouble(normalise(reference))
        except Invalid as exc:
            return f"InvalidImageName: {exc.message}"

    # -- for the API

    async def list(self) -> Sequence[ImageRow]:
        """One row per name, sorted."""
        rows = []
        for record in await self._store.list():
            with contextlib.suppress(NotFound):  # taken away meanwhile
                size = await self._store.total_size(record.target.digest)
                users = tuple(self.hooks.used_by(record.reference, record.target.digest))
                rows.append(ImageRow(record.reference, record.target.digest, size, record.created_at, users))
        return rows

    async def load(self, archive: AsyncIterator[bytes]) -> Sequence[str]:
        """The names that an archive brought. Raises: Invalid, TooLarge, Unavailable."""
        given = await self._loader.load(archive)
        for name in given:
            self._fetches.arrived(name)
            self.hooks.changed(name)
        return given

    async def pull(self, reference: str, credentials: Sequence[Object] = (), progress: Progress | None = None) -> str:
        """Pulls now and returns the digest. Raises what :meth:`Puller.pull` raises."""
        digest = await self._puller.pull(reference, credentials, progress)
        name = normalise(reference)
        self._fetches.arrived(name)
        self.hooks.changed(name)
        return digest

    async def remove(self, reference: str) -> None:
        """The name goes, and what nothing else needs with it. Raises: NotFound, Conflict naming the users."""
        record = await self._record(normalise(reference))
        users = self.hooks.used_by(record.reference, record.target.digest)
        if users:
            raise Conflict(f"image {parse(record.reference).familiar} is used by {', '.join(users)}")
        await self._store.delete(record.reference)
        self.hooks.changed(record.reference)

    async def seed(self, chain_id: str, path: str, target: str) -> None:
        """For :class:`setpoint.drivers.files.Files`: copies a folder of an image into an empty one."""
        await self._files.copy_out(chain_id, path, target)

    async def close(self) -> None:
        await self._fetches.close()
        self._thread.close()

    # -- looking

    async def _present(self, name: str) -> bool:
        with contextlib.suppress(NotFound):
            await self._record(name)
            return True
        return False

    async def _record(self, name: str) -> ImageRecord:
        """By its name; a digest also by any other name of the same repository."""
        try:
            return await self._store.get(name)
        except NotFound:
            wanted = parse(name)
            if not wanted.digest:
                raise
        for record in await self._store.list():
            with contextlib.suppress(Invalid):
                if record.target.digest == wanted.digest and parse(record.reference).repository == wanted.repository:
                    return record
        raise NotFound(f"image {name} is not on this node", kind="Image", name=name)

    async def _look(self, record: ImageRecord) -> _Known:
        digest = record.target.digest
        try:
            if digest not in self._known:
                config = await self._store.image_config(digest)
                chains = chain_ids(diff_ids(config, f"image {record.reference}"))
                self._known[digest] = _Known(chains[-1] if chains else "", config)
            known = self._known[digest]
            # Asked each time: somebody may bring content without unpacking it, or take snapshots away.
            if known.chain_id and not await self._store.stands(known.chain_id):
                async with self._store.leased() as held:
                    await held.unpack(digest)
        except NotFound as exc:
            raise NotFound(f"image {record.reference} is not whole on this node: {exc.message}", kind="Image") from exc
        self._known.move_to_end(digest)
        while len(self._known) > CACHED_IMAGES:
            self._known.popitem(last=False)
        return known
