"""Normalised fusion: embeddings on a common scale and a regularised head."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ...core.contracts import LogInteger, Strategy, Uniform, hookimpl
from ...core.toolkit.ranges import check_ranges


class Normalised(Strategy):
    """Batch-normalised embeddings, concatenated and classified by a regularised head.

    ::

        scores = W2 dropout(relu(BN(W1 [BN(z_1) .. BN(z_M)]))) + b

    Batch normalisation (BN) brings each modality's embedding to mean 0 and variance 1 before the
    concatenation, so no modality outweighs other modalities by its scale alone. Batch normalisation
    and dropout between the two layers of the head reduce overfitting of the head.

    The inner batch normalisations have no learned scale and shift. W1 holds the scale. A shift
    would be removed by the normalisation after W1 and would never receive a gradient.

    Parameters
    ----------
    dims : dict of str to int
        Size of the embedding by modality.
    num_classes : int
        Number of classes.
    hidden : int
        Width of the head's hidden layer, >= 1.
    dropout : float
        Dropout after the hidden layer, in [0, 1).

    When to use
    -----------
    If the embeddings or their gradients differ by an order of magnitude between modalities, or if
    the fused head overfits. Training needs at least two clips in a batch.

    Cost
    ----
    (sum of D_m) x hidden + hidden x C weights; little time.

    References
    ----------
    Ioffe and Szegedy (2015), "Batch Normalization: Accelerating Deep Network Training by Reducing
    Internal Covariate Shift", ICML. Srivastava et al. (2014), "Dropout: A Simple Way to Prevent
    Neural Networks from Overfitting", JMLR.
    """

    name = "normalised"
    space: ClassVar = {"hidden": LogInteger(16, 256), "dropout": Uniform(0.0, 0.6)}

    def __init__(
        self, dims: dict[str, int], num_classes: int, *, hidden: int = 64, dropout: float = 0.3
    ) -> None:
        super().__init__(dims, num_classes)
        check_ranges(self.name, "hidden >= 1 and 0 <= dropout < 1", locals())
        self.norms = nn.ModuleDict({m: nn.BatchNorm1d(d, affine=False) for m, d in dims.items()})
        self.head = nn.Sequential(
            nn.Linear(sum(dims.values()), hidden, bias=False),  # the normalisation has a shift
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        joined = torch.cat([norm(inputs[m]) for m, norm in self.norms.items()], dim=1)
        scores: Tensor = self.head(joined)  # (B, sum D_m) -> (B, C)
        return scores


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Normalised]
