"""What controllers write into ``status``. A shape for readers and schemas: a stored status is not held to it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from state.resources.fields import Items, Model, Timestamp, keyed
from state.resources.meta import Condition

ContainerPhase = Literal["Pending", "Created", "Running", "Paused", "Restarting", "Exited", "Removing", "Dead", "Unknown"]


class Status(Model):
    """What every status has."""

    model_config = ConfigDict(extra="allow")

    observed_generation: int | None = Field(None, description="Generation of the spec that the status tells of.")
    conditions: Items[Condition] = Field((), description="What was found, one of each type.", json_schema_extra=keyed("type"))


class LastExit(Model):
    """How the process before the present one ended."""

    model_config = ConfigDict(extra="allow")

    exit_code: int | None = Field(None, description="Exit code; absent when nobody knows.")
    signal: str | None = Field(None, description="Signal that ended it.")
    reason: str | None = Field(None, description="CamelCase word for programs.")
    finished_at: Timestamp | None = Field(None, description="When it ended (UTC).")


class ContainerStatus(Status):
    """What was seen of a Container."""

    phase: ContainerPhase | None = Field(
        None, description="Where it is in its life. Dead: its removal is stuck; Unknown: nobody told how it ended."
    )
    container_id: str | None = Field(
        None, alias="containerID", description="Id in containerd: uid without dashes, -, revision."
    )
    revision: int | None = Field(None, description="Raised when a change cannot be made live.")
    pid: int | None = Field(None, description="Process id on the node while it runs.")
    started_at: Timestamp | None = Field(None, description="When the process started (UTC).")
    finished_at: Timestamp | None = Field(None, description="When it ended (UTC).")
    exit_code: int | None = Field(None, description="Exit code, when a live shim told it.")
    signal: str | None = Field(None, description="Signal that ended it.")
    reason: str | None = Field(None, description="CamelCase word for programs.")
    reported: int | None = Field(None, description="Exit code that containerd made up after its shim died.")
    restart_count: int | None = Field(None, description="Restarts of this revision.")
    next_start_at: Timestamp | None = Field(None, description="When the next start is due (UTC).")
    last_exit: LastExit | None = Field(None, description="How the process before ended.")
    image: str | None = Field(None, description="Full name of the image.")
    image_digest: str | None = Field(None, description="Digest that the revision runs.")
    addresses: Items[Any] = Field((), description="Addresses of its sandbox.")
    ports: Items[Any] = Field((), description="Published ports.")
