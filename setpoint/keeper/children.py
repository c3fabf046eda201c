"""Children that are put back when they die, and survive us: the next keeper adopts them.

A child is known by pid *and* start time, in ``RUN_DIR/keeper/<name>.json``, which the child itself writes between fork and
exec: at no instant is there a child that a keeper after us could not find. Ends are seen through pidfds, which work for
adopted children as well.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from setpoint.keeper import wire
from setpoint.keeper.logfile import save_end
from setpoint.keeper.loop import READ, Loop, Timer

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
PATIENCE_S = 5.0
"""Between SIGTERM and SIGKILL."""
STEADY_S = 10.0
"""A child that ran this long has its back-off forgotten."""

LOG_MAX_BYTES = 4 << 20
LOG_KEPT_BYTES = 1 << 20
LOG_CHECK_S = 60.0
OOM_SCORE_ADJ = -999

_PR_SET_CHILD_SUBREAPER = 36
_FILE_LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)


class Program(NamedTuple):
    """What a child is. It is ready when something comes back for ``greeting`` on ``socket``."""

    name: str
    argv: Sequence[str]
    socket: str
    version: str
    greeting: bytes
    env: Mapping[str, str] = {}


class Child:
    """One program that is to run for as long as :meth:`stop` is not called."""

    def __init__(self, loop: Loop, program: Program, run_dir: str, data_dir: str) -> None:
        self.program = program
        self.pid = 0
        self.adopted = False
        self.restarts = 0
        self.since = 0.0
        self.last_exit = ""
        self.version = program.version
        """Of the process that runs, which may be older than ours."""
        self._loop = loop
        self._state_path = os.path.join(run_dir, "keeper", f"{program.name}.json")
        self._log_path = os.path.join(data_dir, "keeper", f"{program.name}.log")
        self._pidfd = -1
        self._failures = 0
        self._wanted = False
        self._retry: Timer | None = None
        self._stopped: list[Callable[[], None]] = []

    @property
    def state(self) -> str:
        if self.pid:
            return "running"
        return "backoff" if self._wanted else "stopped"

    def start(self) -> None:
        """Adopts the one that is there, else starts one."""
        if self._wanted:
            return
        self._wanted = True
        if not self._adopt():
            self._spawn()

    def stop(self, then: Callable[[], None], patience_s: float = PATIENCE_S) -> None:
        """SIGTERM, and SIGKILL when that does not help; ``then`` is called when it is gone."""
        self._wanted = False
        if self._retry is not None:
            self._retry.cancel()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._state_path)
        self._end(then, patience_s)

    def replace(self, then: Callable[[], None], patience_s: float = PATIENCE_S) -> None:
        """Ends the one that runs; ``then`` is called when it is gone and the next one is on its way."""
        self._failures = 0
        self._end(then, patience_s)

    def ready(self) -> bool:
        return bool(self.pid) and wire.answers(self.program.socket, self.program.greeting)

    def bound_log(self) -> None:
        bound_log(self._log_path)

    def to_document(self) -> wire.Document:
        return {
            "state": self.state,
            "pid": self.pid,
            "restarts": self.restarts,
            "since": self.since,
            "adopted": self.adopted,
            "last_exit": self.last_exit,
            "version": self.version,
            "socket": self.program.socket,
            "ready": self.ready(),
        }

    def _end(self, then: Callable[[], None], patience_s: float) -> None:
        if not self.pid:
            if self._wanted and self._retry is not None:
                self._retry.cancel()
                self._spawn()
            then()
            return
        self._stopped.append(then)
        pid = self.pid
        _signal(self._pidfd, signal.SIGTERM)

        def insist() -> None:
            if self.pid == pid:
                _signal(self._pidfd, signal.SIGKILL)

        self._loop.later(patience_s, insist)

    def _adopt(self) -> bool:
        saved = wire.read_json(self._state_path)
        pid = saved.get("pid", 0)
        if not pid or saved.get("boot") != boot_id() or saved.get("start") != start_time(pid):
            return False
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return False
        if start_time(pid) != saved["start"]:
            os.close(pidfd)
            return False
        self.pid, self.adopted, self.version = pid, True, saved.get("version", "")
        self.since = saved.get("since", 0.0)
        self._watch(pidfd)
        return True

    def _spawn(self) -> None:
        self._retry = None
        self.bound_log()
        log = os.open(self._log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.since = time.time()
        pid = os.fork()
        if pid == 0:
            self._become(log)
        os.close(log)
        self.pid, self.adopted, self.version = pid, False, self.program.version
        self._watch(os.pidfd_open(pid))

    def _become(self, log: int) -> None:
        """In the child: nothing of it may return."""
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            pid = os.getpid()
            wire.write_json(
                self._state_path,
                {
                    "pid": pid,
                    "start": start_time(pid),
                    "boot": boot_id(),
                    "version": self.program.version,
                    "since": self.since,
                },
            )
            # Containers inherit containerd's limit, and a large one slows programs that close every number there is.
            resource.setrlimit(resource.RLIMIT_NOFILE, _FILE_LIMIT)
            protect_from_oom()
            # What is meant for us (systemd's sockets, the interpreter's settings) is not for them, nor for the shims they
            # start.
            ours = ("NOTIFY_SOCKET", "LISTEN_", "PYTHON")
            environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
            environment.update(self.program.env)
            os.execvpe(self.program.argv[0], list(self.program.argv), environment)  # noqa: S606 no shell is the point
        except BaseException as failure:
            os.write(2, f"cannot run {self.program.argv[0]}: {failure!r}\n".encode())
        finally:
            os._exit(127)

    def _watch(self, pidfd: int) -> None:
        self._pidfd = pidfd
        pid = self.pid
        self._loop.watch(pidfd, READ, lambda _: self._gone(pid))

    def _gone(self, pid: int) -> None:
        self.look()
        if self.pid == pid:
            # Adopted, so only its first keeper is told; or taken by ``reap`` in the instant after we looked.
            self._exited("exit code not known")

    def look(self) -> None:
        """Takes the exit of a child of ours, if it has ended."""
        if not self.pid or self.adopted:
            return
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            code = os.waitstatus_to_exitcode(status)
            self._exited(f"exit code {code}" if code >= 0 else f"signal {-code}")

    def _exited(self, how: str) -> None:
        self._loop.unwatch(self._pidfd)
        os.close(self._pidfd)
        replaced = bool(self._stopped)
        self.last_exit = how
        wire.report(f"{self.program.name} ({self.pid}) ended: {how}")
        self.pid, self._pidfd = 0, -1
        if self._wanted:
            self.restarts += 1
            self._again(at_once=replaced)
        stopped, self._stopped = self._stopped, []
        for then in stopped:
            then()

    def _again(self, *, at_once: bool) -> None:
        if at_once:
            self._spawn()
            return
        self._failures = 0 if time.time() - self.since > STEADY_S else self._failures + 1
        delay = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** max(0, min(self._failures, 10) - 1))
        self._retry = self._loop.later(delay, self._spawn)


def bound_log(path: str) -> None:
    """Cuts a log that grew too large; whoever writes it goes on at the new end (O_APPEND)."""
    with contextlib.suppress(OSError):
        if os.stat(path).st_size > LOG_MAX_BYTES:
            save_end(path, path + ".1", LOG_KEPT_BYTES)
            os.truncate(path, 0)


def start_time(pid: int) -> int:
    """Clock ticks since boot at which the process started (proc(5), stat field 22); 0 when it is not there, or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def protect_from_oom() -> bool:
    """Whether the kernel's out-of-memory killer will look elsewhere first: needs CAP_SYS_RESOURCE."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(OOM_SCORE_ADJ))
    except OSError:
        return False
    return True


def raise_file_limit() -> None:
    """As many open files as we may have: some per container."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILE_LIMIT[1], _FILE_LIMIT[1]))


def become_subreaper() -> None:
    """Shims whose containerd died become our children, so that somebody takes their exit even where pid 1 does not."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> None:
    """Takes every ended child that nobody else will: shims that became ours. Supervised ones are to be looked at before."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _signal(pidfd: int, number: int) -> None:
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(pidfd, number)
