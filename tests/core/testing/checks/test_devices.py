"""Checks of networks in other dtypes and on other devices."""

from typing import ClassVar

import pytest
import torch
from right_plugins import Plain, Present
from suites import fails_only, group_of, own_checks

from fusion.core.testing.checks import devices
from fusion.core.testing.checks.devices import DeviceChecks
from fusion.core.testing.runner import suite_for
from fusion.testing import StrategySuite


class OneDtype(Plain):
    """A constant that is always float32."""

    def join(self, inputs):
        x = super().join(inputs)
        rows = torch.arange(len(x), device=x.device)
        return torch.zeros(x.shape, device=x.device).index_add(0, rows, x)


class OneDevice(Plain):
    """A constant that stays on the CPU."""

    def join(self, inputs):
        x = super().join(inputs)
        return x * torch.ones(x.shape[1])


# Plugin -> words of the message, and the checks that fail, first the corresponding one.
WRONG = {
    OneDtype: ("under bfloat16 autocast", "bfloat16_autocast"),
    OneDevice: ("forward mixes devices", "moves_to_a_device"),
}  # fmt: skip


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_broken_strategy_fails_its_check(plugin):
    words, *intended = WRONG[plugin]
    fails_only(StrategySuite, plugin, words, *intended, alone=False)


def test_every_check_has_a_plugin_that_fails_it():
    assert own_checks(DeviceChecks) - {"test_gpu"} == {
        f"test_{intended}" for _, intended, *_ in WRONG.values()
    }


# -- the GPU check, run on the CPU ------------------------------------------------------


def test_the_gpu_check_trains_and_compares(monkeypatch):
    monkeypatch.setattr(devices, "gpu", lambda: torch.device("cpu"))
    assert group_of(suite_for("strategy", Present), "gpu").outcome == "passed"

    class Unfilled(Plain):
        """Scores that differ on every second call, like uninitialised memory."""

        calls: ClassVar = []

        def forward(self, inputs):
            self.calls.append(1)
            return super().forward(inputs) + 100 * (len(self.calls) % 2)

    failed = group_of(suite_for("strategy", Unfilled), "gpu").of("failed")
    assert "differ from those on the CPU" in failed[0].fault.failed
