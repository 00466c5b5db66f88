"""Conformance suite for fusion strategies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ...contracts import Strategy
from ...contracts.errors import ParameterError
from ..checks.assertions import describe, fail, require, running, skip
from ..checks.missing_modalities import MissingModalityChecks
from ..checks.network import Case, Inputs
from ..checks.problem import NAMES, small_baselines
from ..checks.tensors import listed


class StrategySuite(MissingModalityChecks):
    """Checks of a strategy with one, two and three modalities, of equal and unequal sizes.

    Attributes
    ----------
    dim : int
        Size of the embeddings, or number of channels of the maps, in the cases of equal sizes.
    unequal : tuple of int
        Three different sizes. If the strategy rejects unequal sizes, all cases have equal sizes.
    grids : tuple of tuple
        Grid of each modality's feature map, for a strategy that takes maps.
    num_classes : int
        Number of classes.
    """

    kind = Strategy
    passed = ("dims", "num_classes")
    output = "scores"
    # Embeddings are bfloat16 after a linear layer under autocast, or float32 from a balancer.
    autocast_inputs = (torch.float32, torch.bfloat16)

    plugin: ClassVar[type[Strategy]]
    dim: ClassVar[int] = 16
    unequal: ClassVar[tuple[int, int, int]] = (16, 8, 24)
    grids: ClassVar[tuple[tuple[int, ...], ...]] = ((4, 6), (3, 5), (7,))
    num_classes: ClassVar[int] = 5

    # -- how a strategy is made and called ---------------------------------------------

    def cases(self) -> Sequence[Case]:
        """Return cases with one to three modalities of equal and, if accepted, unequal sizes."""
        equal = [self._case(count, [self.dim] * count) for count in (1, 2, 3)]
        return equal + [case for case in self._unequal_cases() if not self._refuses(case)]

    def _unequal_cases(self) -> list[Case]:
        return [self._case(count, self.unequal[:count]) for count in (2, 3)]

    def _case(self, count: int, sizes: Sequence[int], grids: Any = None) -> Case:
        names = NAMES[:count]
        noun = "modality" if count == 1 else "modalities"
        kind = "size" if self._plugin().takes == "embeddings" else "channels"
        words = f"{count} {noun} of {kind} {', '.join(str(size) for size in sizes)}"
        grids = [() if kind == "size" else grid for grid in (grids or self.grids)[:count]]
        return Case(words, {n: (s, *g) for n, s, g in zip(names, sizes, grids, strict=True)})

    def _refuses(self, case: Case) -> bool:
        try:
            self.make(case)
        except ParameterError:
            return True
        except Exception:
            return False  # the checks report other exceptions
        return False

    def make(self, case: Case) -> nn.Module:
        """Return the strategy for the modalities and sizes of a case."""
        dims = {name: shape[0] for name, shape in case.shapes.items()}
        return cast(nn.Module, self.construct(dims, self.num_classes))

    def run(self, network: nn.Module, inputs: Inputs) -> Tensor:
        """Return the scores of a batch, (B, C)."""
        return cast(Tensor, network(inputs))

    def width(self) -> int:
        """Return the number of classes."""
        return self.num_classes

    # -- checks that only strategies have ----------------------------------------------

    def test_takes(self) -> None:
        """Check that `takes` is "embeddings" or "maps"."""
        takes = self._plugin().takes
        require(
            takes in ("embeddings", "maps"),
            self.where,
            f"`takes` is {takes!r}",
            expected='takes = "embeddings" or takes = "maps"',
            cause="a misspelling: fusion then passes embeddings",
        )

    def test_unequal_sizes(self) -> None:
        """Check that unequal sizes work, or that __init__ rejects them with a ParameterError."""
        for case in self._unequal_cases():
            try:
                self._evaluate(self.make(case), self.inputs(case))
            except ParameterError:
                continue
            except Exception as error:
                fail(
                    self.at(case),
                    f"raises {describe(error)}",
                    expected="scores, or a ParameterError from __init__ that gives the requirement",
                    cause="the size of one modality used for all modalities: support unequal "
                    "sizes, or call fusion.core.contracts.equal_dims(dims, self.name), which "
                    "raises the ParameterError",
                )

    def test_order_of_the_inputs(self, case: Case) -> None:
        """Check that the order of modalities in the input dict has no effect."""
        network = self.trained(case)
        inputs = self.inputs(case)
        turned = dict(reversed(inputs.items()))
        with running(self.at(case), "inputs in another order", cause=_BY_NAME):
            actual, expected = self._evaluate(network, turned), self._evaluate(network, inputs)
        require(
            torch.allclose(actual, expected, rtol=1e-4, atol=1e-5),
            self.at(case),
            "the scores change with the order of the dict of inputs, by "
            f"{float((actual - expected).abs().max()):.3g}",
            expected="the same scores, whatever the order",
            cause=_BY_NAME,
        )
        one, other = self._weights(network, turned), self._weights(network, inputs)
        require(
            one is None or other is None or torch.allclose(one, other, rtol=1e-4, atol=1e-5),
            self.at(case),
            "the columns of modality_weights follow the order of the dict of inputs",
            expected="columns in the order of `dims`",
            cause=_BY_NAME,
        )

    def test_modality_weights(self, case: Case) -> None:
        """Check that `modality_weights` returns None or, in every mode, shares that sum to 1."""
        network = self.trained_anew(case)
        expected = (self.batch, len(case.shapes))
        inputs = self.inputs(case, seed=9)
        for training in (True, False):
            for autocast in (True, False):
                network.train(training)
                mode = f"{'training' if training else 'evaluation'}{', autocast' * autocast}"
                where = f"{self.at(case)}, {mode}"
                with (
                    running(where, "modality_weights", cause=_ANY_MODALITIES),
                    torch.autocast("cpu", torch.bfloat16, enabled=autocast),
                ):
                    weights = self._weights(network, inputs)
                if weights is None:
                    return
                self._check_weights(where, weights, expected, 1e-2 if autocast else 1e-4)
        self._check_weights_alone(case, network, inputs)

    def _check_weights_alone(self, case: Case, network: nn.Module, inputs: Inputs) -> None:
        network.eval()
        alone = [self._weights(network, clip) for clip in self._one_by_one(inputs)]
        together = self._weights(network, inputs)
        require(
            together is not None
            and torch.allclose(
                together, torch.cat([w for w in alone if w is not None]), rtol=1e-3, atol=1e-4
            ),
            self.at(case),
            "the modality_weights of a clip change with the other clips of its batch",
            expected="the same weights for a clip alone and within a batch, in evaluation",
            cause="softmax or mean over dimension 0, which is the batch",
        )

    def _check_weights(
        self, where: str, weights: Tensor, expected: tuple[int, int], tolerance: float
    ) -> None:
        shape = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        require(
            shape == expected,
            where,
            f"modality_weights has shape {shape}",
            expected=f"(clips, modalities), here {expected}; or None if the strategy has no such "
            "weights",
            cause="a transposed array, one axis too many, or weights per entry of an embedding",
        )
        sums = weights.float().sum(dim=1)
        off = float((sums - 1).abs().max())
        require(
            off <= tolerance,  # not for NaN
            where,
            f"rows of modality_weights do not sum to 1: one sum is {off:.3g} off",
            expected="for each clip, shares of the modalities that sum to 1",
            cause="softmax over the wrong axis, or sigmoids that are not divided by their sum",
        )
        require(
            bool((weights >= 0).all()),
            where,
            f"modality_weights holds {float(weights.min()):.3g}",
            expected="shares of 0 or more",
            cause="weights that are divided by their sum without a softmax or relu before",
        )

    # -- checks: calibration, held-out parameters and baselines ----------------------------

    def test_calibrate(self) -> None:
        """Check that calibration is repeatable, stored in the state dict, and declared."""
        fitting = [case for case in self.cases() if self._held_out(self.build(case))]
        if self._plugin().calibrate is Strategy.calibrate and not fitting:
            skip("the strategy does not override calibrate, and has no held-out parameters")
        own = "`held_out_parameters`" if fitting else "`calibrate`"
        require(
            self._plugin().reads_validation,
            self.where,
            f"the strategy has {own}, and reads_validation is False",
            expected="reads_validation = True in the class: comparisons mark such strategies",
            cause="an oversight",
        )
        for case in self.cases():
            inputs = self.inputs(case, batch=40, seed=3)
            labels = torch.arange(40) % self.num_classes
            one, other = self.trained_anew(case), self.trained_anew(case)
            for network in (one, other):
                with running(self.at(case), "calibrate", cause=_CALIBRATE):
                    cast(Strategy, network).calibrate(dict(inputs), labels)
            self._check_kept(case, one, other, inputs, "calibrated on the same clips")

    def test_held_out_parameters(self) -> None:
        """Check that held-out parameters belong to the strategy, and may all be 0."""
        fitting = [case for case in self.cases() if self._held_out(self.build(case))]
        if not fitting:
            skip("the strategy has no held-out parameters")
        for case in fitting:
            network, inputs = self.build(case).eval(), self.inputs(case)
            parameters = self._held_out(network)
            own = {id(parameter) for parameter in network.parameters()}
            require(
                all(isinstance(p, nn.Parameter) and id(p) in own for p in parameters),
                self.at(case),
                "held_out_parameters has a value that is no parameter of the strategy",
                expected="nn.Parameter objects that are also in self.parameters()",
                cause="a computed tensor, or a new nn.Parameter in each call: return the objects "
                "that __init__ stored",
            )
            before = network.state_dict()
            with torch.no_grad():
                for parameter in parameters:
                    parameter.zero_()
            with running(self.at(case), "evaluation with held-out parameters of 0", cause=_ZERO):
                scores = self._evaluate(network, inputs)
                labels = torch.arange(len(scores)) % self.num_classes
                cast(Strategy, network).calibrate(dict(inputs), labels)
                fitted = self._evaluate(network, inputs)
            require(
                bool(scores.isfinite().all()),
                self.at(case),
                "with held-out parameters of 0 the scores are not finite",
                expected="finite scores: 0 stands for no evidence, and each fit starts from 0",
                cause=_ZERO,
            )
            require(
                bool(fitted.isfinite().all()) and all(bool(p.isfinite().all()) for p in parameters),
                self.at(case),
                "after a fit to held-out clips the scores are not finite",
                expected="finite scores and parameters",
                cause="an overridden `calibrate` that does not check its result",
            )
            changed = [
                name
                for name, value in network.state_dict().items()
                if not any(value.data_ptr() == p.data_ptr() for p in parameters)
                and not torch.equal(value, before[name])
            ]
            if self._plugin().calibrate is Strategy.calibrate:
                require(
                    not changed,
                    self.at(case),
                    f"the fit also changes {listed(changed)}",
                    expected="a fit that changes only the held-out parameters",
                    cause="buffers that `forward` writes to in evaluation mode",
                )

    def _held_out(self, network: nn.Module) -> list[nn.Parameter]:
        with running(
            self.where,
            "held_out_parameters",
            cause="an attribute that __init__ does not set",
        ):
            return list(cast(Strategy, network).held_out_parameters())

    def test_adopt(self) -> None:
        """Check that the result of `adopt` is in the state dict, for any order of baselines."""
        if self._plugin().adopt is Strategy.adopt:
            skip("the strategy does not override adopt")
        size = 5 if self._plugin().takes == "maps" else 6
        for count in (1, 2, 3):
            case = self._case(count, [size] * count, grids=((2,),) * count)
            baselines = small_baselines(list(case.shapes), classes=self.num_classes)
            one, other = self.build(case).eval(), self.build(case).eval()
            with running(self.at(case), "adopt", cause=_ADOPT):
                cast(Strategy, one).adopt(baselines)
                cast(Strategy, other).adopt(dict(reversed(baselines.items())))
            inputs = self.inputs(case)
            self._check_kept(case, one, other, inputs, "that adopted the same baselines")

    def _check_kept(
        self, case: Case, one: nn.Module, other: nn.Module, inputs: Inputs, words: str
    ) -> None:
        """Require equal scores of two networks and of a copy loaded from the first state dict."""
        with running(self.at(case), "evaluation", cause=_CALIBRATE):
            expected = self._evaluate(one, inputs)
            again = self._evaluate(other, inputs)
            third = self.build(case, seed=1)
            third.load_state_dict(one.state_dict())
            loaded = self._evaluate(third, inputs)
        self._check_same(
            self.at(case),
            again,
            expected,
            f"two networks {words} give scores that differ",
            cause="random numbers, or modalities that are chosen by their position",
        )
        self._check_same(
            self.at(case),
            loaded,
            expected,
            f"a network {words}, and a network that loads its state dict, give scores that differ",
            expected="the same scores, bit for bit: all chosen values are in the state dict",
            cause="a plain attribute: use register_buffer, and copy into it: self.weights.copy_(w)",
        )

    def _weights(self, network: nn.Module, inputs: Inputs) -> Tensor | None:
        with torch.no_grad():
            return cast(Strategy, network).modality_weights(inputs)


_BY_NAME = (
    "list(inputs.values()): store self.order = list(dims), and use inputs[m] for m in self.order"
)
_ZERO = (
    "a division by, or a logarithm of, such a parameter: write weights as 1 + p or softplus(b + p)"
)
_CALIBRATE = "a hard-coded number of modalities, clips or classes"
_ADOPT = "hard-coded names of two modalities, or a buffer that has another shape in __init__"
_ANY_MODALITIES = "a hard-coded number of modalities or classes"
