"""The story of Setpoint, told by running it: declare, see, kill, see it healed. `make demo` runs this.

Every line that begins with $ is a command that is really run, and what follows is its real output. Everything lives in one
scratch folder; whatever happens (an error, Ctrl-C, SIGTERM), nothing is left of it at the end. Exits with 1 when something is
not as the story says.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

sys.path.insert(0, str(Path(__file__).parent))
from scratch import Scratch

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PATIENCE_S = 30.0
WIDTH = 100
LONG_LIVED = ("clock", "counter", "modest", "farewell")


class StoryFailed(Exception):
    """Something is not as the story says."""


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal."""


class Teller:
    """Prints the story; bold and dim only on a terminal."""

    def __init__(self) -> None:
        self._styled = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def line(self, text: str = "", style: str = "") -> None:
        print(f"\033[{style}m{text}\033[0m" if style and self._styled else text, flush=True)

    def chapter(self, title: str) -> None:
        self.line()
        self.line(f"== {title}", "1;36")

    def tell(self, text: str) -> None:
        self.line()
        for line in textwrap.wrap(" ".join(text.split()), WIDTH):
            self.line(line)

    def command(self, text: str) -> None:
        self.line(f"$ {text}", "1")

    def output(self, text: str) -> None:
        for line in text.splitlines():
            self.line(f"    {line}" if line.strip() else "")

    def seen(self, text: str) -> None:
        self.line(f"  ok: {text}", "32")


