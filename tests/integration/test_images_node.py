"""Images on a real containerd: loads, pulls over bad networks, and what is read out of hostile root file systems."""

# ruff: noqa: ASYNC240 - the tests look at the disk, and nothing else runs in their loop
from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import shutil
import socket
import stat
import subprocess
import tarfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from controllers.container.ports import EmptyDir
from setpoint.drivers.clock import SystemClock, SystemRandom
from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.images import ImageStore
from setpoint.drivers.files import Files
from setpoint.drivers.images.node import Hooks, NodeImages
from setpoint.drivers.images.pulling import Patience
from setpoint.testing.containerd_rig import serving
from setpoint.testing.containerd_server import RELEASES, ContainerdServer
from setpoint.testing.images import SmallImage, busybox, busybox_archive, descriptor, digest
from setpoint.testing.registry_server import RegistryServer
from state.errors import Conflict, Denied, Invalid, NotFound, Unavailable

NAME = "docker.io/library/app:1"

pytestmark = pytest.mark.containerd


@pytest.fixture(scope="module", params=RELEASES, ids=lambda release: release.name)
def server(request: pytest.FixtureRequest) -> Iterator[ContainerdServer]:
    """One of each release for all; each test has a namespace of its own in it."""
    with serving(request.param) as made:
        yield made


@pytest.fixture
async def store(server: ContainerdServer) -> AsyncIterator[ImageStore]:
    channel = Channel(server.address, f"test-{uuid.uuid4()}")
    yield ImageStore(channel)
    await channel.close()


@pytest.fixture
async def registry() -> AsyncIterator[RegistryServer]:
    async with RegistryServer() as made:
        yield made


@pytest.fixture
async def images(store: ImageStore, tmp_path: Path) -> AsyncIterator[NodeImages]:
    patience = Patience(attempts=3, first_wait_s=0.01, stall_s=5)
    node = NodeImages(store, tmp_path / "run", tmp_path / "data", SystemClock(), SystemRandom(), patience=patience)
    yield node
    await node.close()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


async def _stream(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), 200_000):
        yield content[at : at + 200_000]


async def _load(images: NodeImages, path: Path) -> list[str]:
    return list(await images.load(_stream(path.read_bytes())))


