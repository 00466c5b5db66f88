"""Checks that branches and strategies share: both are networks over a batch of clips."""

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
    """Shapes of the inputs that a network is made for and checked on.

    Attributes
    ----------
    words : str
        Name of the case in messages and test names.
    shapes : dict of str to tuple
        Shape of one clip's array, by name of the input. A branch has one input, called `x`.
    """

    words: str
    shapes: dict[str, tuple[int, ...]]

    def __str__(self) -> str:
        """Return the name of the case."""
        return self.words


class NetworkSuite(PluginSuite):
    """Checks of a network that turns a batch of clips into one row of numbers per clip.

    Attributes
    ----------
    batch : int
        Number of clips in a batch.
    """

    batch: ClassVar[int] = 8
    output: ClassVar[str]  # name of the rows in messages: "scores", "embeddings"
    autocast_inputs: ClassVar[tuple[torch.dtype, ...]]

    # -- overridden by the suites for strategies and branches -------------------------

    def cases(self) -> Sequence[Case]:
        """Return the cases on which the checks make and call the network."""
        raise NotImplementedError

    def make(self, case: Case) -> nn.Module:
        """Return the network for `case`, as fusion itself makes it."""
        raise NotImplementedError

    def run(self, network: nn.Module, inputs: Inputs) -> Tensor:
        """Call the network as fusion does in a training step; return one row per clip."""
        raise NotImplementedError

    def width(self) -> int:
        """Return the length of a row."""
        raise NotImplementedError

    # -- tools -------------------------------------------------------------------------

    def at(self, case: Case) -> str:
        """Return the name of the plugin and of a case, for messages."""
        return f"{self.where}, {case}"

    def construct(self, *args: Any, **parameters: Any) -> Any:
        """Return an instance of the plugin, as fusion itself makes it."""
        plugin = self._plugin()
        return make(
            plugin,
            *args,
            settings={**self.parameters, **parameters},
            owner=getattr(plugin, "name", "?"),
        )

    def example(self) -> nn.Module:
        """Return the network for the first case."""
        return self.make(self.cases()[0])

    def build(self, case: Case, *, seed: int = 0) -> nn.Module:
        """Return the network for `case`, made with a seed; an exception fails the check."""
        with (
            seeded(seed),
            running(
                self.at(case),
                "instantiation",
                cause="a size or number of modalities that __init__ does not expect; any number "
                "of modalities from 1 must work",
            ),
        ):
            return self.make(case)

    def inputs(self, case: Case, *, batch: int | None = None, seed: int = 0) -> Inputs:
        """Return standard normal inputs, in the memory layout of the outputs of branches."""
        with seeded(100 + seed):
            return {
                name: channels_last(torch.randn(batch or self.batch, *shape))
                for name, shape in case.shapes.items()
            }

    def trained(self, case: Case) -> nn.Module:
        """Return the network after some training steps, in eval mode.

        After these steps no weight is at its initial value. The network is trained once for a test
        class, so checks may only evaluate this network.
        """
        trained: nn.Module = self.once(("trained", case.words), lambda: self.trained_anew(case))
        return trained

    def trained_anew(self, case: Case) -> nn.Module:
        """Return a newly trained network, which the caller may change; see :meth:`trained`."""
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
        """Return each clip of a batch as a batch of one clip."""
        return [{n: x[i : i + 1] for n, x in inputs.items()} for i in range(self.batch)]

    def _check_same(
        self,
        where: str,
        actual: Tensor,
        wanted: Tensor,
        failed: str,
        *,
        expected: str = "the same bits",
        cause: str,
        nearly: bool = False,
    ) -> None:
        """Require that rows are the same: bit for bit or, if `nearly`, up to rounding."""
        matches = close if nearly else torch.equal
        failed = f"{failed} by {difference(actual, wanted)}"
        require(matches(actual, wanted), where, failed, expected=expected, cause=cause)

    def _check_rows(self, where: str, rows: Any, batch: int) -> None:
        expected = (batch, self.width())
        shape = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        require(
            shape == expected,
            where,
            f"the {self.output} of {batch} clips have shape {shape}",
            expected=f"a tensor of shape {expected}",
            cause="the last layer has another size, or an axis was squeezed or reduced away",
        )
        require(
            bool(torch.isfinite(rows).all()),
            where,
            f"the {self.output} hold NaN or infinite values",
            expected="finite numbers for standard normal inputs",
            cause="a division, logarithm or root at zero, or an exponential that overflows",
        )

    def costs(self) -> Sequence[Cost]:
        """Return the costs of a training step and of an evaluation of 64 clips."""
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
        """Check shape, dtype and values of the output in both modes and two batch sizes."""
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
        """Check a batch of zeros, which silence gives, or a branch whose ReLUs all output zero."""
        where = f"{self.at(case)}, inputs that are all zero"
        cause = (
            "a division by a norm or standard deviation of zero, or the gradient of a root or norm "
            "at zero: add a small number under the root"
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
            "the gradient holds NaN or infinite values",
            expected="finite numbers",
            cause=cause,
        )

    def test_gradients(self, case: Case) -> None:
        """Check that every parameter and every input gets a gradient within four steps."""
        network = self.build(case)
        parameters = {n: p for n, p in network.named_parameters() if p.requires_grad}
        missing, ignored = set(parameters), set(case.shapes)
        with seeded(1):
            # Several steps: parameters behind a gate that starts at zero get a gradient only
            # after the gate has moved.
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
            cause="a modality that forward never reads, or .detach(), .argmax() or .item() between "
            "the input and the output",
        )
        require(
            not missing,
            self.at(case),
            f"no gradient reaches {listed(missing)}",
            expected="every parameter to be trained",
            cause="a layer that is created and not used; a bias that the next batch normalisation "
            "removes; a softmax over one modality, which is always 1; or .detach() between "
            "the parameter and the output. Call requires_grad_(False) for a parameter that must "
            "not be trained",
        )

    def test_everything_learned_is_registered(self, case: Case) -> None:
        """Check that every tensor with a gradient is a parameter that the optimiser knows."""
        network = self.build(case).train()
        registered = {id(p) for p in network.parameters()}
        with running(self.at(case), "a forward pass", cause=ANY_BATCH):
            rows = self.run(network, self.inputs(case))
        strangers = [tuple(leaf.shape) for leaf in leaves(rows) if id(leaf) not in registered]
        require(
            not strangers,
            self.at(case),
            f"tensors of shape {listed(strangers)} require a gradient, but are no parameters",
            expected="all of them in parameters(): the optimiser trains only parameters",
            cause="layers or tensors in a list or dict: use nn.ModuleList, nn.ModuleDict, "
            "nn.ParameterList, or self.weight = nn.Parameter(...)",
        )

    def test_clips_are_independent(self, case: Case) -> None:
        """Check that a clip's output in evaluation does not depend on other clips of the batch."""
        network = self.trained(case)
        inputs = self.inputs(case, seed=9)
        with running(self.at(case), "a batch of one clip in evaluation", cause=ANY_BATCH):
            together = self._evaluate(network, inputs)
            alone = torch.cat([self._evaluate(network, clip) for clip in self._one_by_one(inputs)])
        self._check_same(
            self.at(case),
            together,
            alone,
            f"the {self.output} of a clip change with the other clips of its batch,",
            nearly=True,
            expected="the same values for a clip alone and within a batch, in evaluation",
            cause="softmax, mean or norm over dimension 0, which is the batch; batch "
            "statistics in evaluation; or random numbers",
        )

    def test_evaluation_is_repeatable(self, case: Case) -> None:
        """Check that two evaluations of one batch give the same values, bit for bit."""
        network = self.build(case).eval()
        inputs = self.inputs(case)
        with running(self.at(case), "evaluation", cause=ANY_BATCH):
            first, second = self._evaluate(network, inputs), self._evaluate(network, inputs)
        self._check_same(
            self.at(case),
            second,
            first,
            "two evaluations of one batch differ",
            expected="the same values, bit for bit: no random numbers and no state in evaluation",
            cause="functional.dropout without training=self.training, or statistics that are "
            "updated outside training",
        )

    def test_same_seed_same_result(self, case: Case) -> None:
        """Check that the same torch seed gives the same trained network, bit for bit."""
        first, second = self.trained(case), self.trained_anew(case)
        state, second_state = first.state_dict(), second.state_dict()
        differ = [
            key
            for key in state
            if key not in second_state or not equal(state[key], second_state[key])
        ]
        rows = self._evaluate(first, self.inputs(case)), self._evaluate(second, self.inputs(case))
        require(
            not differ and torch.equal(*rows),
            self.at(case),
            "two trainings with the same seed differ"
            + (f" in {listed(differ)}" if differ else f" by {difference(*rows)}"),
            expected="the same values, bit for bit: all random numbers come from torch's generator",
            cause="numpy.random or random instead of torch, a separate generator, or the order of "
            "a set",
        )

    def test_state_dict(self, case: Case) -> None:
        """Check that the state dict, which checkpoints and exported models store, is complete."""
        network = self.trained(case)
        with running(
            self.at(case),
            "loading the state dict",
            cause="an object in the state dict that is no tensor, or shapes that depend on more "
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
            f"a network that loaded the state dict of another one gives {self.output} that differ",
            cause="a learned, random or counted value is not in the state dict: make "
            "it an nn.Parameter, a module in an nn.ModuleList, or a register_buffer",
        )

    def test_pickle(self, case: Case) -> None:
        """Check that a pickled and unpickled network gives the same output."""
        network = self.trained(case)
        with running(
            self.at(case),
            "pickling",
            cause="a lambda, local function, local class, open file or generator in an attribute",
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
        """Check that inputs, which probes and balancers read later, stay unchanged."""
        network = self.build(case)
        for training in (True, False):
            inputs = self.inputs(case)
            before = {name: x.clone() for name, x in inputs.items()}
            with torch.no_grad(), running(self.at(case), "a forward pass", cause=ANY_BATCH):
                self.run(network.train(training), inputs)
            require(
                list(inputs) == list(before),
                self.at(case),
                f"the dict of inputs holds {list(inputs)} after the call",
                expected=f"the keys that it held before: {list(before)}",
                cause="inputs.pop(...) or inputs[...] = ...: work on a copy",
            )
            changed = [name for name, x in inputs.items() if not torch.equal(x, before[name])]
            require(
                not changed,
                self.at(case),
                f"the input {listed(changed)} has other values after the call",
                expected="inputs that are only read",
                cause="an in-place operation on an input: +=, relu_(), nn.ReLU(inplace=True)",
            )

    def _evaluate(self, network: nn.Module, inputs: Inputs) -> Tensor:
        # A copy of the dict: a network that empties its dict of inputs should fail
        # test_inputs_are_left_alone and no other check.
        with torch.no_grad():
            return self.run(network.eval(), dict(inputs))


ANY_BATCH = "a hard-coded shape, .squeeze(), or .view() on a tensor whose layout does not allow it"
_IN_PLACE = (
    "an in-place operation on a tensor whose value the gradient needs, or an output that is "
    "detached from the parameters"
)
