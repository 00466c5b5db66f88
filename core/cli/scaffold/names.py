"""Names of a new plugin: rules for its name, and the names of module, package and class."""

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
    """Names of a plugin and of its module, distribution and class.

    Attributes
    ----------
    plugin : str
        Name that users type: ``my_gate``.
    module : str
        Module that Python imports: ``fusion_my_gate``.
    distribution : str
        Distribution that pip installs: ``fusion-my-gate``.
    cls : str
        The class: ``MyGate``.
    """

    plugin: str
    module: str
    distribution: str
    cls: str


def names_for(kind: str, name: str, source: str) -> Names:
    """Return the names of module, distribution and class for a plugin called `name`.

    Parameters
    ----------
    kind : str
        Kind of the plugin. If the class name is a keyword or is used in `source`, the kind is
        appended to the class name.
    name : str
        Name that :func:`check_name` accepts.
    source : str
        Python code of the module that will contain the class.
    """
    cls = "".join(part.capitalize() for part in name.split("_"))
    if keyword.iskeyword(cls) or cls in _identifiers(source):
        cls += kind.capitalize()
    return Names(name, f"fusion_{name}", f"fusion-{name.replace('_', '-')}", cls)


def _identifiers(source: str) -> set[str]:
    """Return every name that `source` imports or uses."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
    return names


def check_name(kind: str, name: str, registry: Registry) -> None:
    """Raise if a new plugin can't be called `name`.

    Raises
    ------
    ParameterError
        If the name is malformed, reserved, or taken by another plugin or module.
    """
    _check_form(name)
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise ParameterError(f"{name!r} is a keyword of Python.", hint=_longer(name, kind))
    if name in reserved(kind):
        raise ParameterError(
            f"{name!r} is reserved: it is a row of a run's table or an owner of settings.",
            hint=_longer(name, kind),
        )
    if kind == "extractor" and is_module_attribute(name):
        raise ParameterError(
            f"{name!r} is reserved: it is an attribute of every PyTorch module.",
            hint=_longer(name, kind),
        )
    for entry in registry.entries():
        if entry.name == name:
            # A plugin of another kind must not have the same name: --set NAME.PARAMETER and
            # fusion plugins show NAME would be ambiguous.
            raise ParameterError(
                f"{name!r} is taken: it is a {entry.kind} of {entry.source.distribution}.",
                hint=_longer(name, kind),
            )
    spec = importlib.util.find_spec(f"fusion_{name}")
    if spec is not None:
        path = spec.origin or ", ".join(spec.submodule_search_locations or ())
        raise ParameterError(
            f"The module fusion_{name} already exists: {path}.", hint=_longer(name, kind)
        )


def _check_form(name: str) -> None:
    if not _FORM.fullmatch(name):
        suggestion = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        suggestion = re.sub(r"^fusion_(?=.)", "", suggestion)
        raise ParameterError(
            f"{name!r} can't be the name of a plugin. A name has lower-case letters, digits and "
            "single underscores, and starts with a letter.",
            hint=f"Did you mean {suggestion}?" if _FORM.fullmatch(suggestion) else None,
        )
    if len(name) > _LONGEST:
        raise ParameterError(f"{name!r} has {len(name)} characters; a name has at most {_LONGEST}.")
    if name.startswith("fusion_"):
        raise ParameterError(
            f"{name!r} starts with fusion_: the module would be called fusion_{name}.",
            hint="fusion adds this prefix to the name of the module. Did you mean "
            f"{name.removeprefix('fusion_')}?",
        )


def _longer(name: str, kind: str) -> str:
    return f"Choose another name, for example my_{name} or {name}_{kind}."
