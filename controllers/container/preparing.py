"""What a process must find when it starts: references, volumes, files, sandbox. Checked first, then made; idempotent.

``check`` changes nothing but what the declaration asks to be created; what is missing raises :class:`Missing`, which is no
failure: the loop waits under a condition that names the thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from controllers.container.bundle import Ports
from controllers.container.model import Desired, Resolution, Waiting
from controllers.container.oci import Paths, SpecInputs, build, image_volumes
from controllers.container.ports import EmptyDir, FileTree, ImageInfo, Sandbox
from controllers.container.references import Gathered, gather
from state.errors import Invalid, NotFound, StateError
from state.objects import Object


class Missing(Exception):
    """Something exact is not here yet."""

    def __init__(self, waiting: Waiting) -> None:
        super().__init__(waiting.message)
        self.waiting = waiting


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that a spec is built from besides the declaration and the image."""

    sandbox: Sandbox
    paths: Paths
    gathered: Gathered


async def check(ports: Ports, want: Desired, *, image: bool, look_only: bool = False) -> tuple[Resolution, ImageInfo] | None:
    """Everything a launch needs is here. With ``image`` also what a new record needs; the spec is built once for its errors.
    ``look_only``: nothing is made, nothing is fetched."""
    gathered = await gather(ports.store, want.key.namespace, want.spec)
    for volume in want.spec.get("volumes") or ():
        await _check_volume(ports, volume, gathered, look_only)
    runtime = want.spec.get("runtime", "runc")
    if not ports.host.runtime(runtime):
        raise Missing(Waiting("RuntimeNotFound", f'the OCI runtime "{runtime}" is not installed on this node'))
    if not image:
        return None
    stale = (
        not look_only and want.pull == "Always" and not await ports.images.refresh(want.image, await credentials(ports, want))
    )
    info = await find_image(ports, want, fetch=not look_only)
    planned = Prepared(Sandbox(want.uid, "/proc/self/ns/net"), _planned(ports, want, info), gathered)
    inputs = spec_inputs(ports, want, 0, info, planned)
    try:
        build(inputs)
    except NotFound as error:
        raise missing_from(error) from error
    config = info.config.get("config") or {}
    volumes = bool(image_volumes(want.spec, info))
    return Resolution(want.image, info.digest, config.get("StopSignal", ""), volumes=volumes, stale=stale), info


def _planned(ports: Ports, want: Desired, info: ImageInfo) -> Paths:
    """Where everything will be once it is prepared."""
    volumes = {volume["name"]: _place(ports, want, volume) for volume in want.spec.get("volumes") or ()}
    volumes |= {name: ports.files.path(want.uid, "emptydir", name) for name in image_volumes(want.spec, info)}
    mounts = want.spec.get("volumeMounts") or ()
    subs = {m["mountPath"]: f"{volumes.get(m['name'], '')}/{m['subPath']}" for m in mounts if m.get("subPath")}
    return Paths(volumes, subs)


def _place(ports: Ports, want: Desired, volume: Object) -> str:
    """The host path of a volume; pure."""
    if "hostPath" in volume:
        return str(volume["hostPath"]["path"])
    kind: Literal["tree", "volatile", "emptydir"] = "emptydir"
    if "configMap" in volume or "secret" in volume:
        kind = "volatile" if "secret" in volume else "tree"
    return ports.files.path(want.uid, kind, volume["name"])


async def find_image(ports: Ports, want: Desired, digest: str = "", *, fetch: bool = True) -> ImageInfo:
    """The local image; when it is not here a fetch is started, unless the policy forbids it."""
    reference = f"{want.image.partition('@')[0]}@{digest}" if digest else want.image
    try:
        return await ports.images.resolve(reference)
    except NotFound as error:
        if want.pull == "Never":
            raise Missing(
                Waiting("ImageNotFound", f"image {want.image} is not on this node, and imagePullPolicy is Never")
            ) from error
        if fetch:
            ports.images.fetch(want.image, await credentials(ports, want))
        trouble = ports.images.trouble(want.image)
        told = f"image {want.image} is not on this node" + (f": {trouble}" if trouble else "; it is being fetched")
        raise Missing(Waiting("ImageNotFound", told)) from error


