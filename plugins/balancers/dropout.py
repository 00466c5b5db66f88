"""Modality dropout: the strategy learns to do without any one modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import Balancer, Space, Step, Uniform, hookimpl
from ...core.toolkit.device import on_device
from ...core.toolkit.ranges import check_ranges


class ModalityDropout(Balancer):
    """Hides modalities from the strategy, at random for each clip, never all of them.

    ::

        u_im ~ uniform(0, 1)
        clip i shows modality m  if  u_im >= p  or  u_im is the largest of clip i

    So each modality is dropped with probability p by itself, and where all would be, one of
    them, each as likely, stays. A strategy that knows absence is told; for another an absent
    modality is blank (zero), and no gradient reaches its branch from that clip. Nothing is
    scaled up to make good for what is missing: a strategy that knows absence does that itself.
    What another balancer has hidden stays hidden. Only in training.

    Parameters
    ----------
    p : float
        Probability of dropping a modality, in [0, 1). This project's choice.

    When to use
    -----------
    When one modality drowns the others, or when clips may lack a modality later on.

    Cost
    ----
    None but M random numbers per clip.

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
        return present & kept(drawn.masked_fill(~present, -1.0), self.p)


def kept(drawn: Tensor, p: float) -> Tensor:
    """(B, M) uniform numbers -> (B, M) bool, at least one True in each row."""
    return (drawn >= p) | (drawn == drawn.amax(dim=1, keepdim=True))


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [ModalityDropout]
