"""Volumes of a container, and where they are mounted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from state.resources.environment import ON_CHANGE, OnChange
from state.resources.fields import (
    LATER,
    AbsolutePath,
    DataKey,
    FileMode,
    Items,
    Label,
    Later,
    Model,
    MountPath,
    RelativePath,
    Subdomain,
    later,
    wrong,
)
from state.resources.quantity import Quantity

HostPathType = Literal["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"]


def _medium(value: object) -> object:
    if isinstance(value, str) and value.startswith("HugePages"):
        raise wrong(value, LATER)
    return value


_MODE = "Mode of the files, 0 to 0777; JSON has no octal, so 0644 is 420. Default: 420."


class KeyToPath(Model):
    """One key as one file."""

    key: DataKey = Field(description="The key.")
    path: RelativePath = Field(description='Path below the mount; relative, without "..".', min_length=1)
    mode: FileMode | None = Field(None, description="Mode of this file, 0 to 0777 (511). Default: defaultMode.")


class HostPathVolume(Model):
    """A path of the node."""

    path: AbsolutePath = Field(description="Absolute path on the node.")
    type: HostPathType = Field(
        "",
        description="What must be there. Empty: anything; with nothing there the start waits and names the path, nothing is "
        "made. DirectoryOrCreate and FileOrCreate make an empty one. Default: empty.",
    )
    require_mount_point: Later = later("Start only when the path is a mount point.")
    on_lost: Later = later("What happens when the path goes away.")


class EmptyDirVolume(Model):
    """A folder that lives as long as the object: it survives restarts and replacements."""

    medium: Annotated[Literal["", "Memory"], BeforeValidator(_medium)] = Field(
        "", description="Empty: the node's disk. Memory: a tmpfs. Default: empty."
    )
    size_limit: Quantity | None = Field(
        None, description="Size of the tmpfs in bytes; with medium Memory only. Default: half of the node's memory."
    )


class ConfigMapVolume(Model):
    """Files from a ConfigMap of the same namespace."""

    name: Subdomain = Field(description="Name of the ConfigMap.")
    items: Items[KeyToPath] = Field((), description="Which keys, as which files. Default: every key under its own name.")
    default_mode: FileMode = Field(0o644, description=_MODE)
    optional: bool = Field(False, description="True: starts without it when missing; false: the start waits. Default: false.")
    on_change: OnChange = Field("None", description=ON_CHANGE)


class SecretVolume(Model):
    """Files from a Secret of the same namespace, on a tmpfs."""

    secret_name: Subdomain = Field(description="Name of the Secret.")
    items: Items[KeyToPath] = Field((), description="Which keys, as which files. Default: every key under its own name.")
    default_mode: FileMode = Field(0o644, description=_MODE)
    optional: bool = Field(False, description="True: starts without it when missing; false: the start waits. Default: false.")
    on_change: OnChange = Field("None", description=ON_CHANGE)


class Volume(Model):
    """One volume: a name and exactly one source."""

    name: Label = Field(description="Name, unique in the container; volumeMounts refer to it.")
    host_path: HostPathVolume | None = Field(None, description="A path of the node.")
    empty_dir: EmptyDirVolume | None = Field(None, description="A folder of the object's own.")
    config_map: ConfigMapVolume | None = Field(None, description="Files from a ConfigMap.")
    secret: SecretVolume | None = Field(None, description="Files from a Secret.")
    projected: Later = later("Several sources in one folder.")
    volume: Later = later("A Volume object.")
    from_: Later = later("Another container's emptyDir.", alias="from")


class VolumeMount(Model):
    """Where a volume, or a part of it, appears in the container."""

    name: str = Field(description="Name of the volume.", min_length=1)
    mount_path: MountPath = Field(description='Absolute path in the container, unique; without ":" and "..".')
    sub_path: RelativePath = Field(
        "",
        description="Path inside the volume; such a mount does not follow changes of ConfigMaps and Secrets. "
        "Default: its root.",
    )
    sub_path_expr: Later = later("subPath with variables.")
    read_only: bool = Field(False, description="Read-only, below it too where the kernel can. Default: false.")
    recursive_read_only: Later = later("How far readOnly reaches; it is recursive where the kernel can.")
    mount_propagation: Literal["None", "HostToContainer", "Bidirectional"] = Field(
        "None",
        description="Whether mounts made later are seen: None, HostToContainer (rslave), "
        "Bidirectional (rshared; needs privileged). Default: None.",
    )
