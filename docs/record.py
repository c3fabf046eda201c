"""Records the demo under a terminal of its own and draws what it printed as docs/demo.svg: python docs/record.py

For whoever changes the demo or what the command line prints. Needs root, like the demo itself.
"""

from __future__ import annotations

import io
import os
import pty
import re
import sys
import textwrap
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "demo.svg"
FROM, TO = "== One is killed", "== The end"
"""The chapters that the picture shows."""
WIDTH = 118
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def record(argv: list[str]) -> str:
    """What a command prints on a terminal. SystemExit when it fails."""
    output = bytearray()

    def read(fd: int) -> bytes:
        data = os.read(fd, 65536)
        output.extend(data)
        return data

    status = os.waitstatus_to_exitcode(pty.spawn(argv, read))
    if status:
        raise SystemExit(f"{argv} exited with {status}")
    return output.decode().replace("\r\n", "\n")


def cut(text: str) -> str:
    """The chosen chapters, with the terminal's colours."""
    lines = text.splitlines()
    begin = next(n for n, line in enumerate(lines) if FROM in line)
    end = next(n for n, line in enumerate(lines) if TO in line)
    return "\n".join(part for line in lines[begin:end] for part in _folded(line)).strip("\n")


def _folded(line: str) -> list[str]:
    """A line that is too long goes on below, indented further than it began."""
    if len(line) <= WIDTH or "\033" in line:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent, drop_whitespace=False, break_on_hyphens=False)


def draw(text: str) -> str:
    """An SVG that fetches nothing: the reader's own monospace font will do."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(Text.from_ansi(text), soft_wrap=False)
    svg = _FONTS.sub("", console.export_svg(title="make demo", unique_id="demo"))
    svg = svg.replace('<text class="demo-r', '<text xml:space="preserve" class="demo-r')
    return svg.replace("Fira Code, monospace", "ui-monospace, DejaVu Sans Mono, monospace")


if __name__ == "__main__":
    PICTURE.write_text(draw(cut(record([sys.executable, str(ROOT / "examples" / "demo.py")]))))
    sys.stdout.write(f"wrote {PICTURE}\n")