def _layer(**entries: Any) -> bytes:
    """A layer; per path (``__`` for a slash) bytes, (tar type, link name), or a dict of TarInfo's attributes and ``data``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, what in entries.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            if isinstance(what, tuple):
                what = {"type": what[0], "linkname": what[1]}
            given = {"data": what} if isinstance(what, bytes) else dict(what)
            data = given.pop("data", b"")
            info.size = len(data)
            for key, value in given.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _archive(path: Path, *layers: bytes, name: str | None = "app:1", diff_ids: list[str] | None = None) -> Path:
    config = {
        "os": "linux",
        "config": {"Cmd": ["x"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids or [digest(x) for x in layers]},
    }
    listing = {"Config": "c.json", "RepoTags": [name] if name else None, "Layers": [f"{n}.tar" for n in range(len(layers))]}
    files = {"c.json": json.dumps(config).encode(), "manifest.json": json.dumps([listing]).encode()}
    files |= {f"{number}.tar": layer for number, layer in enumerate(layers)}
    with tarfile.open(path, "w") as tar:
        for file, data in files.items():
            info = tarfile.TarInfo(file)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


# -- load


@pytest.mark.parametrize("layout", ["docker", "oci"])
@pytest.mark.parametrize("packed", [False, True])
async def test_archives_load_twice(images: NodeImages, tmp_path: Path, layout: Any, packed: bool) -> None:
    path = busybox_archive(tmp_path / "a.tar", reference=NAME, layout=layout)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    changed: list[str] = []
    images.hooks.changed = changed.append
    for _ in range(2):
        assert await _load(images, path) == [NAME]
    info = await images.resolve("app:1")
    assert info.config["config"]["Cmd"] == ["sh"]
    assert info.passwd.startswith("root:x:0:0")
    (row,) = await images.list()
    assert (row.reference, row.digest) == (NAME, info.digest)
    assert row.size_bytes > 100_000
    assert row.created_at.endswith("Z")
    assert changed == [NAME, NAME]
    assert os.listdir(tmp_path / "data" / "spool") == []


async def test_a_layer_that_unpacks_to_something_else_leaves_no_name(images: NodeImages, tmp_path: Path) -> None:
    packed = gzip.compress(_layer(file=b"x"))
    with pytest.raises(Invalid, match="unpacks to"):
        await _load(images, _archive(tmp_path / "a.tar", packed, diff_ids=[digest(b"other")]))
    assert list(await images.list()) == []
    assert await _load(images, _archive(tmp_path / "b.tar", packed, diff_ids=[digest(_layer(file=b"x"))])) == [NAME]


async def test_a_layer_that_is_no_tar(images: NodeImages, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="tar"):
        await _load(images, _archive(tmp_path / "a.tar", b"no tar at all" * 100))
    assert list(await images.list()) == []


async def test_an_archive_without_a_name_gets_one(images: NodeImages, tmp_path: Path) -> None:
    (name,) = await _load(images, _archive(tmp_path / "a.tar", _layer(file=b"x"), name=None))
    assert name.startswith("localhost/unnamed:")
    assert (await images.resolve(name)).reference == name


async def test_an_image_without_layers(images: NodeImages, tmp_path: Path) -> None:
    await _load(images, _archive(tmp_path / "a.tar"))
    info = await images.resolve(NAME)
    assert (info.chain_id, info.passwd) == ("", "")


async def test_a_name_that_moves_leaves_what_it_named(images: NodeImages, tmp_path: Path) -> None:
    digests = []
    for content in (b"old", b"new"):
        await _load(images, _archive(tmp_path / "a.tar", _layer(file=content)))
        digests.append((await images.resolve(NAME)).digest)
    rows = {row.reference: row.digest for row in await images.list()}
    assert rows == {NAME: digests[1], f"docker.io/library/app@{digests[0]}": digests[0]}
    assert (await images.resolve(f"app@{digests[0]}")).digest == digests[0]
    assert (await images.resolve(f"app@{digests[1]}")).digest == digests[1]
    with pytest.raises(NotFound):
        await images.resolve(f"other@{digests[1]}")


async def test_remove_is_refused_while_used(images: NodeImages, tmp_path: Path) -> None:
    await _load(images, _archive(tmp_path / "a.tar", _layer(file=b"x")))
    images.hooks = Hooks(used_by=lambda reference, _digest: ["default/web"] if reference == NAME else [])
    with pytest.raises(Conflict, match="app:1 is used by default/web"):
        await images.remove("app:1")
    assert (await images.list())[0].used_by == ("default/web",)
    images.hooks = Hooks()
    await images.remove("app:1")
    assert list(await images.list()) == []
    for call in (images.remove("app:1"), images.resolve("app:1")):
        with pytest.raises(NotFound, match="app:1"):
            await call


async def test_snapshots_that_were_taken_away_are_unpacked_again(images: NodeImages, store: ImageStore, tmp_path: Path) -> None:
    await _load(images, _archive(tmp_path / "a.tar", _layer(file=b"x")))
    info = await images.resolve(NAME)
    await store.drop_view(info.chain_id)
    assert not await store.stands(info.chain_id)
    assert await images.resolve(NAME) == info
    assert await store.stands(info.chain_id)


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
async def test_archives_as_skopeo_writes_them(images: NodeImages, tmp_path: Path, kind: str) -> None:
    ours = busybox_archive(tmp_path / "ours.tar")
    _run("skopeo", "--insecure-policy", "copy", f"docker-archive:{ours}", f"{kind}:{tmp_path}/theirs.tar:quay.io/a/b:2")
    assert await _load(images, tmp_path / "theirs.tar") == ["quay.io/a/b:2"]
    assert (await images.resolve("quay.io/a/b:2")).passwd.startswith("root:")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# -- pull


def _offer(registry: RegistryServer, image: SmallImage | None = None, **kwargs: Any) -> tuple[str, SmallImage]:
    # Other content than any other test's: containerd shares blobs between its namespaces.
    image = image or busybox("x", files={"unique": uuid.uuid4().bytes})
    registry.add("team/app", "1", image, **kwargs)
    return f"{registry.domain}/team/app:1", image


async def test_a_pull_through_an_index_takes_this_platform(images: NodeImages, registry: RegistryServer) -> None:
    foreign = {**descriptor(b"elsewhere", "m"), "platform": {"os": "linux", "architecture": "s390x"}}
    name, image = _offer(registry, others=[foreign], index=True)
    seen: list[tuple[str, int, int]] = []
    top = await images.pull(name, progress=lambda *step: seen.append(step))
    assert (await images.resolve(name)).digest == top != digest(image.manifest_bytes)
    assert seen[0][0] == "Resolving"
    assert seen[-1][0] == "Unpacking"
    assert seen[-1][1] == seen[-1][2] == len(image.layer) + len(image.config_bytes)
    assert (await images.resolve(f"{registry.domain}/team/app@{top}")).digest == top


async def test_no_image_for_this_platform(images: NodeImages, registry: RegistryServer) -> None:
    foreign = {**descriptor(b"elsewhere", "m"), "platform": {"os": "linux", "architecture": "s390x"}}
    registry.put("team/app", "1", json.dumps({"manifests": [foreign]}).encode())
    with pytest.raises(Invalid, match="only for linux/s390x"):
        await images.pull(f"{registry.domain}/team/app:1")


async def test_a_cut_connection_is_gone_on_with(images: NodeImages, registry: RegistryServer) -> None:
    name, image = _offer(registry)
    cuts = [400_000, 300_000, 1, 200_000, 100_000]
    registry.faults.cut_after[digest(image.layer)] = list(cuts)
    await images.pull(name)
    asked = [request.range for request in registry.requests if digest(image.layer) in request.path]
    assert asked[0] == ""
    offsets = [int(text[6:].partition("-")[0]) for text in asked[1:]]
    assert offsets == sorted(offsets)
    assert offsets[0] > 0
    assert (await images.resolve(name)).passwd


async def test_a_connection_cut_for_ever_gives_up_and_a_later_pull_goes_on(
    images: NodeImages, registry: RegistryServer
) -> None:
    name, image = _offer(registry)
    layer = digest(image.layer)
    registry.faults.cut_after[layer] = [500_000, 0, 0, 0, 0]
    with pytest.raises(Unavailable):
        await images.pull(name)
    with pytest.raises(NotFound):
        await images.resolve(name)
    registry.faults.cut_after.clear()
    registry.requests.clear()
    await images.pull(name)
    (request,) = (request for request in registry.requests if layer in request.path)
    assert request.range.startswith("bytes=")


@pytest.mark.parametrize("fault", ["flipped", "too_long"])
async def test_wrong_bytes_are_never_an_image(images: NodeImages, registry: RegistryServer, fault: str) -> None:
    name, image = _offer(registry)
    getattr(registry.faults, fault).add(digest(image.layer))
    with pytest.raises(Invalid):
        await images.pull(name)
    assert list(await images.list()) == []
    getattr(registry.faults, fault).clear()
    await images.pull(name)


async def test_wrong_bytes_behind_a_cut_are_fetched_from_the_start(images: NodeImages, registry: RegistryServer) -> None:
    name, image = _offer(registry)
    layer = digest(image.layer)
    registry.faults.cut_after[layer] = [300_000]
    registry.faults.flipped_once.add(layer)
    registry.faults.ignore_range = False
    await images.pull(name)
    assert (await images.resolve(name)).passwd


async def test_a_busy_registry_is_waited_for(images: NodeImages, registry: RegistryServer) -> None:
    name, _ = _offer(registry)
    registry.faults.answers += [(429, {"Retry-After": "0"}), (503, {})]
    await images.pull(name)


async def test_denied_is_told_at_once_and_credentials_help(images: NodeImages, registry: RegistryServer) -> None:
    name, _ = _offer(registry)
    registry.auth = "bearer"
    with pytest.raises(Denied):
        await images.pull(name)
    await images.pull(name, [{"auths": {registry.domain: {"username": "user", "password": "secret"}}}])


async def test_pulls_of_one_image_at_the_same_time(images: NodeImages, registry: RegistryServer) -> None:
    name, image = _offer(registry)
    registry.add("team/other", "1", image)
    await asyncio.gather(*(images.pull(n) for n in (name, name, f"{registry.domain}/team/other:1")))
    assert len([request for request in registry.requests if digest(image.layer) in request.path]) == 1


async def test_a_second_pull_fetches_no_layer(images: NodeImages, registry: RegistryServer) -> None:
    name, _ = _offer(registry)
    for _ in range(2):
        await images.pull(name)
    assert len([request for request in registry.requests if "/blobs/" in request.path]) == 2


async def test_what_another_namespace_has_is_not_fetched(
    images: NodeImages, registry: RegistryServer, server: ContainerdServer, tmp_path: Path
) -> None:
    name, image = _offer(registry)
    await images.pull(name)
    registry.requests.clear()
    channel = Channel(server.address, f"test-{uuid.uuid4()}")
    other = NodeImages(ImageStore(channel), tmp_path / "run2", tmp_path / "data2", SystemClock(), SystemRandom())
    await other.pull(name)
    assert (await other.resolve(name)).digest == digest(image.manifest_bytes)
    assert [request.path for request in registry.requests if "/blobs/" in request.path] == []
    await other.close()
    await channel.close()


async def test_what_is_no_container_image(images: NodeImages, registry: RegistryServer) -> None:
    config = registry.put_blob(b'{"name": "a chart"}')
    document = {"config": {"mediaType": "x", "digest": config, "size": 19}, "layers": []}
    registry.put("team/app", "1", json.dumps(document).encode())
    with pytest.raises(Invalid, match="no container image"):
        await images.pull(f"{registry.domain}/team/app:1")


# -- a registry of another make


@pytest.fixture
def docker_registry(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("docker-registry")
    if program is None or shutil.which("skopeo") is None:
        pytest.skip("needs docker-registry and skopeo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(settings))
    process = subprocess.Popen([program, "serve", str(tmp_path / "registry.yml")], stderr=subprocess.DEVNULL)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


async def test_a_real_registry(images: NodeImages, docker_registry: str, tmp_path: Path) -> None:
    archive = busybox_archive(tmp_path / "a.tar")
    target = f"docker://{docker_registry}/team/app:1"
    copy = [
        "skopeo",
        "--insecure-policy",
        "copy",
        "--retry-times=5",
        "--dest-tls-verify=false",
        f"docker-archive:{archive}",
        target,
    ]
    await asyncio.to_thread(_run, *copy)
    name = f"{docker_registry}/team/app:1"
    top = await images.pull(name)
    info = await images.resolve(name)
    assert info.digest == top
    assert info.config["config"]["Cmd"] == ["sh"]
    assert info.passwd.startswith("root:x:0:0")
    with pytest.raises(NotFound, match="manifest unknown"):
        await images.pull(f"{docker_registry}/team/app:2")


# -- what is read out of root file systems


@pytest.mark.parametrize(
    ("entries", "passwd"),
    [
        pytest.param({"etc__passwd": b"plain"}, "plain", id="plain"),
        pytest.param({"other": b"inside", "etc__passwd": (tarfile.SYMTYPE, "/other")}, "inside", id="link inside"),
        pytest.param(
            {"other": b"inside", "etc__passwd": (tarfile.SYMTYPE, "../../../../other")}, "inside", id="dots stay inside"
        ),
        pytest.param({"etc__passwd": (tarfile.SYMTYPE, "/etc/shadow")}, "", id="link to a file of the host"),
        pytest.param({"etc": (tarfile.SYMTYPE, "/root")}, "", id="folder is a link"),
        pytest.param({"etc__passwd": (tarfile.SYMTYPE, "passwd")}, "", id="loop"),
        pytest.param({"etc__passwd": (tarfile.SYMTYPE, "/proc/self/environ")}, "", id="link to proc"),
        pytest.param({"etc__passwd": (tarfile.DIRTYPE, "")}, "", id="folder"),
        pytest.param({"etc__passwd": (tarfile.FIFOTYPE, "")}, "", id="fifo"),
        pytest.param({"etc__passwd": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}}, "", id="endless device"),
        pytest.param({"etc__passwd": b"\xff\xfe"}, "\ufffd\ufffd", id="no text"),
        pytest.param({"etc__passwd": {"data": b"closed", "mode": 0}}, "closed", id="no mode"),
        pytest.param({"file": b"x"}, "", id="none"),
    ],
)
async def test_accounts_come_from_inside_only(images: NodeImages, tmp_path: Path, entries: dict[str, Any], passwd: str) -> None:
    await _load(images, _archive(tmp_path / "a.tar", _layer(**entries)))
    assert (await images.resolve(NAME)).passwd == passwd


async def test_many_layers_fit(images: NodeImages, tmp_path: Path) -> None:
    layers = [_layer(**{f"file{number}": b"x"}) for number in range(60)]
    await _load(images, _archive(tmp_path / "a.tar", *layers, _layer(etc__passwd=b"top")))
    assert (await images.resolve(NAME)).passwd == "top"


async def test_a_folder_is_copied_with_all_that_it_is(images: NodeImages, tmp_path: Path) -> None:
    rights = {"mode": 0o4751, "uid": 5, "gid": 6, "mtime": 1000}
    layer = _layer(
        data={"type": tarfile.DIRTYPE, "mode": 0o1750, "uid": 12, "gid": 34},
        data__file={"data": b"x" * 100_000, **rights},
        data__same={"type": tarfile.LNKTYPE, "linkname": "data/file", **rights},
        data__sub={"type": tarfile.DIRTYPE, "mode": 0o700},
        data__sub__same={"type": tarfile.LNKTYPE, "linkname": "data/file", **rights},
        data__link={"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "uid": 7},
        data__pipe={"type": tarfile.FIFOTYPE, "mode": 0o622},
        data__null={"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3, "mode": 0o666},
    )
    await _load(images, _archive(tmp_path / "a.tar", layer))
    target = tmp_path / "target"
    target.mkdir()
    chain_id = (await images.resolve(NAME)).chain_id
    await images.seed(chain_id, "/data", str(target))
    info = {name: os.lstat(target / name) for name in ("", "file", "same", "sub", "sub/same", "link", "pipe", "null")}
    assert (stat.S_IMODE(info[""].st_mode), info[""].st_uid, info[""].st_gid) == (0o1750, 12, 34)
    assert (target / "file").read_bytes() == b"x" * 100_000
    assert (stat.S_IMODE(info["file"].st_mode), info["file"].st_uid, info["file"].st_mtime) == (0o4751, 5, 1000)
    assert info["file"].st_ino == info["same"].st_ino == info["sub/same"].st_ino
    assert os.readlink(target / "link") == "/etc/passwd"
    assert info["link"].st_uid == 7
    assert stat.S_ISFIFO(info["pipe"].st_mode)
    assert (stat.S_ISCHR(info["null"].st_mode), info["null"].st_rdev) == (True, os.makedev(1, 3))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/missing", []),
        ("/file", []),
        ("/out", []),
        ("/../../data", ["inside"]),
        ("link", ["inside"]),
        ("data/../data/", ["inside"]),
    ],
)
async def test_copies_start_inside_only(images: NodeImages, tmp_path: Path, path: str, found: list[str]) -> None:
    layer = _layer(data__inside=b"x", file=b"x", out=(tarfile.SYMTYPE, str(tmp_path)), link=(tarfile.SYMTYPE, "/data"))
    await _load(images, _archive(tmp_path / "a.tar", layer))
    target = tmp_path / "target"
    target.mkdir()
    await images.seed((await images.resolve(NAME)).chain_id, path, str(target))
    assert os.listdir(target) == found


async def test_an_emptydir_begins_with_what_the_image_has(images: NodeImages, tmp_path: Path) -> None:
    layer = _layer(data={"type": tarfile.DIRTYPE, "mode": 0o750, "uid": 9}, data__file=b"x")
    await _load(images, _archive(tmp_path / "a.tar", layer))
    files = Files(tmp_path / "data", tmp_path / "run", seed=images.seed)
    for medium in ("", "Memory"):
        empty = EmptyDir(f"v{medium.lower()}", medium, seed=((await images.resolve(NAME)).chain_id, "/data"))
        await files.keep_emptydir("uid", empty)
        path = files.path("uid", "emptydir", empty.name)
        assert os.listdir(path) == ["file"]
        assert (stat.S_IMODE(os.stat(path).st_mode), os.stat(path).st_uid) == (0o750, 9)
    await files.remove("uid")
    files.close()


async def test_a_copy_that_does_not_fit_is_unavailable(images: NodeImages, tmp_path: Path) -> None:
    await _load(images, _archive(tmp_path / "a.tar", _layer(data__file=b"x")))
    chain_id = (await images.resolve(NAME)).chain_id
    with pytest.raises(Unavailable):
        await images.seed(chain_id, "/data", str(tmp_path / "not there"))
    await images.seed("", "/data", str(tmp_path / "not there"))
