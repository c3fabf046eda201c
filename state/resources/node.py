"""Node: one per agent."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from state.resources.fields import Later, Model, later, wrong
from state.resources.meta import ObjectMeta

_RATE = re.compile(r"([1-9][0-9]{0,5})/([smh])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def _rate(value: str) -> str:
    if not _RATE.fullmatch(value):
        raise wrong('must be a rate such as "4/s" or "30/m"')
    return value


def starts_per_second(rate: str) -> float:
    """``4/s`` -> 4.0, ``30/m`` -> 0.5. Raises ValueError for anything else."""
    match = _RATE.fullmatch(rate)
    if match is None:
        raise ValueError(f"not a rate: {rate}")
    return int(match[1]) / _SECONDS[match[2]]


class NodeSpec(Model):
    """Settings of one node."""

    start_budget: Annotated[str, AfterValidator(_rate)] = Field(
        "4/s", description='Restarts of containers that the node begins at most, such as "4/s" or "30/m". Default: 4/s.'
    )
    default_exposure: Later = later("Who may connect to published ports.")
    reserve: Later = later("Memory and cpu kept for the node itself.")
    host_users_default: Later = later("Whether containers use the node's user namespace.")
    log_budget: Later = later("Share of the disk for logs.")
    pod_pids: Later = later("Limit of processes of a container that names none.")
    image_high_threshold_percent: Later = later("Disk use at which images are removed.")
    image_low_threshold_percent: Later = later("Disk use down to which they are removed.")
    held: Later = later("The loop looks at this node and touches nothing.")


class Node(Model):
    """One node and its agent."""

    api_version: Literal["setpoint.dev/v1alpha1"] = Field(description="setpoint.dev/v1alpha1.")
    kind: Literal["Node"] = Field(description="Node.")
    metadata: ObjectMeta = Field(description="Metadata.")
    spec: NodeSpec = Field(default_factory=NodeSpec, description="Settings; written by people.")
    status: dict[str, Any] = Field(default={}, description="Capacity, facts and counters; written by the agent.")
