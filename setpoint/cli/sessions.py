"""exec and attach: a terminal's two ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from setpoint.cli import naming
from setpoint.cli.failures import FAILED, wrong_use
from setpoint.cli.options import Namespace, connect
from setpoint.cli.printing import note, out
from state.errors import StateError
from state.objects import Object

if TYPE_CHECKING:
    from setpoint.client import Client

_SIGNALS_PASSED_ON = "Signals to this command go to the container."


def register(app: typer.Typer) -> None:
    app.command("exec", context_settings={"allow_interspersed_args": False})(exec_)
    app.command("attach")(attach)


def exec_(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="NAME [--] COMMAND [ARG…]", help="Where, and what to run.")
    ] = None,
    stdin: Annotated[bool, typer.Option("-i", "--stdin", "--interactive", help="Pass stdin on.")] = False,
    tty: Annotated[bool, typer.Option("-t", "--tty", help="A terminal for the process.")] = False,
    user: Annotated[str, typer.Option("-u", "--user", help="USER[:GROUP]. Default: the container's.")] = "",
    workdir: Annotated[str, typer.Option("-w", "--workdir", help="Folder. Default: the container's.")] = "",
    env: Annotated[
        list[str] | None, typer.Option("-e", "--env", help="NAME=VALUE, or NAME with the value it has here.")
    ] = None,
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Start it and return; prints its pid.")] = False,
    namespace: Namespace = "",
    host: Annotated[str, typer.Option("--host", hidden=True)] = "",
) -> None:
    """Run a command in a running container; exits with the command's code."""
    from setpoint.client import object_path

    if host:
        os.environ["SETPOINT_HOST"] = host
    target, command = naming.one_container(words or ())
    if not command:
        raise wrong_use("say what to run: setpoint exec NAME -- COMMAND")
    tty = terminal_wanted(stdin, tty)
    client = connect()
    meta = naming.read(client, target, namespace)["metadata"]
    path = object_path(naming.container_type(), meta["namespace"], meta["name"], "exec")
    query: dict[str, Any] = {
        "command": command, "stdin": stdin, "stdout": True, "stderr": not tty, "tty": tty, "user": user, "workingDir": workdir,
        "env": environment(env or ()),
    }  # fmt: skip
    if detach:
        out(str(client.request("POST", path, query={**query, "stdin": False, "detach": True})["pid"]))
        return
    raise SystemExit(known(session(client, path, query, stdin=stdin, tty=tty)))


def attach(
    name: Annotated[list[str], typer.Argument(metavar="NAME", help="A running container.")],
    no_stdin: Annotated[bool, typer.Option("--no-stdin", help="Only watch.")] = False,
    sig_proxy: Annotated[bool, typer.Option("--sig-proxy/--no-sig-proxy", help=_SIGNALS_PASSED_ON)] = True,
    namespace: Namespace = "",
) -> None:
    """Join a running container's streams; Ctrl-P Ctrl-Q leaves it running. Exits with the container's code."""
    target, rest = naming.one_container(name)
    if rest:
        raise wrong_use("attach takes one container")
    client = connect()
    raise SystemExit(known(join(client, naming.read(client, target, namespace), stdin=not no_stdin, sig_proxy=sig_proxy)))


def known(code: int) -> int:
    """The code to leave with; 1 for one that nobody knows."""
    if code < 0:
        note("its exit code is not known")
    return code if code >= 0 else FAILED


def join(
    client: Client,
    obj: Object,
    *,
    stdin: bool,
    sig_proxy: bool = True,
    on_joined: Callable[[], None] | None = None,
) -> int:
    """Attaches to the container until it ends or the person leaves; the exit code, -1 for one that is not known.
    ``on_joined``: the container may not run yet; called when nothing of what it will print can be missed any more."""
    from setpoint.client import object_path

    spec, meta = obj["spec"], obj["metadata"]
    kind, tty = naming.container_type(), bool(spec.get("tty"))
    path = object_path(kind, meta["namespace"], meta["name"], "attach")
    stdin = stdin and bool(spec.get("stdin"))
    query: dict[str, Any] = {"stdin": stdin, "stdout": True, "stderr": not tty, "tty": tty, "wait": on_joined is not None}

    def pass_on(number: int) -> None:
        try:
            client.request("POST", object_path(kind, meta["namespace"], meta["name"], "kill"), body={"signal": number})
        except StateError:
            # Nothing runs that could take it: then it is for us.
            raise KeyboardInterrupt from None

    passing = pass_on if sig_proxy and not tty else None
    return session(client, path, query, stdin=stdin, tty=tty, detach_keys=True, pass_on=passing, on_joined=on_joined)


def session(
    client: Client,
    path: str,
    query: dict[str, Any],
    *,
    stdin: bool,
    tty: bool,
    detach_keys: bool = False,
    pass_on: Callable[[int], None] | None = None,
    on_joined: Callable[[], None] | None = None,
) -> int:
    """The process's exit code; -1 when it is not known."""
    from setpoint.client_streams import Terminal, run_session

    if tty and sys.stdout.isatty():
        size = os.get_terminal_size(sys.stdout.fileno())
        query = {**query, "width": size.columns, "height": size.lines}
    sys.stdout.flush()
    raw = tty and stdin and sys.stdin.isatty()
    terminal = Terminal(stdin=0 if stdin else None, raw=raw, detach_keys=detach_keys and tty)
    end = run_session(client, path, query, terminal, on_signal=pass_on, on_joined=on_joined)
    if end.detached:
        note("detached; it runs on")
        return 0
    if end.message:
        note(end.message)
    return end.code


def terminal_wanted(stdin: bool, tty: bool) -> bool:
    """``-t`` without a terminal at our own stdin is left out: the end of a pipe would hang up the process's terminal."""
    if tty and stdin and not sys.stdin.isatty():
        note("stdin is no terminal: -t is left out")
        return False
    return tty


def environment(pairs: Any) -> list[str]:
    """``NAME=VALUE`` as given; a bare NAME takes its value from here, and is left out when it has none."""
    found = []
    for pair in pairs:
        name, equals, _ = pair.partition("=")
        if not name:
            raise wrong_use(f"-e {pair!r}: write NAME=VALUE")
        if equals:
            found.append(pair)
        elif name in os.environ:
            found.append(f"{name}={os.environ[name]}")
    return found
