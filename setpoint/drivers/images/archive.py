"""Image archives: what ``docker save``, ``skopeo copy docker-archive:|oci-archive:`` and ``ctr images export`` write.

An archive is foreign input. Nothing of it is ever unpacked to a path: members are found by name and read from the spooled file,
and every size, count and nesting has a limit. Synchronous; it runs in a thread.

Formats: OCI image layout (image-layout.md) and Docker's ``manifest.json``. With both, the layout wins if it names its images.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from setpoint.drivers.images.documents import check_image, descriptor, diff_ids, manifest_parts
from state.errors import Invalid
from state.objects import Object
from state.references import normalise

MAX_MEMBERS = 200_000
MAX_DOCUMENT_BYTES = 8 << 20
"""Of a JSON document. Manifests are at most 4 MiB in registries."""
MAX_HEADER_BYTES = 1 << 20
"""Of one extended header, which the reader holds in memory."""
MAX_LINKS = 8
MAX_INDEX_DEPTH = 4
MAX_IMAGES = 1000
CHUNK_BYTES = 1 << 20

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"

# The name that containerd and Docker put on an entry of index.json; the OCI one may hold no more than a tag.
_NAME_KEYS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")

_MAGIC = ((b"\x1f\x8b", "+gzip"), (b"\x28\xb5\x2f\xfd", "+zstd"))


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes to be stored under ``digest``: a stretch of the spooled file, or ``data`` that was made here."""

    digest: str
    size: int
    offset: int = 0
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One image: the descriptor of its manifest or index, its blobs (children first), and the names it is to have."""

    digest: str
    media_type: str
    size: int
    blobs: Sequence[Blob]
    names: Sequence[str] = field(default_factory=tuple)


class _Member(tarfile.TarInfo):
    """Refuses extended headers that would fill the memory; tarfile reads them whole."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        extended = (
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )
        if self.type in extended and self.size > MAX_HEADER_BYTES:
            raise Invalid(f"the archive has a header of {self.size} bytes, more than {MAX_HEADER_BYTES}")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


