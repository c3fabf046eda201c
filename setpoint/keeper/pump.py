"""The log pump: one process that reads the output of every container of the node, writes it to bounded files and serves it
live.

``python -m setpoint.keeper.pump --data-dir D --run-dir R [--log-links DIR]``. It is told what to do on ``RUN_DIR/pump.sock``
(see :mod:`setpoint.keeper.wire`): ``open``, ``tune``, ``close``, ``list``, ``attach``, ``stats``. What it has open it writes
to ``RUN_DIR/io/<uid>/state.json``, so the pump after it opens the same again with the agent dead. SIGTERM is a clean
good-bye: flush, write down what is unfinished, exit.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence

import setpoint
from setpoint.keeper import containers, retention, wire
from setpoint.keeper.attaching import Attachment
from setpoint.keeper.containers import Container, Wish
from setpoint.keeper.logfile import LogFolder
from setpoint.keeper.loop import Loop
from setpoint.keeper.wire import Connection, Document, Refused, field

_DAY_S = 86400.0


class Pump:
    """All containers of the node. One instance per run dir (a lock says so)."""

    def __init__(self, loop: Loop, data_dir: str, run_dir: str, links: str = "") -> None:
        self._loop = loop
        self._places = containers.Places(os.path.join(data_dir, "logs"), os.path.join(run_dir, "io"), links)
        self._holder = _Holder(os.path.join(run_dir, "keeper.sock"))
        self._containers: dict[str, Container] = {}
        self._early: dict[str, list[Attachment]] = {}
        self._ops = {
            "open": self._open,
            "tune": self._tune,
            "close": self._close,
            "list": self._list,
            "stats": self._stats,
            "attach": self._attach,
        }
        os.makedirs(self._places.logs, mode=0o700, exist_ok=True)
        os.makedirs(self._places.io, mode=0o711, exist_ok=True)

    def restore(self) -> None:
        """Opens what the pump before us had open."""
        for uid in sorted(os.listdir(self._places.io)):
            saved = wire.read_json(os.path.join(self._places.io, uid, containers.STATE_NAME))
            if not saved:
                continue
            try:
                container = Container(self._loop, self._places, Wish.from_document(saved["wish"]), self._holder.sync)
                self._containers[uid] = container
                container.restore(saved)
            except (KeyError, TypeError, ValueError, OSError, Refused) as failure:
                wire.report(f"cannot restore {uid}: {failure!r}")

        self._holder.sync([path for container in self._containers.values() for path in container.paths], [], only=True)

    def serve(self, connection: Connection, request: Document) -> Document | None:
        op = field(request, "op", str)
        if op not in self._ops:
            raise Refused("BadRequest", f"op: no such operation {op!r}")
        return self._ops[op](connection, request)

    def leave(self) -> None:
        """A clean good-bye."""
        for container in self._containers.values():
            container.leave()

    def sweep(self) -> None:
        """Kept tails of deleted objects go after their days; then once a day."""
        horizon = time.time() - retention.TAIL_DAYS * _DAY_S
        for name in os.listdir(self._places.logs):
            folder = os.path.join(self._places.logs, name)
            with contextlib.suppress(OSError):
                if (
                    os.listdir(folder) == [retention.TAIL_NAME]
                    and os.stat(f"{folder}/{retention.TAIL_NAME}").st_mtime < horizon
                ):
                    LogFolder(folder, retention.Limits()).remove()
        self._loop.later(_DAY_S, self.sweep)

    def _open(self, _: Connection, request: Document) -> Document:
        wish = Wish.from_document(request)
        container = self._containers.get(wish.uid)
        if container is None:
            container = Container(self._loop, self._places, wish, self._holder.sync)
        try:
            launch = container.open(wish)
        except OSError as failure:
            raise Refused("Unavailable", f"cannot open the streams of {wish.uid}: {failure}") from failure
        self._containers[wish.uid] = container
        for attachment in self._early.pop(wish.uid, []):
            container.attach(attachment)
        paths = {"stdout": "", "stderr": "", "stdin": launch.stdin_path}
        paths.update({stream.name: stream.path for stream in launch.streams})
        return {"ok": True, "launch": launch.number, "terminal": launch.terminal, **paths}

    def _tune(self, _: Connection, request: Document) -> Document:
        wish = Wish.from_document(request)
        container = self._containers.get(wish.uid) or Container(self._loop, self._places, wish, self._holder.sync)
        container.tune(wish)
        return {"ok": True}

    def _close(self, _: Connection, request: Document) -> Document:
        uid = containers.valid_name("uid", field(request, "uid", str))
        container = self._containers.pop(uid, None)
        if container is not None:
            container.end()
        self._places.forget(uid, keep_tail=field(request, "keep_tail", bool, False))
        return {"ok": True}

    def _list(self, _: Connection, __: Document) -> Document:
        return {"ok": True, "uids": sorted(self._containers.keys() | self._places.uids())}

    def _stats(self, _: Connection, __: Document) -> Document:
        rows = {uid: container.stats() for uid, container in self._containers.items()}
        return {"ok": True, "version": setpoint.__version__, "pid": os.getpid(), "containers": rows}

    def _attach(self, connection: Connection, request: Document) -> None:
        uid = containers.valid_name("uid", field(request, "uid", str))
        stdin, wait = field(request, "stdin", bool, False), field(request, "wait", bool, False)
        container = self._containers.get(uid)
        if not wait and (container is None or container.launch is None):
            raise Refused("NotFound", f"{uid} has no open streams")
        attachment = Attachment(connection, stdin=stdin, stop_stdin=lambda: self._containers[uid].close_stdin())
        if container is not None:
            container.attach(attachment)
            return
        # Whoever attaches before the first start misses nothing of it.
        early = self._early.setdefault(uid, [])
        early.append(attachment)
        connection.on_close = lambda: early.remove(attachment)


class _Holder:
    """Tells the keeper which FIFOs to hold, so that nothing in them is lost while there is no pump. Best effort: a keeper that
    starts later reads the same from our state files."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._sock: socket.socket | None = None

    def sync(self, hold: Sequence[str], release: Sequence[str], *, only: bool = False) -> None:
        line = json.dumps({"op": "hold", "hold": list(hold), "release": list(release), "only": only}).encode() + b"\n"
        for _ in range(2):
            try:
                if self._sock is None:
                    self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                    self._sock.settimeout(0.2)
                    self._sock.connect(self._path)
                else:
                    self._swallow(self._sock)
                self._sock.sendall(line)
            except OSError:
                if self._sock is not None:
                    self._sock.close()
                self._sock = None
            else:
                return

    def _swallow(self, sock: socket.socket) -> None:
        """Takes the replies so far; raises OSError when the keeper is another one by now."""
        with contextlib.suppress(BlockingIOError):
            if not sock.recv(65536, socket.MSG_DONTWAIT):
                raise ConnectionResetError


def lock(path: str, *, wait: bool) -> int | None:
    """An exclusive lock that the kernel gives back when we die; None when another process has it and ``wait`` is not set."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def main(argv: Sequence[str]) -> int:
    options = dict(zip(argv[::2], argv[1::2], strict=True))
    run_dir = options["--run-dir"]
    os.umask(0o022)
    # A pump that takes over waits here until the one before has written everything down.
    lock(os.path.join(run_dir, "keeper", "pump.lock"), wait=True)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = Loop()
    pump = Pump(loop, options["--data-dir"], run_dir, options.get("--log-links", ""))
    loop.on_signals({signal.SIGTERM: loop.stop})
    pump.restore()
    wire.Server(loop, os.path.join(run_dir, "pump.sock"), pump.serve)
    pump.sweep()
    loop.run()
    pump.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
