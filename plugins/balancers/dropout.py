"""Modality dropout: the strategy learns to classify clips that lack a modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import Balancer, Space, Step, Uniform, hookimpl
from ...core.toolkit.device import on_device
from ...core.toolkit.ranges import check_ranges


class ModalityDropout(Balancer):
    """Random removal of modalities per clip in training, never of all modalities.

    ::

        u_im ~ uniform(0, 1)
        clip i shows modality m  if  u_im >= p  or  u_im is the largest of clip i

    Each modality is dropped independently with probability p. If all modalities of a clip would be
    dropped, one modality stays, chosen with equal probabilities. A strategy that accepts missing
    modalities receives the mask. For any other strategy a dropped modality is set to zero. In both
    cases the branch of the dropped modality receives no gradient from the clip. The remaining
    modalities are not scaled up; a strategy that accepts missing modalities compensates by its own
    rule. Modalities that another balancer has hidden stay hidden. No modality is dropped outside
    training.

    Parameters
    ----------
    p : float
        Probability of dropping a modality, in [0, 1). The default is this project's choice.

    When to use
    -----------
    If one modality dominates the other modalities, or if clips may lack a modality in use.

    Cost
    ----
    Only M random numbers per clip.

    References
    ----------
    Neverova et al. (2016), "ModDrop: Adaptive Multi-modal Gesture Recognition", TPAMI.
    """

    name = "dropout"
    space: ClassVar[Mapping[str, Space]] = {"p": Uniform(0.05, 0.5)}
    conformance = {  # noqa: RUF012
        "order_matters": "random numbers are drawn for one modality after the other"
    }

    def __init__(self, *, p: float = 0.2) -> None:
        check_ranges(self.name, "p from 0 to below 1", locals())
        self.p = p

    def present(self, present: Tensor, step: Step) -> Tensor:
        if present.shape[1] == 1:
            return present
        drawn = on_device(torch.rand(present.shape, generator=step.generator), present.device)
        return present & keep_mask(drawn.masked_fill(~present, -1.0), self.p)


def keep_mask(drawn: Tensor, p: float) -> Tensor:
    """Return which modalities to keep, (B, M) bool, at least one per clip, from uniform numbers."""
    return (drawn >= p) | (drawn == drawn.amax(dim=1, keepdim=True))


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [ModalityDropout]
