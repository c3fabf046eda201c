"""The command line's entry: find the verb's module, load that one only, turn every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from setpoint.cli.failures import DONE, FAILED, INTERRUPTED, WRONG_USE, Failed

MODULES: dict[str, tuple[str, ...]] = {
    "declare": ("apply", "delete", "plan", "diff"),
    "create": ("create", "label", "annotate"),
    "look": ("get", "describe", "why", "events"),
    "logs": ("logs",),
    "waiting": ("wait",),
    "run": ("run",),
    "act": ("start", "stop", "restart", "pause", "resume", "kill", "hold", "unhold", "retry"),
    "sessions": ("exec", "attach"),
    "keep": ("image", "orphans", "node"),
    "about": ("info", "doctor", "version"),
    "serve": ("agent", "keeper"),
    "install": ("install", "uninstall", "reset"),
    "completing": ("completion",),
    "habits": ("ps", "images", "pull", "rm", "rmi", "inspect", "volume", "network", "build"),
    "later": (
        "edit", "set", "patch", "login", "explain", "stats", "top", "drift", "exposure", "df", "cp", "rollout", "scale",
        "port-forward", "prune", "backup", "restore", "recover",
    ),
}  # fmt: skip
"""Which module brings which verbs. A test holds it to what they register."""

GLOBAL_OPTIONS = ("--host", "--kubeconfig", "--context")
_TAKES_COMMAND = frozenset({"exec", "run"})
_EXEC_VALUES = frozenset({"-u", "--user", "-w", "--workdir", "-e", "--env", "-n", "--namespace", "--host"})
_SWITCHES = frozenset({"wait", "prune", "follow", "watch", "force", "all", "recursive", "timestamps", "previous", "reveal"})

EPILOGUE = "Exit codes: 0 done, 1 refused or failed, 2 wrong use, 3 the agent cannot be reached, 124 out of time."


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command line and leaves the process with its code."""
    sys.exit(main(sys.argv[1:] if argv is None else argv))


def main(argv: Sequence[str]) -> int:
    """The exit code; problems are told on stderr, one line each."""
    try:
        return _main(list(argv))
    except BrokenPipeError:
        # Whoever read our output has enough (``| head``); Python would complain once more at its own end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return DONE
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return INTERRUPTED


def _main(argv: list[str]) -> int:
    if argv[:1] in (["keeper"], ["--version"]) or argv in (["version"], ["version", "--client"]):
        return _at_once(argv)
    try:
        if argv[:1] == ["__complete"]:
            from setpoint.cli.completing import complete

            sys.stdout.write("".join(f"{word}\n" for word in complete(argv[1:])))
            return DONE
        return _dispatch(prepare(argv))
    except Failed as exc:
        return _tell(exc.lines, exc.code)


def _at_once(argv: list[str]) -> int:
    """What needs no parser: it must start quickly, or has a parser of its own."""
    if argv[0] == "keeper":
        from setpoint.keeper.main import main as keeper

        return keeper(argv[1:])
    if argv == ["version"]:
        from setpoint.cli.about import version

        version()
        return DONE
    from setpoint import __version__

    sys.stdout.write(f"setpoint {__version__}\n")
    return DONE


