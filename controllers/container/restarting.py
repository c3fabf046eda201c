"""What an exit means: the record of it, whether and when the container runs again, and when it is enough. Pure.

Source of the numbers: objects.md (restart), semantics of Docker's restart manager: 100 ms doubling to 60 s, reset after a
run of 10 s. Better than there: the memory outlives the agent, and the first exit after a long run restarts at once.
"""

from __future__ import annotations

from dataclasses import replace

from controllers.container.memory import HALTED, ExitRecord, Launched, Memory
from controllers.container.model import Desired, RestartRules
from controllers.container.ports import Exit
from controllers.engine.instants import Instant
from state.clock import moment

UNKNOWN = "Unknown"
LAST_SIGNAL = 64


def record_exit(want: Desired, mem: Memory, exit: Exit | None, now: Instant, wall: str) -> Memory:
    """The launched task ended. ``exit`` None or not true: nobody saw how, so the code stays unknown."""
    launched = mem.launched
    if launched is None:
        return mem
    record = _record(mem, launched, exit, now, wall)
    after = mem.with_exit(record)
    halted = want.halting or (mem.stopping is not None and mem.stopping.why == HALTED)
    if record.requested:
        # Interrupted by the host's shutdown, a container that runs once has run.
        return replace(after, finished=halted and want.restart.policy == "Never", next_start=None)
    if launched.instant.boot != now.boot and record.code is None:
        # The host went down under it: no crash of its own, so nothing is counted, and it runs as declared.
        once = want.restart.policy == "Never"
        return replace(after, finished=once, next_start=None if once else now)
    return conclude(want, after, record, _ran_s(launched, record, now), now)


def record_start_failure(want: Desired, mem: Memory, code: int, message: str, now: Instant, wall: str) -> Memory:
    """The process could not be made to run: an exit with a code of 126, 127 or 128, as an engine's user knows them."""
    launched = mem.launched
    number, revision, at = (launched.number, launched.revision, launched.at) if launched else (mem.launches, 0, wall)
    record = ExitRecord(revision, number, at, wall, "StartError", code=code, message=message)
    return conclude(want, mem.with_exit(record), record, 0.0, now)


def conclude(want: Desired, mem: Memory, record: ExitRecord, ran_s: float, now: Instant) -> Memory:
    """Decide once, when an exit that nobody asked for is recorded, what follows from it; the answer is kept with it."""
    mem = _count_crash(want.restart, mem, record, now)
    if mem.quarantined:
        return replace(mem, next_start=None)
    if not runs_again(want.restart, record, mem.restart_count):
        return replace(mem, finished=True, next_start=None)
    delay, failures = back_off(want.restart, mem.failures, mem.last_delay_s, ran_s)
    return replace(
        mem,
        failures=failures,
        last_delay_s=delay,
        next_start=now.plus(delay),
        restart_count=mem.restart_count + 1,
    )


def runs_again(rules: RestartRules, record: ExitRecord, restarts: int) -> bool:
    """Whether the policy wants another run. An unknown end counts as a failure, and never reruns ``Never``."""
    match rules.policy:
        case "Never":
            return False
        case "OnFailure":
            failed = record.code is None or record.code != 0
            return failed and (rules.max_retries is None or restarts < rules.max_retries)
        case "Always":
            return rules.max_retries is None or restarts < rules.max_retries


def back_off(rules: RestartRules, failures: int, last_delay_s: float, ran_s: float) -> tuple[float, int]:
    """(delay in seconds, new count of quick exits). A run of max(resetAfter, the last delay) starts the sequence anew, and
    the exit that ends it waits for nothing."""
    if ran_s >= max(rules.reset_after_s, last_delay_s):
        return 0.0, 0
    try:
        delay = rules.initial_s * rules.factor ** min(failures, 64)
    except OverflowError:
        delay = rules.max_s
    return min(delay, rules.max_s), failures + 1


def _count_crash(rules: RestartRules, mem: Memory, record: ExitRecord, now: Instant) -> Memory:
    if rules.budget is None or (record.code == 0 and record.reason == "Completed"):
        return mem
    crashes, within_s = rules.budget
    recent = tuple(c for c in mem.crashes if (age := now.since(c)) is not None and age < within_s)
    kept = (*recent, now)[-crashes:]
    reason = f"{crashes} crashes within {within_s:g} s" if len(kept) >= crashes else ""
    return replace(mem, crashes=kept, quarantined=reason)


def _record(mem: Memory, launched: Launched, exit: Exit | None, now: Instant, wall: str) -> ExitRecord:
    base = ExitRecord(launched.revision, launched.number, launched.at, wall, UNKNOWN, requested=mem.stopping is not None)
    if exit is None or not exit.true:
        rebooted = launched.instant.boot != now.boot
        why = "NodeRebooted: the host went down under it" if rebooted else "ShimLost: no live shim told its exit code"
        return replace(base, message=why, reported=exit.code if exit else None, finished_at=exit.at if exit else wall)
    reason = "OOMKilled" if exit.oom else "Completed" if exit.code == 0 else "Error"
    signal = exit.code - 128 if 128 < exit.code <= 128 + LAST_SIGNAL else None
    return replace(base, reason=reason, code=exit.code, signal=signal, finished_at=exit.at or wall)


def _ran_s(launched: Launched, record: ExitRecord, now: Instant) -> float:
    """How long the task ran. An exit that nobody watched is dated by its shim's wall clock, held inside what is possible."""
    passed = now.since(launched.instant)
    told = seconds_between(launched.at, record.finished_at)
    if passed is None:
        return max(0.0, told)
    return min(max(0.0, told), passed) if told > 0 else passed


def seconds_between(start: str, end: str) -> float:
    """Between two RFC 3339 times; 0 when one cannot be read."""
    first, last = moment(start), moment(end)
    return (last - first).total_seconds() if first and last else 0.0
