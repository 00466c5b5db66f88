"""How each modality's score compares with the scores of the others."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# A ratio above this is above 1: means of equal numbers differ in their last digits.
AHEAD = 1 + 1e-5


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
