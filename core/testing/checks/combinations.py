"""Checks of a balancer together with other balancers, and with the strategy that it adapts."""

from __future__ import annotations

import io
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...contracts import Balancer, Pass, Stage, Step, Strategy
from ...contracts.training import Domain
from ...training.model import FusionModel
from .assertions import require, running, skip
from .problem import NAMES, small_model
from .trainings import Setting, TrainingSuite, Watch

_LOSS = "companion.size"


class Companion(Balancer):
    """Balancer that implements every hook without effect and adds its own small loss."""

    name = "companion"

    def inputs(self, inputs: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Return a copy of the dict."""
        return dict(inputs)

    def representations(self, representations: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Return a copy of the dict."""
        return dict(representations)

    def logits(self, logits: Tensor, step: Step) -> Tensor:
        """Return a new tensor with the same values."""
        return 1.0 * logits

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Return the losses and a small penalty on the size of the embeddings."""
        sizes = [z.float().square().mean() for z in step.embeddings.values()]
        return {**losses, _LOSS: 1e-3 * torch.stack(sizes).sum()}


class Halves(Balancer):
    """Balancer that trains only the first modality's branch in epoch 1, and no branch later."""

    name = "companion"
    takes_over: ClassVar[tuple[Domain, ...]] = ("stages",)

    def setup(self, context: Any) -> None:
        """Store the name of the first modality."""
        self.first = tuple(context.modalities[:1])

    def stage(self, epoch: int) -> Stage:
        """Return the stage that trains the first branch in epoch 1, and no branch later."""
        return Stage("half", branches=self.first if epoch == 1 else ())


class OneByOne(Balancer):
    """Balancer that makes one pass for each modality alone."""

    name = "companion"
    takes_over: ClassVar[tuple[Domain, ...]] = ("passes",)

    def passes(self, step: Step) -> list[Pass]:
        """Return one pass per modality."""
        return [Pass((m,)) for m in step.modalities]


class Absent(Balancer):
    """Balancer that hides one modality of every second clip, each modality in turn."""

    name = "companion"

    def present(self, present: Tensor, step: Step) -> Tensor:
        """Return `present`, (B, M) bool, with one modality of every second clip set to False."""
        clips, modalities = present.shape
        present = present.clone()
        if modalities > 1:
            rows = torch.arange(0, clips, 2, device=present.device)
            present[rows, (rows // 2) % modalities] = False
        return present


class CombinationChecks(TrainingSuite):
    """Checks with a second balancer, frozen branches, passes, absent modalities and `adapt`."""

    def test_beside_another_balancer(self) -> None:
        """Check that the balancer keeps the loss of another balancer, named before or after it."""
        # `place` is the companion's position. Trainings with 2 and with 3 modalities have both
        # orders.
        for case, place in zip(self.pairs(), (0, 1, 1, 0), strict=False):
            watch = Watch()
            both: list[Balancer] = [self.construct()]
            both.insert(place, Companion())
            doing = "training beside a balancer that only adds a small loss"
            trained = self.train(case, [*both, watch], doing=doing, cause=_BESIDE)
            self.check_finite(f"{self.at(case)}, beside another balancer", trained)
            require(
                _LOSS in watch.losses_seen,
                self.at(case),
                "`losses` drops the loss of a balancer named before this one",
                expected="every loss that was passed in, and its own losses: {**losses, ...}",
                cause="`losses` returns a new dict; a hook may change the losses that it receives, "
                "but must not drop any",
            )

    def test_branches_that_stand_still(self) -> None:
        """Check a training in which stages freeze one branch or all branches."""
        self._check_beside(Halves, "training while branches are frozen", _WHICH)

    def test_passes_of_one_modality(self) -> None:
        """Check steps that make one pass over a batch for each modality alone."""
        self._check_beside(OneByOne, "training in passes of one modality each", _WHICH)

    def test_absent_modalities(self) -> None:
        """Check batches in which clips lack modalities (step.present)."""
        doing = "training while clips lack a modality"
        self._check_beside(Absent, doing, "a mean over zero clips")

    def _check_beside(self, companion: type[Balancer], doing: str, cause: str) -> None:
        for domain in set(companion.takes_over) & set(self._plugin().takes_over):
            skip(f"the balancer takes over {domain!r} itself")
        for case in self.pairs():
            both = [self.construct(), companion()]
            trained = self.train(case, both, doing=doing, cause=cause)
            self.check_finite(f"{self.at(case)}, {doing}", trained)

    # -- checks: a strategy that the balancer adapts -----------------------------------

    def test_adapt(self) -> None:
        """Check that `adapt` returns a strategy of the same kind with a complete state dict."""
        if self._plugin().adapt is Balancer.adapt:
            skip("the balancer does not override `adapt`")
        for strategy in self.strategies():
            for modalities in (1, 2, 3):
                self._check_adapted(Setting(modalities, strategy))

    def _check_adapted(self, case: Setting) -> None:
        classes, size = 5, 5 if case.strategy.takes == "maps" else 6
        dims = dict.fromkeys(NAMES[: case.modalities], size)
        with running(self.at(case), "adapt", cause=_ADAPTED):
            adapted = self.construct().adapt(case.strategy(dims, classes), dims)
        require(
            isinstance(adapted, Strategy) and adapted.takes == case.strategy.takes,
            self.at(case),
            f"`adapt` returns {type(adapted).__name__}, which "
            + (f"takes {adapted.takes}" if isinstance(adapted, Strategy) else "is not a Strategy"),
            expected=f"a Strategy with takes = {case.strategy.takes!r}, as the original strategy",
            cause="the wrapper does not set self.takes = strategy.takes",
        )
        with running(self.at(case), "the strategy that adapt returns", cause=_ADAPTED):
            model, other = (self._adapted(case, classes, seed) for seed in (0, 1))
            inputs = {m: torch.randn(4, 4) for m in model.modalities}
            with torch.no_grad():
                scores = model.eval()(inputs)
            file = io.BytesIO()
            torch.save(model.state_dict(), file)
            file.seek(0)
            other.load_state_dict(torch.load(file, weights_only=True))
            with torch.no_grad():
                again = other.eval()(inputs)
        require(
            isinstance(scores, Tensor) and scores.shape == (4, classes),
            self.at(case),
            f"the adapted strategy gives scores of shape {tuple(scores.shape)} for four clips",
            expected=f"(4, {classes}): clips, classes",
            cause="a number of classes other than that of the strategy",
        )
        require(
            torch.equal(scores, again),
            self.at(case),
            "an adapted strategy gives other scores after loading another one's state dict",
            expected="the same scores, bit for bit",
            cause="a learned or random value is not in the state dict: make it an "
            "nn.Parameter, a module, or a buffer",
        )

    def _adapted(self, case: Setting, classes: int, seed: int) -> FusionModel:
        return small_model(
            case.modalities,
            strategy=case.strategy,
            balancers=[self.construct()],
            classes=classes,
            seed=seed,
        )


_WHICH = "the gradient of a modality that is not in `gradients.modalities`: loop over that instead"
_BESIDE = "the balancer relies on being the only one, so that no other changes losses or tensors"
_ADAPTED = "a hard-coded number of modalities or classes, or weights that are created in forward"
