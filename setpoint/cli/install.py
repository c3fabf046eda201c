"""install, uninstall, reset: units, group and folders of the running installation, and the way back."""

from __future__ import annotations

import contextlib
import grp
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from setpoint.cli import units
from setpoint.cli.failures import Failed, explain
from setpoint.cli.options import connect
from setpoint.cli.printing import named, note, out
from state.errors import StateError
from state.objects import Object

GROUP = "setpoint"
UNIT_DIR = Path("etc/systemd/system")
LINK = Path("usr/local/bin/setpoint")
LOG_LINKS = Path("var/log/containers")
SYSTEMD = Path("/run/systemd/system")

Root = Annotated[
    Path,
    typer.Option("--root", metavar="DIR", help="Only files, below this folder: for an image of a host.", show_default=False),
]


def register(app: typer.Typer) -> None:
    app.command("install")(install)
    app.command("uninstall")(uninstall)
    app.command("reset")(reset)


@dataclass(frozen=True, slots=True)
class Host:
    """Where files go, and whether a systemd listens. Tells every change in one line."""

    root: Path

    @property
    def live(self) -> bool:
        return self.root == Path("/")

    def path(self, below: Path) -> Path:
        return self.root / str(below).lstrip("/")

    def systemctl(self, *words: str) -> None:
        if self.live:
            self.run("systemctl", *words)

    def run(self, *words: str) -> None:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"{' '.join(words)}: {(done.stderr or done.stdout).strip() or f'exit code {done.returncode}'}")

    def folder(self, below: Path, mode: int) -> None:
        path = self.path(below)
        if path.is_dir() and path.stat().st_mode & 0o7777 == mode:
            out(f"unchanged   {path}")
            return
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        out(f"made        {path} ({mode:04o})")

    def write(self, below: Path, text: str) -> bool:
        """Whether it was changed. Raises Failed for a file that is somebody else's."""
        path = self.path(below)
        old = path.read_text() if path.exists() else None
        if old == text:
            out(f"unchanged   {path}")
            return False
        if old is not None and not old.startswith(units.MARK):
            raise Failed(f"{path}: is not ours, so it is not replaced: move it away first")
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.replace(path)
        out(f"{'wrote' if old is None else 'replaced':<11} {path}")
        return True

    def link(self, below: Path, target: str) -> None:
        """A link, unless there is something else."""
        path = self.path(below)
        if path.is_symlink() and os.readlink(path) == target:
            out(f"unchanged   {path}")
        elif path.is_symlink() or path.exists():
            note(f"{path} is there already and stays as it is")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
            out(f"linked      {path} -> {target}")

    def unlink(self, below: Path) -> None:
        path = self.path(below)
        if path.is_symlink() or path.exists():
            path.unlink()
            out(f"removed     {path}")


def install(
    data_dir: Annotated[Path, typer.Option("--data-dir", help="Store, keys, logs.")] = Path("/var/lib/setpoint"),
    run_dir: Annotated[Path, typer.Option("--run-dir", help="Sockets.")] = Path("/run/setpoint"),
    containerd: Annotated[str, typer.Option("--containerd", metavar="ADDRESS", help="Default: one of our own.")] = "",
    no_start: Annotated[bool, typer.Option("--no-start", help="Enable the units, start nothing.")] = False,
    root: Root = Path("/"),
) -> None:
    """Put units, group and folders of this installation in place, and start it. Again changes only what differs."""
    host = _host(root)
    at = units.Installation(command(), data_dir.absolute(), run_dir.absolute(), containerd.removeprefix("unix://"))
    _make_group(host)
    host.folder(at.data_dir, 0o700)
    if host.live:
        host.folder(at.run_dir, 0o711)
    host.folder(LOG_LINKS, 0o755)
    changed = [host.write(UNIT_DIR / name, text) for name, text in units.files(at).items()]
    if len(at.command) == 1:
        host.link(LINK, at.command[0])
    _enable(host, any(changed), start=not no_start)


def command() -> tuple[str, ...]:
    """The words that start the running installation from anywhere."""
    program = Path(sys.argv[0])
    if program.name == "setpoint" and program.is_file():
        return (str(program.resolve()),)
    return (sys.executable, "-m", "setpoint")


def _host(root: Path) -> Host:
    """Raises Failed for a host where this cannot work."""
    host = Host(root.absolute())
    if host.live and os.geteuid() != 0:
        raise Failed("this needs root: use sudo, or --root DIR to write the files elsewhere")
    if host.live and not (SYSTEMD.is_dir() and shutil.which("systemctl")):
        raise Failed("no systemd runs here: start `setpoint agent` from your init, or give --root DIR for an image of a host")
    return host


