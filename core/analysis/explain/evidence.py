"""Predictions of a model with parts of its input absent, at their mean, or permuted."""

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
    """Predictions and gradients of one model on n clips.

    The sizes are G groups of input values, R permutations and C classes. `log_probabilities`,
    `left_out` and `permuted` hold log-probabilities.

    Attributes
    ----------
    indices : array
        (n,) int64: numbers of the clips in the run.
    log_probabilities : array
        (n, C): predictions for the unchanged clips.
    subsets : dict of array
        Probabilities (n, C) by the set of modalities that the strategy may use, for all subsets
        including the empty set.
    left_out : array
        (G, n, C): predictions with the group at its training mean.
    permuted : array
        (G, R, n, C): predictions with the values of the group permuted over the n clips.
    signed, absolute : array
        (G, n): integrated gradients of the log-probability of the most probable class, in nats,
        summed over the group. `absolute` sums absolute values.
    difference, gap : array
        (n,): the explained log-probability minus its value with all inputs at their mean, and
        the sum of the gradients minus this difference.
    knows_absence : bool
        True if the strategy handles absent modalities.
    """

    indices: Indices
    log_probabilities: Floats
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
    replacements: npt.NDArray[np.int64],
) -> Evidence:
    """Compute all predictions and gradients for clips whose inputs fit into memory.

    Parameters
    ----------
    model : Explained
        The trained models.
    inputs : dict of Tensor
        Standardised inputs, (n, *shape).
    indices : array
        (n,) int64: numbers of the clips in the run.
    groups : sequence of Group
        Groups of input values to explain.
    replacements : array
        (R, n) int64: for each permutation and clip, the row of `inputs` whose values replace those
        of the clip.
    """
    with model.evaluating():
        rows = [
            _evidence_of(model, inputs, part, groups, replacements[:, part])
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
    """Return the axis of the clips in a field of :class:`Evidence`."""
    return {"left_out": 1, "permuted": 2, "signed": 1, "absolute": 1}.get(str(name), 0)


def _evidence_of(
    model: Explained,
    inputs: Inputs,
    part: Indices,
    groups: Sequence[Group],
    replacements: npt.NDArray[np.int64],
) -> dict[str | frozenset[str], Tensor]:
    """Compute the fields of :class:`Evidence` for one batch of clips."""
    batch = {key: x[part] for key, x in inputs.items()}
    fields: dict[str | frozenset[str], Tensor] = {}
    with torch.no_grad():
        represented = model.represent(batch)
        fields["log_probabilities"] = model.fuse(represented)  # (B, C)
        for size in range(len(model.modalities) + 1):
            for shown in combinations(model.modalities, size):
                fields[frozenset(shown)] = model.fuse(represented, shown).exp()
        left_out: list[Tensor] = []
        permuted: list[Tensor] = []
        for group in groups:
            blank = {key: torch.zeros_like(x) for key, x in _of_modality(batch, group)}
            left_out.append(_with_replaced(model, batch, represented, group, blank))
            rows = [
                _with_replaced(
                    model,
                    batch,
                    represented,
                    group,
                    {k: x[row] for k, x in _of_modality(inputs, group)},
                )
                for row in replacements
            ]
            permuted.append(
                torch.stack(rows) if rows else left_out[-1].new_empty(0, *left_out[-1].shape)
            )
    fields["left_out"] = torch.stack(left_out)
    fields["permuted"] = torch.stack(permuted)
    attribution = integrated_gradients(model, batch, fields["log_probabilities"].argmax(dim=1))
    values = attribution.values
    fields["signed"] = torch.stack([_total(values, group) for group in groups])
    sizes = {key: x.abs() for key, x in values.items()}
    fields["absolute"] = torch.stack([_total(sizes, group) for group in groups])
    fields["difference"], fields["gap"] = attribution.difference, attribution.gap
    return fields


def _with_replaced(
    model: Explained, inputs: Inputs, represented: Inputs, group: Group, other_inputs: Inputs
) -> Tensor:
    """Return log-probabilities (B, C) with a group's values taken from `other_inputs`.

    Only the group's own modality passes through its branch again. The other modalities use the
    given representations.
    """
    changed = {key: group.replaced(inputs[key], x) for key, x in other_inputs.items()}
    return model.fuse(represented | model.represent(changed))


def _of_modality(inputs: Inputs, group: Group) -> Iterator[tuple[tuple[int, str], Tensor]]:
    """Return the keys and inputs of the group's modality, for all members."""
    return ((key, x) for key, x in inputs.items() if key[1] == group.modality)


def _total(values: Inputs, group: Group) -> Tensor:
    """Return the sum of the values of a group over all members, (B,)."""
    return torch.stack([group.total(x) for _, x in _of_modality(values, group)]).sum(dim=0)
