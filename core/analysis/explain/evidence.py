"""What a model says of clips when parts of its input are absent, blank or another clip's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...data.features import Indices
from .gradients import integrated_gradients
from .groups import Group
from .model import Explained, Inputs

BATCH = 64

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Evidence:
    """Answers of one model on n clips; G groups of its input, R permutations, C classes.

    All but `subsets` and the gradients are log-probabilities.

    Attributes
    ----------
    indices : array
        (n,) int64, which clips of the run.
    said : array
        (n, C): of the clips as they are.
    subsets : dict of array
        Modalities that the strategy sees -> probabilities (n, C); the empty set is among them.
    left_out : array
        (G, n, C): the group is at its training mean.
    permuted : array
        (G, R, n, C): the group is that of another of the n clips.
    signed, absolute : array
        (G, n): integrated gradients of the most probable class's log-probability, summed over
        the group: with their signs, and without.
    difference, gap : array
        (n,): that log-probability minus that of all inputs at their training mean, and by how
        much the sum of the gradients misses it.
    knows_absence : bool
        Whether the strategy was told what is absent.
    """

    indices: Indices
    said: Floats
    subsets: dict[frozenset[str], Floats]
    left_out: Floats
    permuted: Floats
    signed: Floats
    absolute: Floats
    difference: Floats
    gap: Floats
    knows_absence: bool


def gather(
    model: Explained,
    inputs: Inputs,
    indices: Indices,
    groups: Sequence[Group],
    others: npt.NDArray[np.int64],
) -> Evidence:
    """Ask the model everything about clips whose inputs are held in memory.

    Parameters
    ----------
    inputs : dict of Tensor
        Standardised, (n, *shape).
    indices : array
        (n,) int64: which clips they are.
    others : array
        (R, n) int64: in each permutation, the clip that stands in for each clip.
    """
    with model.evaluating():
        rows = [
            _ask(model, inputs, part, groups, others[:, part])
            for part in np.array_split(np.arange(len(indices)), -(-len(indices) // BATCH))
        ]
    joined = {
        name: torch.cat([row[name] for row in rows], dim=_clips_axis(name)).cpu().numpy()
        for name in rows[0]
    }
    subsets = {name: rows for name, rows in joined.items() if isinstance(name, frozenset)}
    named: dict[str, Any] = {n: rows for n, rows in joined.items() if isinstance(n, str)}
    return Evidence(indices, subsets=subsets, knows_absence=model.knows_absence, **named)


def _clips_axis(name: str | frozenset[str]) -> int:
    """Where the clips are counted in an array of :class:`Evidence`."""
    return {"left_out": 1, "permuted": 2, "signed": 1, "absolute": 1}.get(str(name), 0)


def _ask(
    model: Explained,
    inputs: Inputs,
    part: Indices,
    groups: Sequence[Group],
    others: npt.NDArray[np.int64],
) -> dict[str | frozenset[str], Tensor]:
    """Everything about some clips that fit into a batch."""
    here = {key: x[part] for key, x in inputs.items()}
    found: dict[str | frozenset[str], Tensor] = {}
    with torch.no_grad():
        known = model.represent(here)
        found["said"] = model.fuse(known)  # (B, C)
        for size in range(len(model.modalities) + 1):
            for shown in combinations(model.modalities, size):
                found[frozenset(shown)] = model.fuse(known, shown).exp()
        left: list[Tensor] = []
        permuted: list[Tensor] = []
        for group in groups:
            blank = {key: torch.zeros_like(x) for key, x in _of(here, group)}
            left.append(_said_with(model, here, known, group, blank))
            rows = [
                _said_with(model, here, known, group, {k: x[row] for k, x in _of(inputs, group)})
                for row in others
            ]
            permuted.append(torch.stack(rows) if rows else left[-1].new_empty(0, *left[-1].shape))
    found["left_out"] = torch.stack(left)
    found["permuted"] = torch.stack(permuted)
    attribution = integrated_gradients(model, here, found["said"].argmax(dim=1))
    values = attribution.values
    found["signed"] = torch.stack([_total(values, group) for group in groups])
    sizes = {key: x.abs() for key, x in values.items()}
    found["absolute"] = torch.stack([_total(sizes, group) for group in groups])
    found["difference"], found["gap"] = attribution.difference, attribution.gap
    return found


def _said_with(
    model: Explained, inputs: Inputs, known: Inputs, group: Group, others: Inputs
) -> Tensor:
    """Log-probabilities (B, C) with a group's values taken from `others`.

    Only the group's own modality goes through its branch again; of the others the
    representations are `known`.
    """
    changed = {key: group.replaced(inputs[key], other) for key, other in others.items()}
    return model.fuse(known | model.represent(changed))


def _of(inputs: Inputs, group: Group) -> Iterator[tuple[tuple[int, str], Tensor]]:
    return ((key, x) for key, x in inputs.items() if key[1] == group.modality)


def _total(values: Inputs, group: Group) -> Tensor:
    """Sum over the group in every member, (B,)."""
    return torch.stack([group.total(x) for _, x in _of(values, group)]).sum(dim=0)