def _make_group(host: Host) -> None:
    if not host.live:
        note(f"the group {GROUP} is not made below --root: on the host, groupadd --system {GROUP}")
        return
    try:
        grp.getgrnam(GROUP)
        out(f"unchanged   group {GROUP}")
    except KeyError:
        host.run("groupadd", "--system", GROUP)
        out(f"made        group {GROUP} (its members may use the API: that is as much as root)")


def _enable(host: Host, changed: bool, *, start: bool) -> None:
    names = (units.KEEPER, units.AGENT, units.WORKLOADS)
    if not host.live:
        for name in names:
            host.link(UNIT_DIR / f"{units.WANTED_BY}.wants" / name, f"../{name}")
        return
    if changed:
        host.systemctl("daemon-reload")
    host.systemctl("enable", *(["--now"] if start else []), *names)
    out(f"enabled     {', '.join(names)}")
    if not start:
        note("nothing was started: systemctl start setpoint-workloads setpoint")
        return
    if changed:
        # The keeper stays as it is: the agent hands a new one what runs, when it finds one of another version.
        host.systemctl("try-restart", units.AGENT)
    out("started     setpoint; look with: setpoint doctor, setpoint get all")


def uninstall(
    purge: Annotated[bool, typer.Option("--purge", help="The data too: declarations, Secrets, logs, images.")] = False,
    keep_running: Annotated[
        bool,
        typer.Option(
            "--keep-containers",
            help="Do not stop containers; nothing keeps them any more, and they block once their log is full.",
        ),
    ] = False,
    data_dir: Annotated[Path, typer.Option("--data-dir")] = Path("/var/lib/setpoint"),
    run_dir: Annotated[Path, typer.Option("--run-dir")] = Path("/run/setpoint"),
    root: Root = Path("/"),
) -> None:
    """Take away what install put in place. Containers are stopped; data stays, unless told."""
    if purge and keep_running:
        raise Failed("--purge takes away what containers run on: it does not go with --keep-containers", code=2)
    host = _host(root)
    if host.live:
        quiet = not keep_running and _stop_containers(run_dir)
        _stop_units(host)
        if quiet:
            _end_keeper(data_dir, run_dir)
            _remove_run_dir(run_dir)
    for name in (units.WORKLOADS, units.AGENT, units.KEEPER):
        host.unlink(UNIT_DIR / f"{units.WANTED_BY}.wants" / name)
        _remove_unit(host, name)
    _remove_unit(host, units.SCOPES)
    with contextlib.suppress(OSError):
        host.path(UNIT_DIR / units.SCOPES).parent.rmdir()
    host.systemctl("daemon-reload")
    if host.live:
        # Its stop would be that of all containers, which were dealt with; with its file gone it has none.
        # What is left of the containers' slice is empty, or theirs who go on.
        empty = (("stop", units.SLICE),) if quiet else ()
        for words in (("stop", units.WORKLOADS), *empty, ("reset-failed", units.WORKLOADS, units.AGENT, units.KEEPER)):
            subprocess.run(("systemctl", *words), capture_output=True, check=False)
    link = host.path(LINK)
    if link.is_symlink() and os.readlink(link) == command()[0]:
        host.unlink(LINK)
    _remove_group(host)
    _leave(host, data_dir, run_dir, purge=purge)


def _stop_containers(run_dir: Path) -> bool:
    """Whether none runs any more. Without an agent nobody knows: then nothing that they may need is taken away."""
    from setpoint.client import Client

    client = Client(f"unix://{run_dir}/api.sock", timeout_s=30 * 86400.0)
    try:
        stopped = client.request("POST", "/setpoint/v1/node/stop")["stopped"]
    except StateError as exc:
        note(f"containers that run go on, and so do the log pump and containerd: {explain(exc)[0][0]}")
        return False
    out(f"stopped     {stopped} containers")
    return True


def _remove_run_dir(run_dir: Path) -> None:
    """What a reboot would lose anyway: sockets, pinned namespaces, files of Secrets in memory."""
    if not (run_dir / "keeper").is_dir():
        return  # none of ours
    for point in _mounts_in(run_dir):
        subprocess.run(("umount", "--lazy", point), capture_output=True, check=False)
    if left := _mounts_in(run_dir):
        note(f"{run_dir} stays: {left[0]} cannot be unmounted")
        return
    shutil.rmtree(run_dir)
    out(f"removed     {run_dir}")


def _end_keeper(data_dir: Path, run_dir: Path) -> None:
    """The unit's stop leaves the pump and containerd running on purpose; a keeper that is asked ends them."""
    import asyncio

    from setpoint.drivers.keeper import KeeperClient

    if not (run_dir / "keeper").is_dir():
        return

    async def end() -> None:
        keeper = KeeperClient(data_dir, run_dir)
        await keeper.connect_or_start()
        await keeper.stop(containerd=True)

    try:
        asyncio.run(end())
    except StateError as exc:
        note(f"the log pump and containerd were not ended: {exc.message}")
    else:
        out("stopped     log pump and private containerd")


