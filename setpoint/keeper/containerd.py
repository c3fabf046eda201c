"""The private containerd: where it lives and how it is told to. Tested with 1.6 (config version 2) and 2.x (version 3)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from setpoint.keeper.children import Program, protect_from_oom
from setpoint.keeper.wire import Refused

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How an HTTP/2 client begins (RFC 9113, 3.4: preface and an empty SETTINGS frame); a gRPC server answers with its own."""

_UNNEEDED_1 = (
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
)
_UNNEEDED_2 = (
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.podsandbox.controller.v1.podsandbox",
    "io.containerd.nri.v1.nri",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.zfs",
)


class Layout(NamedTuple):
    """Paths of one private containerd."""

    root: str
    state: str
    socket: str
    config: str

    @classmethod
    def of(cls, data_dir: str, run_dir: str) -> Layout:
        run = os.path.join(run_dir, "containerd")
        return cls(
            root=os.path.join(data_dir, "containerd"),
            state=os.path.join(run, "state"),
            socket=os.path.join(run, "containerd.sock"),
            config=os.path.join(run, "config.toml"),
        )


def render(layout: Layout, major: int, *, oom_score: int) -> str:
    """The configuration file. Strings of TOML are written as JSON strings, which TOML reads alike."""
    quote = json.dumps
    unneeded = _UNNEEDED_1 if major < 2 else _UNNEEDED_2
    return "\n".join(
        [
            f"version = {2 if major < 2 else 3}",
            f"root = {quote(layout.root)}",
            f"state = {quote(layout.state)}",
            f"oom_score = {oom_score}",
            f"disabled_plugins = [{', '.join(quote(name) for name in unneeded)}]",
            "",
            "[grpc]",
            f"  address = {quote(layout.socket)}",
            "  uid = 0",
            "  gid = 0",
            "",
            "[ttrpc]",
            f"  address = {quote(layout.socket + '.ttrpc')}",
            "",
            "[debug]",
            '  level = "warn"',
            "",
            "[metrics]",
            '  address = ""',
            "",
        ]
    )


def read_version(text: str) -> str:
    """``1.6.20`` out of ``containerd github.com/containerd/containerd 1.6.20~ds1 ...``."""
    match = re.search(r"\bv?(\d+\.\d+\.\d+)", text)
    if match is None:
        raise Refused("Unavailable", f"cannot read containerd's version out of {text!r}")
    return match[1]


def ask_version(binary: str) -> str:
    """Runs ``<binary> --version``: a few ten milliseconds, once."""
    reader, writer = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_CLOSE, reader)]
    try:
        pid = os.posix_spawn(binary, [binary, "--version"], dict(os.environ), file_actions=actions)
    except OSError as failure:
        os.close(reader)
        raise Refused("Unavailable", f"cannot run {binary}: {failure}") from failure
    finally:
        os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as output:
        text = output.read()
    os.waitpid(pid, 0)
    return read_version(text)


def find_program(name: str, search: str) -> str | None:
    """As a shell would: a name with a slash is a path, any other is looked for in ``search``."""
    candidates = [name] if "/" in name else [os.path.join(folder, name) for folder in search.split(os.pathsep) if folder]
    return next((path for path in candidates if os.path.isfile(path) and os.access(path, os.X_OK)), None)


def prepare(binary: str, data_dir: str, run_dir: str, env: Mapping[str, str]) -> Program:
    """Folders and configuration in place, and the program to run. Raises Refused (Unavailable) when there is no such binary."""
    found = find_program(binary, env.get("PATH", os.defpath))
    if found is None:
        raise Refused(
            "Unavailable", f"containerd: no program {binary!r} found; install containerd or name it with --containerd"
        )
    version = ask_version(found)
    layout = Layout.of(data_dir, run_dir)
    for folder, mode in ((layout.root, 0o711), (os.path.dirname(layout.state), 0o711), (layout.state, 0o711)):
        os.makedirs(folder, mode=mode, exist_ok=True)
    # Only who may lower the score of others may ask containerd to lower its own: it would refuse to start.
    oom_score = -999 if protect_from_oom() else 0
    fresh = layout.config + ".new"
    with open(fresh, "w", encoding="utf-8") as file:
        file.write(render(layout, int(version.split(".")[0]), oom_score=oom_score))
    os.rename(fresh, layout.config)
    # The shim and runc that came with this containerd are found before others.
    path = os.path.dirname(os.path.realpath(found)) + os.pathsep + env.get("PATH", os.defpath)
    return Program("containerd", (found, "--config", layout.config), layout.socket, version, GREETING, {"PATH": path})
