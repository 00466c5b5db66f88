"""The corpus `savee` passes the suite that third parties get."""

from touched import touch

from fusion.plugins.corpora.savee import Savee
from fusion.testing import CorpusSuite


class TestSavee(CorpusSuite):
    plugin = Savee

    def make(self, folder):
        touch(folder, "AudioData/DC/a01.wav", "AudioData/JE/sa15.wav", "AudioData/JK/su03.wav")
