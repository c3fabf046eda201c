"""One container (one uid) as the pump knows it: its launches, limits, files and attached clients."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from setpoint.keeper import retention, wire
from setpoint.keeper.attaching import Attachment
from setpoint.keeper.launches import Attempt, Launch
from setpoint.keeper.logfile import LogFile, LogFolder
from setpoint.keeper.loop import Loop
from setpoint.keeper.retention import Limits
from setpoint.keeper.wire import Document, Refused, field

STATE_NAME = "state.json"
MAX_LAUNCHES = 4
"""Open ones of one uid: two while a replacement starts before the old one stops; the rest are attempts nobody took up."""

_SAFE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")

Sync = Callable[[Sequence[str], Sequence[str]], None]
"""(FIFOs to hold, FIFOs to let go)."""


def valid_name(what: str, value: str) -> str:
    """These become file names: nothing with a slash, an underscore or a leading dot."""
    if not _SAFE.fullmatch(value):
        raise Refused("Invalid", f"{what}: {value!r} is not usable as a file name")
    return value


class Wish(NamedTuple):
    """What the agent wants of one container's streams; the fields of ``controllers.container.ports.LogWish``."""

    uid: str
    id: str
    namespace: str
    name: str
    terminal: bool
    stdin: bool
    limits: Limits

    @classmethod
    def from_document(cls, document: Document) -> Wish:
        limits = Limits(field(document, "max_size_bytes", int, 10 << 20), field(document, "max_files", int, 5))
        if limits.max_size_bytes < 4096 or limits.max_files < 1:
            raise Refused("Invalid", f"max_size_bytes: at least 4096, max_files: at least 1; got {limits}")
        uid, id, namespace, name = (valid_name(key, field(document, key, str)) for key in ("uid", "id", "namespace", "name"))
        terminal, stdin = (bool(field(document, key, bool, False)) for key in ("terminal", "stdin"))
        return cls(uid, id, namespace, name, terminal, stdin, limits)

    def to_document(self) -> Document:
        return {
            "uid": self.uid,
            "id": self.id,
            "namespace": self.namespace,
            "name": self.name,
            "terminal": self.terminal,
            "stdin": self.stdin,
            "max_size_bytes": self.limits.max_size_bytes,
            "max_files": self.limits.max_files,
        }


class Places(NamedTuple):
    """``links``: where symlinks to the log files go, empty for nowhere."""

    logs: str
    io: str
    links: str = ""

    def folder(self, wish: Wish) -> str:
        return os.path.join(self.logs, retention.folder_name(wish.namespace, wish.name, wish.uid))

    def uids(self) -> set[str]:
        """Those that have log files (not only a kept tail) or FIFOs."""
        found = set(os.listdir(self.io))
        for name in os.listdir(self.logs):
            parts = name.split("_")
            folder = os.path.join(self.logs, name)
            if len(parts) == 3 and os.path.isdir(folder) and os.listdir(folder) != [retention.TAIL_NAME]:
                found.add(parts[2])
        return found

    def forget(self, uid: str, *, keep_tail: bool) -> None:
        """Removes everything of a uid, but for the end of its log if asked. Its streams must be closed."""
        LogFolder(os.path.join(self.io, uid), Limits()).remove()
        for name in os.listdir(self.logs):
            parts = name.split("_")
            folder = LogFolder(os.path.join(self.logs, name), Limits())
            if len(parts) != 3 or parts[2] != uid or not os.path.isdir(folder.path):
                continue
            self.unlink(parts[0], parts[1], folder.path)
            if not keep_tail:
                folder.remove()
            elif os.listdir(folder.path) != [retention.TAIL_NAME]:
                folder.keep_tail(retention.TAIL_BYTES)

    def link(self, wish: Wish, target: str) -> None:
        """``<name>_<namespace>_<id>.log``, as log collectors know it from Kubernetes nodes."""
        if not self.links:
            return
        with contextlib.suppress(OSError):
            os.makedirs(self.links, mode=0o755, exist_ok=True)
            path = os.path.join(self.links, f"{wish.name}_{wish.namespace}_{wish.id}.log")
            fresh = f"{path}.{os.getpid()}"
            os.symlink(target, fresh)
            os.rename(fresh, path)

    def unlink(self, namespace: str, name: str, folder: str, target: str = "") -> None:
        """Removes our links into ``folder`` (to ``target`` only, if given)."""
        if not self.links:
            return
        with contextlib.suppress(OSError):
            for entry in os.listdir(self.links):
                path = os.path.join(self.links, entry)
                if entry.startswith(f"{name}_{namespace}_") and os.path.islink(path):
                    points_at = os.readlink(path)
                    if points_at == target or (not target and os.path.dirname(points_at) == folder):
                        os.unlink(path)


