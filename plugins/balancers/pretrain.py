"""Pretraining: each branch is trained alone first, then all are fine-tuned together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from ...core.contracts import Balancer, Context, Gradients, LogUniform, Space, Stage, Step, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain
from ...core.toolkit.ranges import check_ranges
from ._unimodal import unimodal_losses


class Pretrain(Balancer):
    """Joint training that starts from branches trained alone and moves the branches slowly.

    *baselines*: every branch and its probe start with the weights of the run's own single-modality
    baseline. All epochs are fine-tuning.

    *own*: in the first ``floor(share * epochs)`` epochs branch m learns only from l(f_m), the loss
    of its probe. The strategy is frozen, and no model of these epochs can be selected. The other
    epochs are fine-tuning.

    In fine-tuning the steps of the branches are multiplied by ``branch``; the head takes full
    steps. The factor scales the step of each branch (see `Gradients.scale`) for both sources, and
    multiplies with the rates of `lr`.

    Departure from the literature: papers pretrain with a separate budget of epochs and then train
    with a full budget. Here *own* stays within the budget of every other method, including the
    schedule of the learning rate. *baselines* reuses the trainings of the baselines, which every
    run contains, so each branch is trained for twice the epochs in total.

    This balancer alone determines the start of the training: ``train.start``, ``train.finetune``
    and ``train.branch_rate`` have no effect. *baselines* differs from ``train.start=baselines`` in
    three ways: all epochs are fine-tuning, the strategy starts untrained, and the start itself is
    not a candidate in the choice of an epoch.

    Parameters
    ----------
    source : {"baselines", "own"}
        Source of the pretrained weights.
    share : float
        Share of the epochs in which the branches learn alone, in (0, 1); for *own*.
    branch : float
        Factor on the branches' steps in fine-tuning, > 0. The default is this project's choice;
        0.01 is usual for large pretrained networks.

    When to use
    -----------
    If joint training scores lower than the best single modality: the branches then start with the
    weights that the single modalities reached. Try this balancer first against a cold start.

    Cost
    ----
    No cost per step. With *baselines*, the baselines are trained first, as in every run; with
    *own*, the head is trained for fewer epochs.

    References
    ----------
    Pretrained branches as the baseline of multimodal training: Du et al. (2023), "On Uni-Modal
    Feature Learning in Supervised Multi-Modal Learning", ICML. Wang et al. (2020), "What Makes
    Training Multi-Modal Classification Networks Hard?", CVPR.
    """

    name = "pretrain"
    takes_over: ClassVar[tuple[Domain, ...]] = ("start", "stages")
    needs_baselines = True
    space: ClassVar[Mapping[str, Space]] = {"branch": LogUniform(0.01, 1.0)}

    def __init__(
        self,
        *,
        source: Literal["baselines", "own"] = "baselines",
        share: float = 0.5,
        branch: float = 0.1,
    ) -> None:
        check_ranges(self.name, "share between 0 and 1 and branch > 0", locals())
        self.source = source
        self.share = share
        self.branch = branch
        self._alone = 0  # epochs

    def setup(self, context: Context) -> None:
        if self.source == "baselines":
            self._alone = 0
            context.warm_start()
            return
        epochs = context.config.epochs
        self._alone = int(self.share * epochs + 1e-9)  # 0.29 * 100 is 28.999...
        if not self._alone:
            raise ParameterError(
                f"pretrain.share={self.share} of {epochs} epochs is less than one epoch.",
                hint=f"Use a share of at least {1 / epochs:.3g}, or more epochs (train.epochs).",
            )

    def stage(self, epoch: int) -> Stage | None:
        if epoch <= self._alone:
            return Stage("alone", head=False, candidate=False)
        return Stage("together") if self._alone else None

    def representations(self, representations: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if step.epoch > self._alone:
            return representations
        # Losses that other balancers compute from the fused scores do not reach the branches.
        return {m: x.detach() for m, x in representations.items()}

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if step.epoch > self._alone:
            return losses
        other_losses = {name: loss for name, loss in losses.items() if name != "fused"}
        return unimodal_losses(step, 1.0) | other_losses

    def gradients(self, gradients: Gradients, step: Step) -> None:
        if step.epoch > self._alone:
            for m in gradients.modalities:
                gradients.scale(m, self.branch)


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [Pretrain]
