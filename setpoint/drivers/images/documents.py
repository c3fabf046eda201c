"""Manifests and configs from outside, checked before anything relies on their shape. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from setpoint.drivers.containerd.images import Descriptor
from state.errors import Invalid
from state.objects import Object

MAX_LAYERS = 500
MAX_CONFIG_BYTES = 8 << 20

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def descriptor(entry: Any, where: str) -> Descriptor:
    """Raises: Invalid when it is no descriptor with a sha256 digest and a size (image-spec, descriptor.md)."""
    if not isinstance(entry, dict):
        raise Invalid(f"{where} is no descriptor")
    digest, media_type, size = entry.get("digest"), entry.get("mediaType", ""), entry.get("size")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise Invalid(f"{where} has the digest {digest!r}; 'sha256:' and 64 hexadecimal digits are supported")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise Invalid(f"{where} has the size {size!r}")
    if not isinstance(media_type, str):
        raise Invalid(f"{where} has the media type {media_type!r}")
    return Descriptor(digest, media_type, size)


def manifest_parts(document: Object, where: str) -> tuple[Descriptor, Sequence[Descriptor]]:
    """Config and layers of a manifest. Raises: Invalid."""
    layers = document.get("layers")
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        raise Invalid(f"{where} has no list of at most {MAX_LAYERS} layers")
    config = descriptor(document.get("config"), f"{where} config")
    if config.size > MAX_CONFIG_BYTES:
        raise Invalid(f"{where} has a config of {config.size} bytes, more than {MAX_CONFIG_BYTES}")
    found = [descriptor(layer, f"{where} layers[{number}]") for number, layer in enumerate(layers)]
    if not all(layer.media_type for layer in found):
        raise Invalid(f"{where} has a layer without a media type")
    return config, found


def diff_ids(config: Object, where: str) -> Sequence[str]:
    """The layers' digests before packing. Raises: Invalid for what is no container image (a chart, a signature)."""
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list) or not all(isinstance(item, str) and _DIGEST.fullmatch(item) for item in found):
        raise Invalid(f"{where} is no container image: its config has no rootfs.diff_ids")
    return found


def check_image(document: Object, config: Object, where: str) -> None:
    """A manifest and its config fit. Raises: Invalid."""
    _, layers = manifest_parts(document, where)
    ids = diff_ids(config, where)
    if len(ids) != len(layers):
        raise Invalid(f"{where} has {len(layers)} layers, its config {len(ids)}")
