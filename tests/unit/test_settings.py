"""What the agent can be told, and how it says no."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from setpoint.settings import Settings, load
from state.errors import Invalid


def write(folder: Path, text: str) -> Path:
    path = folder / "agent.yaml"
    path.write_text(text)
    return path


def test_nothing_said_is_the_default() -> None:
    assert load(None, {"containerd": None, "resync_s": None}) == Settings()


def test_the_file_then_the_options(tmp_path: Path) -> None:
    path = write(tmp_path, "resync-s: 10\nnode_name: a\ndata-dir: /srv\n")
    settings = load(path, {"node_name": "b", "concurrency": None})
    assert (settings.resync_s, settings.node_name, settings.data_dir) == (10.0, "b", Path("/srv"))
    assert settings.resync.total_seconds() == 10.0


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert load(write(tmp_path, "# nothing\n"), {}) == Settings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("resync: 3", "resync: no such setting; known are"),
        ("- a", "must be a mapping"),
        ("a: [", "not YAML"),
        ("resync_s: soon", "resync_s: 'soon': must be a number"),
        ("resync_s: 0", "resync_s: 0: must be at least 1"),
        ("resync_s: .nan", "resync_s: nan: must be a number"),
        ("resync_s: .inf", "resync_s: inf: must be a number"),
        ("concurrency: 0", "concurrency: 0: must be at least 1"),
        ("concurrency: 2.5", "concurrency: 2.5: must be a whole number"),
        ("concurrency: true", "concurrency: True: must be a whole number"),
        ("concurrency: [1]", "concurrency: [1]: must be a number"),
        ("start_budget: 0", "start_budget: 0: must be at least 0.01"),
        ("start_budget: -1", "start_budget: -1: must be at least 0.01"),
        ("on_exit: leave", "on_exit: 'leave': must be one of keep, stop"),
        ("on_exit: yes", "on_exit: True: must be a text"),
        ("log_level: loud", "log_level: 'loud': must be one of debug"),
        ("node_name: 7", "node_name: 7: must be a text"),
        ("data_dir: 7", "data_dir: 7: must be a path"),
        ("data_dir: ''", "data_dir: '': must be a path"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(Invalid) as error:
        load(write(tmp_path, text), {})
    assert told in error.value.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="No such file"):
        load(tmp_path / "none.yaml", {})


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("web-1", "web-1"),
        ("Web.Example.ORG", "web.example.org"),
        ("my_host", "my-host"),
        ("-a-.-b-", "a.b"),
        ("a..b", "a.b"),
        ("müller", "m-ller"),
        ("___", "node"),
        ("a" * 300, "a" * 253),
    ],
)
def test_the_nodes_name_is_a_dns_name(said: str, name: str) -> None:
    assert Settings(node_name=said).name == name


def test_links_are_for_the_hosts_own_engine(tmp_path: Path) -> None:
    assert Settings().links == Path("/var/log/containers")
    assert Settings(data_dir=tmp_path).links is None
    assert Settings(data_dir=tmp_path, log_links="/x").links == Path("/x")


def test_a_group_that_is_not_there_is_nobody() -> None:
    assert Settings(group="no-such-group-here").gid is None
    assert Settings(group="root").gid == 0


@pytest.mark.parametrize("options", [{"concurrency": "4"}, {"resync_s": "2.5"}, {"data_dir": "/x"}])
def test_options_from_a_command_line_are_texts(options: dict[str, Any]) -> None:
    assert load(None, options) != Settings()
