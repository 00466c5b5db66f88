"""Checks of strategies that work without some of the modalities."""

from __future__ import annotations

import inspect
from typing import Any, cast

import torch
from torch import Tensor, nn

from .assertions import require, running, skip
from .devices import DeviceChecks
from .network import Case, Inputs
from .tensors import listed, seeded


class MissingModalityChecks(DeviceChecks):
    """For strategies that declare `accepts_missing`; for the others there is nothing to check."""

    def test_accepts_missing(self) -> None:
        """What is declared and what `forward` takes agree."""
        plugin = self._plugin()
        arguments = inspect.signature(plugin.forward).parameters
        argument = arguments.get("present")
        if not plugin.accepts_missing:
            require(
                argument is None,
                self.where,
                "forward takes `present`, and accepts_missing is False",
                expected="accepts_missing = True in the class: fusion would never pass it",
                cause="it is easily forgotten",
            )
            return
        require(
            argument is not None and argument.default is None,
            self.where,
            f"accepts_missing is True, and forward takes ({', '.join(arguments)})",
            expected="def forward(self, inputs, present: Tensor | None = None)",
            cause="the argument is called otherwise, or has no default",
        )

    def test_all_present(self, case: Case) -> None:
        """Nothing said, and everything there, is the same."""
        self._skip_unless_accepted()
        network = self.trained(case)
        inputs = self.inputs(case)
        everything = torch.ones(self.batch, len(case.shapes), dtype=torch.bool)
        self._check_same(
            self.at(case),
            self._with(network, inputs, everything),
            self._evaluate(network, inputs),
            "present=None and a `present` that is all True differ",
            nearly=True,
            expected="the same scores",
            cause="a mean or softmax over another axis where `present` is given",
        )

    def test_absent_values_do_not_count(self, case: Case) -> None:
        """Whatever stands in the place of what a clip lacks, the scores are the same."""
        self._skip_unless_accepted()
        network = self.trained(case)
        inputs, present = self.inputs(case), self._some(case)
        other = self.inputs(case, seed=5)
        changed = {
            m: torch.where(_along(present[:, i], x), x, 10 * other[m])
            for i, (m, x) in enumerate(inputs.items())
        }
        self._check_same(
            self.at(case),
            self._with(network, changed, present),
            self._with(network, inputs, present),
            "the scores change with the values of absent modalities,",
            nearly=True,
            expected="the same scores",
            cause=_UNMASKED,
        )
        self._check_weights_of_absent(case, network, inputs, present)

    def _check_weights_of_absent(
        self, case: Case, network: nn.Module, inputs: Inputs, present: Tensor
    ) -> None:
        weigh = cast(Any, network).modality_weights
        if "present" not in inspect.signature(weigh).parameters:
            return
        with torch.no_grad(), running(self.at(case), "modality_weights", cause=_UNMASKED):
            weights = weigh(dict(inputs), present)
        if weights is None:
            return
        sums = weights.float().sum(dim=1)
        require(
            not bool(weights[~present].any()) and torch.allclose(sums, torch.ones_like(sums)),
            self.at(case),
            "modality_weights(inputs, present) gives absent modalities a share",
            expected="0 for what a clip lacks, and rows that sum to 1",
            cause=_UNMASKED,
        )

    def test_one_modality_present(self, case: Case) -> None:
        """Each modality alone gives finite scores; in training, evaluation and autocast."""
        self._skip_unless_accepted()
        network = self.build(case)
        for i, name in enumerate(case.shapes):
            present = torch.zeros(self.batch, len(case.shapes), dtype=torch.bool)
            present[:, i] = True
            for training in (True, False):
                for autocast in (True, False):
                    mode = f"{'training' if training else 'evaluation'}{', autocast' * autocast}"
                    where = f"{self.at(case)}, {name} alone present, {mode}"
                    network.train(training)
                    with seeded(1), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                        rows = self._with(network, self.inputs(case), present, where)
                    self._check_rows(where, rows, self.batch)

    def test_no_gradient_reaches_the_absent(self, case: Case) -> None:
        """A branch learns nothing from a clip that lacks its modality."""
        self._skip_unless_accepted()
        network = self.trained_anew(case).train()  # what starts at zero has opened
        inputs = {m: x.requires_grad_() for m, x in self.inputs(case).items()}
        present = self._some(case)
        with seeded(1), running(self.at(case), "a training step", cause=_UNMASKED):
            rows = cast(Tensor, network(dict(inputs), present))
            rows.float().square().mean().backward()  # type: ignore[no-untyped-call]
        reached = [
            m
            for i, (m, x) in enumerate(inputs.items())
            if x.grad is not None and not bool((x.grad[~present[:, i]] == 0).all())
        ]
        require(
            not reached,
            self.at(case),
            f"a gradient (or NaN) reaches {listed(reached)} of clips that lack it",
            expected="zeros: the branch learns nothing from a clip without its modality",
            cause=_UNMASKED,
        )

    def test_masks_of_a_batch(self, case: Case) -> None:
        """Clips that lack different modalities may share a batch."""
        self._skip_unless_accepted()
        network = self.trained(case)
        inputs, present = self.inputs(case), self._some(case)
        together = self._with(network, inputs, present)
        clips = zip(self._one_by_one(inputs), present[:, None], strict=True)
        self._check_same(
            self.at(case),
            together,
            torch.cat([self._with(network, clip, its) for clip, its in clips]),
            "clips with different modalities influence each other,",
            nearly=True,
            expected="the same for a clip alone and within a batch, in evaluation",
            cause="present.any(), .all() or the first row of it taken for the whole batch",
        )

    # -- tools -------------------------------------------------------------------------

    def _skip_unless_accepted(self) -> None:
        if not self._plugin().accepts_missing:
            skip("accepts_missing is False")

    def _some(self, case: Case) -> Tensor:
        """Which modalities each clip has, (B, M): every combination in turn, but none."""
        modalities = len(case.shapes)
        codes = torch.arange(self.batch) % (2**modalities - 1) + 1
        bits: Tensor = (codes[:, None] >> torch.arange(modalities)) % 2
        return bits.bool()

    def _with(self, network: nn.Module, inputs: Inputs, present: Tensor, where: str = "") -> Tensor:
        """Scores where the strategy itself has to look away from what is absent."""
        doing = "a batch in which clips lack modalities"
        with torch.no_grad(), running(where or self.where, doing, cause=_UNMASKED):
            return cast(Tensor, network(dict(inputs), present))


def _along(clips: Tensor, x: Tensor) -> Tensor:
    """(B,) -> the shape that broadcasts over `x`, (B, ...)."""
    wide: Tensor = clips.view(-1, *[1] * (x.dim() - 1))
    return wide


_UNMASKED = (
    "a sum, mean, softmax or attention over all modalities instead of those that `present`, "
    "(B, M) in the order of `dims`, has"
)
