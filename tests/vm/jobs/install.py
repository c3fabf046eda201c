"""Boot 1: install, declare, look at the control groups, restart each service, and reboot."""

from __future__ import annotations

import re
from pathlib import Path

import guest

MARKS = Path("/srv/marks")


def job() -> None:
    MARKS.mkdir(parents=True)
    agent = guest.Agent()
    guest.say("installed", text=guest.run("setpoint", "install"), **guest.installation())
    agent.until_ready()
    units = {unit: guest.unit_state(unit) for unit in guest.UNITS}
    guest.say("ready", units=units, folders=guest.installation()["folders"])
    guest.say("loaded", text=guest.run("setpoint", "image", "load", "/mnt/in/busybox.tar"))
    guest.say("applied", text=guest.run("setpoint", "apply", "-f", "/mnt/in/containers.json"))
    runs = {name: agent.until_phase(name, "Running") for name in ("stays", "deaf")}
    once, rests = agent.until_phase("once", "Exited"), agent.until_phase("rests", "Created")
    guest.say("run", stays=runs["stays"], deaf=runs["deaf"], once=once, rests=rests)
    guest.say("group", **control_group(runs["stays"]["pid"]))
    restart_services(agent)
    guest.say("again", text=guest.run("setpoint", "install"))
    guest.say("lines", numbers=ticks(agent))
    guest.say("before", boot=guest.boot_id(), marks=guest.marks(MARKS), status=agent.statuses())
    guest.save_journal()
    guest.run("systemctl", "reboot")


def control_group(pid: int) -> guest.Facts:
    """Where the process is in the one hierarchy, and the limits that the kernel holds it to."""
    path = Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")
    folder = Path("/sys/fs/cgroup" + path)
    names = ("memory.max", "memory.swap.max", "pids.max", "cpu.max")
    limits = {name: (folder / name).read_text().strip() for name in names if (folder / name).exists()}
    order = guest.run("systemctl", "show", "-P", "Before", folder.name)
    return {"path": path, "limits": limits, "before": order.split(), "shim": Path(f"/proc/{parent(pid)}/cgroup").read_text()}


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def restart_services(agent: guest.Agent) -> None:
    """After each the containers' processes are to be the same."""
    guest.say("pids", when="at first", pids=agent.pids())
    steps = [
        ("restart agent", [("restart", "setpoint")]),
        ("stop and start agent", [("stop", "setpoint"), ("start", "setpoint")]),
        ("restart keeper", [("restart", "setpoint-keeper")]),
        ("kill keeper", [("kill", "-s", "KILL", "--kill-whom=main", "setpoint-keeper")]),
    ]
    for when, commands in steps:
        before = {unit: guest.main_pid(unit) for unit in guest.UNITS}
        for words in commands:
            guest.run("systemctl", *words)
        for unit in ("setpoint.service", "setpoint-keeper.service"):
            guest.eventually(lambda unit=unit: guest.unit_state(unit) == "active", f"{unit} after: {when}")
        agent.until_ready()
        guest.say("pids", when=when, pids=agent.pids(), mains=[before, {unit: guest.main_pid(unit) for unit in guest.UNITS}])


def ticks(agent: guest.Agent) -> list[int]:
    return [int(number) for number in re.findall(r"tick (\d+)", agent.logs("stays"))]


if __name__ == "__main__":
    guest.main(job)
