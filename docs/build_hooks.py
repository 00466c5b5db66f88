"""Writes the signatures in docs/hooks.md as the contracts have them; the text around them stays.

python docs/build_hooks.py
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fusion.core.contracts import Plugin, hooks
from fusion.core.registry.collecting import HOOKS, base_of
from fusion.core.registry.interface import contract_of, methods_of

PAGE = Path(__file__).with_name("hooks.md")

_BLOCK = re.compile(r"(?<=^#### `)([\w.]+)(`\n\n```py\n)(.*?)(```$)", re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, str]:
    """What stands in a heading of the page -> the code that belongs below it."""
    common = set(inspect.get_annotations(Plugin))
    every = [line for name, line in _attributes("corpus").items() if name in common]
    found = {"Plugin.attributes": _lines(every)}
    for kind, hook in HOOKS.items():
        name = base_of(kind).__name__
        found[hook] = _lines(["@hookimpl", _signature(hook, vars(hooks)[hook])])
        own = [line for each, line in _attributes(kind).items() if each not in common]
        if own:
            found[f"{name}.attributes"] = _lines(own)
        for method, value in methods_of(kind).items():
            found[f"{name}.{method}"] = _lines([_signature(method, value)])
    return found


def _attributes(kind: str) -> dict[str, str]:
    """What a kind's contract declares beside its methods, by name, as it declares it."""
    return {
        name: f"{name}: {annotation}" + (f" = {vars(cls)[name]!r}" if name in vars(cls) else "")
        for cls in contract_of(kind)
        for name, annotation in inspect.get_annotations(cls).items()
    }


def _signature(name: str, method: Any) -> str:
    """A method of a contract as one would write it: decorator, ``def`` and annotations."""
    function = method.fget if isinstance(method, property) else getattr(method, "__func__", method)
    signature = inspect.signature(function)
    shown = signature.replace(
        parameters=[
            p.replace(annotation=_bare(p.annotation)) for p in signature.parameters.values()
        ],
        return_annotation=_bare(signature.return_annotation),
    )
    decorator = {classmethod: "@classmethod\n", property: "@property\n"}.get(type(method), "")
    return f"{decorator}def {name}{shown}"


class _Bare(str):
    def __repr__(self) -> str:
        return str(self)


def _bare(annotation: Any) -> Any:
    """An annotation that inspect writes without the quotation marks of a text."""
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _lines(texts: Iterable[object]) -> str:
    # Quotation marks as the formatter wants them, which formats code in pages, too.
    return "".join(f"{text}\n" for text in texts).replace("'", '"')


def headings(page: str) -> list[str]:
    """What has a block of code on the page."""
    return [match[1] for match in _BLOCK.finditer(page)]


def written(page: str) -> str:
    """The page with every block as it is now.

    Raises
    ------
    KeyError
        For a heading that stands for nothing.
    """
    found = blocks()
    return _BLOCK.sub(lambda match: match[1] + match[2] + found[match[1]] + match[4], page)


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(written(page), encoding="utf-8")
    missing = set(blocks()) - set(headings(page))
    print(f"{len(headings(page))} blocks; without one: {', '.join(sorted(missing)) or 'nothing'}")


if __name__ == "__main__":
    main()
