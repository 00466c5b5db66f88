"""Checks of balancers combined: with other balancers, and with the strategy that they adapt."""

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
    """Leaves everything as it is, by way of every hook, and adds a small loss of its own."""

    name = "companion"

    def inputs(self, inputs: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        return dict(inputs)

    def representations(self, representations: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        return dict(representations)

    def logits(self, logits: Tensor, step: Step) -> Tensor:
        return 1.0 * logits

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        sizes = [z.float().square().mean() for z in step.embeddings.values()]
        return {**losses, _LOSS: 1e-3 * torch.stack(sizes).sum()}


class Halves(Balancer):
    """The first modality's branch stands still in the first epoch, then all of them do."""

    name = "companion"
    takes_over: ClassVar[tuple[Domain, ...]] = ("stages",)

    def setup(self, context: Any) -> None:
        self.first = tuple(context.modalities[:1])

    def stage(self, epoch: int) -> Stage:
        return Stage("half", branches=self.first if epoch == 1 else ())


class OneByOne(Balancer):
    """A pass for each modality alone."""

    name = "companion"
    takes_over: ClassVar[tuple[Domain, ...]] = ("passes",)

    def passes(self, step: Step) -> list[Pass]:
        return [Pass((m,)) for m in step.modalities]


class Absent(Balancer):
    """Hides a modality of every other clip, and of the next clip another."""

    name = "companion"

    def present(self, present: Tensor, step: Step) -> Tensor:
        clips, modalities = present.shape
        present = present.clone()
        if modalities > 1:
            rows = torch.arange(0, clips, 2, device=present.device)
            present[rows, (rows // 2) % modalities] = False
        return present


class CombinationChecks(TrainingSuite):
    """Other balancers, frozen branches, passes, absent modalities, adapted strategies."""

    def test_beside_another_balancer(self) -> None:
        """What another one adds is kept, whether it is named before or after."""
        # Two and three modalities, under each kind of strategy in the other order.
        for case, place in zip(self.pairs(), (0, 1, 1, 0), strict=False):
            watch = Watch()
            both: list[Balancer] = [self.construct()]
            both.insert(place, Companion())
            doing = "training beside a balancer that changes next to nothing"
            trained = self.train(case, [*both, watch], doing=doing, cause=_BESIDE)
            self.check_finite(f"{self.at(case)}, beside another balancer", trained)
            require(
                _LOSS in watch.losses_seen,
                self.at(case),
                "`losses` loses the loss of a balancer named before it",
                expected="every loss that it was given, its own beside them: {**losses, ...}",
                cause="a dict made anew; it may change what it is given, and not drop it",
            )

    def test_branches_that_stand_still(self) -> None:
        """In a stage a branch, or all of them, may be frozen: they have no gradient then."""
        self._check_beside(Halves, "training while branches stand still", _WHICH)

    def test_passes_of_one_modality(self) -> None:
        """A batch may be gone through several times, with some of the modalities."""
        self._check_beside(OneByOne, "training in passes of one modality each", _WHICH)

    def test_absent_modalities(self) -> None:
        """Clips may lack modalities (step.present)."""
        doing = "training while clips lack a modality"
        self._check_beside(Absent, doing, "a mean over no clips at all")

    def _check_beside(self, companion: type[Balancer], doing: str, cause: str) -> None:
        for domain in set(companion.takes_over) & set(self._plugin().takes_over):
            skip(f"it takes over {domain!r}")
        for case in self.pairs():
            both = [self.construct(), companion()]
            trained = self.train(case, both, doing=doing, cause=cause)
            self.check_finite(f"{self.at(case)}, {doing}", trained)

    # -- checks: a strategy that it changes --------------------------------------------

    def test_adapt(self) -> None:
        """What `adapt` returns is a strategy of the same kind, with a state dict of its own."""
        if self._plugin().adapt is Balancer.adapt:
            skip("it does not adapt the strategy")
        for strategy in self.strategies():
            for modalities in (1, 2, 3):
                self._check_adapted(Setting(modalities, strategy))

    def _check_adapted(self, case: Setting) -> None:
        classes, size = 5, 5 if case.strategy.takes == "maps" else 6
        dims = dict.fromkeys(NAMES[: case.modalities], size)
        with running(self.at(case), "adapt", cause=_ADAPTED):
            found = self.construct().adapt(case.strategy(dims, classes), dims)
        require(
            isinstance(found, Strategy) and found.takes == case.strategy.takes,
            self.at(case),
            f"`adapt` returns {type(found).__name__}, which "
            + (f"takes {found.takes}" if isinstance(found, Strategy) else "is no Strategy"),
            expected=f"a Strategy with takes = {case.strategy.takes!r}, as the one it was given",
            cause="self.takes = strategy.takes is missing in a wrapper",
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
            "with the state dict of an adapted strategy loaded, another one gives other scores",
            expected="the same bits",
            cause="something learned or drawn lies outside the state dict: make it an "
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


_WHICH = "a modality that `gradients.modalities` does not name; ask it which there are"
_BESIDE = "it counts on being the only one: on the losses, or the tensors, that it left itself"
_ADAPTED = "a number of modalities or classes written as a number, or weights made in forward"
