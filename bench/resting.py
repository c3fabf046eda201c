"""Nothing changes: what memory, processor, store and containerd show of it. Every witness is outside the agent."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from bench.ours import Setpoint
from bench.peers import Ctr, Dockerd
from bench.processes import cpu_s, private_mb, pss_mb
from bench.relay import Relay
from bench.rows import MANY
from bench.table import Row

OWN = ("agent", "keeper", "pump")
SETTLE_S = 5.0
RESYNC_S = 30.0


def memory(ours: Setpoint, dockerd: Dockerd, idle_s: float) -> list[Row]:
    """PSS with 100 containers, and the processor time of doing nothing for ``idle_s``."""
    names = [f"rest-{i}" for i in range(MANY)]
    ours.start_all(names)
    dockerd.start_all(names)
    time.sleep(SETTLE_S)
    pids = ours.processes()
    own = [pids[name] for name in OWN]
    engine, beside, shims = [dockerd.pid], [dockerd.containerd()], dockerd.shims()
    before = {name: cpu_s(pids[name]) for name in OWN}, cpu_s(dockerd.pid) + cpu_s(beside[0])
    began = time.monotonic()
    time.sleep(idle_s)
    passed = time.monotonic() - began
    each = {name: (cpu_s(pids[name]) - before[0][name]) / passed * 100 for name in OWN}
    theirs = (cpu_s(dockerd.pid) + cpu_s(beside[0]) - before[1]) / passed * 100
    parts = ", ".join(f"{name} {pss_mb([pids[name]]):.0f}" for name in OWN)
    beside_note = f"shims {pss_mb(ours.shims()):.0f}"
    their_note = f"its containerd {pss_mb(beside):.0f}, shims {pss_mb(shims):.0f}"
    idle_note = ", ".join(f"{name} {value:.2f}" for name, value in each.items()) + f"; dockerd and containerd {theirs:.2f}"
    own_note = f"{parts}; private {private_mb(own):.0f}"
    beside_note = f"shims {pss_mb(ours.shims()):.0f}"
    their_note = f"its containerd {pss_mb(beside):.0f}, shims {pss_mb(shims):.0f}"
    idle_note = ", ".join(f"{name} {value:.2f}" for name, value in each.items()) + f"; dockerd and containerd {theirs:.2f}"
    own_note = f"{parts}; private {private_mb(own):.0f}"
    rows = [
        Row("pss", "PSS of agent, keeper and pump, 100 containers", "MB", 150, [pss_mb(own)], own_note),
        Row("pss containerd", "  beside them: containerd", "MB", None, [pss_mb([pids["containerd"]])], beside_note),
        Row("pss dockerd", "  dockerd", "MB", None, [pss_mb(engine)], their_note),
        Row("idle", f"idle for {idle_s:g} s, of a core", "%", 0.5, [sum(each.values())], idle_note),
    ]
    ours.remove_all(names)
    dockerd.remove_all(names)
    return rows


def quiet(ctr: Ctr, idle_s: float) -> list[Row]:
    """100 containers, no change: writes to the stores and calls to containerd, counted by the files and by a relay."""
    with Relay(ctr.socket) as relay, Setpoint(containerd=relay.path) as ours:
        ours.start_all([f"still-{i}" for i in range(MANY)])
        time.sleep(SETTLE_S + RESYNC_S)  # past the resync that follows the starts
        files = [ours.server.data_dir / f"{name}.db" for name in ("store", "ledger")]
        connections = [sqlite3.connect(f"file:{path}?mode=ro", uri=True) for path in files]
        before = [_prints(*pair) for pair in zip(files, connections, strict=True)]
        relay.take()
        time.sleep(idle_s)
        calls = relay.take()
        after = [_prints(*pair) for pair in zip(files, connections, strict=True)]
        for connection in connections:
            connection.close()
        ours.remove_all([f"still-{i}" for i in range(MANY)])
    writes = float(sum(a != b for a, b in zip(before, after, strict=True)))
    resyncs = -(-idle_s // RESYNC_S)
    note = ", ".join(f"{path.rpartition('.')[2]} {count}" for path, count in sorted(calls.items()))
    return [
        Row("quiet writes", f"store and ledger written in {idle_s:g} s", "files", 0, [writes]),
        Row("quiet calls", "  calls to containerd for each resync", "calls", None, [sum(calls.values()) / resyncs], note),
    ]


def _prints(path: Path, connection: sqlite3.Connection) -> tuple[object, ...]:
    """SQLite's own count of commits by others, and what the files show."""
    version = connection.execute("PRAGMA data_version").fetchone()[0]
    wal = Path(f"{path}-wal")
    stats = [os.stat(each) for each in (path, wal) if each.exists()]
    return (version, *((s.st_size, s.st_mtime_ns) for s in stats))
