"""The strategy `normalised` passes the suite that third parties get."""

from fusion.plugins.strategies.normalised import Normalised
from fusion.testing import StrategySuite


class TestNormalised(StrategySuite):
    plugin = Normalised
