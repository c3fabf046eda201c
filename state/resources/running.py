"""How a container is kept running: restart policy, update strategy, logging, names and addresses it sees."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from state.resources.fields import (
    INT32,
    LATER,
    Duration,
    Items,
    Model,
    name_problem,
    whole,
    wrong,
)
from state.resources.quantity import Quantity

RunState = Literal["Running", "Stopped", "Paused"]
RestartPolicy = Literal["Always", "UnlessStopped", "OnFailure", "Never"]


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise wrong("must be more than zero")
    return value


def _factor(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if not 1 <= value <= 100:
        raise wrong("must be from 1 to 100")
    return value


class Backoff(Model):
    """Delays between restarts."""

    initial: Annotated[Duration, AfterValidator(_positive)] = Field(
        timedelta(milliseconds=100), description="The first delay. Default: 100ms."
    )
    factor: Annotated[int | float, BeforeValidator(_factor)] = Field(
        2, description="Each delay is that many times the last one, 1 to 100. Default: 2."
    )
    max: Annotated[Duration, AfterValidator(_positive)] = Field(
        timedelta(seconds=60), description="The longest delay. Default: 60s."
    )
    reset_after: Duration = Field(
        timedelta(seconds=10),
        description="A run of that long, or of the last delay if that is longer, starts the delays anew. Default: 10s.",
    )


class CrashBudget(Model):
    """How many crashes are borne before the container is quarantined until ``setpoint retry``."""

    crashes: Annotated[int, *whole(1)] = Field(description="Number of crashes.")
    within: Annotated[Duration, AfterValidator(_positive)] = Field(description='Span in which they count, such as "10m".')


class Restart(Model):
    """How restarts are paced and counted."""

    max_retries: Annotated[int, *whole(0)] | None = Field(
        None, description="Restarts in a row before it is left Exited. Default: without end."
    )
    backoff: Backoff = Field(default_factory=Backoff, description="Delays between restarts.")
    crash_budget: CrashBudget | None = Field(None, description="Quarantine after too many crashes. Default: none.")


def _strategy(value: object) -> object:
    if value == "StartFirst":
        raise wrong("StartFirst", LATER)
    return value


class UpdateStrategy(Model):
    """How a change that needs a new container is carried out."""

    type: Annotated[Literal["StopFirst"], BeforeValidator(_strategy)] = Field(
        "StopFirst",
        description="StopFirst: the old one stops, and is put back when the new one never becomes Ready. "
        "Default: StopFirst. StartFirst is not supported yet.",
    )
    progress_deadline_seconds: Annotated[int, *whole(1)] = Field(
        600, description="Seconds in which the new one must become Ready. Default: 600."
    )
    min_ready_seconds: Annotated[int, *whole(0)] = Field(0, description="Seconds that it must stay Ready. Default: 0.")


def _log_size(value: Quantity) -> Quantity:
    if not 4096 <= value.value <= 1 << 40:
        raise wrong("must be from 4Ki to 1Ti")
    return value


class Logging(Model):
    """Bounds of the log files."""

    max_size: Annotated[Quantity, AfterValidator(_log_size)] = Field(
        Quantity("10Mi", 10 * 1024**2 * 10**9), description="Bytes of one file, 4Ki to 1Ti. Default: 10Mi."
    )
    max_files: Annotated[int, *whole(1, 1000)] = Field(5, description="Files kept, 1 to 1000. Default: 5.")


def _ip(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise wrong("must be an IPv4 or IPv6 address") from None
    return value


def _host(value: str) -> str:
    if problem := name_problem(value, subdomain=True):
        raise wrong(problem)
    return value


def _domain(value: str) -> str:
    if value != "." and (problem := name_problem(value.removesuffix(".").replace("_", "-"), subdomain=True)):
        raise wrong(problem)
    return value


IPAddress = Annotated[str, AfterValidator(_ip)]


class HostAlias(Model):
    """One line of /etc/hosts."""

    ip: IPAddress = Field(description="Address.")
    hostnames: Items[Annotated[str, AfterValidator(_host)]] = Field(description="Names of it.", min_length=1)


class DnsOption(Model):
    """One option of resolv.conf."""

    name: str = Field(description="Name, such as ndots.", pattern=r"^[-a-z0-9]+$")
    value: str | None = Field(None, description="Value. Default: none.", pattern=r"^\S+$")


class DnsConfig(Model):
    """What resolv.conf holds beside, or with dnsPolicy None instead of, the node's."""

    nameservers: Items[IPAddress] = Field((), description="Addresses of servers, at most 3. Default: none.", max_length=3)
    searches: Items[Annotated[str, AfterValidator(_domain)]] = Field(
        (), description="Domains searched, at most 32. Default: none.", max_length=32
    )
    options: Items[DnsOption] = Field((), description="Options of the resolver. Default: none.")


class ImagePullSecret(Model):
    """A Secret with credentials of registries."""

    name: str = Field(
        description="Name of a Secret of type kubernetes.io/dockerconfigjson in the same namespace.", min_length=1
    )


_IN_ORDER = """HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG
XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"""
_SIGNALS = frozenset(_IN_ORDER.split())
_BY_NUMBER = dict(enumerate(_IN_ORDER.split(), start=1))
_REALTIME = re.compile(r"RT(MIN(\+([0-9]|1[0-5]))?|MAX(-([0-9]|1[0-4]))?)", re.ASCII)


def _is_signal(name: str) -> bool:
    return name in _SIGNALS or _REALTIME.fullmatch(name) is not None


def _signal(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        raise wrong(f'must be a name: write "SIG{_BY_NUMBER.get(value, "TERM")}"')
    if not isinstance(value, str) or (value.startswith("SIG") and _is_signal(value[3:])):
        return value
    plain = value.upper().removeprefix("SIG")
    if plain.isascii() and plain.isdigit() and len(plain) < 3:
        plain = _BY_NUMBER.get(int(plain), "")
    raise wrong(f'write it "SIG{plain}"' if _is_signal(plain) else 'must be a signal such as "SIGTERM" or "SIGRTMIN+3"')


StopSignal = Annotated[str, BeforeValidator(_signal)]


def _cgroup_parent(value: str) -> str:
    if not value or ".." in value.split("/") or not re.fullmatch(r"[-A-Za-z0-9_.:@/\\]{1,255}", value, re.ASCII):
        raise wrong('must be a path such as "/setpoint" or a systemd slice such as "setpoint.slice"')
    return value


CgroupParent = Annotated[str, AfterValidator(_cgroup_parent)]


def _runtime(value: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9](?:[-a-zA-Z0-9_.]{0,126}[a-zA-Z0-9])?", value, re.ASCII):
        raise wrong('must be the name of a runtime, such as "runc"')
    return value


RuntimeName = Annotated[str, AfterValidator(_runtime)]


def _shm(value: Quantity) -> Quantity:
    if not 4096 <= value.value <= 1 << 44:
        raise wrong("must be from 4Ki to 16Ti")
    return value


ShmSize = Annotated[Quantity, AfterValidator(_shm)]


def _host_users(value: object) -> object:
    if value is False:
        raise wrong("false", LATER)
    return value


HostUsers = Annotated[Literal[True], BeforeValidator(_host_users)]
Int32 = Annotated[int, *whole(-INT32 - 1)]
