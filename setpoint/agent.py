"""The agent's life: lock, stores, API, keeper, containerd, then the loop, until it is told to end.

The API serves as soon as the store is open: a declaration is taken while containerd is away, and acted upon when it is back.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import signal
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from controllers.registry import WATCHED
from setpoint.assembly import Assembly, assemble
from setpoint.drivers.doctor import Check, checks
from setpoint.notifying import notify
from setpoint.settings import Settings
from state.errors import Cause, Conflict, Denied, StateError, Unavailable

RETRY_S = 1.0
MAY_ARRIVE = frozenset({"OCI runtime", "containerd", "containerd shim"})
log = structlog.get_logger("setpoint")


class AlreadyRunning(Unavailable):
    """Another agent holds this data dir."""


async def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises AlreadyRunning, Denied (unfit host), Corrupt, NewerSchema, Conflict
    (a containerd namespace of another engine)."""
    _make_folders(settings)
    refuse_unfit(checks(settings.data_dir, settings.run_dir, private_containerd=not settings.containerd))
    with _lock(settings.data_dir / "agent.lock"):
        parts = await assemble(settings)
        try:
            await _live(parts)
        finally:
            await _close(parts)


async def _live(parts: Assembly) -> None:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    await parts.api.start()
    notify("READY=1")
    log.info("serving", socket=str(parts.settings.run_dir / "api.sock"))
    works: list[Coroutine[Any, Any, None]] = [
        _follow_containerd(parts),
        parts.recorder.run(),
        *(parts.loop.informer.follow(kind) for kind in WATCHED),
    ]
    tasks = [asyncio.create_task(work) for work in works]
    tasks.append(asyncio.create_task(_loop(parts)))
    waiter = asyncio.create_task(ending.wait())
    try:
        done, _ = await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiter}:
            task.result()
        await _end(parts)
    finally:
        for task in (waiter, *tasks):
            task.cancel()
        await asyncio.gather(waiter, *tasks, return_exceptions=True)


async def _follow_containerd(parts: Assembly) -> None:
    """Keeper and pump first, containerd next, then its events for ever. What is away is waited for."""
    while True:
        try:
            await parts.keeper.connect_or_start()
            if not parts.settings.containerd:
                await parts.keeper.ensure_containerd()
            await parts.containerd.claim()
            break
        except Conflict:
            raise
        except StateError as error:
            log.warning("the node is not ready", error=error.message)
            await parts.clock.sleep(RETRY_S)
    await asyncio.gather(parts.loop.view.run(), _guard_keeper(parts))


async def _guard_keeper(parts: Assembly) -> None:
    """The keeper puts its children back; we put the keeper back. It is looked at once a resync, and more often while
    containerd does not answer."""
    while True:
        await parts.clock.sleep(parts.settings.resync_s if parts.loop.view.fresh else RETRY_S)
        try:
            await parts.keeper.connect_or_start()
            await parts.loop.view.resync()
            await parts.containerd.sweep_shims({i.id for i in parts.loop.view.all() if i.task is not None})
        except (StateError, OSError) as error:  # also when no descriptor is left: that passes, and ends nothing
            log.warning("resync failed", error=str(error))


async def _loop(parts: Assembly) -> None:
    """The engine starts once the node was seen, so that the first pass of each object adopts what runs."""
    while not parts.loop.view.fresh:
        await parts.clock.sleep(0.01)
    started = asyncio.create_task(_settle(parts))
    try:
        await parts.loop.engine.run()
    finally:
        started.cancel()


async def _settle(parts: Assembly) -> None:
    await parts.loop.engine.until_booted()
    gc.collect()
    gc.freeze()  # what lives as long as we do need not be looked at again


async def _end(parts: Assembly) -> None:
    notify("STOPPING=1")
    running = parts.acts.running()
    if parts.settings.on_exit == "stop":
        stopped = await parts.acts.halt()
        log.info("stopped all containers and ended", stopped=stopped)
    else:
        log.info("ended; containers go on running" if running else "ended; nothing was running", running=running)
    await parts.loop.engine.stop()
    await parts.recorder.flush()


async def _close(parts: Assembly) -> None:
    await parts.api.stop()
    await parts.channel.close()
    await parts.ledger.close()
    await parts.store.close()


def refuse_unfit(found: Sequence[Check]) -> None:
    """A host that can never do it is refused at once, with everything that it lacks. Programs may arrive later: those are
    waited for, under a condition."""
    lacks = [c for c in found if not c["ok"] and c["severity"] == "error" and c["name"] not in MAY_ARRIVE]
    if lacks:
        causes = [Cause(c["name"], f"found {c['found']}; needs {c['need']}") for c in lacks]
        raise Denied(f"this host cannot run setpoint: {causes[0]}", causes=causes)


def _make_folders(settings: Settings) -> None:
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.run_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    os.chmod(settings.data_dir, 0o700)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One agent per data dir. The lock goes with the process, however it ends."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise AlreadyRunning(f"another agent uses {path.parent}") from error
    try:
        yield
    finally:
        os.close(fd)
