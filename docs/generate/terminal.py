"""Picture of a terminal: `python docs/generate/terminal.py PICTURE.svg COMMAND...`.

The command runs, and the picture shows the command line and the end of its standard output. The
README's picture is the verdict of the run whose figures the README has (docs/img/verdict.svg):

    python docs/generate/terminal.py docs/img/verdict.svg fusion run --resume runs/headline
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

WIDTH = 118
# Rich's own template loads a font from another host; a system font needs no request.
_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_HIDDEN = re.compile(r"^(?:\x1b\[[\d;]*m)*(run directory|label new|report)\b.*\n?", re.MULTILINE)


def picture(shown: str, output: str) -> str:
    """Return an SVG of a terminal that shows a command line and its output."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"\x1b[32m$\x1b[0m {shown}\n"))
    console.print(Text.from_ansi(_HIDDEN.sub("", output).strip()))
    svg = console.export_svg(title="fusion", theme=MONOKAI, unique_id="terminal")
    return _FONT.sub("", svg).replace("Fira Code, monospace", "ui-monospace, Menlo, monospace")


def main() -> None:
    """Write the picture named by the first argument."""
    target, *command = sys.argv[1:]
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(WIDTH)}
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    shown = os.environ.get("SHOWN", " ".join(command))
    Path(target).write_text(picture(shown, ran.stdout), encoding="utf-8")


if __name__ == "__main__":
    main()
