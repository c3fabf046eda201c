"""What a command line would do, without a process: the little of busybox that tests of a runtime need.

What it gets wrong: a shell script is read statement by statement with no expansion, no pipes, no functions and no real loops;
it writes nothing and reads nothing. Whatever it does not know takes no time and succeeds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from controllers.container.ports import StartFailed

FOREVER = float("inf")
IGNORE = -1


@dataclass(frozen=True, slots=True)
class Program:
    """What a process does if nobody interferes. ``runs_s`` FOREVER: until a signal. ``handlers``: signal -> exit code, or
    IGNORE. ``dies_s``: how long it takes to act on a signal that ends it."""

    runs_s: float = 0.0
    code: int = 0
    handlers: Mapping[int, int] = field(default_factory=dict)
    dies_s: float = 0.0


_SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "USR1": 10, "USR2": 12, "TERM": 15}
_INSTANT = frozenset({"echo", "printf", "env", "id", "ls", "mkdir", "touch", "true", "date", "hostname", "cat"})
_APPLETS = _INSTANT | {"sh", "sleep", "false", "yes"}
_FILES = frozenset({"/etc/passwd", "/etc/group", "/etc", "/bin", "/tmp"})
_TRAP = re.compile(r"""trap\s+(?:'([^']*)'|"([^"]*)")\s+(.*)""")


def program(args: Sequence[str], known: Mapping[str, Program]) -> Program:
    """The behaviour of a command line; ``known`` (by the first word) wins. Raises StartFailed as runc does."""
    if not args:
        raise StartFailed("process.args must not be empty")
    if args[0] in known:
        return known[args[0]]
    name = _executable(args[0])
    if name == "sh" and list(args[1:2]) == ["-c"] and len(args) > 2:
        return _script(args[2])
    if name == "sleep":
        return Program(runs_s=_seconds(args[1]) if len(args) > 1 else 0.0)
    if name == "yes":
        return Program(runs_s=FOREVER)
    return Program(code=1 if name == "false" else 0)


def _executable(word: str) -> str:
    name = os.path.basename(word)
    if "/" not in word:
        if word in _APPLETS:
            return word
        raise StartFailed(f'exec: "{word}": executable file not found in $PATH', 127)
    if word in _FILES:
        raise StartFailed(f'exec: "{word}": permission denied', 126)
    if os.path.dirname(word) not in {"/bin", "/usr/bin"} or name not in _APPLETS:
        raise StartFailed(f'exec: "{word}": stat {word}: no such file or directory', 127)
    return name


def _script(text: str) -> Program:
    done = Program()
    # quoted parts (the action of a trap) are not split
    for statement in re.findall(r"""(?:'[^']*'|"[^"]*"|[^;\n])+""", text):
        words = statement.split()
        while words and words[0] in {"exec", "do", "then", "{"}:
            words = words[1:]
        match words:
            case ["exit", code]:
                return replace(done, code=int(code)) if code.isdigit() else done
            case ["exit"]:
                return done
            case ["trap", *_]:
                done = replace(done, handlers={**done.handlers, **_trap(" ".join(words))})
            case ["sleep", seconds]:
                done = replace(done, runs_s=done.runs_s + _seconds(seconds), code=0)
            case ["while" | "yes" | "wait", *_]:
                return replace(done, runs_s=FOREVER)
            case ["false"]:
                done = replace(done, code=1)
    return done


def _trap(text: str) -> dict[int, int]:
    found = _TRAP.match(text)
    if found is None:
        return {}
    action = found[1] if found[1] is not None else found[2]
    leaves = re.search(r"exit\s*(\d*)", action)
    code = int(leaves[1] or 0) if leaves else IGNORE
    names = (name.removeprefix("SIG") for name in found[3].split())
    return {int(name) if name.isdigit() else _SIGNALS.get(name, 0): code for name in names}


def _seconds(text: str) -> float:
    return FOREVER if text in {"inf", "infinity"} else float(text)
