"""What a plugin module registers: its hooks, checked one by one, and the classes they return."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pluggy

from ..contracts import hooks
from ..contracts.data import Plugin
from ..contracts.errors import FusionError
from ..contracts.renamed import uses_of
from .compat import call
from .loading import described, located
from .parameters import parameters_of, space_of
from .problems import BrokenPluginError
from .provenance import kind_of

# Names of rows in a run's table, and of owners of settings, that a plugin may not take.
RESERVED = {"fused", "ensemble", "chosen", "oracle", "train", "none", "diagnosis"}

# Kind of plugin -> the hook that registers it.
HOOKS = {
    "corpus": "fusion_corpora",
    "extractor": "fusion_extractors",
    "branch": "fusion_branches",
    "strategy": "fusion_strategies",
    "balancer": "fusion_balancers",
    "tracker": "fusion_trackers",
    "remedy": "fusion_remedies",
}

# Parameters that fusion sets by itself.
GIVEN = {"branch": ("dim",)}


def well_formed(name: str) -> bool:
    """Whether a plugin may be called so: lower case letters, digits and underscores."""
    return re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None


def reserved(kind: str) -> set[str]:
    """Names that no plugin of `kind` may take. A strategy, which is no row, may be an ensemble."""
    return RESERVED - {"ensemble"} if kind == "strategy" else RESERVED


@dataclass(frozen=True, slots=True)
class Implementation:
    """A function of a plugin that is marked ``@hookimpl``.

    Attributes
    ----------
    hook : str
        As the plugin calls it.
    kind : str
        Of the plugin classes that it returns.
    function : callable
        The function.
    """

    hook: str
    kind: str
    function: Callable[..., Any]


def implementations(module: ModuleType, manager: pluggy.PluginManager) -> list[Implementation]:
    """The hooks that a module implements.

    Raises
    ------
    BrokenPluginError
        If it has none, one of an unknown name, or one with an argument that it does not have.
    """
    found: list[Implementation] = []
    for name in dir(module):
        options = manager.parse_hookimpl_opts(module, name)
        if options is None:
            continue
        hook = options.get("specname") or name
        kind = kind_of_hook(hook)
        if kind is not None:
            found.append(Implementation(hook, kind, getattr(module, name)))
            _check_arguments(found[-1])
        elif not options.get("optionalhook"):
            raise _unknown(hook)
    if not found:
        raise _no_hook(module)
    return found


def kind_of_hook(hook: str) -> str | None:
    """The kind of plugin that a hook registers, by its name or the one it had."""
    now = hooks.new_name(hook)
    return next((kind for kind, name in HOOKS.items() if name == now), None)


def classes_of(
    implementation: Implementation, available: Mapping[str, Any]
) -> Iterator[tuple[str, type[Plugin]]]:
    """Name and class of what a hook registers, checked.

    Parameters
    ----------
    available : mapping
        Arguments that a hook may name.

    Raises
    ------
    BrokenPluginError
        If it raises, returns something else, or a class can't be used.
    """
    hook, kind = implementation.hook, implementation.kind
    base = base_of(kind)
    try:
        found = call(implementation.function, **available)
        classes = list(found) if isinstance(found, Iterable) else None
    except (Exception, SystemExit) as error:
        file = implementation.function.__module__
        raise BrokenPluginError(
            f"its hook {hook} raised {located(error, file)}", remedy="Mend it.", hook=hook
        ) from error
    if classes is None:
        inside = found.__name__ if isinstance(found, type) else "..."
        raise BrokenPluginError(
            f"its hook {hook} returned {_shown(found)}, and has to return a list of "
            f"{base.__name__} classes.",
            remedy="Is a `return` missing?" if found is None else f"Write return [{inside}].",
            hook=hook,
        )
    for cls in classes:
        yield _check(cls, kind, hook, base), cls


def deprecations(implementation: Implementation, classes: Sequence[type[Plugin]]) -> list[str]:
    """What to tell of the old names that a plugin uses."""
    of_hook = hooks.deprecation_of(implementation.hook)
    return [*([of_hook] if of_hook else []), *(text for cls in classes for text in uses_of(cls))]


# -- hooks ---------------------------------------------------------------------------


def _check_arguments(implementation: Implementation) -> None:
    specification = getattr(hooks, hooks.new_name(implementation.hook))
    known = list(inspect.signature(specification).parameters)
    named = inspect.signature(implementation.function).parameters.values()
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in named if p.default is p.empty and p.kind not in free]
    unknown = [name for name in needed if name not in known]
    if unknown:
        hook = implementation.hook
        possible = f"takes {', '.join(known)}" if known else "takes none"
        raise BrokenPluginError(
            f"its hook {hook} has an argument {unknown[0]!r}, and the hook {possible}.",
            remedy=f"Write def {hook}({', '.join(n for n in needed if n in known)}) instead.",
            hook=hook,
        )


def _unknown(hook: str) -> BrokenPluginError:
    close = difflib.get_close_matches(hook, HOOKS.values(), n=1, cutoff=0.6)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    return BrokenPluginError(
        f"there is no hook {hook!r}.{meant} Possible hooks: {', '.join(HOOKS.values())}.",
        remedy="Rename the function.",
        hook=hook,
    )


def _no_hook(module: ModuleType) -> BrokenPluginError:
    forgotten = next((hook for hook in HOOKS.values() if callable(getattr(module, hook, None))), "")
    if forgotten:
        return BrokenPluginError(
            f"its function {forgotten} is not marked @hookimpl, so that it registers nothing.",
            remedy=f"Write @hookimpl (from fusion import hookimpl) above def {forgotten}().",
            hook=forgotten,
        )
    return BrokenPluginError(
        f"it has no function marked @hookimpl. Possible hooks: {', '.join(HOOKS.values())}.",
        remedy="Write one that returns the plugin's classes; fusion plugins new makes an example.",
    )


# -- classes -------------------------------------------------------------------------


def base_of(kind: str) -> type[Plugin]:
    """The contract of a kind."""
    from .. import contracts

    base: type[Plugin] = getattr(contracts, kind.capitalize())
    return base


def _check(cls: Any, kind: str, hook: str, base: type[Plugin]) -> str:
    """The name of a class that is all right."""
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise BrokenPluginError(
            f"its hook {hook} returned {_shown(cls)}, which is no {base.__name__} class.",
            remedy=_remedy(cls, base),
            hook=hook,
        )
    who = f"its class {cls.__name__} (of {hook})"
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not name:
        raise BrokenPluginError(
            f"{who} has no name.",
            remedy=f'Write name = "..." in class {cls.__name__}.',
            hook=hook,
        )
    if not well_formed(name):
        raise BrokenPluginError(
            f"{who} is called {name!r}; names are lower case letters, digits and underscores.",
            remedy="Rename it.",
            hook=hook,
        )
    if name in reserved(kind) or (kind == "extractor" and is_module_attribute(name)):
        raise BrokenPluginError(
            f"{who} can't be called {name!r}: {name!r} is reserved.",
            remedy="Rename it.",
            hook=hook,
        )
    parameters = _parameters(cls, hook, who)
    missing = [name for name in GIVEN.get(kind, ()) if name not in parameters]
    if missing:
        raise BrokenPluginError(
            f"{who} has no parameter {missing[0]!r}, which fusion gives to every {kind}.",
            remedy=f"Write it in __init__ with its type and a default: {missing[0]}: int = 64.",
            hook=hook,
        )
    return name


def _parameters(cls: type[Plugin], hook: str, who: str) -> Collection[str]:
    try:
        parameters = parameters_of(cls)
        space_of(cls)
    except FusionError as error:
        raise BrokenPluginError(
            f"{who} can't be used: {error.message}",
            remedy=error.hint or "Mend it.",
            hook=hook,
        ) from error
    except Exception as error:
        raise BrokenPluginError(
            f"the parameters of {who} can't be read: {described(error)}",
            remedy="The annotations of __init__ must be names that its module has at run time.",
            hook=hook,
        ) from error
    return parameters


def _remedy(found: object, base: type[Plugin]) -> str:
    """What to write for what is no class of the hook's kind."""
    if isinstance(found, base):
        return f"Return the class {type(found).__name__}, not an object of it."
    kind = kind_of(found) if isinstance(found, type) else None
    if kind in HOOKS:
        return f"A {kind} is registered by {HOOKS[kind]}."
    name = found.__name__ if isinstance(found, type) else "Mine"
    return f"Write class {name}({base.__name__})."


def _shown(value: object) -> str:
    """A value for a message: as itself where that says something."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    plain = value is None or isinstance(value, str | int | float)
    text = repr(value)
    return text if plain and len(text) <= 40 else f"a {type(value).__name__}"


def is_module_attribute(name: str) -> bool:
    """Branches are kept in a ModuleDict by modality, where these names are taken."""
    from torch.nn import ModuleDict

    return hasattr(ModuleDict(), name)
