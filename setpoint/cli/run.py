"""run: Docker's command for one container now, as an object like any other."""

from __future__ import annotations

import contextlib
import inspect
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from setpoint.cli import naming
from setpoint.cli.act import HOLD
from setpoint.cli.dockerflags import Flags, container, name_for, read_env_file
from setpoint.cli.failures import Failed, wrong_use
from setpoint.cli.following import Deadline, one
from setpoint.cli.options import Namespace, connect
from setpoint.cli.printing import json_text, named, note, out, yaml_text
from setpoint.cli.sessions import environment, join, known, terminal_wanted
from state.clock import rfc3339
from state.errors import StateError
from state.objects import Object
from state.resources.types import ResourceType

if TYPE_CHECKING:
    from setpoint.client import Client

MANAGER = "setpoint-run"
_LETTERS = "bcdfghjkmnpqrstvwxz2456789"
_JOINED_WITHIN_S, _RECORDED_WITHIN_S = 15, 5
_NEVER_RAN = (126, 127, 128)
_LATER = (
    "-p", "--publish", "-P", "--publish-all", "--expose", "--link", "--volumes-from", "--device", "--gpus", "--mac-address",
    "--ip", "--ip6", "--network-alias", "--health-cmd", "--no-healthcheck", "--userns", "--uts", "--volume-driver",
    "--device-cgroup-rule", "--blkio-weight", "--storage-opt", "--cidfile", "--platform", "--cgroupns",
)  # fmt: skip
"""Docker's flags that wait for what is built later: refused by name, not as unknown."""

Many = list[str] | None


def register(app: typer.Typer) -> None:
    app.command("run", context_settings={"allow_interspersed_args": False})(_refusing(run))


def _later(_context: Any, parameter: Any, value: Any) -> None:
    if value:
        raise Failed(f"{parameter.opts[0]} is not supported yet")


def _refusing(verb: Callable[..., None]) -> Callable[..., None]:
    """``verb`` with Docker's later flags as hidden options of their own, each refused by its name."""
    signature = inspect.signature(verb, eval_str=True)
    added = [
        inspect.Parameter(
            f"later_{number}",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[Many, typer.Option(flag, hidden=True, callback=_later)],
        )
        for number, flag in enumerate(_LATER)
    ]

    def wrapped(**given: Any) -> None:
        verb(**{name: value for name, value in given.items() if not name.startswith("later_")})

    whole = signature.replace(parameters=[*signature.parameters.values(), *added])
    wrapped.__doc__ = verb.__doc__
    wrapped.__signature__ = whole  # type: ignore[attr-defined]
    wrapped.__annotations__ = {name: each.annotation for name, each in whole.parameters.items()}
    return wrapped


