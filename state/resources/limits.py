"""Resources: what a container may use, and its ulimits and sysctls."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from state.resources.fields import INT64, Later, Model, later, whole, wrong
from state.resources.quantity import Quantity

LEAST_MEMORY_BYTES = 6 * 1024 * 1024


def _amount(value: Quantity) -> Quantity:
    if value.nanos <= 0:
        raise wrong("must be more than zero; for no limit leave the field out")
    return value


def _memory(value: Quantity) -> Quantity:
    _amount(value)
    if value.value >= LEAST_MEMORY_BYTES:
        return value
    if value.text.endswith("m"):
        raise wrong(f'"m" is a thousandth of a byte; the least is 6Mi: did you mean "{value.text[:-1]}Mi"?')
    digits = re.sub(r"[^0-9.]", "", value.text) or "64"
    meant = f"{digits}Mi" if float(digits.split(".")[0] or 0) >= 6 else f"{digits}Gi"
    raise wrong(f'is {value.value} bytes; the least is 6Mi: did you mean "{meant}"?')


def _cpu(value: Quantity) -> Quantity:
    _amount(value)
    if value.nanos % 10**6:
        raise wrong("must not be finer than a thousandth of a cpu (1m)")
    return value


def _pids(value: Quantity) -> Quantity:
    _amount(value)
    if not value.whole or value.value > 4194304:
        raise wrong("must be a whole number from 1 to 4194304")
    return value


def _swap(value: Quantity) -> Quantity:
    if value.nanos == -(10**9):
        return value
    return _memory(value)


def _cpuset(value: str) -> str:
    for part in value.split(","):
        match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part, re.ASCII)
        if match is None or (match[2] is not None and int(match[2]) < int(match[1])):
            raise wrong('must be a list of cpus such as "0-3,6"')
    return value


class Limits(Model):
    """The most that the container gets. Other than in core/v1, ``pids`` is here too."""

    memory: Annotated[Quantity, AfterValidator(_memory)] | None = Field(
        None, description="Bytes, at least 6Mi. Default: no limit."
    )
    cpu: Annotated[Quantity, AfterValidator(_cpu)] | None = Field(
        None, description="CPUs; 500m is half of one. Default: no limit."
    )
    pids: Annotated[Quantity, AfterValidator(_pids)] | None = Field(
        None, description="Processes and threads, 1 to 4194304. Default: 16384."
    )
    ephemeral_storage: Later = later("Bytes of the writable layer.", alias="ephemeral-storage")


class Requests(Model):
    """What the container should get when the node is short of it; at most the limit."""

    memory: Annotated[Quantity, AfterValidator(_memory)] | None = Field(
        None, description="Bytes kept for it (memory reservation). Default: none."
    )
    cpu: Annotated[Quantity, AfterValidator(_cpu)] | None = Field(
        None, description="CPUs, as a weight among containers (cpu shares). Default: the weight of one cpu."
    )
    ephemeral_storage: Later = later("Bytes of the writable layer.", alias="ephemeral-storage")


class LinuxResources(Model):
    """What Linux can limit and core/v1 has no field for."""

    memory_swap: Annotated[Quantity, AfterValidator(_swap)] | None = Field(
        None,
        description="Bytes of memory and swap together, at least limits.memory; -1 for any amount. "
        "Default: limits.memory, so no swap.",
    )
    cpuset: Annotated[str, AfterValidator(_cpuset)] | None = Field(
        None, description='CPUs it may run on, such as "0-3,6". Default: all.'
    )
    oom_score_adj: Annotated[int, *whole(-1000, 1000)] | None = Field(
        None, description="Who is killed first when the node runs out of memory, -1000 (never) to 1000. Default: 0."
    )
    blkio: Later = later("Weights and rates of block devices.")
    hugepages: Later = later("Limits of huge pages.")


class Resources(Model):
    """Limits and requests."""

    limits: Limits | None = Field(None, description="The most that it gets. Default: none but pids.")
    requests: Requests | None = Field(None, description="What it should get when the node is short. Default: none.")
    linux: LinuxResources | None = Field(None, description="What only Linux has. Default: none.")
    claims: Later = later("Claims of dynamic resources.")


UlimitName = Literal[
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
    "sigpending", "stack",
]  # fmt: skip
"""setrlimit(2), without ``RLIMIT_`` and in lower case; ``as`` is left out as Docker leaves it out."""


class Ulimit(Model):
    """One resource limit of the process (setrlimit)."""

    name: UlimitName = Field(description="Which limit, without RLIMIT_ and in lower case, such as nofile.")
    soft: Annotated[int, *whole(-1, INT64)] = Field(
        description="The limit in force; -1 is unlimited. Units as in setrlimit(2)."
    )
    hard: Annotated[int, *whole(-1, INT64)] = Field(
        -1, description="Up to where the process may raise it; -1 is unlimited. Default: soft."
    )

    @model_validator(mode="wrap")
    @classmethod
    def _hard_is_soft(cls, value: Any, handler: Any) -> Any:
        if isinstance(value, dict) and "soft" in value and "hard" not in value:
            value = {**value, "hard": value["soft"]}
        return handler(value)


_SYSCTL = re.compile(r"[a-z0-9](?:[-_a-zA-Z0-9]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[-_a-zA-Z0-9]*[a-zA-Z0-9])?)+", re.ASCII)
_IPC_NAMES = """kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni
kernel.shm_rmid_forced kernel.msg_next_id kernel.sem_next_id kernel.shm_next_id"""
_NAMESPACED = frozenset(_IPC_NAMES.split())


def is_ipc_sysctl(name: str) -> bool:
    """Belongs to the IPC namespace."""
    return name in _NAMESPACED or name.startswith("fs.mqueue.")


def is_net_sysctl(name: str) -> bool:
    """Belongs to the network namespace."""
    return name.startswith("net.")


def _sysctl(value: str) -> str:
    if not _SYSCTL.fullmatch(value.replace("/", ".")) or len(value) > 253:
        raise wrong('must be a name such as "net.core.somaxconn"')
    if "/" in value:
        raise wrong(f'write it with dots: "{value.replace("/", ".")}"')
    if not is_ipc_sysctl(value) and not is_net_sysctl(value):
        raise wrong("belongs to the whole node; only net.*, fs.mqueue.* and kernel.{msg*,sem,shm*} are the container's own")
    return value


class Sysctl(Model):
    """One kernel parameter of the container's own namespaces."""

    name: Annotated[str, AfterValidator(_sysctl)] = Field(description='Name with dots, such as "net.core.somaxconn".')
    value: str = Field(description="Value, as a string.", min_length=1)
