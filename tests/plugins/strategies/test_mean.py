"""The strategy `mean` passes the suite that third parties get."""

from fusion.plugins.strategies.mean import Mean
from fusion.testing import StrategySuite


class TestMean(StrategySuite):
    plugin = Mean
