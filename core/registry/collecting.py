"""Registration of a plugin module's hooks with pluggy, and checks of the classes they return."""

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
from .loading import error_text, error_with_line
from .parameters import parameters_of, space_of
from .problems import BrokenPluginError, describe_value
from .provenance import kind_of

# Names that no plugin may have: names of rows in a run's table, and of owners of settings.
RESERVED = {"fused", "ensemble", "chosen", "oracle", "train", "none", "diagnosis"}

# Hook that registers plugins, by kind of plugin.
HOOKS = {
    "corpus": "fusion_corpora",
    "extractor": "fusion_extractors",
    "branch": "fusion_branches",
    "strategy": "fusion_strategies",
    "balancer": "fusion_balancers",
    "tracker": "fusion_trackers",
    "remedy": "fusion_remedies",
}

# Parameters that fusion itself sets, by kind of plugin.
SET_BY_FUSION = {"branch": ("dim",)}


def well_formed(name: str) -> bool:
    """Return True if `name` is a letter and then lower-case letters, digits and underscores."""
    return re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None


def reserved(kind: str) -> set[str]:
    """Return the names that no plugin of `kind` may have.

    A strategy may be called "ensemble", because strategies are not rows of a run's table.
    """
    return RESERVED - {"ensemble"} if kind == "strategy" else RESERVED


def is_module_attribute(name: str) -> bool:
    """Return True if torch's ModuleDict has an attribute `name`: no modality may have this name."""
    from torch.nn import ModuleDict

    return hasattr(ModuleDict(), name)


def base_of(kind: str) -> type[Plugin]:
    """Return the contract class of a kind of plugin."""
    from .. import contracts

    base: type[Plugin] = getattr(contracts, kind.capitalize())
    return base


def kind_of_hook(hook: str) -> str | None:
    """Return the kind of plugin that `hook`, a current or an old name of a hook, registers."""
    current = hooks.new_name(hook)
    return next((kind for kind, name in HOOKS.items() if name == current), None)


# -- hooks ---------------------------------------------------------------------------


def register(module: ModuleType, name: str, manager: pluggy.PluginManager) -> list[str]:
    """Register the hooks of a module; return pluggy's warnings about old names and arguments.

    Raises
    ------
    BrokenPluginError
        If the module has no hooks, a hook of an unknown name, or a hook with an argument that is
        not in the hook's specification.
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
    """Yield the kind and the class of each checked plugin that a module's hooks return.

    Each hook is called for this module alone, so that a failure is attributed to one module and
    does not affect other modules.

    Parameters
    ----------
    module : module
        A module whose hooks are registered.
    manager : PluginManager
        The manager in which the hooks are registered.
    available : mapping
        Arguments that a hook may name in its signature.

    Raises
    ------
    BrokenPluginError
        If a hook raises, a hook returns anything other than a list of classes of its kind, or a
        class can't be used.
    """
    other_modules = manager.get_plugins() - {module}
    for hook in [caller.name for caller in manager.get_hookcallers(module) or ()]:
        kind = kind_of_hook(hook)
        if kind is None:  # an optional hook of a later version of the contract
            continue
        try:
            for cls in _returned(manager.subset_hook_caller(hook, other_modules), kind, available):
                _check(cls, kind, f"its class {cls.__name__} (of {hook})")
                yield kind, cls
        except BrokenPluginError as error:
            error.hook = hook
            raise


def _returned(
    caller: pluggy.HookCaller, kind: str, available: Mapping[str, Any]
) -> list[type[Plugin]]:
    """Return the classes that a plugin's hook registers, all of the given kind."""
    hook, base = f"its hook {caller.name}", base_of(kind)
    try:
        # pluggy drops results of None, and returns results in reverse order of registration.
        lists = [
            list(result) if isinstance(result, Iterable) else _no_list(hook, result, base)
            for result in reversed(caller(**available) or [None])
        ]
    except BrokenPluginError:
        raise
    except (Exception, SystemExit) as error:
        file = caller.get_hookimpls()[0].function.__module__
        reason = f"{hook} raised {error_with_line(error, file)}"
        raise BrokenPluginError(reason, remedy="Fix the plugin.") from error
    classes = [cls for result in lists for cls in result]
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise BrokenPluginError(
                f"{hook} returned {describe_value(cls)}, which is not a {base.__name__} class.",
                remedy=_remedy(cls, base),
            )
    return classes


