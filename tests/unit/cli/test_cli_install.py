"""install and uninstall: the units' texts, and the files below a root."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from controllers.container.oci.cgroups import PREFIX
from setpoint.cli import install, units
from setpoint.cli.units import Installation, quoted

AT = Installation(("/opt/setpoint/bin/setpoint",))


def lines(text: str, section: str) -> dict[str, str]:
    found, here = {}, ""
    for line in text.splitlines():
        if line.startswith("["):
            here = line
        elif here == f"[{section}]" and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[name] = value
    return found


def test_the_agents_unit() -> None:
    text = units.units(AT)[units.AGENT]
    assert lines(text, "Unit")["After"].startswith("setpoint-keeper.service ")
    service = lines(text, "Service")
    assert service["ExecStart"] == "/opt/setpoint/bin/setpoint agent --data-dir /var/lib/setpoint --run-dir /run/setpoint"
    assert (service["Restart"], service["KillMode"], service["LimitNOFILE"]) == ("always", "process", "1048576")
    assert lines(text, "Install") == {"WantedBy": "multi-user.target"}


def test_the_keepers_unit() -> None:
    service = lines(units.units(AT)[units.KEEPER], "Service")
    assert (service["KillMode"], service["Delegate"], service["Restart"]) == ("process", "yes", "always")
    assert int(service["OOMScoreAdjust"]) <= -999
    assert "--no-containerd" not in service["ExecStart"]
    external = units.units(Installation(AT.command, containerd="/run/containerd/containerd.sock"))
    assert "--no-containerd" in lines(external[units.KEEPER], "Service")["ExecStart"]
    assert "--containerd /run/containerd/containerd.sock" in lines(external[units.AGENT], "Service")["ExecStart"]


def test_the_workloads_unit_stops_first() -> None:
    text = units.units(AT)[units.WORKLOADS]
    after = lines(text, "Unit")["After"].split()
    assert {units.AGENT, units.KEEPER, "network-online.target", "remote-fs.target"} <= set(after)
    service = lines(text, "Service")
    assert (service["Type"], service["RemainAfterExit"], service["TimeoutStopSec"]) == ("oneshot", "yes", "infinity")
    assert service["ExecStop"] == "/opt/setpoint/bin/setpoint --host unix:///run/setpoint/api.sock node stop"


def test_scopes_of_containers_are_ended_after_the_workloads_unit() -> None:
    path, text = units.SCOPES, units.files(AT)[units.SCOPES]
    assert path.partition("/")[0] == f"{PREFIX}-.scope.d"
    assert lines(text, "Unit") == {"Before": units.WORKLOADS}


@pytest.mark.parametrize(
    ("word", "line"),
    [("/a b", '"/a b"'), ("50%", "50%%"), ("$x", "$$x"), ('a"b', '"a\\"b"'), ("", '""'), ("/plain", "/plain")],
)
def test_words_of_an_exec_line(word: str, line: str) -> None:
    assert quoted(word) == line


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for name, text in units.units(Installation(("/bin/true",))).items():
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name) for name in units.units(AT)]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True, check=False, env={**os.environ}
    )
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "setpoint" in line]
    assert ours == []


def below(root: Path) -> dict[str, str]:
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(root))] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[str(path.relative_to(root))] = path.read_text()
    return found


def test_install_below_a_root_and_back(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "command", lambda: ("/opt/bin/setpoint",))
    root = tmp_path / "root"
    first = cli("install", "--root", str(root))
    assert first.code == 0
    files = below(root)
    assert set(files) == {
        "etc/systemd/system/setpoint.service",
        "etc/systemd/system/setpoint-keeper.service",
        "etc/systemd/system/setpoint-workloads.service",
        "etc/systemd/system/setpoint-.scope.d/setpoint.conf",
        "etc/systemd/system/multi-user.target.wants/setpoint.service",
        "etc/systemd/system/multi-user.target.wants/setpoint-keeper.service",
        "etc/systemd/system/multi-user.target.wants/setpoint-workloads.service",
        "usr/local/bin/setpoint",
    }
    assert files["usr/local/bin/setpoint"] == "-> /opt/bin/setpoint"
    assert (root / "var/lib/setpoint").stat().st_mode & 0o777 == 0o700
    again = cli("install", "--root", str(root))
    assert {line.split()[0] for line in again.out.splitlines()} == {"unchanged"}
    changed = cli("install", "--root", str(root), "--containerd", "unix:///run/containerd/containerd.sock")
    assert "replaced    " in changed.out
    gone = cli("uninstall", "--root", str(root))
    assert gone.code == 0
    assert below(root) == {}
    assert f"stays       {root}/var/lib/setpoint\n" in gone.out
    assert cli("uninstall", "--root", str(root), "--purge").code == 0
    assert not (root / "var/lib/setpoint").exists()


def test_a_file_that_is_not_ours_is_left_alone(cli: Any, tmp_path: Path) -> None:
    unit = tmp_path / "etc/systemd/system/setpoint.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Unit]\n")
    result = cli("install", "--root", str(tmp_path))
    assert result.code == 1
    assert "is not ours" in result.err
    assert cli("uninstall", "--root", str(tmp_path)).code == 0
    assert unit.read_text() == "[Unit]\n"


def test_purge_deletes_folders_of_ours_only(cli: Any, tmp_path: Path) -> None:
    data = tmp_path / "precious"
    data.mkdir()
    (data / "thesis").write_text("x")
    result = cli("uninstall", "--root", str(tmp_path), "--data-dir", "/precious", "--purge")
    assert (result.code, result.err) == (1, f"error: {data}: is not a folder of Setpoint's, so it is not deleted\n")
    assert (data / "thesis").exists()


def test_a_host_without_systemd_or_root_is_refused(cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(install, "SYSTEMD", tmp_path / "none")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for verb in ("install", "uninstall"):
        result = cli(verb)
        assert result.code == 1
        assert "no systemd runs here" in result.err
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in cli("install").err
    assert cli("uninstall", "--purge", "--keep-containers").code == 2
