"""Checks of the types and shapes of values that plugins return, directly after each call.

The checks compare shapes but not values, and therefore do not wait for the device. Without these
checks a wrong shape causes an error much later, outside the plugin, or broadcasts silently.

Every function returns a valid value unchanged, and raises a PluginError for an invalid value. The
message names the plugin, the method, the value returned and the value expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..contracts import Clips
from ..contracts.errors import PluginError
from ..registry.problems import describe_value
from ..registry.provenance import name_of

T = TypeVar("T")

SCORES = "(clips, classes)"
EMBEDDINGS = "(clips, dim)"


def tensor(
    plugin: object, method: str, value: Any, shape: tuple[int, ...], axes: str, *, of: str = ""
) -> Tensor:
    """Check that `value` is a tensor of `shape`.

    Parameters
    ----------
    axes : str
        Names of the axes, for the message.
    of : str
        Text after the value in the message, e.g. ``" for 'mel'"``.
    """
    if not isinstance(value, Tensor) or value.shape != shape:
        expected = f"a tensor of shape {tuple(shape)} = {axes}"
        raise wrong_return(plugin, method, value, expected, of=of)
    return value


def feature_map(
    plugin: object, method: str, value: Any, start: tuple[int, int], *, of: str = ""
) -> Tensor:
    """Check that the shape of the map `value` starts with the numbers of clips and channels."""
    if not isinstance(value, Tensor) or value.shape[:2] != start:
        expected = f"a map of shape ({start[0]}, {start[1]}, *grid) = (clips, map_channels, *grid)"
        raise wrong_return(plugin, method, value, expected, of=of)
    return value


def mask(plugin: object, method: str, value: Any, like: Tensor) -> Tensor:
    """Check that `value` is a bool tensor (clips, modalities) of the shape of `like`."""
    if not isinstance(value, Tensor) or value.shape != like.shape or value.dtype != torch.bool:
        expected = f"a bool tensor of shape {tuple(like.shape)} = (clips, modalities)"
        raise wrong_return(plugin, method, value, expected)
    return value


def by_modality(
    plugin: object, method: str, value: Any, like: Mapping[str, Tensor], axes: int | None = None
) -> dict[str, Tensor]:
    """Check that `value` has a tensor for each modality of `like`, with the same shape.

    Parameters
    ----------
    axes : int, optional
        Number of leading axes to compare; by default all.
    """
    if not isinstance(value, dict):
        raise wrong_return(plugin, method, value, "a dict of tensors by modality")
    if value.keys() != like.keys():
        names, expected_names = ", ".join(map(str, value)) or "none", ", ".join(like)
        shown_as = f"a dict of the modalities {names}"
        raise wrong_return(plugin, method, value, f"one of {expected_names}", shown_as=shown_as)
    for m, expected in like.items():
        x = value[m]
        if not isinstance(x, Tensor) or x.shape[:axes] != expected.shape[:axes]:
            shape = tuple(expected.shape)
            raise wrong_return(plugin, method, x, f"a tensor of shape {shape}", of=f" for {m!r}")
    return value


def losses(plugin: object, method: str, value: Any) -> dict[str, Tensor]:
    """Check that `value` is a non-empty dict of losses, scalar tensors by name."""
    if not isinstance(value, dict) or not value:
        raise wrong_return(plugin, method, value, "a dict of losses, name -> scalar tensor")
    for name, loss in value.items():
        if not isinstance(loss, Tensor) or loss.dim() > 0:
            of = f" for the loss {name!r}"
            raise wrong_return(plugin, method, loss, "a scalar tensor", of=of)
    return value


def clips(plugin: object, method: str, value: Any, modalities: int) -> Clips:
    """Check that `value` is a `Clips` with at least one index and a `present` row per index."""
    instance(plugin, method, value, Clips)
    indices, present = (getattr(array, "shape", None) for array in (value.indices, value.present))
    fits = indices is not None and len(indices) == 1 and indices[0] > 0
    if indices is not None and value.present is not None:
        fits = fits and present == (*indices, modalities)
    if not fits:
        expected = f"indices of shape (n,), n > 0, and present None or of shape (n, {modalities})"
        shown_as = f"Clips with indices of shape {indices} and present of shape {present}"
        raise wrong_return(plugin, method, value, expected, shown_as=shown_as)
    checked: Clips = value
    return checked


def sequence(plugin: object, method: str, value: Any, cls: type[T]) -> list[T]:
    """Check that `value` is a list of objects of `cls`."""
    if not isinstance(value, list) or not all(isinstance(item, cls) for item in value):
        raise wrong_return(plugin, method, value, f"a list of {cls.__name__}")
    return value


def instance(plugin: object, method: str, value: Any, cls: type[T]) -> T:
    """Check that `value` is an object of `cls`."""
    if not isinstance(value, cls):
        article = "an" if cls.__name__[0] in "AEIOU" else "a"
        raise wrong_return(plugin, method, value, f"{article} {cls.__name__}")
    return value


def numbers(plugin: object, method: str, value: Any) -> Mapping[str, float]:
    """Check that `value` is a mapping of plain numbers by name."""
    if not isinstance(value, Mapping):
        raise wrong_return(plugin, method, value, "a dict of numbers by name")
    for name, number in value.items():
        if not isinstance(number, int | float):
            of = f" for {name!r}"
            raise wrong_return(plugin, method, number, "a number (float(...))", of=of)
    return value


def wrong_return(
    plugin: object, method: str, value: Any, expected: str, *, of: str = "", shown_as: str = ""
) -> PluginError:
    """Return the error for a plugin whose method returned `value` instead of `expected`.

    Parameters
    ----------
    expected : str
        Description of the right value.
    of : str
        Text after the value in the message, e.g. ``" for 'mel'"``.
    shown_as : str
        Description of `value`; by default its shape, or a short form of its text.
    """
    if isinstance(value, Tensor):
        kind = "a bool tensor" if value.dtype == torch.bool else "a tensor"
        shown_as = f"{kind} of shape {tuple(value.shape)}"
    qualified_name = f"{type(plugin).__name__}.{method}"
    missing = f"Is there a `return` at the end of {qualified_name}?"
    return PluginError(
        f"{name_of(plugin, capital=True)} returned {shown_as or describe_value(value)}{of} "
        f"from {method}, where {expected} is expected.",
        hint=missing if value is None else f"Look at {qualified_name}.",
    )
