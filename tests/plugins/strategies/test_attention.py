"""The strategy `attention` passes the suite that third parties get."""

from typing import ClassVar

from fusion.plugins.strategies.attention import Attention
from fusion.testing import StrategySuite


class TestAttention(StrategySuite):
    plugin = Attention


class TestDeepAttention(StrategySuite):
    plugin = Attention
    parameters: ClassVar = {"layers": 2, "heads": 2, "dropout": 0.0}
