"""Checks of networks with dtypes other than float32 and devices other than the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from .assertions import require, running, skip
from .network import ANY_BATCH, Case, Inputs, NetworkSuite
from .tensors import descend, difference, gpu, seeded


class DeviceChecks(NetworkSuite):
    """Checks of mixed precision, of torch's meta device, and of a GPU if one is available."""

    def test_bfloat16_autocast(self, case: Case) -> None:
        """Check a step and an evaluation in mixed precision, which training on a GPU uses."""
        network = self.build(case)
        cause = (
            "a tensor that is float32 whatever the dtype of the input, as torch.zeros(...) makes "
            "it: use x.new_zeros; or an operation that bfloat16 does not have: use x.float()"
        )
        for dtype in self.autocast_inputs:
            where = f"{self.at(case)}, under bfloat16 autocast with {dtype} inputs"
            inputs = {name: x.to(dtype) for name, x in self.inputs(case).items()}
            with seeded(1), running(where, "a training step", cause=cause):
                with torch.autocast("cpu", torch.bfloat16):
                    rows = self.run(network.train(), dict(inputs))
                rows.float().square().mean().backward()  # type: ignore[no-untyped-call]
            self._check_rows(where, rows, self.batch)
            for name, parameter in network.named_parameters():
                self._check_gradient(f"{where}, gradient of {name}", parameter, cause)
            with running(where, "evaluation", cause=cause), torch.autocast("cpu", torch.bfloat16):
                rows = self._evaluate(network, inputs)
            self._check_rows(where, rows, self.batch)

    def test_moves_to_a_device(self, case: Case) -> None:
        """Check that all tensors follow `.to(device)`; torch's meta device stands for a GPU."""
        network = self.trained_anew(case).to("meta")
        inputs = {name: x.to("meta") for name, x in self.inputs(case).items()}
        try:
            with torch.no_grad():
                device = self.run(network, inputs).device.type
            failed = f"the {self.output} stay on the {device}"
        except Exception as error:
            # Other errors arise if forward reads values, which a meta tensor does not have.
            device = "cpu" if "device" in str(error) else "meta"
            failed = f"forward mixes devices: {error}"
        require(
            device == "meta",
            self.at(case),
            failed,
            expected="every tensor that forward uses on the device that the network was moved to",
            cause="a tensor that forward creates without device=x.device, or a tensor in a plain "
            "attribute instead of register_buffer",
        )

    def test_gpu(self, case: Case) -> None:
        """Check on a GPU that the network trains, and gives the same outputs as on the CPU."""
        device = gpu()
        if device is None:
            skip("no GPU is available")
        network, inputs = self.trained_anew(case), self.inputs(case, seed=9)
        expected = self._evaluate(network, inputs)
        moved: Inputs = {name: x.to(device) for name, x in inputs.items()}
        where = f"{self.at(case)}, on {device.type}"
        with running(where, "moving the network and evaluating", cause=_MOVED):
            actual = self._evaluate(network.to(device), moved).cpu()
        size = max(1.0, float(expected.abs().max()))
        require(
            actual.shape == expected.shape
            and float((actual - expected).abs().max()) <= 0.02 * size,
            where,
            f"the {self.output} differ from those on the CPU by {difference(actual, expected)}",
            expected="the same values, up to rounding",
            cause="an uninitialised tensor (torch.empty), or an index that is out of range",
        )
        with seeded(1), running(where, "a training step", cause=_MOVED):
            rows = self.run(network.train(), dict(moved))
            descend(network, rows.float().square().mean())
        self._check_rows(where, self._on_cpu(rows), self.batch)
        for name, parameter in network.named_parameters():
            self._check_gradient(f"{where}, gradient of {name}", parameter, _MOVED)

    def _on_cpu(self, rows: object) -> object:
        return rows.detach().cpu() if isinstance(rows, Tensor) else rows


_MOVED = f"a tensor that stays on the CPU, or an operation that this device lacks; {ANY_BATCH}"
