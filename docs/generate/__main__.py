"""Write the generated pages of the documentation: `python docs/generate`.

A test compares every generated page with what this command would write.
"""

from __future__ import annotations

import commands
import hooks
import map as module_map
import methods
import settings

MODULES = (commands, hooks, module_map, methods, settings)


def main() -> None:
    """Write all pages and print which changed."""
    texts = {page: text for module in MODULES for page, text in module.pages().items()}
    for page, text in texts.items():
        before = page.read_text(encoding="utf-8") if page.is_file() else None
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
        if text != before:
            print(f"wrote {page}")
    for page in methods.stale(texts):
        page.unlink()
        print(f"removed {page}")


if __name__ == "__main__":
    main()
