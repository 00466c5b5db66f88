"""Comparison of each modality's score with the scores of the other modalities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...core.contracts import Step

# Ratios up to this count as 1, because equal scores can differ by rounding.
AHEAD = 1 + 1e-5


def known_scores(step: Step) -> dict[str, Tensor]:
    """Return :meth:`Step.scores` of the modalities that at least one clip of the batch has.

    A modality that no clip has would have the score 0, and every other modality would lead.
    """
    scores = step.scores()
    return {m: scores[m] for m in step.batch_modalities if m in scores}


def ratios(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return rho_m = s_m / mean of s_j over j != m, a scalar, by modality.

    The ratio of a single modality is 1. For two modalities the ratio is that of Peng et al. (2022).
    The mean over all other modalities is the usual generalisation to more than two.
    """
    values = torch.stack(list(scores.values()))  # (M,)
    if len(values) == 1:
        return {m: torch.ones_like(score) for m, score in scores.items()}
    values = values.clamp_min(1e-12)  # avoids division by 0 if a modality is always wrong
    other_means = (values.sum() - values) / (len(values) - 1)  # (M,)
    return dict(zip(scores, values / other_means, strict=True))
