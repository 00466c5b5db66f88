"""The strategy `concat` passes the suite that third parties get."""

from fusion.plugins.strategies.concat import Concat
from fusion.testing import StrategySuite


class TestConcat(StrategySuite):
    plugin = Concat
