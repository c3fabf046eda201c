"""Installed on a real Debian: services come and go, the host reboots, the power is cut, and the product is taken away.

One machine, three boots. What happens in the guest is in ``tests/vm/jobs``; here it is judged.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from setpoint.testing.images import busybox_archive
from tests.vm.guest import UNITS, container
from tests.vm.machine import Boot, Facts, Machine
from tests.vm.rootfs import build

pytestmark = [pytest.mark.vm, pytest.mark.timeout(3600)]

JOBS = Path(__file__).resolve().parents[1] / "vm" / "jobs"
LIVE = ("setpoint.service", "setpoint-keeper.service")

STAYS = """
echo "stays started" >>/marks/marks
left=-1
trap 'echo "stays told to end" >>/marks/marks; left=3' TERM
n=0
while [ $left -ne 0 ]; do
  n=$((n+1)); left=$((left-1)); echo tick $n
  sleep 1 & wait $!
done
echo "stays ended" >>/marks/marks
"""
"""Ends some seconds after it was told to, and writes down every time that it was told."""

DECLARED = [
    container(
        "stays", STAYS, resources={"limits": {"memory": "64Mi", "cpu": "500m", "pids": 50}}, terminationGracePeriodSeconds=300
    ),
    container("deaf", "exec sleep 100000"),
    container("rests", "echo rests ran >>/marks/marks; exec sleep 100000", runState="Stopped"),
    container("once", "echo once ran >>/marks/marks; exit 7", restartPolicy="Never"),
]

Tell = Callable[[str], None]


@pytest.fixture(scope="module")
def tell(request: pytest.FixtureRequest) -> Tell:
    """Lines for whoever waits: a boot takes a while."""
    manager = request.config.pluginmanager
    reporter, capture = manager.get_plugin("terminalreporter"), manager.get_plugin("capturemanager")
    began = time.monotonic()

    def write(line: str) -> None:
        if reporter is None or capture is None:
            return
        with capture.global_and_fixture_disabled():
            reporter.write_line(f"{time.monotonic() - began:6.1f} s  {line}")

    write("")
    return write


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, tell: Tell) -> Iterator[Machine]:
    image = build()
    tell("the image is there")
    folder = tmp_path_factory.mktemp("vm")
    yield Machine(image, folder)
    (folder / "root.img").unlink()


@pytest.fixture(scope="module")
def first(machine: Machine, tell: Tell) -> Boot:
    """Installed, declared, every service restarted, rebooted."""
    files = {"busybox.tar": machine.folder / "busybox.tar", "containers.json": machine.folder / "containers.json"}
    busybox_archive(files["busybox.tar"])
    files["containers.json"].write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": DECLARED}))
    with machine.boot(JOBS / "install.py", files) as boot:
        for said in ("began", "installed", "ready", "loaded", "applied", "run", "lines", "before"):
            tell(f"boot 1: {said} in {boot.until(said)['after_s']} s")
        boot.off()
    tell(f"boot 1 took {boot.seconds:.0f} s")
    return boot


@pytest.fixture(scope="module")
def second(machine: Machine, first: Boot, tell: Tell) -> Boot:
    """After the reboot; objects come and go until the power is cut."""
    with machine.boot(JOBS / "churn.py") as boot:
        for said in ("began", "after", "task"):
            tell(f"boot 2: {said} in {boot.until(said)['after_s']} s")
        boot.until_times("deleted", 3)
        boot.cut()
    tell(f"boot 2 took {boot.seconds:.0f} s")
    return boot


@pytest.fixture(scope="module")
def third(machine: Machine, second: Boot, tell: Tell) -> Boot:
    """After the cut; uninstalled at the end."""
    with machine.boot(JOBS / "recover.py") as boot:
        for said in ("began", "after", "uninstalled"):
            tell(f"boot 3: {said} in {boot.until(said)['after_s']} s")
        boot.off()
    tell(f"boot 3 took {boot.seconds:.0f} s")
    return boot


# boot 1


def test_install_puts_units_group_and_folders_in_place(first: Boot) -> None:
    seen = first.until("installed")
    units = Path("/etc/systemd/system")
    wanted = {str(folder / unit) for unit in UNITS for folder in (units, units / "multi-user.target.wants")}
    assert wanted <= set(seen["files"])
    assert seen["enabled"] == dict.fromkeys(UNITS, "enabled")
    assert seen["group"]
    assert seen["folders"]["/var/lib/setpoint"] == ["0o700", "root"]
    ready = first.until("ready")
    assert ready["units"] == dict.fromkeys(UNITS, "active")
    assert ready["folders"]["/run/setpoint/api.sock"] == ["0o660", "setpoint"]


def test_installed_again_nothing_changes(first: Boot) -> None:
    assert {line.split()[0] for line in first.until("again")["text"].splitlines()} == {"unchanged", "enabled", "started"}


def test_declared_containers_are_as_declared(first: Boot) -> None:
    seen = first.until("run")
    assert [seen[name]["phase"] for name in ("stays", "deaf", "rests", "once")] == ["Running", "Running", "Created", "Exited"]
    assert (seen["once"]["exitCode"], seen["once"]["reason"]) == (7, "Error")


def test_limits_are_those_of_a_scope_under_systemd(first: Boot) -> None:
    seen = first.until("group")
    id = first.until("run")["stays"]["containerID"]
    assert seen["path"] == f"/setpoint.slice/setpoint-{id}.scope"
    assert seen["limits"] == {
        "memory.max": str(64 << 20),
        "memory.swap.max": "0",
        "pids.max": "50",
        "cpu.max": "50000 100000",
    }
    assert "setpoint-workloads.service" in seen["before"], "systemd stops it later than those who stop it gracefully"
    assert "setpoint-keeper.service" in seen["shim"], "what outlives the agent lives with the keeper"


@pytest.mark.parametrize("when", ["restart agent", "stop and start agent", "restart keeper", "kill keeper"])
def test_services_come_and_go_and_touch_no_container(first: Boot, when: str) -> None:
    told = {facts["when"]: facts for facts in first.all("pids")}
    before, after = told["at first"]["pids"], told[when]["pids"]
    assert before["stays"] > 0
    assert before["deaf"] > 0
    assert after == before
    old, new = told[when]["mains"]
    changed = {unit for unit in LIVE if old[unit] != new[unit]}
    assert changed == {"setpoint.service" if "agent" in when else "setpoint-keeper.service"}


def test_no_line_of_output_was_lost_meanwhile(first: Boot) -> None:
    numbers = first.until("lines")["numbers"]
    assert len(numbers) > 10
    assert numbers == list(range(1, len(numbers) + 1))


# boot 2


def test_after_a_reboot_what_is_declared_runs_again(first: Boot, second: Boot) -> None:
    seen = second.until("after")
    assert seen["boot"] != first.until("before")["boot"]
    assert seen["units"] == dict.fromkeys(UNITS, "active")
    assert seen["failed"] == []
    assert phases(seen) == {"stays": "Running", "deaf": "Running", "rests": "Created", "once": "Exited"}


def test_what_was_stopped_or_has_completed_does_not_run_again(second: Boot) -> None:
    seen = second.until("after")
    assert seen["marks"].count("once ran") == 1
    assert seen["status"]["once"]["exitCode"] == 7
    assert "rests ran" not in seen["marks"]


def test_shutdown_stopped_them_gracefully(second: Boot) -> None:
    marks = [mark for mark in second.until("after")["marks"] if mark.startswith("stays")]
    assert marks == ["stays started", "stays told to end", "stays ended", "stays started"]


def test_what_the_shutdown_stopped_has_not_crashed(second: Boot) -> None:
    status = second.until("after")["status"]
    last = status["stays"]["lastExit"]
    assert (last["exitCode"], last["reason"], last["requested"]) == (0, "Completed", True)
    last = status["deaf"]["lastExit"]
    assert (last["exitCode"], last["signal"], last["requested"]) == (137, 9, True)
    assert [status[name]["restartCount"] for name in ("stays", "deaf")] == [0, 0]


# boot 3


def test_after_a_power_cut_what_is_declared_runs_again(second: Boot, third: Boot) -> None:
    seen = third.until("after")
    declared = [facts["name"] for facts in second.all("declared")]
    deleted = {facts["name"] for facts in second.all("deleted")}
    found = phases(seen)
    assert {name: found.get(name) for name in ("stays", "deaf", *declared[-3:])} == dict.fromkeys(
        ("stays", "deaf", *declared[-3:]), "Running"
    ), "what was acknowledged is not lost"
    assert not deleted & found.keys(), "what was deleted does not come back"
    assert found["rests"] == "Created"
    assert seen["failed"] == []


def test_what_the_cut_ended_is_told_as_unknown(third: Boot) -> None:
    status = third.until("after")["status"]
    for name in ("stays", "deaf", "task"):
        last = status[name]["lastExit"]
        assert last["reason"] == "Unknown"
        assert last["message"].startswith("NodeRebooted")
        assert "exitCode" not in last
        assert status[name]["restartCount"] == 0
    assert status["task"]["phase"] == "Exited", "nobody knows how it ended, and it was to run once"
    assert status["once"]["exitCode"] == 7


def test_nothing_is_left_of_what_the_cut_interrupted(third: Boot) -> None:
    seen = third.until("after")
    status = seen["status"]
    running = {each["containerID"] for each in status.values() if each["phase"] == "Running"}
    assert set(seen["tasks"]) == running
    assert set(seen["records"]) <= {each.get("containerID") for each in status.values()}
    assert set(seen["namespaces"]) <= set(seen["uids"].values())


def test_uninstall_stops_containers_and_takes_everything_but_the_data_away(third: Boot) -> None:
    seen = third.until("uninstalled")
    running = sum(phase == "Running" for phase in phases(third.until("after")).values())
    assert f"{running} containers" in seen["text"]
    assert not seen["alive"]
    assert seen["marks"][-2:] == ["stays told to end", "stays ended"]
    left = {name: seen[name] for name in ("known", "files", "group", "processes", "mounts")}
    assert left == {"known": [], "files": [], "group": False, "processes": [], "mounts": []}
    assert list(seen["folders"]) == ["/var/lib/setpoint"]


def phases(seen: Facts) -> dict[str, str]:
    return {name: status["phase"] for name, status in seen["status"].items()}