def _no_list(hook: str, result: object, base: type[Plugin]) -> Never:
    inside = result.__name__ if isinstance(result, type) else "..."
    raise BrokenPluginError(
        f"{hook} returned {describe_value(result)}, and must return a list of "
        f"{base.__name__} classes.",
        remedy="Is a `return` missing?" if result is None else f"Write return [{inside}].",
    )


def _remedy(value: object, base: type[Plugin]) -> str:
    """Return the remedy for a value that is not a class of the hook's kind."""
    if isinstance(value, base):
        return f"Return the class {type(value).__name__}, not an object of it."
    kind = kind_of(value) if isinstance(value, type) else None
    if kind in HOOKS:
        return f"A {kind} is registered by {HOOKS[kind]}."
    name = value.__name__ if isinstance(value, type) else "Mine"
    return f"Write class {name}({base.__name__})."


def _refused(module: ModuleType, error: pluggy.PluginValidationError) -> BrokenPluginError:
    """Return an error for the plugin's author about a module that pluggy rejected."""
    free = pluggy.PluginManager(hooks.PROJECT)  # without specifications, so pluggy refuses nothing
    free.register(module)
    callers = free.get_hookcallers(module) or ()
    for hook, impl in ((caller.name, i) for caller in callers for i in caller.get_hookimpls()):
        if kind_of_hook(hook) is None:
            if not impl.optionalhook:
                return _unknown(hook)
            continue
        specified = list(signature(getattr(hooks, hook)).parameters)
        unknown = [name for name in impl.argnames if name not in specified]
        if unknown:
            possible = f"takes {', '.join(specified)}" if specified else "takes none"
            remaining = ", ".join(name for name in impl.argnames if name in specified)
            return BrokenPluginError(
                f"its hook {hook} has an argument {unknown[0]!r}, and the hook {possible}.",
                remedy=f"Write def {hook}({remaining}) instead.",
                hook=hook,
            )
    return BrokenPluginError(
        f"pluggy rejects it: {str(error).splitlines()[-1]}.", remedy="Fix the plugin."
    )


def _unknown(hook: str) -> BrokenPluginError:
    close = difflib.get_close_matches(hook, HOOKS.values(), n=1, cutoff=0.6)
    suggestion = f" Did you mean {close[0]!r}?" if close else ""
    return BrokenPluginError(
        f"there is no hook {hook!r}.{suggestion} Possible hooks: {', '.join(HOOKS.values())}.",
        remedy="Rename the function.",
        hook=hook,
    )


def _no_hook(module: ModuleType) -> BrokenPluginError:
    forgotten = next((hook for hook in HOOKS.values() if callable(getattr(module, hook, None))), "")
    if forgotten:
        return BrokenPluginError(
            f"its function {forgotten} is not marked @hookimpl, so it registers nothing.",
            remedy=f"Write @hookimpl (from fusion import hookimpl) above def {forgotten}().",
            hook=forgotten,
        )
    return BrokenPluginError(
        f"it has no function marked @hookimpl. Possible hooks: {', '.join(HOOKS.values())}.",
        remedy="Write a hook that returns the plugin's classes; fusion plugins new makes an "
        "example.",
    )


# -- classes -------------------------------------------------------------------------


def _check(cls: type[Plugin], kind: str, label: str) -> None:
    """Raise BrokenPluginError if a class can't be used; `label` is the class's name in messages."""
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not name:
        raise BrokenPluginError(
            f"{label} has no name.", remedy=f'Write name = "..." in class {cls.__name__}.'
        )
    if not well_formed(name):
        raise BrokenPluginError(
            f"{label} is called {name!r}; names are lower-case letters, digits and underscores.",
            remedy="Rename it.",
        )
    if name in reserved(kind) or (kind == "extractor" and is_module_attribute(name)):
        raise BrokenPluginError(
            f"{label} can't be called {name!r}: {name!r} is reserved.", remedy="Rename it."
        )
    parameters = _parameters(cls, label)
    for name in SET_BY_FUSION.get(kind, ()):
        if name not in parameters:
            raise BrokenPluginError(
                f"{label} has no parameter {name!r}, which fusion gives to every {kind}.",
                remedy=f"Write it in __init__ with its type and a default: {name}: int = 64.",
            )


def _parameters(cls: type[Plugin], label: str) -> Collection[str]:
    try:
        space_of(cls)
        return parameters_of(cls)
    except FusionError as error:
        raise BrokenPluginError(
            f"{label} can't be used: {error.message}", remedy=error.hint or "Fix the plugin."
        ) from error
    except Exception as error:
        raise BrokenPluginError(
            f"the parameters of {label} can't be read: {error_text(error)}",
            remedy="The annotations of __init__ must be names that its module has at run time.",
        ) from error
