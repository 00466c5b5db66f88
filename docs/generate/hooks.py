"""Signatures in docs/reference/hooks.md, taken from the contracts; the text around them is kept."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fusion.core.contracts import Plugin, hooks
from fusion.core.registry.collecting import HOOKS, base_of
from fusion.core.registry.interface import contract_of, methods_of

PAGE = Path(__file__).parents[1] / "reference/hooks.md"

_BLOCK = re.compile(r"(?<=^#### `)([\w.]+)(`\n\n```py\n)(.*?)(```$)", re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, str]:
    """Return the code block that belongs below each heading of the page."""
    common = set(inspect.get_annotations(Plugin))
    every = [line for name, line in _attributes("corpus").items() if name in common]
    signatures = {"Plugin.attributes": _lines(every)}
    for kind, hook in HOOKS.items():
        name = base_of(kind).__name__
        signatures[hook] = _lines(["@hookimpl", _signature(hook, vars(hooks)[hook])])
        own = [line for each, line in _attributes(kind).items() if each not in common]
        if own:
            signatures[f"{name}.attributes"] = _lines(own)
        for method, value in methods_of(kind).items():
            signatures[f"{name}.{method}"] = _lines([_signature(method, value)])
    return signatures


def _attributes(kind: str) -> dict[str, str]:
    """Return the annotated attributes of a kind's contract, by name, as source code."""
    return {
        name: f"{name}: {annotation}" + (f" = {vars(cls)[name]!r}" if name in vars(cls) else "")
        for cls in contract_of(kind)
        for name, annotation in inspect.get_annotations(cls).items()
    }


def _signature(name: str, method: Any) -> str:
    """Return a method of a contract as source: decorator, ``def`` and annotations."""
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
    """Wrap a string annotation so that inspect prints it without quotation marks."""
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _lines(texts: Iterable[object]) -> str:
    # ruff formats code blocks in Markdown too, and wants double quotation marks.
    return "".join(f"{text}\n" for text in texts).replace("'", '"')


def headings(page: str) -> list[str]:
    """Return the headings of the page that have a code block."""
    return [match[1] for match in _BLOCK.finditer(page)]


def written(page: str) -> str:
    """Return the page with every code block replaced by the current signature.

    Raises
    ------
    KeyError
        If a heading names no hook, method or attribute.
    """
    signatures = blocks()
    return _BLOCK.sub(lambda match: match[1] + match[2] + signatures[match[1]] + match[4], page)


def pages() -> dict[Path, str]:
    """Return the path of the page and its text with current signatures.

    Raises
    ------
    ValueError
        If a hook or method has no heading on the page.
    """
    page = PAGE.read_text(encoding="utf-8")
    missing = set(blocks()) - set(headings(page))
    if missing:
        raise ValueError(f"no heading in {PAGE} for: {', '.join(sorted(missing))}")
    return {PAGE: written(page)}
