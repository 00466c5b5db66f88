"""Gradient blending: losses weighted by how well what they teach carries over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ...core.contracts import Balancer, Context, Outputs, Space, Step, Uniform, hookimpl
from ...core.contracts.model import Part
from ...core.contracts.training import Domain
from ...core.toolkit.ranges import check_ranges
from ._unimodal import unimodal_losses

_PARTS: tuple[Part, Part] = ("train", "val")
Measured = dict[str, list[float]]  # loss -> [on the training clips, on the validation clips]


class GBlend(Balancer):
    """Weights the fused and the single-modality losses by generalisation over over-fitting.

    L = sum over k of w_k l_k, with k the fused loss and that of each modality. From the losses
    before and after a super-epoch, on training and validation clips (T and V):

        G_k = V_k before - V_k after                       what was gained
        O_k = (V_k - T_k) after - (V_k - T_k) before       how much the gap has grown
        w_k = (1 + M) * v_k / sum of v,  v_k = max(G_k, 0) / max(|O_k|, floor)^2

    So the weights are 1 on average, and the plain sum, all 1, is what `unimodal_loss` does. It
    is what the first super-epoch has. Where no loss was better on validation the weights stay.
    In a step of several passes a modality's loss counts in the passes that show it.

    The paper measures G and O on copies of the model, trained for a super-epoch with each loss
    alone; here they are those of the super-epoch that has just gone by, which costs no
    training. `floor` is not in the paper: a gap that has hardly grown, or measured on few clips
    seems not to have, would otherwise take all the weight. Under Adam only the proportions
    within a branch count, not the weights' size; the head, which learns from the fused loss
    alone, keeps its pace. A weight of 0 stops what learns from that loss alone.

    A single modality is left alone: nothing is added to its loss.

    Parameters
    ----------
    epochs : int
        Length of a super-epoch, >= 1; 10 in the paper.
    floor : float
        Smallest growth of the gap, in nats, that is told apart from none, > 0.

    When to use
    -----------
    Where the branches over-fit at different speeds, and validation is large enough to measure
    a loss to within `floor`. It looks at validation for more than the choice of an epoch. A
    training of no more than `epochs` epochs is that of `unimodal_loss`.

    Cost
    ----
    A pass over the training and validation clips per super-epoch.

    References
    ----------
    Wang, Tran and Feiszli (2020), "What Makes Training Multi-Modal Classification Networks
    Hard?", CVPR.
    """

    name = "gblend"
    reads_validation = True
    space: ClassVar[Mapping[str, Space]] = {"floor": Uniform(0.01, 0.2)}
    takes_over: ClassVar[tuple[Domain, ...]] = ("unimodal_losses",)
    checkpointed = ("_before", "_weights")

    def __init__(self, *, epochs: int = 10, floor: float = 0.05) -> None:
        check_ranges(self.name, "epochs >= 1 and floor > 0", locals())
        self.epochs = epochs
        self.floor = floor

    @property
    def acts_from(self) -> int:
        return self.epochs + 1

    def setup(self, context: Context) -> None:
        self._context = context
        self._before: Measured = {}
        alone = len(context.modalities) < 2
        names = [] if alone else ["fused", *(f"unimodal.{m}" for m in context.modalities)]
        self._weights = dict.fromkeys(names, 1.0)

    def epoch_start(self, epoch: int) -> None:
        if not self._weights or (epoch - 1) % self.epochs:
            return
        now = self._measure()
        if self._before:
            self._weights = blended(self._before, now, self.floor) or self._weights
        self._before = now

    def _measure(self) -> Measured:
        parts = [self._losses(self._context.outputs(part)) for part in _PARTS]
        return {name: [part[name] for part in parts] for name in self._weights}

    def _losses(self, outputs: Outputs) -> dict[str, float]:
        found = {"fused": float(self._context.cross_entropy(outputs.logits, outputs.labels))}
        for m, logits in outputs.unimodal.items():
            # As in training: over the clips that have the modality.
            own, labels = outputs.rows(m, logits), outputs.rows(m, outputs.labels)
            found[f"unimodal.{m}"] = float(self._context.cross_entropy(own, labels))
        return found

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if not self._weights:
            return losses
        own = unimodal_losses(step, 1.0)
        return {name: loss * self._weights.get(name, 1.0) for name, loss in (losses | own).items()}

    def metrics(self) -> dict[str, float]:
        """The weight of each loss."""
        return {f"gblend.{name.removeprefix('unimodal.')}": w for name, w in self._weights.items()}


def blended(before: Measured, after: Measured, floor: float) -> dict[str, float] | None:
    """Weights of the losses, 1 on average; None if none of them fell on validation."""
    raw: dict[str, float] = {}
    for name, (train, val) in after.items():
        train_before, val_before = before[name]
        gained = max(val_before - val, 0.0)
        grown = (val - train) - (val_before - train_before)
        raw[name] = gained / max(abs(grown), floor) ** 2
    total = sum(raw.values())
    return {name: len(raw) * value / total for name, value in raw.items()} if total > 0 else None


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [GBlend]
