"""Limits for the runtime, in cgroup v1's terms: it turns them into v2's files itself.

Source: OCI ``config-linux.md``, runc 1.1.

memory ``limits.memory`` in bytes, with no swap beyond it unless ``linux.memorySwap`` (memory + swap; -1 none) says so; cpu
``limits.cpu`` as quota over 100 ms and ``requests.cpu`` as shares; ``limits.pids``; ``linux.{cpuset,blkio,hugepages}``.
"""

from __future__ import annotations

from collections.abc import Callable

from controllers.container.oci import quantity
from controllers.container.oci.inputs import invalid
from controllers.container.ports import HostFacts
from state.objects import Object

PERIOD_US = 100_000
PIDS = 16_384
DEFAULT_SHARES = 1024
_MIN_QUOTA_US = 1_000
_SHARES = (2, 262_144)
_V2_PROTECTION = "memory.low"


def resources(spec: Object, host: HostFacts) -> Object:
    """``linux.resources`` without its devices. Invalid when a declared limit cannot be kept on this host."""
    declared = spec.get("resources") or {}
    parts: dict[str, Callable[[Object, HostFacts], Object]] = {
        "memory": _memory,
        "cpu": _cpu,
        "pids": _pids,
        "blockIO": _block_io,
    }
    result: Object = {name: part(declared, host) for name, part in parts.items()}
    result = {name: part for name, part in result.items() if part}
    if pages := _huge_pages(declared, host):
        result["hugepageLimits"] = pages
    return result


def live_resources(spec: Object, host: HostFacts) -> Object:
    """``linux.resources`` for a running task: like :func:`resources`, but what is not limited says so in numbers, because the
    runtime leaves what is absent as it is. A cpuset cannot be unset that way: with and without one are different revisions."""
    result = resources(spec, host)
    result.pop("hugepageLimits", None)
    if _can(host, "memory"):
        memory = result.setdefault("memory", {})
        memory.setdefault("limit", -1)
        if _swap_counted(host):
            memory.setdefault("swap", -1)
        if "reservation" not in memory:
            if host.cgroup == 2:  # -1 would become ``max``, the opposite of no protection
                result["unified"] = {_V2_PROTECTION: "0"}
            else:
                memory["reservation"] = -1
    if _can(host, "cpu"):
        cpu = result.setdefault("cpu", {})
        cpu.setdefault("shares", DEFAULT_SHARES)
        cpu.setdefault("period", PERIOD_US)
        cpu.setdefault("quota", -1)
    return result


def _memory(declared: Object, host: HostFacts) -> Object:
    limit_field, swap_field = "spec.resources.limits.memory", "spec.resources.linux.memorySwap"
    limit = _amount(declared, "limits", "memory", limit_field)
    reservation = _amount(declared, "requests", "memory", "spec.resources.requests.memory")
    swap = (declared.get("linux") or {}).get("memorySwap")
    result: Object = {}
    if limit:
        _need(host, "memory", limit_field)
        result["limit"] = limit
        if _swap_counted(host):
            result["swap"] = limit
    if swap is not None:
        result["swap"] = _swap(swap, limit, host, swap_field)
    if reservation and _can(host, "memory"):
        if limit and reservation > limit:
            raise invalid("spec.resources.requests.memory", f"{reservation} bytes are above limits.memory, {limit} bytes")
        result["reservation"] = reservation
    return result


def _swap(value: object, limit: int | None, host: HostFacts, field: str) -> int:
    _need(host, "memory", field)
    if not _swap_counted(host):
        raise invalid(field, "this host's kernel does not account swap (boot it with swapaccount=1)")
    if limit is None:
        raise invalid(field, "needs limits.memory")
    total = quantity.whole(value, field)
    if total < 0:
        return -1
    if total < limit:
        raise invalid(field, f"{total} bytes are below limits.memory, {limit} bytes; it is memory and swap together")
    return total


