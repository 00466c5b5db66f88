"""The strategy `lmf` passes the suite that third parties get."""

from fusion.plugins.strategies.lmf import LMF
from fusion.testing import StrategySuite


class TestLMF(StrategySuite):
    plugin = LMF
