"""What a plugin module registers: its hooks, called through pluggy, and the classes they return."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from inspect import signature
from types import ModuleType
from typing import Any, Never

import pluggy

from ..contracts import hooks
from ..contracts.data import Plugin
from ..contracts.errors import FusionError
from .loading import described, located
from .parameters import parameters_of, space_of
from .problems import BrokenPluginError, shown
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


def is_module_attribute(name: str) -> bool:
    """Branches are kept in a ModuleDict by modality, where these names are taken."""
    from torch.nn import ModuleDict

    return hasattr(ModuleDict(), name)


def base_of(kind: str) -> type[Plugin]:
    """The contract of a kind."""
    from .. import contracts

    base: type[Plugin] = getattr(contracts, kind.capitalize())
    return base


def kind_of_hook(hook: str) -> str | None:
    """The kind of plugin that a hook registers, by its name or the one it had."""
    now = hooks.new_name(hook)
    return next((kind for kind, name in HOOKS.items() if name == now), None)


# -- hooks ---------------------------------------------------------------------------


def register(module: ModuleType, name: str, manager: pluggy.PluginManager) -> list[str]:
    """Register the hooks of a module; returns what pluggy warns of: old names, old arguments.

    Raises
    ------
    BrokenPluginError
        If it has none, one of an unknown name, or one with an argument that it does not have.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            manager.register(module, name)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise _refused(module, error) from error
    if not any(kind_of_hook(caller.name) for caller in manager.get_hookcallers(module) or ()):
        raise _no_hook(module)
    return [str(warning.message) for warning in caught]


def classes_of(
    module: ModuleType, manager: pluggy.PluginManager, available: Mapping[str, Any]
) -> Iterator[tuple[str, type[Plugin]]]:
    """Kind and class of what the hooks of a registered module return, checked.

    Each hook is called for this module alone: what fails has one name, and stops no other.

    Parameters
    ----------
    available : mapping
        Arguments that a hook may name.

    Raises
    ------
    BrokenPluginError
        If a hook raises, returns something else, or a class can't be used.
    """
    others = manager.get_plugins() - {module}
    for hook in [caller.name for caller in manager.get_hookcallers(module) or ()]:
        kind = kind_of_hook(hook)
        if kind is None:  # an optional one, of a later version
            continue
        try:
            for cls in _returned(manager.subset_hook_caller(hook, others), kind, available):
                _check(cls, kind, f"its class {cls.__name__} (of {hook})")
                yield kind, cls
        except BrokenPluginError as error:
            error.hook = hook
            raise


def _returned(
    caller: pluggy.HookCaller, kind: str, available: Mapping[str, Any]
) -> list[type[Plugin]]:
    """The classes of a kind that a plugin's hook returns."""
    hook, base = f"its hook {caller.name}", base_of(kind)
    try:
        # pluggy leaves out what returned None, and has the last implementation first.
        found = [
            list(one) if isinstance(one, Iterable) else _no_list(hook, one, base)
            for one in reversed(caller(**available) or [None])
        ]
    except BrokenPluginError:
        raise
    except (Exception, SystemExit) as error:
        file = caller.get_hookimpls()[0].function.__module__
        reason = f"{hook} raised {located(error, file)}"
        raise BrokenPluginError(reason, remedy="Mend it.") from error
    classes = [cls for one in found for cls in one]
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise BrokenPluginError(
                f"{hook} returned {shown(cls)}, which is no {base.__name__} class.",
                remedy=_remedy(cls, base),
            )
    return classes


def _no_list(hook: str, found: object, base: type[Plugin]) -> Never:
    inside = found.__name__ if isinstance(found, type) else "..."
    raise BrokenPluginError(
        f"{hook} returned {shown(found)}, and has to return a list of {base.__name__} classes.",
        remedy="Is a `return` missing?" if found is None else f"Write return [{inside}].",
    )


def _remedy(found: object, base: type[Plugin]) -> str:
    """What to write for what is no class of the hook's kind."""
    if isinstance(found, base):
        return f"Return the class {type(found).__name__}, not an object of it."
    kind = kind_of(found) if isinstance(found, type) else None
    if kind in HOOKS:
        return f"A {kind} is registered by {HOOKS[kind]}."
    name = found.__name__ if isinstance(found, type) else "Mine"
    return f"Write class {name}({base.__name__})."


def _refused(module: ModuleType, error: pluggy.PluginValidationError) -> BrokenPluginError:
    """What pluggy refuses, in words for the plugin's author."""
    free = pluggy.PluginManager(hooks.PROJECT)  # without specifications it refuses nothing
    free.register(module)
    callers = free.get_hookcallers(module) or ()
    for hook, one in ((caller.name, one) for caller in callers for one in caller.get_hookimpls()):
        if kind_of_hook(hook) is None:
            if not one.optionalhook:
                return _unknown(hook)
            continue
        known = list(signature(getattr(hooks, hook)).parameters)
        unknown = [name for name in one.argnames if name not in known]
        if unknown:
            possible = f"takes {', '.join(known)}" if known else "takes none"
            kept = ", ".join(name for name in one.argnames if name in known)
            return BrokenPluginError(
                f"its hook {hook} has an argument {unknown[0]!r}, and the hook {possible}.",
                remedy=f"Write def {hook}({kept}) instead.",
                hook=hook,
            )
    return BrokenPluginError(
        f"pluggy refuses it: {str(error).splitlines()[-1]}.", remedy="Mend it."
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


def _check(cls: type[Plugin], kind: str, who: str) -> None:
    """Raise for a class that can't be used; `who` is what messages call it."""
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not name:
        raise BrokenPluginError(
            f"{who} has no name.", remedy=f'Write name = "..." in class {cls.__name__}.'
        )
    if not well_formed(name):
        raise BrokenPluginError(
            f"{who} is called {name!r}; names are lower case letters, digits and underscores.",
            remedy="Rename it.",
        )
    if name in reserved(kind) or (kind == "extractor" and is_module_attribute(name)):
        raise BrokenPluginError(
            f"{who} can't be called {name!r}: {name!r} is reserved.", remedy="Rename it."
        )
    parameters = _parameters(cls, who)
    for name in GIVEN.get(kind, ()):
        if name not in parameters:
            raise BrokenPluginError(
                f"{who} has no parameter {name!r}, which fusion gives to every {kind}.",
                remedy=f"Write it in __init__ with its type and a default: {name}: int = 64.",
            )


def _parameters(cls: type[Plugin], who: str) -> Collection[str]:
    try:
        space_of(cls)
        return parameters_of(cls)
    except FusionError as error:
        raise BrokenPluginError(
            f"{who} can't be used: {error.message}", remedy=error.hint or "Mend it."
        ) from error
    except Exception as error:
        raise BrokenPluginError(
            f"the parameters of {who} can't be read: {described(error)}",
            remedy="The annotations of __init__ must be names that its module has at run time.",
        ) from error
