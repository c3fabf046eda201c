"""``setpoint keeper``: keeps the log pump and the private containerd running, with or without an agent.

Asked on ``RUN_DIR/keeper.sock`` (see :mod:`setpoint.keeper.wire`): ``status``, ``ensure_containerd``, ``upgrade_pump``,
``hold``, ``stop``. SIGTERM ends the keeper and leaves its children running: the next keeper adopts them. Only ``stop`` ends
them.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence

import setpoint
from setpoint.keeper import children, containerd, fifos, wire
from setpoint.keeper.children import Child, Program
from setpoint.keeper.loop import Loop
from setpoint.keeper.pump import lock
from setpoint.keeper.wire import Connection, Document, Refused, field

POLL_S = 0.02
PATIENCE_S = 30.0
SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(setpoint.__file__)))
"""Where our packages are: with it the pump needs no ``site`` (``-S``), which costs memory and start time."""
EXIT_SECOND = 75
"""There is a keeper for this run dir already (EX_TEMPFAIL)."""


class Keeper:
    """The children of one run dir."""

    def __init__(self, loop: Loop, options: argparse.Namespace) -> None:
        self._loop = loop
        self._data_dir: str = options.data_dir
        self._run_dir: str = options.run_dir
        self._binary: str = "" if options.no_containerd else options.containerd
        self._children: dict[str, Child] = {}
        self._held: dict[str, int] = {}
        self._ops = {
            "status": self._status,
            "ensure_containerd": self._ensure_containerd,
            "upgrade_pump": self._upgrade_pump,
            "hold": self._hold,
            "stop": self._stop,
        }
        self._add(self._pump_program(options.log_links))

    def start(self) -> None:
        """Takes over what runs, starts what has to."""
        for path in glob.glob(os.path.join(glob.escape(self._run_dir), "io", "*", "*-*")):
            self._take_hold(path)
        pump = self._children["pump"]
        pump.start()
        if pump.adopted and pump.version != setpoint.__version__:
            pump.replace(lambda: None)
        if self._binary and os.path.exists(os.path.join(self._run_dir, "keeper", "containerd.json")):
            with contextlib.suppress(Refused):
                self._containerd().start()
        self._bound_logs()

    def reap(self) -> None:
        """Some child of ours has ended."""
        for child in list(self._children.values()):
            child.look()
        children.reap()

    def serve(self, connection: Connection, request: Document) -> Document | None:
        op = field(request, "op", str)
        if op not in self._ops:
            raise Refused("BadRequest", f"op: no such operation {op!r}")
        return self._ops[op](connection, request)

    def _status(self, _: Connection, __: Document) -> Document:
        return {
            "ok": True,
            "version": setpoint.__version__,
            "pid": os.getpid(),
            "data_dir": self._data_dir,
            "run_dir": self._run_dir,
            "supervised": supervised(),
            "held": len(self._held),
            "children": {name: child.to_document() for name, child in self._children.items()},
        }

    def _ensure_containerd(self, connection: Connection, _: Document) -> None:
        if not self._binary:
            raise Refused("Invalid", "this keeper was started with --no-containerd")
        child = self._containerd()
        child.start()

        def reply() -> None:
            connection.reply(
                {
                    "ok": True,
                    "address": child.program.socket,
                    "version": child.version,
                    "pid": child.pid,
                    "adopted": child.adopted,
                }
            )

        self._when_ready(child, connection, reply)

    def _upgrade_pump(self, connection: Connection, _: Document) -> None:
        child = self._children["pump"]
        before = child.pid

        def reply() -> None:
            connection.reply({"ok": True, "pid": child.pid, "before": before, "version": child.version})

        child.replace(lambda: self._when_ready(child, connection, reply))

    def _hold(self, _: Connection, request: Document) -> Document:
        hold, release = field(request, "hold", list, []), field(request, "release", list, [])
        if request.get("only"):
            release = list(self._held.keys() - set(hold))
        for path in release:
            if (fd := self._held.pop(path, None)) is not None:
                os.close(fd)
        for path in hold:
            self._take_hold(path)
        return {"ok": True}

    def _stop(self, connection: Connection, request: Document) -> None:
        names = [name for name in self._children if name != "containerd" or field(request, "containerd", bool, False)]
        left = set(names)

        def gone(name: str) -> None:
            left.discard(name)
            if not left:
                connection.reply({"ok": True, "stopped": names})
                connection.finish()
                for name in ("keeper.sock", "pump.sock"):
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(self._run_dir, name))
                self._loop.stop()

        for name in names:
            self._children[name].stop(lambda name=name: gone(name))  # type: ignore[misc]

    def _take_hold(self, path: str) -> None:
        if path not in self._held:
            with contextlib.suppress(OSError):
                self._held[path] = fifos.hold(path)

    def _when_ready(self, child: Child, connection: Connection, reply: Callable[[], None]) -> None:
        deadline = time.monotonic() + PATIENCE_S

        def look() -> None:
            if connection.closed:
                return
            if child.ready():
                reply()
            elif time.monotonic() > deadline:
                message = (
                    f"{child.program.name} does not answer on {child.program.socket}; see its log in {self._data_dir}/keeper"
                )
                connection.reply(Refused("Unavailable", message).to_reply())
            else:
                self._loop.later(POLL_S, look)

        look()

    def _containerd(self) -> Child:
        if "containerd" not in self._children:
            self._add(containerd.prepare(self._binary, self._data_dir, self._run_dir, os.environ))
        return self._children["containerd"]

    def _add(self, program: Program) -> None:
        self._children[program.name] = Child(self._loop, program, self._run_dir, self._data_dir)

    def _pump_program(self, links: str) -> Program:
        argv = [
            sys.executable,
            "-S",
            "-B",
            "-m",
            "setpoint.keeper.pump",
            "--data-dir",
            self._data_dir,
            "--run-dir",
            self._run_dir,
        ]
        if links:
            argv += ["--log-links", links]
        address = os.path.join(self._run_dir, "pump.sock")
        return Program("pump", argv, address, setpoint.__version__, b'{"op":"list"}\n', {"PYTHONPATH": SOURCE})

    def _bound_logs(self) -> None:
        for child in self._children.values():
            child.bound_log()
        children.bound_log(os.path.join(self._data_dir, "keeper", "keeper.log"))
        self._loop.later(children.LOG_CHECK_S, self._bound_logs)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="setpoint keeper", description="Keeps the log pump and the private containerd running."
    )
    parser.add_argument("--data-dir", default="/var/lib/setpoint")
    parser.add_argument("--run-dir", default="/run/setpoint")
    parser.add_argument("--containerd", default="containerd", metavar="BINARY", help="the containerd to run when asked for one")
    parser.add_argument("--no-containerd", action="store_true", help="never run one")
    parser.add_argument("--detach", action="store_true", help="go to the background, in a session of its own")
    parser.add_argument(
        "--stop",
        action="store_true",
        help="end the keeper of this run dir with its pump and its containerd; stop the agent and the containers before",
    )
    parser.add_argument(
        "--log-links", default="", metavar="DIR", help="where symlinks to the log files go (/var/log/containers)"
    )
    options = parser.parse_args(argv)
    options.data_dir = os.path.abspath(options.data_dir)
    options.run_dir = os.path.abspath(options.run_dir)
    options.log_links = os.path.abspath(options.log_links) if options.log_links else ""
    options.containerd = os.path.abspath(options.containerd) if "/" in options.containerd else options.containerd
    return options


def main(argv: Sequence[str]) -> int:
    """Runs until ``stop`` or SIGTERM; 75 when another keeper has this run dir."""
    options = parse(argv)
    if options.stop:
        return stop(options.run_dir)
    os.umask(0o022)
    for folder, mode in ((options.data_dir, 0o700), (options.run_dir, 0o711)):
        os.makedirs(folder, mode=mode, exist_ok=True)
        os.makedirs(os.path.join(folder, "keeper"), mode=0o700, exist_ok=True)
    if options.detach and not detach(os.path.join(options.data_dir, "keeper", "keeper.log")):
        return 0
    if not take_place(options.run_dir):
        wire.report(f"there is a keeper for {options.run_dir} already")
        return EXIT_SECOND
    children.protect_from_oom()
    children.become_subreaper()
    children.raise_file_limit()
    loop = Loop()
    keeper = Keeper(loop, options)
    loop.on_signals({signal.SIGTERM: loop.stop, signal.SIGINT: loop.stop, signal.SIGCHLD: keeper.reap})
    server = wire.Server(loop, os.path.join(options.run_dir, "keeper.sock"), keeper.serve)
    keeper.start()
    tell_systemd("READY=1")
    loop.run()
    server.close()
    return 0


def take_place(run_dir: str) -> bool:
    """Whether we are the keeper of ``run_dir`` now. There is one at a time; but one that an agent started while our unit was
    down makes room for that of the unit, and leaves it its children."""
    path = os.path.join(run_dir, "keeper", "keeper.lock")
    deadline = time.monotonic() + PATIENCE_S
    while lock(path, wait=False) is None:
        if not supervised() or time.monotonic() > deadline:
            return False
        present = ask(run_dir, b'{"op":"status"}\n') or {}
        if present.get("supervised"):
            return False
        if present.get("pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(present["pid"], signal.SIGTERM)
        time.sleep(POLL_S)
    return True


def supervised() -> bool:
    """Whether a unit of Type=notify started us: somebody puts us back."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def ask(run_dir: str, request: bytes) -> Document | None:
    """One line to the keeper of ``run_dir``, and its answer; None when there is no keeper. Empty when it hung up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(os.path.join(run_dir, "keeper.sock"))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        with contextlib.suppress(ConnectionError), sock.makefile("rb") as replies:
            sock.sendall(request)
            return dict(json.loads(replies.readline() or b"{}"))
    return {}


def stop(run_dir: str) -> int:
    """Asks the keeper of ``run_dir`` to end with everything that it keeps; none there is fine."""
    reply = ask(run_dir, b'{"op":"stop","containerd":true}\n')
    if reply is None:
        wire.report(f"there is no keeper for {run_dir}")
        return 0
    if not reply.get("ok"):
        wire.report(f"the keeper did not stop: {reply.get('message', 'it hung up')}")
        return 1
    lock(os.path.join(run_dir, "keeper", "keeper.lock"), wait=True)  # it is free once the process is gone
    wire.report(f"stopped {', '.join(['keeper', *reply['stopped']])}")
    return 0


def detach(log: str) -> bool:
    """True in the process that goes on: no terminal, no parent, nothing of the starter's open."""
    if os.fork():
        return False
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDONLY)
    with contextlib.suppress(FileNotFoundError):
        if os.stat(log).st_size > children.LOG_KEPT_BYTES:
            os.rename(log, log + ".1")
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for source, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    os.closerange(3, 1024)
    return True


def tell_systemd(state: str) -> None:
    """sd_notify(3), when a unit of Type=notify started us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
