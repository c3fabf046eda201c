"""Image archives, honest and hostile."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

import pytest

from setpoint.drivers.images import archive as module
from setpoint.drivers.images.archive import Archive, ArchivedImage
from state.errors import Invalid

LAYER = b"layer one" * 100
SECOND = b"layer two" * 100


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _config(*layers: bytes) -> bytes:
    document = {"os": "linux", "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]}}
    return json.dumps(document).encode()


def _tar(files: Mapping[str, Any], raw: bytes = b"") -> io.BytesIO:
    """``files``: name -> bytes, or (tar type, link name)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, what in files.items():
            entry = tarfile.TarInfo(name)
            if isinstance(what, tuple):
                entry.type, entry.linkname = what
                tar.addfile(entry)
            else:
                entry.size = len(what)
                tar.addfile(entry, io.BytesIO(what))
    return io.BytesIO(raw + buffer.getvalue())


def _docker(**changed: Any) -> dict[str, Any]:
    config = changed.pop("config", _config(LAYER, SECOND))
    entry: dict[str, Any] = {"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["1/layer.tar", "2/layer.tar"], **changed}
    listing = json.dumps([{key: value for key, value in entry.items() if value != "absent"}]).encode()
    return {"c.json": config, "1/layer.tar": LAYER, "2/layer.tar": SECOND, "manifest.json": listing}


def _descriptor(data: bytes, kind: str = module.OCI_MANIFEST, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(data), "size": len(data), **more}


def _blob(data: bytes) -> dict[str, bytes]:
    return {f"blobs/sha256/{_digest(data)[7:]}": data}


def _manifest(config: bytes, *layers: bytes) -> bytes:
    document = {
        "schemaVersion": 2,
        "config": _descriptor(config, module.OCI_CONFIG),
        "layers": [_descriptor(layer, module.OCI_LAYER) for layer in layers],
    }
    return json.dumps(document).encode()


def _layout(*entries: dict[str, Any], blobs: tuple[bytes, ...] = ()) -> dict[str, Any]:
    files: dict[str, Any] = {"oci-layout": b"{}", "index.json": json.dumps({"manifests": list(entries)}).encode()}
    for blob in blobs:
        files |= _blob(blob)
    return files


CONFIG = _config(LAYER)
MANIFEST = _manifest(CONFIG, LAYER)
NAMED = _descriptor(MANIFEST, annotations={"org.opencontainers.image.ref.name": "app:1"})


def _images(files: Mapping[str, Any]) -> list[ArchivedImage]:
    return Archive(_tar(files)).images()


def _bytes(archive: Archive, image: ArchivedImage) -> dict[str, bytes]:
    return {blob.digest: b"".join(archive.chunks(blob)) for blob in image.blobs}


def test_a_docker_archive_becomes_an_oci_manifest() -> None:
    archive = Archive(_tar(_docker()))
    (image,) = archive.images()
    blobs = _bytes(archive, image)
    assert image.names == ("docker.io/library/app:1",)
    assert all(_digest(data) == digest for digest, data in blobs.items())
    manifest = json.loads(blobs[image.digest])
    assert [layer["digest"] for layer in manifest["layers"]] == [_digest(LAYER), _digest(SECOND)]
    assert blobs[manifest["config"]["digest"]] == _config(LAYER, SECOND)
    assert image.size == len(blobs[image.digest])
    assert image.blobs[-1].digest == image.digest


def test_an_oci_layout_keeps_its_digests() -> None:
    archive = Archive(_tar(_layout(NAMED, blobs=(MANIFEST, CONFIG, LAYER))))
    (image,) = archive.images()
    assert image.digest == _digest(MANIFEST)
    assert image.names == ("docker.io/library/app:1",)
    assert set(_bytes(archive, image).values()) == {MANIFEST, CONFIG, LAYER}


def test_a_layout_with_an_index_takes_what_is_there() -> None:
    elsewhere = _descriptor(b"not in the archive", platform={"os": "linux", "architecture": "s390x"})
    index = json.dumps({"manifests": [elsewhere, _descriptor(MANIFEST)]}).encode()
    entry = _descriptor(index, module.OCI_INDEX, annotations={"io.containerd.image.name": "quay.io/a/b:2"})
    (image,) = _images(_layout(entry, blobs=(index, MANIFEST, CONFIG, LAYER)))
    assert (image.digest, image.media_type, image.names) == (_digest(index), module.OCI_INDEX, ("quay.io/a/b:2",))
    assert [blob.digest for blob in image.blobs][-2:] == [_digest(MANIFEST), _digest(index)]


def test_names_of_one_image_are_gathered() -> None:
    other = _descriptor(MANIFEST, annotations={"io.containerd.image.name": "docker.io/library/app:2"})
    (image,) = _images(_layout(NAMED, other, blobs=(MANIFEST, CONFIG, LAYER)))
    assert image.names == ("docker.io/library/app:1", "docker.io/library/app:2")


def test_docker_names_win_over_a_layout_without_any() -> None:
    bare = _descriptor(MANIFEST, annotations={"org.opencontainers.image.ref.name": "latest"})
    both = {**_layout(bare, blobs=(MANIFEST, CONFIG, LAYER)), **_docker()}
    assert [image.names for image in _images(both)] == [("docker.io/library/app:1",)]
    assert [image.names for image in _images(_layout(bare, blobs=(MANIFEST, CONFIG, LAYER)))] == [()]


@pytest.mark.parametrize("tags", [None, [], "absent"])
def test_an_image_may_have_no_name(tags: Any) -> None:
    assert _images(_docker(RepoTags=tags))[0].names == ()


def test_packed_layers_are_told_by_their_bytes() -> None:
    packed = gzip.compress(LAYER)
    files = {**_docker(), "1/layer.tar": packed}
    archive = Archive(_tar(files))
    (image,) = archive.images()
    kinds = [layer["mediaType"] for layer in json.loads(_bytes(archive, image)[image.digest])["layers"]]
    assert kinds == [module.OCI_LAYER + "+gzip", module.OCI_LAYER]


@pytest.mark.parametrize(
    ("kind", "target"),
    [(tarfile.SYMTYPE, "../1/layer.tar"), (tarfile.LNKTYPE, "1/layer.tar"), (tarfile.SYMTYPE, "/1/layer.tar")],
)
def test_linked_layers_are_the_same_layer(kind: bytes, target: str) -> None:
    files = {**_docker(config=_config(LAYER, LAYER)), "2/layer.tar": (kind, target)}
    (image,) = _images(files)
    assert [blob.digest for blob in image.blobs].count(_digest(LAYER)) == 1


def test_odd_spellings_of_names_and_other_members_do_no_harm() -> None:
    files = {f"./{name}" if name != "c.json" else "x/../c.json": data for name, data in _docker().items()}
    files |= {
        "../../etc/passwd": b"evil",
        "dev": (tarfile.CHRTYPE, ""),
        "d": (tarfile.DIRTYPE, ""),
        "loop": (tarfile.SYMTYPE, "loop"),
    }
    assert len(_images(files)) == 1


@pytest.mark.parametrize(
    ("files", "says"),
    [
        pytest.param({}, "neither", id="nothing"),
        pytest.param({"a": b"b"}, "neither", id="another tar"),
        pytest.param({**_docker(), "manifest.json": b"{"}, "not JSON", id="broken json"),
        pytest.param({**_docker(), "manifest.json": b"[" * 100_000}, "not JSON", id="nested json"),
        pytest.param({**_docker(), "manifest.json": b"{}"}, "no JSON list", id="json of another shape"),
        pytest.param({**_docker(), "manifest.json": b"[]"}, "names 0 images", id="no image"),
        pytest.param({**_docker(), "manifest.json": b"[" + b"{}," * 2000 + b"{}]"}, "1 to 1000", id="too many images"),
        pytest.param({**_docker(), "manifest.json": b"[7]"}, "without Config", id="an entry that is a number"),
        pytest.param(_docker(Config="absent"), "without Config", id="no config"),
        pytest.param(_docker(Config="other.json"), "no 'other.json'", id="config not there"),
        pytest.param(_docker(Config="../../../etc/passwd"), "no '../../../etc/passwd'", id="config outside"),
        pytest.param(_docker(Layers="absent"), "2 layers, manifest.json 0", id="no layers"),
        pytest.param(_docker(Layers=["1/layer.tar"]), "2 layers, manifest.json 1", id="a layer less"),
        pytest.param(_docker(Layers=["1/layer.tar", "3/layer.tar"]), "no '3/layer.tar'", id="layer not there"),
        pytest.param(_docker(Layers=[1, 2]), "no list of strings", id="layers are numbers"),
        pytest.param(_docker(RepoTags=["Not A Name"]), "repository name", id="bad name"),
        pytest.param(_docker(config=b"{}"), "no container image", id="config without layers"),
        pytest.param(
            _docker(config=b'{"rootfs": {"diff_ids": ["x", "y"]}}'), "no container image", id="diff ids are no digests"
        ),
        pytest.param({**_docker(), "2/layer.tar": b"other"}, "config says", id="layer with other bytes"),
        pytest.param({**_docker(), "2/layer.tar": (tarfile.SYMTYPE, "layer.tar")}, "circles", id="link to itself"),
        pytest.param({**_docker(), "2/layer.tar": (tarfile.SYMTYPE, "/etc/passwd")}, "no '2/layer.tar'", id="link outside"),
        pytest.param({**_docker(), "2/layer.tar": (tarfile.CHRTYPE, "")}, "no '2/layer.tar'", id="layer is a device"),
        pytest.param(_layout(NAMED), "no 'blobs/sha256/", id="layout without blobs"),
        pytest.param(_layout(NAMED, blobs=(MANIFEST, CONFIG)), "no 'blobs/sha256/", id="layout without layer"),
        pytest.param(
            {**_layout(NAMED, blobs=(MANIFEST, CONFIG)), f"blobs/sha256/{_digest(LAYER)[7:]}": b"x"},
            "other bytes",
            id="other blob",
        ),
        pytest.param(_layout({"digest": "sha256:../../x", "size": 1}), "hexadecimal", id="digest is a path"),
        pytest.param(_layout({"digest": "md5:" + "0" * 32, "size": 1}), "hexadecimal", id="weak digest"),
        pytest.param(_layout({"digest": _digest(b""), "size": -1}), "size", id="negative size"),
        pytest.param({"index.json": b'{"manifests": 7}'}, "no list", id="index without list"),
    ],
)
def test_hostile_archives_are_refused_by_name(files: Mapping[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        _images(files)


@pytest.mark.parametrize("layers", [(), (LAYER, LAYER)], ids=["too few", "too many"])
def test_a_layout_whose_config_does_not_fit(layers: tuple[bytes, ...]) -> None:
    manifest = _manifest(CONFIG, *layers)
    with pytest.raises(Invalid, match="its config 1"):
        _images(_layout(_descriptor(manifest), blobs=(manifest, CONFIG, LAYER)))


def test_indexes_that_nest_for_ever() -> None:
    inner = MANIFEST
    blobs = [MANIFEST, CONFIG, LAYER]
    for _ in range(8):
        inner = json.dumps({"manifests": [_descriptor(inner)]}).encode()
        blobs.append(inner)
    with pytest.raises(Invalid, match="nested too deep"):
        _images(_layout(_descriptor(inner), blobs=tuple(blobs)))


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100, b"\x1f\x8b" + b"x" * 600, b"\0" * 10, b"A" * 512])
def test_what_is_no_tar(content: bytes) -> None:
    with pytest.raises(Invalid, match="no image archive"):
        Archive(io.BytesIO(content)).images()


def test_a_truncated_archive_is_never_half_an_image() -> None:
    whole = _tar(_docker()).getvalue()
    for length in range(0, len(whole) - 10_000, 257):
        with pytest.raises(Invalid):
            Archive(io.BytesIO(whole[:length])).images()


def test_members_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 50)
    with pytest.raises(Invalid, match="more than 50 files"):
        Archive(_tar({str(number): b"" for number in range(60)}))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_huge_header_is_not_read(kind: bytes) -> None:
    entry = tarfile.TarInfo("pax")
    entry.type, entry.size = kind, 7 << 30
    with pytest.raises(Invalid, match="a header of"):
        Archive(io.BytesIO(entry.tobuf() + b"\0" * 4096))


def test_headers_behind_headers_end() -> None:
    entry = tarfile.TarInfo("pax")
    entry.type = tarfile.XHDTYPE
    with pytest.raises(Invalid):
        Archive(_tar(_docker(), raw=entry.tobuf() * 5000)).images()


def test_a_document_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DOCUMENT_BYTES", 100)
    with pytest.raises(Invalid, match="more than 100"):
        _images(_docker())
