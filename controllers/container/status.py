"""What is shown of a Container: a projection of memory, observation and plan. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from controllers.container.memory import ExitRecord, Memory
from controllers.container.model import LIVE, Desired, Plan, Seen, Waiting
from controllers.container.ports import Instance
from controllers.engine.instants import Instant
from state.clock import rfc3339, rfc3339_micro
from state.objects import Object


@dataclass(frozen=True, slots=True)
class Report:
    """The inputs of one status."""

    want: Desired
    seen: Seen
    mem: Memory
    plan: Plan
    now: Instant
    wall: datetime
    trouble: str = ""
    """An error that ended the pass; empty when all went well."""
    refused: bool = False
    """Trying again cannot help until something changes."""


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: str
    reason: str
    message: str = ""


def status_of(r: Report) -> Object:
    """The complete ``status``. Equal inputs but for time give an equal one: what rests is not written again."""
    live = _live(r)
    mem, old = r.mem, r.want.status
    phase = phase_of(r)
    status: Object = {"phase": phase, "observedGeneration": r.want.generation}
    current = mem.current
    if current is not None:
        status |= {
            "containerID": r.want.id(current.number),
            "revision": current.number,
            "image": current.image,
            "imageDigest": current.digest,
        }
    if mem.launched is not None and (live is not None or (phase == "Unknown" and old.get("startedAt") == mem.launched.at)):
        # Evidence for later that this very launch came to be: never shown of one that was not seen.
        status["startedAt"] = mem.launched.at
        if live is not None and live.pid:
            status["pid"] = live.pid
    status["restartCount"] = mem.restart_count
    if mem.last_exit is not None:
        status["lastExit"] = exit_of(mem.last_exit)
        if live is None:
            status |= {k: v for k, v in status["lastExit"].items() if k in _SHOWN_AT_REST}
    if mem.next_start is not None and live is None and not mem.finished:
        status["nextStartAt"] = _next_start_at(r, old)
    status["conditions"] = _merge(conditions(r, phase), old.get("conditions") or (), r.wall)
    return status


_SHOWN_AT_REST = ("startedAt", "finishedAt", "exitCode", "signal", "reason", "reported")


def exit_of(record: ExitRecord) -> Object:
    shown = {
        "revision": record.revision,
        "startedAt": record.started_at,
        "finishedAt": record.finished_at,
        "exitCode": record.code,
        "signal": record.signal,
        "reason": record.reason,
        "message": record.message,
        "reported": record.reported,
        "requested": record.requested or None,
    }
    return {key: value for key, value in shown.items() if value is not None and value != ""}


def phase_of(r: Report) -> str:
    """First match wins; the words of objects.md."""
    live = _live(r)
    if not r.seen.fresh:
        return "Unknown"
    if r.want.deleting:
        return "Dead" if r.trouble else "Removing"
    if live is not None:
        return "Paused" if live.task in ("PAUSED", "PAUSING") else "Running"
    if r.want.run_state == "Stopped" and not r.mem.launches:
        return "Created"
    if r.mem.finished or r.mem.quarantined or r.want.run_state == "Stopped":
        return "Exited" if r.mem.exits else "Created"
    if r.mem.next_start is not None:
        return "Restarting"
    if r.want.held and any(i.task == "STOPPED" for i in r.seen.instances):
        return "Exited"  # the loop looks and tells; the exit itself is recorded when the hold ends
    return "Pending"


def conditions(r: Report, phase: str) -> Iterable[Condition]:
    yield _ready(r, phase)
    if not r.want.host_network:
        told = "the sandbox has a loopback interface only: no network controller runs on this node yet"
        yield Condition("NetworksReady", "False", "NoNetworkController", told)
    if r.plan.waits is not None and r.plan.waits.reason not in ("Quarantined", "RuntimeUnavailable"):
        yield Condition("Waiting", "True", r.plan.waits.reason, r.plan.waits.message)
    if r.want.held:
        yield Condition("Held", "True", "HoldAnnotation", "the loop looks and tells, and touches nothing")
    if r.mem.quarantined:
        yield Condition("Quarantined", "True", "CrashBudget", f"{r.mem.quarantined}; setpoint retry releases it")
    if r.mem.failed_reason:
        yield Condition("ReplacementFailed", "True", "NewRevisionNotReady", r.mem.failed_reason)
    if _config_stale(r):
        told = "the environment came from ConfigMaps or Secrets that have changed since; setpoint restart takes them over"
        yield Condition("ConfigStale", "True", "ReferenceChanged", told)
    if r.mem.launched is not None and r.seen.missing_refs:
        told = f"{', '.join(r.seen.missing_refs)} is gone; what runs goes on with what it has"
        yield Condition("ReferenceMissing", "True", "NotFound", told)
    if r.trouble:
        yield Condition("ReconcileFailed", "True", "Refused" if r.refused else "Retrying", r.trouble)
    if r.mem.current is not None and r.mem.current.stale:
        told = f"{r.mem.current.image} could not be checked with its registry when this revision was made"
        yield Condition("ImageStale", "True", "RegistryUnavailable", told)


def _config_stale(r: Report) -> bool:
    """Only what was looked at can be compared."""
    if r.mem.launched is None or not r.seen.fresh or r.want.deleting or r.seen.missing_refs:
        return False
    return r.mem.launched.refs != r.seen.env_refs


def _ready(r: Report, phase: str) -> Condition:
    if phase == "Running" and _long_enough(r):
        return Condition("Ready", "True", "Started")
    if phase == "Exited":
        last = r.mem.last_exit
        if r.mem.quarantined:
            return Condition("Ready", "False", "Quarantined", r.mem.quarantined)
        if r.want.run_state == "Stopped":
            return Condition("Ready", "False", "Stopped")
        code = "" if last is None or last.code is None else f"exit code {last.code}"
        return Condition("Ready", "False", "Completed", code)
    waits = r.plan.waits or (Waiting("ReconcileFailed", r.trouble) if r.trouble else None)
    if phase == "Running":
        return Condition("Ready", "False", "MinReadySeconds", f"Ready after {r.want.min_ready_s:g} s")
    return Condition("Ready", "Unknown" if phase == "Unknown" else "False", *_reason(phase, waits))


def _reason(phase: str, waits: Waiting | None) -> tuple[str, str]:
    return (waits.reason, waits.message) if waits else (phase, "")


def _long_enough(r: Report) -> bool:
    if r.want.min_ready_s <= 0 or r.mem.launched is None:
        return True
    return (r.now.since(r.mem.launched.instant) or 0.0) >= r.want.min_ready_s


def _live(r: Report) -> Instance | None:
    return next((i for i in r.seen.instances if i.task in LIVE), None)


def _next_start_at(r: Report, old: Object) -> str:
    """Wall time of the next start, for people. Told once per wait, or a clock's jitter would be a change."""
    assert r.mem.next_start is not None
    if old.get("nextStartAt") and old.get("restartCount") == r.mem.restart_count:
        return str(old["nextStartAt"])
    at = r.wall + timedelta(seconds=r.now.until(r.mem.next_start))
    return rfc3339_micro(at)


def _merge(fresh: Iterable[Condition], old: Iterable[Object], wall: datetime) -> list[Object]:
    """``lastTransitionTime`` moves only when the status of the condition does."""
    before = {c.get("type"): c for c in old}
    merged = []
    for c in fresh:
        was = before.get(c.type)
        since = was["lastTransitionTime"] if was and was.get("status") == c.status and "lastTransitionTime" in was else None
        entry: Object = {"type": c.type, "status": c.status, "reason": c.reason, "message": c.message}
        merged.append({**entry, "lastTransitionTime": since or rfc3339(wall)})
    return merged


def difference(old: Object, new: Object) -> Object:
    """The merge patch (RFC 7386) that turns ``old`` into ``new``; lists are replaced whole."""
    patch: Object = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := difference(before, value):
                patch[name] = inner
        elif name not in old or before != value:
            patch[name] = value
    return patch
