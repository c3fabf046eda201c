"""Metadata, conditions and references: meta/v1, as Kubernetes has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from state.errors import Cause
from state.resources.fields import (
    FORBIDDEN,
    INT64,
    INVALID,
    REQUIRED,
    SET,
    TOO_LONG,
    Items,
    Model,
    Timestamp,
    keyed,
    name_problem,
    whole,
    wrong,
)

_NAME_PART = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)
_ANNOTATIONS_BYTES = 256 * 1024


def qualified_name_problem(value: str) -> str:
    """What is wrong with a key of labels, annotations or finalizers (``[prefix/]name``); empty when nothing is."""
    prefix, slash, name = value.rpartition("/")
    if slash and (problem := name_problem(prefix, subdomain=True)):
        return f"the prefix before / {problem}"
    if not _NAME_PART.fullmatch(name):
        return (
            'must be 1 to 63 letters, digits, "-", "_" or ".", begin and end with a letter or digit, '
            'with an optional prefix such as "example.com/"'
        )
    return ""


def label_value_problem(value: str) -> str:
    if value and not _NAME_PART.fullmatch(value):
        return 'must be at most 63 letters, digits, "-", "_" or ".", and begin and end with a letter or digit'
    return ""


def _finalizer(value: str) -> str:
    if problem := qualified_name_problem(value):
        raise wrong(problem)
    if "/" not in value and value not in ("foregroundDeletion", "orphan", "kubernetes"):
        raise wrong('must have a domain, such as "example.com/cleanup"')
    return value


class OwnerReference(Model):
    """Who owns the object: it goes when all its owners are gone."""

    api_version: str = Field(description="API version of the owner.")
    kind: str = Field(description="Kind of the owner.")
    name: str = Field(description="Name of the owner, in the same namespace or cluster-scoped.")
    uid: str = Field(description="uid of the owner.", min_length=1)
    controller: bool | None = Field(None, description="True for the one owner that manages the object. Default: false.")
    block_owner_deletion: bool | None = Field(
        None, description="True: a foreground deletion of the owner waits for this object. Default: false."
    )


class ManagedFieldsEntry(Model):
    """Which fields one manager owns; kept by the server."""

    manager: str = Field("", description="Name of the manager.")
    operation: Literal["Apply", "Update"] | None = Field(None, description="How the fields came.")
    api_version: str = Field("", description="Version of the fields.")
    time: Timestamp | None = Field(None, description="Time of the last change by the manager.")
    fields_type: Literal["FieldsV1"] | None = Field(None, description="Format of fieldsV1.")
    fields_v1: dict[str, Any] | None = Field(
        None, alias="fieldsV1", description="The fields, as a trie of f:, k:, v: and . keys."
    )
    subresource: str = Field("", description="Subresource by which they were written.")


class ObjectMeta(Model):
    """Metadata of every object."""

    name: str = Field("", description="Name, unique for the kind in its namespace; never changes.")
    generate_name: str = Field("", description="Prefix from which the server makes a name when there is none.")
    namespace: str = Field("", description="Namespace; empty for cluster-scoped kinds. Never changes.")
    uid: str = Field("", description="Identity over time, made by the server.")
    resource_version: str = Field(
        "", description="Revision of the store at the last change; a write that names an older one is a Conflict."
    )
    generation: Annotated[int, *whole(0, INT64)] | None = Field(None, description="Raised by every change of the spec.")
    creation_timestamp: Timestamp | None = Field(None, description="When the object was made (UTC).")
    deletion_timestamp: Timestamp | None = Field(
        None, description="When its deletion was asked for; it goes when no finalizer is left."
    )
    deletion_grace_period_seconds: Annotated[int, *whole(-1, INT64)] | None = Field(
        None, description="Grace of the deletion, in seconds."
    )
    labels: dict[str, str] = Field(default={}, description="Keys and values to select by.")
    annotations: dict[str, str] = Field(default={}, description="Any other notes; at most 256 KiB in all.")
    finalizers: Items[Annotated[str, AfterValidator(_finalizer)]] = Field(
        (), description="What must be done before the object goes.", json_schema_extra=SET
    )
    owner_references: Items[OwnerReference] = Field((), description="Owners of the object.", json_schema_extra=keyed("uid"))
    managed_fields: Items[ManagedFieldsEntry] = Field((), description="Who owns which field; kept by the server.")
    self_link: str = Field("", description="Obsolete; accepted and kept.")


class Condition(Model):
    """One observation of a controller."""

    type: str = Field(description="What is observed, such as Ready.", min_length=1)
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field("", description="CamelCase word for programs; part of the API.")
    message: str = Field("", description="A sentence for people.")
    last_transition_time: Timestamp | None = Field(None, description="When status changed last (UTC).")
    observed_generation: Annotated[int, *whole(0, INT64)] | None = Field(
        None, description="Generation of the spec that was looked at."
    )


def metadata_problems(meta: dict[str, Any], *, namespaced: bool, subdomain: bool) -> Iterator[Cause]:
    """Problems that the shape alone does not show. ``meta`` is raw: wrong types are skipped here, told elsewhere."""
    yield from _name_problems(meta, subdomain)
    namespace = meta.get("namespace", "")
    if isinstance(namespace, str):
        if not namespaced and namespace:
            yield Cause("metadata.namespace", "Forbidden: this kind belongs to no namespace: leave it out", FORBIDDEN)
        elif namespaced and not namespace:
            yield Cause("metadata.namespace", 'Required value: such as "default"', REQUIRED)
        elif namespace and (problem := name_problem(namespace)):
            yield Cause("metadata.namespace", f'Invalid value: "{namespace[:80]}": {problem}', INVALID)
    yield from _map_problems(meta)


def _name_problems(meta: dict[str, Any], subdomain: bool) -> Iterator[Cause]:
    name, prefix = meta.get("name", ""), meta.get("generateName", "")
    if name and isinstance(name, str):
        if problem := name_problem(name, subdomain=subdomain):
            yield Cause("metadata.name", f'Invalid value: "{name[:80]}": {problem}', INVALID)
    elif prefix and isinstance(prefix, str):
        if problem := name_problem(prefix.rstrip("-.") or "-", subdomain=subdomain):
            yield Cause("metadata.generateName", f'Invalid value: "{prefix[:80]}": {problem}', INVALID)
    elif name == "" and prefix == "":
        yield Cause("metadata.name", "Required value: name the object", REQUIRED)


def _map_problems(meta: dict[str, Any]) -> Iterator[Cause]:
    labels, annotations = meta.get("labels"), meta.get("annotations")
    if isinstance(labels, dict):
        for key, value in labels.items():
            if problem := qualified_name_problem(key):
                yield Cause("metadata.labels", f'Invalid value: "{key[:80]}": {problem}', INVALID)
            elif isinstance(value, str) and (problem := label_value_problem(value)):
                yield Cause(f"metadata.labels[{key}]", f'Invalid value: "{value[:80]}": {problem}', INVALID)
    if isinstance(annotations, dict):
        for key in annotations:
            if problem := qualified_name_problem(key):
                yield Cause("metadata.annotations", f'Invalid value: "{key[:80]}": {problem}', INVALID)
        size = sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items() if isinstance(v, str))
        if size > _ANNOTATIONS_BYTES:
            yield Cause("metadata.annotations", f"Too long: {size} bytes in all, at most {_ANNOTATIONS_BYTES}", TOO_LONG)
