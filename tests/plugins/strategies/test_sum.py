"""The strategy `sum` passes the suite that third parties get."""

from fusion.plugins.strategies.sum import Sum
from fusion.testing import StrategySuite


class TestSum(StrategySuite):
    plugin = Sum
