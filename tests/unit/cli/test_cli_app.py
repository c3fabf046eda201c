"""The command line as a whole: what it loads, how it ends, what it knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from setpoint.cli import later, reference
from setpoint.cli.app import MODULES, build, main
from setpoint.cli.completing import SCRIPTS, complete
from setpoint.cli.declare import TAKEN

HEAVY = (
    "grpc",
    "sqlalchemy",
    "aiohttp",
    "rich",
    "structlog",
    "cryptography",
    "prometheus_client",
    "yaml",
    "asyncio",
    "pydantic",
)
PARSER = {"pydantic"}
"""Typer's own: its parser reads values with it. Only what needs no parser goes without."""


def loaded(*argv: str, host: str) -> set[str]:
    """Which heavy modules a fresh process has imported at the end of this command line."""
    code = (
        "import sys; from setpoint.cli.app import main; main(sys.argv[1:]); "
        f"print(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True, env={"SETPOINT_HOST": host}
    )
    return set(run.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("argv", "allowed"),
    [
        (["version"], set()),
        (["version", "--client"], set()),
        (["get", "containers"], PARSER),
        (["get", "all", "-o", "json"], PARSER),
    ],
)
def test_quick_verbs_load_nothing_heavy(backend: Any, argv: list[str], allowed: set[str]) -> None:
    backend.make("web")
    assert loaded(*argv, host=f"unix://{backend.socket}") <= allowed


def test_the_table_of_modules_is_what_they_register() -> None:
    for module, verbs in MODULES.items():
        assert set(build(verbs[0]).commands) == set(verbs), module
    assert MODULES["later"] == later.VERBS


@pytest.mark.parametrize("verb", [verb for verbs in MODULES.values() for verb in verbs])
def test_every_verb_has_help(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0 if verb != "keeper" else True
    out = capfd.readouterr().out
    assert verb == "keeper" or out.startswith(f"Usage: setpoint {verb}")


@pytest.mark.parametrize("verb", later.VERBS)
def test_what_comes_later_says_so(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "a", "--b", "c"]) == 1
    assert capfd.readouterr().err == f"error: {verb} is not supported yet\n"


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        (["nosuch"], 2, "No such command 'nosuch'"),
        (["get", "containers", "--nosuch"], 2, "(see setpoint get --help)"),
        (["logs", "--tail", "x"], 2, "--tail"),
        (["run", "-p", "80:80", "x"], 1, "-p is not supported yet"),
        (["run", "--gpus", "all", "x"], 1, "--gpus is not supported yet"),
        (["run"], 2, "say which image"),
        (["run", "-o", "yaml", "x"], 2, "--dry-run"),
        (["apply"], 2, "-f FILE"),
        (["apply", "-f", "/no/such"], 1, "/no/such: No such file or directory"),
        (["get", "containers", "--host", "unix:///no/such"], 3, "cannot reach the agent at unix:///no/such"),
        (["get", "containers", "--host", "tcp://x"], 1, "give unix:///path/of/api.sock"),
        (["--context", "x", "get", "containers"], 1, "--context is not supported yet"),
        (["exec", "web", "ls", "--host", "x"], 3, "cannot reach"),
        (["wait"], 2, "say what to wait for"),
        (["attach"], 2, "NAME"),
        (["restart", "--pull", "x"], 1, "not supported yet"),
        (["agent", "--on-exit", "maybe"], 2, "give keep or stop"),
        (["completion", "csh"], 2, "bash, zsh, fish"),
        (["install", "--root", "/proc/none"], 1, "/proc"),
    ],
)
def test_one_line_and_a_code(
    argv: list[str], code: int, told: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SETPOINT_HOST", "unix:///no/socket")
    assert main(argv) == code
    err = capfd.readouterr().err.splitlines()[-1]
    assert err.startswith("error: ")
    assert told in err


def test_an_unexpected_error_is_one_line_too(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from setpoint.cli import look

    def broken(*_words: Any, **_how: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(look.naming, "targets", broken)
    assert main(["get", "x"]) == 1
    assert capfd.readouterr().err == "error: internal error, RuntimeError: boom (SETPOINT_DEBUG=1 shows where)\n"


def test_a_reader_that_left_is_no_error(backend: Any) -> None:
    for number in range(300):
        backend.make(f"a{number}")
    code = "from setpoint.cli.app import run; run()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "get", "containers", "-o", "yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"SETPOINT_HOST": f"unix://{backend.socket}"},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(10) == 0


def test_version_is_quick(capfd: pytest.CaptureFixture[str]) -> None:
    from setpoint import __version__

    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"setpoint {__version__}\n"


def test_completion_scripts_are_valid(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for shell, script in SCRIPTS.items():
        assert main(["completion", shell]) == 0
        assert capfd.readouterr().out == script
    file = tmp_path / "bash"
    file.write_text(SCRIPTS["bash"])
    assert subprocess.run(["bash", "-n", str(file)], check=False).returncode == 0


def test_completion_words(backend: Any, capfd: pytest.CaptureFixture[str]) -> None:
    backend.make("web")
    backend.make("worker")
    assert complete(["de"]) == ["delete", "describe"]
    assert complete(["get", "no"]) == ["nodes"]
    assert complete(["get", "ctr", "we"]) == ["web"]
    assert complete(["logs", "w"]) == ["web", "worker"]
    assert complete(["image", "l"]) == ["load", "ls"]
    assert complete(["create", "secret", ""]) == ["docker-registry", "generic"]
    assert complete(["get", "--sort"]) == ["--sort-by"]
    assert complete(["nosuch", ""]) == []
    assert main(["__complete", "ap"]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "apply"


def test_the_reference_is_up_to_date() -> None:
    text = reference.document()
    # Beside the tests, not beside the package: that may come out of a wheel.
    assert (Path(__file__).parents[3] / "docs" / "cli-reference.md").read_text() == text
    assert "## setpoint image pull\n" in text
    assert "## setpoint ps\n" not in text


def test_a_file_takes_over_from_every_human_verb() -> None:
    from setpoint.api.resources import TAKEN_BY_APPLY

    assert set(TAKEN) >= TAKEN_BY_APPLY