def run(
    words: Annotated[list[str] | None, typer.Argument(metavar="IMAGE [--] [COMMAND] [ARG…]", help="What to run.")] = None,
    name: Annotated[str, typer.Option("--name", help="Default: made from the image's name.")] = "",
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Print the name and return.")] = False,
    rm: Annotated[bool, typer.Option("--rm", help="Delete it when it has ended.")] = False,
    interactive: Annotated[bool, typer.Option("-i", "--interactive", help="Keep stdin open and pass it on.")] = False,
    tty: Annotated[bool, typer.Option("-t", "--tty", help="A terminal for the process.")] = False,
    env: Annotated[Many, typer.Option("-e", "--env", help="NAME=VALUE, or NAME with the value it has here.")] = None,
    env_file: Annotated[Many, typer.Option("--env-file", help="File with NAME=VALUE lines.")] = None,
    volume: Annotated[Many, typer.Option("-v", "--volume", help="HOST:CONTAINER[:ro]; CONTAINER alone is an emptyDir.")] = None,
    mount: Annotated[Many, typer.Option("--mount", help="type=bind|tmpfs,source=…,target=…[,readonly].")] = None,
    tmpfs: Annotated[Many, typer.Option("--tmpfs", help="PATH[:size=64m].")] = None,
    workdir: Annotated[str, typer.Option("-w", "--workdir", help="Folder to start in.")] = "",
    user: Annotated[str, typer.Option("-u", "--user", help="USER[:GROUP], by number or name.")] = "",
    group_add: Annotated[Many, typer.Option("--group-add", help="One more group, by number.")] = None,
    entrypoint: Annotated[str, typer.Option("--entrypoint", help="Program instead of the image's.")] = "",
    restart: Annotated[str, typer.Option("--restart", help="no, on-failure[:N], always or unless-stopped. Default: no.")] = "",
    network: Annotated[str, typer.Option("--network", "--net", help="host, or nothing.")] = "",
    pid: Annotated[str, typer.Option("--pid", help="host: sees the node's processes.")] = "",
    ipc: Annotated[str, typer.Option("--ipc", help="host: uses the node's.")] = "",
    hostname: Annotated[str, typer.Option("-h", "--hostname", help="Default: the name.")] = "",
    dns: Annotated[Many, typer.Option("--dns", help="Address of a name server.")] = None,
    add_host: Annotated[Many, typer.Option("--add-host", help="NAME:ADDRESS in /etc/hosts.")] = None,
    memory: Annotated[str, typer.Option("-m", "--memory", help="Such as 512m or 512Mi.")] = "",
    memory_swap: Annotated[str, typer.Option("--memory-swap", help="Memory and swap together; -1 is any.")] = "",
    memory_reservation: Annotated[str, typer.Option("--memory-reservation", help="Kept for it.")] = "",
    cpus: Annotated[str, typer.Option("--cpus", help="Such as 1.5.")] = "",
    cpu_shares: Annotated[int, typer.Option("-c", "--cpu-shares", help="Weight; 1024 is one cpu.")] = 0,
    cpuset: Annotated[str, typer.Option("--cpuset-cpus", help="Such as 0-3,6.")] = "",
    pids_limit: Annotated[int, typer.Option("--pids-limit", help="Processes and threads.")] = 0,
    oom_score_adj: Annotated[int | None, typer.Option("--oom-score-adj", help="-1000 to 1000.")] = None,
    shm_size: Annotated[str, typer.Option("--shm-size", help="Size of /dev/shm.")] = "",
    read_only: Annotated[bool, typer.Option("--read-only", help="Root file system read-only.")] = False,
    cap_add: Annotated[Many, typer.Option("--cap-add", help="Such as NET_ADMIN.")] = None,
    cap_drop: Annotated[Many, typer.Option("--cap-drop", help="Such as ALL.")] = None,
    privileged: Annotated[bool, typer.Option("--privileged", help="All capabilities, no filter, all devices.")] = False,
    security_opt: Annotated[Many, typer.Option("--security-opt", help="no-new-privileges, seccomp=unconfined.")] = None,
    init: Annotated[bool, typer.Option("--init", help="A small init as process 1.")] = False,
    label: Annotated[Many, typer.Option("-l", "--label", help="KEY=VALUE.")] = None,
    annotation: Annotated[Many, typer.Option("--annotation", help="KEY=VALUE.")] = None,
    ulimit: Annotated[Many, typer.Option("--ulimit", help="Such as nofile=1024:2048.")] = None,
    sysctl: Annotated[Many, typer.Option("--sysctl", help="NAME=VALUE.")] = None,
    log_opt: Annotated[Many, typer.Option("--log-opt", help="max-size=10m, max-file=5.")] = None,
    stop_signal: Annotated[str, typer.Option("--stop-signal", help="Default: the image's, else SIGTERM.")] = "",
    stop_timeout: Annotated[int | None, typer.Option("--stop-timeout", help="Seconds until SIGKILL. Default: 10.")] = None,
    pull: Annotated[str, typer.Option("--pull", help="always, missing or never.")] = "",
    runtime: Annotated[str, typer.Option("--runtime", help="OCI runtime. Default: runc.")] = "",
    namespace: Namespace = "",
    sig_proxy: Annotated[bool, typer.Option("--sig-proxy/--no-sig-proxy", help="Signals go to the container.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the object, make nothing.")] = False,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FORMAT", help="yaml or json, with --dry-run.")] = "",
    host: Annotated[str, typer.Option("--host", hidden=True)] = "",
) -> None:
    """Run a container as Docker would: in the foreground with its exit code, or with -d in the background."""
    given = {k: v for k, v in locals().items() if v is not None and k in Flags.__dataclass_fields__}
    image, command = _image_and_command(words or [])
    lines = [line for path in env_file or () for line in read_env_file(path)]
    name = name or name_for(image, "".join(secrets.choice(_LETTERS) for _ in range(5)))
    if not (detach or dry_run):
        given["tty"] = terminal_wanted(interactive, tty)
    obj = container(
        Flags(**{**given, "name": name, "image": image, "command": command, "env": [*lines, *environment(env or ())]})
    )
    if dry_run or output:
        if not dry_run:
            raise wrong_use("-o goes with --dry-run")
        sys.stdout.write(json_text(obj) if output == "json" else yaml_text(obj))
        return
    if host:
        os.environ["SETPOINT_HOST"] = host
    client = connect()
    if detach:
        client.create(naming.container_type(), obj, manager=MANAGER)
        out(name)
        return
    meta = {**obj["metadata"], "annotations": {**obj["metadata"].get("annotations", {}), HOLD: _soon()}}
    made = client.create(naming.container_type(), {**obj, "metadata": meta}, manager=MANAGER)
    raise SystemExit(_Run(client, made).foreground(interactive=interactive, sig_proxy=sig_proxy))


