"""The corpus `crema_d` passes the suite that third parties get."""

from touched import touch

from fusion.plugins.corpora.crema_d import CremaD
from fusion.testing import CorpusSuite


class TestCremaD(CorpusSuite):
    plugin = CremaD

    def make(self, folder):
        touch(folder, "AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1040_ITH_SAD_X.wav")
