"""The corpus `tess` passes the suite that third parties get."""

from touched import touch

from fusion.plugins.corpora.tess import Tess
from fusion.testing import CorpusSuite


class TestTess(CorpusSuite):
    plugin = Tess

    def make(self, folder):
        touch(folder, "OAF_angry/OAF_back_angry.wav", "YAF_fear/YAF_back_fear.wav")
