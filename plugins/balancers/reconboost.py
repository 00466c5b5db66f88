"""ReconBoost: the modalities take turns to learn from the errors of the other modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import Balancer, Context, Integer, Space, Stage, Step, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain


class ReconBoost(Balancer):
    """Alternating boosting: each branch in turn is trained on the residual of the other branches.

    ::

        turn of m:    loss = l(f_m + sum over j != m of detached f_j)   branch m and the head
        common turn:  loss = l(f)                                       everything

    The turns follow each other: a turn of modality 1, a common turn, a turn of modality 2, a common
    turn, and so on. After the last modality the sequence starts again. f_j are the scores of the
    strategy if it sees modality j alone.

    In the turn of a branch, most of its gradient comes from clips that the other branches
    misclassify. A modality that is right already can't keep another modality from learning (Hua et
    al. 2024). The other branches are frozen in that turn, in evaluation mode.

    Departures from the paper: the paper's loss for the turn is the cross-entropy against the
    residual of the frozen branches; here it is the loss of the summed scores. The gradient of this
    loss with respect to f_m is that residual, softmax(sum of f) - y. The published code has a
    further term for agreement between the modalities, computed from detached scores on both sides.
    This term has no gradient and is left out. The head is trained in every turn; if the modalities
    share weights of the strategy, the training of the head may also change the scores of the other
    modalities.

    The modalities take turns in their order in the run. With a single modality, this balancer
    changes nothing.

    The rule trains the modalities one after the other from untrained branches, so training starts
    from scratch for any value of ``train.start``.

    Parameters
    ----------
    turn : int
        Epochs of a modality's turn, >= 1; the published code uses 4.
    common : int
        Epochs of the common turn after each modality's turn, >= 1; the published code uses 4.

    When to use
    -----------
    If one branch is fast and another slow, and if there are epochs for several rounds. With the
    defaults a round takes 2 x 8 epochs for two modalities; in fewer than 9 epochs the second
    modality never has its turn. Use `sum` or `concat`, whose scores for all modalities are about
    the sum of the scores for each modality.

    Cost
    ----
    In a modality's turn, one backward pass through one branch instead of all, and M more passes
    through the strategy. A branch is trained in (turn + M common) of M (turn + common) epochs.

    References
    ----------
    C. Hua, Q. Xu, S. Bao, Z. Yang, Q. Huang: ReconBoost: Boosting Can Achieve Modality
    Reconcilement. ICML 2024.
    """

    name = "reconboost"
    space: ClassVar[Mapping[str, Space]] = {"turn": Integer(1, 8), "common": Integer(1, 8)}
    takes_over: ClassVar[tuple[Domain, ...]] = ("start", "stages", "fused_loss")
    conformance = {"order_matters": "the modalities take turns"}  # noqa: RUF012

    def __init__(self, *, turn: int = 4, common: int = 4) -> None:
        if turn < 1 or common < 1:
            raise ParameterError(
                f"reconboost needs turns of 1 epoch or more; given turn={turn}, common={common}."
            )
        self.turn = turn
        self.common = common
        self._modalities: list[str] = []

    def setup(self, context: Context) -> None:
        self._modalities = list(context.modalities)

    def active_modality(self, epoch: int) -> str | None:
        """Return the modality whose turn the epoch (from 1) is, or None in a common turn."""
        number, within = divmod(epoch - 1, self.turn + self.common)
        return self._modalities[number % len(self._modalities)] if within < self.turn else None

    def stage(self, epoch: int) -> Stage | None:
        if len(self._modalities) < 2:
            return None
        m = self.active_modality(epoch)
        return Stage("common") if m is None else Stage(f"turn of {m}", branches=(m,))

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        m = self.active_modality(step.epoch)
        if len(step.modalities) < 2 or m is None:
            return losses
        with torch.no_grad():
            fixed = torch.stack([step.fuse((j,)) for j in step.modalities if j != m])
        # A clip that lacks the modality adds nothing to the scores of the other modalities.
        scores = step.fuse((m,)) + fixed.sum(dim=0)
        return losses | {"fused": step.cross_entropy(scores, (m,))}


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [ReconBoost]
