"""From a stored Container to ``Desired``: the edge where the declaration's words become values. Pure."""

from __future__ import annotations

import json
from datetime import datetime

from controllers.container.model import Desired, PullPolicy, RestartPolicy, RestartRules
from controllers.container.oci.revision import live_hash, revision_hash
from state.objects import GROUP, Object, key_of
from state.references import normalise
from state.resources.fields import parse_duration

RESTARTED_AT = f"{GROUP}/restartedAt"
RETRIED_AT = f"{GROUP}/retriedAt"
HOLD = f"{GROUP}/hold"
STOP_OPTIONS = f"{GROUP}/stop-options"
DELETE_OPTIONS = f"{GROUP}/delete-options"


def declare(obj: Object, now: datetime, hashes: tuple[str, str] | None = None) -> Desired:
    """``obj`` is an admitted Container. ``now`` only tells whether a hold with a time is over. ``hashes``: those of its spec
    (revision, live) if they are known: computing them is most of the work."""
    spec, meta = obj.get("spec") or {}, obj["metadata"]
    notes = meta.get("annotations") or {}
    deleting = bool(meta.get("deletionTimestamp"))
    strategy = spec.get("updateStrategy") or {}
    revision, live = hashes or (revision_hash(spec), live_hash(spec))
    held, hold_left_s = _held(notes.get(HOLD, ""), now)
    return Desired(
        key=key_of(obj),
        uid=meta["uid"],
        generation=meta.get("generation", 1),
        spec=spec,
        image=normalise(spec["image"]),
        hash=revision,
        live=live,
        run_state=spec.get("runState", "Running"),
        restart=restart_rules(spec),
        auto_remove=bool(spec.get("autoRemove")),
        grace_s=_grace_s(spec, notes, deleting),
        stop_signal=spec.get("stopSignal", ""),
        min_ready_s=float(strategy.get("minReadySeconds", 0)),
        progress_deadline_s=float(strategy.get("progressDeadlineSeconds", 600)),
        writable=_mounts_writable(spec),
        pull=pull_policy(spec),
        host_network=bool(spec.get("hostNetwork")),
        deleting=deleting,
        held=held,
        hold_left_s=hold_left_s,
        restarted_at=notes.get(RESTARTED_AT, ""),
        retried_at=notes.get(RETRIED_AT, ""),
        priority=spec.get("priority", 0),
        status=obj.get("status") or {},
    )


def pull_policy(spec: Object) -> PullPolicy:
    """core/v1: without a policy, ``:latest`` is asked for anew and any other tag is taken as it is."""
    declared = spec.get("imagePullPolicy")
    if declared is None:
        return "Always" if normalise(spec["image"]).endswith(":latest") else "IfNotPresent"
    return "Always" if declared == "Always" else "Never" if declared == "Never" else "IfNotPresent"


def restart_rules(spec: Object) -> RestartRules:
    """``restartPolicy`` and ``restart`` with the defaults of objects.md. UnlessStopped means Always: runState wins anyway."""
    restart = spec.get("restart") or {}
    backoff = restart.get("backoff") or {}
    budget = restart.get("crashBudget")
    return RestartRules(
        policy=_policy(spec),
        max_retries=restart.get("maxRetries"),
        initial_s=_seconds(backoff.get("initial", "100ms")),
        factor=float(backoff.get("factor", 2)),
        max_s=_seconds(backoff.get("max", "60s")),
        reset_after_s=_seconds(backoff.get("resetAfter", "10s")),
        budget=(budget["crashes"], _seconds(budget["within"])) if budget else None,
    )


def _policy(spec: Object) -> RestartPolicy:
    declared = str(spec.get("restartPolicy") or ("Never" if spec.get("autoRemove") else "Always"))
    return "Never" if declared == "Never" else "OnFailure" if declared == "OnFailure" else "Always"


def _seconds(text: object) -> float:
    return parse_duration(text).total_seconds()


def _grace_s(spec: Object, notes: Object, deleting: bool) -> float:
    """The request's own grace period wins over the declared one."""
    asked = notes.get(DELETE_OPTIONS if deleting else STOP_OPTIONS)
    if asked:
        try:
            value = json.loads(asked).get("gracePeriodSeconds")
        except (ValueError, AttributeError):
            value = None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return float(spec.get("terminationGracePeriodSeconds", 30))


def _held(value: str, now: datetime) -> tuple[bool, float | None]:
    """(held, seconds until a time given ends it). What cannot be read as a time holds until it is taken away."""
    if value in ("", "false"):
        return False, None
    try:
        until = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return True, None
    if until.tzinfo is None:
        return True, None
    left = (until - now).total_seconds()
    return (True, left) if left > 0 else (False, None)


def _mounts_writable(spec: Object) -> bool:
    """A hostPath or emptyDir that the process may write to: it survives a replacement, and so does what was done to it."""
    lasting = {v.get("name") for v in spec.get("volumes") or () if "hostPath" in v or "emptyDir" in v}
    return any(not m.get("readOnly") and m.get("name") in lasting for m in spec.get("volumeMounts") or ())
