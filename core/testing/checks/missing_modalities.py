"""Checks of strategies that accept clips without some of the modalities."""

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
    """Checks of strategies that declare `accepts_missing`; skipped for other strategies."""

    def test_accepts_missing(self) -> None:
        """Check that `accepts_missing` agrees with the arguments of `forward`."""
        plugin = self._plugin()
        arguments = inspect.signature(plugin.forward).parameters
        argument = arguments.get("present")
        if not plugin.accepts_missing:
            require(
                argument is None,
                self.where,
                "forward takes `present`, and accepts_missing is False",
                expected="accepts_missing = True in the class: otherwise fusion never passes "
                "`present`",
                cause="an oversight",
            )
            return
        require(
            argument is not None and argument.default is None,
            self.where,
            f"accepts_missing is True, and forward takes ({', '.join(arguments)})",
            expected="def forward(self, inputs, present: Tensor | None = None)",
            cause="the argument has another name, or no default",
        )

    def test_all_present(self, case: Case) -> None:
        """Check that `present=None` and a `present` that is all True give the same scores."""
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
            cause="a mean or softmax over another axis if `present` is passed",
        )

    def test_absent_values_do_not_count(self, case: Case) -> None:
        """Check that the scores do not depend on the values of absent modalities."""
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
            "modality_weights(inputs, present) gives absent modalities a weight",
            expected="a weight of 0 for each absent modality, and rows that sum to 1",
            cause=_UNMASKED,
        )

    def test_one_modality_present(self, case: Case) -> None:
        """Check finite scores of each modality alone, in training, evaluation and autocast."""
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
        """Check that no gradient reaches a branch from a clip that lacks its modality."""
        self._skip_unless_accepted()
        network = self.trained_anew(case).train()  # gates that start at zero have opened
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
            f"a gradient (or NaN) reaches {listed(reached)} of clips that lack this modality",
            expected="a gradient of 0: a branch must not learn from a clip without its modality",
            cause=_UNMASKED,
        )

    def test_masks_of_a_batch(self, case: Case) -> None:
        """Check that clips which lack different modalities can share a batch."""
        self._skip_unless_accepted()
        network = self.trained(case)
        inputs, present = self.inputs(case), self._some(case)
        together = self._with(network, inputs, present)
        clips = zip(self._one_by_one(inputs), present[:, None], strict=True)
        self._check_same(
            self.at(case),
            together,
            torch.cat([self._with(network, clip, its) for clip, its in clips]),
            "the scores of clips that lack different modalities change with the batch,",
            nearly=True,
            expected="the same scores for a clip alone and within a batch, in evaluation",
            cause="present.any(), present.all() or present[0] applied to the whole batch",
        )

    # -- tools -------------------------------------------------------------------------

    def _skip_unless_accepted(self) -> None:
        if not self._plugin().accepts_missing:
            skip("accepts_missing is False")

    def _some(self, case: Case) -> Tensor:
        """Return a mask of present modalities, (B, M) bool, with every non-empty set in turn."""
        modalities = len(case.shapes)
        codes = torch.arange(self.batch) % (2**modalities - 1) + 1
        bits: Tensor = (codes[:, None] >> torch.arange(modalities)) % 2
        return bits.bool()

    def _with(self, network: nn.Module, inputs: Inputs, present: Tensor, where: str = "") -> Tensor:
        """Return the scores of a batch in which clips lack modalities, without gradients."""
        doing = "a batch in which clips lack modalities"
        with torch.no_grad(), running(where or self.where, doing, cause=_UNMASKED):
            return cast(Tensor, network(dict(inputs), present))


def _along(clips: Tensor, x: Tensor) -> Tensor:
    """Return `clips`, (B,), in the shape that broadcasts over `x`, (B, ...)."""
    wide: Tensor = clips.view(-1, *[1] * (x.dim() - 1))
    return wide


_UNMASKED = (
    "a sum, mean, softmax or attention over all modalities instead of the present ones only; "
    "`present` is (B, M), with the modalities in the order of `dims`"
)
