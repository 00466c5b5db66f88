"""The remedies in `ladder` pass the suite that third parties get."""

from fusion.plugins.remedies import ladder
from fusion.testing import RemedySuite


class TestRebuilt(RemedySuite):
    plugin = ladder.Rebuilt


class TestPretrained(RemedySuite):
    plugin = ladder.Pretrained


class TestLevelled(RemedySuite):
    plugin = ladder.Levelled


class TestAdaptive(RemedySuite):
    plugin = ladder.Adaptive


class TestBalanced(RemedySuite):
    plugin = ladder.Balanced


class TestJoined(RemedySuite):
    plugin = ladder.Joined


class TestCorrected(RemedySuite):
    plugin = ladder.Corrected


class TestAveraged(RemedySuite):
    plugin = ladder.Averaged
