"""Event: core/v1."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from state.resources.fields import Model, Timestamp, whole
from state.resources.meta import ObjectMeta


class ObjectReference(Model):
    """Which object."""

    kind: str = Field("", description="Kind.")
    namespace: str = Field("", description="Namespace.")
    name: str = Field("", description="Name.")
    uid: str = Field("", description="uid.")
    api_version: str = Field("", description="API version.")
    resource_version: str = Field("", description="Revision.")
    field_path: str = Field("", description="Part of the object.")


class EventSource(Model):
    """Who tells."""

    component: str = Field("", description="Name of the component.")
    host: str = Field("", description="Node it runs on.")


class EventSeries(Model):
    """How often it happened."""

    count: Annotated[int, *whole(0)] = Field(0, description="How often.")
    last_observed_time: Timestamp | None = Field(None, description="When last.")


class Event(Model):
    """Something that happened to an object."""

    api_version: Literal["v1"] = Field(description="v1.")
    kind: Literal["Event"] = Field(description="Event.")
    metadata: ObjectMeta = Field(description="Metadata.")
    involved_object: ObjectReference = Field(description="The object that it is about.")
    reason: str = Field("", description="CamelCase word for programs.", max_length=128)
    message: str = Field("", description="A sentence for people.")
    source: EventSource | None = Field(None, description="Who tells.")
    first_timestamp: Timestamp | None = Field(None, description="When first.")
    last_timestamp: Timestamp | None = Field(None, description="When last.")
    count: Annotated[int, *whole(0)] | None = Field(None, description="How often.")
    type: Literal["", "Normal", "Warning"] = Field("", description="Normal or Warning.")
    event_time: Timestamp | None = Field(None, description="When first, for series.")
    series: EventSeries | None = Field(None, description="How often, for series.")
    action: str = Field("", description="What was done.")
    related: ObjectReference | None = Field(None, description="Another object that it is about.")
    reporting_component: str = Field("", description="Controller that tells.")
    reporting_instance: str = Field("", description="Instance of it.")
