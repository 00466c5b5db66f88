"""Consoles that print text from outside as text: no control characters reach the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from .plain_text import printable

_PIPED_WIDTH = 160  # columns at least, of a file or pipe


class SafeConsole(Console):
    """Console whose output holds no control characters but its own."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text as a :class:`rich.console.Console` does; it is measured as it is printed."""
        return super().render_str(printable(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as a :class:`rich.console.Console` does, every text :func:`printable`."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield segment._replace(text=printable(segment.text))


def new_console() -> SafeConsole:
    """Standard output; a file or pipe gets wide tables instead of folded ones."""
    console = SafeConsole(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, _PIPED_WIDTH)
    return console