async def credentials(ports: Ports, want: Desired) -> tuple[Object, ...]:
    """The Secrets that ``imagePullSecrets`` name, those that exist."""
    names = [entry.get("name", "") for entry in want.spec.get("imagePullSecrets") or ()]
    found = []
    for name in names:
        try:
            found.append((await ports.store.get(want.key._replace(kind="Secret", name=name))).object)
        except NotFound:
            continue
    return tuple(found)


async def prepare(ports: Ports, want: Desired, info: ImageInfo | None) -> Prepared:
    """Sandbox, files and volumes as they must be at a launch. ``info`` None: a relaunch, its image's volumes are kept."""
    gathered = await gather(ports.store, want.key.namespace, want.spec)
    sandbox = Sandbox(want.uid, "") if want.host_network else await ports.sandboxes.ensure(want.uid)
    await _keep_identity(ports, want)
    volumes = {v["name"]: await _keep_volume(ports, want, v, gathered) for v in want.spec.get("volumes") or ()}
    if info is not None:
        for name, path in image_volumes(want.spec, info).items():
            await ports.files.keep_emptydir(want.uid, EmptyDir(name, seed=(info.chain_id, path)))
            volumes[name] = ports.files.path(want.uid, "emptydir", name)
    subs = await _sub_paths(ports, want, volumes)
    own = ports.files.path
    paths = Paths(
        volumes,
        subs,
        hosts=own(want.uid, "file", "hosts"),
        hostname=own(want.uid, "file", "hostname"),
        resolv_conf=own(want.uid, "file", "resolv.conf"),
        shm=await _keep_shm(ports, want),
    )
    return Prepared(sandbox, paths, gathered)


async def refresh(ports: Ports, want: Desired) -> str:
    """Files from ConfigMaps and Secrets as these are now; the versions that were written. Those of a source that was deleted
    stay: who uses them runs on."""
    gathered = await gather(ports.store, want.key.namespace, want.spec)
    for volume in want.spec.get("volumes") or ():
        kind, source = ("Secret", volume.get("secret")) if "secret" in volume else ("ConfigMap", volume.get("configMap"))
        if source is not None and gathered.has(kind, source.get("name") or source.get("secretName", "")):
            await _keep_volume(ports, want, volume, gathered)
    return gathered.files


def spec_inputs(ports: Ports, want: Desired, revision: int, info: ImageInfo, prepared: Prepared) -> SpecInputs:
    return SpecInputs(
        uid=want.uid,
        id=want.id(revision),
        namespace=want.key.namespace,
        name=want.key.name,
        spec=want.spec,
        image=info,
        host=ports.host.facts(),
        sandbox=prepared.sandbox,
        paths=prepared.paths,
        config_maps=prepared.gathered.config_maps,
        secrets=prepared.gathered.secrets,
    )


def missing_from(error: NotFound) -> Missing:
    """The spec's builder knows what it lacks; the condition's reason is made from the kind of it."""
    return Missing(Waiting(f"{error.kind or 'Thing'}NotFound", error.message))


async def _check_volume(ports: Ports, volume: Object, gathered: Gathered, look_only: bool) -> None:
    if "hostPath" in volume:
        await _check_host_path(ports, volume["name"], volume["hostPath"], look_only)
    for kind, source, known in (
        ("ConfigMap", volume.get("configMap"), gathered.config_maps),
        ("Secret", volume.get("secret"), gathered.secrets),
    ):
        if source is None or source.get("optional"):
            continue
        name = source.get("name") or source.get("secretName", "")
        if name not in known:
            raise Missing(Waiting(f"{kind}NotFound", f"volume {volume['name']} waits for {kind} {name}, which does not exist"))
        for item in source.get("items") or ():
            if item.get("key") not in known[name]:
                raise Missing(Waiting(f"{kind}KeyNotFound", f"{kind} {name} has no key {item.get('key')}"))