def _dispatch(argv: list[str]) -> int:
    from state.errors import StateError

    try:
        verb = next((word for word in argv if not word.startswith("-")), "")
        ended = build(verb).main(argv, prog_name="setpoint", standalone_mode=False)
        sys.stdout.flush()
    except StateError as exc:
        from setpoint.cli.failures import explain

        lines, code = explain(exc)
        return _tell(lines, code)
    except SystemExit:
        # The parser turns a reader of ours that left into an exit of its own; ours says that nothing is wrong.
        if type(sys.stdout).__name__ == "PacifyFlushWrapper":
            return DONE
        raise
    except (Failed, BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as exc:
        return _unexpected(exc)
    return ended if isinstance(ended, int) else DONE


def _unexpected(exc: Exception) -> int:
    tell = getattr(exc, "format_message", None)
    if tell is not None:
        # The parser's own: wrong use.
        context = getattr(exc, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        return _tell([f"{tell()}{hint}"], WRONG_USE)
    if type(exc).__name__ == "Abort":
        return INTERRUPTED
    if os.environ.get("SETPOINT_DEBUG"):
        import traceback

        traceback.print_exception(exc)
    if isinstance(exc, OSError):
        where = f"{exc.filename}: " if exc.filename else ""
        return _tell([f"{where}{exc.strerror or exc}"], FAILED)
    return _tell([f"internal error, {type(exc).__name__}: {exc} (SETPOINT_DEBUG=1 shows where)"], FAILED)


def _tell(lines: Sequence[str], code: int) -> int:
    from setpoint.cli.printing import note, paint

    for line in lines:
        note(f"{paint('error', stream=sys.stderr)}: {' '.join(line.split())}")
    return code


def build(verb: str = "") -> Any:
    """The parser with the verbs of ``verb``'s module, or with all of them when the verb is not known."""
    import importlib

    import typer

    app = typer.Typer(name="setpoint", rich_markup_mode=None, add_completion=False, no_args_is_help=True, epilog=EPILOGUE)

    @app.callback(help="Setpoint: declare containers; the agent keeps them so.")
    def root(
        host: str = typer.Option(
            "", "--host", help="Socket of the agent. Default: SETPOINT_HOST, else /run/setpoint/api.sock."
        ),
    ) -> None:
        return

    module = next((name for name, verbs in MODULES.items() if verb in verbs), None)
    for name in [module] if module else MODULES:
        importlib.import_module(f"setpoint.cli.{name}").register(app)
    command = typer.main.get_command(app)
    _name_values(command)
    return command


def _name_values(command: Any) -> None:
    """Help and usage speak in words, not in types of Python."""
    for parameter in command.params:
        if parameter.param_type_name == "argument" and parameter.metavar:
            word, text = parameter.metavar, parameter.help or ""
            parameter.get_usage_pieces = lambda _context, word=word: [word]
            parameter.get_help_record = lambda _context, word=word, text=text: (word, text) if text else None
        elif parameter.param_type_name == "option" and parameter.metavar is None and not parameter.is_flag:
            parameter.metavar = "N" if isinstance(parameter.default, int) else "VALUE"
    for below in getattr(command, "commands", {}).values():
        _name_values(below)


def prepare(argv: list[str]) -> list[str]:
    """``argv`` with global options taken out wherever they stand, ``--wait=false`` spelled as a switch, and options of exec
    that stand behind the name (``exec web -it -- sh``) put before it."""
    verb = next((word for word in _without_values(argv) if not word.startswith("-")), "")
    end = argv.index("--") if "--" in argv else len(argv)
    if verb in _TAKES_COMMAND:
        end = argv.index(verb)
    elif verb in ("agent", "completion"):
        return argv
    before, after = _hoist(argv[:end]), argv[end:]
    if verb == "exec":
        after = _exec_options_first(after)
    return [word for each in before if (word := _switch(each))] + after


def _without_values(argv: list[str]) -> list[str]:
    return [word for at, word in enumerate(argv) if at == 0 or argv[at - 1] not in GLOBAL_OPTIONS]


def _hoist(argv: list[str]) -> list[str]:
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in GLOBAL_OPTIONS:
            rest.append(word)
            continue
        if not equals:
            value = next(words, "")
        if not value:
            raise Failed(f"{name} needs a value", code=WRONG_USE)
        if name != "--host":
            raise Failed(f"{name} is not supported yet: only an agent's socket can be spoken with (--host)")
        os.environ["SETPOINT_HOST"] = value
    return rest


def _switch(word: str) -> str:
    if word.startswith("-o="):
        return "-o" + word[3:]
    name, equals, value = word.removeprefix("--").partition("=")
    if word.startswith("--") and equals and name in _SWITCHES and value in ("true", "false"):
        return f"--{name}" if value == "true" else "--no-wait" if name == "wait" else ""
    return word


def _exec_options_first(words: list[str]) -> list[str]:
    """``exec`` NAME OPTIONS ``--`` COMMAND, as kubectl's users type it. A command without ``--`` keeps its own options."""
    if "--" not in words:
        return words
    end = words.index("--")
    at = 1
    while at < end and words[at].startswith("-"):
        at += 2 if words[at] in _EXEC_VALUES else 1
    if at + 1 < end and words[at + 1].startswith("-"):
        return [words[0], *words[1:at], *words[at + 1 : end], words[at], *words[end:]]
    return words
