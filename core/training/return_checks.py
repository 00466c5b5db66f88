"""What plugins return, looked at where they return it: types and shapes, and no values.

A comparison of shapes waits for no device. Without it a wrong shape shows much later, in code that
is not the plugin's, or broadcasts and never shows.
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
    plugin: object, method: str, found: Any, shape: tuple[int, ...], axes: str, *, of: str = ""
) -> Tensor:
    """`found`, a tensor of `shape`, whose axes are called `axes`; `of` says what it is of.

    Raises
    ------
    PluginError
        Naming the plugin, the method, what it returned, and what was expected. So does all else
        here.
    """
    if not isinstance(found, Tensor) or found.shape != shape:
        raise wrong(plugin, method, found, f"a tensor of shape {tuple(shape)} = {axes}", of=of)
    return found


def feature_map(
    plugin: object, method: str, found: Any, start: tuple[int, int], *, of: str = ""
) -> Tensor:
    """`found`, a map over any grid: its shape starts with clips and channels."""
    if not isinstance(found, Tensor) or found.shape[:2] != start:
        expected = f"a map of shape ({start[0]}, {start[1]}, *grid) = (clips, map_channels, *grid)"
        raise wrong(plugin, method, found, expected, of=of)
    return found


def mask(plugin: object, method: str, found: Any, like: Tensor) -> Tensor:
    """`found`, which says of each clip and modality whether it is there, as `like` does."""
    if not isinstance(found, Tensor) or found.shape != like.shape or found.dtype != torch.bool:
        shape = tuple(like.shape)
        raise wrong(plugin, method, found, f"a bool tensor of shape {shape} = (clips, modalities)")
    return found


def by_modality(
    plugin: object, method: str, found: Any, like: Mapping[str, Tensor], axes: int | None = None
) -> dict[str, Tensor]:
    """`found`, a tensor for each modality of `like`, of the same shape.

    Parameters
    ----------
    axes : int, optional
        How many of the axes are compared; by default all.
    """
    if not isinstance(found, dict):
        raise wrong(plugin, method, found, "a dict of tensors by modality")
    if found.keys() != like.keys():
        given, wanted = ", ".join(map(str, found)) or "none", ", ".join(like)
        shown_as = f"a dict of the modalities {given}"
        raise wrong(plugin, method, found, f"one of {wanted}", shown_as=shown_as)
    for m, expected in like.items():
        x = found[m]
        if not isinstance(x, Tensor) or x.shape[:axes] != expected.shape[:axes]:
            shape = tuple(expected.shape)
            raise wrong(plugin, method, x, f"a tensor of shape {shape}", of=f" for {m!r}")
    return found


def losses(plugin: object, method: str, found: Any) -> dict[str, Tensor]:
    """`found`, scalars by name."""
    if not isinstance(found, dict) or not found:
        raise wrong(plugin, method, found, "a dict of losses, name -> scalar tensor")
    for name, loss in found.items():
        if not isinstance(loss, Tensor) or loss.dim() > 0:
            raise wrong(plugin, method, loss, "a scalar tensor", of=f" for the loss {name!r}")
    return found


def clips(plugin: object, method: str, found: Any, modalities: int) -> Clips:
    """`found`, clips with one number each, and a row of what they show."""
    instance(plugin, method, found, Clips)
    indices, present = (getattr(array, "shape", None) for array in (found.indices, found.present))
    fits = indices is not None and len(indices) == 1 and indices[0] > 0
    if indices is not None and found.present is not None:
        fits = fits and present == (*indices, modalities)
    if not fits:
        expected = f"indices of shape (n,), n > 0, and present None or of shape (n, {modalities})"
        shown_as = f"Clips with indices of shape {indices} and present of shape {present}"
        raise wrong(plugin, method, found, expected, shown_as=shown_as)
    checked: Clips = found
    return checked


def sequence(plugin: object, method: str, found: Any, cls: type[T]) -> list[T]:
    """`found`, a list of objects of a class: passes through a batch, groups of parameters."""
    if not isinstance(found, list) or not all(isinstance(one, cls) for one in found):
        raise wrong(plugin, method, found, f"a list of {cls.__name__}")
    return found


def instance(plugin: object, method: str, found: Any, cls: type[T]) -> T:
    """`found`, an object of a class."""
    if not isinstance(found, cls):
        article = "an" if cls.__name__[0] in "AEIOU" else "a"
        raise wrong(plugin, method, found, f"{article} {cls.__name__}")
    return found


def numbers(plugin: object, method: str, found: Any) -> Mapping[str, float]:
    """`found`, plain numbers by name."""
    if not isinstance(found, Mapping):
        raise wrong(plugin, method, found, "a dict of numbers by name")
    for name, value in found.items():
        if not isinstance(value, int | float):
            raise wrong(plugin, method, value, "a number (float(...))", of=f" for {name!r}")
    return found


def wrong(
    plugin: object, method: str, found: Any, expected: str, *, of: str = "", shown_as: str = ""
) -> PluginError:
    """The error of a plugin whose method returned `found` where `expected` was expected."""
    if isinstance(found, Tensor):
        kind = "a bool tensor" if found.dtype == torch.bool else "a tensor"
        shown_as = f"{kind} of shape {tuple(found.shape)}"
    where = f"{type(plugin).__name__}.{method}"
    missing = f"Is there a `return` at the end of {where}?"
    return PluginError(
        f"{name_of(plugin, capital=True)} returned {shown_as or describe_value(found)}{of} "
        f"from {method}, where {expected} is expected.",
        hint=missing if found is None else f"Look at {where}.",
    )