class Archive:
    """An opened archive. ``images`` tells what is in it; ``chunks`` gives a blob's bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        """Raises: Invalid when it is no readable tar."""
        self._file = file
        self._members: dict[str, tarfile.TarInfo] = {}
        self._digests: dict[int, str] = {}
        try:
            self._index()
        except (tarfile.TarError, RecursionError, ValueError, OverflowError, EOFError) as exc:
            raise Invalid(f"this is no image archive: {exc}") from exc

    def images(self) -> list[ArchivedImage]:
        """Raises: Invalid, naming what is missing or wrong."""
        layout = self._from_layout() if "index.json" in self._members else []
        if layout and (any(image.names for image in layout) or "manifest.json" not in self._members):
            return layout
        if "manifest.json" in self._members:
            return self._from_docker()
        if layout:
            return layout
        raise Invalid("this is no image archive: there is neither manifest.json nor index.json in it")

    def chunks(self, blob: Blob, offset: int = 0) -> Iterator[bytes]:
        """The bytes from ``offset`` on, in pieces of at most 1 MiB."""
        if blob.data is not None:
            yield blob.data[offset:]
            return
        self._file.seek(blob.offset + offset)
        left = blob.size - offset
        while left > 0:
            chunk = self._file.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise Invalid("the archive ends in the middle of a file")
            left -= len(chunk)
            yield chunk

    def _index(self) -> None:
        self._file.seek(0)
        with tarfile.open(fileobj=self._file, mode="r:", tarinfo=_Member) as tar:
            while (member := tar.next()) is not None:
                # tarfile keeps every member it has seen; ours are enough.
                tar.members = []  # type: ignore[attr-defined]
                if len(self._members) >= MAX_MEMBERS:
                    raise Invalid(f"the archive has more than {MAX_MEMBERS} files")
                if member.isreg() or member.issym() or member.islnk():
                    self._members[_normal(member.name)] = member

    # -- reading members

    def _find(self, name: str) -> tarfile.TarInfo:
        """The regular member of that name; older ``docker save`` links equal layers to each other."""
        wanted = _normal(name)
        for _ in range(MAX_LINKS):
            member = self._members.get(wanted)
            if member is None:
                raise Invalid(f"the archive has no {name!r}, which its manifest names")
            if member.isreg():
                return member
            base = posixpath.dirname(wanted) if member.issym() else ""
            wanted = _normal(posixpath.join(base, member.linkname))
        raise Invalid(f"the archive's {name!r} is a link that leads in circles")

    def _bytes(self, name: str) -> bytes:
        member = self._find(name)
        if member.size > MAX_DOCUMENT_BYTES:
            raise Invalid(f"the archive's {name!r} has {member.size} bytes, more than {MAX_DOCUMENT_BYTES}")
        self._file.seek(member.offset_data)
        return self._file.read(member.size)

    def _blob(self, name: str) -> Blob:
        member = self._find(name)
        digest = self._digests.get(member.offset_data)
        if digest is None:
            digest = self._digests[member.offset_data] = self._hash(member)
        return Blob(digest, member.size, member.offset_data)

    def _hash(self, member: tarfile.TarInfo) -> str:
        digest = hashlib.sha256()
        for chunk in self.chunks(Blob("", member.size, member.offset_data)):
            digest.update(chunk)
        return f"sha256:{digest.hexdigest()}"

    # -- Docker's format

    def _from_docker(self) -> list[ArchivedImage]:
        entries = _json(self._bytes("manifest.json"), "manifest.json", list)
        if not entries or len(entries) > MAX_IMAGES:
            raise Invalid(f"manifest.json names {len(entries)} images; 1 to {MAX_IMAGES} can be loaded")
        return [self._docker_image(entry) for entry in entries]

    def _docker_image(self, entry: Any) -> ArchivedImage:
        if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str):
            raise Invalid("manifest.json has an entry without Config")
        paths = _strings(entry.get("Layers"), "Layers")
        names = tuple(normalise(name) for name in _strings(entry.get("RepoTags"), "RepoTags"))
        text = self._bytes(entry["Config"])
        config = Blob(_digest(text), len(text), data=text)
        ids = diff_ids(_json(text, entry["Config"], dict), entry["Config"])
        if len(ids) != len(paths):
            raise Invalid(f"{entry['Config']} has {len(ids)} layers, manifest.json {len(paths)}")
        layers = [self._layer(path, diff_id) for path, diff_id in zip(paths, ids, strict=True)]
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": OCI_CONFIG, "digest": config.digest, "size": config.size},
                "layers": [{"mediaType": kind, "digest": layer.digest, "size": layer.size} for layer, kind in layers],
            },
            separators=(",", ":"),
        ).encode()
        blobs = [config, *(layer for layer, _ in layers), Blob(_digest(manifest), len(manifest), data=manifest)]
        return ArchivedImage(blobs[-1].digest, OCI_MANIFEST, len(manifest), _distinct(blobs), names)

    def _layer(self, path: str, diff_id: str) -> tuple[Blob, str]:
        blob = self._blob(path)
        head = next(self.chunks(blob), b"")[:4]
        packed = next((suffix for magic, suffix in _MAGIC if head.startswith(magic)), "")
        # A packed layer's diff id is checked when containerd unpacks it.
        if not packed and blob.digest != diff_id:
            raise Invalid(f"layer {path!r} is {blob.digest}, the image's config says {diff_id}")
        return blob, OCI_LAYER + packed

    # -- OCI layout

    def _from_layout(self) -> list[ArchivedImage]:
        index = _json(self._bytes("index.json"), "index.json", dict)
        entries = index.get("manifests")
        if not isinstance(entries, list) or len(entries) > MAX_IMAGES:
            raise Invalid(f"index.json has no list of at most {MAX_IMAGES} manifests")
        images: dict[str, ArchivedImage] = {}
        for entry in entries:
            image = self._layout_image(entry)
            known = images.get(image.digest)
            names = tuple(dict.fromkeys((*(known.names if known else ()), *image.names)))
            images[image.digest] = ArchivedImage(image.digest, image.media_type, image.size, image.blobs, names)
        return list(images.values())

    def _layout_image(self, entry: Any) -> ArchivedImage:
        found = descriptor(entry, "index.json manifests")
        blobs: list[Blob] = []
        self._collect(found.digest, blobs, 0)
        annotations = entry.get("annotations")
        given = [annotations.get(key) for key in _NAME_KEYS] if isinstance(annotations, dict) else []
        # A bare tag in the OCI annotation names no repository.
        names = [normalise(text) for text in given if isinstance(text, str) and (":" in text or "/" in text)]
        return ArchivedImage(found.digest, found.media_type or OCI_MANIFEST, blobs[-1].size, _distinct(blobs), tuple(names[:1]))

    def _collect(self, digest: str, blobs: list[Blob], depth: int) -> None:
        """All blobs below a manifest or index, children first. An index may name platforms that were left out."""
        if depth > MAX_INDEX_DEPTH:
            raise Invalid("the archive's indexes are nested too deep")
        blob = self._stored(digest)
        document = _json(self._bytes(_blob_path(digest)), digest, dict)
        if isinstance(document.get("manifests"), list):
            for entry in document["manifests"]:
                child = descriptor(entry, f"{digest} manifests")
                if _blob_path(child.digest) in self._members:
                    self._collect(child.digest, blobs, depth + 1)
        else:
            config, layers = manifest_parts(document, digest)
            blobs += [self._stored(child.digest) for child in (config, *layers)]
            check_image(document, _json(self._bytes(_blob_path(config.digest)), config.digest, dict), digest)
        blobs.append(blob)

    def _stored(self, digest: str) -> Blob:
        blob = self._blob(_blob_path(digest))
        if blob.digest != digest:
            raise Invalid(f"the archive's {_blob_path(digest)} has other bytes ({blob.digest})")
        return blob


def _normal(name: str) -> str:
    """One spelling per member. Only compared, never used as a path."""
    return posixpath.normpath("/" + name).lstrip("/")


def _blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _strings(value: Any, what: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Invalid(f"{what} is no list of strings")
    return value


def _json(text: bytes, where: str, kind: type) -> Any:
    try:
        document: Object = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise Invalid(f"{where} is not JSON: {exc}") from exc
    if not isinstance(document, kind):
        raise Invalid(f"{where} is no JSON {'object' if kind is dict else 'list'}")
    return document


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _distinct(blobs: Sequence[Blob]) -> tuple[Blob, ...]:
    return tuple({blob.digest: blob for blob in blobs}.values())