async def _check_host_path(ports: Ports, name: str, source: Object, look_only: bool) -> None:
    path, wanted = source["path"], source.get("type", "")
    try:
        found = await ports.files.probe(path)
    except StateError as error:
        raise Missing(Waiting("HostPathUnavailable", f"volume {name}: {path} does not answer: {error.message}")) from error
    if not found and wanted in ("DirectoryOrCreate", "FileOrCreate"):
        if not look_only:
            await ports.paths.make(path, "Directory" if wanted == "DirectoryOrCreate" else "File")
        return
    if not found:
        raise Missing(Waiting("HostPathNotFound", f"volume {name} waits for {path}, which does not exist on this node"))
    expected = wanted.removesuffix("OrCreate")
    if expected and expected != found:
        raise Missing(Waiting("HostPathType", f"volume {name}: {path} is a {found}, and the declaration wants a {expected}"))


async def _keep_volume(ports: Ports, want: Desired, volume: Object, gathered: Gathered) -> str:
    name, uid = volume["name"], want.uid
    if "configMap" in volume or "secret" in volume:
        secret = "secret" in volume
        source = volume["secret"] if secret else volume["configMap"]
        data = (gathered.secrets if secret else gathered.config_maps).get(source.get("name") or source.get("secretName", ""))
        await ports.files.keep_tree(uid, FileTree(name, _projected(source, data or {}), volatile=secret))
    elif "hostPath" not in volume:
        empty = volume.get("emptyDir") or {}
        await ports.files.keep_emptydir(uid, EmptyDir(name, empty.get("medium", ""), size_bytes(empty.get("sizeLimit"))))
    return _place(ports, want, volume)


def _projected(source: Object, data: object) -> dict[str, tuple[bytes, int]]:
    """core/v1: all keys, or the listed items under their paths; ``defaultMode`` 0644."""
    assert isinstance(data, dict)
    mode = int(source.get("defaultMode", 0o644))
    items = source.get("items")
    if not items:
        return {key: (value, mode) for key, value in data.items()}
    return {i["path"]: (data[i["key"]], int(i.get("mode", mode))) for i in items if i.get("key") in data}


async def _keep_identity(ports: Ports, want: Desired) -> None:
    for name, content in identity_files(want, ports).items():
        await ports.files.keep_file(want.uid, name, content)


def identity_files(want: Desired, ports: Ports) -> dict[str, bytes]:
    """hosts, hostname and resolv.conf of the sandbox."""
    from controllers.container.identity import hostname, hosts, resolv_conf

    facts = ports.host.facts()
    return {
        "hostname": f"{hostname(want, facts)}\n".encode(),
        "hosts": hosts(want, facts).encode(),
        "resolv.conf": resolv_conf(want, facts).encode(),
    }


async def _keep_shm(ports: Ports, want: Desired) -> str:
    if want.spec.get("hostIPC"):
        return ""
    await ports.files.keep_shm(want.uid, size_bytes(want.spec.get("shmSize")) or 64 << 20)
    return ports.files.path(want.uid, "shm", "shm")


async def _sub_paths(ports: Ports, want: Desired, volumes: dict[str, str]) -> dict[str, str]:
    resolved = {}
    for index, mount in enumerate(want.spec.get("volumeMounts") or ()):
        if mount.get("subPath"):
            try:
                resolved[mount["mountPath"]] = await ports.paths.within(volumes[mount["name"]], mount["subPath"])
            except KeyError as error:
                raise Invalid(f"spec.volumeMounts[{index}].name: no volume {mount['name']}") from error
    return resolved


def size_bytes(quantity: object) -> int:
    from controllers.container.oci.quantity import whole

    return whole(quantity, "size") if quantity else 0
