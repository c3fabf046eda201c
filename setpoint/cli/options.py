"""Options that several verbs share, and the way to the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from setpoint.client import Client

Namespace = Annotated[
    str, typer.Option("-n", "--namespace", metavar="NAME", help="Namespace. Default: default.", show_default=False)
]
AllNamespaces = Annotated[bool, typer.Option("-A", "--all-namespaces", help="In every namespace.")]
Labels = Annotated[str, typer.Option("-l", "--selector", metavar="SELECTOR", help="Label selector, such as app=web,tier!=db.")]
Fields = Annotated[
    str, typer.Option("--field-selector", metavar="SELECTOR", help="Field selector, such as status.phase=Running.")
]
Files = Annotated[
    list[str] | None, typer.Option("-f", "--filename", metavar="FILE", help="File, folder or - for stdin; may be repeated.")
]
Recursive = Annotated[bool, typer.Option("-R", "--recursive", help="Folders below the given ones too.")]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[KIND] NAME…", help="KIND NAME, KIND/NAME, NAME, or the beginning of an id.")
]
Output = Annotated[
    str, typer.Option("-o", "--output", metavar="FORMAT", help="json, yaml, name, wide or jsonpath={.status.phase}.")
]


def connect(timeout_s: float = 60.0) -> Client:
    """A client of the agent that ``--host`` or ``SETPOINT_HOST`` names."""
    from setpoint.client import Client

    return Client(timeout_s=timeout_s)


def seconds(text: str) -> float:
    """``30``, ``30s``, ``5m``, ``1h30m``; 0 is no limit. Raises Failed."""
    from setpoint.cli.failures import wrong_use

    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    import re

    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)?", text)
    if not parts or "".join(a + b for a, b in parts) != text or (len(parts) > 1 and not all(b for _, b in parts)):
        raise wrong_use(f"{text!r} is no duration: write 30s, 5m or 1h30m")
    return sum(float(number) * units[unit or "s"] for number, unit in parts)
