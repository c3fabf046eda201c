"""The table of kinds. Light to import: no model is loaded before :meth:`ResourceType.model` is asked for it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from state.objects import GROUP, VERSION

if TYPE_CHECKING:
    from pydantic import BaseModel

ColumnType = Literal["string", "integer", "number", "boolean", "date"]

SET: tuple[str, ...] = ()
"""In ``ResourceType.lists``: a list of scalars without order."""

_META_LISTS: dict[str, tuple[str, ...]] = {
    "metadata.finalizers": SET,
    "metadata.ownerReferences": ("uid",),
    "status.conditions": ("type",),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table beside Name and Age. ``path``: a JSONPath that begins with a dot; ``priority`` above 0: wide only."""

    name: str
    type: ColumnType
    path: str
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One kind. ``group`` is empty for core/v1. ``secret``: its rows are encrypted whole, its values never shown unasked."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    module: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    has_status: bool = True
    secret: bool = False
    subdomain: bool = True
    """Names are DNS-1123 subdomains; False: labels."""
    categories: tuple[str, ...] = ("setpoint",)
    columns: tuple[Column, ...] = ()
    selectable: tuple[str, ...] = ()
    """Field selectors beside metadata.name and metadata.namespace."""
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Lists that server-side apply merges item by item: dotted path without indexes -> key fields, or ``SET``. All other lists
    are replaced whole."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    @property
    def path(self) -> str:
        """Base of its URLs: ``/api/v1`` or ``/apis/GROUP/VERSION``."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    @property
    def qualified(self) -> str:
        """``containers.setpoint.dev``, or ``secrets``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def model(self) -> type[BaseModel]:
        """The pydantic model, loaded now."""
        found: type[BaseModel] = getattr(importlib.import_module(f"state.resources.{self.module}"), self.kind)
        return found


_CONTAINER_LISTS: dict[str, tuple[str, ...]] = {
    **_META_LISTS,
    "spec.imagePullSecrets": ("name",),
    "spec.env": ("name",),
    "spec.ulimits": ("name",),
    "spec.sysctls": ("name",),
    "spec.volumes": ("name",),
    "spec.volumeMounts": ("mountPath",),
    "spec.hostAliases": ("ip",),
    "spec.securityContext.capabilities.add": SET,
    "spec.securityContext.capabilities.drop": SET,
}

TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        GROUP, VERSION, "Container", "containers", "container", "container",
        short_names=("ctr",),
        subdomain=False,
        categories=("setpoint", "all"),
        columns=(
            Column("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
            Column("Phase", "string", ".status.phase"),
            Column("Restarts", "integer", ".status.restartCount"),
            Column("Image", "string", ".spec.image"),
            Column("Node", "string", ".spec.nodeName", 1),
            Column("PID", "integer", ".status.pid", 1),
            Column("Exit", "integer", ".status.exitCode", 1),
            Column("Reason", "string", ".status.reason", 1),
            Column("Wanted", "string", ".spec.runState", 1),
        ),
        selectable=("spec.nodeName", "status.phase"),
        lists=_CONTAINER_LISTS,
    ),
    ResourceType(
        GROUP, VERSION, "Image", "images", "image", "image",
        short_names=("img",),
        namespaced=False,
        categories=("setpoint", "all"),
        columns=(
            Column("Reference", "string", ".spec.reference"),
            Column("Pinned", "boolean", ".spec.pinned"),
        ),
        lists={**_META_LISTS, "spec.pullSecrets": SET},
    ),
    ResourceType(
        GROUP, VERSION, "Node", "nodes", "node", "node",
        short_names=("no",),
        namespaced=False,
        categories=("setpoint", "all"),
        columns=(
            Column("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
            Column("Budget", "string", ".spec.startBudget", 1),
        ),
        lists=_META_LISTS,
    ),
    ResourceType(
        "", "v1", "Secret", "secrets", "secret", "secret",
        short_names=("sec",),
        has_status=False,
        secret=True,
        columns=(Column("Type", "string", ".type"),),
        selectable=("type",),
        lists=_META_LISTS,
    ),
    ResourceType(
        "", "v1", "ConfigMap", "configmaps", "configmap", "configmap",
        short_names=("cm",),
        has_status=False,
        lists=_META_LISTS,
    ),
    ResourceType(
        "", "v1", "Namespace", "namespaces", "namespace", "namespace",
        short_names=("ns",),
        namespaced=False,
        subdomain=False,
        columns=(Column("Status", "string", ".status.phase"),),
        selectable=("status.phase",),
        lists=_META_LISTS,
    ),
    ResourceType(
        "", "v1", "Event", "events", "event", "event",
        short_names=("ev",),
        has_status=False,
        columns=(
            Column("Last seen", "date", ".lastTimestamp"),
            Column("Type", "string", ".type"),
            Column("Reason", "string", ".reason"),
            Column("Object", "string", ".involvedObject.name"),
            Column("Message", "string", ".message"),
            Column("Count", "integer", ".count", 1),
        ),
        selectable=(
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ),
        lists=_META_LISTS,
    ),
)  # fmt: skip

_BY_KIND = {each.kind: each for each in TYPES}
_BY_PLURAL = {each.plural: each for each in TYPES}
_BY_ALIAS = {
    alias: each
    for each in TYPES
    for alias in (each.plural, each.singular, each.kind.lower(), each.qualified, *each.short_names)
}


def by_kind(kind: str) -> ResourceType | None:
    """The type of a kind as the manifest spells it."""
    return _BY_KIND.get(kind)


def by_plural(plural: str, group: str | None = None) -> ResourceType | None:
    """The type of a plural as URLs have it; with ``group`` it must also be of that group (empty: core)."""
    found = _BY_PLURAL.get(plural)
    return found if found is None or group is None or found.group == group else None


def by_alias(word: str) -> ResourceType | None:
    """The type for what people type: plural, singular, short name, ``plural.group``, in any case."""
    return _BY_ALIAS.get(word.lower())
