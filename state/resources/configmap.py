"""ConfigMap: core/v1."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from state.resources.fields import DataKey, Model, wrong
from state.resources.meta import ObjectMeta

DATA_BYTES = 1024 * 1024
"""The most that all values of a ConfigMap or a Secret hold together."""


def _base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise wrong("must be base64; plain text belongs in stringData of a Secret or data of a ConfigMap") from None
    return value


def _text(value: object) -> object:
    # Numbers and booleans come unquoted out of YAML; the value is not repeated here, for it may be secret.
    if isinstance(value, (bool, int, float)):
        raise wrong("must be a string: put it in quotes")
    return value


Text = Annotated[str, BeforeValidator(_text)]
Base64 = Annotated[str, BeforeValidator(_text), AfterValidator(_base64)]


class ConfigMap(Model):
    """Configuration that is not secret."""

    api_version: Literal["v1"] = Field(description="v1.")
    kind: Literal["ConfigMap"] = Field(description="ConfigMap.")
    metadata: ObjectMeta = Field(description="Metadata.")
    data: dict[DataKey, Text] = Field(default={}, description="Texts by key. With binaryData at most 1 MiB. Default: none.")
    binary_data: dict[DataKey, Base64] = Field(default={}, description="Bytes by key, in base64. Default: none.")
    immutable: bool | None = Field(None, description="True: data can never change again. Default: false.")

    def contents(self) -> dict[str, bytes]:
        """Every key and its bytes."""
        found = {key: value.encode() for key, value in self.data.items()}
        found.update((key, base64.b64decode(value)) for key, value in self.binary_data.items())
        return found


def data_size(obj: dict[str, Any]) -> int:
    """Bytes of all values of a raw ConfigMap or Secret, decoded; what is no text counts nothing."""
    size = 0
    for field, encoded in (("data", obj.get("kind") == "Secret"), ("binaryData", True), ("stringData", False)):
        values = obj.get(field)
        for value in values.values() if isinstance(values, dict) else ():
            if isinstance(value, str):
                size += len(value) * 3 // 4 - value[-2:].count("=") if encoded else len(value.encode())
    return size
