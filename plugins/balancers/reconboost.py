"""ReconBoost: the modalities take turns, each learning what the others leave over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ...core.contracts import Balancer, Context, Integer, Space, Stage, Step, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain


class ReconBoost(Balancer):
    """Trains the branches in turns, as boosting does: each on the rest the others leave.

    The epochs go round: a turn of modality 1, a common turn, a turn of modality 2, a common
    turn, and so on, then from the start. With f_j the scores of the strategy when it sees
    modality j alone,

        turn of m:    loss = l(f_m + sum over j != m of detached f_j)   branch m and the head
        common turn:  loss = l(f)                                       everything

    In its turn a branch is pushed mostly by clips that the others get wrong, so that one that is
    right already can't keep another from learning (Hua et al. 2024). The branches of the others
    stand still then, in evaluation mode.

    The paper's loss for the turn, cross-entropy against the residual of the frozen others, is
    here that of the summed scores: its gradient with respect to f_m is that residual,
    softmax(sum of f) - y. The published code has a further term for agreement between the
    modalities, computed from detached scores on both sides: it reaches nothing, and is left
    out. The head is trained in every turn; a strategy whose weights the modalities share may
    change what it says of the others, too.

    The order of the modalities is the order of the turns. A single modality is left alone.

    The rule builds up the modalities one after the other from untrained branches, so training
    starts from scratch whatever ``train.start`` says.

    Parameters
    ----------
    turn : int
        Epochs of a modality's turn, >= 1; 4 in the published code.
    common : int
        Epochs of the common turn after it, >= 1; 4 in the published code.

    When to use
    -----------
    With a budget of several rounds, 2 x 8 epochs each for two modalities as it is set (in fewer
    than 9 epochs the second never has its turn), where one branch is fast and another slow.
    With `sum` or `concat`, whose scores for all modalities are about the sum of those for each.

    Cost
    ----
    In a modality's turn one backward pass through one branch instead of all, and M more passes
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

    def whose(self, epoch: int) -> str | None:
        """The modality whose turn the epoch (from 1) is; None in a common turn."""
        number, within = divmod(epoch - 1, self.turn + self.common)
        return self._modalities[number % len(self._modalities)] if within < self.turn else None

    def stage(self, epoch: int) -> Stage | None:
        if len(self._modalities) < 2:
            return None
        m = self.whose(epoch)
        return Stage("common") if m is None else Stage(f"turn of {m}", branches=(m,))

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        m = self.whose(step.epoch)
        if len(step.modalities) < 2 or m is None:
            return losses
        with torch.no_grad():
            others = torch.stack([step.fuse((j,)) for j in step.modalities if j != m])
        # A clip that lacks the modality has nothing to add to what the others say.
        scores = step.fuse((m,)) + others.sum(dim=0)
        return losses | {"fused": step.cross_entropy(scores, (m,))}


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [ReconBoost]
