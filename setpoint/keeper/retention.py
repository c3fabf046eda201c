"""Which log files a container has, and which of them stay. Pure but for :func:`pieces`.

One folder per uid: ``DATA_DIR/logs/<namespace>_<name>_<uid>/`` holds ``<launch>.log``, its rotated
``<launch>.log.<time>``, and, after the object is gone, ``tail``. Names of objects hold no underscore.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

TAIL_BYTES = 64 << 10
TAIL_DAYS = 7
TAIL_NAME = "tail"

_NAME = re.compile(r"(\d+)\.log(?:\.(\d{8}T\d{15}))?")


class Limits(NamedTuple):
    max_size_bytes: int = 10 << 20
    max_files: int = 5


class Piece(NamedTuple):
    """One log file. ``rotated`` is the time of its rotation, empty for the file that is (or was last) written."""

    name: str
    launch: int
    rotated: str
    size: int

    @property
    def order(self) -> tuple[int, bool, str]:
        """Sorts pieces by age, oldest first."""
        return (self.launch, not self.rotated, self.rotated)


class Verdict(NamedTuple):
    """``trim``: the piece to be cut down to its last ``trim_bytes``."""

    remove: tuple[Piece, ...] = ()
    trim: Piece | None = None
    trim_bytes: int = 0


def folder_name(namespace: str, name: str, uid: str) -> str:
    return f"{namespace}_{name}_{uid}"


def current_name(launch: int) -> str:
    return f"{launch}.log"


def rotated_name(launch: int, moment_ns: int) -> str:
    second, rest = divmod(moment_ns, 1_000_000_000)
    return f"{launch}.log.{time.strftime('%Y%m%dT%H%M%S', time.gmtime(second))}{rest:09d}"


def read_name(name: str) -> tuple[int, str] | None:
    """(launch, time of rotation) of a log file's name."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), match[2] or "") if match else None


def pieces(folder: str) -> list[Piece]:
    """The log files of a folder, oldest first; empty when there is no such folder."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if (read := read_name(entry.name)) is not None:
                    try:
                        found.append(Piece(entry.name, read[0], read[1], entry.stat(follow_symlinks=False).st_size))
                    except FileNotFoundError:
                        continue
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda piece: piece.order)


def judge(found: Sequence[Piece], limits: Limits, live: Iterable[int] = ()) -> Verdict:
    """What has to go so that all files of one container stay within ``max_size_bytes * max_files``.

    The newest launch's file, and those of launches still ``live``, stay: they are being written. The end of the launch before
    stays too (for ``--previous``), cut down when its place is needed by newer files. Of the rest the newest stay.
    """
    if not found:
        return Verdict()
    newest = max(piece.launch for piece in found)
    written = {newest, *live}
    others = [piece for piece in found if piece.rotated or piece.launch not in written]
    places = max(0, limits.max_files - max(1, len(found) - len(others)))
    budget = places * limits.max_size_bytes
    before = next((piece for piece in reversed(others) if piece.launch < newest and not piece.rotated), None)
    newer = [piece for piece in others if before is not None and piece.order > before.order]
    trim_bytes = min(TAIL_BYTES, limits.max_size_bytes if limits.max_files > 1 else limits.max_size_bytes // 4)
    keep: set[Piece] = set()
    pressed = False
    if before is not None:
        pressed = len(newer) >= places or before.size + sum(piece.size for piece in newer) > budget
        keep.add(before)
        places -= 1
        budget -= min(before.size, trim_bytes) if pressed else before.size
    for piece in sorted(others, key=lambda piece: piece.order, reverse=True):
        if piece is before:
            continue
        if places <= 0 or piece.size > budget:
            break
        keep.add(piece)
        places -= 1
        budget -= piece.size
    trim = before if before is not None and pressed and before.size > trim_bytes else None
    return Verdict(tuple(piece for piece in others if piece not in keep), trim, trim_bytes)


def room_of_current(found: Sequence[Piece], limits: Limits) -> int:
    """How large the file being written may become. With a single file the end of the launch before shares its place."""
    if limits.max_files > 1:
        return limits.max_size_bytes
    others = sum(piece.size for piece in found[:-1])
    return max(limits.max_size_bytes // 2, limits.max_size_bytes - others)