def _stop_units(host: Host) -> None:
    """Only units that are ours, and without the workloads' own stop: containers were dealt with above."""
    for name in (units.AGENT, units.KEEPER):
        path = host.path(UNIT_DIR / name)
        if path.exists() and path.read_text().startswith(units.MARK):
            host.systemctl("disable", "--now", name)
            out(f"stopped     {name}")


def _remove_unit(host: Host, name: str) -> None:
    path = host.path(UNIT_DIR / name)
    if path.exists() and not path.read_text().startswith(units.MARK):
        note(f"{path} is not ours and stays")
    else:
        host.unlink(UNIT_DIR / name)


def _remove_group(host: Host) -> None:
    if not host.live:
        return
    try:
        members = grp.getgrnam(GROUP).gr_mem
    except KeyError:
        return
    host.run("groupdel", GROUP)
    out(f"removed     group {GROUP}{f' (it had the members {chr(44).join(members)})' if members else ''}")


def _leave(host: Host, data_dir: Path, run_dir: Path, *, purge: bool) -> None:
    for folder in (data_dir, run_dir):
        path = host.path(folder)
        if not path.exists():
            continue
        if not purge:
            out(f"stays       {path}")
            continue
        if not (path / "store.db").exists() and not (path / "keeper").exists() and any(path.iterdir()):
            raise Failed(f"{path}: is not a folder of Setpoint's, so it is not deleted")
        mounts = _mounts_in(path)
        if mounts:
            raise Failed(
                f"{path}: still has {len(mounts)} mounts ({mounts[0]}): stop what uses them, then uninstall --purge again"
            )
        shutil.rmtree(path)
        out(f"removed     {path}")


def _mounts_in(path: Path) -> list[str]:
    """A delete must not follow a mount into what is somebody else's. A disk of its own for the folder itself is fine."""
    from setpoint.drivers.paths import mounts_below

    folder = str(path.resolve())
    return [point for point in mounts_below(folder) if point != folder]


def reset(
    confirm: Annotated[str, typer.Option("--confirm", metavar="NODE", help="The node's name, instead of asking.")] = "",
) -> None:
    """Delete every container, Secret, ConfigMap, namespace and unused image of the node. Never volumes."""
    client = connect()
    doomed = _doomed(client)
    nodes = [obj["metadata"]["name"] for obj in _all(client, "Node")]
    references = [item["reference"] for item in client.request("GET", "/setpoint/v1/images")["items"]]
    note(f"on the agent at {client.host} this deletes, for ever:")
    note(f"  {', '.join(map(named, doomed)) or 'no objects'}")
    note(f"  and {len(references)} images; folders of the host that were mounted stay as they are")
    node = nodes[0] if nodes else os.uname().nodename
    if not confirm:
        if not sys.stdin.isatty():
            raise Failed(f"say that it is meant: --confirm {node}", code=2)
        sys.stderr.write(f"The node's name, if that is meant ({node}): ")
        sys.stderr.flush()
        confirm = sys.stdin.readline().strip()
    if confirm != node:
        raise Failed(f"{confirm!r} is not this node's name, {node!r}: nothing was deleted")
    _delete(client, doomed)
    for reference in references:
        client.request("DELETE", "/setpoint/v1/images", query={"reference": reference})
        out(f"{reference} removed")


def _all(client: Any, kind: str) -> list[Object]:
    from state.resources.types import by_kind

    found = by_kind(kind)
    assert found is not None
    return [{"kind": kind, **obj} for obj in client.list(found)["items"]]


def _doomed(client: Any) -> list[Object]:
    objects = [obj for kind in ("Container", "Image", "Secret", "ConfigMap") for obj in _all(client, kind)]
    return objects + [obj for obj in _all(client, "Namespace") if obj["metadata"]["name"] != "default"]


def _delete(client: Any, objects: list[Object]) -> None:
    from setpoint.cli.following import Deadline
    from setpoint.cli.waiting import gone
    from state.errors import NotFound
    from state.resources.types import by_kind

    containers = [obj for obj in objects if obj["kind"] == "Container"]
    for group in (containers, [obj for obj in objects if obj["kind"] != "Container"]):
        for obj in group:
            kind, meta = by_kind(obj["kind"]), obj["metadata"]
            assert kind is not None
            try:
                client.delete(kind, meta.get("namespace", ""), meta["name"], preconditions={"uid": meta["uid"]})
            except NotFound:
                continue
        for obj in group:
            gone(client, obj, Deadline())
            out(f"{named(obj)} deleted")
