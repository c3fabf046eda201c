"""The keeper's small parts that need no process: containerd's configuration, arguments, imports."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from setpoint.keeper.containerd import Layout, find_program, prepare, read_version, render
from setpoint.keeper.main import SOURCE, parse
from setpoint.keeper.wire import Refused

FORBIDDEN = [
    "asyncio",
    "aiohttp",
    "grpc",
    "pydantic",
    "sqlalchemy",
    "typer",
    "rich",
    "yaml",
    "dataclasses",
    "subprocess",
    "setpoint.drivers",
]


@pytest.mark.parametrize(("major", "version"), [(1, 2), (2, 3)])
def test_containerd_config(major: int, version: int) -> None:
    layout = Layout.of('/data "x"', "/run/setpoint")
    config = tomllib.loads(render(layout, major, oom_score=-999))
    assert config["version"] == version
    assert config["root"] == '/data "x"/containerd'
    assert config["state"] == "/run/setpoint/containerd/state"
    assert config["grpc"]["address"] == "/run/setpoint/containerd/containerd.sock"
    assert config["oom_score"] == -999
    assert any("cri" in name for name in config["disabled_plugins"])
    assert len(set(config["disabled_plugins"])) == len(config["disabled_plugins"])


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", "1.6.20"),
        ("containerd github.com/containerd/containerd/v2 v2.4.0 abcdef", "2.4.0"),
    ],
)
def test_version(text: str, version: str) -> None:
    assert read_version(text) == version


def test_version_of_something_else() -> None:
    with pytest.raises(Refused, match="cannot read"):
        read_version("bash 5")


def test_no_such_containerd(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="install containerd or name it") as refused:
        prepare("no-such-containerd", str(tmp_path), str(tmp_path), {"PATH": "/usr/bin"})
    assert refused.value.reason == "Unavailable"
    assert find_program("sh", "/nowhere::/bin") == "/bin/sh"


def test_arguments() -> None:
    options = parse(["--data-dir", "d", "--run-dir", "/r"])
    assert options.data_dir == str(Path("d").absolute())
    assert (options.containerd, options.no_containerd, options.log_links) == ("containerd", False, "")


@pytest.mark.parametrize("module", ["setpoint.keeper.main", "setpoint.keeper.pump"])
def test_what_outlives_the_agent_is_small(module: str) -> None:
    """Without site-packages: an import from an index would not even be found."""
    code = f"import sys; sys.path.insert(0, {SOURCE!r}); import {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-S", "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {name for name in loaded if name in FORBIDDEN or name.startswith("setpoint.drivers")}
    assert len(loaded) < 110
