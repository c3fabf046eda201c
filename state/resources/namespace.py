"""Namespace: core/v1."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from state.resources.fields import Items, Model
from state.resources.meta import ObjectMeta


class NamespaceSpec(Model):
    """core/v1's NamespaceSpec."""

    finalizers: Items[str] = Field((), description="What must be done before the namespace goes; kept by the server.")


class Namespace(Model):
    """A scope of names."""

    api_version: Literal["v1"] = Field(description="v1.")
    kind: Literal["Namespace"] = Field(description="Namespace.")
    metadata: ObjectMeta = Field(description="Metadata.")
    spec: NamespaceSpec = Field(default_factory=NamespaceSpec, description="core/v1's spec.")
    status: dict[str, Any] = Field(default={}, description="phase: Active or Terminating.")
