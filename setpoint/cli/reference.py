"""docs/cli-reference.md, written from the command line itself: ``python -m setpoint.cli.reference [--check]``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from setpoint.cli.app import EPILOGUE, build

PATH = Path(__file__).resolve().parent.parent.parent / "docs" / "cli-reference.md"
HEAD = """# The command line

Written from the command line itself by `python -m setpoint.cli.reference`; `make check` fails when it is not up to date.

`KIND NAME`, `KIND/NAME`, a bare `NAME` (a container) and the beginning of a container's id work everywhere; several names and
`-l` too. The agent is found by `--host unix:///PATH` or `SETPOINT_HOST`, else at `/run/setpoint/api.sock`.
"""


def document() -> str:
    """The whole page."""
    body = "\n".join(line for name, command in _commands(build(), "setpoint") for line in _section(name, command))
    return f"{HEAD}\n{EPILOGUE}\n\n{body}"


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every verb that does something, with its whole name; hidden ones left out."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
        return
    for name, each in below.items():
        if not each.hidden:
            yield from _commands(each, f"{path} {name}")


def _section(name: str, command: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=name)
    arguments = [each for each in command.params if each.param_type_name == "argument" and not getattr(each, "hidden", False)]
    words = " ".join(_argument(each) for each in arguments)
    yield f"## {name}\n"
    yield f"{' '.join((command.help or '').split())}\n"
    yield f"    {name} [OPTIONS] {words}".rstrip() + "\n"
    options = [each for each in command.params if each.param_type_name == "option" and not getattr(each, "hidden", False)]
    records = [record for each in options if (record := each.get_help_record(context)) is not None]
    if records:
        yield "| option | meaning |\n|---|---|"
        yield from (f"| `{_cell(names)}` | {_cell(meaning)} |" for names, meaning in records)
        yield ""


def _argument(argument: Any) -> str:
    text = str(argument.metavar or argument.name).strip()
    return text if argument.required or text.startswith("[") else f"[{text}]"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(argv: Sequence[str]) -> int:
    """0; with ``--check`` 1 when the page is not up to date."""
    text = document()
    if "--check" in argv:
        if PATH.exists() and PATH.read_text() == text:
            return 0
        sys.stderr.write(f"{PATH} is not up to date: python -m setpoint.cli.reference writes it\n")
        return 1
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
