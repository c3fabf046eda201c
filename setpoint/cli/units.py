"""The three systemd units, as text. Pure.

``setpoint.service`` and ``setpoint-keeper.service`` end only their own main process: shims, containerd, the pump and so every
container stay. ``setpoint-workloads.service`` does nothing but be stopped: last started, it is stopped first when the host
goes down, and stops the containers while the agent, the keeper, the network and remote file systems are still there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MARK = "# Written by `setpoint install`; `setpoint uninstall` takes it away. Changes belong into a drop-in (systemctl edit)."
AGENT, KEEPER, WORKLOADS = "setpoint.service", "setpoint-keeper.service", "setpoint-workloads.service"
WANTED_BY = "multi-user.target"
SLICE = "setpoint.slice"
SCOPES = "setpoint-.scope.d/setpoint.conf"
"""A drop-in for the scope of every container (systemd.unit(5): ``foo-.scope.d`` is for all of that prefix)."""


@dataclass(frozen=True, slots=True)
class Installation:
    """``command``: the words that start this program. ``containerd``: an external socket, empty for a private one."""

    command: tuple[str, ...]
    data_dir: Path = Path("/var/lib/setpoint")
    run_dir: Path = Path("/run/setpoint")
    containerd: str = ""

    def line(self, *words: str) -> str:
        return " ".join(quoted(word) for word in (*self.command, *words))

    @property
    def folders(self) -> tuple[str, ...]:
        return ("--data-dir", str(self.data_dir), "--run-dir", str(self.run_dir))


def quoted(word: str) -> str:
    """One word of an Exec line (systemd.service(5), COMMAND LINES)."""
    word = word.replace("%", "%%").replace("$", "$$")
    if word and not any(sign in word for sign in " \t\"'\\;"):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def units(at: Installation) -> dict[str, str]:
    """File name -> content."""
    return {KEEPER: _keeper(at), AGENT: _agent(at), WORKLOADS: _workloads(at)}


def files(at: Installation) -> dict[str, str]:
    """The units and what goes with them: path below the folder of units -> content."""
    return {**units(at), SCOPES: _scopes()}


def _scopes() -> str:
    return f"""{MARK}
[Unit]
# Stopping goes in the opposite order: systemd ends no container by itself before this has stopped them all. Else it would
# end them at once with their slice, which the agent could only take for crashes.
Before={WORKLOADS}
"""


def _keeper(at: Installation) -> str:
    words = ["keeper", *at.folders, "--log-links", "/var/log/containers", *(["--no-containerd"] if at.containerd else [])]
    return f"""{MARK}
[Unit]
Description=Setpoint keeper (log pump and private containerd)
After=local-fs.target

[Service]
Type=notify
ExecStart={at.line(*words)}
Restart=always
RestartSec=1
# Containers, their shims and the pump outlive this process.
KillMode=process
Delegate=yes
OOMScoreAdjust=-999
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity

[Install]
WantedBy={WANTED_BY}
"""


def _agent(at: Installation) -> str:
    words = ["agent", *at.folders, *(["--containerd", at.containerd] if at.containerd else [])]
    return f"""{MARK}
[Unit]
Description=Setpoint agent (keeps this node's containers as declared)
After={KEEPER} local-fs.target network.target time-sync.target
Wants={KEEPER}
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={at.line(*words)}
Restart=always
RestartSec=1
# Stopping or restarting the agent touches no container.
KillMode=process
OOMScoreAdjust=-900
LimitNOFILE=1048576
LimitNPROC=infinity
TasksMax=infinity
TimeoutStopSec=60

[Install]
WantedBy={WANTED_BY}
"""


def _workloads(at: Installation) -> str:
    stop = at.line("--host", f"unix://{at.run_dir}/api.sock", "node", "stop")
    return f"""{MARK}
[Unit]
Description=Setpoint workloads (stopped gracefully before the node goes down)
# Stopping goes in the opposite order: this first, while all of these still work.
After={AGENT} {KEEPER} network-online.target remote-fs.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop={stop}
# Every container has its own grace period, and some may be allowed to take for ever; the shutdown itself is bounded by
# systemd (JobTimeoutSec of poweroff.target and reboot.target, 30 minutes).
TimeoutStopSec=infinity

[Install]
WantedBy={WANTED_BY}
"""
