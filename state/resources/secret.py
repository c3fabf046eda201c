"""Secret: core/v1. Its values are never repeated in a message."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from state.errors import Cause
from state.objects import Object
from state.resources.configmap import Base64, Text
from state.resources.fields import INVALID, REQUIRED, DataKey, Model
from state.resources.meta import ObjectMeta

DOCKER_CONFIG_JSON = "kubernetes.io/dockerconfigjson"
_KEYS = {
    DOCKER_CONFIG_JSON: (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


class Secret(Model):
    """Confidential data; stored encrypted."""

    api_version: Literal["v1"] = Field(description="v1.")
    kind: Literal["Secret"] = Field(description="Secret.")
    metadata: ObjectMeta = Field(description="Metadata.")
    type: str = Field("Opaque", description="Which keys it has; never changes. Default: Opaque.", min_length=1, max_length=253)
    data: dict[DataKey, Base64] = Field(
        default={}, description="Bytes by key, in base64; at most 1 MiB together. Default: none."
    )
    string_data: dict[DataKey, Text] = Field(
        default={}, description="Texts by key; the server moves them into data. Default: none."
    )
    immutable: bool | None = Field(None, description="True: data can never change again. Default: false.")

    def contents(self) -> dict[str, bytes]:
        """Every key and its bytes."""
        return {key: base64.b64decode(value) for key, value in self.data.items()}


def fold_string_data(obj: Object) -> Object:
    """The Secret with ``stringData`` moved into ``data``; the same object when there is none. What is no text stays."""
    texts = obj.get("stringData")
    if obj.get("kind") != "Secret" or not isinstance(texts, dict):
        return obj
    data = obj.get("data", {})
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in texts.values()):
        return obj
    folded = {key: value for key, value in obj.items() if key != "stringData"}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in texts.items()}
    if data or encoded:
        folded["data"] = {**data, **encoded}
    return folded


def type_problems(obj: dict[str, Any]) -> Iterator[Cause]:
    """Keys that the type asks for and that are missing or cannot be read."""
    kind_of, data = obj.get("type", "Opaque"), obj.get("data", {})
    if not isinstance(kind_of, str) or not isinstance(data, dict):
        return
    for key in _KEYS.get(kind_of, ()):
        if key not in data:
            yield Cause(f"data[{key}]", f"Required value: a Secret of type {kind_of} has this key", REQUIRED)
    config = data.get(".dockerconfigjson")
    if kind_of == DOCKER_CONFIG_JSON and isinstance(config, str):
        try:
            auths = json.loads(base64.b64decode(config)).get("auths")
        except (ValueError, AttributeError, RecursionError):
            auths = None
        if not isinstance(auths, dict):
            yield Cause("data[.dockerconfigjson]", 'Invalid value: must be a JSON object with "auths"', INVALID)
