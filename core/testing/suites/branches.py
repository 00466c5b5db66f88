"""The conformance suite for branches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ...contracts import Branch
from ...registry.parameters import parameters_of
from ...training.hardware.cuda_graphs import CudaTape, Graphs
from ..checks.assertions import fail, require, running, skip
from ..checks.devices import DeviceChecks
from ..checks.network import Case, Inputs
from ..checks.tensors import seeded
from ..graph_capture import CpuTape

# An image, a stack of images, a vector, a sequence.
_CANDIDATES = ((1, 32, 48), (6, 16, 16), (24,), (12, 20))


class BranchSuite(DeviceChecks):
    """Checks a branch on every kind of shape that it accepts.

    Attributes
    ----------
    shapes : tuple of tuple
        Shapes of one clip's array to try. Those that ``plugin.accepts`` are used, and there
        must be one.
    dim : int
        Size of the embedding.
    """

    kind = Branch
    passed = ("shape",)
    output = "embeddings"
    autocast_inputs = (torch.float32,)  # standardised features are float32

    plugin: ClassVar[type[Branch]]
    shapes: ClassVar[tuple[tuple[int, ...], ...]] = _CANDIDATES
    dim: ClassVar[int] = 16

    # -- how a branch is made and called -----------------------------------------------

    def cases(self) -> Sequence[Case]:
        found = [shape for shape in self.shapes if self._plugin().accepts(shape)]
        if not found:
            fail(
                self.where,
                f"it accepts none of the shapes {', '.join(map(str, self.shapes))}",
                expected="one shape to test it with",
                cause="it takes other arrays: write shapes = ((2, 100),) in the test class, or "
                "`accepts` is not a classmethod that returns True for them",
            )
        return [Case(f"shape {shape}", {"x": shape}) for shape in found]

    def make(self, case: Case) -> nn.Module:
        return cast(nn.Module, self.construct(case.shapes["x"], dim=self.dim))

    def run(self, network: nn.Module, inputs: Inputs) -> Tensor:
        return cast(Tensor, network(inputs["x"]))

    def width(self) -> int:
        return self.dim

    # -- checks of its own -------------------------------------------------------------

    def test_dim_is_a_parameter(self) -> None:
        """The size of the embedding is a parameter, `dim`."""
        require(
            "dim" in parameters_of(self._plugin()),
            self.where,
            "it has no parameter `dim`",
            expected="def __init__(self, shape: tuple[int, ...], dim: int = 64, *, ...)",
            cause="dim without a default: fusion passes it as a parameter",
        )

    def test_attributes(self, case: Case) -> None:
        """`shape`, `dim` and `map_channels` are what a model is put together from."""
        network = self.build(case)
        for name, expected in (("shape", case.shapes["x"]), ("dim", self.dim)):
            found = getattr(network, name, None)
            require(
                found == expected,
                self.at(case),
                f"its attribute `{name}` is {found!r}",
                expected=f"{expected}, as given",
                cause="super().__init__(shape, dim) is not called with what was given",
            )
        channels = getattr(network, "map_channels", None)
        require(
            isinstance(channels, int) and channels > 0,
            self.at(case),
            f"its attribute `map_channels` is {channels!r}",
            expected="an int, the channels that `maps` returns",
            cause="it is not set in __init__",
        )

    def test_maps_and_pool(self, case: Case) -> None:
        """`maps` gives (B, map_channels, *grid), `pool` the rest of `forward`."""
        network = cast(Branch, self.trained(case))
        inputs = self.inputs(case)
        with torch.no_grad(), running(self.at(case), "pool(maps(x))", cause=_TWO_STEPS):
            maps = network.maps(inputs["x"])
            pooled = network.pool(maps)
        shape, channels = tuple(maps.shape), getattr(network, "map_channels", None)
        require(
            len(shape) > 2 and shape[:2] == (self.batch, channels) and maps.numel() > 0,
            self.at(case),
            f"maps(x) has shape {shape}",
            expected=f"({self.batch}, {channels}, *grid): clips, map_channels, and "
            "one axis or more of positions",
            cause="channels last instead of second, or no grid: add one of a single cell, "
            "x[:, :, None]",
        )
        found = self._evaluate(network, inputs)
        require(
            found.shape == pooled.shape and torch.allclose(found, pooled, rtol=1e-4, atol=1e-5),
            self.at(case),
            "forward(x) is not pool(maps(x))",
            expected="the same embedding by both roads: strategies that take maps go by the second",
            cause="forward is overridden and does more; leave it to Branch",
        )

    def test_recorded_work_is_the_same(self, case: Case) -> None:
        """A `recordable` branch does all of its work on the device, and the same on each batch."""
        if not self._plugin().recordable:
            skip("it is not `recordable`: on a GPU it is called step by step")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        for of in ("forward", "maps"):
            network = cast(Branch, self.build(case)).to(device)
            graphs = Graphs(CudaTape if device.type == "cuda" else CpuTape)
            call = network if of == "forward" else network.maps
            for seed in range(2):
                x = self.inputs(case, seed=seed)["x"].to(device)
                with seeded(1), running(self.at(case), of, cause=_TWO_STEPS):
                    out = graphs.apply("it", network, call, x)
            if of == "maps" and not out.requires_grad:
                continue  # it has weights in `pool` only
            said = graphs.summary().get("it", "none of its weights is trained")
            require(
                said == "recorded",
                self.at(case),
                f"its {of} can't be recorded: {said}",
                expected="recorded once and replayed, the same output, gradients and statistics",
                cause="numbers drawn by Python or numpy, or values that decide what is done; "
                "without recordable = True it works as ever",
            )


_TWO_STEPS = "forward is overridden, and maps or pool is missing"