def _cpu(declared: Object, host: HostFacts) -> Object:
    limit_field = "spec.resources.limits.cpu"
    limit = (declared.get("limits") or {}).get("cpu")
    request = (declared.get("requests") or {}).get("cpu", limit)
    result: Object = {}
    if limit is not None and (amount := quantity.millis(limit, limit_field)):
        _need(host, "cpu", limit_field)
        result |= {"period": PERIOD_US, "quota": max(amount * PERIOD_US // 1000, _MIN_QUOTA_US)}
    if request is not None and _can(host, "cpu"):
        result["shares"] = shares(quantity.millis(request, "spec.resources.requests.cpu"))
    result |= _cpuset((declared.get("linux") or {}).get("cpuset"), host)
    return result


def shares(millicores: int) -> int:
    """core/v1: 1024 for a whole core, not below the kernel's 2 nor above its 262144."""
    low, high = _SHARES
    return min(max(millicores * 1024 // 1000, low), high)


def _cpuset(cpuset: object, host: HostFacts) -> Object:
    if not cpuset:
        return {}
    field = "spec.resources.linux.cpuset"
    _need(host, "cpuset", field)
    if isinstance(cpuset, dict):
        return {key: str(cpuset[key]) for key in ("cpus", "mems") if cpuset.get(key) not in (None, "")}
    return {"cpus": str(cpuset)}


def _pids(declared: Object, host: HostFacts) -> Object:
    field = "spec.resources.limits.pids"
    told = (declared.get("limits") or {}).get("pids")
    if told is None:
        return {"limit": PIDS} if _can(host, "pids") else {}
    _need(host, "pids", field)
    limit = quantity.whole(told, field)
    return {"limit": limit if limit > 0 else -1}


def _block_io(declared: Object, host: HostFacts) -> Object:
    weight = ((declared.get("linux") or {}).get("blkio") or {}).get("weight")
    if weight is None:
        return {}
    field = "spec.resources.linux.blkio.weight"
    _need(host, "io" if host.cgroup == 2 else "blkio", field)
    if not 10 <= int(weight) <= 1000:
        raise invalid(field, f"{weight} is out of range 10-1000")
    return {"weight": int(weight)}


def _huge_pages(declared: Object, host: HostFacts) -> list[Object]:
    """From ``linux.hugepages: {2Mi: 64Mi}`` and core/v1's ``limits.hugepages-2Mi``."""
    wanted = {str(size): amount for size, amount in ((declared.get("linux") or {}).get("hugepages") or {}).items()}
    prefix = "hugepages-"
    wanted |= {
        name.removeprefix(prefix): amount for name, amount in (declared.get("limits") or {}).items() if name.startswith(prefix)
    }
    if not wanted:
        return []
    field = "spec.resources.linux.hugepages"
    _need(host, "hugetlb", field)
    return [
        {"pageSize": _page_size(size, field), "limit": quantity.whole(amount, f"{field}.{size}")}
        for size, amount in sorted(wanted.items())
    ]


def _page_size(size: str, field: str) -> str:
    """The kernel's spelling: 2MB for 2Mi."""
    size_bytes = quantity.whole(size, field)
    for unit, power in (("GB", 30), ("MB", 20), ("KB", 10)):
        if size_bytes >= 1 << power:
            return f"{size_bytes >> power}{unit}"
    raise invalid(field, f"{size!r} is not the size of a huge page; write for example 2Mi")


def _amount(declared: Object, group: str, name: str, field: str) -> int | None:
    value = (declared.get(group) or {}).get(name)
    return None if value is None else quantity.whole(value, field)


def _can(host: HostFacts, controller: str) -> bool:
    """A host that tells no controllers at all was not asked: assume the usual ones."""
    return not host.controllers or controller in host.controllers


def _swap_counted(host: HostFacts) -> bool:
    return bool(host.extra.get("swap_accounting", True))


def _need(host: HostFacts, controller: str, field: str) -> None:
    if not _can(host, controller):
        raise invalid(field, f"this host has no {controller} cgroup controller, so the limit could not be kept")
