"""Checks that hold for a branch and a strategy alike: both are networks over a batch of clips."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...registry.parameters import make
from ..costs import Cost, seconds_of, tensor_bytes
from .assertions import require, running
from .declarations import PluginSuite
from .tensors import (
    channels_last,
    close,
    descend,
    difference,
    equal,
    leaves,
    listed,
    reached,
    seeded,
    update,
)

Inputs = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Case:
    """One way to make the network.

    Attributes
    ----------
    words : str
        How messages and test names call it.
    shapes : dict of str to tuple
        Name of an input -> shape of one clip's array; a branch has one input, called `x`.
    """

    words: str
    shapes: dict[str, tuple[int, ...]]

    def __str__(self) -> str:
        return self.words


class NetworkSuite(PluginSuite):
    """Checks on one network that turns a batch of clips into one row per clip.

    Attributes
    ----------
    batch : int
        Clips in a batch.
    """

    batch: ClassVar[int] = 8
    output: ClassVar[str]  # what a row is called: "scores", "embedding"
    autocast_inputs: ClassVar[tuple[torch.dtype, ...]]

    # -- what the suites for strategies and branches say ------------------------------

    def cases(self) -> Sequence[Case]:
        """Every way of making the network that the checks go through."""
        raise NotImplementedError

    def make(self, case: Case) -> nn.Module:
        """The network for `case`, as fusion makes it."""
        raise NotImplementedError

    def run(self, network: nn.Module, inputs: Inputs) -> Tensor:
        """What fusion calls in a training step: one row per clip."""
        raise NotImplementedError

    def width(self) -> int:
        """Length of a row."""
        raise NotImplementedError

    # -- tools -------------------------------------------------------------------------

    def at(self, case: Case) -> str:
        return f"{self.where}, {case}"

    def construct(self, *args: Any, **given: Any) -> Any:
        """The network, by the road that fusion takes."""
        plugin = self._plugin()
        return make(
            plugin, *args, given={**self.parameters, **given}, owner=getattr(plugin, "name", "?")
        )

    def example(self) -> nn.Module:
        return self.make(self.cases()[0])

    def build(self, case: Case, *, seed: int = 0) -> nn.Module:
        with (
            seeded(seed),
            running(
                self.at(case),
                "making it",
                cause="a size or number of modalities that __init__ does not expect; any number "
                "from 1 must work",
            ),
        ):
            return self.make(case)

    def inputs(self, case: Case, *, batch: int | None = None, seed: int = 0) -> Inputs:
        """Standard normal arrays, in the layout in which branches hand them on."""
        with seeded(100 + seed):
            return {
                name: channels_last(torch.randn(batch or self.batch, *shape))
                for name, shape in case.shapes.items()
            }

    def trained(self, case: Case) -> nn.Module:
        """The network after some steps, in eval mode: nothing is at its initial value.

        Trained once for a test class: for checks that only evaluate it.
        """
        trained: nn.Module = self.once(("trained", case.words), lambda: self.trained_anew(case))
        return trained

    def trained_anew(self, case: Case) -> nn.Module:
        """Such a network for one check alone, which may change it."""
        network = self.build(case)
        with seeded(200), running(self.at(case), "a training step", cause=ANY_BATCH):
            for step in range(3):
                descend(network, self._loss(network, self.inputs(case, seed=step)))
        return network.eval()

    def _loss(self, network: nn.Module, inputs: Inputs) -> Tensor:
        network.train()
        rows = self.run(network, dict(inputs)).float()
        return (rows - torch.randn(rows.shape)).square().mean()

    def _one_by_one(self, inputs: Inputs) -> list[Inputs]:
        """Each clip of a batch as a batch of its own."""
        return [{n: x[i : i + 1] for n, x in inputs.items()} for i in range(self.batch)]

    def _check_same(
        self,
        where: str,
        found: Tensor,
        wanted: Tensor,
        failed: str,
        *,
        expected: str = "the same bits",
        cause: str,
        nearly: bool = False,
    ) -> None:
        """Require the same rows, to the bit or up to rounding."""
        same = close if nearly else torch.equal
        failed = f"{failed} by {difference(found, wanted)}"
        require(same(found, wanted), where, failed, expected=expected, cause=cause)

    def _check_rows(self, where: str, rows: Any, batch: int) -> None:
        expected = (batch, self.width())
        shape = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        require(
            shape == expected,
            where,
            f"the {self.output} of {batch} clips have shape {shape}",
            expected=f"a tensor of shape {expected}",
            cause="the last layer has another size, or a dimension was squeezed or reduced away",
        )
        require(
            bool(torch.isfinite(rows).all()),
            where,
            f"the {self.output} hold NaN or infinite values",
            expected="finite numbers for standard normal inputs",
            cause="a division, logarithm or root at zero, or an exponential that overflows",
        )

    def costs(self) -> Sequence[Cost]:
        """Training and evaluation of 64 clips."""
        case = self.cases()[-1]
        network, inputs = self.build(case), self.inputs(case, batch=64)
        weights = sum(p.numel() for p in network.parameters())

        def step() -> None:
            network.zero_grad(set_to_none=True)
            self._loss(network, inputs).backward()  # type: ignore[no-untyped-call]

        def evaluation() -> None:
            self._evaluate(network, inputs)

        words = f"64 clips, {case}"
        return [
            Cost(f"forward and backward, {words}", seconds_of(step), tensor_bytes(step),
                 f"{weights:,} weights"),
            Cost(f"evaluation, {words}", seconds_of(evaluation), tensor_bytes(evaluation)),
        ]  # fmt: skip

    # -- checks ------------------------------------------------------------------------

    def test_output(self, case: Case) -> None:
        """Shape, dtype, finite values; in training and evaluation; small and large batches."""
        network = self.build(case)
        for training in (True, False):
            network.train(training)
            for batch in (2, self.batch):
                mode = "in training" if training else "in evaluation"
                where = f"{self.at(case)}, {mode}"
                with seeded(1), running(where, f"a batch of {batch} clips", cause=ANY_BATCH):
                    rows = self.run(network, self.inputs(case, batch=batch))
                self._check_rows(where, rows, batch)
                require(
                    rows.dtype is torch.float32,
                    where,
                    f"the {self.output} are {rows.dtype} for float32 inputs",
                    expected="torch.float32",
                    cause="a tensor made from numpy or a list of Python numbers is float64",
                )

    def test_zeros(self, case: Case) -> None:
        """A batch of zeros: a silent feature, or a branch whose ReLUs are all off."""
        where = f"{self.at(case)}, inputs that are all zero"
        cause = (
            "a division by a norm or deviation that is zero, or the gradient of a root or norm "
            "there: add a small number under the root"
        )
        network = self.build(case)
        inputs = {n: torch.zeros_like(x).requires_grad_() for n, x in self.inputs(case).items()}
        with seeded(1), running(where, "a training step", cause=cause):
            rows = self.run(network.train(), dict(inputs))
            rows.square().mean().backward()  # type: ignore[no-untyped-call]
        self._check_rows(where, rows, self.batch)
        self._check_rows(where, self._evaluate(network, inputs), self.batch)
        for name, tensor in [*network.named_parameters(), *inputs.items()]:
            self._check_gradient(f"{where}, gradient of {name}", tensor, cause)

    def _check_gradient(self, where: str, tensor: Tensor, cause: str) -> None:
        require(
            tensor.grad is None or bool(torch.isfinite(tensor.grad).all()),
            where,
            "it holds NaN or infinite values",
            expected="finite numbers",
            cause=cause,
        )

    def test_gradients(self, case: Case) -> None:
        """Every parameter and every input gets a gradient within the first steps."""
        network = self.build(case)
        parameters = {n: p for n, p in network.named_parameters() if p.requires_grad}
        missing, ignored = set(parameters), set(case.shapes)
        with seeded(1):
            # Several steps: what a gate that starts at zero lets through gets its gradient
            # when the gate has moved.
            for step in range(4):
                inputs = {n: x.requires_grad_() for n, x in self.inputs(case, seed=step).items()}
                with running(self.at(case), "a training step", cause=_IN_PLACE):
                    loss = self._loss(network, inputs)
                    network.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                missing -= reached(parameters)
                ignored -= reached(inputs)
                update(network)
        require(
            not ignored,
            self.at(case),
            f"no gradient reaches the input {listed(ignored)}",
            expected="every input to change the output",
            cause="a modality that forward never reads, or .detach(), .argmax() or .item() on the "
            "way from it to the output",
        )
        require(
            not missing,
            self.at(case),
            f"no gradient reaches {listed(missing)}",
            expected="every parameter to be trained",
            cause="a layer that is made and not used, a bias that a batch normalisation right "
            "after it takes out again, a softmax over one modality (it is 1, whatever goes in), or "
            ".detach() behind it; what is meant to stay as it is wants requires_grad_(False)",
        )

    def test_everything_learned_is_registered(self, case: Case) -> None:
        """Nothing takes part in the gradient that the optimiser does not know."""
        network = self.build(case).train()
        known = {id(p) for p in network.parameters()}
        with running(self.at(case), "a forward pass", cause=ANY_BATCH):
            rows = self.run(network, self.inputs(case))
        strangers = [tuple(leaf.shape) for leaf in leaves(rows) if id(leaf) not in known]
        require(
            not strangers,
            self.at(case),
            f"tensors of shape {listed(strangers)} want a gradient and are no parameters",
            expected="all of them in parameters(): the optimiser trains those and no others",
            cause="layers or tensors kept in a list or dict: use nn.ModuleList, nn.ModuleDict, "
            "nn.ParameterList, or self.weight = nn.Parameter(...)",
        )

    def test_clips_are_independent(self, case: Case) -> None:
        """In evaluation the result for a clip does not depend on the others in its batch."""
        network = self.trained(case)
        inputs = self.inputs(case, seed=9)
        with running(self.at(case), "a batch of one clip in evaluation", cause=ANY_BATCH):
            together = self._evaluate(network, inputs)
            alone = torch.cat([self._evaluate(network, clip) for clip in self._one_by_one(inputs)])
        self._check_same(
            self.at(case),
            together,
            alone,
            f"the {self.output} of a clip change with its neighbours,",
            nearly=True,
            expected="the same for a clip alone and within a batch, in evaluation",
            cause="softmax, mean or norm over dimension 0, which is the batch; batch "
            "statistics in evaluation; or something drawn at random",
        )

    def test_evaluation_is_repeatable(self, case: Case) -> None:
        """Two evaluations of one batch give the same bits."""
        network = self.build(case).eval()
        inputs = self.inputs(case)
        with running(self.at(case), "evaluation", cause=ANY_BATCH):
            first, second = self._evaluate(network, inputs), self._evaluate(network, inputs)
        self._check_same(
            self.at(case),
            second,
            first,
            "two evaluations of one batch differ",
            expected="the same bits: nothing random and nothing remembered in evaluation",
            cause="functional.dropout without training=self.training, or statistics that are "
            "updated outside training",
        )

    def test_same_seed_same_result(self, case: Case) -> None:
        """The same torch seed gives the same network, to the bit, before and after training."""
        first, second = self.trained(case), self.trained_anew(case)
        found, again = first.state_dict(), second.state_dict()
        differ = [key for key in found if key not in again or not equal(found[key], again[key])]
        rows = self._evaluate(first, self.inputs(case)), self._evaluate(second, self.inputs(case))
        require(
            not differ and torch.equal(*rows),
            self.at(case),
            "two trainings with one seed end apart"
            + (f", in {listed(differ)}" if differ else f", by {difference(*rows)}"),
            expected="the same bits: all random numbers come from torch's own generator",
            cause="numpy.random or random instead of torch, a generator of its own, or the order "
            "of a set",
        )

    def test_state_dict(self, case: Case) -> None:
        """The state dict holds all there is: a checkpoint, and the model that is handed out."""
        network = self.trained(case)
        with running(
            self.at(case),
            "loading its state dict",
            cause="an object that is no tensor in the state dict, or shapes that depend on more "
            "than the arguments of __init__",
        ):
            file = io.BytesIO()
            torch.save(network.state_dict(), file)
            file.seek(0)
            other = self.build(case, seed=1)
            other.load_state_dict(torch.load(file, weights_only=True))
        inputs = self.inputs(case)
        self._check_same(
            self.at(case),
            self._evaluate(other.eval(), inputs),
            self._evaluate(network, inputs),
            f"with the state dict of a trained one loaded, the {self.output} differ",
            cause="something that is learned, drawn or counted lies outside the state dict: make "
            "it an nn.Parameter, a module in an nn.ModuleList, or a register_buffer",
        )

    def test_pickle(self, case: Case) -> None:
        """It can be pickled, and is the same afterwards."""
        network = self.trained(case)
        with running(
            self.at(case),
            "pickling",
            cause="a lambda, a local function or class, an open file or a generator kept in an "
            "attribute",
        ):
            other = pickle.loads(pickle.dumps(network))
        inputs = self.inputs(case)
        self._check_same(
            self.at(case),
            self._evaluate(other, inputs),
            self._evaluate(network, inputs),
            f"after pickling the {self.output} differ",
            cause="__getstate__ or __reduce__ leaves something out",
        )

    def test_inputs_are_left_alone(self, case: Case) -> None:
        """Probes and balancers read the same tensors afterwards."""
        network = self.build(case)
        for training in (True, False):
            inputs = self.inputs(case)
            before = {name: x.clone() for name, x in inputs.items()}
            with torch.no_grad(), running(self.at(case), "a forward pass", cause=ANY_BATCH):
                self.run(network.train(training), inputs)
            require(
                list(inputs) == list(before),
                self.at(case),
                f"the dict of inputs holds {list(inputs)} afterwards",
                expected=f"what was given: {list(before)}",
                cause="inputs.pop(...) or inputs[...] = ...: work on a copy",
            )
            changed = [name for name, x in inputs.items() if not torch.equal(x, before[name])]
            require(
                not changed,
                self.at(case),
                f"the input {listed(changed)} has other values afterwards",
                expected="inputs that are only read",
                cause="an operation in place: +=, relu_(), nn.ReLU(inplace=True) on an input",
            )

    def _evaluate(self, network: nn.Module, inputs: Inputs) -> Tensor:
        # A dict of its own: one that is emptied fails test_inputs_are_left_alone, no other check.
        with torch.no_grad():
            return self.run(network.eval(), dict(inputs))


ANY_BATCH = "a shape written as a number, .squeeze(), or .view() on a tensor not laid out for it"
_IN_PLACE = "an operation in place on a tensor whose value the gradient needs, or a loss cut off"
