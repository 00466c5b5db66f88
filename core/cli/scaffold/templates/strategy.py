"""A fusion strategy: what any modality says loudly counts."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from fusion import LogUniform, ParameterError, Strategy, hookimpl
from torch import Tensor, nn

api_version = 1


class MyPlugin(Strategy):
    """A smooth maximum over the modalities, entry by entry, and a linear head.

    ::

        scores = head(log(mean over m of exp(sharpness * W_m z_m)) / sharpness)

    Near sharpness 0 that is the mean of the projected embeddings, for a large one their maximum.
    The mean is over the modalities that a clip has.

    Parameters
    ----------
    dims : dict of str to int
        Modality -> size of its embedding.
    num_classes : int
        Number of classes.
    sharpness : float
        How close to the maximum, > 0.

    When to use
    -----------
    Where each modality is right about other clips, and one that is sure should be heard.

    Cost
    ----
    D x (sum of D_m) + D x C weights, D the largest of the D_m; little time.

    References
    ----------
    Pinheiro and Collobert (2015), "From Image-level to Pixel-level Labeling with Convolutional
    Networks", CVPR, where this mean is over the pixels of an image.
    """

    name = "my_plugin"
    accepts_missing = True
    space: ClassVar = {"sharpness": LogUniform(0.25, 8.0)}

    def __init__(self, dims: dict[str, int], num_classes: int, *, sharpness: float = 1.0) -> None:
        super().__init__(dims, num_classes)
        if sharpness <= 0:
            raise ParameterError(f"{self.name}.sharpness must be above 0, and is {sharpness}.")
        self.sharpness = sharpness
        width = max(dims.values())
        # By modality: forward takes them by name, since the dict it is given has any order.
        self.project = nn.ModuleDict({m: nn.Linear(size, width) for m, size in dims.items()})
        self.head = nn.Linear(width, num_classes)

    def forward(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        projected = [project(inputs[m]) for m, project in self.project.items()]
        stacked = torch.stack(projected, dim=1)  # (B, M, D)
        scores: Tensor = self.head(smooth_maximum(stacked, self.sharpness, present))  # (B, C)
        return scores


def smooth_maximum(values: Tensor, sharpness: float, present: Tensor | None = None) -> Tensor:
    """Between mean and maximum over the second axis: (B, M, D) -> (B, D).

    Parameters
    ----------
    values : Tensor
        (B, M, D).
    sharpness : float
        > 0.
    present : Tensor or None
        (B, M) bool: what counts, one at least in each row. None means all.
    """
    scaled = sharpness * values.float()  # exponentials of bfloat16 are coarse
    if present is None:
        count = torch.tensor(float(values.shape[1]), device=values.device)
    else:
        scaled = scaled.masked_fill(~present[:, :, None], -math.inf)
        count = present.sum(dim=1, keepdim=True).float()  # (B, 1)
    return (scaled.logsumexp(dim=1) - count.log()) / sharpness


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [MyPlugin]
