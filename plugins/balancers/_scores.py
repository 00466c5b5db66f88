"""How each modality's score compares with the scores of the others."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...core.contracts import Step

# A ratio above this is above 1: means of equal numbers differ in their last digits.
AHEAD = 1 + 1e-5


def compared(step: Step) -> dict[str, Tensor]:
    """:meth:`Step.scores` of the modalities that some clip of the batch has.

    Beside one that none has, every other would lead without end.
    """
    scores = step.scores()
    return {m: scores[m] for m in step.known if m in scores}


def ratios(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """rho_m = s_m / mean of s_j over j != m, a scalar, by modality.

    Of a single modality it is 1. For two it is the ratio that Peng et al. (2022) take; the mean
    is the usual generalisation.
    """
    given = torch.stack(list(scores.values()))  # (M,)
    if len(given) == 1:
        return {m: torch.ones_like(score) for m, score in scores.items()}
    given = given.clamp_min(1e-12)  # a modality that is always wrong must not divide by zero
    others = (given.sum() - given) / (len(given) - 1)  # (M,)
    return dict(zip(scores, given / others, strict=True))
