"""Gradient blending: losses weighted by generalisation relative to overfitting."""

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
Measured = dict[str, list[float]]  # by loss name: [training loss, validation loss]


class GBlend(Balancer):
    """Loss weights from generalisation and overfitting, measured over super-epochs.

    ::

        L   = sum over k of w_k l_k              k: the fused loss and that of each modality
        G_k = V_k before - V_k after                       generalisation gain
        O_k = (V_k - T_k) after - (V_k - T_k) before       growth of the overfitting gap
        w_k = (1 + M) * v_k / sum of v,  v_k = max(G_k, 0) / max(|O_k|, floor)^2

    T_k and V_k are the values of loss k on the training and the validation clips. Both are measured
    before and after each super-epoch of `epochs` epochs. The weights are 1 on average. With all
    weights 1, as in the first super-epoch, the method is the same as `unimodal_loss`. If no loss
    improved on validation, the weights stay as they are. In a step of several passes, a modality's
    loss counts in the passes that show the modality.

    Departures from the paper: the paper measures G and O on copies of the model, trained for a
    super-epoch with each loss alone. Here G and O are measured over the last super-epoch, which
    needs no additional training. `floor` is not in the paper. Without `floor`, a loss would take
    all the weight if the gap of this loss has hardly grown, or if the growth is underestimated
    because there are few clips. Under Adam only the ratio of the weights matters within a branch.
    The head learns from the fused loss alone, so the steps of the head do not change. A loss of
    weight 0 trains no branch.

    With a single modality, this balancer changes nothing: no loss is added.

    Parameters
    ----------
    epochs : int
        Length of a super-epoch in epochs, >= 1; the paper uses 10.
    floor : float
        Lower bound on the growth of the gap, in nats, > 0; a smaller growth counts as `floor`.

    When to use
    -----------
    If the branches overfit at different speeds, and if there are enough validation clips to measure
    a loss to within `floor`. The method uses the validation clips to set the loss weights, and not
    only to choose the epoch. A training of at most `epochs` epochs is identical to `unimodal_loss`.

    Cost
    ----
    One pass over the training and validation clips per super-epoch.

    References
    ----------
    Wang, Tran and Feiszli (2020), "What Makes Training Multi-Modal Classification Networks Hard?",
    CVPR.
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
            self._weights = blend_weights(self._before, now, self.floor) or self._weights
        self._before = now

    def _measure(self) -> Measured:
        parts = [self._losses(self._context.outputs(part)) for part in _PARTS]
        return {name: [part[name] for part in parts] for name in self._weights}

    def _losses(self, outputs: Outputs) -> dict[str, float]:
        losses = {"fused": float(self._context.cross_entropy(outputs.logits, outputs.labels))}
        for m, logits in outputs.unimodal.items():
            # As in training, the mean is over the clips that have the modality.
            own, labels = outputs.rows(m, logits), outputs.rows(m, outputs.labels)
            losses[f"unimodal.{m}"] = float(self._context.cross_entropy(own, labels))
        return losses

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if not self._weights:
            return losses
        own = unimodal_losses(step, 1.0)
        return {name: loss * self._weights.get(name, 1.0) for name, loss in (losses | own).items()}

    def metrics(self) -> dict[str, float]:
        """Return the weight of each loss."""
        return {f"gblend.{name.removeprefix('unimodal.')}": w for name, w in self._weights.items()}


def blend_weights(before: Measured, after: Measured, floor: float) -> dict[str, float] | None:
    """Return the weights of the losses, 1 on average; None if no loss fell on validation."""
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
