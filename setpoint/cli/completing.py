"""completion: scripts for shells, which ask this program for the words that may follow."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from setpoint.cli.failures import wrong_use

if TYPE_CHECKING:
    from setpoint.client import Client

_PATIENCE_S = 0.5

SCRIPTS = {
    "bash": """# bash completion of setpoint; load it with: source <(setpoint completion bash)
_setpoint() {
    local IFS=$'\\n'
    COMPREPLY=($(setpoint __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _setpoint setpoint
""",
    "zsh": """#compdef setpoint
# zsh completion of setpoint; load it with: source <(setpoint completion zsh)
_setpoint() {
    local -a found
    found=("${(@f)$(setpoint __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -- "${found[@]}"; else _files; fi
}
compdef _setpoint setpoint
""",
    "fish": """# fish completion of setpoint; load it with: setpoint completion fish | source
function __setpoint_words
    set -l words (commandline -opc) (commandline -ct)
    setpoint __complete $words[2..-1] 2>/dev/null
end
complete -c setpoint -a '(__setpoint_words)'
""",
}


def register(app: typer.Typer) -> None:
    app.command("completion")(completion)


def completion(shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="Your shell.")]) -> None:
    """Print a script that completes verbs, options, kinds and names."""
    if shell not in SCRIPTS:
        raise wrong_use(f"there is no completion for {shell!r}: give one of {', '.join(SCRIPTS)}")
    sys.stdout.write(SCRIPTS[shell])


def complete(words: list[str]) -> list[str]:
    """What may stand where the last word (perhaps empty) is being typed."""
    from setpoint.cli.app import MODULES, build

    *before, last = words or [""]
    verbs = [verb for name, group in MODULES.items() if name not in ("habits", "later") for verb in group]
    path = [word for word in before if not word.startswith("-")]
    if not path:
        return _starting(last, verbs)
    command: Any = build(path[0])
    taken = 0
    while path[taken:] and (below := getattr(command, "commands", {}).get(path[taken])) is not None:
        command, taken = below, taken + 1
    if not taken:
        return []
    if last.startswith("-"):
        return _starting(last, [option for each in command.params for option in each.opts if option.startswith("-")])
    if hasattr(command, "commands"):
        return _starting(last, [name for name, each in command.commands.items() if not each.hidden])
    return _starting(last, _arguments(path[0], path[taken:]))


def _starting(start: str, words: list[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(start)})


def _arguments(verb: str, given: list[str]) -> list[str]:
    from state.resources.types import TYPES, by_alias

    kinds = [kind.plural for kind in TYPES]
    if verb in ("get", "describe", "delete", "wait", "label", "annotate"):
        if not given:
            return kinds + (["all"] if verb == "get" else [])
        kind = by_alias(given[0])
        return _names(kind) if kind else []
    if verb in (
        "logs",
        "why",
        "exec",
        "attach",
        "start",
        "stop",
        "restart",
        "pause",
        "resume",
        "kill",
        "hold",
        "unhold",
        "retry",
    ):
        return _names(by_alias("container"))
    return list(SCRIPTS) if verb == "completion" else []


def _names(kind: Any) -> list[str]:
    from setpoint.client import Client
    from state.errors import StateError

    client: Client = Client(timeout_s=_PATIENCE_S)
    with contextlib.suppress(StateError):
        return [obj["metadata"]["name"] for obj in client.list(kind, "default" if kind.namespaced else "")["items"]]
    return []
