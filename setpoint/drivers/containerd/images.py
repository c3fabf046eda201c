"""containerd's side of images: records, manifests, and layers unpacked into snapshots.

Loading an archive and pulling from a registry are built on this: ``async with store.leased() as held: await held.write(...)
for config, layers, manifest; await held.unpack(manifest digest); await held.put(reference, descriptor)``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from uuid import uuid4

from google.protobuf.field_mask_pb2 import FieldMask

from setpoint._pb import diff_pb2, images_pb2, snapshots_pb2, types_pb2
from setpoint.drivers.containerd import rpc
from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.content import Content
from state.errors import AlreadyExists, Invalid, NotFound
from state.objects import Object

UNPACK_DEADLINE_S = 900.0
"""For one layer; 10 GiB of small files on a slow disk stay below."""

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a reference, an index or a manifest points at (OCI image spec, descriptor)."""

    digest: str
    media_type: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One name and what it stands for. ``created_at`` is RFC 3339 in UTC."""

    reference: str
    target: Descriptor
    created_at: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class ImageStore(Content):
    """Image records and unpacked layers of one containerd namespace."""

    def __init__(self, channel: Channel, *, snapshotter: str = "overlayfs", machine: str = "") -> None:
        """``machine``: as uname tells it; empty = this host's."""
        super().__init__(channel)
        self.snapshotter = snapshotter
        self._machine = machine or platform.machine()

    def _bound(self, channel: Channel) -> ImageStore:
        return ImageStore(channel, snapshotter=self.snapshotter, machine=self._machine)

    async def get(self, reference: str) -> ImageRecord:
        """Raises NotFound, which names the reference."""
        try:
            reply = await self.channel.call(rpc.IMAGE_GET, images_pb2.GetImageRequest(name=reference))
        except NotFound as error:
            raise NotFound(f"image {reference} is not on this node", kind="Image", name=reference) from error
        return _record(reply.image)

    async def list(self) -> Sequence[ImageRecord]:
        """Every record, sorted by reference."""
        reply = await self.channel.call(rpc.IMAGE_LIST, images_pb2.ListImagesRequest())
        return sorted((_record(image) for image in reply.images), key=lambda record: record.reference)

    async def put(self, reference: str, target: Descriptor, labels: Mapping[str, str] | None = None) -> None:
        """The reference stands for ``target`` now, and everything below it is kept from garbage collection."""
        await self.link(target.digest)
        image = images_pb2.Image(name=reference, labels=labels, target=_to_wire(target))
        try:
            await self.channel.call(rpc.IMAGE_CREATE, images_pb2.CreateImageRequest(image=image))
        except AlreadyExists:
            mask = FieldMask(paths=["target", "labels"])
            await self.channel.call(rpc.IMAGE_UPDATE, images_pb2.UpdateImageRequest(image=image, update_mask=mask))

    async def delete(self, reference: str) -> None:
        """The name is gone; content and snapshots that nothing else uses follow. Raises NotFound."""
        try:
            await self.channel.call(rpc.IMAGE_DELETE, images_pb2.DeleteImageRequest(name=reference, sync=True))
        except NotFound as error:
            raise NotFound(f"image {reference} is not on this node", kind="Image", name=reference) from error

    async def document(self, digest: str) -> Object:
        """A JSON document of the content store. Raises NotFound, Invalid."""
        try:
            parsed = json.loads(await self.read(digest))
        except ValueError as error:
            raise Invalid(f"{digest} is not JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise Invalid(f"{digest} is not a JSON object")
        return parsed

    async def manifest(self, digest: str) -> Object:
        """The manifest behind ``digest``, which may be an index: then the one for this host's platform.

        Raises NotFound when it is not here, Invalid when the index has none for this platform.
        """
        seen = await self.document(digest)
        for _ in range(4):  # an index may hold indexes; real ones nest once
            if "manifests" not in seen:
                return seen
            seen = await self.document(self.choose(digest, seen["manifests"]))
        raise Invalid(f"{digest}: indexes nested too deep")

    def choose(self, digest: str, manifests: Sequence[Object]) -> str:
        """Digest of the entry that fits this host best: exact variant, no variant, no platform at all."""
        architecture, variant = _ARCHITECTURES.get(self._machine, (self._machine, ""))

        def rank(entry: Object) -> int:
            asked = entry.get("platform")
            if not asked:
                return 3
            if asked.get("os") != "linux" or asked.get("architecture") != architecture:
                return 9
            return {variant: 0, "": 1}.get(asked.get("variant", ""), 2 if architecture == "arm" else 9)

        best = min(manifests, key=rank, default=None)
        if best is None or rank(best) == 9:
            offered = sorted({_platform(entry) for entry in manifests} - {"unknown/unknown"})
            raise Invalid(f"{digest} has no image for linux/{architecture}, only for {', '.join(offered) or 'nothing'}")
        return str(best["digest"])

    async def image_config(self, digest: str) -> Object:
        """The OCI image config behind a manifest or an index."""
        return await self.document((await self.manifest(digest))["config"]["digest"])

    async def chain_id(self, digest: str) -> str:
        """Name of the topmost committed snapshot of a manifest or an index; empty for an image without layers."""
        chains = chain_ids((await self.image_config(digest))["rootfs"]["diff_ids"])
        return chains[-1] if chains else ""

    async def unpacked(self, digest: str) -> bool:
        """Whether all of its layers lie ready as snapshots."""
        chain = await self.chain_id(digest)
        return not chain or await self.stands(chain)

    async def unpack(self, digest: str) -> str:
        """The layers of a manifest (or of an index's for this host) lie ready as snapshots; returns the chain id.

        To be called within :meth:`leased` unless an image record points at it already. Layers that are there stay.
        Raises NotFound (content is missing), Invalid (a layer is not what the config says).
        """
        manifest = await self.manifest(digest)
        config_digest = manifest["config"]["digest"]
        diff_ids = (await self.document(config_digest))["rootfs"]["diff_ids"]
        if len(manifest["layers"]) != len(diff_ids):
            raise Invalid(f"{digest} has {len(manifest['layers'])} layers, its config {len(diff_ids)}")
        parent = ""
        for layer, diff_id, chain in zip(manifest["layers"], diff_ids, chain_ids(diff_ids), strict=True):
            if not await self.stands(chain):
                await self._extract(layer, diff_id, parent, chain)
            parent = chain
        if parent:
            await self.label(config_digest, {f"containerd.io/gc.ref.snapshot.{self.snapshotter}": parent})
        return parent

    async def link(self, digest: str) -> None:
        """Labels content so that whatever keeps ``digest`` keeps all that it points at. Missing children are fine."""
        seen = await self.document(digest)
        if "manifests" in seen:
            children = {f"containerd.io/gc.ref.content.m.{i}": m["digest"] for i, m in enumerate(seen["manifests"])}
        else:
            children = {
                f"containerd.io/gc.ref.content.l.{i}": layer["digest"] for i, layer in enumerate(seen.get("layers", ()))
            }
            children["containerd.io/gc.ref.content.config"] = seen["config"]["digest"]
        if children:
            await self.label(digest, children)
        for entry in seen.get("manifests", ()):
            with contextlib.suppress(NotFound):
                await self.link(entry["digest"])

    async def total_size(self, digest: str) -> int:
        """Bytes of the content behind a manifest or index that is on this node (compressed layers, as others count it)."""
        size, seen = await self.size(digest), await self.document(digest)
        for entry in seen.get("manifests", ()):
            with contextlib.suppress(NotFound):
                size += await self.total_size(entry["digest"])
        for child in (*seen.get("layers", ()), *([seen["config"]] if "config" in seen else ())):
            with contextlib.suppress(NotFound):
                size += await self.size(child["digest"])
        return size

    async def view(self, key: str, chain_id: str) -> Sequence[types_pb2.Mount]:
        """A read-only snapshot for reading files of an image; the caller mounts it, and calls :meth:`drop_view` at the end."""
        request = snapshots_pb2.ViewSnapshotRequest(snapshotter=self.snapshotter, key=key, parent=chain_id)
        try:
            return tuple((await self.channel.call(rpc.SNAPSHOT_VIEW, request)).mounts)
        except AlreadyExists:
            mounts = snapshots_pb2.MountsRequest(snapshotter=self.snapshotter, key=key)
            return tuple((await self.channel.call(rpc.SNAPSHOT_MOUNTS, mounts)).mounts)

    async def drop_view(self, key: str) -> None:
        """The view is gone; one that is not there is fine."""
        with contextlib.suppress(NotFound):
            request = snapshots_pb2.RemoveSnapshotRequest(snapshotter=self.snapshotter, key=key)
            await self.channel.call(rpc.SNAPSHOT_REMOVE, request)

    async def stands(self, chain: str) -> bool:
        """Whether the snapshot of that chain id lies ready."""
        try:
            request = snapshots_pb2.StatSnapshotRequest(snapshotter=self.snapshotter, key=chain)
            await self.channel.call(rpc.SNAPSHOT_STAT, request)
        except NotFound:
            return False
        return True

    async def _extract(self, layer: Object, diff_id: str, parent: str, chain: str) -> None:
        """One layer on top of ``parent``, committed as ``chain``. Two at once are fine: the later one throws its work away."""
        key = f"setpoint-extract-{uuid4()}"
        prepare = snapshots_pb2.PrepareSnapshotRequest(snapshotter=self.snapshotter, key=key, parent=parent)
        mounts = (await self.channel.call(rpc.SNAPSHOT_PREPARE, prepare)).mounts
        try:
            wire = _to_wire(Descriptor(layer["digest"], layer["mediaType"], layer["size"]))
            request = diff_pb2.ApplyRequest(diff=wire, mounts=mounts)
            applied = (await self.channel.call(rpc.DIFF_APPLY, request, timeout_s=UNPACK_DEADLINE_S)).applied
            if applied.digest != diff_id:
                raise Invalid(f"layer {layer['digest']} unpacks to {applied.digest}, the image's config says {diff_id}")
            commit = snapshots_pb2.CommitSnapshotRequest(snapshotter=self.snapshotter, name=chain, key=key)
            await self.channel.call(rpc.SNAPSHOT_COMMIT, commit)
        except BaseException as error:
            await self.drop_view(key)
            if not isinstance(error, AlreadyExists):
                raise


def chain_ids(diff_ids: Sequence[str]) -> Sequence[str]:
    """The chain id of every prefix of the layers (OCI image spec, config.md, "Layer ChainID")."""
    chains: list[str] = []
    for diff_id in diff_ids:
        joined = f"{chains[-1]} {diff_id}".encode() if chains else b""
        chains.append(f"sha256:{hashlib.sha256(joined).hexdigest()}" if chains else diff_id)
    return chains


def _platform(entry: Object) -> str:
    asked = entry.get("platform") or {}
    parts = (asked.get("os", "unknown"), asked.get("architecture", "unknown"), asked.get("variant", ""))
    return "/".join(part for part in parts if part)


def _to_wire(target: Descriptor) -> types_pb2.Descriptor:
    return types_pb2.Descriptor(
        media_type=target.media_type, digest=target.digest, size=target.size, annotations=target.annotations
    )


def _record(image: images_pb2.Image) -> ImageRecord:
    target = image.target
    descriptor = Descriptor(target.digest, target.media_type, target.size, dict(target.annotations))
    created = image.created_at.ToDatetime(UTC).isoformat().replace("+00:00", "Z")
    return ImageRecord(image.name, descriptor, created, dict(image.labels))
