"""info, doctor, version."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from setpoint.cli.failures import FAILED
from setpoint.cli.options import connect
from setpoint.cli.printing import cell, json_text, note, out, paint, table, yaml_text
from state.objects import Object

Format = Annotated[str, typer.Option("-o", "--output", metavar="FORMAT", help="json or yaml.")]


def register(app: typer.Typer) -> None:
    app.command("info")(info)
    app.command("doctor")(doctor)
    app.command("version")(version)


def info(output: Format = "") -> None:
    """Show the agent, its folders, its loop and the node."""
    client = connect()
    found: Object = client.request("GET", "/setpoint/v1/info")
    if output:
        sys.stdout.write(json_text(found) if output == "json" else yaml_text(found))
        return
    for line in _nested({"agent": client.host, **found}, ""):
        out(line)


def _nested(value: Object, indent: str) -> list[str]:
    lines = []
    for name, each in value.items():
        if isinstance(each, dict):
            lines += [f"{indent}{name}:", *_nested(each, indent + "  ")]
        else:
            lines.append(f"{indent}{name + ':':<{22 - len(indent)}}{cell(each)}")
    return lines


def doctor(
    output: Format = "",
    data_dir: Annotated[Path, typer.Option("--data-dir", help="To check when no agent runs.")] = Path("/var/lib/setpoint"),
    run_dir: Annotated[Path, typer.Option("--run-dir", help="To check when no agent runs.")] = Path("/run/setpoint"),
) -> None:
    """Tell exactly what this host lacks. Exit 1 when something lacks without which nothing runs."""
    from setpoint.client import AgentUnreachable

    rows: list[Any]
    try:
        rows = connect().request("GET", "/setpoint/v1/doctor")["checks"]
    except AgentUnreachable as exc:
        if os.environ.get("SETPOINT_HOST"):
            note(exc.message)
        from setpoint.drivers.doctor import checks

        note("no agent runs; checking this host by itself")
        rows = list(checks(data_dir, run_dir))
    if output:
        sys.stdout.write(
            json_text({"checks": rows}) if output == "json" else yaml_text({"checks": [dict(row) for row in rows]})
        )
    else:
        table(("Result", "Check", "Found", "Needed"), [(_result(row), row["name"], row["found"], row["need"]) for row in rows])
        note(_verdict(rows))
    if any(_result(row) == "error" for row in rows):
        raise SystemExit(FAILED)


def _verdict(rows: list[Any]) -> str:
    """One sentence that sums it up."""
    names = {word: [str(row["name"]) for row in rows if _result(row) == word] for word in ("error", "warning")}
    if names["error"]:
        return f"Setpoint cannot run here before this is put right: {', '.join(names['error'])}"
    if names["warning"]:
        return f"Setpoint runs here; look at: {', '.join(names['warning'])}"
    return "Setpoint runs here, and nothing is lacking"


def _result(row: Any) -> str:
    return "ok" if row["ok"] else str(row["severity"])


def version(
    client_only: Annotated[bool, typer.Option("--client", help="Only this program's.")] = False, output: Format = ""
) -> None:
    """Show the version of this program and, when it can be reached, of the agent."""
    from setpoint import __version__
    from setpoint.client import AgentUnreachable

    versions = {"client": __version__}
    if not client_only:
        with contextlib.suppress(AgentUnreachable, KeyError):
            versions["agent"] = connect(timeout_s=2.0).request("GET", "/setpoint/v1/info")["version"]
    if output:
        sys.stdout.write(json_text(versions) if output == "json" else yaml_text(versions))
        return
    out(f"setpoint {versions['client']}")
    if "agent" in versions:
        same = "" if versions["agent"] == versions["client"] else paint(" (another version than this program)", "warning")
        out(f"agent    {versions['agent']}{same}")
    elif not client_only:
        note("no agent answers")
