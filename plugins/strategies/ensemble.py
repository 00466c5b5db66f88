"""Late fusion: each modality classifies, and their probabilities are averaged."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...core.contracts import Baseline, Strategy, hookimpl
from ...core.toolkit.ensemble import ensemble_weights
from ._heads import adopt_heads
from ._presence import shares


class Ensemble(Strategy):
    """scores = log(sum over m of w_m softmax(head_m(z_m))): a weighted mean of probabilities.

    The weights w are not trained. They are chosen on the validation clips before each
    validation: those of the simplex with the smallest negative log-likelihood, a single
    modality alone included, so that with its weights the ensemble is never worse there than
    its best member (mixture weights, found by EM). Until then they are equal, and while it is
    trained they always are: one that had a weight of 0 after the first epoch would never be
    trained again.

    The loss is that of the mean, not the mean of the losses: the gradient that reaches
    modality m is that of its own cross-entropy times p_m(y) / sum over j of p_j(y), so the
    surer modality is trained the most, and one that is behind falls back further. Balancers
    that give the branches losses of their own, `--balance unimodal_loss` or `--balance dgl`,
    train the heads' branches independently of each other. The ensemble that every run makes of
    its baselines, in its table, consists of models trained apart; this one is trained together.

    Where the fused model starts from the baselines, each head starts as its baseline's.

    Of a clip that lacks modalities, the mean is over those it has.

    Parameters
    ----------
    dims : dict of str to int
        Modality -> size of its embedding.
    num_classes : int
        Number of classes.

    When to use
    -----------
    As the reference that fusion has to beat; where modalities come and go.

    Cost
    ----
    (sum of D_m + M) x C weights, and next to no time.

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
        """Log-probabilities of each modality's head, (B, M, C)."""
        scores = [self.heads[m](inputs[m]).float() for m in self.order]
        return torch.stack(scores, dim=1).log_softmax(dim=2)

    def forward(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        members = self.members(inputs)
        weights = self._shares(present, members)  # (B, M)
        # log of 0 is -inf, which adds nothing to the sum and sends no gradient back.
        return (weights.log()[:, :, None] + members).logsumexp(dim=1)  # (B, C)

    def _shares(self, present: Tensor | None, members: Tensor) -> Tensor:
        if present is None:
            present = torch.ones(members.shape[:2], dtype=torch.bool, device=members.device)
        equal = shares(present)
        if self.training:
            return equal
        own = self.weights * present
        total = own.sum(dim=1, keepdim=True)
        # A clip may have none but modalities without weight.
        return torch.where(total > 0, own / total.clamp_min(1e-12), equal)

    @torch.no_grad()
    def calibrate(self, inputs: dict[str, Tensor], labels: Tensor) -> None:
        probabilities = self.members(inputs).exp().cpu().numpy()  # (n, M, C)
        members = [probabilities[:, i] for i in range(len(self.order))]
        chosen = ensemble_weights(members, labels.cpu().numpy())
        self.weights.copy_(torch.from_numpy(chosen))

    def modality_weights(self, inputs: dict[str, Tensor], present: Tensor | None = None) -> Tensor:
        return self._shares(present, self.members(inputs))


@hookimpl
def fusion_strategies() -> list[type[Strategy]]:
    return [Ensemble]
