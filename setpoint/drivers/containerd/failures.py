"""From the texts of containerd, shim and runc to why a start failed.

They come as one string without a code; the pieces below are stable since runc 1.0 and are held by the contract suite on every
version that is tested.
"""

from __future__ import annotations

import re

from controllers.container.ports import StartFailed
from state.errors import NotFound, StateError

NOT_EXECUTABLE, NOT_FOUND, OTHER = 126, 127, 128

# runc: `starting container process: exec: "x": executable file not found in $PATH` (`... caused: exec: ...` in 1.0)
_RUNC_EXEC = re.compile(r'(?:starting|start) container process(?: caused)?: exec: "([^"]*)": (.*)')
# crun: `executable file `x` not found in $PATH: No such file or directory`, `open executable: Permission denied`
_CRUN_EXEC = re.compile(r"executable file [`'\"][^`'\"]*[`'\"] .*|open executable: .*|exec [`'\"][^`'\"]*[`'\"]: .*")
_REFUSED = re.compile(r"permission denied|is a directory|exec format error", re.IGNORECASE)
_ABSENT = re.compile(r"not found|no such file or directory", re.IGNORECASE)

_MISSING = (
    # a bind source: runc since 1.0 and its older wording, crun
    re.compile(r'error mounting "([^"]+)" to rootfs at "[^"]*": (?:stat|lstat|open|readlink) [^:]*: no such file or directory'),
    re.compile(r"bind source path does not exist: (\S+)"),
    re.compile(r"cannot stat [`'\"]?([^`'\":]+)[`'\"]?: No such file or directory"),
    # a namespace to be joined
    re.compile(r"namespace path: (?:lstat|stat|open) (/\S+): no such file or directory"),
    # the runtime's program, told by the shim
    re.compile(r'retrieve OCI runtime error.*: (?:fork/exec|exec:) "?([^" :]+)"?: (?:executable file not found|no such file)'),
    # the shim's program, told by containerd
    re.compile(r'runtime "([^"]+)" binary not installed'),
)


def start_failed(error: StateError) -> StartFailed | StateError:
    """The StartFailed that an error of ``Tasks.Create``, ``Tasks.Start`` or ``Tasks.Exec`` stands for, or the error itself."""
    if isinstance(error, NotFound) and error.message.startswith(("container ", "task ")):
        return error
    if not isinstance(error, NotFound) and type(error) is not StateError:
        return error
    return read(error.message)


def read(text: str) -> StartFailed:
    """Code and missing thing of such a text."""
    message = brief(text)
    for pattern in _MISSING:
        if found := pattern.search(text):
            return StartFailed(message, OTHER, missing=found[1])
    if found := _RUNC_EXEC.search(text) or _CRUN_EXEC.search(text):
        if _REFUSED.search(found[0]):
            return StartFailed(message, NOT_EXECUTABLE)
        if _ABSENT.search(found[0]):
            return StartFailed(message, NOT_FOUND)
    return StartFailed(message, OTHER)


def brief(text: str) -> str:
    """The part of such a text that tells a reader something: without the chain of who told whom."""
    text = re.split(r"OCI runtime (?:create|start|exec) failed: ", text)[-1]
    text = re.sub(r"^(?:(?:runc|crun)(?: create| exec)? failed: |failed to create shim task: )+", "", text)
    text = re.sub(r"^(?:exec failed: |unable to start container process: |error during container init: )+", "", text)
    return re.sub(r"(?:: unknown|: not found)+$", "", text).strip()