def _soon() -> str:
    """Until when a container is held for us to join it: should we die before, it starts all the same."""
    return rfc3339(datetime.now(UTC) + timedelta(seconds=_JOINED_WITHIN_S))


def _image_and_command(words: list[str]) -> tuple[str, list[str]]:
    if not words:
        raise wrong_use("say which image: setpoint run IMAGE [COMMAND]")
    image, *command = words
    return image, command[1:] if command[:1] == ["--"] else command


@dataclass(slots=True)
class _Run:
    """One container in the foreground. ``made``: the object as it was when it was made, held."""

    client: Client
    made: Object
    gone: bool = False

    @property
    def at(self) -> tuple[ResourceType, str, str]:
        meta = self.made["metadata"]
        return naming.container_type(), meta["namespace"], meta["name"]

    def foreground(self, *, interactive: bool, sig_proxy: bool) -> int:
        """The process's exit code. Nothing that it prints is missed: it is let go when we have joined it."""
        threading.Thread(target=self._tell_waits, daemon=True).start()
        try:
            code = join(self.client, self.made, stdin=interactive, sig_proxy=sig_proxy, on_joined=self.release)
        except KeyboardInterrupt:
            if self.gone:
                raise Failed(f"{named(self.made)} was deleted before it ran") from None
            self._leave()
            raise
        if code < 0 or code in _NEVER_RAN:
            last = self._last_exit()
            if last.get("reason") == "StartError" and last.get("message"):
                note(f"{self.made['metadata']['name']}: {last['message']}")
            code = code if code >= 0 else int(last.get("exitCode", -1))
        return known(code)

    def release(self) -> None:
        """Lets the loop start it."""
        patch = {"metadata": {"uid": self.made["metadata"]["uid"], "annotations": {HOLD: None}}}
        self.client.patch(*self.at, patch, manager=MANAGER)

    def _leave(self) -> None:
        """Interrupted before it ran. One that was to be removed at its end never begins."""
        with contextlib.suppress(StateError):
            if self.made["spec"].get("autoRemove"):
                self.client.delete(*self.at, preconditions={"uid": self.made["metadata"]["uid"]})
            else:
                self.release()
                note(f"{named(self.made)} stays declared: setpoint delete {self.made['metadata']['name']} takes it away")

    def _tell_waits(self) -> None:
        """Says what a start waits for, until it runs. Ends us when the object goes before that."""
        told = ""
        with contextlib.suppress(StateError):
            for sight in one(self.client, *self.at, Deadline()):
                status = (sight.obj or {}).get("status") or {}
                if status.get("phase") in ("Running", "Exited", "Removing") or status.get("lastExit"):
                    return
                if sight.gone:
                    self.gone = True
                    os.kill(os.getpid(), signal.SIGINT)
                    return
                for condition in status.get("conditions") or ():
                    text = f"{self.made['metadata']['name']}: {condition.get('reason')}: {condition.get('message')}"
                    if condition.get("type") in ("Waiting", "ReconcileFailed") and text != told:
                        note(text)
                        told = text

    def _last_exit(self) -> Object:
        """The record of the exit, out of what changed since the object was made: it may be deleted by now."""
        since = self.made["metadata"]["resourceVersion"]
        kind, namespace, name = self.at
        for change in self.client.watch(
            kind, namespace, fields=f"metadata.name={name}", since=since, timeout_s=_RECORDED_WITHIN_S
        ):
            last: Object | None = (change.object.get("status") or {}).get("lastExit")
            if last is not None:
                return last
            if change.type == "DELETED":
                break
        return {}