class Container:
    """Owns the open launches of one uid."""

    def __init__(self, loop: Loop, places: Places, wish: Wish, sync: Sync) -> None:
        self._loop = loop
        self._places = places
        self._wish = wish
        self._sync = sync
        self._folder = LogFolder(places.folder(wish), wish.limits)
        self._folder.on_removed = self._log_removed
        self._io = os.path.join(places.io, wish.uid)
        self._launches: list[Launch] = []
        self._last = 0
        self._bytes = 0
        self._dropped = 0
        self._held: set[str] = set()
        self._attachments: list[Attachment] = []

    @property
    def launch(self) -> Launch | None:
        """The newest open one."""
        return self._launches[-1] if self._launches else None

    @property
    def paths(self) -> list[str]:
        """Every FIFO that is open."""
        return [path for launch in self._launches for path in launch.paths]

    def open(self, wish: Wish) -> Launch:
        """FIFOs and a log file for one more start. Raises OSError."""
        self._drop_untaken(wish.id)
        self._wish = wish
        self._folder.limits = wish.limits
        with contextlib.suppress(OSError):
            # A full disk costs the log, never the start.
            self._folder.make()
        os.makedirs(self._io, mode=0o711, exist_ok=True)
        self._last = self._folder.next_launch(self._last)
        launch = self._make(self._last, wish.id, terminal=wish.terminal)
        launch.open(stdin=wish.stdin)
        self._launches.append(launch)
        self._folder.prune()
        launch.file.retune()
        self._places.link(wish, os.path.join(self._folder.path, retention.current_name(launch.number)))
        self.changed()
        for attachment in self._attachments:
            if attachment.waiting:
                self._start(attachment, launch)
        return launch

    def restore(self, saved: Document) -> None:
        """Goes on with what :meth:`_save` or :meth:`leave` of another process wrote down."""
        self._last = saved["last"]
        for entry in saved["launches"]:
            launch = self._make(entry["number"], entry["id"], terminal=entry["terminal"])
            launch.restore(entry, clean=saved["clean"])
            self._launches.append(launch)
        self.changed()
        for launch in list(self._launches):
            launch.check()

    def tune(self, wish: Wish) -> None:
        self._wish = self._wish._replace(limits=wish.limits)
        self._folder.limits = wish.limits
        self._folder.prune()
        for launch in self._launches:
            launch.file.retune()
        if self._launches:
            self._save(clean=False)

    def attach(self, attachment: Attachment) -> None:
        """Frames flow from now on, or from the next launch if there is none."""
        self._attachments.append(attachment)
        attachment.connection.on_close = lambda: self._detached(attachment)
        if self.launch is not None:
            self._start(attachment, self.launch)

    def close_stdin(self) -> None:
        if self.launch is not None:
            self.launch.close_stdin()
            self.changed()

    def end(self) -> None:
        """The object goes: whatever is in the FIFOs is taken, then everything is closed."""
        for launch in list(self._launches):
            launch.drain()
            self._remove(launch)
        self.changed()
        self._end_attachments(ended=True)

    def leave(self) -> None:
        """The process goes, the container stays."""
        self._save(clean=True)
        for launch in self._launches:
            launch.release()
        self._end_attachments(handover=True)

    def stats(self) -> Document:
        return {
            "open": len(self._launches),
            "launch": self._last,
            "bytes": self._bytes + sum(launch.bytes_read for launch in self._launches),
            "dropped": self._dropped + sum(launch.file.dropped for launch in self._launches),
            "attached": len(self._attachments),
        }

    def _make(self, number: int, id: str, *, terminal: bool) -> Launch:
        return Launch(Attempt(number, id, terminal), self._io, LogFile(self._folder, number), self._loop, self)

    def _drop_untaken(self, id: str) -> None:
        """Streams of an attempt that no task took up: of the same id (one task per id), or too many of them."""
        surplus = len(self._launches) - MAX_LAUNCHES + 1
        for launch in list(self._launches):
            if launch.id == id or surplus > 0:
                launch.drain()
                if not launch.started or surplus > 0:
                    self._remove(launch)
                    surplus -= 1

    def _remove(self, launch: Launch) -> None:
        launch.discard()
        if launch in self._launches:
            self._launches.remove(launch)
            self._bytes += launch.bytes_read
            self._dropped += launch.file.dropped

    def _start(self, attachment: Attachment, launch: Launch) -> None:
        stdin = launch.stdin_fd >= 0
        header = {"ok": True, "launch": launch.number, "terminal": launch.terminal, "stdin": stdin}
        attachment.start(launch, header)

    def _detached(self, attachment: Attachment) -> None:
        with contextlib.suppress(ValueError):
            self._attachments.remove(attachment)

    def _end_attachments(self, **note: bool) -> None:
        for attachment in list(self._attachments):
            if attachment.waiting:
                attachment.connection.close()
            else:
                attachment.end(**note)

    def output(self, stream: str, data: bytes) -> None:
        for attachment in list(self._attachments):
            attachment.output(stream, data)

    def ended(self, launch: Launch) -> None:
        self._remove(launch)
        self.changed()
        if not self._launches:
            self._end_attachments(ended=True)

    def _log_removed(self, number: int) -> None:
        target = os.path.join(self._folder.path, retention.current_name(number))
        self._places.unlink(self._wish.namespace, self._wish.name, self._folder.path, target)

    def changed(self) -> None:
        self._save(clean=False)
        needed = set(self.paths)
        if needed != self._held:
            hold, release = sorted(needed - self._held), sorted(self._held - needed)
            self._held = needed
            self._sync(hold, release)

    def _save(self, *, clean: bool) -> None:
        """A full run dir (tmpfs) must not end the pump: the state is then older than it should be, and the log says so."""
        if not os.path.isdir(self._io):
            return
        document = {
            "version": 1,
            "clean": clean,
            "last": self._last,
            "wish": self._wish.to_document(),
            "launches": [launch.save(clean=clean) for launch in self._launches],
        }
        try:
            wire.write_json(os.path.join(self._io, STATE_NAME), document)
        except OSError as failure:
            wire.report(f"cannot write the state of {self._wish.uid}: {failure}")
