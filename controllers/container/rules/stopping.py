"""Stops: the graceful end of a task that should not run."""

from __future__ import annotations

from dataclasses import replace

from controllers.container.memory import HALTED, Revision, Stopping
from controllers.container.model import LIVE, Delete, Plan, Remember, Signal, Situation, Waiting
from controllers.container.ports import Instance
from controllers.engine.instants import Instant

KILL_RETRY_S = 2.0
"""A process in uninterruptible sleep survives SIGKILL for a while: ask again, and look."""


def stopping(s: Situation) -> Plan | None:
    """A stop under way goes on to its end; a task that should not run is stopped; what is declared Stopped rests."""
    live = _live(s)
    if live is not None and (s.mem.stopping is not None or _should_stop(s, live)):
        return stop(s, _why(s))
    if s.want.halting:
        return Plan(waits=Waiting("NodeHalting", "the node stops: nothing starts until the agent starts again"))
    if s.want.run_state != "Stopped":
        return None
    if not s.mem.stop_seen:
        # From here the next start is a fresh one: counters anew, an ended run may run again.
        rested = replace(s.mem, stop_seen=True, finished=False, failures=0, last_delay_s=0.0, next_start=None, restart_count=0)
        return Plan((Remember(rested),))
    return Plan((Delete(),)) if s.want.auto_remove and s.mem.launches else Plan()


def stop(s: Situation, why: str) -> Plan:
    """The graceful stop, one step at a time: remember, signal, wait for the grace period, kill."""
    live = _live(s)
    assert live is not None
    if s.mem.stopping is None:
        kill_at = None if s.want.grace_s < 0 else s.now.plus(s.want.grace_s)
        stopping = Stopping(why, kill_at, since=s.now)
        begun = Remember(replace(s.mem, stopping=stopping, next_start=None, current=_proved(s, live)))
        ask = _kill(s, live) if s.want.grace_s == 0 else _ask(s, live)
        return Plan((begun, ask), after=None if s.want.grace_s < 0 else s.want.grace_s or KILL_RETRY_S)
    kill_at = _earlier_deadline(s, s.mem.stopping)
    left = None if kill_at is None else s.now.until(kill_at)
    if left == 0:
        return _kill_again(s, live)
    if s.seen.signalled is None:
        # Meant by a life of the agent that may have ended before it asked; asking twice does less harm than never.
        return Plan((_ask(s, live),), after=left)
    return Plan(after=left)


def _ask(s: Situation, live: Instance) -> Signal:
    signal = s.want.stop_signal or _image_signal(s, live) or "SIGTERM"
    return Signal(live.id, signal, s.now, resume=live.task != "RUNNING")


def _kill(s: Situation, live: Instance) -> Signal:
    return Signal(live.id, "SIGKILL", s.now, everyone=True, resume=live.task != "RUNNING")


def _kill_again(s: Situation, live: Instance) -> Plan:
    """SIGKILL since the grace is over, and again now and then; what it did is told by an event or the next look."""
    last = s.seen.signalled
    if last is not None and last.everyone:
        rest = KILL_RETRY_S - (s.now.since(last.at) or 0.0)
        if rest > 0:
            return Plan(after=rest)
    return Plan((_kill(s, live),), after=KILL_RETRY_S)


def _earlier_deadline(s: Situation, stopping: Stopping) -> Instant | None:
    """The grace period may be shortened while it runs (``delete --force``, another ``stop -t``), never prolonged."""
    if s.want.grace_s < 0 or stopping.since is None:
        return stopping.kill_at
    asked = stopping.since.plus(s.want.grace_s)
    if stopping.kill_at is None or s.now.until(asked) < s.now.until(stopping.kill_at):
        return asked
    return stopping.kill_at


def _proved(s: Situation, live: Instance) -> Revision | None:
    """The current revision, marked Ready if it was shown so, or has been running long enough: one worth putting back."""
    current, launched = s.mem.current, s.mem.launched
    if current is None or launched is None or live.revision != current.number:
        return current
    ran = s.now.since(launched.instant) or 0.0
    return replace(current, ready=current.ready or _shown_ready(s, current) or ran >= s.want.min_ready_s)


def _shown_ready(s: Situation, current: Revision) -> bool:
    """What is declared now may ask for longer than what was declared then."""
    conditions = s.want.status.get("conditions") or ()
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return ready and s.want.status.get("containerID") == s.want.id(current.number)


def _live(s: Situation) -> Instance | None:
    return next((i for i in s.seen.instances if i.task in LIVE), None)


def _should_stop(s: Situation, live: Instance) -> bool:
    if s.want.run_state == "Stopped" or s.want.halting or s.mem.quarantined:
        return True
    if s.mem.current is None or live.revision != s.mem.current.number:
        return True
    return restart_asked(s)


def restart_asked(s: Situation) -> bool:
    """``setpoint.dev/restartedAt`` changed since the last launch."""
    return bool(s.want.restarted_at) and s.want.restarted_at != s.mem.restarted_at


def _why(s: Situation) -> str:
    if s.mem.stopping is not None:
        return s.mem.stopping.why
    if s.want.halting:
        return HALTED
    if s.want.run_state == "Stopped":
        return "declared Stopped"
    return "restart asked for" if restart_asked(s) else "replaced"


def _image_signal(s: Situation, live: Instance) -> str:
    for revision in (s.mem.current, s.mem.previous):
        if revision is not None and revision.number == live.revision:
            return revision.stop_signal
    return ""
