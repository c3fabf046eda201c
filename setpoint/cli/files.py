"""The objects in files, folders and on stdin, for ``-f``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from setpoint.cli.failures import Failed, wrong_use
from state.errors import BadRequest, Cause
from state.objects import Object

SUFFIXES = (".yaml", ".yml", ".json")


def objects(names: Sequence[str] | None, *, recursive: bool = False) -> list[Object]:
    """Every object in order. Raises BadRequest with all problems of all files; Failed for a path that cannot be read."""
    if not names:
        raise wrong_use("say which file: -f FILE, -f FOLDER or -f - for stdin")
    from state.resources.documents import read

    found: list[Object] = []
    causes: list[Cause] = []
    for path in [path for name in names for path in _paths(name, recursive)]:
        source = "stdin" if path == "-" else path
        try:
            found += [document.object for document in read(_content(path), source)]
        except BadRequest as exc:
            causes += exc.causes or [Cause("", exc.message)]
    if causes:
        raise BadRequest(str(causes[0]), causes=causes)
    return found


def _paths(name: str, recursive: bool) -> Iterator[str]:
    if name == "-" or not os.path.isdir(name):
        yield name
        return
    chosen = []
    for folder, below, files in os.walk(name):
        below.sort()
        if not recursive:
            below.clear()
        chosen += [os.path.join(folder, file) for file in sorted(files) if file.endswith(SUFFIXES)]
    if not chosen:
        hint = "" if recursive else " (-R looks into the folders below)"
        raise Failed(f"{name}: no file in it ends in {', '.join(SUFFIXES)}{hint}")
    yield from chosen


def _content(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    with open(path, "rb") as file:
        return file.read()