class Story:
    """The demo: one method a chapter."""

    def __init__(self, teller: Teller, scratch: Scratch) -> None:
        self._teller, self._scratch = teller, scratch
        self._agent: subprocess.Popen[bytes] | None = None
        self._before: dict[str, dict[str, Any]] = {}
        self._environment = {
            **os.environ,
            "SETPOINT_HOST": f"unix://{scratch.run_dir}/api.sock",
            "PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}",
            "COLUMNS": str(WIDTH + 30),
        }

    def tell(self) -> None:
        self.an_agent_starts()
        self.an_image_is_made()
        self.containers_are_declared()
        self.one_is_killed()
        self.the_agent_is_killed()
        self.the_agent_is_back()
        self.all_is_taken_away()

    # the chapters

    def an_agent_starts(self) -> None:
        say = self._teller
        say.chapter("An agent starts")
        say.tell(
            "One command, no other service: it keeps what is declared in a database of its own, and starts a containerd for "
            "itself. Here it gets a scratch folder; on a real node it is a systemd unit (setpoint install)."
        )
        self._start_agent()
        say.command(f"export SETPOINT_HOST={self._environment['SETPOINT_HOST']}")

    def an_image_is_made(self) -> None:
        say = self._teller
        say.chapter("An image, without a registry")
        say.tell("The machine's own busybox becomes a small image. With a network, `setpoint image pull` fetches any other.")
        archive = str(self._scratch.base / "busybox.tar")
        self._run("python", "examples/image.py", archive)
        self._run("setpoint", "image", "load", archive)
        self._expect("busybox:stable" in self._run("setpoint", "image", "ls"), "the node has the image busybox:stable")

    def containers_are_declared(self) -> None:
        say = self._teller
        say.chapter("Containers are declared")
        say.tell(
            "examples/ holds a few files of YAML: a clock, a counter with a ConfigMap, a Secret and data of its own, a job "
            "that fails twice before it works, one with hard limits, one that ends with an exit code of its own, and one that "
            "is declared not to run."
        )
        self._run("setpoint", "apply", "-f", "examples/", "--wait")
        self._until("the job works", lambda: self._status("flaky").get("reason") == "Completed")
        self._run("setpoint", "get", "containers")
        self._scratch.remember()
        self._expect(self._status("flaky").get("restartCount") == 2, "the job failed twice, was run again, and worked")
        self._expect(self._status("standby").get("phase") == "Created", "what is declared Stopped does not run")
        self._until("counted to 4", lambda: "\n4\n" in self._quietly("setpoint", "logs", "counter"))
        self._run("setpoint", "logs", "counter")

    def one_is_killed(self) -> None:
        say = self._teller
        say.chapter("One is killed, behind the agent's back")
        before = self._status("counter")
        say.tell(f"The counter's process has the pid {before['pid']}. Nobody tells the agent that it is going to die.")
        self._shell(f"kill -9 {before['pid']}")
        died = time.monotonic()
        after = self._until("the counter is back", lambda: self._runs_again("counter", before["pid"]))
        took = time.monotonic() - died
        self._run("setpoint", "get", "counter", "-o", "wide")
        self._expect(after["restartCount"] == 1, f"the counter runs again (pid {after['pid']}); seen after {took:.1f} s")
        say.tell("Why is it as it is? One screen tells what is declared, what is seen, how it ended, and what comes next.")
        self._run("setpoint", "why", "counter")
        say.tell("Its emptyDir belongs to the object, not to the process: it counts on where it was.")
        self._until("it counts on", lambda: "counting on" in self._quietly("setpoint", "logs", "counter"))
        first = self._run("setpoint", "logs", "counter").splitlines()[0]
        self._expect("from 0;" not in first, "nothing was lost")

    def the_agent_is_killed(self) -> None:
        say = self._teller
        say.chapter("The agent itself is killed")
        self._before = {name: self._status(name) for name in LONG_LIVED}
        assert self._agent is not None
        self._shell(f"kill -9 {self._agent.pid}")
        self._agent.wait(PATIENCE_S)
        self._run("setpoint", "get", "containers", code=3)
        say.tell("Nobody is there to be asked. But no container is a child of the agent, and no log passes through it:")
        folder = next(self._scratch.data_dir.glob("logs/default_clock_*"))
        log = folder / "1.log"
        size = log.stat().st_size
        self._until("the log grows", lambda: log.stat().st_size > size)
        self._run("tail", "-n", "2", str(log))
        self._shell("ls -d " + " ".join(f"/proc/{self._before[name]['pid']}" for name in LONG_LIVED))
        say.seen("all four processes live, and the clock's log grows")
        say.tell("Meanwhile one of them ends. It catches SIGTERM and exits with a code of its own.")
        pid = self._before["farewell"]["pid"]
        self._shell(f"kill -TERM {pid}")
        self._until("farewell ends", lambda: not Path(f"/proc/{pid}").exists())

    def the_agent_is_back(self) -> None:
        say = self._teller
        say.chapter("The agent comes back")
        self._start_agent()
        self._until("farewell's end is seen", lambda: self._status("farewell").get("phase") == "Exited")
        self._run("setpoint", "get", "containers", "-o", "wide")
        for name in ("clock", "counter", "modest"):
            now, then = self._status(name), self._before[name]
            same = (now.get("phase"), now.get("pid"), now.get("restartCount")) == ("Running", then["pid"], then["restartCount"])
            self._expect(same, f"{name} has the pid that it had, {then['pid']}, and did not notice")
        code = self._status("farewell").get("exitCode")
        self._expect(code == 42, "farewell ended while nobody looked, and its exit code is known: 42")
        self._run("setpoint", "logs", "farewell")

    def all_is_taken_away(self) -> None:
        say = self._teller
        say.chapter("The end")
        self._run("setpoint", "delete", "containers", "--all")
        assert self._agent is not None
        self._shell(f"kill -TERM {self._agent.pid}")
        self._agent.wait(PATIENCE_S)
        say.tell("The keeper outlives the agent: it holds the logs and the containerd. It is told to go, too.")
        self._run("setpoint", "keeper", "--stop", "--run-dir", str(self._scratch.run_dir))
        left = self._scratch.census()
        self._expect(not left, f"no process, mount or control group is left{': ' + ', '.join(left) if left else ''}")

    # what the chapters do

    def _start_agent(self) -> None:
        folders = ["--data-dir", str(self._scratch.data_dir), "--run-dir", str(self._scratch.run_dir)]
        self._teller.command(f"setpoint agent {shlex.join(folders)} &")
        began = time.monotonic()
        with open(self._scratch.log, "ab") as log:
            self._agent = subprocess.Popen(
                [str(BIN / "setpoint"), "agent", *folders],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, cwd=ROOT, start_new_session=True,
            )  # fmt: skip
        self._until("the agent is ready", self._scratch.ready)
        self._teller.seen(f"the agent is ready after {time.monotonic() - began:.1f} s (pid {self._agent.pid})")

    def _run(self, *argv: str, code: int = 0) -> str:
        """Runs and shows a command; its output. StoryFailed when it exits with another code."""
        self._teller.command(shlex.join(argv))
        done = self._execute(argv)
        self._teller.output(done.stdout)
        if done.returncode != code:
            raise StoryFailed(f"{shlex.join(argv)}: exit code {done.returncode}, not {code}")
        return done.stdout

    def _quietly(self, *argv: str) -> str:
        return self._execute(argv).stdout

    def _shell(self, line: str) -> None:
        self._teller.command(line)
        done = self._execute(("sh", "-c", line))
        self._teller.output(done.stdout)
        if done.returncode:
            raise StoryFailed(f"{line}: exit code {done.returncode}")

    def _execute(self, argv: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        argv = (sys.executable, *argv[1:]) if argv[0] == "python" else argv
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=2 * PATIENCE_S, env=self._environment, cwd=ROOT,
        )  # fmt: skip

    def _status(self, name: str) -> dict[str, Any]:
        text = self._quietly("setpoint", "get", "container", name, "-o", "json")
        try:
            return dict(json.loads(text).get("status") or {})
        except ValueError:
            return {}

    def _runs_again(self, name: str, pid: int) -> dict[str, Any] | None:
        status = self._status(name)
        return status if status.get("phase") == "Running" and status.get("pid") not in (None, pid) else None

    def _expect(self, true: bool, what: str) -> None:
        if not true:
            raise StoryFailed(f"not so: {what}")
        self._teller.seen(what)

    def _until(self, what: str, look: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := look()):
            if time.monotonic() > deadline:
                raise StoryFailed(f"not within {PATIENCE_S:g} s: {what}")
            if self._agent is not None and self._agent.poll() not in (None, -signal.SIGKILL, 0):
                raise StoryFailed(f"the agent ended with {self._agent.returncode} while it was waited for: {what}")
            time.sleep(0.05)
        return found


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside, a signal that asks us to end raises Interrupted; outside, it is ignored, so that cleaning up is not cut short."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(number: int, _: object) -> NoReturn:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


