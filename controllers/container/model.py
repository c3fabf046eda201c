"""What the rules see and say: Desired, Seen, Situation, steps and Plan. All frozen; no I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from controllers.container.memory import Memory
from controllers.container.ports import Instance
from controllers.engine.instants import Instant
from state.objects import Key, Object

RunState = Literal["Running", "Stopped", "Paused"]
RestartPolicy = Literal["Always", "OnFailure", "Never"]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]


@dataclass(frozen=True, slots=True)
class RestartRules:
    """``spec.restart`` in seconds. ``budget``: (crashes, within seconds) that end in quarantine."""

    policy: RestartPolicy = "Always"
    max_retries: int | None = None
    initial_s: float = 0.1
    factor: float = 2.0
    max_s: float = 60.0
    reset_after_s: float = 10.0
    budget: tuple[int, float] | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """One Container as declared, built once per generation and annotation change."""

    key: Key
    uid: str
    generation: int
    spec: Object
    image: str
    """The normalised reference."""
    hash: str
    """Of the fields that cannot change live: another hash is another revision."""
    live: str
    """Of the fields that can: applied to a running task by ``Update``."""
    run_state: RunState = "Running"
    restart: RestartRules = RestartRules()
    auto_remove: bool = False
    grace_s: float = 30.0
    stop_signal: str = ""
    """Empty: the image's, else SIGTERM."""
    min_ready_s: float = 0.0
    progress_deadline_s: float = 600.0
    writable: bool = False
    """Something writable that outlives the revision is mounted."""
    pull: PullPolicy = "IfNotPresent"
    host_network: bool = False
    deleting: bool = False
    held: bool = False
    hold_left_s: float | None = None
    """Until the hold ends by itself; None: it does not."""
    halting: bool = False
    """The host goes down: what runs is stopped and nothing starts, while the declaration stays as it is."""
    restarted_at: str = ""
    retried_at: str = ""
    priority: int = 0
    status: Object = field(default_factory=dict)
    """The status as stored: evidence of the last launch that was shown, and what a report is compared with."""

    def id(self, revision: int) -> str:
        """The containerd id of one revision."""
        return f"{self.uid.replace('-', '')}-{revision}"


@dataclass(frozen=True, slots=True)
class Resolution:
    """An image that is here, and the signal its config asks to be stopped with."""

    reference: str
    digest: str
    stop_signal: str = ""
    volumes: bool = False
    """It declares VOLUMEs."""
    stale: bool = False
    """It should have been checked with its registry, which did not answer."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something exact is missing. ``reason`` is API; ``message`` names the thing."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The node as observed for one uid. ``fresh`` is False while containerd cannot be seen: then nothing may be concluded."""

    instances: tuple[Instance, ...] = ()
    fresh: bool = True
    ready: bool = False
    """A ``Resolve`` step of this pass found all preconditions of a launch: references, bind sources, runtime."""
    resolution: Resolution | None = None
    """The image of ``Desired.image``, once a ``Resolve`` step with ``image`` has found it in this pass."""
    blocked: Waiting | None = None
    """What another revision waits for; until that arrives the present one is kept as it is."""
    env_refs: str = ""
    """Versions of the ConfigMaps and Secrets that the environment refers to, as they are now."""
    stale_refs: bool = False
    """Files from ConfigMaps or Secrets are older than these."""
    missing_refs: tuple[str, ...] = ()
    """ConfigMaps and Secrets that it refers to, must have, and that are not there: ``Kind name``."""
    signalled: Signal | None = None
    """What this life of the agent last sent to the live task; what a former one meant to send, it may not have sent."""
    leftovers: bool = False
    """Sandbox, files or logs of the uid exist (asked only while deleting)."""

    def instance(self, revision: int) -> Instance | None:
        return next((i for i in self.instances if i.revision == revision), None)


# Steps: values that ``act`` carries out, in order. Each is idempotent or followed by a fresh look.


@dataclass(frozen=True, slots=True)
class Remember:
    """Make this memory durable before anything else happens."""

    memory: Memory
    bury: bool = False


@dataclass(frozen=True, slots=True)
class Recall:
    """The ledger knows nothing of records that carry this uid: read them back from the node."""

    now: Instant
    wall: str


@dataclass(frozen=True, slots=True)
class Resolve:
    """Check that all a launch needs is here: references, bind sources, runtime, and the image when a record is to be made."""

    image: bool = True


@dataclass(frozen=True, slots=True)
class Admit:
    """An automatic restart takes its turn in the node's start budget before anything is written."""


@dataclass(frozen=True, slots=True)
class Create:
    revision: int


@dataclass(frozen=True, slots=True)
class Launch:
    revision: int
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    id: str
    signal: str
    at: Instant
    everyone: bool = False
    resume: bool = False
    """The task is paused: let it run so that it can act on the signal."""


@dataclass(frozen=True, slots=True)
class Reap:
    id: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class Remove:
    id: str


@dataclass(frozen=True, slots=True)
class Pause:
    id: str


@dataclass(frozen=True, slots=True)
class Resume:
    id: str


@dataclass(frozen=True, slots=True)
class Update:
    """Apply the live fields to the running task."""

    id: str


@dataclass(frozen=True, slots=True)
class Refresh:
    """Bring files from ConfigMaps and Secrets up to date."""


@dataclass(frozen=True, slots=True)
class Delete:
    """autoRemove: ask the store to delete the object."""


@dataclass(frozen=True, slots=True)
class Release:
    """Sandbox, files and logs of the uid go."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left: release the finalizer, then forget."""


Step = (
    Remember
    | Recall
    | Resolve
    | Admit
    | Create
    | Launch
    | Signal
    | Reap
    | Remove
    | Pause
    | Resume
    | Update
    | Refresh
    | Delete
    | Release
    | Finish
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next. ``after``: look again in that many seconds anyway. ``rule`` is the rule that answered."""

    steps: tuple[Step, ...] = ()
    after: float | None = None
    waits: Waiting | None = None
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a rule may look at."""

    want: Desired
    seen: Seen
    mem: Memory
    now: Instant
    wall: str
    """RFC 3339, UTC: for records that people read."""

    @property
    def current(self) -> Instance | None:
        """The instance of the current revision, if its record is there."""
        return self.seen.instance(self.mem.current.number) if self.mem.current else None


LIVE = frozenset({"RUNNING", "PAUSED", "PAUSING"})
"""Task states with a process that is ours to keep."""
