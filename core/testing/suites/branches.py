"""Conformance suite for branches."""

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

# Shapes of an image, a stack of images, a vector and a sequence.
_CANDIDATES = ((1, 32, 48), (6, 16, 16), (24,), (12, 20))


class BranchSuite(DeviceChecks):
    """Checks of a branch on every shape that it accepts.

    Attributes
    ----------
    shapes : tuple of tuple
        Candidate shapes of one clip's array. The checks use the shapes for which ``plugin.accepts``
        returns True. If there is no such shape, the checks fail.
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
        """Return one case for each shape that the branch accepts."""
        accepted = [shape for shape in self.shapes if self._plugin().accepts(shape)]
        if not accepted:
            fail(
                self.where,
                f"the branch accepts none of the shapes {', '.join(map(str, self.shapes))}",
                expected="at least one shape to check the branch with",
                cause="a branch for other shapes: write, for example, shapes = ((2, 100),) in the "
                "test class; or `accepts` is not a classmethod that returns True for them",
            )
        return [Case(f"shape {shape}", {"x": shape}) for shape in accepted]

    def make(self, case: Case) -> nn.Module:
        """Return the branch for the shape of a case."""
        return cast(nn.Module, self.construct(case.shapes["x"], dim=self.dim))

    def run(self, network: nn.Module, inputs: Inputs) -> Tensor:
        """Return the embeddings of a batch, (B, dim)."""
        return cast(Tensor, network(inputs["x"]))

    def width(self) -> int:
        """Return the size of the embedding."""
        return self.dim

    # -- checks that only branches have ------------------------------------------------

    def test_dim_is_a_parameter(self) -> None:
        """Check that the size of the embedding is a parameter called `dim`."""
        require(
            "dim" in parameters_of(self._plugin()),
            self.where,
            "the branch has no parameter `dim`",
            expected="def __init__(self, shape: tuple[int, ...], dim: int = 64, *, ...)",
            cause="`dim` has no default or no annotation, so it does not count as a parameter",
        )

    def test_attributes(self, case: Case) -> None:
        """Check `shape`, `dim` and `map_channels`, from which fusion assembles a model."""
        network = self.build(case)
        for name, expected in (("shape", case.shapes["x"]), ("dim", self.dim)):
            actual = getattr(network, name, None)
            require(
                actual == expected,
                self.at(case),
                f"the attribute `{name}` is {actual!r}",
                expected=f"{expected}, as passed to __init__",
                cause="__init__ does not call super().__init__(shape, dim) with its own arguments",
            )
        channels = getattr(network, "map_channels", None)
        require(
            isinstance(channels, int) and channels > 0,
            self.at(case),
            f"the attribute `map_channels` is {channels!r}",
            expected="a positive int: the number of channels of the array that `maps` returns",
            cause="__init__ does not set self.map_channels",
        )

    def test_maps_and_pool(self, case: Case) -> None:
        """Check that `maps` returns (B, map_channels, *grid), and that forward is pool(maps)."""
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
            cause="channels on the last axis instead of the second; or no grid: add a grid of one "
            "cell, x[:, :, None]",
        )
        embedding = self._evaluate(network, inputs)
        require(
            embedding.shape == pooled.shape
            and torch.allclose(embedding, pooled, rtol=1e-4, atol=1e-5),
            self.at(case),
            "forward(x) is not pool(maps(x))",
            expected="the same embedding: strategies that take maps use pool(maps(x))",
            cause="an overridden forward that computes more: inherit forward from Branch",
        )

    def test_recorded_work_is_the_same(self, case: Case) -> None:
        """Check that a CUDA graph, real or emulated, can record a `recordable` branch."""
        if not self._plugin().recordable:
            skip("the branch is not `recordable`: fusion does not use CUDA graphs for it")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        for method in ("forward", "maps"):
            network = cast(Branch, self.build(case)).to(device)
            graphs = Graphs(CudaTape if device.type == "cuda" else CpuTape)
            call = network if method == "forward" else network.maps
            for seed in range(2):
                x = self.inputs(case, seed=seed)["x"].to(device)
                with seeded(1), running(self.at(case), method, cause=_TWO_STEPS):
                    out = graphs.apply("it", network, call, x)
            if method == "maps" and not out.requires_grad:
                continue  # only `pool` has weights
            status = graphs.summary().get("it", "none of its weights is trained")
            require(
                status == "recorded",
                self.at(case),
                f"{method} can't be recorded in a CUDA graph: {status}",
                expected="one recording whose replays give the same output, gradients and "
                "statistics",
                cause="random numbers from Python or numpy, or code that branches on values of "
                "tensors. If you remove recordable = True, fusion uses no CUDA graphs for the "
                "branch",
            )


_TWO_STEPS = "a class that overrides forward and lacks maps or pool"
