"""What a new plugin may be called, and what follows from it."""

from __future__ import annotations

import ast
import importlib.util
import keyword
import re
from dataclasses import dataclass

from ...contracts.errors import ParameterError
from ...registry.collecting import is_module_attribute
from ...registry.registry import Registry, reserved

_FORM = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST = 32


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a package and its parts have.

    Attributes
    ----------
    plugin : str
        What users type: ``my_gate``.
    module : str
        What Python imports: ``fusion_my_gate``.
    distribution : str
        What pip installs: ``fusion-my-gate``.
    cls : str
        The class: ``MyGate``.
    """

    plugin: str
    module: str
    distribution: str
    cls: str


def names_for(kind: str, name: str, source: str) -> Names:
    """The names around a plugin called `name`.

    Parameters
    ----------
    kind : str
        Its kind, which is added to the class's name where `source` uses that already.
    name : str
        As :func:`check_name` lets it pass.
    source : str
        Python code that the class stands in.
    """
    cls = "".join(part.capitalize() for part in name.split("_"))
    if keyword.iskeyword(cls) or cls in _identifiers(source):
        cls += kind.capitalize()
    return Names(name, f"fusion_{name}", f"fusion-{name.replace('_', '-')}", cls)


def _identifiers(source: str) -> set[str]:
    """Every name that `source` imports or uses."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
    return found


def check_name(kind: str, name: str, registry: Registry) -> None:
    """Whether a new plugin may be called `name`.

    Raises
    ------
    ParameterError
        If it has another form than names have, or is taken or reserved.
    """
    _check_form(name)
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise ParameterError(f"{name!r} is a word of Python's own.", hint=_longer(name, kind))
    if name in reserved(kind):
        raise ParameterError(
            f"{name!r} is reserved: it is a row of a run's table or an owner of settings.",
            hint=_longer(name, kind),
        )
    if kind == "extractor" and is_module_attribute(name):
        raise ParameterError(
            f"{name!r} is reserved: PyTorch's modules have something of that name.",
            hint=_longer(name, kind),
        )
    for entry in registry.entries():
        if entry.name == name:
            # Of another kind too: --set NAME.PARAMETER and plugins show NAME would mean two.
            raise ParameterError(
                f"{name!r} is taken: it is a {entry.kind} of {entry.source.distribution}.",
                hint=_longer(name, kind),
            )
    found = importlib.util.find_spec(f"fusion_{name}")
    if found is not None:
        where = found.origin or ", ".join(found.submodule_search_locations or ())
        raise ParameterError(
            f"A module fusion_{name} is here already: {where}.", hint=_longer(name, kind)
        )


def _check_form(name: str) -> None:
    if not _FORM.fullmatch(name):
        meant = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        meant = re.sub(r"^fusion_(?=.)", "", meant)
        raise ParameterError(
            f"{name!r} is no name of a plugin: lower case letters, digits and single underscores, "
            "a letter first.",
            hint=f"Did you mean {meant}?" if _FORM.fullmatch(meant) else None,
        )
    if len(name) > _LONGEST:
        raise ParameterError(f"{name!r} has {len(name)} characters; a name has {_LONGEST} at most.")
    if name.startswith("fusion_"):
        raise ParameterError(
            f"{name!r}: the module would be called fusion_{name}.",
            hint=f"fusion_ is put before it. Did you mean {name.removeprefix('fusion_')}?",
        )


def _longer(name: str, kind: str) -> str:
    return f"Choose another, for example my_{name} or {name}_{kind}."
