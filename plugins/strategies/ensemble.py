"""Late fusion: a weighted mean of single-modality class probabilities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...core.contracts import Baseline, Strategy, hookimpl
from ...core.toolkit.ensemble import ensemble_weights
from ._heads import adopt_heads
from ._presence import equal_weights


class Ensemble(Strategy):
    """Weighted mean of the class probabilities of single-modality heads.

    ::

        scores = log(sum over m of w_m softmax(head_m(z_m)))
        w      = 1/M each in training;
                 otherwise the point of the simplex with the smallest NLL on validation

    The weights w are not trained with the model. Before each validation the weights are set to the
    mixture weights with the smallest negative log-likelihood (NLL) on the validation clips.
    Expectation maximisation (EM) finds these mixture weights. The candidates include each modality
    alone, so on validation the NLL of the ensemble is never above that of the best modality. Before
    the first validation, and in every training step, the weights are equal. If training used the
    fitted weights, a modality with weight 0 after the first epoch would never be trained again.

    The loss is the cross-entropy of the mean, not the mean of the cross-entropies. The gradient
    that reaches modality m is the gradient of m's own cross-entropy times p_m(y) / sum over j of
    p_j(y). The modality with the highest p_m(y) is therefore trained the most, and a modality that
    lags falls further behind. Balancers that give each branch its own loss, `--balance
    unimodal_loss` or `--balance dgl`, train the branches independently of each other. The ensemble
    of the baselines in the table of every run consists of models trained separately; this strategy
    is trained jointly.

    If the fused model starts from the baselines, each head starts as the head of its baseline.

    If a clip lacks modalities, the mean is over the modalities that it has.

    Parameters
    ----------
    dims : dict of str to int
        Size of the embedding by modality.
    num_classes : int
        Number of classes.

    When to use
    -----------
    As the reference that other strategies have to beat. Also if modalities are often missing.

    Cost
    ----
    (sum of D_m + M) x C weights; the time is negligible.

    References
    ----------
    Dempster, Laird and Rubin (1977), "Maximum Likelihood from Incomplete Data via the EM
    Algorithm", JRSS B.
    """

    name = "ensemble"
    reads_validation = True
    accepts_missing = True

    weights: Tensor

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__(dims, num_classes)
        self.order = list(dims)
        self.heads = nn.ModuleDict({m: nn.Linear(d, num_classes) for m, d in dims.items()})
        self.register_buffer("weights", torch.full((len(dims),), 1 / len(dims)))

    @torch.no_grad()
    def adopt(self, baselines: Mapping[str, Baseline]) -> None:
        adopt_heads(self.heads, baselines)

    def members(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the log-probabilities of each modality's head, (B, M, C)."""
        scores = [self.heads[m](inputs[m]).float() for m in self.order]
        return torch.stack(scores, dim=1).log_softmax(dim=2)

    def forward(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        members = self.members(inputs)
        weights = self._mixture_weights(present, members)  # (B, M)
        # The log of weight 0 is -inf, which adds nothing to the sum and has no gradient.
        return (weights.log()[:, :, None] + members).logsumexp(dim=1)  # (B, C)

    def _mixture_weights(self, present: Tensor | None, members: Tensor) -> Tensor:
        if present is None:
            present = torch.ones(members.shape[:2], dtype=torch.bool, device=members.device)
        equal = equal_weights(present)
        if self.training:
            return equal
        own = self.weights * present
        total = own.sum(dim=1, keepdim=True)
        # All modalities of a clip may have weight 0; equal weights replace them.
        return torch.where(total > 0, own / total.clamp_min(1e-12), equal)

    @torch.no_grad()
    def calibrate(self, inputs: dict[str, Tensor], labels: Tensor) -> None:
        probabilities = self.members(inputs).exp().cpu().numpy()  # (n, M, C)
        members = [probabilities[:, i] for i in range(len(self.order))]
        chosen = ensemble_weights(members, labels.cpu().numpy())
        self.weights.copy_(torch.from_numpy(chosen))

    def modality_weights(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        return self._mixture_weights(present, self.members(inputs))


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Ensemble]