def run() -> int:
    """The exit code: 0, 1 when the story fails, 130 when somebody ends it."""
    teller, began = Teller(), time.monotonic()
    if os.geteuid() != 0:
        teller.line("The demo needs root: it makes namespaces, mounts and control groups (sudo make demo).")
        return 1
    scratch = Scratch(Path("/tmp") / f"setpoint-demo-{secrets.token_hex(2)}")
    code, ending = 1, "ended early"
    try:
        with interruptible():
            scratch.base.mkdir(mode=0o700)
            teller.line("Setpoint: declare containers; the agent keeps them so.", "1")
            teller.tell(f"Everything happens in {scratch.base} and is taken away at the end; Ctrl-C ends it at any time.")
            Story(teller, scratch).tell()
        code, ending = 0, "and all was as it should be"
    except Interrupted as signalled:
        code = 130
        _still(teller.tell, f"{signalled}: taking everything away, a few seconds ...")
    except BrokenPipeError:
        pass
    except (StoryFailed, subprocess.TimeoutExpired) as failure:
        _still(teller.tell, f"THE STORY WENT WRONG: {failure}")
        _still(teller.output, scratch.tail())
    finally:
        left = scratch.clean()
    if left:
        _still(teller.tell, f"COULD NOT BE TAKEN AWAY: {', '.join(left)}")
        return code or 1
    _still(teller.tell, f"{scratch.base} is gone. {time.monotonic() - began:.0f} seconds, {ending}.")
    return code


def _still(tell: Callable[[str], None], text: str) -> None:
    """Tells, even to nobody: a closed terminal must not keep us from cleaning up."""
    try:
        tell(text)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    sys.exit(run())
