"""Runs the chosen rows and prints them. A row that misses its goal says MISS; only an error of the bench itself fails it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench import resting, rows, table
from bench.ours import Setpoint
from bench.peers import Ctr, Dockerd

HOOKS = str(Path(__file__).parent / "hooks")


def main() -> int:
    asked = _arguments()
    if os.geteuid() != 0:
        print("bench needs root", file=sys.stderr)
        return 1
    # A terminated bench cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if asked.profile:
        os.environ["SETPOINT_BENCH_PROFILE"] = str(asked.profile.absolute())
    done: list[table.Row] = []
    with ExitStack() as stack:
        dockerd, ctr = stack.enter_context(Dockerd()), stack.enter_context(Ctr())
        ours = stack.enter_context(Setpoint(hooks=HOOKS if asked.profile else ""))
        ways: dict[str, Callable[[], list[table.Row]]] = {
            "start": lambda: rows.one_start(ours, dockerd, ctr, asked.n),
            "hundred": lambda: rows.hundred(ours, dockerd, asked.many or asked.n),
            "healed": lambda: rows.healed(ours, dockerd, asked.n),
            "restarted": lambda: rows.restarted(ours, dockerd, asked.many or asked.n),
            "memory": lambda: resting.memory(ours, dockerd, asked.idle),
            "quiet": lambda: resting.quiet(ctr, asked.idle),
        }
        print(table.header(), flush=True)
        for name in asked.rows:
            began = time.monotonic()
            for row in ways[name]():
                done.append(row)
                print(table.line(row), flush=True)
            print(f"  ({name}: {time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
    if asked.json:
        table.write(asked.json, done)
        print(f"written to {asked.json}")
    return 0


def _arguments() -> argparse.Namespace:
    names = ["start", "hundred", "healed", "restarted", "memory", "quiet"]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", default=names, type=lambda text: text.split(","), metavar=",".join(names))
    parser.add_argument("--n", type=int, default=30, help="pairs of each row (default 30)")
    parser.add_argument("--many", type=int, default=0, help="pairs of the rows with 100 containers (default: --n)")
    parser.add_argument("--idle", type=float, default=65.0, help="seconds that nothing is done for (default 65)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, as bench/results/NAME.json")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="run our agent under cProfile; distorts the figures")
    asked = parser.parse_args()
    unknown = [name for name in asked.rows if name not in names]
    if unknown:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(names)}")
    return asked


if __name__ == "__main__":
    raise SystemExit(main())
