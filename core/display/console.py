"""Rich consoles that keep control characters in names and labels away from the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from .plain_text import printable

_PIPED_WIDTH = 160  # minimum number of columns if the output is a file or pipe


class SafeConsole(Console):
    """Console that prints control characters in texts as ``?`` (:func:`printable`)."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string to rich text whose width is correct, without control characters."""
        return super().render_str(printable(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as :class:`rich.console.Console` does, with every text made :func:`printable`."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield segment._replace(text=printable(segment.text))


def new_console() -> SafeConsole:
    """Return a console on standard output, at least 160 columns wide in files and pipes."""
    console = SafeConsole(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, _PIPED_WIDTH)
    return console
