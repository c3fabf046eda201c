"""The FIFOs between a container's shim and us: ``RUN_DIR/io/<uid>/<launch>-{in,out,err}``.

Facts this rests on (fifo(7), fs/pipe.c): a read end opened without a writer gets no hang-up until a writer came and left;
data in a FIFO lives as long as anybody holds it open; a reader that is gone blocks writers, who hold a read end themselves,
and loses nothing.
"""

from __future__ import annotations

import contextlib
import os
import stat


def make(path: str) -> None:
    """A FIFO at ``path``; one that is there is kept with what is in it."""
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        if stat.S_ISFIFO(os.lstat(path).st_mode):
            return
        os.unlink(path)
        os.mkfifo(path, 0o600)


def open_reader(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)


def open_stdin(path: str) -> int:
    """For reading too: opening the write end alone fails without a reader, and waits for none this way (Linux)."""
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)


def hold(path: str) -> int:
    """Keeps a FIFO and its content alive, and its reader from seeing the end, without ever reading."""
    return open_stdin(path) if path.endswith("-in") else open_reader(path)


def remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
