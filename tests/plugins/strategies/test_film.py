"""The strategy `film` passes the suite that third parties get."""

from fusion.plugins.strategies.film import Film
from fusion.testing import StrategySuite


class TestFilm(StrategySuite):
    plugin = Film
