"""agent and keeper: the two long-lived processes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from setpoint.cli.failures import Failed
from state.errors import Invalid


def register(app: typer.Typer) -> None:
    app.command("agent")(agent)
    app.command("keeper", context_settings={"ignore_unknown_options": True})(keeper)


def agent(
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Store, ledger and keys. Default: /var/lib/setpoint.", show_default=False)
    ] = None,
    run_dir: Annotated[
        Path | None,
        typer.Option("--run-dir", help="Sockets and what a reboot may lose. Default: /run/setpoint.", show_default=False),
    ] = None,
    containerd: Annotated[
        str | None, typer.Option("--containerd", metavar="ADDRESS", help="Socket of a containerd. Default: one of our own.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="YAML file of settings.")] = None,
    on_exit: Annotated[
        str | None, typer.Option("--on-exit", metavar="keep|stop", help="What happens to containers. Default: keep.")
    ] = None,
    node_name: Annotated[str | None, typer.Option("--node-name", help="Default: the host's name.")] = None,
    log_level: Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")] = None,
) -> None:
    """Keep this node as declared, until SIGTERM. Containers outlive it."""
    if on_exit not in (None, "keep", "stop"):
        raise Failed(f"--on-exit {on_exit!r}: give keep or stop", code=2)
    from setpoint.settings import load

    given = {
        "data_dir": data_dir, "run_dir": run_dir, "containerd": _address(containerd), "on_exit": on_exit,
        "node_name": node_name, "log_level": log_level,
    }  # fmt: skip
    try:
        settings = load(config, given)
    except Invalid as exc:
        where = f"{config}: " if config and exc.causes and exc.causes[0].field not in given else ""
        raise Failed(*(f"{where}{cause}" for cause in exc.causes or (exc.message,))) from None
    _log_to_stderr(settings.log_level)
    import asyncio
    import gc

    # What importing makes stays: the collector need not look at it again and again, now or later.
    gc.disable()
    from setpoint.agent import run

    gc.freeze()
    gc.enable()
    asyncio.run(run(settings))


def _address(text: str | None) -> str | None:
    return None if text is None else text.removeprefix("unix://")


def keeper(arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
    """Keep the private containerd and the log pump running; the agent starts it. Its options: setpoint keeper --help."""
    from setpoint.keeper.main import main

    raise SystemExit(main(arguments or []))


def _log_to_stderr(level: str) -> None:
    """key=value on a terminal, JSON elsewhere."""
    import logging

    import structlog

    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise Failed(f"log level {level!r}: give debug, info, warning or error", code=2)
    terminal = sys.stderr.isatty()
    shown: Any
    if terminal:
        shown = structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)
    else:
        shown = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            shown,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
